#!/usr/bin/env bats
# When a client is killed or answers no more, what its session started is gone within the grace time, with a terminal and
# without; what made itself a session of its own stays.

load ../lib/bastion

setup_file() {
    bastion_install
    bastion_init
    devlog_start
    # As the drop-in has it, but quicker: what is said first wins.
    away_start
    sshd_start 'ListenAddress 10.99.0.1' 'Match Group vestibule' 'ClientAliveInterval 1' 'ClientAliveCountMax 4' 'Match all'
    make_key alice
    vestibulectl account add alice
    vestibulectl key add --account alice "$KEYS/alice.pub"
    printf '[session]\ngrace_seconds = 2\n' >/etc/vestibule/vestibule.toml.d/grace.toml
    docker_run den vt-busybox
    vestibulectl target add den --driver docker --container den --user alice
    vestibulectl grant add alice den
}

# away_start: a machine of the client's own, `away`, a network namespace with one cable to the bastion.
away_start() {
    ip netns add away
    ip link add to-away type veth peer name cable netns away
    ip address add 10.99.0.1/24 dev to-away
    ip link set to-away up
    ip -n away address add 10.99.0.2/24 dev cable
    ip -n away link set cable up
    ip -n away link set lo up
    mkdir /run/box/away
    printf '#!/bin/sh\nexec ip netns exec away /usr/bin/ssh "$@"\n' >/run/box/away/ssh
    chmod 755 /run/box/away/ssh
}

# away ssh_as|ssh_on_terminal [ARG]...: the same from there.
away() {
    # shellcheck disable=SC2034  # ssh_as has it
    local PATH=/run/box/away:$PATH SSH_OPTIONS='-o HostName=10.99.0.1 -o HostKeyAlias=bastion'
    "$@"
}

# cut, mended: no packet passes any more, and nobody is told; and they do again.
cut() { iptables -I INPUT -i to-away -j DROP && iptables -I OUTPUT -o to-away -j DROP; }
mended() { iptables -D INPUT -i to-away -j DROP && iptables -D OUTPUT -o to-away -j DROP; }

setup() { audit_mark; }

teardown() {
    pkill -KILL -x ssh || true
    pkill -KILL -f "^sleep 500" || true
    show_logs_on_failure
}

# What stands in the container: a child that knows SIGHUP, one that ignores it, and one with a session of its own.
START='(trap "" HUP; exec sleep 5001) & sleep 5002 & setsid sleep 5003 & touch /tmp/begun; sleep 5004'

# began ssh_as|ssh_on_terminal [ARG]...: a client in the background whose session has begun; its pid in $CLIENT.
began() {
    docker exec den rm -f /tmp/begun
    "$@" alice+den "$START" >"$BATS_TEST_TMPDIR/out" 2>&1 3>&- &
    wait_for 10 docker exec den test -e /tmp/begun
    wait_for 5 runs 5003
    CLIENT=$(pgrep -x -n ssh)
}

runs() { pgrep -f "^sleep $1" >/dev/null; }

# Only the process with a session of its own is left, within some seconds.
ended() {
    local which
    for which in 5001 5002 5004; do
        wait_for 15 fails runs "$which" || { ps -ef; return 1; }
    done
    run_ok runs 5003
    expect_audit 'event=end target=den'
}

@test "the drop-in has sshd ask clients whether they are there" {
    sed -i '/^Match Group/,/^Match all/d' /etc/ssh/sshd_config.box
    run_ok sshd -T -f /etc/ssh/sshd_config.box -C user=alice+den,host=x,addr=127.0.0.1
    matches 'clientaliveinterval 60' "${output,,}"
    matches 'clientalivecountmax 5' "${output,,}"
}

@test "a client without a terminal is killed" {
    began ssh_as
    kill -KILL "$CLIENT"
    ended
}

@test "a client with a terminal is killed" {
    began ssh_on_terminal 24x80 --
    kill -KILL "$CLIENT"
    ended
}

@test "a client without a terminal answers no more" {
    began ssh_as
    kill -STOP "$CLIENT"
    ended
}

@test "a client with a terminal answers no more" {
    began ssh_on_terminal 24x80 --
    kill -STOP "$CLIENT"
    ended
}

@test "the network of a client without a terminal is cut" {
    began away ssh_as
    cut
    ended
    # The client knows nothing of it.
    run_ok kill -0 "$CLIENT"
    mended
}

@test "the network of a client with a terminal is cut" {
    began away ssh_on_terminal 24x80 --
    cut
    ended
    run_ok kill -0 "$CLIENT"
    mended
}

@test "a cut that is mended in time ends nothing" {
    began away ssh_as
    cut
    sleep 1 # less than ClientAliveInterval times ClientAliveCountMax: nothing to wait for
    mended
    sleep 4
    local which
    for which in 5001 5002 5003 5004; do run_ok runs $which; done
    kill -KILL "$CLIENT"
    ended
}

@test "a client is killed on a bastion that hides processes from other users" {
    mount -o remount,hidepid=2 /proc
    run_ok as_user vestibule test ! -e /proc/1
    began ssh_as
    kill -KILL "$CLIENT"
    ended
    began ssh_on_terminal 24x80 --
    kill -KILL "$CLIENT"
    ended
    mount -o remount,hidepid=0 /proc
}
