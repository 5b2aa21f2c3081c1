#!/usr/bin/env bats
# refresh-keys killed at any moment, and on a full disk.

load ../lib/bastion

REFRESH=/usr/libexec/vestibule/refresh-keys
STORE=/var/lib/vestibule/store.db

setup_file() {
    bastion_start
    sandbox_start lab
    vestibulectl target add lab --driver namespace --pid-file "$SANDBOX_PIDS/lab.pid" --user alice
    add_person alice
    vestibulectl grant add alice lab
    cat >/etc/vestibule/vestibule.toml.d/50-people.toml <<'TOML'
[source.people]
kind = "sqlite"
path = "/srv/people.db"
accounts = "SELECT name FROM people WHERE generation = (SELECT g FROM now)"
keys = "SELECT name AS account, key FROM people WHERE generation = (SELECT g FROM now)"
max_shrink = 1.0
TOML
}
setup() { audit_mark; }
teardown() { show_logs_on_failure; }

# people GENERATIONS EACH: a database of so many generations of people, of whom one generation is there at a time.
people() {
    rm -f /srv/people.db
    sqlite3 /srv/people.db "
        CREATE TABLE people(generation INTEGER, name TEXT, key TEXT);
        CREATE TABLE now(g INTEGER); INSERT INTO now VALUES(0);
        WITH RECURSIVE g(g) AS (SELECT 0 UNION ALL SELECT g + 1 FROM g WHERE g < $1 - 1),
            n(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM n WHERE n < $2)
        INSERT INTO people SELECT g, 'g' || g || '-' || n, '$(cut -d ' ' -f 1-2 "$KEYS/alice.pub")' FROM g, n;"
    chmod 0644 /srv/people.db
}

# The generations in the store, each with how many accounts and keys.
generations() {
    as_user vestibule-refresh sqlite3 "$STORE" "SELECT substr(a.name, 1, instr(a.name, '-')), count(DISTINCT a.id), count(k.id)
        FROM accounts a LEFT JOIN keys k ON k.account_id = a.id WHERE a.source = 'people' GROUP BY 1"
}

@test "killed a hundred times, the store is the old one or the new one, and lets people in" {
    local n before after whole=0
    people 2 2500
    run_ok "$REFRESH"
    for n in {1..100}; do
        sqlite3 /srv/people.db "UPDATE now SET g = $((n % 2))"
        before=$(generations)
        detached "$BATS_TEST_TMPDIR/log" "$REFRESH"
        sleep "0.$(printf '%03d' $((n * 13 % 97)))"
        kill -9 $! 2>/dev/null || whole=$((whole + 1))
        wait $! 2>/dev/null || true
        after=$(generations)
        case $after in
        "g$((n % 2))-|2500|2500" | "$before") ;;
        *) fail_with "neither the old nor the new one after kill $n: $after" ;;
        esac
    done
    run_ok ssh_as lab whoami
    run_ok "$REFRESH"
    is 'g0-|2500|2500' "$(generations)"
    run_ok as_user vestibule-refresh sqlite3 "$STORE" 'PRAGMA integrity_check; PRAGMA foreign_key_check'
    is ok "$output"
    # Names too many in the index are harmless, and mended; names too few would shut people out.
    run_any vestibulectl check --mend
    run_any vestibulectl check
    matches_not 'names.idx|names are missing|index' "$output"
    # Most of the kills must have hit.
    ((whole < 80))
}

@test "a disk that is full at any point changes nothing, is told, and lets people in" {
    local size room seen='' before others after
    people 1 20000
    others=$(as_user vestibule-refresh sqlite3 "$STORE" "SELECT count(*) FROM accounts WHERE source <> 'people'")
    before=$(as_user vestibule-refresh sqlite3 "$STORE" "SELECT count(*) FROM accounts")
    size=$(stat -c %s "$STORE")
    mkdir -p /mnt/small
    # Room for a part of what the source says, for all of that, for a part of the change, for all.
    for room in 1 4 7 10 14 18 40; do
        mount -t tmpfs -o "size=$((size + room * 1000000)),mode=0755" small /mnt/small
        install -d -o vestibule-refresh -g vestibule -m 2755 /mnt/small/store
        # Not what is no file: who looks out for changes has a FIFO there.
        find /var/lib/vestibule -maxdepth 1 -type f -exec cp -p -t /mnt/small/store {} +
        run_any "$REFRESH" --store /mnt/small/store/store.db
        after=$(as_user vestibule-refresh sqlite3 /mnt/small/store/store.db "SELECT count(*) FROM accounts")
        if ((status == 0)); then
            seen+=' done'
            is $((others + 20000)) "$after"
        else
            matches 'people: failed: .*(no room|No space|full|names)' "$stderr"
            is "$before" "$after"
            [[ $stderr != *"store.db'"* ]] || seen+=' store'
            [[ $stderr != *stage* ]] || seen+=' stage'
        fi
        run_ok as_user vestibule-refresh sqlite3 /mnt/small/store/store.db 'PRAGMA integrity_check'
        is ok "$output"
        # Nor is anything left that keeps the disk full.
        fails test -e /mnt/small/store/refresh-people.stage
        umount /mnt/small
    done
    echo "# it ended at:$seen" >&3
    matches 'stage.*store.*done' "$seen"
    run_ok ssh_as lab whoami
}

@test "logins go on while a large import runs" {
    people 1 100000
    detached "$BATS_TEST_TMPDIR/log" "$REFRESH"
    local import=$! logins=0
    while [[ -e /proc/$import/exe ]] && ((logins < 5)); do
        run_ok ssh_as lab whoami
        is alice "$output"
        logins=$((logins + 1))
    done
    ((logins > 0))
    wait "$import"
    is 'g0-|100000|100000' "$(generations)"
}
