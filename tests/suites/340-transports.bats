#!/usr/bin/env bats
# Streams: targets that are reached over a unix socket, a command of the configuration or a WebSocket, for clients that use
# the bastion as ProxyCommand.

load ../lib/bastion

setup_file() {
    bastion_start
    make_key alice
    vestibulectl account add alice
    vestibulectl key add --account alice "$KEYS/alice.pub"
    ip addr add 198.51.100.7/32 dev lo
    # A second sshd is the service behind all of them: Debian's, for root by alice's key.
    cat >/etc/ssh/service_config <<CONF
ListenAddress 198.51.100.7:2200
HostKey /etc/ssh/box/host_key
PidFile /run/service.pid
AuthorizedKeysFile $KEYS/service_keys
StrictModes no
PermitRootLogin yes
CONF
    cp "$KEYS/alice.pub" "$KEYS/service_keys"
    printf 'service %s\n' "$(</etc/ssh/box/host_key.pub)" >>/etc/ssh/ssh_known_hosts
    detached /run/box/logs/service.log /usr/sbin/sshd -D -f /etc/ssh/service_config -E /run/box/logs/service.log
    wait_for 5 test -s /run/service.pid
    mkdir -p /run/labs
    export ASKED=/run/box/logs/site.log
    detached "$ASKED" "$BOX_REPO/tests/lib/lying-websocket.py" 7300
    detached /run/box/logs/socat.log socat UNIX-LISTEN:/run/labs/one,fork,mode=0666 TCP:198.51.100.7:2200
    detached /run/box/logs/pipe.log socat -b 4096 UNIX-LISTEN:/run/labs/pipe,fork,mode=0666 PIPE
    wait_for 5 grep -q listening "$ASKED"
    wait_for 5 sockets_are_there
    install -d /etc/vestibule/tokens
    printf 'token-of-the-hub\n' >/etc/vestibule/tokens/hub
    chown vestibule-hop /etc/vestibule/tokens/hub
    chmod 0400 /etc/vestibule/tokens/hub
    cat >/usr/local/bin/fails <<'SH'
#!/bin/sh
echo "secrets of the operator, for $1" >&2
exit 3
SH
    chmod +x /usr/local/bin/fails
    cat >/etc/vestibule/vestibule.toml.d/elsewhere.toml <<'CONF'
[may_enter]
sockets = ["/run/labs/*"]
websockets = ["hub:/port/*", "hub:/echo", "hub:/status/*", "hub:/middle", "hub:/fed-close/*", "hub:/gone"]
[site.hub]
url = "http://127.0.0.1:7300"
token_file = "/etc/vestibule/tokens/hub"
[connect.service]
command = ["/usr/bin/socat", "STDIO", "TCP:198.51.100.7:2200"]
user = "daemon"
[connect.pipe]
command = ["/bin/sh", "-c", "sleep 1000 & cat; echo \"$@\" $(id -un) $VESTIBULE_TARGET", "sh", "{target}", "{account}"]
[connect.fails]
command = ["/usr/local/bin/fails", "{account}"]
CONF
    stream unix --socket /run/labs/one
    stream unix-pipe --socket /run/labs/pipe
    stream unix-none --socket /run/labs/none
    stream unix-shut --socket /run/docker.sock
    stream ran --connect service
    stream ran-pipe --connect pipe
    stream ran-fails --connect fails
    stream web --site hub --path /port/2200
    stream web-echo --site hub --path /echo
    stream web-404 --site hub --path /status/404/json
    stream web-middle --site hub --path /middle
    stream web-restarts --site hub --path /fed-close/1012
    stream web-gone --site hub --path /gone
    stream web-shut --site hub --path /hub/api
    stream by-address --address 198.51.100.7:2200
}

sockets_are_there() { [[ -S /run/labs/one && -S /run/labs/pipe ]]; }

# stream NAME OPTION...
stream() {
    vestibulectl target add "$1" --driver stream "${@:2}"
    vestibulectl grant add alice "$1"
}

setup() { audit_mark; }

teardown() { show_logs_on_failure; }

# through LOGIN [CMD]...: OpenSSH's client with the session as its ProxyCommand.
through() {
    local login=$1
    shift
    # shellcheck disable=SC2046  # options are words
    limit ssh $(ssh_options alice) -o "ProxyCommand=ssh $(ssh_options alice | sed 's/%/%%/g') -T -l $login bastion" -l root service "$@"
}

