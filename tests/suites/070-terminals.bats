#!/usr/bin/env bats
# A terminal inside a container of Debian is one: for tmux, sudo, script and job control.
# needs: debian-image

load ../lib/bastion

setup_file() {
    bastion_start
    make_key alice
    vestibulectl account add alice
    vestibulectl key add --account alice "$KEYS/alice.pub"
    docker_run desk vt-debian
    vestibulectl target add desk --driver docker --container desk --user alice
    vestibulectl grant add alice desk
    docker_run den vt-busybox
    vestibulectl target add den --driver docker --container den --user alice
    vestibulectl grant add alice den
}

setup() { audit_mark; }

teardown() { show_logs_on_failure; }

plain() { tr -d '\r' <<<"$output"; }

@test "tmux runs, stays when the client goes, and is found again" {
    run_ok ssh_on_terminal 30x100 --type 'echo in-$((40+2))\n' '$' --type '\x02' in-42 --type d '$' -- alice+desk 'TERM=screen tmux new-session -s work'
    matches 'in-42' "$output"
    run_ok ssh_as alice+desk 'tmux list-sessions'
    matches '^work:' "$output"
    run_ok ssh_as alice+desk 'tmux capture-pane -p -t work'
    matches 'in-42' "$output"
    run_ok ssh_as alice+desk 'tmux kill-server'
}

@test "sudo works on the terminal, and knows it" {
    run_ok ssh_on_terminal 24x80 -- alice+desk 'sudo sh -c "id -u; tty"'
    matches '^0' "$(plain)"
    matches '/dev/pts/[0-9]+' "$(plain)"
}

@test "the terminal is the shell's controlling terminal, with job control" {
    run_ok ssh_on_terminal 24x80 --type 'echo in-$((40+2)); sleep 100\n' '$ ' --type '\x1a' in-42 --type 'jobs; kill -KILL %1; while kill -0 %1; do sleep 0.1; done; exit\n' Stopped -- alice+desk
    matches 'Stopped' "$(plain)"
    run_ok ssh_on_terminal 24x80 -- alice+desk 'ps -o tty= -p $$; : </dev/tty && echo controlled'
    matches 'pts/[0-9]+' "$(plain)"
    matches 'controlled' "$(plain)"
}

@test "a login shell reads the profile, a command does not" {
    docker exec --user alice desk sh -c 'echo "export FROM_PROFILE=yes" >>/home/alice/.profile'
    printf 'echo "profile=$FROM_PROFILE"\n' >"$BATS_TEST_TMPDIR/in"
    ssh_as alice+desk <"$BATS_TEST_TMPDIR/in" >"$BATS_TEST_TMPDIR/out"
    is 'profile=yes' "$(<"$BATS_TEST_TMPDIR/out")"
    run_ok ssh_as alice+desk 'echo "profile=$FROM_PROFILE"'
    is 'profile=' "$output"
}

@test "a hundred changes of size in a row end at the last one" {
    local steps=() rows
    for rows in {1..100}; do steps+=(--resize "$((rows + 10))x90" ready); done
    local target
    for target in desk den; do
        TIMEOUT=40 run_ok ssh_on_terminal 10x90 "${steps[@]}" -- "alice+$target" \
            'yes ready | head -n 200; until [ "$(stty size)" = "110 90" ]; do sleep 0.1; done; echo "now $(stty size)"'
        matches 'now 110 90' "$(plain)"
    done
}

@test "a megabyte to the terminal arrives whole, and the session ends by itself" {
    run_ok ssh_on_terminal 24x80 -- alice+desk 'stty -opost; head -c 1000000 /dev/zero | tr "\0" x; echo; echo the-end'
    is 1000000 "$(tr -d -c x <<<"$output" | wc -c)"
    matches 'the-end' "$output"
}

@test "programs that read the terminal's end of input get it" {
    run_ok ssh_on_terminal 24x80 --type 'some words\n\x04' ready -- alice+desk 'echo ready; wc -w'
    matches '2' "$(plain)"
}
