#!/usr/bin/env bats
# needs: debian-image
# ssh -A: the client's agent can be asked from inside the container, by the session's user, while the session lives.
# `desk` is Debian with OpenSSH's client, `lab` a busybox in plain namespaces, `bare` an image of one program.

load ../lib/bastion

setup_file() {
    bastion_start
    sandbox_start lab
    docker_run desk vt-debian
    docker_run bare vt-empty
    add_person alice
    target desk --driver docker --container desk --user alice --agent-forwarding
    target lab --driver namespace --pid-file "$SANDBOX_PIDS/lab.pid" --user alice --agent-forwarding
    target bare --driver docker --container bare --user 1000 --agent-forwarding
    target shut --driver docker --container desk --user alice
    target quiet --driver docker --container desk --user alice --agent-forwarding
    make_key frugal
    sed 's/^/no-agent-forwarding /' "$KEYS/frugal.pub" >/run/box/frugal.pub
    vestibulectl key add --target quiet /run/box/frugal.pub
    # The client's agent, with one key that opens nothing here.
    make_key hers
    detached /run/box/logs/ssh-agent.log ssh-agent -D -a /run/box/agent
    wait_for 5 test -S /run/box/agent
    SSH_AUTH_SOCK=/run/box/agent ssh-add -q "$KEYS/hers"
    client_in_desk
    asker
}

setup() { audit_mark; }

teardown() { show_logs_on_failure; }

target() {
    vestibulectl target add "$@"
    vestibulectl grant add alice "$1"
}

# The bastion's own ssh and ssh-add, into desk: the image has their libraries.
client_in_desk() {
    local program library
    for program in ssh ssh-add; do
        docker cp -L "$(command -v $program)" desk:/usr/bin/$program
        for library in $(ldd "$(command -v $program)" | grep -o '/lib[^ ]*'); do
            docker exec desk test -e "$library" || docker cp -L "$library" "desk:$library"
        done
    done
}

# /run/box/ask: asks the agent for its keys on as many connections at once as it is told, then says `COUNT KEYS`.
asker() {
    cat >/run/box/ask.c <<'SOURCE'
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>
static int whole(int fd, unsigned char *at, size_t n) {
    while (n) { ssize_t r = read(fd, at, n); if (r <= 0) return 0; at += r; n -= r; }
    return 1;
}
int main(int argc, char **argv) {
    int count = argc > 1 ? atoi(argv[1]) : 1, fds[256], answered = 0, keys = 0;
    struct sockaddr_un to = { .sun_family = AF_UNIX };
    const char *path = getenv("SSH_AUTH_SOCK");
    if (!path) return puts("no agent"), 3;
    strncpy(to.sun_path, path, sizeof to.sun_path - 1);
    for (int i = 0; i < count; i++) {
        fds[i] = socket(AF_UNIX, SOCK_STREAM, 0);
        if (connect(fds[i], (void *)&to, sizeof to)) return perror("connect"), 4;
        if (write(fds[i], "\0\0\0\1\13", 5) != 5) return perror("write"), 5;
    }
    for (int i = 0; i < count; i++) {
        unsigned char h[9], rest[4096];
        unsigned n;
        if (!whole(fds[i], h, 9) || h[4] != 12) continue;
        n = (h[0] << 24 | h[1] << 16 | h[2] << 8 | h[3]) - 5;
        if (n > sizeof rest || !whole(fds[i], rest, n)) continue;
        answered++, keys = h[8];
        close(fds[i]);
    }
    printf("%d %d\n", answered, keys);
    if (argc > 2) { puts(path); fflush(stdout); sleep(1000); }
    return 0;
}
SOURCE
    gcc -static -O1 -o /run/box/ask /run/box/ask.c
    cp /run/box/ask "$(sandbox_root lab)/bin/ask"
    docker cp /run/box/ask desk:/usr/bin/ask
}

# with_agent LOGIN [CMD...]: ssh -A. (Further options in $SSH_OPTIONS.)
with_agent() { SSH_OPTIONS="-A -o IdentityAgent=/run/box/agent ${SSH_OPTIONS-}" ssh_as "$@"; }

