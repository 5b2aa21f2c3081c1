#!/usr/bin/env bats
# The clients that people have, and what they do: OpenSSH's with its options and multiplexing, paramiko, asyncssh, and what
# Ansible does. `desk` is Debian, `den` has busybox, `void` one static program that is no shell.
# needs: debian-image

load ../lib/bastion

setup_file() {
    bastion_start
    add_person alice
    docker_run desk vt-debian
    docker_run den vt-busybox
    docker_run void vt-empty
    vestibulectl target add desk --driver docker --container desk --user alice
    vestibulectl target add den --driver docker --container den --user alice
    vestibulectl target add void --driver docker --container void --user 1000
    local target
    for target in desk den void; do vestibulectl grant add alice $target; done
    mkdir -p "/proc/$(docker_pid void)/root/data"
    chown 1000:1000 "/proc/$(docker_pid void)/root/data"
}

setup() { audit_mark; }

teardown() { show_logs_on_failure; }

# Processes of the container with that command line.
inside() { docker exec "$1" /bin/sh -c 'for f in /proc/[0-9]*/cmdline; do tr "\0" " " <$f 2>/dev/null; echo; done' | grep -c -x -F -- "$2 " || true; }

none_inside() { [[ $(inside "$1" "$2") == 0 ]]; }

@test "ten sessions run at once on one connection" {
    local target number socket=$BATS_TEST_TMPDIR/master
    for target in desk den; do
        # shellcheck disable=SC2046  # options are words
        detached "$BATS_TEST_TMPDIR/master.log" ssh $(ssh_options alice) -M -S "$socket" -N -l "alice+$target" bastion
        wait_for 5 test -S "$socket"
        audit_mark
        for number in {0..9}; do
            SSH_OPTIONS="-S $socket" ssh_as "alice+$target" "cat; sleep 0.5; exit $number" \
                <<<"$number" >"$BATS_TEST_TMPDIR/out.$number" &
            eval "job$number=$!"
        done
        for number in {0..9}; do
            local job=job$number rc=0
            wait "${!job}" || rc=$?
            is "$number" "$rc"
            is "$number" "$(<"$BATS_TEST_TMPDIR/out.$number")"
        done
        # One login, ten sessions, each with a number of its own.
        is 10 "$(audit_since | grep -o 'session=[a-z0-9]* result=granted' | sort -u | wc -l)"
        ssh -S "$socket" -O exit bastion 2>/dev/null
        wait_for 5 fails test -S "$socket"
    done
}

@test "ten sftp run at once on one connection, where there is no shell" {
    local number socket=$BATS_TEST_TMPDIR/master pids=()
    # shellcheck disable=SC2046  # options are words
    detached "$BATS_TEST_TMPDIR/master.log" ssh $(ssh_options alice) -M -S "$socket" -N -l alice+void bastion
    wait_for 5 test -S "$socket"
    for number in {0..9}; do
        head -c 300000 /dev/urandom >"$BATS_TEST_TMPDIR/in.$number"
        printf 'put %s /data/many.%s\nget /data/many.%s %s\n' "$BATS_TEST_TMPDIR/in.$number" "$number" "$number" \
            "$BATS_TEST_TMPDIR/back.$number" >"$BATS_TEST_TMPDIR/batch.$number"
        TIMEOUT=60 limit sftp -q -o ControlPath="$socket" -b "$BATS_TEST_TMPDIR/batch.$number" alice+void@bastion >/dev/null &
        pids+=($!)
    done
    for number in {0..9}; do
        wait "${pids[number]}"
        run_ok cmp "$BATS_TEST_TMPDIR/in.$number" "$BATS_TEST_TMPDIR/back.$number"
    done
    ssh -S "$socket" -O exit bastion 2>/dev/null
}

@test "ssh -tt gives a terminal though there is none here, -T none, and -n no input" {
    local target
    for target in desk den; do
        SSH_OPTIONS=-tt run_ok ssh_as "alice+$target" 'tty; exit 0'
        matches '^/dev/pts/[0-9]+' "$output"
        SSH_OPTIONS=-T run_rc 1 ssh_as "alice+$target" tty
        is 'not a tty' "$output"
        echo words >"$BATS_TEST_TMPDIR/in"
        is '' "$(SSH_OPTIONS=-n ssh_as "alice+$target" cat <"$BATS_TEST_TMPDIR/in")"
    done
}

