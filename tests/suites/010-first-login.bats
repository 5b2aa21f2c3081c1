#!/usr/bin/env bats
# ssh TARGET@bastion, and you stand in your container: exec, exit status, bytes, terminal; and who may not.
# `lab` is a sandbox of plain namespaces, `studio` a Docker container; in both the login user is alice.

load ../lib/bastion

setup_file() {
    bastion_start
    sandbox_start lab
    docker_run studio vt-busybox
    vestibulectl target add lab --driver namespace --pid-file "$SANDBOX_PIDS/lab.pid" --user alice --alias workshop
    vestibulectl target add studio --driver docker --container studio --user alice
    add_person alice --default-target lab
    add_person bob
    vestibulectl grant add alice lab
    vestibulectl grant add alice studio
    make_key mallory
}

setup() { audit_mark; }

teardown() { show_logs_on_failure; }

@test "ssh TARGET@bastion runs a command in the container, as its login user" {
    run_ok ssh_as lab 'hostname; id'
    is $'lab\nuid=1000(alice) gid=1000(alice) groups=50(staff),1000(alice),2000(lab)' "$output"
    is '' "$stderr"
    run_ok ssh_as studio 'hostname; id'
    is $'studio\nuid=1000(alice) gid=1000(alice) groups=50(staff),1000(alice),2000(lab)' "$output"
    is '' "$stderr"
}

@test "ssh ACCOUNT+TARGET@bastion and ssh ACCOUNT@TARGET@bastion lead to the same place" {
    run_ok ssh_as alice+lab hostname
    is lab "$output"
    run_ok ssh_as alice@lab hostname
    is lab "$output"
    run_ok ssh_as alice+studio hostname
    is studio "$output"
}

@test "ssh ACCOUNT@bastion leads to the account's default target" {
    run_ok ssh_as alice hostname
    is lab "$output"
}

@test "a target answers to its alias" {
    run_ok ssh_as alice+workshop hostname
    is lab "$output"
}

@test "who has no grant is refused, and so is who has no account" {
    KEY=bob ssh_refused lab true
    KEY=bob ssh_refused bob+lab true
    KEY=mallory ssh_refused lab true
    KEY=mallory ssh_refused studio true
}

@test "one's key opens nothing under another's name" {
    KEY=bob ssh_refused alice+lab true
    KEY=bob ssh_refused alice true
}

@test "a name that leads nowhere is refused" {
    ssh_refused alice+nowhere true
    ssh_refused nowhere true
    # bob has no default target.
    ssh_refused bob true
}

@test "the exit status of the command is the session's" {
    local target code
    for target in lab studio; do
        for code in 0 1 2 7 42 99 125 126 127 128 130 137 143 200 254 255; do
            run_rc "$code" ssh_as "alice+$target" "exit $code"
            is '' "$output$stderr"
        done
    done
}

@test "a command that does not exist is the shell's 127" {
    run_rc 127 ssh_as alice+lab no-such-command
    is '' "$output"
    matches 'no-such-command' "$stderr"
}

@test "death by a signal is relayed as a signal, not as an exit status" {
    local target name
    for target in lab studio; do
        for name in TERM KILL HUP SEGV; do
            SSH_OPTIONS=-v run_rc 255 ssh_as "alice+$target" "kill -$name \$\$"
            matches 'rtype exit-signal' "$stderr"
            matches_not 'rtype exit-status' "$stderr"
        done
    done
}

@test "stdout and stderr stay apart, and hold the command's own bytes only" {
    local target
    for target in lab studio; do
        run_ok ssh_as "alice+$target" 'echo out; echo err >&2'
        is out "$output"
        is err "$stderr"
    done
}

@test "a megabyte of any bytes goes in and comes out as it was" {
    local target
    head -c 1048576 /dev/urandom >"$BATS_TEST_TMPDIR/in"
    # Every byte once, in order, for terminals and shells that would eat some.
    printf '%b' "$(printf '\\x%x' {0..255})" >>"$BATS_TEST_TMPDIR/in"
    for target in lab studio; do
        ssh_as "alice+$target" cat <"$BATS_TEST_TMPDIR/in" >"$BATS_TEST_TMPDIR/out"
        run_ok cmp "$BATS_TEST_TMPDIR/in" "$BATS_TEST_TMPDIR/out"
    done
}

@test "the end of stdin reaches the command" {
    printf 'one\ntwo\n' >"$BATS_TEST_TMPDIR/in"
    ssh_as alice+lab 'wc -l' <"$BATS_TEST_TMPDIR/in" >"$BATS_TEST_TMPDIR/out"
    is 2 "$(tr -d ' ' <"$BATS_TEST_TMPDIR/out")"
}

@test "a command is one argument of the container's shell, whatever it holds" {
    local command
    for command in "printf '%s|' 'a b' \"c  d\" \$((1+1))" $'printf %s first\nprintf %s second' 'printf %s "$0"' 'printf "%s" \\\\ \;' 'printf %s *'; do
        run_ok nsenter --all --target "$(sandbox_pid lab)" /bin/su alice -c "cd; $command"
        local inside=$output
        run_ok ssh_as alice+lab "cd; $command"
        [[ $command == *\$0* ]] || is "$inside" "$output"
    done
    # The bytes of the command itself, seen from the inside.
    run_ok ssh_as alice+lab 'tr "\0" "\n" </proc/$$/cmdline; true'
    is 'tr "\0" "\n" </proc/$$/cmdline; true' "${lines[2]}"
}

