#!/usr/bin/env bats
# ssh -X and -Y: X clients in a container draw on the display of whoever came, where the target's policy lets them.

# shellcheck disable=SC2046  # options are words

load ../lib/bastion
load ../lib/forwards

setup_file() {
    bastion_start
    forwarding_on
    add_person alice
    sandbox_start plain
    local client=(--volume /usr/bin/xdpyinfo:/usr/bin/xdpyinfo:ro --volume /usr/lib:/usr/lib:ro
        --volume /lib64/ld-linux-x86-64.so.2:/lib64/ld-linux-x86-64.so.2:ro)
    docker_run desk vt-busybox "${client[@]}"
    docker_run other vt-busybox "${client[@]}"
    docker_run closed vt-busybox --read-only --tmpfs /dev/shm:ro
    target desk --driver docker --container desk --x11
    target other --driver docker --container other --x11
    target shut --driver docker --container desk
    target closed --driver docker --container closed --x11
    target plain --driver namespace --pid-file "$SANDBOX_PIDS/plain.pid" --x11
    # The client's display, which takes nobody without its cookie.
    export XAUTHORITY=/run/box/client-cookies DISPLAY=:99
    limit xauth -q add :99 MIT-MAGIC-COOKIE-1 "$(openssl rand -hex 16)"
    detached /run/box/logs/xvfb.log Xvfb :99 -auth "$XAUTHORITY" -nolisten tcp -screen 0 641x479x24
    wait_for 10 xdpyinfo
}

target() {
    local name=$1
    shift
    limit vestibulectl target add "$name" --user alice "$@" >/dev/null && limit vestibulectl grant add alice "$name" >/dev/null
}

setup() { audit_mark; }
teardown() { show_logs_on_failure; }

with() { SSH_OPTIONS=$1 ssh_as "${@:2}"; }

# session LOGIN COMMAND: one with a display that stays, in the background.
session() {
    SESSION_LOG=$(mktemp /run/box/logs/session.XXXXXX)
    detached "$SESSION_LOG" ssh $(ssh_options "$1") -Y -l "$1" bastion "$2; echo is there; sleep 600"
    SESSION=$!
    wait_for 10 grep -q 'is there' "$SESSION_LOG"
}

cookies() { find /run/vestibule/x11 -mindepth 1 | wc -l; }
no_cookies() { [[ $(cookies) == 0 ]]; }

@test "ssh -Y and ssh -X: an X client in the container sees my display" {
    local option
    for option in -Y -X; do
        run_ok with "$option" desk 'echo $DISPLAY; xdpyinfo'
        is localhost:10.0 "${lines[0]}"
        matches 'dimensions: +641x479 pixels' "$output"
    done
}

@test "the display is on the container's loopback, and not on the bastion's" {
    session desk 'netstat -ltn; ls -l $XAUTHORITY'
    matches '127.0.0.1:6010 ' "$(<"$SESSION_LOG")"
    matches '-rw-------    1 alice    alice' "$(<"$SESSION_LOG")"
    fails listens_on 6010
    # Another container has nothing of it.
    run_any docker exec other busybox nc -w 2 127.0.0.1 6010
    is '' "$output"
    kill "$SESSION"
}

@test "two sessions in one container have displays of their own, two containers the same number" {
    session desk 'echo $DISPLAY'
    local one=$SESSION
    run_ok with -Y desk 'echo $DISPLAY; xdpyinfo'
    is localhost:11.0 "${lines[0]}"
    matches '641x479' "$output"
    run_ok with -Y other 'echo $DISPLAY; xdpyinfo'
    is localhost:10.0 "${lines[0]}"
    matches '641x479' "$output"
    kill "$one"
}

@test "ten sessions of one connection have a display each" {
    local control=/run/box/control i
    detached /run/box/logs/master.log ssh $(ssh_options desk) -Y -N -M -S "$control" -l desk bastion
    local master=$!
    wait_for 5 test -S "$control"
    for i in {1..10}; do
        : "$i"
        run_ok with "-Y -S $control" desk 'xdpyinfo'
        matches '641x479' "$output"
    done
    kill "$master"
}

@test "without its cookie the display takes nobody" {
    run_ok with -Y desk 'XAUTHORITY=/dev/null xdpyinfo; echo $?'
    matches '^1$' "$output"
    matches 'unable to open display' "$stderr"
}

@test "the cookies go with the session, in the container and on the bastion" {
    session desk 'echo dir=${XAUTHORITY%/*}'
    local directory
    directory=$(sed -n 's/^dir=//p' "$SESSION_LOG")
    matches '^/tmp/ssh-' "$directory"
    run_ok docker exec desk ls "$directory"
    is xauthority "$output"
    is 'drwxrwx--- root vestibule' "$(stat -c '%A %U %G' /run/vestibule/x11/*)"
    kill "$SESSION"
    wait_for 15 fails docker exec desk test -e "$directory"
    wait_for 15 no_cookies
}

@test "an agent and a display of one session" {
    detached /run/box/logs/agent.log ssh-agent -D -a /run/box/agent
    wait_for 5 test -S /run/box/agent
    vestibulectl target set other --agent-forwarding
    run_ok with '-A -o IdentityAgent=/run/box/agent -Y' other 'ls ${XAUTHORITY%/*}; xdpyinfo'
    is 'agent xauthority' "${lines[*]:0:2}"
    matches '641x479' "$output"
}

@test "a target whose policy does not say so has no display" {
    run_ok with -Y shut 'echo "[$DISPLAY][$XAUTHORITY]"'
    is '[][]' "$output"
    vestibulectl target set other --no-x11
    run_ok with -Y other 'echo "[$DISPLAY]"'
    is '[]' "$output"
    vestibulectl target set other --x11
}

@test "a key that says no-X11-forwarding has no display" {
    vestibulectl account add bob
    make_key bob
    vestibulectl grant add bob desk
    sed 's/^/no-X11-forwarding /' "$KEYS/bob.pub" >/run/box/bob.pub
    vestibulectl key add --account bob /run/box/bob.pub
    KEY=bob run_ok with -Y desk 'echo "[$DISPLAY]"'
    is '[]' "$output"
}

@test "a container with no place for the cookie costs the display, not the session" {
    run_ok with -Y closed 'echo "[$DISPLAY]"'
    is '[]' "$output"
    matches 'vestibule: your X display is not forwarded, for want of a place in the container: ' "$stderr"
}

@test "sftp and a wish without -X have no display and leave nothing" {
    run_ok ssh_as desk 'echo "[$DISPLAY]"'
    is '[]' "$output"
    wait_for 15 no_cookies
    run_ok docker exec desk sh -c 'ls -d /tmp/ssh-* 2>/dev/null | wc -l'
    is 0 "$output"
}

@test "a bastion whose sshd does not move sessions gives no display" {
    sshd_start 'UsePAM no'
    run_any with -Y desk 'echo "[$DISPLAY]"'
    matches_not 'localhost' "$output"
    fails listens_on 6010
    sshd_start
}

@test "a bastion without xauth says no to the client, and the session goes on" {
    mv /usr/bin/xauth /run/box/
    run_ok with -Y desk 'echo "[$DISPLAY]"'
    is '[]' "$output"
    mv /run/box/xauth /usr/bin/
}

@test "a display in a container of plain namespaces" {
    run_ok with -Y plain 'echo $DISPLAY; netstat -ltn'
    matches '127.0.0.1:6010 ' "$output"
}
