#!/usr/bin/env bats
# Forwards that end in the container: -L, -D, -W and -R, their policy, their log, and their end.

# shellcheck disable=SC2046  # $(inside NAME) is words

load ../lib/bastion
load ../lib/forwards

setup_file() {
    bastion_start
    forwarding_on
    add_person alice
    sandbox_start lab
    sandbox_start mapped --userns
    docker_run box vt-busybox --add-host friend:127.0.0.1
    target lab --driver namespace --pid-file "$SANDBOX_PIDS/lab.pid"
    target mapped --driver namespace --pid-file "$SANDBOX_PIDS/mapped.pid"
    target box --driver docker --container box
    serve 8000 bastion
    serve 8000 lab $(inside lab)
    serve 8001 lab-too $(inside lab)
    serve 8000 mapped $(inside mapped)
    serve 8000 box docker exec box
}

target() {
    local name=$1
    shift
    limit vestibulectl target add "$name" --user alice "$@" >/dev/null && limit vestibulectl grant add alice "$name" >/dev/null
}

setup() { audit_mark; }
teardown() { show_logs_on_failure; }

through() { SSH_OPTIONS="-W $1" ssh_as "$2" </dev/null; }

@test "localhost is the container's: a sandbox's, one's with users of its own, and Docker's" {
    local name host
    for name in lab mapped box; do
        for host in localhost 127.0.0.1; do
            run_ok through "$host:8000" "$name"
            is "$name" "$output"
        done
    done
    run_ok reach 8000
    is bastion "$output"
}

@test "ssh -L: a port of mine is a port of the container's" {
    forward lab -L 18000:localhost:8000
    wait_for 5 listens_on 18000
    run_ok reach 18000
    is lab "$output"
    stop_forward
}

@test "ssh -D: a proxy that stands in the container" {
    forward box -D 18001
    wait_for 5 listens_on 18001
    run_ok socks 18001 localhost 8000
    is box "$output"
    stop_forward
}

@test "ssh -R: a port of the container's is a port of mine, and two targets can have the same" {
    serve 8111 mine
    local one
    forward lab -R 9000:127.0.0.1:8111
    one=$FORWARD
    forward box -R 9000:127.0.0.1:8000
    wait_for 5 listens_on 9000 $(inside lab)
    wait_for 5 listens_on 9000 docker exec box
    fails listens_on 9000
    run_ok ssh_as lab 'nc 127.0.0.1 9000'
    is mine "$output"
    run_ok ssh_as box 'nc 127.0.0.1 9000'
    is bastion "$output"
    stop_forward
    stop_forward "$one"
}

@test "ssh -J: an sshd that listens in the container, by way of the bastion" {
    printf '%s\n' 'Port 2222' 'ListenAddress 127.0.0.1' 'HostKey /etc/ssh/box/host_key' 'PidFile none' \
        "AuthorizedKeysFile $KEYS/alice.pub" 'StrictModes no' 'UsePAM no' 'PermitRootLogin yes' >/etc/ssh/sshd_config.inner
    detached /run/box/logs/inner.log nsenter --target "$(sandbox_pid lab)" --net /usr/sbin/sshd -D -e -f /etc/ssh/sshd_config.inner
    wait_for 5 listens_on 2222 $(inside lab)
    # shellcheck disable=SC2046  # options are words
    run_ok ssh -o StrictHostKeyChecking=no $(ssh_options alice) \
        -o ProxyCommand="ssh $(ssh_options alice) -W %h:%p -l lab bastion" -p 2222 root@localhost 'readlink /proc/self/ns/net'
    is "$(readlink "/proc/$(sandbox_pid lab)/ns/net")" "$output"
}

@test "the session itself is as it was" {
    run_ok ssh_as lab whoami
    is alice "$output"
    run_rc 7 ssh_as box 'exit 7'
    run_ok ssh_on_terminal 24x80 -- box tty
    matches '^/dev/pts/' "$output"
    run_ok ssh_as mapped 'readlink /proc/self/ns/net'
    is "$(readlink "/proc/$(sandbox_pid mapped)/ns/net")" "$output"
}

@test "a name is looked up as the container does" {
    run_ok through friend:8000 box
    is box "$output"
    echo '127.0.0.1 of-the-bastion' >>/etc/hosts
    run_rc 255 through of-the-bastion:8000 box
    # What was mounted for that is gone, and was never here.
    fails grep -q ' tmpfs vestibule ' /proc/self/mountinfo
}

