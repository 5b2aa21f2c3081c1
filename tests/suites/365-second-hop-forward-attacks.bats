#!/usr/bin/env bats
# Forwards to another machine, with somebody at one end who does not wish us well: names that are none, a flood of
# connections, a machine that stops answering; and many connections, of which nothing is left.

# shellcheck disable=SC2046  # $(there) and options are words

load ../lib/bastion
load ../lib/elsewhere
load ../lib/forwards

setup_file() {
    bastion_start
    sshd_start 'MaxStartups 100' 'MaxSessions 100'
    forwarding_on
    sshd_start 'MaxStartups 100' 'MaxSessions 100'
    add_person alice
    add_person bob
    elsewhere_start far
    vestibulectl proxy-key create bastion
    elsewhere_lets_in far /etc/vestibule/proxy-keys/bastion.pub
    limit vestibulectl target add far --driver ssh --user studio --address "$(elsewhere_address far):22" --proxy-key bastion \
        --host-key "$(elsewhere_host_key far)"
    vestibulectl grant add alice far
    vestibulectl grant add bob far
    serve 8000 far $(there)
}

# there: the words that run a command on the other machine.
there() { echo "nsenter --target $(elsewhere_pid far) --mount --net --pid --uts"; }

setup() { audit_mark; }
teardown() {
    show_logs_on_failure
    pkill -x -f 'ssh .* -N .*' || true
}

through() { SSH_OPTIONS="-W $1" ssh_as "$2" </dev/null; }
nobody_hops() { fails pgrep -u vestibule-hop >/dev/null; }

# fails_for HOST: a forward to that host has no answer, and neither the connection nor the next one suffers.
fails_for() {
    run_any socks 18200 "$1" 8000
    is '' "$output"
    run_ok socks 18200 localhost 8000
    is far "$output"
}

@test "names that are options, have blanks or bytes of control, or are too long are nobody's" {
    forward far -D 18200
    wait_for 5 listens_on 18200
    local label
    label=$(printf 'a%.0s' {1..60})
    fails_for -oProxyCommand=id
    fails_for 'local host'
    fails_for $'localhost\nProxyCommand id'
    fails_for $'local\x01host'
    fails_for '%h'
    # shellcheck disable=SC2016  # as it stands
    fails_for '$(id)'
    fails_for '/run/docker.sock'
    fails_for "$label.$label.$label.$label"
    fails_for "$label.$label.$label.$label.$label"
    stop_forward
    expect_no_audit 'result=failed'
}

@test "what answers for names survives any packet, and a flood of names" {
    forward far -L 18201:localhost:8000
    wait_for 5 listens_on 18201
    run_ok reach 18201
    local pid
    pid=$(pgrep -u vestibule -x sshd | head -n 1)
    TIMEOUT=60 run_ok nsenter --target "$pid" --net python3 -c '
import os, socket
names = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
names.connect(("192.0.0.8", 53))
names.settimeout(2)
for _ in range(20000):
    names.send(os.urandom(int.from_bytes(os.urandom(2)) % 600))
def ask(name):
    labels = b"".join(bytes([len(part)]) + part for part in name.split(b"."))
    names.send(b"id\1\0\0\1\0\0\0\0\0\0" + labels + b"\0\0\1\0\1")
answered = 0
names.setblocking(False)
while True:
    try: names.recv(2000)
    except BlockingIOError: break
names.settimeout(2)
for number in range(5000):
    ask(b"n%d.example" % number)
    if names.recv(2000)[7] == 1: answered += 1
print(answered)'
    ((output > 4900))
    run_ok reach 18201
    is far "$output"
    # Whoever is there remembers a thousand, not five thousand.
    run_ok awk '/^VmRSS/ { print ($2 < 20000) }' "/proc/$(pgrep -u vestibule-hop -x enter | head -n 1)/status"
    is 1 "$output"
    stop_forward
}

@test "no datagram and no listener but its own is in a connection's network, and nothing leaves it" {
    forward far -L 18202:localhost:8000
    wait_for 5 listens_on 18202
    run_ok reach 18202
    local pid
    pid=$(pgrep -u vestibule -x sshd | head -n 1)
    run_ok nsenter --target "$pid" --net ip -o route get "$(elsewhere_address far)"
    matches ' dev lo ' "$output"
    # Abstract sockets of the bastion are not there either.
    run_ok nsenter --target "$pid" --net cat /proc/net/unix
    matches_not '@' "$output"
    stop_forward
}

@test "each connection has a network of its own: what one forwards the other does not meet" {
    forward far -L 18203:localhost:8000
    local mine=$FORWARD
    KEY=bob forward far -L 18204:localhost:8000
    wait_for 5 listens_on 18203
    wait_for 5 listens_on 18204
    run_ok reach 18203
    run_ok reach 18204
    is 2 "$(for pid in $(pgrep -u vestibule -x sshd); do readlink "/proc/$pid/ns/net"; done | sort -u | wc -l)"
    # A client of the second hop, were it taken over, sees none of the other's processes and files.
    local one other
    read -r one other < <(pgrep -u vestibule-hop -x ssh | xargs)
    is_not "$(readlink "/proc/$one/ns/pid")" "$(readlink "/proc/$other/ns/pid")"
    is_not "$(readlink "/proc/$one/ns/mnt")" "$(readlink "/proc/$other/ns/mnt")"
    run_ok nsenter --target "$one" --mount --pid setpriv --reuid vestibule-hop --clear-groups --no-new-privs sh -c 'ls -d /proc/[0-9]* | wc -l'
    ((output < 8))
    stop_forward "$mine"
    stop_forward
}

