# A container without an engine: namespaces, a root file system, a cgroup and a pid file. What the `namespace` driver
# enters.
# shellcheck shell=bash

SANDBOX_PIDS=/run/vestibule-test

# sandbox_start NAME [--userns]: a busybox sandbox with namespaces of its own (mount, pid, net, ipc, uts, cgroup; with
# --userns also user, where uid 0 is 100000 outside). Its root is $(sandbox_root NAME), its first process's pid, as the
# bastion sees it, stands in the root-owned file $SANDBOX_PIDS/NAME.pid.
sandbox_start() {
    local name=$1 base=0 root launcher pid
    [[ ${2-} != --userns ]] || base=100000
    root=$(sandbox_root "$name")
    mkdir -p "$SANDBOX_PIDS" "${root%/*}"
    busybox_root /run/box/images/vt-busybox || return 1
    cp -a /run/box/images/vt-busybox "$root"
    ((base == 0)) || sandbox_shift "$root" "$base"
    detached "/run/box/logs/sandbox-$name.log" env -i PATH="$PATH" LANG=C.UTF-8 \
        "$BOX_REPO/tests/lib/sandbox-launch" "$name" "$root" "$base"
    launcher=$!
    wait_for 10 sandbox_runs "$launcher" || { cat "/run/box/logs/sandbox-$name.log"; return 1; }
    pid=$(sandbox_first "$launcher")
    (umask 022 && echo "$pid" >"$SANDBOX_PIDS/$name.pid")
}

# sandbox_stop NAME: ends every process in it, and removes its cgroups and files.
sandbox_stop() {
    local name=$1 pid dir
    pid=$(sandbox_pid "$name") || return 1
    kill -KILL "$pid" 2>/dev/null
    wait_for 5 fails kill -0 "$pid"
    while read -r dir; do
        wait_for 5 rmdir "$dir"
    done < <(sandbox_cgroups "$name")
    rm -rf --one-file-system "$SANDBOX_PIDS/$name.pid" "$(sandbox_root "$name")"
}

sandbox_root() { echo "/run/box/sandbox/$1/root"; }
sandbox_pid() { cat "$SANDBOX_PIDS/$1.pid"; }

# sandbox_cgroups NAME: its directories, one for each hierarchy of the box.
sandbox_cgroups() { find /sys/fs/cgroup -maxdepth 2 -type d -name "sandbox-$1"; }

# The child of the launcher that became the sandbox's init.
sandbox_first() {
    local pid
    for pid in $(pgrep -P "$1"); do
        [[ $(readlink "/proc/$pid/exe") != /init ]] || { echo "$pid"; return; }
    done
    return 1
}

sandbox_runs() { sandbox_first "$1" >/dev/null; }

# Gives the files of a root to the uids that a user namespace will map.
sandbox_shift() {
    local root=$1 base=$2 id
    while read -r id; do
        find "$root" -uid "$id" -gid "$id" -print0 | xargs -0 chown -h "$((base + id)):$((base + id))"
    done < <(find "$root" -printf '%U\n' | sort -n -u | awk -v base="$base" '$1 < base')
}