@test "a connection that only forwards is in the log, is listed, and is gone when it ends" {
    forward box -L 18002:localhost:8000
    wait_for 5 listens_on 18002
    expect_audit "enter\[[0-9]+\]: connection=[a-z0-9]+ event=open login=\"box\" target=box account=alice fingerprint=$(literally "$(fingerprint alice)") client=\"127.0.0.1 [0-9]+ 127.0.0.1 22\" tty=\"ssh\" pid=[0-9]+ network=target"
    run_ok vestibulectl sessions --json
    is 'box alice' "$(jq -r '.[] | .target + " " + .account' <<<"$output")"
    stop_forward
    expect_audit 'event=close target=box by=client'
    wait_for 5 no_connections
}

@test "a target's policy says which kinds of forwards there are" {
    vestibulectl target set lab --forward local
    run_ok through localhost:8000 lab
    SSH_OPTIONS='-o ExitOnForwardFailure=yes -R 9001:127.0.0.1:8000' run_rc 255 ssh_as lab true
    vestibulectl target set lab --forward remote
    run_rc 255 through localhost:8000 lab
    SSH_OPTIONS='-o ExitOnForwardFailure=yes -R 9001:127.0.0.1:8000' run_ok ssh_as lab true
    vestibulectl target set lab --forward none
    run_rc 255 through localhost:8000 lab
    SSH_OPTIONS='-o ExitOnForwardFailure=yes -R 9001:127.0.0.1:8000' run_rc 255 ssh_as lab true
    vestibulectl target set lab --forward all
}

@test "a target's policy says which ports there are" {
    vestibulectl target set lab --open-port 8000 --listen-port 9001
    run_ok vestibulectl target show lab
    matches 'open ports 8000' "$output"
    run_ok through localhost:8000 lab
    run_ok through 127.0.0.1:8000 lab
    run_rc 255 through localhost:8001 lab
    SSH_OPTIONS='-o ExitOnForwardFailure=yes -R 9001:127.0.0.1:8000' run_ok ssh_as lab true
    SSH_OPTIONS='-o ExitOnForwardFailure=yes -R 9002:127.0.0.1:8000' run_rc 255 ssh_as lab true
    vestibulectl target set lab --open-port any --listen-port any
    run_ok through localhost:8001 lab
    is lab-too "$output"
}

@test "a key's options narrow it further" {
    vestibulectl account add narrow
    make_key narrow
    vestibulectl grant add narrow lab
    sed 's/^/permitopen="localhost:8000",permitlisten="9003" /' "$KEYS/narrow.pub" >/run/box/narrow.pub
    vestibulectl key add --account narrow /run/box/narrow.pub
    KEY=narrow run_ok through localhost:8000 lab
    KEY=narrow run_rc 255 through localhost:8001 lab
    KEY=narrow SSH_OPTIONS='-o ExitOnForwardFailure=yes -R 9003:127.0.0.1:8000' run_ok ssh_as lab true
    KEY=narrow SSH_OPTIONS='-o ExitOnForwardFailure=yes -R 9004:127.0.0.1:8000' run_rc 255 ssh_as lab true
}

@test "when a container is stopped its forwards end, and a new one of its name has nothing to do with them" {
    docker_run short vt-busybox
    target short --driver docker --container short
    serve 8000 old docker exec short
    forward short -L 18003:localhost:8000
    wait_for 5 listens_on 18003
    run_ok reach 18003
    is old "$output"
    docker_remove short
    docker_run short vt-busybox
    serve 8000 new docker exec short
    run_any reach 18003
    is '' "$output"
    wait_for 10 fails kill -0 "$FORWARD"
    expect_audit 'event=close target=short by=container'
    run_ok through localhost:8000 short
    is new "$output"
}

@test "a session in a container that is stopped says so; one in a container that is not there too" {
    detached /run/box/logs/stopped.log ssh $(ssh_options short) -l short bastion 'echo in; sleep 60'
    local session=$!
    wait_for 5 grep -q in /run/box/logs/stopped.log
    docker stop --time 0 short
    wait_for 10 fails kill -0 "$session"
    wait_for 5 grep -q "the container of 'short' was stopped" /run/box/logs/stopped.log
    run_rc 202 ssh_as short true
    matches "'short' is not running" "$stderr"
    run_rc 255 through localhost:8000 short
    expect_audit 'network=none cause="the engine says it is not running"'
}