@test "with no command there is a login shell, which reads its commands from stdin" {
    printf 'echo "$0"; pwd; exit 7\n' >"$BATS_TEST_TMPDIR/in"
    local target rc
    for target in lab studio; do
        rc=0
        ssh_as "alice+$target" <"$BATS_TEST_TMPDIR/in" >"$BATS_TEST_TMPDIR/out" || rc=$?
        is 7 "$rc"
        is $'-sh\n/home/alice' "$(<"$BATS_TEST_TMPDIR/out")"
    done
}

@test "the environment is the login user's and the container's, with the client's language and address" {
    run_ok ssh_as alice+studio env
    local wanted
    for wanted in '^HOME=/home/alice$' '^USER=alice$' '^LOGNAME=alice$' '^SHELL=/bin/sh$' '^PATH=/usr/sbin:/usr/bin:/sbin:/bin$' \
        '^VT_IMAGE=vt-busybox$' '^SSH_CONNECTION=127\.0\.0\.1 [0-9]+ 127\.0\.0\.1 22$' '^SSH_CLIENT=127\.0\.0\.1 [0-9]+ 22$'; do
        run_ok grep -E "$wanted" <<<"$output"
        run_ok ssh_as alice+studio env
    done
    matches_not 'SSH_USER_AUTH|SSH_ORIGINAL_COMMAND|XDG_|MAIL=' "$output"
    SSH_OPTIONS='-o SendEnv=LC_TEST' LC_TEST=de run_ok ssh_as alice+lab 'echo "$LC_TEST"'
    is de "$output"
}

@test "a terminal is the container's own: tty names it, and the container sees it" {
    local target
    for target in lab studio; do
        run_ok ssh_on_terminal 24x80 -- "alice+$target" 'tty && test -c "$(tty)" && stat -c %U "$(tty)" && echo "$SSH_TTY"'
        matches '^/dev/pts/[0-9]+.*alice.*/dev/pts/[0-9]+' "$(tr -d '\r' <<<"$output" | tr '\n' ' ')"
    done
}

@test "with no terminal asked for there is none" {
    run_rc 1 ssh_as alice+lab tty
    is 'not a tty' "$output"
}

@test "the terminal has the client's size from the start, and follows it" {
    # Waits for the signal and then looks, rather than looking once in the signal's midst.
    local target command='trap told=1 WINCH; told=; stty size; echo ready
        until [ "$told" ] && [ "$(stty size)" = "50 132" ]; do sleep 0.1; done; stty size'
    for target in lab studio; do
        TIMEOUT=40 run_ok ssh_on_terminal 33x111 --resize 50x132 ready -- "alice+$target" "$command"
        matches '33 111.*ready.*50 132' "$(tr -d '\r\n' <<<"$output")"
    done
}

@test "^C at the terminal interrupts the command, not the session" {
    run_ok ssh_on_terminal 24x80 --type '\x03' ready -- alice+lab 'trap "echo interrupted; exit 0" INT; echo ready; while :; do sleep 0.1; done'
    matches 'interrupted' "$output"
}

@test "when the client goes, what the session started goes" {
    local target pid client
    for target in lab studio; do
        # shellcheck disable=SC2046  # options are words
        detached "$BATS_TEST_TMPDIR/client" ssh $(ssh_options alice) -l "alice+$target" bastion 'echo $$ >/tmp/pid; sleep 1000'
        client=$!
        pid=$(case $target in lab) sandbox_pid lab ;; studio) docker_pid studio ;; esac)
        wait_for 5 test -s "/proc/$pid/root/tmp/pid"
        kill "$client"
        wait_for 5 fails nsenter --target "$pid" --pid --mount --root /bin/sh -c 'kill -0 $(cat /tmp/pid)'
        expect_audit "event=end target=$target"
        expect_no_audit 'authpriv\.err'
    done
}

@test "a session is logged with who, where and by which key" {
    run_ok ssh_as alice+lab true
    expect_audit "authpriv.*account=alice.*target=lab|authpriv.*target=lab.*account=alice"
    expect_audit "$(literally "$(fingerprint alice)")"
}

@test "a refusal is logged, and says why" {
    KEY=bob ssh_refused lab true
    expect_audit "^authpriv.*denied.*$(literally "$(fingerprint bob)").*reason="
}

@test "nothing is forwarded that was not granted" {
    local target
    for target in lab studio; do
        # A stream to the bastion's own sshd.
        SSH_OPTIONS='-W 127.0.0.1:22' run_rc 255 ssh_as "alice+$target"
        matches 'administratively prohibited|stdio forwarding failed' "$stderr"
        SSH_OPTIONS='-o ExitOnForwardFailure=yes -R 2300:127.0.0.1:22' run_rc 255 ssh_as "alice+$target" true
    done
}
