#!/usr/bin/env bats
# Attacks that once worked, or nearly: a container that lies about system calls, that leads its guests out by their home,
# that is named as another's id begins; and what the bastion's lesser accounts could make of their place.

load ../lib/bastion

setup_file() {
    bastion_start
    add_person alice
    docker_start
    docker_image vt-busybox
    make_liar
    docker_run den vt-busybox
    target den --driver docker --container den --user root
}

setup() { audit_mark; }

teardown() { show_logs_on_failure; }

# target NAME OPTION...: a target that alice may enter.
target() {
    vestibulectl target add "$@"
    vestibulectl grant add alice "$1"
}

# /run/box/liar: a first process whose filter has clone(2) and prctl(2) report success and do nothing.
make_liar() {
    cat >/run/box/liar.c <<'SOURCE'
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>
int main(void) {
    struct sock_filter steps[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, 0),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_clone, 1, 0),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_prctl, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    struct sock_fprog program = {5, steps};
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) || syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &program)) return 1;
    for (;;) pause();
}
SOURCE
    gcc -static -O1 -o /run/box/liar /run/box/liar.c
}

# Processes that run COMMAND and are in no container's pid namespace.
outside() {
    local pid
    for pid in $(pgrep -x -f "$1"); do
        [[ $(grep ^NSpid: "/proc/$pid/status" | wc -w) != 2 ]] || echo "$pid"
    done
}

@test "a filter that swallows clone lets nobody run in the bastion's pid namespace" {
    local victim
    docker create --name lie --entrypoint /liar vt-busybox
    docker cp /run/box/liar lie:/liar
    docker start lie
    target lie --driver docker --container lie --user root
    detached /dev/null sleep 1234
    victim=$!
    # Were it the entering process itself, root of the container could signal whatever it likes out here.
    run_any ssh_as alice+lie "kill -KILL $victim; exec sleep 4321"
    is_not 0 "$status"
    is '' "$(outside 'sleep 4321')"
    kill "$victim"
    docker_remove lie
}

@test "a home that leads through /proc to a descriptor leads nobody out of the container" {
    local number
    docker_run mon vt-busybox -v /proc:/hostproc:ro
    target mon --driver docker --container mon --user root
    for number in {3..12}; do
        docker exec mon /bin/sh -c "sed -i 's,^root:.*,root:x:0:0:root:/hostproc/self/fd/$number:/bin/sh,' /etc/passwd"
        run_any ssh_as alice+mon 'cat ../../etc/vestibule/nss.conf ../../../etc/vestibule/nss.conf; /bin/pwd'
        is / "$output"
    done
    docker_remove mon
}

@test "a container whose id begins with a target's name is not that target's container" {
    local id other
    docker_run victim vt-busybox
    id=$(docker inspect --format '{{.Id}}' victim)
    for other in "${id:0:3}" "${id:0:12}"; do
        target "pre$other" --driver docker --container "$other" --user root
        run_any ssh_as "alice+pre$other" hostname
        is '' "$output"
        matches 'does not exist' "$stderr"
    done
    # The whole id is as good as the name.
    target byid --driver docker --container "$id" --user root
    run_ok ssh_as alice+byid hostname
    is victim "$output"
    docker_remove victim
}

@test "where a user namespace denies setgroups, no group of the bastion's comes along" {
    local pid
    detached /dev/null setpriv --reuid nobody --regid nogroup --clear-groups \
        unshare --user --map-root-user --mount --pid --net --ipc --uts --fork --kill-child --mount-proc sleep 5432
    wait_for 5 pgrep -x -f 'sleep 5432'
    pid=$(pgrep -x -f 'sleep 5432')
    is deny "$(<"/proc/$pid/setgroups")"
    mkdir -p /run/box/pids
    echo "$pid" >/run/box/pids/rootless
    target rootless --driver namespace --pid-file /run/box/pids/rootless --user root
    run_ok ssh_as alice+rootless 'grep ^Groups: /proc/self/status; cat /var/lib/vestibule/store.db 2>/dev/null | head -c 6'
    is 'Groups:' "$(tr -d '\t ' <<<"$output")"
    kill "$pid"
}

