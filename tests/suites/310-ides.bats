#!/usr/bin/env bats
# How editors and clusters use forwards: VS Code Remote-SSH, JetBrains Gateway, a worker and a notebook.

# shellcheck disable=SC2046  # $(ssh_options NAME) is words

load ../lib/bastion
load ../lib/forwards

setup_file() {
    bastion_start
    forwarding_on
    add_person alice
    add_person worker
    docker_run studio vt-busybox
    docker_run notebook vt-busybox
    local name
    for name in studio notebook; do
        vestibulectl target add "$name" --driver docker --container "$name" --user alice
        vestibulectl grant add alice "$name"
    done
    vestibulectl grant add worker notebook
}

teardown() { show_logs_on_failure; }

# The set-up script that the editor sends on standard input: it starts a server once, on a loopback port, in a session of its
# own, and says where it listens. The server answers HTTP with what stands in ~/.server/index.html.
setup_script() {
    cat <<'SCRIPT'
set -e
mkdir -p ~/.server
cd ~/.server
if ! [ -s pid ] || ! kill -0 "$(cat pid)" 2>/dev/null; then
    echo "server of $(id -un)" >index.html
    setsid httpd -f -p 127.0.0.1:43210 -h ~/.server </dev/null >/dev/null 2>&1 &
    echo $! >pid
fi
while ! netstat -ltn | grep -q '127.0.0.1:43210 '; do sleep 0.1; done
echo "listeningOn==43210== pid==$(cat pid)=="
echo ready
# The editor's connection is this shell: it stays.
while read -r line; do echo "$line"; done
SCRIPT
}

# window PROXY LOG: one window of the editor, `ssh -T -D PORT host sh`, which keeps its standard input open.
window() {
    # shellcheck disable=SC2016  # for that shell
    detached "$2" bash -c '{ cat "$0"; exec sleep 600; } | exec "$@"' /run/box/setup.sh \
        ssh $(ssh_options alice) -T -D "$1" -l studio bastion sh
    wait_for 15 grep -q -x ready "$2"
}

ssh_of_window() { pgrep -f -- "-T -D $1 " | while read -r pid; do [[ $(</proc/"$pid"/comm) != ssh ]] || echo "$pid"; done; }

# page PROXY: what the server in the container answers through the proxy.
page() {
    limit python3 - "$1" <<'PYTHON'
import socket, struct, sys
s = socket.create_connection(("127.0.0.1", int(sys.argv[1])), 5)
s.sendall(b"\5\1\0")
assert s.recv(2) == b"\5\0"
s.sendall(b"\5\1\0\3\x09127.0.0.1" + struct.pack(">H", 43210))
assert s.recv(10)[1:2] == b"\0", "refused"
s.sendall(b"GET / HTTP/1.0\r\n\r\n")
print(s.makefile().read().splitlines()[-1])
PYTHON
}

@test "VS Code: the set-up script on standard input, the server on the container's loopback, reached through -D" {
    setup_script >/run/box/setup.sh
    window 18201 /run/box/logs/window1
    run_ok page 18201
    is 'server of alice' "$output"
    # Nothing of it listens on the bastion.
    fails listens_on 43210
    run_ok docker exec studio netstat -ltn
    matches '127.0.0.1:43210 ' "$output"
}

@test "VS Code: a second window finds the server that runs" {
    window 18202 /run/box/logs/window2
    is "$(grep listeningOn /run/box/logs/window1)" "$(grep listeningOn /run/box/logs/window2)"
    run_ok page 18202
    is 'server of alice' "$output"
    run_ok page 18201
}

@test "VS Code: when the connections are cut the server lives on, and is found again" {
    local proxy pid
    for proxy in 18201 18202; do
        for pid in $(ssh_of_window "$proxy"); do kill -KILL "$pid"; done
        wait_for 5 fails listens_on "$proxy"
    done
    wait_for 20 no_connections
    window 18203 /run/box/logs/window3
    is "$(grep listeningOn /run/box/logs/window1)" "$(grep listeningOn /run/box/logs/window3)"
    run_ok page 18203
    is 'server of alice' "$output"
    for pid in $(ssh_of_window 18203); do kill "$pid"; done
}

@test "JetBrains: the backend is uploaded by SFTP, started, and reached by -L" {
    printf '#!/bin/sh\nexec nc -ll -p 5990 -e /bin/echo backend\n' >/run/box/backend
    run_ok sftp -q -b /dev/stdin $(ssh_options alice) studio@bastion <<<$'put /run/box/backend backend\nchmod 755 backend'
    run_ok ssh_as studio 'setsid ./backend </dev/null >/dev/null 2>&1 &'
    wait_for 5 listens_on 5990 docker exec studio
    forward studio -L 18204:127.0.0.1:5990
    wait_for 5 listens_on 18204
    run_ok reach 18204
    is backend "$output"
    stop_forward
}

@test "a cluster: a worker shows its service to a notebook by -R, and reaches the notebook's by -L, with keys alone" {
    serve 8786 scheduler docker exec notebook
    serve 8787 worker
    KEY=worker forward notebook -R 9787:127.0.0.1:8787 -L 18786:localhost:8786
    wait_for 5 listens_on 18786
    run_ok reach 18786
    is scheduler "$output"
    run_ok ssh_as notebook 'nc 127.0.0.1 9787'
    is worker "$output"
    # The other container sees nothing of it.
    run_any ssh_as studio 'nc -w 2 127.0.0.1 9787'
    is '' "$output"
    stop_forward
}
