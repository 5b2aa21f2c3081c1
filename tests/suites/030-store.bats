#!/usr/bin/env bats
# The store as logins read it: by a user that may write nothing, whatever became of those who wrote it.

load ../lib/bastion

STORE=/var/lib/vestibule/store.db

setup_file() {
    bastion_start
    sandbox_start lab
    limit vestibulectl target add lab --driver namespace --pid-file "$SANDBOX_PIDS/lab.pid" --user alice >/dev/null
    add_person alice --default-target lab
    limit vestibulectl grant add alice lab >/dev/null
    cp "$STORE" /run/store.good
}

setup() { audit_mark; }

teardown() {
    show_logs_on_failure
    [[ -z ${WRITER:-} ]] || kill -KILL "$WRITER" 2>/dev/null || true
    rm -f "$STORE" "$STORE-wal" "$STORE-shm"
    install -o vestibule-refresh -g vestibule -m 0640 /run/store.good "$STORE"
    limit vestibulectl init >/dev/null
}

# What sshd would get, asked as sshd asks.
lookup() { as_user vestibule-keys /usr/libexec/vestibule/keys-lookup alice+lab "$(fingerprint alice)"; }

# A writer in the middle of a transaction that is larger than its cache, as the store's owner: its pid is in $WRITER.
writer_in_the_middle() {
    mkfifo "/run/hold.$BATS_TEST_NUMBER"
    detached /run/box/logs/writer.log setpriv --reuid vestibule-refresh --regid vestibule --clear-groups \
        bash -c "{ echo 'PRAGMA cache_size = 10; BEGIN IMMEDIATE; DELETE FROM grants;
            WITH RECURSIVE n(i) AS (VALUES(1) UNION ALL SELECT i + 1 FROM n WHERE i < 20000)
            INSERT INTO revoked SELECT randomblob(32), i, 1 FROM n;'; cat </run/hold.$BATS_TEST_NUMBER; } | exec sqlite3 $STORE"
    wait_for 10 big_wal
    WRITER=$(pgrep -u vestibule-refresh -x sqlite3)
}

big_wal() { (($(stat -c %s "$STORE-wal") > 100000)); }

@test "the user that reads the store may write none of its files, nor their directory" {
    local file
    for file in "$STORE" "$STORE-wal" "$STORE-shm" /var/lib/vestibule/names.idx; do
        run_ok as_user vestibule-keys test -r "$file"
        run_rc 1 as_user vestibule-keys test -w "$file"
    done
    run_rc 1 as_user vestibule-keys test -w /var/lib/vestibule
    run_rc 1 as_user nobody test -r "$STORE"
    run_ok as_user nobody test -r /var/lib/vestibule/names.idx
}

@test "logins are answered with no writer alive" {
    run_ok lookup
    matches '^restrict,pty ssh-ed25519 ' "$output"
    run_ok ssh_as alice+lab hostname
    is lab "$output"
}

@test "logins are answered while a writer is in the middle, and after it was killed" {
    writer_in_the_middle
    run_ok lookup
    matches '^restrict,pty ssh-ed25519 ' "$output"
    kill -KILL "$WRITER"
    wait_for 5 fails kill -0 "$WRITER"
    run_ok lookup
    matches '^restrict,pty ssh-ed25519 ' "$output"
    run_ok ssh_as alice+lab hostname
    is lab "$output"
}

@test "the next writer goes on after one that was killed" {
    writer_in_the_middle
    kill -KILL "$WRITER"
    wait_for 5 fails kill -0 "$WRITER"
    run_ok vestibulectl grant rm alice lab
    run_ok lookup
    is '' "$output"
    is 0 "$(stat -c %s "$STORE-wal")"
}

@test "logins are answered when somebody's sqlite3 has taken -wal and -shm away" {
    run_ok sqlite3 "$STORE" 'PRAGMA journal_mode = WAL; SELECT count(*) FROM accounts'
    rm -f "$STORE-wal" "$STORE-shm"
    run_ok lookup
    matches '^restrict,pty ssh-ed25519 ' "$output"
}

@test "a store that is missing, damaged, newer or not to be read lets nobody in, and the log names it and the mend" {
    rm "$STORE"
    run_ok lookup
    is '' "$output"
    expect_audit "store.db' does not exist; run 'vestibulectl init'"

    install -o vestibule-refresh -g vestibule -m 0640 /etc/services "$STORE"
    run_ok lookup
    is '' "$output"
    expect_audit "store.db' is damaged"

    install -o vestibule-refresh -g vestibule -m 0640 /run/store.good "$STORE"
    sqlite3 "$STORE" 'PRAGMA user_version = 99'
    run_ok lookup
    is '' "$output"
    expect_audit "store.db' has version 99"
    run_rc 1 vestibulectl account list
    matches '^vestibulectl: .*has version 99, and this program knows [0-9]+ at most' "$stderr"

    install -o vestibule-refresh -g vestibule -m 0640 /run/store.good "$STORE"
    chmod 0600 "$STORE"
    run_ok lookup
    is '' "$output"
    expect_audit "store.db' may not be opened by this user"
    ssh_refused alice+lab true
}

@test "a full disk changes nothing and is said in one line" {
    local dir=/run/small
    mkdir -p "$dir"
    mount -t tmpfs -o size=300k none "$dir"
    run_ok vestibulectl --store "$dir/store.db" init
    run_ok vestibulectl --store "$dir/store.db" account add before
    head -c 1M /dev/zero >"$dir/fill" || true
    run_rc 1 vestibulectl --store "$dir/store.db" account add after
    matches '^vestibulectl: [^\n]*(no room on the disk|No space left)' "$stderr"
    rm "$dir/fill"
    run_ok vestibulectl --store "$dir/store.db" account list --json
    matches '"before"' "$output"
    matches_not '"after"' "$output"
    run_ok vestibulectl --store "$dir/store.db" account add after
    umount "$dir"
}