@test "a command lives on after the end of its input" {
    local target
    for target in desk den; do
        is $'words\nafter' "$(echo words | ssh_as "alice+$target" 'cat; sleep 1; echo after')"
    done
}

@test "a command whose output nobody reads any more ends without a word, inside and here" {
    local target
    for target in desk den; do
        run_ok ssh_as "alice+$target" 'yes | head -n 1'
        is y "$output"
        is '' "$stderr"
        is outside "$(ssh_as "alice+$target" 'exec yes outside' 2>"$BATS_TEST_TMPDIR/err" | head -n 1)"
        is '' "$(<"$BATS_TEST_TMPDIR/err")"
        wait_for 15 none_inside "$target" 'yes outside'
    done
}

@test "a hundred megabytes on stderr arrive, and stdout stays apart" {
    local target
    for target in desk den; do
        is end "$(TIMEOUT=60 ssh_as "alice+$target" 'head -c 100000000 /dev/zero >&2; echo end' 2>"$BATS_TEST_TMPDIR/err")"
        is 100000000 "$(stat -c %s "$BATS_TEST_TMPDIR/err")"
        rm "$BATS_TEST_TMPDIR/err"
    done
}

@test "paramiko: files, commands, sessions beside each other, a terminal" {
    TIMEOUT=60 run_ok "$BOX_REPO/tests/lib/with-paramiko.py" alice+desk "$KEYS/alice" /home/alice shell
    TIMEOUT=60 run_ok "$BOX_REPO/tests/lib/with-paramiko.py" alice+den "$KEYS/alice" /home/alice shell
    TIMEOUT=60 run_ok "$BOX_REPO/tests/lib/with-paramiko.py" alice+void "$KEYS/alice" /data
}

@test "asyncssh: files, ten commands at once, a terminal, death by a signal" {
    TIMEOUT=60 run_ok "$BOX_REPO/tests/lib/with-asyncssh.py" alice+desk "$KEYS/alice" /home/alice shell
    TIMEOUT=60 run_ok "$BOX_REPO/tests/lib/with-asyncssh.py" alice+den "$KEYS/alice" /home/alice shell
    TIMEOUT=60 run_ok "$BOX_REPO/tests/lib/with-asyncssh.py" alice+void "$KEYS/alice" /data
}

@test "what Ansible does: a connection that persists, a program on stdin, a file by sftp that is then run" {
    local target options
    for target in desk den; do
        options="-o ControlMaster=auto -o ControlPersist=20 -o ControlPath=$BATS_TEST_TMPDIR/$target"
        # Its first words: where is home?
        SSH_OPTIONS=$options run_ok ssh_as "alice+$target" "/bin/sh -c 'echo ~ && sleep 0'"
        is /home/alice "$output"
        is '{"changed": false}' "$(printf 'echo "{\\"changed\\": false}"\n' | SSH_OPTIONS=$options ssh_as "alice+$target" "/bin/sh -c '/bin/sh && sleep 0'")"
        # shellcheck disable=SC2086,SC2046  # options are words
        printf 'mkdir .tmp\nput /bin/busybox .tmp/busybox\nchmod 700 .tmp/busybox\n' |
            limit sftp -q $options $(ssh_options alice) -b - "alice+$target@bastion" >/dev/null
        SSH_OPTIONS="$options -tt" run_ok ssh_as "alice+$target" "/bin/sh -c '~/.tmp/busybox echo run && rm -rf ~/.tmp && sleep 0'"
        is run "$(tr -d '\r' <<<"$output")"
        ssh -o ControlPath="$BATS_TEST_TMPDIR/$target" -O exit bastion 2>/dev/null
    done
}

@test "tmux starts without a client that waits, and is found by the next session" {
    run_ok ssh_as alice+desk 'tmux new-session -d -s later "sleep 1000"'
    run_ok ssh_as alice+desk 'tmux list-sessions -F "#{session_name}"'
    is later "$output"
    run_ok ssh_as alice+desk 'tmux kill-server'
}

@test "a container without a shell says that it has none, for a command and for a login" {
    run_rc 207 ssh_as alice+void id
    matches "vestibule: the shell '/bin/sh' can't be executed in the container" "$stderr"
    run_rc 207 ssh_as alice+void
    matches "vestibule: the shell '/bin/sh'" "$stderr"
}