# stays [ssh option]: a session in desk that has asked the agent and lives on; its socket is $socket, its client $client.
stays() {
    rm -f /run/box/out
    # shellcheck disable=SC2046,SC2068  # options are words
    detached /run/box/out ssh -A -o IdentityAgent=/run/box/agent $@ $(ssh_options alice) -l alice+desk bastion 'ask 1 stay'
    client=$!
    wait_for 10 grep -q '^/tmp/ssh' /run/box/out
    socket=$(grep -o '^/tmp/ssh[a-z0-9/-]*' /run/box/out)
}

# The processes of desk that wait to clean up; they were executed as enter.
waiting() { inside pgrep -f -- '--session'; }

no_nests() { [[ -z $(nests) ]]; }

# inside CMD...: in desk, as root.
inside() { docker exec desk "$@"; }

# What of agents' directories is in desk, one a line.
nests() { inside find /tmp /var/tmp /dev/shm /home/alice -maxdepth 1 -name 'ssh-*'; }

@test "ssh-add -l inside lists the client's keys" {
    run_ok with_agent alice+desk ssh-add -l
    is "$(ssh-keygen -l -f "$KEYS/hers.pub")" "$output"
    is '' "$stderr"
    SSH_OPTIONS=-tt run_ok with_agent alice+desk 'ssh-add -l'
    matches "$(literally "$(fingerprint hers)")" "$output"
    run_ok with_agent alice+lab ask
    is '1 1' "$output"
}

@test "the socket is the user's, in a directory that nobody else may look into" {
    run_ok with_agent alice+desk 'echo $SSH_AUTH_SOCK; stat -c "%U %a %F" $SSH_AUTH_SOCK ${SSH_AUTH_SOCK%/*}'
    matches '^/tmp/ssh-[a-z0-9]{10}/agent$' "${lines[0]}"
    is 'alice 700 socket' "${lines[1]}"
    is 'alice 700 directory' "${lines[2]}"
}

@test "without -A there is no socket, and nothing is made" {
    run_rc 3 ssh_as alice+lab ask
    is 'no agent' "$output"
    is '' "$(nests)"
}

@test "ten connections are answered at once, and a hundred in turn" {
    run_ok with_agent alice+lab 'ask 10'
    is '10 1' "$output"
    run_ok with_agent alice+lab 'ask 100'
    is '100 1' "$output"
    SSH_OPTIONS=-tt run_ok with_agent alice+lab 'ask 100'
    is '100 1' "$(tr -d '\r' <<<"$output")"
    run_ok with_agent alice+desk 'for i in $(seq 10); do ssh-add -l & done; wait'
    is 10 "$(grep -c -F "$(fingerprint hers)" <<<"$output")"
}

@test "ssh and git go on from inside with the client's key" {
    useradd --create-home --shell /bin/sh --password '*' carol
    install -d -o carol -m 0700 /home/carol/.ssh
    install -o carol -m 0600 "$KEYS/hers.pub" /home/carol/.ssh/authorized_keys
    git init -q -b main /home/carol/work.git
    git -C /home/carol/work.git -c user.name=c -c user.email=c@c commit -q --allow-empty -m first
    chown -R carol /home/carol/work.git
    printf '%s\n' 'Port 2222' 'HostKey /etc/ssh/box/host_key' 'PidFile none' 'UsePAM no' >/run/box/sshd2
    detached /run/box/logs/sshd2.log /usr/sbin/sshd -D -f /run/box/sshd2
    local onwards='-p 2222 -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null -o LogLevel=ERROR -o BatchMode=yes'
    wait_for 5 bash -c ': </dev/tcp/127.0.0.1/2222'
    run_ok with_agent alice+desk "ssh $onwards carol@172.17.0.1 'id -un; hostname'"
    is $'carol\nbastion' "$output"
    run_ok with_agent alice+desk "GIT_SSH_COMMAND='ssh $onwards' git clone -q ssh://carol@172.17.0.1/home/carol/work.git /tmp/work && git -C /tmp/work log --format=%s"
    is first "$output"
    # The key is the agent's alone.
    run_rc 255 ssh_as alice+desk "ssh $onwards carol@172.17.0.1 true"
}

