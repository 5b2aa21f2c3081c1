#!/usr/bin/env bats
# A process that came by ssh differs in nothing that confines it from one that came by `docker exec`; and from the
# container's own first process where there is no engine. Everything is read from the bastion, so that the container has
# no part in the answer.

load ../lib/bastion

setup_file() {
    bastion_start
    docker_start
    # Some of these share the bastion's network or its processes.
    printf '[may_enter]\nprivileged = ["docker:*"]\n' >/etc/vestibule/vestibule.toml.d/may-enter.toml
    make_key alice
    vestibulectl account add alice
    vestibulectl key add --account alice "$KEYS/alice.pub"
}

setup() { audit_mark; }

teardown() {
    show_logs_on_failure
    [[ -z ${container-} ]] || docker_remove "$container"
    return 0
}

# target NAME USER [vestibulectl options]...: a target that alice may enter as USER.
target() {
    local name=$1 user=$2
    shift 2
    vestibulectl target add "$name" --user "$user" "$@"
    vestibulectl grant add alice "$name"
}

# What confines process $1, one attribute a line.
confinement() {
    local pid=$1 kind name
    for kind in cgroup ipc mnt net pid time user uts; do
        printf 'ns %s %s\n' "$kind" "$(readlink "/proc/$pid/ns/$kind")"
    done
    sed 's/^/cgroup /' "/proc/$pid/cgroup"
    grep -E '^(Umask|Uid|Gid|Groups|Cap[A-Za-z]+|NoNewPrivs|Seccomp|Seccomp_filters|Speculation[A-Za-z_]+|Cpus_allowed|Mems_allowed|SigBlk|CoreDumping|THP_enabled):' \
        "/proc/$pid/status"
    # But for 32 and 33, which are the C library's own and come as whoever started the test left them.
    awk '$1 == "SigIgn:" { print $2 }' "/proc/$pid/status" | while read -r ignored; do
        printf 'ignored %x\n' $((16#$ignored & ~0x180000000))
    done
    sed 's/^/limit /' "/proc/$pid/limits"
    for name in oom_score_adj personality timerslack_ns attr/current; do
        # A kernel without a security module has no label to tell.
        printf '%s %s\n' "$name" "$(tr -d '\0' 2>/dev/null <"/proc/$pid/$name")"
    done
    printf 'root %s\n' "$(stat -L -c %d:%i "/proc/$pid/root")"
    # nice, real-time priority, policy: proc_pid_stat(5), behind the name.
    printf 'schedule %s\n' "$(sed 's/.*) //' "/proc/$pid/stat" | awk '{ print $17, $38, $39 }')"
    printf 'descriptors %s\n' "$(find "/proc/$pid/fd" -type l -printf '%f ' | tr ' ' '\n' | sort -n | tr '\n' ' ')"
}

# same_confinement CONTAINER USER LOGIN: one process each way, compared. Both wait with `sleep`, told apart by its argument.
same_confinement() {
    local name=$1 user=$2 login=$3
    docker exec --detach --interactive --user "$user" "$name" /bin/sleep 8001
    ssh_as "$login" 'exec /bin/sleep 8002' </dev/null 3>&- &
    wait_for 10 pgrep -f '^/bin/sleep 8001$'
    wait_for 10 pgrep -f '^/bin/sleep 8002$'
    confinement "$(pgrep -f '^/bin/sleep 8001$')" >"$BATS_TEST_TMPDIR/exec"
    confinement "$(pgrep -f '^/bin/sleep 8002$')" >"$BATS_TEST_TMPDIR/ssh"
    pkill -f '^/bin/sleep 800[12]$'
    run_ok test -s "$BATS_TEST_TMPDIR/exec"
    run_ok grep -E '^ns mnt mnt:' "$BATS_TEST_TMPDIR/exec"
    run_ok diff "$BATS_TEST_TMPDIR/exec" "$BATS_TEST_TMPDIR/ssh"
}

# compare OPTION...: the comparison for a container started with these options of `docker run`, as a user and as root.
compare() {
    container=c$BATS_TEST_NUMBER
    docker_run "$container" vt-busybox "$@"
    target "$container" alice --driver docker --container "$container"
    target "$container-root" root --driver docker --container "$container"
    same_confinement "$container" alice "alice+$container"
    same_confinement "$container" root "alice+$container-root"
}

@test "a container as docker makes it" { compare; }

@test "a container with fewer capabilities" { compare --cap-drop ALL --cap-add CHOWN; }

@test "a container with more capabilities" { compare --cap-add NET_ADMIN --cap-add SYS_PTRACE; }

@test "a container without new privileges" { compare --security-opt no-new-privileges; }

@test "a container without a seccomp filter" { compare --security-opt seccomp=unconfined; }

@test "a container with a seccomp filter of its own" {
    cat >"$BATS_TEST_TMPDIR/profile.json" <<'JSON'
{ "defaultAction": "SCMP_ACT_ALLOW", "syscalls": [ { "names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO", "errnoRet": 38 } ] }
JSON
    compare --security-opt seccomp="$BATS_TEST_TMPDIR/profile.json"
    run_rc 1 ssh_as "alice+$container" 'mkdir /tmp/x'
    matches 'Function not implemented' "$stderr"
}

@test "a container with resource limits" { compare --ulimit nofile=100:200 --ulimit core=0 --ulimit nproc=500:600; }

@test "a container that is killed first when memory is short" { compare --oom-score-adj 500; }

@test "a container with cgroup limits" { compare --pids-limit 50 --memory 128m --cpu-shares 512; }

@test "a container whose first process is not root" { compare --user 1001:1001; }

@test "a container that shares the host's network, and one that shares its processes" {
    compare --network host
    docker_remove "$container"
    vestibulectl target rm "$container"
    vestibulectl target rm "$container-root"
    compare --pid host
}

@test "a container that shares another one's network" {
    docker_run other vt-busybox
    # docker_run gives each container a host name, which docker does not allow here.
    container=c$BATS_TEST_NUMBER
    docker run --detach --name "$container" --network container:other vt-busybox
    target "$container" alice --driver docker --container "$container"
    same_confinement "$container" alice "alice+$container"
    docker_remove other
}

@test "a container with the host's cgroup namespace" { compare --cgroupns host; }

@test "the environment is that of docker exec, and who one is" {
    container=c$BATS_TEST_NUMBER
    docker_run "$container" vt-busybox --env COLOUR='dark green' --env EMPTY=
    target "$container" alice --driver docker --container "$container"
    docker exec --user alice "$container" env | sort >"$BATS_TEST_TMPDIR/exec"
    ssh_as "alice+$container" env | sort >"$BATS_TEST_TMPDIR/ssh"
    run_ok comm -23 "$BATS_TEST_TMPDIR/exec" "$BATS_TEST_TMPDIR/ssh"
    is '' "$output"
    # What ssh adds: who one is, where one came from, and what the shell itself sets.
    run_ok bash -c "comm -13 '$BATS_TEST_TMPDIR/exec' '$BATS_TEST_TMPDIR/ssh' | cut -d = -f 1 | tr '\n' ' '"
    is 'LOGNAME PWD SHELL SHLVL SSH_CLIENT SSH_CONNECTION USER ' "$output"
}

@test "a sandbox without an engine confines a session as its first process, with and without a user namespace" {
    local name
    for name in plain mapped; do
        case $name in plain) sandbox_start plain ;; mapped) sandbox_start mapped --userns ;; esac
        target "$name" root --driver namespace --pid-file "$SANDBOX_PIDS/$name.pid"
        ssh_as "alice+$name" 'exec /bin/sleep 8003' </dev/null 3>&- &
        wait_for 10 pgrep -f '^/bin/sleep 8003$'
        # The first process has no groups, and what it does with signals and descriptors is its own business.
        confinement "$(sandbox_pid "$name")" | grep -v -E '^(descriptors|Umask|Sig|ignored|Groups)' >"$BATS_TEST_TMPDIR/first"
        confinement "$(pgrep -f '^/bin/sleep 8003$')" | grep -v -E '^(descriptors|Umask|Sig|ignored|Groups)' >"$BATS_TEST_TMPDIR/ssh"
        pkill -f '^/bin/sleep 8003$'
        run_ok grep -E '^ns user user:' "$BATS_TEST_TMPDIR/first"
        run_ok diff "$BATS_TEST_TMPDIR/first" "$BATS_TEST_TMPDIR/ssh"
    done
}

