#!/usr/bin/env bats
# Who lost access and wants to stay: comes in while the target is being started, does not listen, hides behind a /proc that
# shows nothing. Without the PAM module: nobody else ends a connection.

load ../lib/bastion

setup_file() {
    bastion_start
    docker_run den vt-busybox
    docker_image vt-busybox
    limit docker create --name bed --hostname bed vt-busybox >/dev/null
    printf '#!/bin/sh\nsleep 3; docker start bed\n' >/usr/local/bin/slowly
    chmod 755 /usr/local/bin/slowly
    printf '[wake.slowly]\ncommand = ["/usr/local/bin/slowly"]\nuser = "root"\n' >/etc/vestibule/vestibule.toml.d/wake.toml
    vestibulectl target add den --driver docker --container den --user alice
    vestibulectl target add bed --driver docker --container bed --user alice --wake command:slowly
    add_person alice
}

setup() {
    audit_mark
    local target
    for target in den bed; do vestibulectl grant add alice "$target" >/dev/null; done
}

teardown() {
    pkill -KILL -x ssh || true
    pkill -KILL -f '^sleep 500' || true
    show_logs_on_failure
}

# began [--tty] COMMAND: a session in the background that has begun; its client is $CLIENT, its exit status in $OUT.rc.
began() {
    local how=(ssh_as alice+den)
    [[ $1 != --tty ]] || { how=(ssh_on_terminal 24x80 -- alice+den); shift; }
    OUT=$BATS_TEST_TMPDIR/out.$RANDOM
    docker exec den rm -f /tmp/begun
    { "${how[@]}" "touch /tmp/begun; $1" >"$OUT" 2>&1 && echo 0 >"$OUT.rc" || echo $? >"$OUT.rc"; } 3>&- &
    wait_for 10 docker exec den test -e /tmp/begun
    CLIENT=$(pgrep -n -x ssh)
}

over() { wait_for "$1" test -s "$OUT.rc" || { cat "$OUT"; return 1; }; }
runs() { pgrep -f "^sleep $1" >/dev/null; }
awake() { [[ $(docker inspect --format '{{.State.Running}}' bed) == true ]]; }

@test "who loses access while the target is being started does not come in when it runs" {
    OUT=$BATS_TEST_TMPDIR/out
    { ssh_as alice+bed 'touch /tmp/inside; setsid sleep 5001' >"$OUT" 2>&1 && echo 0 >"$OUT.rc" || echo $? >"$OUT.rc"; } 3>&- &
    sleep 1.5
    fails awake
    vestibulectl grant rm alice bed
    wait_for 10 awake
    sleep 2
    run_ok docker exec bed test ! -e /tmp/inside
    fails runs 5001
    over 1
    is 213 "$(cat "$OUT.rc")"
    matches "^vestibule: your access to 'bed' was taken away" "$(cat "$OUT")"
}

@test "a client that reads nothing keeps nothing running" {
    local how
    for how in '' --tty; do
        # shellcheck disable=SC2086  # a word or none
        began $how 'sleep 5002 & yes'
        kill -STOP "$CLIENT"
        sleep 1
        vestibulectl grant rm alice den
        wait_for 4 fails runs 5002
        wait_for 6 fails pgrep -u vestibule -f '^sshd'
        kill -KILL "$CLIENT"
        vestibulectl grant add alice den
    done
}

@test "what keeps the client's descriptors loses the connection on a bastion that hides processes, too" {
    mount -o remount,hidepid=2 /proc
    began 'setsid sh -c "while sleep 0.1; do echo still here; done" & sleep 5003'
    vestibulectl grant rm alice den
    over 8 || { mount -o remount,hidepid=0 /proc; false; }
    mount -o remount,hidepid=0 /proc
    fails runs 5003
    pkill -f 'still here' || true
}
