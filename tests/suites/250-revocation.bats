#!/usr/bin/env bats
# Who loses a key, an account or a grant loses the sessions that it opened, within a second or so, and reads why.

load ../lib/bastion

setup_file() {
    bastion_start
    docker_run den vt-busybox
    vestibulectl target add den --driver docker --container den --user alice
    local who
    for who in alice bob; do
        add_person "$who"
    done
}

setup() {
    audit_mark
    local who
    vestibulectl key unrevoke "$(fingerprint alice)" >/dev/null 2>&1 || true
    vestibulectl account enable alice >/dev/null
    for who in alice bob; do
        vestibulectl grant add "$who" den >/dev/null
    done
}

teardown() {
    pkill -KILL -x ssh || true
    pkill -KILL -f '^sleep 500' || true
    show_logs_on_failure
}

# began PERSON [--tty] COMMAND: a session of PERSON's in the background that has begun; its client's exit status will be in
# $OUT.rc, what it wrote in $OUT.
began() {
    local who=$1 how=ssh_as
    shift
    OUT=$BATS_TEST_TMPDIR/$who.$RANDOM
    if [[ $1 == --tty ]]; then
        shift
        how='ssh_on_terminal 24x80 --'
    fi
    docker exec den rm -f "/tmp/begun.$who"
    # shellcheck disable=SC2086  # two words
    { $how "$who+${TARGET:-den}" "touch /tmp/begun.$who; $*" >"$OUT" 2>&1 && echo 0 >"$OUT.rc" || echo $? >"$OUT.rc"; } 3>&- &
    wait_for 10 docker exec den test -e "/tmp/begun.$who"
}

# over SECONDS: the session's client has ended.
over() { wait_for "$1" test -s "$OUT.rc" || { cat "$OUT"; vestibulectl sessions; return 1; }; }

runs() { pgrep -f "^sleep $1" >/dev/null; }

@test "a revoked key's session ends at once, its user reads why, and the log says it" {
    began alice 'sleep 5001'
    vestibulectl key revoke "$(fingerprint alice)" --reason 'stolen laptop'
    over 2
    is 213 "$(cat "$OUT.rc")"
    matches "^vestibule: your access to 'den' was taken away; ask the owner for access \(session [a-z0-9]{10}\)" "$(cat "$OUT")"
    fails runs 5001
    expect_audit 'event=revoked target=den account=alice reason=key-revoked cause="the key is revoked: stolen laptop"'
    expect_audit 'result=ended exit=213'
    expect_audit 'event=end target=den'
    vestibulectl key unrevoke "$(fingerprint alice)"
    run_ok ssh_as alice+den true
}

@test "so does one on a terminal, which is given back in order" {
    began alice --tty 'sleep 5001'
    vestibulectl grant rm alice den
    over 3
    is 213 "$(cat "$OUT.rc")"
    matches "vestibule: your access to 'den' was taken away" "$(cat "$OUT")"
    expect_audit 'event=revoked target=den account=alice reason=no-grant'
}

@test "one that takes no notice of SIGHUP is killed" {
    began alice 'trap "" HUP; while :; do sleep 5001; done'
    vestibulectl grant rm alice den
    over 4
    is 213 "$(cat "$OUT.rc")"
    fails runs 5001
}

@test "a disabled account's sessions end, and those of others go on" {
    began alice 'sleep 5001'
    local alice=$OUT
    began bob 'sleep 5002; echo done'
    vestibulectl account disable alice
    OUT=$alice over 2
    is 213 "$(cat "$alice.rc")"
    run_ok runs 5002
    pkill -f '^sleep 5002'
    over 5
    is 0 "$(cat "$OUT.rc")"
    matches 'done' "$(cat "$OUT")"
    vestibulectl account enable alice
}

@test "what the client can still be reached by is cut: a process with a session of its own keeps no connection" {
    began alice 'setsid sh -c "while sleep 0.1; do echo still here; done" & sleep 5001'
    vestibulectl grant rm alice den
    over 6
    fails pgrep -x ssh
    pkill -f 'still here' || true
}

@test "a grant ends while the session lives" {
    vestibulectl grant add alice den --expires "$(date -u -d '+4 seconds' +%Y-%m-%dT%H:%M:%SZ)"
    began alice 'sleep 5001'
    sleep 1
    run_ok runs 5001
    over 6
    is 213 "$(cat "$OUT.rc")"
    matches "the time for which you had access to 'den' is over" "$(cat "$OUT")"
    expect_audit 'event=revoked target=den account=alice reason=ended'
}

@test "an account's key is removed, and the target itself" {
    began alice 'sleep 5001'
    vestibulectl key rm --account alice "$(fingerprint alice)"
    over 2
    is 213 "$(cat "$OUT.rc")"
    expect_audit 'reason=key-not-listed'
    vestibulectl key add --account alice "$KEYS/alice.pub"
    vestibulectl target add lair --driver docker --container den --user alice
    vestibulectl grant add alice lair
    TARGET=lair began alice 'sleep 5002'
    vestibulectl target rm lair
    over 2
    is 213 "$(cat "$OUT.rc")"
    expect_audit 'reason=target-gone'
}

@test "a store that can't be read ends no session, and what was revoked counts when it can be read again" {
    began alice 'sleep 5001'
    sleep 2.5
    mv /var/lib/vestibule/store.db /var/lib/vestibule/store.away
    # A bell without a reason, and one with the session's own.
    : >/var/lib/vestibule/store.db-bell
    sleep 2.5
    run_ok runs 5001
    mv /var/lib/vestibule/store.away /var/lib/vestibule/store.db
    vestibulectl grant rm alice den
    over 3
    is 213 "$(cat "$OUT.rc")"
}

@test "revoked = keep, for one target and for all" {
    vestibulectl target set den --revoked keep
    began alice 'sleep 5001'
    vestibulectl grant rm alice den
    sleep 2.5
    run_ok runs 5001
    vestibulectl target set den --revoked end
    over 2
    is 213 "$(cat "$OUT.rc")"
    vestibulectl grant add alice den
    printf '[session]\nrevoked = "keep"\n' >/etc/vestibule/vestibule.toml.d/keep.toml
    began alice 'sleep 5001'
    vestibulectl grant rm alice den
    sleep 2.5
    run_ok runs 5001
    rm /etc/vestibule/vestibule.toml.d/keep.toml
    pkill -f '^sleep 5001'
}
