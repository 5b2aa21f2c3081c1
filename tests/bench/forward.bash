# What the PAM module costs, and bytes through `ssh -L`, against plain sshd to the same service.
# shellcheck shell=bash

# A second sshd beside the one with the module: Debian's PAM service is named by the program's name, so this one's stack is
# the same without the module.
start_sshd_without_module() {
    cp /usr/sbin/sshd /usr/sbin/sshd-without
    grep -v pam_vestibule /etc/pam.d/sshd >/etc/pam.d/sshd-without
    sed -e 's/^Port 22$/Port 2222/' -e 's/^PidFile .*/PidFile none/' /etc/ssh/sshd_config.box >/etc/ssh/sshd_config.without
    detached "$SSHD_LOG" /usr/sbin/sshd-without -D -f /etc/ssh/sshd_config.without -E "$SSHD_LOG"
    wait_for 5 bash -c 'exec 9<>/dev/tcp/127.0.0.1/2222'
    printf '[bastion]:2222,[127.0.0.1]:2222 %s\n' "$(</etc/ssh/box/host_key.pub)" >>/etc/ssh/ssh_known_hosts
}

# as_set_up with|without CMD...: the words that set the bastion up so and run a command; both do the same work.
as_set_up() { command=(/bin/sh -c "cp $work/$1.toml /etc/vestibule/vestibule.toml.d/forwarding.toml; exec ${*:2}"); }

bench_module() {
    local target without with options command
    options=$(ssh_options alice)
    : >"$work/without.toml"
    echo 'forwarding = "pam"' >"$work/with.toml"
    for target in lab studio; do
        as_set_up without "/usr/bin/ssh $options -p 2222 alice+$target@bastion true" && without=("${command[@]}")
        as_set_up with "/usr/bin/ssh $options alice+$target@bastion true" && with=("${command[@]}")
        section "ssh $target true, with pam_vestibule in the stack"
        TIMEOUT=120 measure 30 "${without[@]}" -- "${with[@]}"
        row_over 0 'without the module'
        row_over 1 'with the module'
        goal "ssh $target true, with the module over without" "$(quotient "${more[1]}" 1000)" ms '<=' 3
    done
}

# The module alone, as sshd calls it.
bench_pam_session() {
    local info name took
    gcc -O2 -o "$work/pam-time" "$BOX_REPO/tests/bench/pam-time.c" -l:libpam.so.0
    printf 'session required pam_vestibule.so\n' >/etc/pam.d/vestibule-bench
    cp "$work/with.toml" /etc/vestibule/vestibule.toml.d/forwarding.toml
    info="publickey $(cut -d ' ' -f 1,2 "$KEYS/alice.pub")"
    printf '\n== %s\n' 'pam_open_session of pam_vestibule alone: median, least, most, in us'
    for name in alice+lab alice+studio; do
        printf '%-42s %s\n' "$name" "$(limit "$work/pam-time" 100 vestibule-bench "$name" "$info")"
    done
    took=$(limit "$work/pam-time" 300 vestibule-bench plain)
    printf '%-42s %s\n' "a user of the bastion's own" "$took"
    goal "pam_vestibule for a user of the bastion's own" "$(quotient "${took%% *}" 1000)" ms '<=' 1
}

bench_forward_bulk() {
    local address size=1073741824 port command
    address=$(docker inspect --format '{{.NetworkSettings.IPAddress}}' studio)
    docker exec --detach studio nc -ll -p 9000 -e dd if=/dev/zero bs=65536 count=$((size / 65536))
    # shellcheck disable=SC2046  # options are words
    detached /dev/null ssh $(ssh_options alice) -N -L 19000:"$address":9000 plain@bastion
    # shellcheck disable=SC2046
    detached /dev/null ssh $(ssh_options alice) -N -L 19001:localhost:9000 alice+studio@bastion
    for port in 19000 19001; do wait_for 10 bash -c "exec 9<>/dev/tcp/127.0.0.1/$port"; done
    section '1 GiB through ssh -L, from a service in a container'
    # A forward that is refused is quick, too: what arrives is counted.
    carries() { command=(/bin/sh -c "[ \$(/usr/bin/socat -u -b 262144 TCP:127.0.0.1:$1 - | wc -c) = $size ]"); }
    local plain
    carries 19000 && plain=("${command[@]}")
    carries 19001
    TIMEOUT=240 measure 4 "${plain[@]}" -- "${command[@]}"
    row_rate 0 'plain sshd, to its address' $size
    row_rate 1 "vestibule, to the container's localhost" $size
    goal '1 GiB through ssh -L, rate of plain sshd'"'s" "$(quotient 1 "${ratio[1]}")" x '>=' 0.95
}

bench_forward() {
    start_sshd_without_module
    forwarding_on
    bench_module
    bench_pam_session
    bench_forward_bulk
}
