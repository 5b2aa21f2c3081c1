#!/usr/bin/env bats
# refresh-keys: rows from files and databases, into the store and to a login.

load ../lib/bastion

REFRESH=/usr/libexec/vestibule/refresh-keys
TREE=/srv/vestibule
CLOCK=/var/lib/vestibule/refresh.clock

setup_file() {
    bastion_start
    sandbox_start lab
    make_key ada
    make_key bob
    make_key eve
    cat >/etc/vestibule/vestibule.toml.d/50-files.toml <<TOML
[source.files]
kind = "directory"
path = "$TREE"
allow = { leaders = ["pid_file:$SANDBOX_PIDS/*"] }
TOML
}
setup() {
    audit_mark
    rm -rf "$TREE"
    mkdir -p "$TREE"/{accounts,targets}
    cat "$KEYS/ada.pub" >"$TREE/accounts/ada.keys"
    cat "$KEYS/bob.pub" >"$TREE/accounts/bob.keys"
    cat >"$TREE/targets/lab.toml" <<TOML
user = "alice"
driver = { driver = "namespace", leader = { pid_file = "$SANDBOX_PIDS/lab.pid" } }
TOML
    printf 'ada\nbob\n' >"$TREE/targets/lab.grants"
}
teardown() { show_logs_on_failure; }

refreshed() { run_ok "$REFRESH" --source files "$@"; }

@test "files below a directory let people in, and taking them away shuts them out" {
    refreshed --accept-shrink
    KEY=ada run_ok ssh_as lab whoami
    is alice "$output"
    rm "$TREE/accounts/ada.keys"
    sed -i /ada/d "$TREE/targets/lab.grants"
    refreshed
    matches 'accounts=\+0~0-1 keys=\+0~0-1' "$output"
    KEY=ada ssh_refused lab whoami
    KEY=bob run_ok ssh_as lab whoami
    expect_audit 'source=files result=refreshed'
}

@test "a second run finds nothing to do" {
    refreshed --accept-shrink
    refreshed
    matches '^files: unchanged' "$output"
    run_ok vestibulectl sources --json
    is ok "$(jq -r '.[0].state' <<<"$output")"
}

@test "a disabled account opens nothing, and an enabled one does again" {
    echo 'disabled = true' >"$TREE/accounts/ada.toml"
    refreshed --accept-shrink
    KEY=ada ssh_refused lab whoami
    rm "$TREE/accounts/ada.toml"
    refreshed
    KEY=ada run_ok ssh_as lab whoami
}

@test "--dry-run says what would change, and changes nothing" {
    refreshed --accept-shrink
    cat "$KEYS/eve.pub" >>"$TREE/accounts/ada.keys"
    refreshed --dry-run
    matches 'would-change.*keys=\+1~0-0' "$output"
    KEY=eve ssh_refused lab whoami
    refreshed
    KEY=eve run_ok ssh_as lab whoami
}

@test "one account's refresh leaves the others as they are" {
    refreshed --accept-shrink
    : >"$TREE/accounts/ada.keys"
    : >"$TREE/accounts/bob.keys"
    refreshed --account ada
    KEY=ada ssh_refused lab whoami
    KEY=bob run_ok ssh_as lab whoami
}

