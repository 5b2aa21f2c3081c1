# What a login costs: whole sessions against those of a plain user of the same sshd, and where the time goes.
# shellcheck shell=bash

# A user of the bastion itself, and one who gets into the container by `docker exec` as ForceCommand.
add_plain_users() {
    local name
    getent group docker >/dev/null || groupadd --system docker
    for name in plain dockerexec; do
        useradd --create-home --shell /bin/sh "$name"
        install -d -o "$name" -g "$name" -m 0700 "/home/$name/.ssh"
        install -o "$name" -g "$name" -m 0600 "$KEYS/alice.pub" "/home/$name/.ssh/authorized_keys"
    done
    usermod --append --groups docker dockerexec
    chgrp docker /run/docker.sock
    mkdir -p /etc/ssh/box
    cat >/etc/ssh/box/20-bench.conf <<'CONF'
Match User dockerexec
	ForceCommand exec docker exec -i -u alice studio /bin/sh -c "$SSH_ORIGINAL_COMMAND"
CONF
}

bench_login() {
    local ssh name
    # shellcheck disable=SC2207  # options are words
    ssh=(/usr/bin/ssh $(ssh_options alice))
    for name in plain alice+lab alice+studio dockerexec; do
        [[ $(limit "${ssh[@]}" "$name@bastion" 'echo in') == in ]] || die "no session as '$name'"
    done
    section 'ssh LOGIN true'
    TIMEOUT=180 measure 30 "${ssh[@]}" plain@bastion true -- "${ssh[@]}" alice+lab@bastion true -- \
        "${ssh[@]}" alice+studio@bastion true -- "${ssh[@]}" dockerexec@bastion true
    row_over 0 'plain sshd'
    row_over 1 'vestibule, namespace driver'
    row_over 2 'vestibule, docker driver'
    row_over 3 'docker exec as ForceCommand'
    goal 'ssh lab true (namespace) over plain sshd' "$(quotient "${more[1]}" 1000)" ms '<=' 10
    goal 'ssh studio true (docker) over plain sshd' "$(quotient "${more[2]}" 1000)" ms '<=' 10

    section 'the same with a terminal (ssh -tt)'
    TIMEOUT=120 measure 12 "${ssh[@]}" -tt plain@bastion true -- "${ssh[@]}" -tt alice+lab@bastion true -- \
        "${ssh[@]}" -tt alice+studio@bastion true
    row_over 0 'plain sshd'
    row_over 1 'vestibule, namespace driver'
    row_over 2 'vestibule, docker driver'
}

# row_over N LABEL: with the milliseconds over command 0.
row_over() { row_of "$1" "$2" "$(printf '%+.1f ms' "$(quotient "${more[$1]}" 1000)")"; }

# The programs of the way, one by one, as sshd and each other start them.
bench_parts() {
    local print libexec=/usr/libexec/vestibule
    print=$(fingerprint alice)
    section 'where it goes'
    AS=vestibule-keys measure 200 "$work/nothing" -- $libexec/keys-lookup alice+lab "$print"
    row_of 0 'a static program that does nothing'
    row_of 1 'keys-lookup, for sshd (twice a login)'
    install -m 0644 /dev/stdin "$work/auth-info" <<<"publickey $(cut -d ' ' -f 1,2 "$KEYS/alice.pub")"
    (
        export LOGNAME=alice+lab SSH_USER_AUTH=$work/auth-info SSH_CONNECTION='127.0.0.1 40000 127.0.0.1 22'
        export VESTIBULE_COMMAND=true SSH_ORIGINAL_COMMAND=true
        TIMEOUT=60 AS=vestibule measure 200 "$work/nothing" -- $libexec/keys-lookup --client 127.0.0.1 --decide alice+lab "$print" -- \
            $libexec/enter --session bench --target "$(target_id lab)" --account alice -- \
            $libexec/enter --session bench --target "$(target_id studio)" --account alice -- \
            $libexec/route-session
        row_of 1 'keys-lookup --decide, for route-session'
        row_of 2 'enter, namespace driver, with sh -c true'
        row_of 3 'enter, docker driver, with sh -c true'
        row_of 4 'route-session with all behind it (namespace)'
    )
}

target_id() { sqlite3 "file:$STORE?immutable=1" "SELECT target_id FROM target_names WHERE name = '$1'"; }
