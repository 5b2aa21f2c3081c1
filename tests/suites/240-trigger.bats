#!/usr/bin/env bats
# The trigger through sshd: a hub's key that may do nothing but say that something changed.

load ../lib/bastion

HUB=$BOX_REPO/examples/reference-hub/reference_hub.py
STATE=/run/box/hub.db

setup_file() {
    bastion_install
    bastion_init
    devlog_start
    mkdir -p /etc/ssh/box
    cp /usr/share/vestibule/sshd_config.d/20-vestibule-trigger.conf /etc/ssh/box/
    usermod --shell /bin/sh vestibule-refresh
    sshd_start
    make_key hub
    make_key alice
    cp "$KEYS/hub.pub" /etc/vestibule/trigger_keys
    sandbox_start lab
    (umask 077 && echo token >/etc/vestibule/hub.token)
    chown vestibule-refresh /etc/vestibule/hub.token
    detached /run/box/logs/hub.log "$HUB" serve "$STATE" --listen 127.0.0.1:8090 --token-file /etc/vestibule/hub.token
    wait_for 5 bash -c 'exec 9<>/dev/tcp/127.0.0.1/8090'
    mkdir -p /etc/vestibule/vestibule.toml.d
    cat >/etc/vestibule/vestibule.toml.d/hub.toml <<CONF
[source.hub]
kind = "feed"
url = "http://127.0.0.1:8090/feed"
token_file = "/etc/vestibule/hub.token"
allow.leaders = ["pid_file:$SANDBOX_PIDS/*"]
CONF
    hub put "$(jq -cn --arg file "$SANDBOX_PIDS/lab.pid" '{target: {name: "lab", user: "alice", driver: {driver: "namespace", leader: {pid_file: $file}}}}')"
}

setup() { audit_mark; }
teardown() { show_logs_on_failure; }

hub() { limit "$HUB" "$1" "$STATE" "${@:2}"; }
trigger() { KEY=hub ssh_as vestibule-refresh "$@"; }
person() { # NAME: an account with a key and a grant, at the hub.
    make_key "$1"
    hub put "{\"account\": {\"name\": \"$1\"}}" "{\"grant\": {\"account\": \"$1\", \"target\": \"lab\"}}" \
        "$(jq -cn --arg account "$1" --arg key "$(<"$KEYS/$1.pub")" '{key: {account: $account, key: $key}}')"
}
now() { date +%s%N; }

@test "a hub's trigger refreshes at once" {
    local begun
    person warm
    run_ok trigger
    person alice
    begun=$(now)
    run_ok trigger
    run_ok ssh_as alice+lab whoami
    echo "# $((($(now) - begun) / 1000000)) ms from the hub's commit to the end of a login" >&3
    is alice "$output"
    local took=$(($(now) - begun))
    # Two logins, and little more, however busy the machine is.
    begun=$(now)
    run_ok ssh_as alice+lab true
    ((took < 1000000000 + 4 * ($(now) - begun)))
}

@test "a trigger may be about one account or target" {
    person one
    person two
    run_ok trigger account one
    KEY=one run_ok ssh_as one+lab true
    run_rc 1 vestibulectl account show two
    run_ok trigger target lab
}

@test "a hub's key opens nothing else: no shell, no other option, no forward, no terminal" {
    local command
    # shellcheck disable=SC2016  # not for this shell
    for command in sh 'target lab; id' 'target ../../etc' 'target $(id)' 'target lab --full' 'account a b' 'config /tmp/x'; do
        run_rc 1 trigger "$command"
        matches 'trigger: want nothing' "$stderr"
        matches_not 'uid=' "$output"
    done
    SSH_OPTIONS='-o ExitOnForwardFailure=yes -R 2300:127.0.0.1:22 -N' run_rc 255 trigger
    SSH_OPTIONS='-W 127.0.0.1:8090' run_rc 255 trigger
    KEY=alice ssh_refused vestibule-refresh
    KEY=hub ssh_refused alice+lab true
}

@test "twenty triggers at once wait as one, and the last change counts" {
    local n pids=() waited
    for n in $(seq 20); do
        hub put "{\"account\": {\"name\": \"burst-$n\"}}"
        trigger >"$BATS_TEST_TMPDIR/$n" 2>&1 3>&- &
        pids+=($!)
    done
    for n in "${pids[@]}"; do wait "$n" || echo "a trigger failed" >>"$BATS_TEST_TMPDIR/failed"; done
    fails test -e "$BATS_TEST_TMPDIR/failed"
    run_ok vestibulectl account show burst-20
    waited=$(cat "$BATS_TEST_TMPDIR"/[0-9]* | grep -c left-to-another || true)
    echo "# $waited of 20 were left to another" >&3
}

@test "triggers about one account wait as one, and those about others beside them" {
    local n pids=()
    run_ok trigger
    # As long as another run is at work.
    detached /dev/null flock /var/lib/vestibule/refresh-hub.lock sleep 60
    local holder=$!
    for n in {1..6}; do
        make_key "same-$n"
        hub put "{\"account\": {\"name\": \"other-$n\"}}" "{\"account\": {\"name\": \"same\"}}" \
            "$(jq -cn --arg key "$(<"$KEYS/same-$n.pub")" '{key: {account: "same", key: $key}}')"
        trigger account same >"$BATS_TEST_TMPDIR/same-$n" 2>&1 3>&- &
        pids+=($!)
        trigger account "other-$n" >"$BATS_TEST_TMPDIR/other-$n" 2>&1 3>&- &
        pids+=($!)
    done
    wait_for 15 waiting 7
    pkill -P "$holder"
    for n in "${pids[@]}"; do wait "$n" || echo "a trigger failed" >>"$BATS_TEST_TMPDIR/failed"; done
    fails test -e "$BATS_TEST_TMPDIR/failed"
    is 5 "$(cat "$BATS_TEST_TMPDIR"/same-* | grep -c left-to-another)"
    # The last change counts, and nobody's is lost.
    is 6 "$(vestibulectl key list --account same --json | jq length)"
    for n in {1..6}; do run_ok vestibulectl account show "other-$n"; done
    # One about everything is about each of them.
    detached /dev/null flock /var/lib/vestibule/refresh-hub.lock sleep 60
    holder=$!
    trigger >"$BATS_TEST_TMPDIR/all" 2>&1 3>&- &
    pids=($!)
    wait_for 15 waiting 1
    run_ok trigger account same
    matches left-to-another "$output"
    pkill -P "$holder"
    wait "${pids[0]}"
}

# waiting N: so many triggers wait for their turn, and no other is on its way.
waiting() { is "$1" "$(pgrep -c -x refresh-keys)"; }
