#!/usr/bin/env bats
# Sessions that an engine's own exec runs: when the client goes, what they started goes, where the engine is root's on this
# host; and no word of an engine's makes anything else end.

load ../lib/bastion

setup_file() {
    bastion_start
    make_key alice
    vestibulectl account add alice
    vestibulectl key add --account alice "$KEYS/alice.pub"
    docker_run den vt-busybox
    target slow --driver docker --container den --exec engine --user alice
    cat >/etc/vestibule/vestibule.toml.d/engines.toml <<'TOML'
[session]
grace_seconds = 2
[engine.liar]
socket = "/run/liar.sock"
[engine.guest]
socket = "/run/guest.sock"
TOML
}

setup() { audit_mark; }

teardown() {
    pkill -KILL -x ssh || true
    pkill -KILL -f "^sleep 50[0-9][0-9]" || true
    show_logs_on_failure
}

target() {
    vestibulectl target add "$@"
    vestibulectl grant add alice "$1"
}

runs() { pgrep -f "^sleep $1$" >/dev/null; }

# began TARGET ssh_as|ssh_on_terminal [ARG]...: a session in the background: a child that knows SIGHUP, one that ignores it,
# one with a session of its own, and itself.
began() {
    local target=$1
    shift
    docker exec den rm -f /tmp/begun
    "$@" "alice+$target" '(trap "" HUP; exec sleep 5001) & sleep 5002 & setsid sleep 5003 & touch /tmp/begun; sleep 5004' \
        >"$BATS_TEST_TMPDIR/out" 2>&1 3>&- &
    wait_for 10 docker exec den test -e /tmp/begun
    wait_for 5 runs 5003
    wait_for 5 runs 5004
    CLIENT=$(pgrep -x -n ssh)
}

ended() {
    local which
    for which in 5001 5002 5004; do
        wait_for 15 fails runs "$which" || { ps -ef; return 1; }
    done
    run_ok runs 5003
    expect_audit 'event=end target=slow signal=1'
    expect_no_audit 'event=abandoned'
}

@test "a client without a terminal is killed" {
    began slow ssh_as
    kill -KILL "$CLIENT"
    ended
}

@test "a client with a terminal is killed" {
    began slow ssh_on_terminal 24x80 --
    kill -KILL "$CLIENT"
    ended
}

@test "a client is killed on a bastion that hides processes from other users" {
    mount -o remount,hidepid=2 /proc
    began slow ssh_as
    kill -KILL "$CLIENT"
    ended
    mount -o remount,hidepid=0 /proc
}

@test "somebody ends the session: its monitor gets SIGTERM" {
    began slow ssh_as
    kill -TERM "$(pgrep -o -u vestibule -f -- '--session')"
    ended
}

@test "what let the session in is taken away: it ends soon, with what it started" {
    began slow ssh_as
    run_ok vestibulectl grant rm alice slow
    wait_for 10 fails runs 5004
    wait_for 5 fails runs 5001
    run_ok runs 5003
    expect_audit 'event=revoked target=slow'
    matches '^vestibule: ' "$(<"$BATS_TEST_TMPDIR/out")"
    vestibulectl grant add alice slow
}

@test "a command whose output nobody reads any more ends" {
    is y "$(ssh_as alice+slow 'exec yes' 2>"$BATS_TEST_TMPDIR/err" | head -n 1)"
    is '' "$(<"$BATS_TEST_TMPDIR/err")"
    wait_for 15 fails pgrep -x yes
}

@test "a command that goes on after the end of its input is not taken for one that was left" {
    is $'words\nafter' "$(echo words | ssh_as alice+slow 'cat; sleep 1; echo after')"
    run_rc 3 ssh_as alice+slow 'exec >&-; sleep 1; exit 3'
}

@test "the container is stopped in mid-session: a line that says so, and the terminal as it was" {
    local how rc client
    docker_run doomed vt-busybox
    target doomed --driver docker --container doomed --exec engine --user alice
    for how in plain terminal; do
        docker exec doomed rm -f /tmp/here
        if [[ $how == plain ]]; then
            ssh_as alice+doomed 'touch /tmp/here; sleep 5005' >"$BATS_TEST_TMPDIR/out" 2>&1 3>&- &
        else
            ssh_on_terminal 24x80 -- alice+doomed 'touch /tmp/here; sleep 5005' >"$BATS_TEST_TMPDIR/out" 2>&1 3>&- &
        fi
        client=$! rc=0
        wait_for 10 docker exec doomed test -e /tmp/here
        docker kill doomed
        wait "$client" || rc=$?
        is 211 "$rc"
        matches "^(vestibule|"$'\r+\n'"vestibule): the container of 'doomed' was stopped; start it and connect again \(session " "$(<"$BATS_TEST_TMPDIR/out")"
        docker start doomed
    done
    # Killed, but not with its container.
    run_rc 137 ssh_as alice+doomed 'kill -KILL $$'
    is '' "$stderr"
    docker_remove doomed
}

@test "an engine that names another process ends nothing, and the log says what was left behind" {
    sleep 5006 3>&- &
    local victim=$!
    detached /run/box/logs/liar.log "$BOX_REPO/tests/lib/lying-engine.py" /run/liar.sock /run/docker.sock "$victim"
    wait_for 5 test -S /run/liar.sock
    target lied --driver docker --engine liar --container den --exec engine --user alice
    run_rc 7 ssh_as alice+lied 'exit 7'
    began lied ssh_as
    kill -KILL "$CLIENT"
    expect_audit "event=abandoned target=lied cause=.*process $victim: not in the container"
    expect_audit 'event=end target=lied'
    run_ok kill -0 "$victim"
    run_ok runs 5004
    kill "$victim"
}

@test "an engine that is not root's is not believed at all" {
    chgrp nogroup /run/docker.sock && chmod 660 /run/docker.sock
    detached /run/box/logs/guest.log setpriv --reuid nobody --regid nogroup --clear-groups --no-new-privs -- \
        python3 -c 'import os, sys; os.umask(0); os.chdir("/tmp"); os.execvp(sys.argv[1], sys.argv[1:])' \
        "$BOX_REPO/tests/lib/lying-engine.py" /tmp/guest.sock /run/docker.sock 1
    wait_for 5 test -S /tmp/guest.sock
    ln -s /tmp/guest.sock /run/guest.sock
    target guest --driver docker --engine guest --container den --exec engine --user alice
    began guest ssh_as
    kill -KILL "$CLIENT"
    expect_audit "event=abandoned target=guest cause=.*its engine runs as uid $(id -u nobody), not as root"
    expect_audit 'event=end target=guest'
    run_ok runs 5004
}
