#!/usr/bin/env bats
# Forwards, with somebody at one end who does not wish us well: root in the container, or a client with a thousand channels.

# shellcheck disable=SC2046  # $(inside NAME) and options are words

load ../lib/bastion
load ../lib/forwards

setup_file() {
    bastion_start
    forwarding_on
    add_person alice
    sandbox_start lab
    target lab --driver namespace --pid-file "$SANDBOX_PIDS/lab.pid" --user alice
    serve 8000 lab $(inside lab)
    ETC=$(sandbox_root lab)/etc
    export ETC
    cp "$ETC/hosts" /run/box/hosts 2>/dev/null || echo '127.0.0.1 localhost' | tee "$ETC/hosts" >/run/box/hosts
}

target() {
    local name=$1
    shift
    limit vestibulectl target add "$name" "$@" >/dev/null && limit vestibulectl grant add alice "$name" >/dev/null
}

setup() { audit_mark; }
teardown() {
    show_logs_on_failure
    rm -rf "$ETC/resolv.conf" "$ETC/hosts"
    cp /run/box/hosts "$ETC/hosts"
}

through() { SSH_OPTIONS="-W $1" ssh_as "$2" </dev/null; }

# no_worse: a forward by address works, and a session.
no_worse() {
    run_ok through 127.0.0.1:8000 lab
    is lab "$output"
    run_ok ssh_as lab whoami
    is alice "$output"
}

@test "a resolv.conf that is a pipe, a directory, a device or a link out is left alone, and nothing waits for it" {
    local kind
    for kind in pipe directory device; do
        rm -rf "$ETC/resolv.conf"
        case $kind in
        pipe) mkfifo "$ETC/resolv.conf" ;;
        directory) mkdir "$ETC/resolv.conf" ;;
        device) mknod "$ETC/resolv.conf" c 1 5 ;;
        esac
        audit_mark
        TIMEOUT=8 no_worse
        expect_audit 'note="names are looked up as the bastion does: a file of the container'
    done
    # What the bastion has there is not the container's to name.
    echo '127.0.0.1 secret-of-the-bastion' >/run/box/secret-hosts
    ln -sf ../../../../../../run/box/secret-hosts "$ETC/hosts"
    run_rc 255 through secret-of-the-bastion:8000 lab
    ln -sf /proc/1/root/run/box/secret-hosts "$ETC/hosts"
    run_rc 255 through secret-of-the-bastion:8000 lab
}

@test "one without end is cut off; what stands in the first part counts" {
    { echo '127.0.0.1 localhost early'; yes '127.0.0.1 again' | head -c 50000000; echo '127.0.0.1 late'; } >"$ETC/hosts"
    TIMEOUT=8 no_worse
    run_ok through early:8000 lab
    is lab "$output"
    run_rc 255 through late:8000 lab
}

# A file system that does not answer: here sshfs, whose server is stopped.
@test "one that never answers a read costs the names and three seconds, and leaves nobody when it answers" {
    mkdir -p /run/box/served /run/box/serving
    echo '127.0.0.1 localhost served' >/run/box/serving/hosts
    detached /run/box/logs/sftp.log socat TCP-LISTEN:18400,fork EXEC:/usr/lib/openssh/sftp-server
    wait_for 5 listens_on 18400
    detached /run/box/logs/sshfs.log sshfs -f -o directport=18400,direct_io,allow_other bastion:/run/box/serving /run/box/served
    wait_for 10 test -e /run/box/served/hosts
    docker_run hanging vt-busybox --volume /run/box/served/hosts:/etc/hosts
    target hanging --driver docker --container hanging --user alice
    serve 8000 hanging docker exec hanging
    run_ok through served:8000 hanging
    is hanging "$output"
    pkill -STOP -x sftp-server
    audit_mark
    TIMEOUT=12 run_ok through 127.0.0.1:8000 hanging
    is hanging "$output"
    expect_audit 'note="names are looked up as the bastion does: '
    # What waits in the kernel for an answer can't be ended before there is one.
    pkill -CONT -x sftp-server
    wait_for 10 fails pgrep -x enter
}

@test "a container that has all ports of its own takes no port of anybody else's" {
    serve 9201 taken $(inside lab)
    SSH_OPTIONS='-o ExitOnForwardFailure=yes -R 9201:127.0.0.1:22' run_rc 255 ssh_as lab true
    # A port of the client's choice, given by the container's kernel.
    SSH_OPTIONS='-o LogLevel=INFO -R 0:127.0.0.1:22' run_ok ssh_as lab true
    matches 'Allocated port [0-9]+ for remote forward' "$stderr"
}

@test "IPv6: the container's ::1 is listened on and connected to" {
    SSH_OPTIONS='-o ExitOnForwardFailure=yes -R [::1]:9202:127.0.0.1:22' run_ok ssh_as lab 'netstat -ltn'
    matches '::1:9202 ' "$output"
    # A service at ::1 alone.
    detached /run/box/logs/six.log nsenter --target "$(sandbox_pid lab)" --net socat 'TCP6-LISTEN:8006,bind=[::1],fork' EXEC:'/bin/echo six'
    wait_for 5 listens_on 8006 $(inside lab)
    run_ok through '[::1]:8006' lab
    is six "$output"
}

@test "a thousand channels at once: who has them is served or refused, and everybody else is served" {
    detached /run/box/logs/echo.log nsenter --target "$(sandbox_pid lab)" --net python3 "$BOX_REPO/tests/lib/many.py" serve 8500
    wait_for 5 listens_on 8500 $(inside lab)
    forward lab -L 18401:localhost:8500
    local mine=$FORWARD
    wait_for 5 listens_on 18401
    detached /run/box/logs/many.log python3 "$BOX_REPO/tests/lib/many.py" ask 18401 1000 5
    local asker=$!
    wait_for 20 grep -q '^answered ' /run/box/logs/many.log
    # While they are all open.
    run_ok through localhost:8000 lab
    is lab "$output"
    wait_for 20 fails kill -0 "$asker"
    local answered
    answered=$(sed -n 's/^answered //p' /run/box/logs/many.log)
    ((answered >= 400)) || { cat /run/box/logs/many.log; return 1; }
    # The connection itself lived through it.
    run_ok through localhost:8000 lab
    stop_forward "$mine"
    wait_for 10 no_connections
}

@test "ten thousand wishes one after the other, most of them for ports where nobody is, end a connection no sooner" {
    forward lab -D 18402
    wait_for 5 listens_on 18402
    TIMEOUT=60 run_ok python3 "$BOX_REPO/tests/lib/many.py" knock 18402 3000
    run_ok socks 18402 localhost 8000
    is lab "$output"
    stop_forward
    wait_for 10 no_connections
}

@test "a tcp target: its address is forwarded to as long as its container runs, and then nobody who has it" {
    docker_run site vt-busybox
    serve 8000 old docker exec site
    target site --driver tcp --container site --port 8000
    local address
    address=$(docker inspect --format '{{.NetworkSettings.IPAddress}}' site)
    forward site -L "18403:$address:8000"
    wait_for 5 listens_on 18403
    run_ok reach 18403
    is old "$output"
    docker stop --time 0 site
    docker_run squatter vt-busybox
    is "$address" "$(docker inspect --format '{{.NetworkSettings.IPAddress}}' squatter)"
    serve 8000 squatter docker exec squatter
    run_any reach 18403
    matches_not squatter "$output"
    wait_for 10 fails kill -0 "$FORWARD"
    expect_audit 'event=close target=site by=container'
    run_rc 209 ssh_as site
    docker start site
    serve 8000 new docker exec site
    run_ok ssh_as site
    is new "$output"
}
