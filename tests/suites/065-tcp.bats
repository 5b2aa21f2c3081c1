#!/usr/bin/env bats
# The tcp driver: a target that is a network service. Bytes by ProxyCommand, and `ssh -J` through the bastion to that one
# address and no other.

load ../lib/bastion

setup_file() {
    bastion_start
    make_key alice
    vestibulectl account add alice
    vestibulectl key add --account alice "$KEYS/alice.pub"
    ip addr add 198.51.100.7/32 dev lo
    ip addr add 2001:db8::7/128 dev lo nodad
    # A second sshd is the service: Debian's, for root by alice's key, on its own addresses.
    cat >/etc/ssh/service_config <<CONF
ListenAddress 198.51.100.7:2200
ListenAddress [2001:db8::7]:2200
HostKey /etc/ssh/box/host_key
PidFile /run/service.pid
AuthorizedKeysFile $KEYS/service_keys
StrictModes no
PermitRootLogin yes
CONF
    cp "$KEYS/alice.pub" "$KEYS/service_keys"
    printf '[198.51.100.7]:2200,[2001:db8::7]:2200,service,[service]:2200,[gate]:2200,gate %s\n' "$(</etc/ssh/box/host_key.pub)" >>/etc/ssh/ssh_known_hosts
    detached /run/box/logs/service.log /usr/sbin/sshd -D -f /etc/ssh/service_config -E /run/box/logs/service.log
    wait_for 5 test -s /run/service.pid
    echo '198.51.100.7 service.example' >>/etc/hosts
    for target in 'gate 198.51.100.7:2200' 'gate6 [2001:db8::7]:2200' 'named service.example:2200' 'shut 198.51.100.7:9' 'lost no-such-host.invalid:22'; do
        vestibulectl target add "${target% *}" --driver tcp --address "${target#* }"
        vestibulectl grant add alice "${target% *}"
    done
}

setup() { audit_mark; }

teardown() { show_logs_on_failure; }

# through LOGIN HOST [CMD]...: OpenSSH's client with the session as its ProxyCommand.
through() {
    local login=$1 host=$2
    shift 2
    # shellcheck disable=SC2046  # options are words
    limit ssh $(ssh_options alice) -o "ProxyCommand=ssh $(ssh_options alice | sed 's/%/%%/g') -l $login bastion" -l root "$host" "$@"
}

# jump LOGIN HOST:PORT [CMD]...: what `ssh -J LOGIN@bastion` does, with the test's own keys.
jump() {
    local login=$1 to=$2
    shift 2
    # shellcheck disable=SC2046  # options are words
    limit ssh $(ssh_options alice) -o "ProxyCommand=ssh $(ssh_options alice) -l $login -W $to bastion" -l root -o HostKeyAlias=service service "$@"
}

@test "a service is reached with the session as ProxyCommand, by address, IPv6 address and name" {
    local login
    for login in alice+gate alice+gate6 alice+named; do
        run_ok through "$login" gate 'echo arrived'
        is arrived "$output"
        is '' "$stderr"
    done
}

@test "ssh -J goes to the target's address, and to nothing else" {
    run_ok jump alice+gate 198.51.100.7:2200 'echo arrived'
    is arrived "$output"
    run_ok jump alice+gate6 '[2001:db8::7]:2200' 'echo arrived'
    is arrived "$output"
    run_ok jump alice+named service.example:2200 'echo arrived'
    is arrived "$output"
    local to
    for to in 127.0.0.1:22 198.51.100.7:22 127.0.0.1:2200 '[2001:db8::7]:2200' localhost:22; do
        run_rc 255 jump alice+gate "$to" true
        matches 'administratively prohibited|stdio forwarding failed' "$stderr"
    done
}

@test "other forwards of a tcp target are refused" {
    SSH_OPTIONS='-o ExitOnForwardFailure=yes -R 2300:127.0.0.1:22 -N' run_rc 255 ssh_as alice+gate
    SSH_OPTIONS='-W /run/docker.sock:0' run_rc 255 ssh_as alice+gate
}

@test "bytes pass both ways as they are, and the end of one direction is passed on" {
    detached /run/box/logs/echo.log socat TCP-LISTEN:2201,bind=198.51.100.7,fork,reuseaddr SYSTEM:'sha256sum; head -c 1000000 /dev/zero'
    vestibulectl target add sums --driver tcp --address 198.51.100.7:2201
    vestibulectl grant add alice sums
    wait_for 5 bash -c 'exec 9<>/dev/tcp/198.51.100.7/2201'
    head -c 5000000 /dev/urandom >"$BATS_TEST_TMPDIR/in"
    ssh_as alice+sums <"$BATS_TEST_TMPDIR/in" >"$BATS_TEST_TMPDIR/out"
    is "$(sha256sum <"$BATS_TEST_TMPDIR/in")" "$(head -n 1 "$BATS_TEST_TMPDIR/out")"
    is $((1000000 + 68)) "$(stat -c %s "$BATS_TEST_TMPDIR/out")"
}

@test "a service that is shut or has no address is said to be so" {
    run_rc 209 ssh_as alice+shut
    matches "^vestibule: 'shut' can't be reached: Connection refused; .*\(session " "$stderr"
    run_rc 209 ssh_as alice+lost
    matches "^vestibule: 'lost' can't be reached: its address is not known; .*\(session " "$stderr"
}

