# refresh-keys and write-keys: a million accounts from the reference hub; what a change costs there, and how soon it counts.
# shellcheck shell=bash

REFRESH=/usr/libexec/vestibule/refresh-keys
WRITE=/usr/libexec/vestibule/write-keys
HUB=$BOX_REPO/examples/reference-hub/reference_hub.py
HUB_STATE=/run/box/bench-hub.db
HUB_PORT=8099
ACCOUNTS=${BENCH_ACCOUNTS:-1000000}

# peak CMD...: runs it; ${peak[0]} wall ms, ${peak[1]} processor ms, ${peak[2]} KiB.
peak() {
    local said
    said=$("$here/peak.py" "$@" 2>"$work/complaints") || die "failed: $*"$'\n'"$(tail -n 5 "$work/complaints")"
    read -r -a peak <<<"$said"
}

milliseconds() { echo $(($(date +%s%N) / 1000000)); }
# median_of NUMBER...: and the least and the most, as `median least most`.
median_of() { printf '%s\n' "$@" | sort -n | awk '{ v[NR] = $1 } END { print v[int((NR + 1) / 2)], v[1], v[NR] }'; }
# spread LABEL NUMBER...: a line; ${middle} is the median.
spread() {
    local least most
    read -r middle least most < <(median_of "${@:2}")
    printf '%-58s %6s ms (%s .. %s)\n' "$1" "$middle" "$least" "$most"
}

hub_put() { limit "$HUB" put "$HUB_STATE" "$@"; }
key_row() { # ACCOUNT KEY
    printf '{"key": {"account": "%s", "key": "%s"}}' "$1" "$(cut -d ' ' -f 1,2 "$KEYS/$2.pub")"
}

hub_begin() {
    (umask 077 && echo bench-token >/etc/vestibule/bench.token)
    chown vestibule-refresh /etc/vestibule/bench.token
    "$here/million.py" "$HUB_STATE" "$ACCOUNTS"
    detached /run/box/logs/bench-hub.log "$HUB" serve "$HUB_STATE" --listen "127.0.0.1:$HUB_PORT" --token-file /etc/vestibule/bench.token
    wait_for 10 bash -c "exec 9<>/dev/tcp/127.0.0.1/$HUB_PORT"
    cat >/etc/vestibule/vestibule.toml.d/bench.toml <<CONF
[source.million]
kind = "feed"
url = "http://127.0.0.1:$HUB_PORT/feed"
token_file = "/etc/vestibule/bench.token"
allow.leaders = ["pid_file:$SANDBOX_PIDS/*"]
[written]
homes = ["/srv/bench"]
CONF
}

# What the hub is asked for changes, as a URL.
hub_question() {
    local memory cursor
    memory=$(as_user vestibule-refresh sqlite3 /var/lib/vestibule/store.db "SELECT cursor FROM sources WHERE name = 'million'")
    cursor=$(jq -r .cursor <<<"$memory")
    echo "http://127.0.0.1:$HUB_PORT/feed?cursor=$cursor&limit=5000"
}
ask_hub() { curl -s -o /dev/null -H 'Authorization: Bearer bench-token' "$@"; }