# open_ended LOGIN: a client that keeps its end open until the other side ends it.
open_ended() { ssh_as "$1" < <(exec sleep 20 2>/dev/null 3>&-); }

@test "a service is reached with the session as ProxyCommand, over each transport" {
    local login
    for login in unix ran web by-address; do
        run_ok through "alice+$login" 'echo arrived'
        is arrived "$output"
        is '' "$stderr"
    done
    matches 'GET /port/2200 token token-of-the-hub' "$(<"$ASKED")"
    expect_audit 'event=start target=web account=alice'
    expect_audit 'event=end target=web '
}

@test "a megabyte of any bytes goes there and back" {
    local login
    head -c 1000000 /dev/urandom >"$BATS_TEST_TMPDIR/in"
    for login in unix-pipe web-echo; do
        ssh_as "alice+$login" <"$BATS_TEST_TMPDIR/in" >"$BATS_TEST_TMPDIR/out"
        cmp "$BATS_TEST_TMPDIR/in" "$BATS_TEST_TMPDIR/out"
    done
}

@test "scp and a session of minutes' worth of output go through a WebSocket" {
    head -c 20000000 /dev/urandom >"$BATS_TEST_TMPDIR/in"
    through alice+web 'cat >/root/got' <"$BATS_TEST_TMPDIR/in"
    is "$(sha256sum <"$BATS_TEST_TMPDIR/in")" "$(sha256sum </root/got)"
    through alice+web 'cat /root/got' </dev/null | cmp - "$BATS_TEST_TMPDIR/in"
    run_rc 42 through alice+web 'exit 42'
}

@test "what the configuration does not name is not connected to, whatever the store says" {
    local login
    for login in unix-shut web-shut; do
        ssh_refused "alice+$login"
        expect_audit "result=denied.*target=$login.*reason=not-allowed|reason=not-allowed.*target=$login"
    done
    fails grep -q /hub/api "$ASKED"
}

@test "a way that is closed is told with its reason, the session's number and an exit code of its own" {
    run_rc 209 open_ended alice+web-404
    matches "^vestibule: 'web-404' can't be reached: the site 'hub' answers 404 and says 'so it is .*': there is no such server, or it does not run; .*[(]session [a-z0-9]{10}[)]" "$stderr"
    is 1 "$(wc -l <<<"$stderr")"
    run_rc 209 open_ended alice+unix-none
    matches "^vestibule: 'unix-none' can't be reached: its socket does not exist; " "$stderr"
    run_rc 209 open_ended alice+web-gone
    matches "can't be reached: the site 'hub' hung up in the middle, before a byte came; " "$stderr"
    run_rc 211 open_ended alice+web-middle
    is hello "$output"
    matches "^vestibule: the connection to 'web-middle' was lost: the site 'hub' hung up in the middle; " "$stderr"
    run_rc 211 open_ended alice+web-restarts
    matches "lost: the site 'hub' ended the connection with code 1012: it restarts; " "$stderr"
    expect_audit 'result=refused exit=209 target=[0-9]+ cause="status 404'
    expect_no_audit token-of
}

@test "a command's words are its operator's, and that it failed is told" {
    run_rc 209 open_ended alice+ran-fails
    matches "^vestibule: 'ran-fails' can't be reached: the command that leads there ended with status 3; " "$stderr"
    matches_not secrets "$stderr"
    expect_audit "cause=.status 3, and said 'secrets of the operator, for alice'"
    mv /etc/vestibule/vestibule.toml.d/elsewhere.toml "$BATS_TEST_TMPDIR/"
    run_rc 200 ssh_as alice+ran
    mv "$BATS_TEST_TMPDIR/elsewhere.toml" /etc/vestibule/vestibule.toml.d/
    expect_audit "cause=\"command 'ran': not in the configuration|cause=\"command 'service': not in the configuration"
}

@test "a command runs as its user, knows whom it is for, and ends with what it started" {
    run_ok ssh_as alice+ran-pipe <<<hello
    is hello "${lines[0]}"
    is 'ran-pipe alice nobody ran-pipe' "${lines[1]}"
    wait_for 5 fails pgrep -u nobody -x sleep
}

@test "a command or a terminal for a stream is refused with the way that works" {
    run_rc 210 ssh_as alice+web ls
    matches 'vestibule: this target is a network service.*; use it with ProxyCommand' "$stderr"
    run_rc 210 ssh_on_terminal 24x80 -- alice+unix
    matches 'this target is a network service' "$output"
}