@test "another session's process can't be looked into, though all have one uid" {
    detached /run/box/logs/quiet.log socat TCP-LISTEN:2202,bind=198.51.100.7,fork,reuseaddr PIPE
    vestibulectl target add quiet --driver tcp --address 198.51.100.7:2202
    vestibulectl grant add alice quiet
    wait_for 5 bash -c 'exec 9<>/dev/tcp/198.51.100.7/2202'
    # shellcheck disable=SC2016,SC2046  # for that shell; options are words
    detached /run/box/logs/session.log bash -c 'sleep 60 | ssh "$@"' ssh $(ssh_options alice) -l alice+quiet bastion
    wait_for 5 pgrep -x route-session
    local pid file
    pid=$(pgrep -x route-session)
    is vestibule "$(ps -o user= -p "$pid")"
    for file in environ maps; do run_rc 1 as_user vestibule cat "/proc/$pid/$file"; done
    run_any as_user vestibule ls "/proc/$pid/fd"
    is '' "$output"
    kill "$pid"
}

@test "a command or a terminal for a service is refused with the way that works" {
    run_rc 210 ssh_as alice+gate ls
    matches 'vestibule: this target is a network service.*; use it with ProxyCommand' "$stderr"
    run_rc 210 ssh_on_terminal 24x80 -- alice+gate
    matches 'this target is a network service' "$output"
}

site_listens() { docker exec site netstat -ltn | grep -q :8000; }

@test "a container is reached where it is now: at its own address, and at its published port" {
    docker_start
    docker_image vt-busybox
    docker_run site vt-busybox --publish 198.51.100.7:8022:8000
    docker exec --detach site nc -ll -p 8000 -e /bin/echo hello
    wait_for 5 site_listens
    vestibulectl target add site --driver tcp --container site --port 8000
    vestibulectl target add site-published --driver tcp --container site --port 8000 --published
    vestibulectl grant add alice site
    vestibulectl grant add alice site-published
    run_ok ssh_as alice+site
    is hello "$output"
    run_ok ssh_as alice+site-published
    is hello "$output"
    # ssh -J, with the address that the container has at the moment.
    local address
    address=$(docker inspect --format '{{.NetworkSettings.IPAddress}}' site)
    SSH_OPTIONS="-W $address:8000" run_ok ssh_as alice+site
    is hello "$output"
    SSH_OPTIONS="-W $address:8001" run_rc 255 ssh_as alice+site
    # Another address after a restart, and nothing to change in the store.
    docker stop --time 0 site
    run_rc 209 ssh_as alice+site
    docker_run squatter vt-busybox
    docker start site
    docker exec --detach site nc -ll -p 8000 -e /bin/echo hello again
    wait_for 5 site_listens
    is_not "$address" "$(docker inspect --format '{{.NetworkSettings.IPAddress}}' site)"
    run_ok ssh_as alice+site
    is 'hello again' "$output"
    SSH_OPTIONS="-W $address:8000" run_rc 255 ssh_as alice+site
}

# talks OUT: a session to `talk` in the background, which has been answered once; its exit status will be in OUT.rc.
talks() {
    mkfifo "$1.in"
    { ssh_as alice+talk <"$1.in" >"$1" 2>"$1.err" && echo 0 >"$1.rc" || echo $? >"$1.rc"; } 3>&- &
    exec 8>"$1.in"
    echo hello >&8
    wait_for 10 grep -q hello "$1"
}

watchers() { pgrep -f 'keys-lookup.* --watch ' | wc -l; }

@test "a session to a service ends when what let it in is taken away, and what watches it ends with it" {
    local out=$BATS_TEST_TMPDIR/out
    detached /run/box/logs/talk.log socat TCP-LISTEN:2203,bind=198.51.100.7,fork,reuseaddr PIPE
    wait_for 5 bash -c 'exec 9<>/dev/tcp/198.51.100.7/2203'
    vestibulectl target add talk --driver tcp --address 198.51.100.7:2203
    vestibulectl grant add alice talk
    # It ends by itself.
    talks "$out.1"
    is 1 "$(watchers)"
    exec 8>&-
    wait_for 5 test -s "$out.1.rc"
    is 0 "$(<"$out.1.rc")"
    wait_for 5 no_watchers
    # What is taken from others is nothing to it; its own grant is.
    talks "$out.2"
    vestibulectl grant rm alice gate6
    sleep 1
    echo still >&8
    wait_for 5 grep -q still "$out.2"
    vestibulectl grant rm alice talk
    wait_for 3 test -s "$out.2.rc"
    exec 8>&-
    is 213 "$(<"$out.2.rc")"
    matches "^vestibule: your access to 'talk' was taken away; ask the owner for access [(]session [a-z0-9]{10}[)]" "$(<"$out.2.err")"
    expect_audit 'event=revoked target=talk account=alice reason='
    wait_for 5 no_watchers
    # The operator's word is enough, and so is the death of what watches.
    vestibulectl grant add alice gate6
    vestibulectl grant add alice talk
    talks "$out.3"
    vestibulectl sessions end --account alice
    wait_for 3 test -s "$out.3.rc"
    exec 8>&-
    is 213 "$(<"$out.3.rc")"
    matches 'the operator ended this session' "$(<"$out.3.err")"
    talks "$out.4"
    pkill -KILL -f 'keys-lookup.* --watch '
    wait_for 3 test -s "$out.4.rc"
    exec 8>&-
    is 213 "$(<"$out.4.rc")"
    expect_audit 'event=revoked target=talk account=alice reason=unwatched'
}

no_watchers() { [[ $(watchers) == 0 ]]; }
