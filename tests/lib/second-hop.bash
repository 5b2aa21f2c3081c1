# An SSH server for the suites of the second hop, to load after bastion.bash: Debian's sshd in a network namespace of its own and in
# the file system of the box, so that a test can look at what is done there. Its user is remy. (A whole machine that is not the
# bastion is in elsewhere.bash.)
# shellcheck shell=bash

# What is on the other machine: its host keys, authorized keys, configuration and log.
SERVER=/run/box/server
SERVER_LOG=/run/box/logs/server.log
# shellcheck disable=SC2034  # for the suites
PROXY_KEYS=/etc/vestibule/proxy-keys

# in_server CMD...: there.
in_server() { ip netns exec elsewhere "$@"; }

# server_start [LINE]...: the machine and its sshd. remy is the user there; LINEs stand first in sshd's configuration.
server_start() {
    mkdir -p "$SERVER/keys"
    if [[ ! -e /run/netns/elsewhere ]]; then
        ip netns add elsewhere
        ip link add hop0 type veth peer name hop1 netns elsewhere
        ip addr add 198.51.100.1/24 dev hop0
        ip link set hop0 up
        in_server ip addr add 198.51.100.2/24 dev hop1
        in_server ip link set hop1 up
        in_server ip link set lo up
    fi
    id remy >/dev/null 2>&1 || useradd --create-home --shell /bin/bash --password '*' remy
    server_host_key ed25519
    server_sshd "$@"
}

# server_host_key TYPE: a host key, once.
server_host_key() {
    [[ -e $SERVER/host_$1 ]] || ssh-keygen -q -t "$1" -N '' -C elsewhere -f "$SERVER/host_$1"
}

# server_sshd [LINE]...: starts sshd there, in place of one that runs.
server_sshd() {
    server_sshd_stop
    {
        printf '%s\n' "$@"
        cat <<CONF
ListenAddress 198.51.100.2
Port 22
HostKey $SERVER/host_ed25519
PidFile /run/server.pid
LogLevel VERBOSE
UsePAM no
StrictModes no
PrintMotd no
PrintLastLog no
PasswordAuthentication no
AcceptEnv LANG LC_*
AuthorizedKeysFile $SERVER/keys/%u
Subsystem sftp /usr/lib/openssh/sftp-server
CONF
    } >"$SERVER/sshd_config"
    limit /usr/sbin/sshd -t -f "$SERVER/sshd_config" || return 1
    detached "$SERVER_LOG" ip netns exec elsewhere /usr/sbin/sshd -D -f "$SERVER/sshd_config" -E "$SERVER_LOG"
    wait_for 5 test -s /run/server.pid
}

server_sshd_stop() {
    local pid
    [[ -s /run/server.pid ]] || return 0
    pid=$(</run/server.pid)
    kill "$pid" 2>/dev/null
    wait_for 5 fails kill -0 "$pid"
    rm -f /run/server.pid
}

# proxy_key NAME: the bastion's key of that name, accepted for remy.
proxy_key() {
    limit vestibulectl proxy-key create "$1" >"$SERVER/line.$1"
    limit vestibulectl proxy-key show "$1" --line >>"$SERVER/keys/remy"
}

# hop_target NAME [options of target add]: a target that is remy there.
hop_target() {
    local name=$1
    shift
    [[ " $* " == *' --host-key '* ]] || set -- "$@" --host-key "$(<"$SERVER/host_ed25519.pub")"
    [[ " $* " == *' --address '* ]] || set -- "$@" --address 198.51.100.2:22
    limit vestibulectl target add "$name" --driver ssh --user remy "$@"
}

# expect_server REGEX: within five seconds a line of sshd's log there matches.
expect_server() {
    wait_for 5 grep -q -E -e "$1" "$SERVER_LOG" || { tail -n 30 "$SERVER_LOG"; return 1; }
}