@test "a target whose policy does not say so gets no agent, nor does a key with no-agent-forwarding" {
    run_ok with_agent alice+shut 'echo "${SSH_AUTH_SOCK-none}"'
    is none "$output"
    KEY=frugal run_ok with_agent quiet 'echo "${SSH_AUTH_SOCK-none}"'
    is none "$output"
    # The same target by a key without the option.
    run_ok with_agent alice+quiet 'echo "${SSH_AUTH_SOCK-none}"'
    is_not none "$output"
    vestibulectl target set quiet --no-agent-forwarding
    run_ok with_agent alice+quiet 'echo "${SSH_AUTH_SOCK-none}"'
    is none "$output"
    is '' "$(nests)"
}

@test "another user of the container can't ask it" {
    local socket client
    stays
    run_any docker exec --user bob --env "SSH_AUTH_SOCK=$socket" desk ask
    is 4 "$status"
    matches 'Permission denied' "$stderr"
    run_ok docker exec --user alice --env "SSH_AUTH_SOCK=$socket" desk ask
    is '1 1' "$output"
    inside pkill -x ask
    wait_for 5 fails inside test -e "$socket"
}

@test "when the session is over the socket is gone" {
    with_agent alice+desk true
    with_agent alice+desk 'exit 3' || true
    with_agent alice+desk 'kill -KILL $$' || true
    SSH_OPTIONS=-tt with_agent alice+desk true </dev/null || true
    wait_for 5 no_nests
    wait_for 5 fails waiting
}

@test "when the client is killed the socket is gone, with and without a terminal" {
    local option client socket
    for option in -T -tt; do
        stays "$option"
        is_not '' "$(nests)"
        is_not '' "$(waiting)"
        kill -KILL "$client"
        wait_for 15 no_nests
        wait_for 5 fails waiting
        wait_for 5 fails inside pgrep -x ask
    done
}

@test "when the monitor is killed the socket is gone too" {
    local monitor socket client
    stays
    monitor=$(pgrep -u vestibule -f -- '--session')
    [[ $monitor =~ ^[0-9]+$ ]] || { echo "not one process: $monitor"; return 1; }
    kill -KILL "$monitor"
    wait_for 5 no_nests
    inside pkill -x ask || true
}