# talks TARGET OUT: a session in the background, which has been answered once; its exit status will be in OUT.rc.
talks() {
    rm -f "$2".*
    mkfifo "$2.in"
    { ssh_as "alice+$1" <"$2.in" >"$2" 2>"$2.err" && echo 0 >"$2.rc" || echo $? >"$2.rc"; } 3>&- &
    exec 8>"$2.in"
    echo hello >&8
    wait_for 10 grep -q hello "$2"
}

connects() { pgrep -u vestibule-hop | wc -l; }
nobody_connects() { [[ $(connects) == 0 ]]; }

@test "a session to a stream is listed, and ends when what let it in is taken away" {
    local out=$BATS_TEST_TMPDIR/out target
    for target in web-echo unix-pipe ran-pipe; do
        talks "$target" "$out"
        run_ok vestibulectl sessions
        matches "$target.*alice" "$output"
        vestibulectl grant rm alice "$target"
        wait_for 5 test -s "$out.rc"
        exec 8>&-
        is 213 "$(<"$out.rc")"
        matches "^vestibule: your access to '$target' was taken away; ask the owner for access" "$(<"$out.err")"
        expect_audit "event=revoked target=$target account=alice reason="
        wait_for 5 nobody_connects
        wait_for 5 fails pgrep -u nobody -x sleep
        vestibulectl grant add alice "$target"
    done
}

@test "when the client goes, what leads there goes" {
    local out=$BATS_TEST_TMPDIR/out target
    for target in web-echo unix-pipe ran-pipe; do
        talks "$target" "$out"
        pkill -KILL -f "ssh .*alice[+]$target" || true
        exec 8>&-
        wait_for 8 nobody_connects
        wait_for 8 fails pgrep -u nobody -x sleep
    done
}

@test "nothing leads anywhere when the process that watches the session is killed" {
    local out=$BATS_TEST_TMPDIR/out target
    for target in web-echo unix-pipe; do
        talks "$target" "$out"
        pkill -KILL -u vestibule -x enter
        wait_for 5 nobody_connects
        exec 8>&-
    done
}

@test "what connects has no capability, no way to more and no sight of other sessions and of proxy keys" {
    local out=$BATS_TEST_TMPDIR/out pid
    install -d -m 0755 /etc/vestibule/proxy-keys
    : >/etc/vestibule/proxy-keys/bastion
    talks web-echo "$out"
    pid=$(pgrep -xu vestibule-hop connect)
    local uid
    uid=$(id -u vestibule-hop)
    matches $'Uid:\t'"$uid"$'\t'"$uid"$'\t'"$uid"$'\t'"$uid"$'\n' "$(<"/proc/$pid/status")"$'\n'
    matches $'CapPrm:\t0+\n' "$(<"/proc/$pid/status")"$'\n'
    matches $'CapEff:\t0+\n' "$(<"/proc/$pid/status")"$'\n'
    matches $'NoNewPrivs:\t1\n' "$(<"/proc/$pid/status")"$'\n'
    matches $'NSpid:\t[0-9]+\t1\n' "$(<"/proc/$pid/status")"$'\n'
    is_not "$(readlink /proc/1/ns/mnt)" "$(readlink "/proc/$pid/ns/mnt")"
    is '' "$(nsenter --target "$pid" --mount ls /etc/vestibule/proxy-keys)"
    is 1 "$(nsenter --target "$pid" --mount --pid sh -c 'ls -d /proc/[0-9]*' | grep -cx /proc/1)"
    fails grep -q token-of "/proc/$pid/environ" "/proc/$pid/cmdline"
    exec 8>&-
    wait_for 5 test -s "$out.rc"
    is 0 "$(<"$out.rc")"
}

@test "the same where forwards end in containers, and no forward goes anywhere" {
    sshd_stop
    forwarding_on
    sshd_start
    printf 'service %s\n' "$(</etc/ssh/box/host_key.pub)" >>/etc/ssh/ssh_known_hosts
    local login
    for login in unix ran web by-address; do
        run_ok through "alice+$login" 'echo arrived'
        is arrived "$output"
    done
    for login in unix web; do
        SSH_OPTIONS='-W 198.51.100.7:2200' run_rc 255 ssh_as "alice+$login"
    done
    expect_no_audit token-of
}