@test "a container's name for a user can not add fields to the audit log" {
    docker_run scribe vt-busybox
    target scribe --driver docker --container scribe --user 1000
    docker exec scribe /bin/sh -c "sed -i 's,^alice:,a client=\"192.0.2.66\" target=other:,' /etc/passwd"
    run_ok ssh_as alice+scribe true
    expect_audit 'event=start target=scribe'
    fails audit_has 'event=start.* client="192.0.2.66" target=other '
    docker_remove scribe
}

@test "an account that is called as a uid is not that uid" {
    docker_run many vt-busybox
    vestibulectl target add many --driver docker --container many --user '{account}'
    local name
    for name in 0 1000; do
        # That such accounts can't be made would do as well.
        vestibulectl account add "$name" && vestibulectl key add --account "$name" "$KEYS/alice.pub" &&
            vestibulectl grant add "$name" many || continue
        KEY=alice run_any ssh_as "$name+many" id -u
        is_not 0 "$status"
        is '' "$output"
        vestibulectl account rm "$name"
    done
    docker_remove many
}

@test "the owner of the store can not put a home of its own in the place of everybody's" {
    local home
    home=$(getent passwd scribe lie mon byid | head -n 1 | cut -d : -f 6)
    is_not '' "$home"
    fails as_user vestibule-refresh mv "$home" "$home.away"
    is 'root 755' "$(stat -c '%U %a' "$home")"
}

# as_session STDIN COMMAND: what the account of all logins can do without sshd: a program and descriptors of its own choice.
as_session() {
    local id
    id=$(vestibulectl target show den --json | jq .id)
    as_user vestibule env -i VESTIBULE_COMMAND="$2" /usr/libexec/vestibule/enter --session a1 --target "$id" <"$1" 2>&1 | cat
}

@test "the account of all logins can not hand a file or directory of the bastion into a container" {
    # Pipes, as sshd makes them, are what a session is made of.
    is root "$(true | as_session /dev/stdin 'id -un')"
    # Root of the container could open again, with its own rights, what it gets: the bastion's root, its files.
    echo original >/run/box/file
    chmod 0644 /run/box/file
    matches_not nologin "$(as_session / 'cat /proc/self/fd/0/etc/passwd')"
    as_session /run/box/file 'echo changed >/proc/self/fd/0'
    is original "$(</run/box/file)"
}

@test "the account of all logins can not hand a socket into a container, by which any descriptor could follow" {
    local id
    id=$(vestibulectl target show den --json | jq .id)
    run_any as_user vestibule python3 -c '
import socket, subprocess, sys
ours, theirs = socket.socketpair()
command = ["/usr/libexec/vestibule/enter", "--session", "a2", "--target", sys.argv[1]]
done = subprocess.run(command, stdin=theirs, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env={"VESTIBULE_COMMAND": "id -un"})
print(done.returncode, done.stdout.decode())' "$id"
    matches_not root "$output"
    matches_not '^0' "$output"
}

@test "the owner of the store can not enter containers" {
    local id
    id=$(vestibulectl target show den --json | jq .id)
    run_any bash -c "true | setpriv --reuid vestibule-refresh --regid vestibule-refresh --init-groups env -i VESTIBULE_COMMAND='id -un' /usr/libexec/vestibule/enter --session a3 --target $id 2>&1 | cat"
    matches_not root "$output"
    # Nobody else is kept out by that.
    is root "$(true | as_session /dev/stdin 'id -un')"
}

@test "one bad file in the register hides no session" {
    docker_run seen vt-busybox
    target seen --driver docker --container seen --user root
    detached /dev/null setpriv --reuid vestibule --regid vestibule --init-groups bash -c 'exec 9>/run/vestibule/sessions/aa && flock -x 9 && echo junk >&9 && exec sleep 15'
    wait_for 5 test -s /run/vestibule/sessions/aa
    # shellcheck disable=SC2046  # options are words
    detached /dev/null ssh -n $(ssh_options alice+seen) -l alice+seen bastion sleep 10
    wait_for 5 session_of_seen
    docker_remove seen
}

session_of_seen() { [[ $(vestibulectl sessions --json 2>/dev/null | jq 'any(.[]; .target == "seen")') == true ]]; }
