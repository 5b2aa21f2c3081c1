#!/usr/bin/env bats
# The policies for AppArmor and SELinux. The kernel that the tests run on need have neither, so nothing is enforced here: the
# profiles are compiled, and held against what the programs were seen to do.

load ../lib/bastion

PROFILES=$BOX_REPO/packaging/apparmor
LIBEXEC=/usr/libexec/vestibule
HOMES=/srv/homes

setup_file() {
    bastion_start
    sandbox_start lab
    vestibulectl target add lab --driver namespace --pid-file "$SANDBOX_PIDS/lab.pid" --user alice --home "$HOMES/lab"
    add_person alice
    vestibulectl grant add alice lab
    # A tenant's own file, which only the capability can read.
    make_key bob
    mkdir -p "$HOMES/lab/.ssh"
    cp "$KEYS/bob.pub" "$HOMES/lab/.ssh/authorized_keys"
    chmod -R go-rwx "$HOMES/lab"
    chown -R daemon "$HOMES/lab"
}

setup() { audit_mark; }
teardown() { show_logs_on_failure; }

# traced PID TRACE CMD...: CMD, while that process and what it starts is watched.
traced() {
    local watched=$1 trace=$2 tracer
    shift 2
    detached /run/box/logs/strace.log strace -f -y -o "$trace" -e trace=%file,%network,%process -p "$watched"
    tracer=$!
    wait_for 5 grep -q '^TracerPid:[[:space:]]*[1-9]' "/proc/$watched/status"
    "$@"
    # What has been asked for last is on its way into the trace.
    sleep 0.5
    kill "$tracer"
    wait_for 5 fails kill -0 "$tracer"
}

# covers PROGRAM TRACE: its profile allows what it did.
covers() {
    run_ok "$BOX_REPO/tests/lib/apparmor-covers.py" "$PROFILES/usr.libexec.vestibule.$1" "$LIBEXEC/$1" "$2"
    is '' "$output"
}

@test "the profiles are ones that apparmor_parser compiles, and complain instead of refusing" {
    local profile
    for profile in "$PROFILES"/*; do
        run_ok apparmor_parser --skip-kernel-load --skip-cache --quiet "$profile"
        run_ok grep -E '^profile vestibule-[a-z-]+ /usr/libexec/vestibule/[a-z-]+ flags=\(attach_disconnected, complain\) \{$' "$profile"
        # A rule that denies is in force also where the rest only complains.
        run_rc 1 grep -E '^ *(audit )?deny ' "$profile"
    done
    # A fault would be seen.
    sed 's/ mr,$/ mr/' "$PROFILES/usr.libexec.vestibule.keys-lookup" >/run/broken
    run_any apparmor_parser --skip-kernel-load --skip-cache --quiet /run/broken
    is_not 0 "$status"
}

login_both_ways() {
    run_ok ssh_as lab id
    KEY=bob run_ok ssh_as lab id
    SSH_OPTIONS=-tt KEY=bob run_ok ssh_as lab tty
}

@test "what a login makes keys-lookup and route-session do, their profiles allow" {
    traced "$(</run/sshd.pid)" /run/box/logs/login.trace login_both_ways
    # The trace has what matters in it.
    grep -q "$HOMES/lab/.ssh/authorized_keys>" /run/box/logs/login.trace
    covers keys-lookup /run/box/logs/login.trace
    covers route-session /run/box/logs/login.trace
}

@test "a thing that a profile does not allow is found" {
    grep -v -e 'authorized_keys r,' -e 'sshauth' "$PROFILES/usr.libexec.vestibule.keys-lookup" >/run/narrow
    run_rc 1 "$BOX_REPO/tests/lib/apparmor-covers.py" /run/narrow "$LIBEXEC/keys-lookup" /run/box/logs/login.trace
    is "r $HOMES/lab/.ssh/authorized_keys" "$output"
}

@test "what a refresh from a hub makes refresh-keys do, its profile allows" {
    local hub=$BOX_REPO/examples/reference-hub/reference_hub.py
    (umask 077 && echo token >/etc/vestibule/hub.token)
    chown vestibule-refresh /etc/vestibule/hub.token
    detached /run/box/logs/hub.log "$hub" serve /run/box/hub.db --listen 127.0.0.1:8090 --token-file /etc/vestibule/hub.token
    wait_for 5 bash -c 'exec 9<>/dev/tcp/127.0.0.1/8090'
    run_ok "$hub" put /run/box/hub.db '{"account": {"name": "ada"}}' "$(jq -cn --arg key "$(<"$KEYS/bob.pub")" '{key: {account: "ada", key: $key}}')"
    printf '[source.hub]\nkind = "feed"\nurl = "http://localhost:8090/feed"\ntoken_file = "/etc/vestibule/hub.token"\n' >/etc/vestibule/vestibule.toml.d/hub.toml
    run_ok strace -f -y -o /run/box/logs/refresh.trace -e trace=%file,%network,%process "$LIBEXEC/refresh-keys"
    run_ok vestibulectl account show ada
    covers refresh-keys /run/box/logs/refresh.trace
}
