#!/usr/bin/env bats
# Forwards whose target is on another machine: -L, -D, -W and -J end there, as seen from there, and nowhere else.

# shellcheck disable=SC2046  # $(there) is words

load ../lib/bastion
load ../lib/elsewhere
load ../lib/forwards

setup_file() {
    bastion_start
    forwarding_on
    add_person alice
    elsewhere_start far
    vestibulectl proxy-key create bastion
    vestibulectl proxy-key create stranger
    elsewhere_lets_in far /etc/vestibule/proxy-keys/bastion.pub
    mapfile -t KNOWN < <(known)
    target far "${KNOWN[@]}"
    serve 8000 bastion
    serve 8002 bastion-alone
    serve 8000 far $(there)
    serve 8001 far-too $(there)
}

# there: the words that run a command on the other machine.
there() { echo "nsenter --target $(elsewhere_pid far) --mount --net --pid --uts"; }

# target NAME [OPTION]...: the other machine as a target of alice's.
target() {
    local name=$1
    shift
    limit vestibulectl target add "$name" --driver ssh --user studio "$@" >/dev/null &&
        limit vestibulectl grant add alice "$name" >/dev/null
}

# known: the options of a target that is as it should be.
known() {
    printf '%s\n' --address "$(elsewhere_address far):22" --proxy-key bastion --host-key
    elsewhere_host_key far
}

setup() { audit_mark; }
teardown() {
    show_logs_on_failure
    pkill -x -f 'ssh .* -N .*' || true
}

through() { SSH_OPTIONS="-W $1" ssh_as "$2" </dev/null; }

@test "localhost is the other machine's, by its name and its addresses" {
    local host
    for host in localhost LOCALHOST 127.0.0.1 0.0.0.0; do
        run_ok through "$host:8000" far
        is far "$output"
    done
    run_ok reach 8000
    is bastion "$output"
}

@test "what is on the bastion alone is reached by no address" {
    local host
    run_ok reach 8002
    is bastion-alone "$output"
    for host in localhost 127.0.0.1 127.0.0.2 192.0.0.8 '[::1]'; do
        run_any through "$host:8002" far
        is '' "$output"
    done
}

@test "IPv6: the other machine's ::1" {
    detached /run/box/logs/six.log $(there) socat 'TCP6-LISTEN:8006,bind=[::1],fork' EXEC:'/bin/echo six'
    wait_for 5 listens_on 8006 $(there)
    run_ok through '[::1]:8006' far
    is six "$output"
}

@test "a name is looked up on the other machine" {
    in_elsewhere far sh -c 'echo 127.0.0.1 friend deep.name.of-the.other >>/etc/hosts'
    run_ok through friend:8000 far
    is far "$output"
    run_ok through deep.name.of-the.other:8001 far
    is far-too "$output"
    echo '127.0.0.1 of-the-bastion' >>/etc/hosts
    run_any through of-the-bastion:8000 far
    is '' "$output"
}

@test "ssh -L: a port of mine is a port of the other machine's; -D: a proxy that stands there" {
    forward far -L 18000:localhost:8000 -D 18001
    wait_for 5 listens_on 18000
    run_ok reach 18000
    is far "$output"
    run_ok socks 18001 localhost 8001
    is far-too "$output"
    run_ok socks 18001 friend 8000
    is far "$output"
    stop_forward
}

@test "ssh -J: the other machine's own sshd, by way of the bastion" {
    elsewhere_lets_in far "$KEYS/alice.pub"
    printf 'localhost %s\n' "$(elsewhere_host_key far)" >/run/box/far_known
    run_ok ssh -o UserKnownHostsFile=/run/box/far_known $(ssh_options alice) \
        -o ProxyCommand="ssh $(ssh_options alice) -W %h:%p -l far bastion" studio@localhost hostname
    is far "$output"
}

@test "a port where nobody listens ends at once, and says nothing in the log" {
    run_any through localhost:8999 far
    is '' "$output"
    run_ok through localhost:8000 far
    expect_no_audit 'result=failed'
}

