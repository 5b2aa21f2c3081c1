#!/usr/bin/env bats
# refresh-keys: rows from files and databases, into the store and to a login.

load ../lib/bastion

REFRESH=/usr/libexec/vestibule/refresh-keys
TREE=/srv/vestibule

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
