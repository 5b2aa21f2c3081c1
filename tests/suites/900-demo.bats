#!/usr/bin/env bats
# `make demo`, as somebody sees it who tries vestibule for the first time. It runs in a box of its own, inside this one.

load ../lib/bastion

setup_file() {
    # Run once, looked at by each test.
    local rc=0
    TIMEOUT=100 limit "$BOX_REPO/tests/demo.sh" --built >"$BATS_FILE_TMPDIR/demo.out" 2>&1 </dev/null || rc=$?
    echo "$rc" >"$BATS_FILE_TMPDIR/demo.rc"
}

# The whole of what it printed, shown when a test fails.
setup() { demo=$(tr -d '\r' <"$BATS_FILE_TMPDIR/demo.out"); }

@test "the demo runs to its end" {
    echo "$demo"
    is 0 "$(<"$BATS_FILE_TMPDIR/demo.rc")"
    matches 'done: everything goes with the box' "$demo"
}

@test "it shows sessions in a plain sandbox and in a Docker container" {
    echo "$demo"
    local name
    for name in lab studio; do
        matches "sessions in $name.*alice.*uid=1000\(alice\).*$name.*exit status 42.*/dev/pts/[0-9]+" "$(tr '\n' ' ' <<<"$demo")"
    done
}

@test "it shows that a stranger is not let in" {
    echo "$demo"
    matches 'lab@bastion: Permission denied' "$demo"
}

@test "it opens a shell when there is a terminal, and leaves when the shell ends" {
    TIMEOUT=100 run_ok "$BOX_REPO/tests/lib/on-terminal.py" 24x80 --type 'hostname; echo shell-$((6 * 7))\r' '~ $ ' --type 'exit\r' shell-42 -- \
        "$BOX_REPO/tests/demo.sh" --built
    matches 'shell-42' "$output"
    matches 'done: everything goes with the box' "$output"
}

@test "it leaves nothing behind" {
    run_ok bash -c 'ls -d /tmp/vestibule-box.* 2>/dev/null; find /sys/fs/cgroup -name "vestibule-box.*"; pgrep -x dockerd; getent passwd | grep ^vestibule; true'
    is '' "$output"
    fails test -e /usr/sbin/vestibulectl
}