@test "what one side has ended, the other can still answer" {
    detached /run/box/logs/count.log $(there) socat TCP-LISTEN:8100,fork,reuseaddr SYSTEM:'wc -c'
    wait_for 5 listens_on 8100 $(there)
    run_ok bash -c "head -c 3000000 /dev/zero | ssh $(ssh_options alice) -W localhost:8100 -l far bastion"
    is 3000000 "$output"
    # A service that has said all it will.
    detached /run/box/logs/first.log $(there) python3 -c '
import socket
listener = socket.create_server(("127.0.0.1", 8101))
while True:
    there, _ = listener.accept()
    there.sendall(b"first")
    there.shutdown(socket.SHUT_WR)
    there.recv(1)
    there.close()'
    wait_for 5 listens_on 8101 $(there)
    forward far -L 18002:localhost:8101
    wait_for 5 listens_on 18002
    run_ok bash -c 'sleep 5 | timeout 2 busybox nc 127.0.0.1 18002 || true'
    is first "$output"
    stop_forward
}

@test "1 GiB comes through, whole, and a client that does not read holds it up" {
    in_elsewhere far sh -c 'head -c 1048576 /dev/urandom >/run/part'
    detached /run/box/logs/gib.log $(there) socat TCP-LISTEN:8102,fork,reuseaddr SYSTEM:'for i in $(seq 1024)\; do cat /run/part\; done'
    wait_for 5 listens_on 8102 $(there)
    forward far -L 18003:localhost:8102
    wait_for 5 listens_on 18003
    local wanted
    wanted=$(in_elsewhere far cat /run/part | python3 -c 'import hashlib, sys
part = sys.stdin.buffer.read()
sum = hashlib.sha256()
for _ in range(1024): sum.update(part)
print(sum.hexdigest())')
    # Two at once: one that stops, and one that is not held up by it.
    detached /run/box/logs/lazy.log python3 -c '
import socket, time
lazy = socket.create_connection(("127.0.0.1", 18003), 5)
lazy.recv(1)
time.sleep(100)'
    local lazy=$!
    TIMEOUT=60 run_ok bash -c 'busybox nc 127.0.0.1 18003 </dev/null | sha256sum'
    is "$wanted  -" "$output"
    kill "$lazy"
    run_ok through localhost:8000 far
    stop_forward
    wait_for 5 no_connections
}

@test "a target's policy says which kinds of forwards there are, and which ports" {
    vestibulectl target set far --forward none
    run_rc 255 through localhost:8000 far
    vestibulectl target set far --forward local --open-port 8000
    run_ok through localhost:8000 far
    run_rc 255 through localhost:8001 far
    vestibulectl target set far --forward all --open-port any
}

@test "a session beside them is on the other machine, and has names and network of its own" {
    forward far -L 18010:localhost:8000
    wait_for 5 listens_on 18010
    run_ok ssh_as far 'hostname; id -un'
    is $'far\nstudio' "$output"
    # The way there has a name that the bastion knows.
    echo "$(elsewhere_address far) far.example" >>/etc/hosts
    target named --address far.example:22 --proxy-key bastion --host-key "$(elsewhere_host_key far)"
    run_ok ssh_as named hostname
    is far "$output"
    run_ok through localhost:8000 named
    is far "$output"
    stop_forward
}

@test "X11 is not forwarded" {
    vestibulectl target set far --x11
    SSH_OPTIONS='-v -X' DISPLAY=:7 run_any ssh_as far true
    matches_not 'X11 forwarding request succeeded|Requesting X11 forwarding.*accepted' "$stderr"
    vestibulectl target set far --no-x11
}

@test "a second hop that fails refuses forwards, the log says why, and the next one is tried" {
    local wrong
    ssh-keygen -q -t ed25519 -N '' -f /run/box/other
    wrong=$(cut -d ' ' -f 1,2 /run/box/other.pub)
    target changed --address "$(elsewhere_address far):22" --proxy-key bastion --host-key "$wrong"
    run_any through localhost:8000 changed
    is '' "$output"
    expect_audit 'event=hop result=failed target=changed cause="Host key verification failed'
    target unknown --address "$(elsewhere_address far):22" --proxy-key stranger --host-key "$(elsewhere_host_key far)"
    run_any through localhost:8000 unknown
    is '' "$output"
    expect_audit 'event=hop result=failed target=unknown cause=".*Permission denied \(publickey'
    target silent --address "$(elsewhere_address far):23" --proxy-key bastion --host-key "$(elsewhere_host_key far)"
    forward silent -L 18004:localhost:8000
    wait_for 5 listens_on 18004
    run_any reach 18004
    is '' "$output"
    expect_audit 'event=hop result=failed target=silent cause=".*Connection refused'
    # What was down comes up, and the same connection goes on.
    detached /run/box/logs/late.log $(there) /usr/sbin/sshd -D -e -p 23 -f /etc/ssh/elsewhere/sshd_config -o Port=23
    wait_for 5 listens_on 23 $(there)
    sleep 1
    run_ok reach 18004
    is far "$output"
    stop_forward
}

@test "a second hop that breaks ends what goes through it; what comes then has a new one" {
    forward far -L 18005:localhost:8100 -L 18006:localhost:8000
    wait_for 5 listens_on 18005
    detached /run/box/logs/broken.log bash -c 'sleep 30 | busybox nc 127.0.0.1 18005'
    expect_audit 'event=hop target=far milliseconds='
    in_elsewhere far pkill -u studio sshd
    wait_for 5 fails pgrep -f '^busybox nc 127.0.0.1 18005'
    run_ok reach 18006
    is far "$output"
    stop_forward
}

@test "when access is taken away its forwards end" {
    forward far -L 18007:localhost:8000
    wait_for 5 listens_on 18007
    run_ok reach 18007
    vestibulectl grant rm alice far
    wait_for 10 fails kill -0 "$FORWARD"
    expect_audit 'event=revoked target=far'
    wait_for 5 nobody_hops
    vestibulectl grant add alice far
}

nobody_hops() { ! pgrep -u vestibule-hop >/dev/null; }

@test "nothing of a connection that forwards is where others could get at it" {
    forward far -L 18008:localhost:8000
    wait_for 5 listens_on 18008
    run_ok reach 18008
    is '' "$(ls -A /run/vestibule/hop)"
    # Nobody hops with a capability, or may have more.
    local pid hops=0
    for pid in $(pgrep -u vestibule-hop); do
        hops=1
        is '0000000000000000 1' "$(awk '/^CapEff|^CapPrm/ { s = $2 } /^NoNewPrivs/ { n = $2 } END { print s, n }' "/proc/$pid/status")"
        run_rc 2 as_user vestibule ls "/proc/$pid/root"
    done
    is 1 "$hops"
    # No key, no host name stands in anybody's arguments.
    run_rc 1 grep -r -a -l -e 'PRIVATE KEY' /proc/[0-9]*/cmdline
    # The connection's network has nothing but a loopback, and is another one than the bastion's.
    pid=$(pgrep -u vestibule -x sshd | head -n 1)
    run_ok nsenter --target "$pid" --net ip -o link show
    is 1 "${#lines[@]}"
    is_not "$(readlink /proc/1/ns/net)" "$(readlink "/proc/$pid/ns/net")"
    stop_forward
    wait_for 5 nobody_hops
}

@test "-R is refused" {
    SSH_OPTIONS='-o ExitOnForwardFailure=yes -R 9000:127.0.0.1:8000' run_rc 255 ssh_as far true
    matches 'remote port forwarding failed' "$stderr"
}

@test "a connection that does not forward starts no second hop for it" {
    wait_for 5 nobody_hops
    forward far -L 18009:localhost:8000
    wait_for 5 listens_on 18009
    sleep 0.5
    run_rc 1 pgrep -u vestibule-hop -x ssh
    stop_forward
}