@test "a thousand channels at once: who has them is served or refused, and everybody else is served" {
    cp "$BOX_REPO/tests/lib/many.py" "$(elsewhere_root far)/run/many.py"
    detached /run/box/logs/echo.log $(there) python3 /run/many.py serve 8500
    wait_for 5 listens_on 8500 $(there)
    forward far -L 18205:localhost:8500
    local mine=$FORWARD
    wait_for 5 listens_on 18205
    detached /run/box/logs/many.log python3 "$BOX_REPO/tests/lib/many.py" ask 18205 1000 5
    local asker=$!
    wait_for 30 grep -q '^answered ' /run/box/logs/many.log
    run_ok through localhost:8000 far
    is far "$output"
    local answered
    answered=$(sed -n 's/^answered //p' /run/box/logs/many.log)
    ((answered >= 300)) || { cat /run/box/logs/many.log; return 1; }
    wait_for 20 fails kill -0 "$asker"
    run_ok through localhost:8000 far
    stop_forward "$mine"
    wait_for 10 no_connections
    wait_for 10 nobody_hops
}

@test "five hundred wishes one after the other, for ports where nobody is, leave no descriptor behind" {
    forward far -D 18206
    wait_for 5 listens_on 18206
    run_ok socks 18206 localhost 8000
    local hop ssh before
    hop=$(pgrep -u vestibule-hop -x enter | head -n 1)
    ssh=$(pgrep -u vestibule-hop -x ssh | head -n 1)
    before=$(find "/proc/$hop/fd" "/proc/$ssh/fd" | wc -l)
    TIMEOUT=90 run_ok knock 18206 500
    run_ok socks 18206 localhost 8000
    is far "$output"
    wait_for 5 has_descriptors "$before" "$hop" "$ssh"
    stop_forward
}

has_descriptors() { (($(find "/proc/$2/fd" "/proc/$3/fd" | wc -l) <= $1)); }

# knock PROXY N: connections by a SOCKS proxy to closed ports: they end, one by one.
knock() {
    limit python3 - "$@" <<'PYTHON'
import socket, struct, sys
for number in range(int(sys.argv[2])):
    with socket.create_connection(("127.0.0.1", int(sys.argv[1])), 5) as s:
        s.sendall(b"\5\1\0")
        assert s.recv(2) == b"\5\0"
        s.sendall(b"\5\1\0\1\x7f\0\0\1" + struct.pack(">H", 20000 + number))
        s.recv(10)
        try:
            assert s.recv(1) == b""
        except ConnectionResetError:
            pass
PYTHON
}

@test "a machine that answers no more holds up nobody else, and its connection can be ended" {
    forward far -L 18207:localhost:8000
    wait_for 5 listens_on 18207
    run_ok reach 18207
    ip link set to-far down
    detached /run/box/logs/silent.log busybox nc 127.0.0.1 18207
    sleep 1
    stop_forward
    wait_for 10 no_connections
    wait_for 10 nobody_hops
    ip link set to-far up
}

# What connections could leave: namespaces, mounts, processes, files. Numbers only, since names differ.
left() {
    lsns --noheadings --output NS,TYPE | awk '{ print $2 }' | sort | uniq -c
    wc -l </proc/self/mountinfo
    pgrep -c enter || true
    pgrep -c -x sshd || true
    pgrep -u vestibule-hop -c || true
    find /run/vestibule | wc -l
}

as_before() { [[ $(left) == "$1" ]]; }

# sixty N: connections, ten at once: a forward with bytes through it, every fifth cut off.
sixty() {
    local options
    options=$(ssh_options alice)
    # shellcheck disable=SC2016  # for that shell
    seq "$1" $(($1 + 59)) | BATS_TEST_TIMEOUT='' xargs -P 10 -n 1 bash -c '
        if (($1 % 5 == 0)); then
            timeout --signal KILL 1 ssh $0 -N -l far bastion
            true
        else
            [[ $(ssh $0 -W localhost:8000 -l far bastion </dev/null) == far ]]
        fi' "$options" 2>/dev/null
}

@test "a hundred and twenty connections, some of them cut off, leave nothing behind" {
    local before
    TIMEOUT=100 run_ok sixty 1
    wait_for 10 no_connections
    wait_for 10 nobody_hops
    before=$(left)
    TIMEOUT=100 run_ok sixty 61
    wait_for 20 no_connections
    wait_for 10 as_before "$before" || { diff <(echo "$before") <(left); return 1; }
}

@test "a client for forwards sees no site's token and no other proxy key" {
    install -d /etc/vestibule/tokens
    install -o vestibule-hop -m 0400 /dev/stdin /etc/vestibule/tokens/hub <<<'token-of-the-hub'
    cat >/etc/vestibule/vestibule.toml.d/site.toml <<'CONF'
[site.hub]
url = "https://127.0.0.1:1"
token_file = "/etc/vestibule/tokens/hub"
CONF
    limit vestibulectl proxy-key create other >/dev/null
    forward far -L 18209:localhost:8000
    wait_for 5 listens_on 18209
    run_ok reach 18209
    is far "$output"
    local ssh
    ssh=$(pgrep -u vestibule-hop -x ssh)
    in_of() { limit nsenter --target "$ssh" --mount --pid setpriv --reuid vestibule-hop --regid vestibule-hop --clear-groups --inh-caps=-all "$@"; }
    run_any in_of cat /etc/vestibule/tokens/hub
    is '' "$output"
    run_any in_of ls /etc/vestibule/proxy-keys
    matches_not other "$output"
    run_ok in_of cat /run/vestibule/hop/known_hosts
    stop_forward
    rm /etc/vestibule/vestibule.toml.d/site.toml
}