bench_refresh() {
    local before during asked=() took=() n begun url
    hub_begin
    section 'refresh-keys: the first import'
    TIMEOUT=60 AS=vestibule-keys measure 100 "$work/nothing" -- /usr/libexec/vestibule/keys-lookup lab "$(fingerprint alice)"
    before=${more[1]}
    ("$here/peak.py" "$REFRESH" --source million >"$work/import" 2>"$work/import.log" || touch "$work/import.failed") &
    sleep 3
    TIMEOUT=60 AS=vestibule-keys measure 300 "$work/nothing" -- /usr/libexec/vestibule/keys-lookup lab "$(fingerprint alice)"
    during=${more[1]}
    wait_for 600 test -s "$work/import"
    [[ ! -e $work/import.failed ]] || die "the import failed: $(tail -n 3 "$work/import.log")"
    read -r -a peak <"$work/import"
    printf '%s accounts, keys and grants: %s ms, of them %s ms on a processor; %s MiB at most\n' "$ACCOUNTS" "${peak[0]}" "${peak[1]}" "$((peak[2] / 1024))"
    printf 'keys-lookup more than nothing: %s us before, %s us meanwhile\n' "$before" "$during"
    goal "first import of $ACCOUNTS, seconds" "$(quotient "${peak[0]}" 1000)" s '<=' 60
    goal "first import, memory" "$((peak[2] / 1024))" MiB '<=' 256
    goal 'a login during the import is slower by' "$(awk -v a="$during" -v b="$before" 'BEGIN { print (a - b) / 1000 }')" ms '<=' 2

    section 'refresh-keys: afterwards'
    url=$(hub_question)
    TIMEOUT=60 measure 30 /usr/bin/curl -s -o /dev/null -H 'Authorization: Bearer bench-token' "$url" -- "$REFRESH" --source million
    row_of 0 'one request (curl)'
    row_of 1 'refresh-keys, nothing new'
    goal 'an unchanged refresh, more than one request' "$(quotient "${more[1]}" 1000)" ms '<=' 20
    for n in $(seq 15); do
        make_key "bench-$n"
        hub_put "$(key_row "person-00000$(printf '%02d' "$n")" "bench-$n")"
        url=$(hub_question)
        begun=$(date +%s%N)
        ask_hub "$url"
        asked+=($((($(date +%s%N) - begun) / 100000)))
        begun=$(date +%s%N)
        limit "$REFRESH" --source million >"$work/changed"
        took+=($((($(date +%s%N) - begun) / 100000)))
        grep -q 'keys=+1~0-0' "$work/changed" || die "not one key: $(<"$work/changed")"
    done
    local request
    read -r request _ < <(median_of "${asked[@]}")
    read -r middle _ < <(median_of "${took[@]}")
    printf 'one changed key: %s ms (%s ms of them the request), the median of %s\n' "$(quotient "$middle" 10)" "$(quotient "$request" 10)" "${#took[@]}"
    goal 'one changed key, beside the request' "$(quotient "$((middle - request))" 10)" ms '<=' 20
    bench_follow
    bench_written
}

# opens NAME: whether a login with that key works by now.
opens() { KEY=$1 TIMEOUT=5 ssh_as "$2" true 2>/dev/null; }

# From the hub's commit to the end of a login that works.
bench_follow() {
    local n begun took=() pid
    section 'from the commit to a login that works'
    hub_put "{\"target\": {\"name\": \"near\", \"user\": \"alice\", \"driver\": {\"driver\": \"namespace\", \"leader\": {\"pid_file\": \"$SANDBOX_PIDS/lab.pid\"}}}}"
    limit "$REFRESH" --source million >/dev/null
    for n in $(seq 10); do
        begun=$(milliseconds)
        ssh_as alice+lab true
        took+=($(($(milliseconds) - begun)))
    done
    spread 'a login by itself' "${took[@]}"
    detached /run/box/logs/bench-follow.log "$REFRESH" --follow --source million
    pid=$!
    sleep 2
    took=()
    for n in $(seq 10); do
        make_key "near-$n"
        hub_put "{\"key\": {\"target\": \"near\", \"key\": \"$(cut -d ' ' -f 1,2 "$KEYS/near-$n.pub")\"}}"
        begun=$(milliseconds)
        wait_for 20 opens "near-$n" near || die "no login by long poll"
        took+=($(($(milliseconds) - begun)))
    done
    kill "$pid"
    spread 'long poll of the feed' "${took[@]}"
    goal 'from the commit to a login, by long poll' "$(quotient "$middle" 1000)" s '<=' 1
    bench_listen
    # The trigger, as refresh-keys(8) sets it up.
    usermod --shell /bin/sh vestibule-refresh
    make_key hub
    cp "$KEYS/hub.pub" /etc/vestibule/trigger_keys
    cp /usr/share/vestibule/sshd_config.d/20-vestibule-trigger.conf /etc/ssh/box/
    sshd_start
    took=()
    for n in $(seq 10); do
        make_key "told-$n"
        hub_put "{\"key\": {\"target\": \"near\", \"key\": \"$(cut -d ' ' -f 1,2 "$KEYS/told-$n.pub")\"}}"
        begun=$(milliseconds)
        KEY=hub ssh_as vestibule-refresh >/dev/null || die "no trigger"
        opens "told-$n" near || die "no login by the trigger"
        took+=($(($(milliseconds) - begun)))
    done
    spread 'the trigger through sshd' "${took[@]}"
    goal 'from the commit to a login, by the trigger' "$(quotient "$middle" 1000)" s '<=' 1
}

as_postgres() { (cd / && setpriv --reuid postgres --regid postgres --init-groups "$@"); }

