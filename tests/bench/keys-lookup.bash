# keys-lookup, as sshd runs it: the installed program, by the user whom the drop-in names.
# shellcheck shell=bash

STORE=/var/lib/vestibule/store.db
SMALL=/var/lib/vestibule-small/store.db

# fill N: brings the store to N keys, of accounts with four keys and two grants each, and to a target for ten accounts. By
# SQL, which is quicker than a hundred thousand runs of vestibulectl; `init` then makes the index of names to match.
fill() {
    as_user vestibule-refresh sqlite3 -batch -bail "$STORE" >/dev/null <<SQL || die "could not fill the store"
PRAGMA journal_mode = OFF;
PRAGMA synchronous = OFF;
PRAGMA cache_size = -400000;
BEGIN;
CREATE TEMP TABLE n AS WITH RECURSIVE n(i) AS (SELECT (SELECT count(*) / 4 FROM keys) + 1 UNION ALL SELECT i + 1 FROM n WHERE i < $1 / 4)
  SELECT i FROM n;
INSERT INTO targets(name, driver, login_user, policy, source, created, updated)
  SELECT 'target-' || n.i, t.driver, t.login_user, t.policy, 'local', 0, 0 FROM n, targets t WHERE n.i % 10 = 0 AND t.name = 'lab';
INSERT INTO target_names(name, target_id) SELECT name, id FROM targets WHERE name GLOB 'target-*' AND true ON CONFLICT DO NOTHING;
INSERT INTO accounts(name, active, source, created, updated) SELECT 'person-' || i, 1, 'local', 0, 0 FROM n;
CREATE TEMP TABLE fresh AS SELECT a.id, row_number() OVER () AS i FROM accounts a, n WHERE a.name = 'person-' || n.i;
INSERT INTO grants(account_id, target_id, source, created)
  SELECT f.id, 1 + (f.i + g.column1 * 7) % (SELECT max(id) FROM targets), 'local', 0 FROM fresh f, (VALUES(0), (1)) g
  WHERE true ON CONFLICT DO NOTHING;
INSERT INTO keys(fingerprint, key_type, blob, options, comment, account_id, source, added)
  SELECT randomblob(32), 'ssh-ed25519', randomblob(51), x'', x'', f.id, 'local', 0
  FROM fresh f, (VALUES(0), (1), (2), (3)) k;
COMMIT;
PRAGMA journal_mode = WAL;
SQL
    limit vestibulectl init >/dev/null
}

bench_keys_lookup() {
    local print hex query keys program=/usr/libexec/vestibule/keys-lookup
    print=$(fingerprint alice)
    hex=$(cut -d : -f 2 <<<"$print=" | base64 -d | od -An -v -tx1 | tr -d ' \n')
    # What keys-lookup asks, in one statement.
    query="SELECT k.key_type, k.blob, k.options, k.expires, t.driver, t.policy, a.name, g.expires
        FROM target_names n JOIN targets t ON t.id = n.target_id
        JOIN keys k ON k.fingerprint = x'$hex' JOIN accounts a ON a.id = k.account_id AND a.active
        JOIN grants g ON g.account_id = a.id AND g.target_id = t.id
        WHERE n.name = 'lab' AND NOT EXISTS (SELECT 1 FROM revoked r WHERE r.fingerprint = k.fingerprint)"
    for keys in 1000 1000000; do
        TIMEOUT=120 fill "$keys"
        section "keys-lookup, $(sqlite3 -readonly "file:$STORE?immutable=1" 'SELECT count(*) FROM keys') keys"
        [[ $(as_user vestibule-keys "$program" lab "$print") == restrict* ]] || die "keys-lookup does not find the key"
        [[ $(as_user vestibule-keys sqlite3 "file:$STORE?immutable=1" "$query") == ssh-ed25519* ]] || die "sqlite3 does not find the key"
        # immutable: no locks, no search for a -wal; the quickest that the shell can be.
        AS=vestibule-keys TIMEOUT=60 measure 300 "$work/nothing" -- "$program" lab "$print" -- \
            /usr/bin/sqlite3 -batch "file:$STORE?immutable=1" "$query"
        row_of 0 'a static program that does nothing'
        row_of 1 'keys-lookup'
        row_of 2 'sqlite3, the same query'
        goal "keys-lookup with $keys keys, times do-nothing" "${ratio[1]}" x '<=' 2.0
        if [[ $keys == 1000 ]]; then
            install -d -o vestibule-refresh -g vestibule "${SMALL%/*}"
            cp -p "$STORE" "$STORE-wal" "$STORE-shm" "${SMALL%/*}/"
        fi
    done
    section 'keys-lookup, a million keys against a thousand'
    AS=vestibule-keys TIMEOUT=60 measure 300 "$program" --store "$SMALL" lab "$print" -- "$program" --store "$STORE" lab "$print"
    row_of 0 'a thousand'
    row_of 1 'a million'
    goal 'keys-lookup, a million keys against a thousand' "${ratio[1]}" x '<=' 1.10
}
