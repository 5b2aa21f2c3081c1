#!/usr/bin/env bats
# A second hop over what leads to its server: a unix socket, a command of the configuration, a WebSocket. The same session as
# over TCP, the same words when it goes wrong, and nothing of the one process for the other.

load ../lib/bastion
load ../lib/second-hop

setup_file() {
    bastion_start
    server_start
    add_person alice
    proxy_key bastion
    ip addr add 198.51.100.7/32 dev lo
    mkdir -p /run/labs
    detached /run/box/logs/unix.log socat UNIX-LISTEN:/run/labs/one,fork,mode=0666 TCP:198.51.100.2:22
    # Where the site's WebSocket leads.
    detached /run/box/logs/port.log socat TCP-LISTEN:2200,bind=198.51.100.7,fork,reuseaddr TCP:198.51.100.2:22
    export ASKED=/run/box/logs/site.log
    detached "$ASKED" "$BOX_REPO/tests/lib/lying-websocket.py" 7300
    wait_for 5 test -S /run/labs/one
    wait_for 5 grep -q listening "$ASKED"
    install -d /etc/vestibule/tokens
    install -o vestibule-hop -m 0400 /dev/stdin /etc/vestibule/tokens/hub <<<'token-of-the-hub'
    cat >/etc/vestibule/vestibule.toml.d/elsewhere.toml <<'CONF'
[may_enter]
sockets = ["/run/labs/*"]
websockets = ["hub:/port/*", "hub:/status/*"]
[site.hub]
url = "http://127.0.0.1:7300"
token_file = "/etc/vestibule/tokens/hub"
[connect.far]
command = ["/usr/bin/socat", "STDIO", "TCP:198.51.100.2:22"]
user = "daemon"
[connect.fails]
command = ["/bin/sh", "-c", "echo secrets of the operator >&2; exit 3"]
CONF
    far unix --socket /run/labs/one
    far ran --connect far
    far web --site hub --path /port/2200
    far unix-shut --socket /run/docker.sock
    far unix-none --socket /run/labs/none
    far ran-fails --connect fails
    far web-404 --site hub --path /status/404/json
}

# far NAME OPTION...: a target that is remy behind what the options say, known by its host key.
far() {
    vestibulectl target add "$1" --driver ssh --user remy --host-key "$(<"$SERVER/host_ed25519.pub")" "${@:2}"
    vestibulectl grant add alice "$1"
}

setup() { audit_mark; }

teardown() {
    pkill -KILL -f '^sleep 500' || true
    show_logs_on_failure
}

pinned() { vestibulectl target show "$1" | grep -q "^host key   ssh-ed25519 SHA256:"; }
no_hop() { fails pgrep -u vestibule-hop; }

@test "a session over a unix socket, a command and a WebSocket is as one over TCP" {
    local way
    for way in unix ran web; do
        run_ok ssh_as "alice+$way" 'whoami; echo err >&2'
        is remy "$output"
        is err "$stderr"
        run_rc 255 ssh_as "alice+$way" 'exit 255'
        is '' "$stderr"
        run_rc 7 ssh_on_terminal 31x97 -- "alice+$way" 'stty size; exit 7'
        matches '31 97' "$output"
    done
    wait_for 5 no_hop
}

@test "bytes pass as they are, and files too" {
    local way options
    options=$(ssh_options alice)
    head -c 8000000 /dev/urandom >"$BATS_TEST_TMPDIR/in"
    for way in unix ran web; do
        ssh_as "alice+$way" 'cat' <"$BATS_TEST_TMPDIR/in" >"$BATS_TEST_TMPDIR/out"
        run_ok cmp "$BATS_TEST_TMPDIR/in" "$BATS_TEST_TMPDIR/out"
        # shellcheck disable=SC2086  # options are words
        run_ok limit scp $options "$BATS_TEST_TMPDIR/in" "alice+$way@bastion:in.$way"
        run_ok cmp "$BATS_TEST_TMPDIR/in" "/home/remy/in.$way"
    done
}

@test "what leads nowhere says why, and nothing of the operator's" {
    ssh_refused alice+unix-shut true
    run_rc 209 ssh_as alice+unix-none true
    matches "^vestibule: 'unix-none' can't be reached: .*\(session [a-z0-9]{10}\)$" "$stderr"
    run_rc 209 ssh_as alice+ran-fails true
    matches "^vestibule: 'ran-fails' can't be reached: " "$stderr"
    matches_not secrets "$stderr"
    expect_audit 'secrets of the operator'
    run_rc 209 ssh_as alice+web-404 true
    matches "^vestibule: 'web-404' can't be reached: " "$stderr"
    matches_not token-of-the-hub "$stderr$(audit_since)"
    wait_for 5 no_hop
}

