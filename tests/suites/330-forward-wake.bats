#!/usr/bin/env bats
# A login that only forwards starts its target too, and its forwards end there.

# shellcheck disable=SC2046  # options are words

load ../lib/bastion
load ../lib/forwards

setup_file() {
    bastion_start
    forwarding_on
    add_person alice
    docker_start
    docker_image vt-busybox
}

setup() {
    audit_mark
    SINCE=$(date +%s)
}

teardown() { show_logs_on_failure; }

# sleeper NAME OPTIONS... [-- CMD...]: a stopped container of vt-busybox, and its target.
sleeper() {
    local name=$1 options=()
    shift
    while (($#)) && [[ $1 != -- ]]; do options+=("$1") && shift; done
    shift || true
    limit docker create --name "$name" --hostname "$name" vt-busybox "$@" >/dev/null
    limit vestibulectl target add "$name" --driver docker --container "$name" --user alice "${options[@]}" >/dev/null
    limit vestibulectl grant add alice "$name" >/dev/null
}

starts() { docker events --since "$SINCE" --until "$(($(date +%s) + 1))" --filter event=start --filter "container=$1" | wc -l; }

runs() { [[ $(docker inspect --format '{{.State.Running}}' "$1") == true ]]; }

through() { SSH_OPTIONS="-W $1" ssh_as "$2" </dev/null; }

@test "ssh -N -L starts a container that does not run, and waits until its service does" {
    # Less than the start takes: the time to log in is over by then.
    sshd_start 'LoginGraceTime 3'
    sleeper lab --wake engine --ready-tcp 8000 -- /bin/sh -c 'sleep 4; exec nc -ll -p 8000 -e /bin/hostname'
    forward lab -L 18300:localhost:8000
    wait_for 15 listens_on 18300
    run_ok reach 18300
    is lab "$output"
    expect_audit 'event=wake target=lab by=engine result=ready seconds=[4-9]'
    expect_audit 'event=open login="lab" target=lab .*network=target'
    is 1 "$(starts lab)"
    # Who started it has gone, and left nobody who is to be buried.
    wait_for 5 fails pgrep -f 'enter --wake'
    fails pgrep --runstates Z enter
    stop_forward
    wait_for 5 no_connections
    sshd_start 'MaxStartups 100'
}

@test "one that runs is not started again" {
    run_ok through localhost:8000 lab
    is lab "$output"
    is 0 "$(starts lab)"
}

@test "five who forward and five who have a session, all at once, start it once" {
    local i pids=() rc=0
    docker stop --time 0 lab
    for i in {1..5}; do
        through localhost:8000 lab >"$BATS_TEST_TMPDIR/f$i" 2>&1 &
        pids+=($!)
        ssh_as lab hostname >"$BATS_TEST_TMPDIR/s$i" 2>&1 </dev/null &
        pids+=($!)
    done
    for i in "${pids[@]}"; do wait "$i" || rc=1; done
    is 0 "$rc"
    for i in {1..5}; do is 'lab lab' "$(<"$BATS_TEST_TMPDIR/f$i") $(<"$BATS_TEST_TMPDIR/s$i")"; done
    is 1 "$(starts lab)"
    is 1 "$(audit_since | grep -c 'event=wake')"
}

@test "a container's own program says when it is ready; who asks it runs from where nothing can be written" {
    sleeper asked --wake engine --ready-command /bin/test --ready-command -e --ready-command /tmp/up -- \
        /bin/sh -c 'rm -f /tmp/up; sleep 3; : >/tmp/up; exec nc -ll -p 8000 -e /bin/hostname'
    forward asked -L 18301:localhost:8000
    wait_for 5 pgrep -f 'enter --wake'
    cant_be_written "$(pgrep -f 'enter --wake' | head -n 1)" overlayfs 'Read-only file system'
    wait_for 15 listens_on 18301
    wait_for 5 answers_as asked 18301
    expect_audit 'event=wake target=asked by=engine result=ready'
    stop_forward
}

answers_as() { [[ $(reach "$2") == "$1" ]]; }

@test "one that can't be started is tried once: the session says so, and forwards end nowhere" {
    sleeper brief --wake engine -- /bin/sh -c 'exit 7'
    SSH_OPTIONS='-L 18302:localhost:8000' run_rc 212 ssh_as brief true
    matches "^vestibule: 'brief' was started but does not run" "$stderr"
    is '' "$output"
    is 1 "$(audit_since | grep -c 'event=wake')"
    expect_audit 'event=open .*target=brief .*network=none cause="wake, running: '
    run_rc 255 through localhost:8000 brief
    expect_audit 'event=close target=brief'
}

@test "one that is not ready in time is told so once; it runs, so the next one gets in" {
    sleeper slow --wake engine --ready-tcp 1 --wake-within 3 -- /bin/sh -c 'sleep 1000'
    SSH_OPTIONS='-L 18303:localhost:8000' run_rc 212 ssh_as slow true
    matches "^vestibule: 'slow' was started but is not ready, after [3-5] s" "$stderr"
    is 1 "$(audit_since | grep -c 'event=wake')"
    run_ok ssh_as slow hostname
    is slow "$output"
}

@test "a client that goes while it waits leaves no connection; the target is started all the same" {
    sleeper late --wake engine --ready-tcp 8000 -- /bin/sh -c 'sleep 3; exec nc -ll -p 8000 -e /bin/hostname'
    forward late -L 18304:localhost:8000
    wait_for 5 runs late
    stop_forward
    expect_audit 'event=wake target=late by=engine result=ready'
    wait_for 10 no_connections
    run_ok through localhost:8000 late
    is late "$output"
}

@test "a target whose policy grants no forward is not started by one that only forwards" {
    sleeper still --wake engine --forward none
    run_rc 255 through localhost:8000 still
    expect_audit 'event=close target=still'
    fails runs still
    run_ok ssh_as still hostname
    is still "$output"
}

@test "enter --wake is for root, with a lock that is held" {
    local number
    number=$(vestibulectl target show lab --json | jq .id)
    run_rc 200 pipe_as_vestibule --wake s1 "$number"
    run_rc 200 wake_as_root s1 "$number"
    expect_audit 'cause="nobody holds the lock of this wake"'
    run_rc 200 wake_as_root
    run_rc 200 wake_as_root s/1 "$number"
}

pipe_as_vestibule() { as_user vestibule /usr/libexec/vestibule/enter "$@" </dev/null 2>&1 | cat; return "${PIPESTATUS[0]}"; }
wake_as_root() { limit /usr/libexec/vestibule/enter --wake "$@" </dev/null; }