# A real PostgreSQL that says which target changed.
bench_listen() {
    local bin data=/run/box/bench-postgres n begun took=() pid
    bin=$(echo /usr/lib/postgresql/*/bin)
    install -d -o postgres -g postgres "$data" /run/postgresql
    as_postgres "$bin/initdb" -D "$data" -A trust >/run/box/logs/bench-initdb.log 2>&1 || die "initdb failed"
    as_postgres "$bin/pg_ctl" -D "$data" -o "-h '' -k /run/postgresql" -l "$data/log" -w start >/dev/null 2>&1 3>&-
    sql() { limit psql -q -v ON_ERROR_STOP=1 -h /run/postgresql -U postgres postgres; }
    sql <<'SQL'
CREATE TABLE project_keys(project text, key text);
CREATE FUNCTION tell() RETURNS trigger LANGUAGE plpgsql AS
  $$ BEGIN PERFORM pg_notify('vestibule', NEW.project); RETURN NULL; END $$;
CREATE TRIGGER tell AFTER INSERT ON project_keys FOR EACH ROW EXECUTE FUNCTION tell();
SQL
    cat >/etc/vestibule/vestibule.toml.d/bench-pg.toml <<'CONF'
[source.postgres]
kind = "postgres"
connect = "host=/run/postgresql dbname=postgres user=postgres"
others = true
listen = "vestibule"
keys = "SELECT project AS target, key FROM project_keys"
CONF
    detached /run/box/logs/bench-listen.log "$REFRESH" --follow --source postgres
    pid=$!
    sleep 2
    for n in $(seq 10); do
        make_key "heard-$n"
        sql <<<"INSERT INTO project_keys VALUES('near', '$(cut -d ' ' -f 1,2 "$KEYS/heard-$n.pub")')"
        begun=$(milliseconds)
        wait_for 20 opens "heard-$n" near || die "no login by LISTEN"
        took+=($(($(milliseconds) - begun)))
    done
    kill "$pid"
    as_postgres "$bin/pg_ctl" -D "$data" -m fast -w stop >/dev/null 2>&1
    rm /etc/vestibule/vestibule.toml.d/bench-pg.toml
    spread 'LISTEN of PostgreSQL' "${took[@]}"
    goal 'from the commit to a login, by LISTEN' "$(quotient "$middle" 1000)" s '<=' 1
}

# Files for containers' own sshd: 10,000 of them.
bench_written() {
    local files=10000 n
    section "write-keys: $files files"
    for n in $(seq "$files"); do echo "/srv/bench/$n"; done | xargs install -d -o 4000 -g 4000
    # A key of its own and two accounts each.
    as_user vestibule-refresh sqlite3 -bail /var/lib/vestibule/store.db <<SQL || die "could not add targets"
BEGIN;
CREATE TEMP TABLE n AS WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < $files) SELECT i FROM n;
INSERT INTO targets(name, driver, login_user, home, policy, source, created, updated)
  SELECT 'written-' || n.i, t.driver, t.login_user, '/srv/bench/' || n.i, '{"pty":true,"own_keys":true,"write_keys":true}', 'local', 0, 0
  FROM n, targets t WHERE t.name = 'studio';
INSERT INTO target_names(name, target_id) SELECT name, id FROM targets WHERE name GLOB 'written-*';
INSERT INTO grants(account_id, target_id, source, created)
  SELECT a.id, t.id, 'local', 0 FROM n JOIN targets t ON t.name = 'written-' || n.i, (VALUES(0), (1)) g
  JOIN accounts a ON a.name = printf('person-%07d', n.i * 2 + g.column1);
COMMIT;
SQL
    limit vestibulectl init >/dev/null
    peak "$WRITE"
    printf 'all written: %s ms, of them %s ms on a processor; %s MiB at most\n' "${peak[0]}" "${peak[1]}" "$((peak[2] / 1024))"
    peak "$WRITE"
    printf 'all looked at, none written: %s ms\n' "${peak[0]}"
    detached /run/box/logs/bench-written.log "$WRITE" --follow --every 86400
    n=$!
    sleep 20
    local home begun took=() i
    home='written-500 /srv/bench/500'
    for i in $(seq 10); do
        make_key "written-$i"
        begun=$(milliseconds)
        limit vestibulectl key add --target "${home% *}" "$KEYS/written-$i.pub" >/dev/null
        wait_for 20 grep -q "$(cut -d ' ' -f 2 "$KEYS/written-$i.pub")" "${home#* }/.ssh/.vestibule/authorized_keys"
        took+=($(($(milliseconds) - begun)))
    done
    kill "$n"
    spread 'from a changed key to its file' "${took[@]}"
    goal 'from a changed key to its file, among 10000' "$(quotient "$middle" 1000)" s '<=' 1
}