@test "a source that says nothing any more locks nobody out" {
    refreshed --accept-shrink
    rm "$TREE"/accounts/* "$TREE"/targets/*
    run_rc 3 "$REFRESH" --source files
    matches 'shrinks.*accept-shrink' "$stderr"
    KEY=ada run_ok ssh_as lab whoami
    refreshed --accept-shrink
    KEY=ada ssh_refused lab whoami
}

@test "a source that is away keeps its rows, and the run says why" {
    refreshed --accept-shrink
    mv "$TREE" "$TREE.away"
    run_rc 1 "$REFRESH" --source files
    matches "^files: failed: .*$TREE" "$stderr"
    expect_audit 'source=files result=failed'
    run_rc 1 vestibulectl sources
    matches "files +failing .*$TREE" "$output"
    KEY=ada run_ok ssh_as lab whoami
    mv "$TREE.away" "$TREE"
}

@test "bad rows are told and passed over, and take no others with them" {
    {
        echo 'ssh-ed25519 AAAAnot-a-key somebody'
        echo "environment=\"A=b\" $(cat "$KEYS/eve.pub")"
        cat "$KEYS/ada.pub"
    } >"$TREE/accounts/ada.keys"
    cat "$KEYS/eve.pub" >"$TREE/accounts/no+name.keys"
    printf 'user = "alice"\ndriver = { driver = "teleport" }\n' >"$TREE/targets/far.toml"
    printf 'ada\nnobody\n' >"$TREE/targets/lab.grants"
    printf '\xff\xfe' >"$TREE/accounts/bytes.keys"
    mkfifo "$TREE/accounts/pipe.keys"
    refreshed --accept-shrink
    local bad
    for bad in "line 1" "environment=" "no\+name" teleport "no account 'nobody'" 'not UTF-8' 'not a regular file'; do
        matches "passed over: .*$bad" "$output"
    done
    KEY=ada run_ok ssh_as lab whoami
    KEY=eve ssh_refused lab whoami
}

@test "a source names nothing that root's configuration does not let it name" {
    cat >"$TREE/targets/lab.toml" <<TOML
user = "alice"
driver = { driver = "namespace", leader = { pid_file = "/run/sshd.pid" } }
TOML
    cat >"$TREE/targets/self.toml" <<TOML
user = "root"
driver = { driver = "tcp", address = { fixed = { host = "127.0.0.1", port = 22 } } }
TOML
    refreshed --accept-shrink
    matches "passed over: .*'lab'.*allow.leaders" "$output"
    matches "passed over: .*'self'.*allow.addresses" "$output"
    run_any vestibulectl target show self
    is 1 "$status"
}

@test "the administrator's rows are not a source's" {
    vestibulectl account add eve
    vestibulectl key add --account eve "$KEYS/eve.pub"
    cat "$KEYS/ada.pub" >"$TREE/accounts/eve.keys"
    printf 'eve\n' >>"$TREE/targets/lab.grants"
    refreshed --accept-shrink
    matches "passed over: account 'eve': it belongs to the source 'local'" "$output"
    matches "passed over: key .*'eve' belongs to the source 'local'" "$output"
    is local "$(vestibulectl account list --json | jq -r '.[] | select(.name == "eve").source')"
    vestibulectl account rm eve
}

@test "keys of a source that did not answer for max_stale cease to open anything" {
    sed -i '/^kind/a max_stale = 60' /etc/vestibule/vestibule.toml.d/50-files.toml
    refreshed --accept-shrink
    KEY=ada run_ok ssh_as lab whoami
    run_ok as_user vestibule-refresh sqlite3 /var/lib/vestibule/store.db "UPDATE sources SET valid_until = valid_until - 61"
    mv "$TREE" "$TREE.away"
    run_rc 1 "$REFRESH"
    matches 'its keys have ceased to count' "$stderr"
    mv "$TREE.away" "$TREE"
    KEY=ada ssh_refused lab whoami
    expect_audit 'reason=ended'
    refreshed
    KEY=ada run_ok ssh_as lab whoami
    sed -i /max_stale/d /etc/vestibule/vestibule.toml.d/50-files.toml
}

# aged SECONDS: everything that is noted of sources was noted so much earlier.
aged() {
    run_ok as_user vestibule-refresh sqlite3 /var/lib/vestibule/store.db \
        "UPDATE sources SET tried = tried - $1, succeeded = succeeded - $1, valid_until = valid_until - $1"
}

# clock_was BY: the clock was set by BY seconds since the last run. Clocks can't be set in a box; what the last run noted of
# them can.
clock_was() {
    local boot ahead
    read -r boot ahead <"$CLOCK"
    echo "$boot $((ahead - $1))" >"$CLOCK"
}

# with_max_stale SECONDS: the source answered just now, and its keys count for so long.
with_max_stale() {
    sed -i -e /max_stale/d -e "/^kind/a max_stale = $1" /etc/vestibule/vestibule.toml.d/50-files.toml
    refreshed --accept-shrink
    KEY=ada run_ok ssh_as lab whoami
}
without_max_stale() { sed -i /max_stale/d /etc/vestibule/vestibule.toml.d/50-files.toml; }

@test "half-way to max_stale the list of sources, the log and doctor say that it is ageing" {
    with_max_stale 1000
    aged 480
    mv "$TREE" "$TREE.away"
    run_rc 1 "$REFRESH"
    matches_not 'ageing' "$stderr"
    run_rc 1 vestibulectl sources
    matches 'files +failing' "$output"
    aged 22
    run_rc 1 "$REFRESH"
    is 1 "$(grep -c -E '^files: ageing: it has not answered for 5[0-9]{2} seconds; its keys count for 4[0-9]{2} more' <<<"$stderr")"
    expect_audit 'refresh-keys.*source=files age=ageing'
    run_rc 1 vestibulectl sources
    matches 'files +ageing' "$output"
    run_any vestibulectl doctor
    matches "fault: the source 'files' has not answered since .*its keys count until" "$output"
    KEY=ada run_ok ssh_as lab whoami
    aged 520
    run_rc 1 "$REFRESH"
    matches 'files: stale: ' "$stderr"
    run_any vestibulectl doctor
    matches "fault: the source 'files' .*have ceased to count" "$output"
    KEY=ada ssh_refused lab whoami
    mv "$TREE.away" "$TREE"
    refreshed
    matches_not 'ageing|stale' "$output$stderr"
    run_ok vestibulectl sources
    matches 'files +ok' "$output"
    run_any vestibulectl doctor
    matches_not "source 'files'" "$output"
    without_max_stale
}

@test "a clock that was behind and is right again shuts nobody out, though the source is away" {
    with_max_stale 1000
    # The last run was by a clock ten years behind, just now.
    aged 315360000
    clock_was 315360000
    KEY=ada ssh_refused lab whoami
    mv "$TREE" "$TREE.away"
    run_rc 1 "$REFRESH"
    matches 'its keys count for (9[5-9][0-9]|1000) more seconds' "$stderr"
    KEY=ada run_ok ssh_as lab whoami
    # A second run moves nothing again.
    run_rc 1 "$REFRESH"
    KEY=ada run_ok ssh_as lab whoami
    mv "$TREE.away" "$TREE"
    without_max_stale
}

@test "a clock that was ahead keeps no source fresh that is away" {
    with_max_stale 1000
    # The last run was by a clock ten years ahead, and the source had not answered for 995 seconds then.
    aged 995
    aged -315360000
    clock_was -315360000
    mv "$TREE" "$TREE.away"
    run_rc 1 "$REFRESH"
    matches 'its keys (count for [0-9] more seconds|have ceased to count)' "$stderr"
    # The same over a boot, where nothing is known of the clock: what was noted in the future counts as noted now.
    refreshed_by_a_future_clock() {
        mv "$TREE.away" "$TREE"
        refreshed
        mv "$TREE" "$TREE.away"
        aged -315360000
        sed -i 's/^[^ ]*/another-boot/' "$CLOCK"
    }
    refreshed_by_a_future_clock
    run_rc 1 "$REFRESH"
    matches 'its keys count for (9[5-9][0-9]|1000) more seconds' "$stderr"
    run_ok as_user vestibule-refresh sqlite3 /var/lib/vestibule/store.db \
        "SELECT valid_until <= strftime('%s', 'now') + 1000 FROM sources WHERE name = 'files'"
    is 1 "$output"
    mv "$TREE.away" "$TREE"
    without_max_stale
}