@test "a sandbox found by its control group, by LXC's name and by machined's" {
    sandbox_start grouped
    local group
    group=$(sandbox_cgroups grouped | head -n 1)
    target by-cgroup root --driver namespace --cgroup "/${group#/sys/fs/cgroup/*/}"
    run_ok ssh_as alice+by-cgroup hostname
    is grouped "$output"

    mkdir "${group%/*}/lxc.payload.grouped"
    sandbox_pid grouped >"${group%/*}/lxc.payload.grouped/cgroup.procs"
    target by-lxc root --driver namespace --lxc grouped
    run_ok ssh_as alice+by-lxc hostname
    is grouped "$output"

    mkdir -p /run/systemd/machines
    printf '# as systemd-machined writes it\nNAME=grouped\nCLASS=container\nLEADER=%s\n' "$(sandbox_pid grouped)" \
        >/run/systemd/machines/grouped
    target by-machine root --driver namespace --machine grouped
    run_ok ssh_as alice+by-machine hostname
    is grouped "$output"
}

@test "what can't be mirrored refuses the session: a filter that asks a supervisor" {
    sandbox_start supervised
    # The sandbox's first process can't be changed from outside; another one in it loads the filter and is the leader.
    detached /run/box/logs/notify.log "$BOX_REPO/tests/lib/notifying-filter.py" "$(sandbox_pid supervised)" /run/vestibule-test/notify.pid
    wait_for 5 test -s /run/vestibule-test/notify.pid
    target supervised root --driver namespace --pid-file /run/vestibule-test/notify.pid
    run_rc 205 ssh_as alice+supervised true
    matches "vestibule: the session can't be confined as its container is \(seccomp filter with a supervisor\)" "$stderr"
}
