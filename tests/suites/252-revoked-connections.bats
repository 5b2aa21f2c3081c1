#!/usr/bin/env bats
# Connections that only forward end with what let them in; the operator ends sessions and connections; and many sessions
# don't notice what others lose.

load ../lib/bastion
load ../lib/forwards

setup_file() {
    bastion_start
    sshd_start 'MaxStartups 300' 'MaxSessions 60'
    forwarding_on
    sshd_start 'MaxStartups 300' 'MaxSessions 60'
    docker_run den vt-busybox
    vestibulectl target add den --driver docker --container den --user alice
    serve 8000 den docker exec den
    local who
    for who in alice bob; do
        add_person "$who"
        vestibulectl grant add "$who" den
    done
}

setup() {
    audit_mark
    vestibulectl grant add alice den >/dev/null
}

teardown() {
    pkill -KILL -x ssh || true
    pkill -KILL -f '^sleep 500' || true
    wait_for 10 no_connections
    show_logs_on_failure
}

# A session in the background; its exit status will be in $OUT.rc.
began() {
    OUT=$BATS_TEST_TMPDIR/$1.$RANDOM
    { ssh_as "$1+den" "$2" >"$OUT" 2>&1 && echo 0 >"$OUT.rc" || echo $? >"$OUT.rc"; } 3>&- &
    wait_for 10 runs "${2#sleep }"
}

over() { wait_for "$1" test -s "$OUT.rc" || { cat "$OUT"; vestibulectl sessions; return 1; }; }
runs() { pgrep -f "^sleep $1" >/dev/null; }
forwards() { [[ $(reach "$1") == den ]]; }
session_of() { vestibulectl sessions | awk -v who="$1" '$3 == who { print $1 }'; }

@test "a connection that only forwards ends with its grant" {
    forward alice+den -L 7001:localhost:8000
    wait_for 10 forwards 7001
    vestibulectl grant rm alice den
    wait_for 3 fails kill -0 "$FORWARD"
    expect_audit 'connection=[a-z0-9]+ event=revoked target=den reason=no-grant'
    expect_audit 'event=close target=den by=revocation'
}

@test "with a grant that was given until now, too" {
    vestibulectl grant add alice den --expires "$(date -u -d '+4 seconds' +%Y-%m-%dT%H:%M:%SZ)"
    forward alice+den -L 7001:localhost:8000
    wait_for 5 forwards 7001
    wait_for 6 fails kill -0 "$FORWARD"
    expect_audit 'event=revoked target=den reason=ended'
}

@test "a session with forwards reads why, and its forwards are gone" {
    SSH_OPTIONS='-L 7002:localhost:8000' began alice 'sleep 5001'
    wait_for 5 forwards 7002
    vestibulectl key revoke "$(fingerprint alice)" --reason lost
    over 3
    is 213 "$(cat "$OUT.rc")"
    matches "your access to 'den' was taken away" "$(cat "$OUT")"
    fails forwards 7002
    vestibulectl key unrevoke "$(fingerprint alice)"
}

@test "sessions end: by number, by account, by key, by target" {
    began alice 'sleep 5001'
    local id
    id=$(session_of alice)
    run_ok vestibulectl sessions end "$id"
    is '1 session has ended' "$output"
    over 2
    is 213 "$(cat "$OUT.rc")"
    matches "the operator ended this session in 'den'; ask why before you connect again \(session $id\)" "$(cat "$OUT")"
    expect_audit "session=$id event=revoked target=den account=alice reason=ordered"
    run_rc 1 vestibulectl sessions end "$id"
    matches "no session '$id'" "$stderr"

    local which
    for which in '--account alice' "--key $(fingerprint alice)"; do
        began bob 'sleep 5002'
        local bob=$OUT
        began alice 'sleep 5001'
        # shellcheck disable=SC2086  # two words
        run_ok vestibulectl sessions end $which
        is '1 session has ended' "$output"
        over 2
        run_ok runs 5002
        pkill -f '^sleep 5002'
        OUT=$bob over 5
    done
    began bob 'sleep 5002'
    began alice 'sleep 5001'
    forward alice+den -L 7003:localhost:8000
    wait_for 10 forwards 7003
    run_ok vestibulectl sessions end --target den
    is '3 sessions have ended' "$output"
    run_ok ssh_as alice+den true
    run_rc 2 vestibulectl sessions end
}