@test "an existing table is a source: statements of the operator's own" {
    refreshed --accept-shrink
    sqlite3 /srv/projects.db "
        CREATE TABLE projects(id TEXT, authorized_keys TEXT);
        INSERT INTO projects VALUES('p1', '$(cat "$KEYS/eve.pub")');
        INSERT INTO projects VALUES('p2', NULL);"
    chmod 0644 /srv/projects.db
    cat >/etc/vestibule/vestibule.toml.d/60-projects.toml <<TOML
[source.projects]
kind = "sqlite"
path = "/srv/projects.db"
targets = """SELECT id AS name, 'alice' AS user,
    '{"driver":"namespace","leader":{"pid_file":"$SANDBOX_PIDS/lab.pid"}}' AS driver FROM projects"""
keys = "SELECT id AS target, authorized_keys AS key FROM projects"
allow = { leaders = ["pid_file:$SANDBOX_PIDS/lab.pid"] }
TOML
    run_ok "$REFRESH" --source projects --json
    is '1 2' "$(jq -r '"\(.counts.keys.added) \(.counts.targets.added)"' <<<"$output")"
    KEY=eve run_ok ssh_as p1 whoami
    KEY=eve ssh_refused p2 whoami
    sqlite3 /srv/projects.db "UPDATE projects SET authorized_keys = '' WHERE id = 'p1'"
    run_ok "$REFRESH" --source projects --target p1
    KEY=eve ssh_refused p1 whoami
    sed -i 's/^keys = .*/keys = "SELECT nonsense"/' /etc/vestibule/vestibule.toml.d/60-projects.toml
    run_rc 1 "$REFRESH"
    matches 'projects: failed: .*nonsense' "$stderr"
    matches '^files: ' "$output"
    rm /etc/vestibule/vestibule.toml.d/60-projects.toml
}

@test "a key of the configuration that nobody knows stops the run" {
    printf '[source.odd]\nkind = "directory"\npath = "/srv"\npaht = 1\n' >/etc/vestibule/vestibule.toml.d/70-odd.toml
    run_rc 1 "$REFRESH"
    matches 'source.odd.*paht' "$stderr"
    rm /etc/vestibule/vestibule.toml.d/70-odd.toml
}
