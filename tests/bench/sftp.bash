# Files through SFTP: our server in a container against OpenSSH's own for a plain user, by the same client and sshd.
# shellcheck shell=bash

# What is carried, and where to; all on the box's tmpfs, on both sides of the comparison.
make_sftp_files() {
    local pid number
    pid=$(sandbox_pid lab)
    mkdir -p "$work/sftp/small" "$work/sftp/back"
    head -c 1073741824 /dev/zero >"$work/sftp/big"
    for number in {1..10000}; do echo "$number" >"$work/sftp/small/$number"; done
    install -d -o plain -g plain /tmp/sftp-bench
    install -d -o 1000 -g 1000 "/proc/$pid/root/tmp/sftp-bench"
    printf 'put %s /tmp/sftp-bench/big\n' "$work/sftp/big" >"$work/sftp/put-big"
    printf 'get /tmp/sftp-bench/big %s\n' "$work/sftp/back/big" >"$work/sftp/get-big"
    printf 'put -R %s /tmp/sftp-bench/\n' "$work/sftp/small" >"$work/sftp/put-small"
    printf 'get -R /tmp/sftp-bench/small %s\n' "$work/sftp/back" >"$work/sftp/get-small"
}

# sftp_pair N BATCH LABEL: measures it for both, and what the goal is about.
sftp_pair() {
    local sftp
    # shellcheck disable=SC2207  # options are words
    sftp=(/usr/bin/sftp -q $(ssh_options alice) -b "$work/sftp/$2")
    section "$3"
    TIMEOUT=280 measure "$1" "${sftp[@]}" plain@bastion -- "${sftp[@]}" alice+lab@bastion
    row_of 0 "OpenSSH's sftp-server"
    row_of 1 'vestibule, its own in the container'
    goal "$3, rate of OpenSSH's sftp-server" "$(quotient 1 "${ratio[1]}")" x '>=' 0.9
}

bench_sftp() {
    make_sftp_files
    sftp_pair 4 put-big 'sftp, 1 GiB in'
    sftp_pair 4 get-big 'sftp, 1 GiB out'
    sftp_pair 3 put-small 'sftp, 10,000 small files in'
    sftp_pair 3 get-small 'sftp, 10,000 small files out'
    rm -rf "$work/sftp" /tmp/sftp-bench "/proc/$(sandbox_pid lab)/root/tmp/sftp-bench"
}
