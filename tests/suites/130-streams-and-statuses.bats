#!/usr/bin/env bats
# What goes in, what comes out and how it ends is the command's own: every exit status, every signal that kills, any bytes.
# needs: debian-image

load ../lib/bastion

setup_file() {
    bastion_start
    add_person alice
    docker_run desk vt-debian
    docker_run den vt-busybox
    sandbox_start lab
    vestibulectl target add desk --driver docker --container desk --user alice
    vestibulectl target add den --driver docker --container den --user alice
    vestibulectl target add lab --driver namespace --pid-file "$SANDBOX_PIDS/lab.pid" --user alice
    local target
    docker_run void vt-empty
    vestibulectl target add void --driver docker --container void --user 1000
    for target in desk den lab void; do vestibulectl grant add alice $target; done
    one_program "/proc/$(docker_pid void)/root/bin/sh"
}

# one_program FILE: all that an empty container holds, in the place of a shell: `exit N`, `kill N` and `cat`.
one_program() {
    cat >/run/box/one.c <<'SOURCE'
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>
int main(int argc, char **argv) {
    static char bytes[65536];
    int number = -1;
    if (argc != 3 || strcmp(argv[1], "-c")) return 101;
    if (sscanf(argv[2], "exit %d", &number) == 1) return number;
    if (sscanf(argv[2], "kill %d", &number) == 1) return raise(number), 102;
    if (strcmp(argv[2], "cat")) return 103;
    for (ssize_t n, at, w; (n = read(0, bytes, sizeof bytes)) > 0;)
        for (at = 0; at < n; at += w)
            if ((w = write(1, bytes + at, n - at)) < 0) return 104;
    return 0;
}
SOURCE
    mkdir -p "${1%/*}"
    gcc -static -O1 -o "$1" /run/box/one.c
}
setup() { audit_mark; }
teardown() {
    show_logs_on_failure
    local socket
    for socket in "$BATS_TEST_TMPDIR"/master.*; do
        [[ ! -S $socket ]] || ssh -S "$socket" -O exit bastion 2>/dev/null
    done
}

# master TARGET: one connection for many sessions, which SSH_OPTIONS then names.
master() {
    local socket=$BATS_TEST_TMPDIR/master.$1
    # shellcheck disable=SC2046  # options are words
    detached "$BATS_TEST_TMPDIR/log.$1" ssh $(ssh_options alice) -M -S "$socket" -N -l "alice+$1" bastion
    wait_for 5 test -S "$socket"
    # shellcheck disable=SC2034  # ssh_as has it
    SSH_OPTIONS="-S $socket"
}

# every_status TARGET: 256 sessions on one connection.
every_status() {
    local status
    master "$1"
    for status in {0..255}; do
        run_rc "$status" ssh_as "alice+$1" "exit $status"
        is '' "$output$stderr"
    done
}

@test "every exit status arrives, in Debian, in busybox and in a sandbox" {
    local target
    for target in desk den lab; do every_status "$target"; done
}

@test "every exit status arrives where there is one program and no shell" {
    every_status void
}

@test "every signal that kills arrives as that signal, where the protocol has a name for it" {
    local target signal signals=(ABRT ALRM FPE HUP ILL INT KILL PIPE SEGV TERM USR1 USR2)
    local command
    for target in lab den desk void; do
        # Neither bash nor busybox' shell dies of SIGQUIT; Debian's sh does, and so does what is no shell.
        [[ $target != desk ]] || signals+=(QUIT)
        for signal in "${signals[@]}"; do
            command="ulimit -c 0; exec sh -c 'kill -$signal \$\$; sleep 5'"
            [[ $target != void ]] || command="kill $(kill -l "$signal")"
            SSH_OPTIONS=-v run_rc 255 ssh_as "alice+$target" "$command"
            matches "client_input_channel_req: channel 0 rtype exit-signal" "$stderr"
            expect_audit "event=end target=$target signal=$(kill -l "$signal")"
        done
    done
}

@test "a hundred megabytes of any bytes come out as they went in, and are counted right" {
    local target
    head -c 104857600 /dev/urandom >"$BATS_TEST_TMPDIR/bytes"
    for target in desk lab void; do
        ssh_as "alice+$target" cat <"$BATS_TEST_TMPDIR/bytes" >"$BATS_TEST_TMPDIR/back"
        run_ok cmp "$BATS_TEST_TMPDIR/bytes" "$BATS_TEST_TMPDIR/back"
        rm "$BATS_TEST_TMPDIR/back"
    done
}

@test "a command that closes its output goes on, and one that is left behind holds nothing up" {
    local target begun
    for target in desk den; do
        run_rc 7 ssh_as "alice+$target" 'exec >&- 2>&-; sleep 0.3; exit 7'
        begun=$SECONDS
        run_ok ssh_as "alice+$target" 'setsid sleep 30 </dev/null >/dev/null 2>&1 & echo done'
        is "done" "$output"
        ((SECONDS - begun < 10))
    done
}