@test "another host key is refused over them too; to be learned, it is taken only where the way proves itself, and is the one from then on" {
    ssh-keygen -q -t ed25519 -N '' -f "$BATS_TEST_TMPDIR/other"
    vestibulectl target add changed --driver ssh --user remy --host-key "$(<"$BATS_TEST_TMPDIR/other.pub")" --socket /run/labs/one
    vestibulectl grant add alice changed
    run_rc 214 ssh_as alice+changed true
    local name
    for name in 'learn-unix --socket /run/labs/one' 'learn-ran --connect far' 'learn-web --site hub --path /port/2200'; do
        # shellcheck disable=SC2086  # words
        vestibulectl target add $name --driver ssh --user remy --host-key learn
        vestibulectl grant add alice "${name%% *}"
    done
    local offered
    offered=$(ssh-keygen -l -f "$SERVER/host_ed25519.pub" | cut -d ' ' -f 2)
    # The key counts while the first session still lives.
    # shellcheck disable=SC2046  # options are words
    detached /run/box/logs/first.log ssh $(ssh_options alice) -l alice+learn-unix bastion 'sleep 5003'
    wait_for 10 pgrep -f '^sleep 5003'
    wait_for 5 pinned learn-unix
    pkill -KILL -f '^sleep 5003'
    for name in learn-unix learn-ran; do
        run_ok ssh_as "alice+$name" whoami
        is remy "$output"
        expect_audit "event=host-key target=$name key=\"ssh-ed25519 $(literally "$offered")\""
    done
    # From then on it is the one, whoever comes.
    for name in learn-unix learn-ran; do
        wait_for 5 pinned "$name"
        expect_audit "event=host-key-pinned target=$name key=$(literally "$offered")"
    done
    server_host_key ecdsa
    mv "$SERVER/host_ed25519" "$SERVER/host_kept"
    cp "$SERVER/host_ecdsa" "$SERVER/host_ed25519"
    server_sshd
    run_rc 214 ssh_as alice+learn-unix true
    matches 'another host key' "$stderr"
    mv "$SERVER/host_kept" "$SERVER/host_ed25519"
    server_sshd
    run_ok ssh_as alice+learn-unix true
    # Until the operator says otherwise.
    vestibulectl target set learn-unix --driver ssh --host-key learn --socket /run/labs/one
    run_ok ssh_as alice+learn-unix true
    wait_for 5 pinned learn-unix
    # Without TLS nobody knows who answers.
    run_rc 214 ssh_as alice+learn-web true
    matches "no host key of 'learn-web' is known here yet" "$stderr"
}

@test "the client sees neither the site's token nor what leads there, which sees no key" {
    # shellcheck disable=SC2046  # options are words
    detached /run/box/logs/web.log ssh $(ssh_options alice) -l alice+web bastion 'sleep 5001'
    wait_for 10 pgrep -f '^sleep 5001'
    local ssh connect
    ssh=$(pgrep -u vestibule-hop -x ssh)
    connect=$(pgrep -u vestibule-hop -x connect)
    in_of() { limit nsenter --target "$1" --mount --pid setpriv --reuid vestibule-hop --regid vestibule-hop --clear-groups --inh-caps=-all "${@:2}"; }
    run_any in_of "$ssh" cat /etc/vestibule/tokens/hub
    is '' "$output"
    run_ok in_of "$ssh" sh -c 'cat /proc/[0-9]*/comm'
    matches_not connect "$output"
    run_ok in_of "$connect" sh -c 'cat /proc/[0-9]*/comm'
    matches_not ssh "$output"
    run_any in_of "$connect" ls /run/vestibule/hop /etc/vestibule/proxy-keys
    matches_not '(key|config|bastion)$' "$output"
    pkill -KILL -f 'ssh .*alice[+]web'
    wait_for 5 no_hop
}

@test "when what leads there ends, the session is said to be lost" {
    local out=$BATS_TEST_TMPDIR/out
    { ssh_as alice+unix 'sleep 5002' >"$out" 2>&1 && echo 0 >"$out.rc" || echo $? >"$out.rc"; } 3>&- &
    wait_for 10 pgrep -f '^sleep 5002'
    pkill -KILL -u vestibule-hop -x connect
    wait_for 5 test -s "$out.rc"
    is 211 "$(<"$out.rc")"
    matches "^vestibule: the connection to 'unix' was lost" "$(<"$out")"
    wait_for 5 no_hop
}

@test "a target elsewhere is started when nobody answers, by whatever transport, and one that runs is not" {
    cat >/etc/vestibule/vestibule.toml.d/wake.toml <<'CONF'
[wake.far]
command = ["/bin/sh", "-c", "touch /run/box/started; ip link set hop0 up"]
user = "root"
CONF
    local name
    for name in 'woken-tcp --address 198.51.100.2:22' 'woken-ran --connect far' 'woken-unix --socket /run/labs/one'; do
        # shellcheck disable=SC2086  # words
        far $name --wake command:far --wake-within 20
        rm -f /run/box/started
        run_ok ssh_as "alice+${name%% *}" whoami
        is remy "$output"
        [[ ! -e /run/box/started ]]
    done
    ip link set hop0 down
    run_ok ssh_as alice+woken-tcp whoami
    is remy "$output"
    [[ -e /run/box/started ]]
    expect_audit 'event=wake target=woken-tcp by=far result=ready'
    # What is never there is said to be so, in time.
    vestibulectl target set woken-unix --driver ssh --socket /run/labs/nobody --wake-within 2 \
        --host-key "$(<"$SERVER/host_ed25519.pub")"
    run_rc 212 ssh_as alice+woken-unix true
    matches "'woken-unix' was started but does not run" "$stderr"
}