@test "who may write the register of sessions can have nothing killed by it" {
    sleep 5009 &
    local victim=$!
    printf '{"id":"forged","target":"den","account":"alice","pid":%s,"started":1}' "$victim" >/run/vestibule/sessions/forged
    chown vestibule:vestibule /run/vestibule/sessions/forged
    flock /run/vestibule/sessions/forged sleep 30 &
    local holder=$!
    wait_for 5 test "$(session_of alice)" = forged
    run_rc 1 vestibulectl sessions end --account alice
    matches '1 of 1 did not end' "$stderr"
    kill -0 "$victim"
    kill "$victim" "$holder"
    pkill -f 'sleep 30'
    rm /run/vestibule/sessions/forged
}

@test "nobody else can ring, or write what was taken away" {
    local file
    for file in store.db-bell store.db-taken; do
        run_any as_user vestibule sh -c ": >>/var/lib/vestibule/$file"
        is_not 0 "$status"
        run_any as_user vestibule-keys sh -c ": >>/var/lib/vestibule/$file"
        is_not 0 "$status"
    done
}

# ticks: what the processes of sessions have used, in hundredths of a second.
ticks() {
    local pid sum=0 stat
    for pid in $(pgrep enter); do
        stat=$(<"/proc/$pid/stat") 2>/dev/null || continue
        # shellcheck disable=SC2206  # fields
        stat=(${stat##*) })
        sum=$((sum + stat[11] + stat[12] + stat[13] + stat[14]))
    done
    echo "$sum"
}

count() { [[ $(pgrep -c -f "^sleep $1") == "$2" ]]; }

@test "200 sessions: a hundred removals of others cost them little, and their own ends them all" {
    local n=0 options socket
    options=$(ssh_options alice)
    for socket in 1 2 3 4; do
        # shellcheck disable=SC2086  # options are words
        detached "$BATS_TEST_TMPDIR/master$socket" ssh $options -M -S "/tmp/m$socket" -N -l alice+den bastion
        wait_for 10 test -S "/tmp/m$socket"
        for ((n = 0; n < 50; n++)); do
            # shellcheck disable=SC2086
            detached "$BATS_TEST_TMPDIR/client" ssh $options -S "/tmp/m$socket" -l alice+den bastion 'sleep 5003'
        done
    done
    wait_for 60 count 5003 200
    sleep 3
    local before after begun
    before=$(ticks)
    for ((n = 0; n < 100; n++)); do
        printf 'account add x%s\ngrant add x%s den\naccount rm x%s\n' "$n" "$n" "$n"
    done | xargs -L 1 vestibulectl >/dev/null
    after=$(ticks)
    echo "# 100 removals of others: $((after - before)) hundredths of a second in 200 sessions" >&3
    ((after - before < 400))
    run_ok count 5003 200
    begun=$(date +%s%3N)
    vestibulectl grant rm alice den
    wait_for 20 count 5003 0
    echo "# 200 sessions ended in $(($(date +%s%3N) - begun)) ms" >&3
}

@test "a connection whose judge was killed ends; nobody judges as root" {
    forward alice+den -L 7001:localhost:8000
    wait_for 10 forwards 7001
    local judge keeper
    keeper=$(pgrep -x -u root enter)
    judge=$(pgrep -P "$keeper" -u vestibule)
    kill -KILL "$judge"
    wait_for 5 fails kill -0 "$FORWARD"
    expect_audit 'event=revoked target=den reason=unwatched'
}
