# Services to forward to, and clients that forward. For suites about forwards; bastion.bash must be loaded first.
# shellcheck shell=bash

# serve PORT WORD [COMMAND...]: a service on all addresses that says WORD to whoever connects, started by COMMAND (which
# enters a container), or on the bastion.
serve() {
    local port=$1 word=$2
    shift 2
    detached "/run/box/logs/serve-$word-$port.log" "$@" busybox nc -ll -p "$port" -e /bin/echo "$word"
    wait_for 5 listens_on "$port" "$@"
}

# listens_on PORT [COMMAND...]: whether somebody listens there.
listens_on() {
    local port=$1
    shift
    "$@" busybox netstat -ltn | grep -q -E ":$port "
}

# inside NAME: the words that run a command in all of a sandbox's namespaces.
inside() { echo "nsenter --target $(sandbox_pid "$1") --mount --net --pid --uts"; }

# reach PORT: what the service on the bastion's (here also the client's) loopback says.
reach() { limit busybox nc -w 5 127.0.0.1 "$1" </dev/null; }

# forward LOGIN OPTION...: a connection that only forwards, in the background; its pid in $FORWARD.
forward() {
    local login=$1
    shift
    # shellcheck disable=SC2046  # options are words
    detached /run/box/logs/forward.log ssh $(ssh_options "$login") -N -o ExitOnForwardFailure=yes "$@" -l "$login" bastion
    FORWARD=$!
}

# stop_forward [PID]
stop_forward() {
    local pid=${1:-$FORWARD}
    kill "$pid" 2>/dev/null
    wait_for 5 fails kill -0 "$pid"
}

# connections: how many the module let in and live.
connections() { find /run/vestibule/connections -type f 2>/dev/null | wc -l; }
no_connections() { [[ $(connections) == 0 ]]; }

# socks PORT HOST PORT: what a service says through the SOCKS proxy at a port of the loopback.
socks() {
    limit python3 - "$@" <<'PYTHON'
import socket, struct, sys
proxy, host, port = int(sys.argv[1]), sys.argv[2].encode(), int(sys.argv[3])
s = socket.create_connection(("127.0.0.1", proxy), 5)
s.sendall(b"\5\1\0")
assert s.recv(2) == b"\5\0"
s.sendall(b"\5\1\0\3" + bytes([len(host)]) + host + struct.pack(">H", port))
answer = s.recv(10)
if answer[1:2] != b"\0":
    sys.exit("refused: %r" % answer)
print(s.makefile().read().strip())
PYTHON
}