@test "a directory that was swapped for a link loses nothing behind the link" {
    local socket client dir
    inside mkdir -p /srv/precious
    inside touch /srv/precious/agent
    inside chown -R alice /srv/precious
    stays
    dir=${socket%/*}
    inside mv "$dir" /tmp/elsewhere
    inside ln -s /srv/precious "$dir"
    inside pkill -x ask
    # The socket itself was held by its directory, wherever that is now.
    wait_for 5 fails inside test -e /tmp/elsewhere/agent
    run_ok inside test -e /srv/precious/agent
    run_ok inside test -L "$dir"
    inside rm -r "$dir" /tmp/elsewhere
}

@test "sshd of OpenSSH 10.1 finds a place for its socket in the home, and nobody else finds it" {
    # What that sshd does as the account of all logins (misc-agent.c): mkdir ~/.ssh, mkdir ~/.ssh/agent, bind in there.
    detached /run/box/logs/like-sshd.log setpriv --reuid vestibule --regid vestibule --clear-groups -- python3 -c '
import os, pwd, socket, time
home = pwd.getpwuid(os.getuid()).pw_dir
for directory in (".ssh", ".ssh/agent"):
    try:
        os.mkdir(f"{home}/{directory}", 0o700)
        raise SystemExit(f"{directory} was not there")
    except FileExistsError:
        pass
os.umask(0o177)
s = socket.socket(socket.AF_UNIX); s.bind(f"{home}/.ssh/agent/s.1234567890.sshd.1234567890"); s.listen(8)
print("listening", flush=True)
time.sleep(1000)'
    local like_sshd=$! path=/usr/share/vestibule/empty/.ssh/agent/s.1234567890.sshd.1234567890
    wait_for 5 grep -q listening /run/box/logs/like-sshd.log
    run_ok as_user vestibule test -S "$path"
    run_any as_user vestibule-keys ls /usr/share/vestibule/empty/.ssh/agent/
    matches 'Permission denied' "$stderr"
    run_any as_user nobody ls /run/vestibule/agents
    matches 'Permission denied' "$stderr"
    # And nothing else can come into being in the home.
    run_any as_user vestibule touch /usr/share/vestibule/empty/.ssh/rc
    matches 'Permission denied' "$stderr"
    run_any as_user vestibule mv /usr/share/vestibule/empty/.ssh/agent /usr/share/vestibule/empty/.ssh/other
    matches 'Permission denied' "$stderr"
    kill "$like_sshd"
}

@test "a /tmp that leads elsewhere leads nobody out of the container" {
    docker_run bent vt-debian -v /proc:/hostproc:ro
    target bent --driver docker --container bent --user root --agent-forwarding
    docker cp /run/box/ask bent:/usr/bin/ask
    docker exec bent sh -c 'rm -rf /tmp && ln -s /hostproc/1/root/tmp /tmp'
    run_ok with_agent alice+bent 'echo $SSH_AUTH_SOCK; ask'
    matches '^/var/tmp/ssh-' "${lines[0]}"
    is '1 1' "${lines[1]}"
    is '' "$(find /tmp -maxdepth 1 -name 'ssh-*' -newer /run/box/agent -uid 0)"
    docker_remove bent
}

@test "in an image of one program, without a /tmp, there is an agent too" {
    local root
    root=/proc/$(docker_pid bare)/root
    mkdir -p "$root/bin"
    cp /run/box/ask "$root/bin/sh" # the one program
    run_ok with_agent alice+bare </dev/null
    is '1 1' "$output"
    is '' "$stderr"
    # The engine makes /dev/shm in every container.
    wait_for 5 fails compgen -G "$root/dev/shm/ssh-*"
    run_rc 3 ssh_as alice+bare </dev/null
    is 'no agent' "$output"
}

@test "where /tmp can't be written another place is taken, and without any the session goes on" {
    docker_run stiff vt-busybox --read-only --tmpfs /dev/shm:rw,mode=1777
    target stiff --driver docker --container stiff --user alice --agent-forwarding
    run_ok with_agent alice+stiff 'echo $SSH_AUTH_SOCK'
    matches '^/dev/shm/ssh-' "$output"
    docker_remove stiff
    docker_run stiff vt-busybox --read-only --tmpfs /dev/shm:ro
    run_ok with_agent alice+stiff 'echo "${SSH_AUTH_SOCK-none}"'
    is none "$output"
    matches '^vestibule: your agent is not forwarded, .*Read-only file system; .*\(session [a-z0-9]{10}\)$' "$stderr"
    docker_remove stiff
}

@test "the process that waits to clean up has nothing of the bastion's and of the session's" {
    local pid fd socket client
    stays
    pid=$(pgrep -u 1000 -f -- '--session')
    [[ $pid =~ ^[0-9]+$ ]] || { echo "not one process: $pid"; return 1; }
    is "$(readlink "/proc/$(docker_pid desk)/ns/mnt")" "$(readlink "/proc/$pid/ns/mnt")"
    is 0000000000000000 "$(awk '/^CapEff/ { print $2 }' "/proc/$pid/status")"
    is "$(awk '/^Seccomp:/ { print $2 }' "/proc/$(docker_pid desk)/status")" "$(awk '/^Seccomp:/ { print $2 }' "/proc/$pid/status")"
    is 3 "$(find "/proc/$pid/fd" -mindepth 1 | wc -l)"
    while read -r fd; do
        matches '^(/tmp|/tmp/ssh-[a-z0-9]+|socket:.*)$' "$fd"
    done < <(find "/proc/$pid/fd" -mindepth 1 -printf '%l\n')
    run_any docker exec --user alice desk sh -c "ls -l /proc/\$(pgrep -f -- --session | head -n 1)/fd"
    matches 'Permission denied' "$stderr"
    inside pkill -x ask
}

@test "who connects and says nothing, or floods, does not hold up the session" {
    cat >/run/box/flood.sh <<'SCRIPT'
for i in $(seq 40); do (yes | nc local:$SSH_AUTH_SOCK >/dev/null 2>&1 &) done
sleep 1
echo still here
SCRIPT
    cp /run/box/flood.sh "$(sandbox_root lab)/tmp/flood.sh"
    run_ok with_agent alice+lab 'sh /tmp/flood.sh'
    is 'still here' "$output"
}
