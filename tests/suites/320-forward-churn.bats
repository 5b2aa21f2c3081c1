#!/usr/bin/env bats
# Many connections that forward: when they are over, nothing of them is left.

load ../lib/bastion
load ../lib/forwards

setup_file() {
    bastion_start
    # Twenty at once, and none turned away.
    sshd_start 'MaxStartups 100' 'MaxSessions 100'
    forwarding_on
    sshd_start 'MaxStartups 100' 'MaxSessions 100'
    add_person alice
    docker_run box vt-busybox
    vestibulectl target add box --driver docker --container box --user alice
    vestibulectl grant add alice box
    serve 8000 box docker exec box
}

teardown() { show_logs_on_failure; }

# What connections could leave: namespaces, mounts, processes, files. Numbers only, since names differ.
left() {
    lsns --noheadings --output NS,TYPE | awk '{ print $2 }' | sort | uniq -c
    wc -l </proc/self/mountinfo
    pgrep -c enter || true
    pgrep -c sshd || true
    find /run/vestibule | wc -l
    find /tmp /run/user -maxdepth 2 2>/dev/null | wc -l
}

as_before() { [[ $(left) == "$1" ]]; }

# A hundred connections, twenty at once: a forward with bytes through it, every fifth cut off.
hundred() {
    local n=$1 options
    options=$(ssh_options alice)
    # shellcheck disable=SC2016  # for that shell
    seq "$n" $((n + 99)) | BATS_TEST_TIMEOUT='' xargs -P 20 -n 1 bash -c '
        if (($1 % 5 == 0)); then
            timeout --signal KILL 1 ssh $0 -N -l box bastion
            true
        else
            [[ $(ssh $0 -W localhost:8000 -l box bastion </dev/null) == box ]]
        fi' "$options" 2>/dev/null
}

# In parts, each of which has the time that a test has.
@test "500 connections that forward, and some of them cut off: the first hundred" {
    # What is made once is made by then.
    TIMEOUT=100 run_ok hundred 1
    wait_for 10 no_connections
    left >/run/box/left-before
}

@test "the second hundred" { TIMEOUT=100 run_ok hundred 101; }
@test "the third hundred" { TIMEOUT=100 run_ok hundred 201; }
@test "the fourth hundred" { TIMEOUT=100 run_ok hundred 301; }
@test "the fifth hundred" { TIMEOUT=100 run_ok hundred 401; }

@test "they have left no namespace, mount, process or file" {
    local before
    before=$(</run/box/left-before)
    wait_for 20 no_connections
    wait_for 10 as_before "$before" || { diff <(echo "$before") <(left); return 1; }
}

@test "fifty connections through one ssh -L at once all get their answer" {
    forward box -L 18100:localhost:8000
    wait_for 5 listens_on 18100
    run_ok fifty
    is 50 "$(grep -c -x box <<<"$output")"
    stop_forward
    wait_for 5 no_connections
}

fifty() { seq 50 | xargs -P 50 -n 1 bash -c 'busybox nc -w 10 127.0.0.1 18100 </dev/null'; }
