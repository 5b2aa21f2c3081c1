#!/usr/bin/env bats
# refresh-keys and a hub that speaks vestibule-feed(5): examples/reference-hub, over HTTP and HTTPS on the box's own
# loopback.

load ../lib/bastion

REFRESH=/usr/libexec/vestibule/refresh-keys
HUB=$BOX_REPO/examples/reference-hub/reference_hub.py
SOURCES=/etc/vestibule/vestibule.toml.d
STATE=/run/box/hub.db
SECRET=feed-token-7c1e

setup_file() {
    bastion_start
    docker_start
    docker_image vt-busybox
    docker_run lab vt-busybox
    mkdir -p "$SOURCES" /etc/vestibule/secrets
    (umask 077 && echo "$SECRET" >/etc/vestibule/secrets/feed)
    chown vestibule-refresh /etc/vestibule/secrets/feed
    hub_serve 8090
    cat >"$SOURCES/feed.toml" <<'CONF'
[source.hub]
kind = "feed"
url = "http://127.0.0.1:8090/feed"
token_file = "/etc/vestibule/secrets/feed"
CONF
    make_key alice
    make_key bob
    hub put "$(account alice)" "$(target lab)" "$(key alice alice)" "$(grant alice lab)" "$(account bob)" "$(key bob bob)"
}

setup() { audit_mark; }
teardown() { show_logs_on_failure; }

hub() { limit "$HUB" "$1" "$STATE" "${@:2}"; }
hub_serve() { # PORT [OPTION]...
    detached "/run/box/logs/hub-$1.log" "$HUB" serve "$STATE" --listen "127.0.0.1:$1" --token-file /etc/vestibule/secrets/feed "${@:2}"
    wait_for 5 bash -c "exec 9<>/dev/tcp/127.0.0.1/$1"
}
account() { jq -cn --arg name "$1" '{account: {name: $name}}'; }
target() { jq -cn --arg name "$1" '{target: {name: $name, driver: {driver: "docker", container: "lab"}, user: "alice"}}'; }
key() { jq -cn --arg account "$1" --arg key "$(<"$KEYS/$2.pub")" '{key: {account: $account, key: $key}}'; }
grant() { jq -cn --arg account "$1" --arg target "$2" '{grant: {account: $account, target: $target}}'; }
refresh() { limit "$REFRESH" --source hub "$@"; }

@test "a hub's account, key, target and grant become a login" {
    run_ok refresh
    matches 'hub: refreshed' "$output"
    KEY=alice run_ok ssh_as alice+lab whoami
    is alice "$output"
    KEY=bob ssh_refused bob+lab whoami
}

@test "nothing new is said to be unchanged, and only what changed is asked for" {
    run_ok refresh
    matches 'hub: unchanged' "$output"
    hub put "$(grant bob lab)"
    run_ok refresh --json
    is '1 0 0' "$(jq -r '"\(.counts.grants.added) \(.counts.keys.added) \(.counts.accounts.added)"' <<<"$output")"
    KEY=bob run_ok ssh_as bob+lab whoami
}

@test "a key and a grant that are gone at the hub open nothing" {
    make_key spare
    hub put "$(key alice spare)"
    run_ok refresh
    KEY=spare run_ok ssh_as alice+lab true
    hub gone "$(key alice spare)"
    run_ok refresh
    KEY=spare ssh_refused alice+lab true
    KEY=alice run_ok ssh_as alice+lab true
    hub gone "$(grant bob lab)"
    run_ok refresh
    KEY=bob ssh_refused bob+lab true
}

@test "a cursor that the hub forgot is answered by everything" {
    make_key late
    hub put "$(account carol)" "$(key carol late)" "$(grant carol lab)"
    hub forget
    hub put "$(account dave)"
    run_ok refresh
    KEY=late run_ok ssh_as carol+lab true
    hub gone "$(account carol)"
    run_ok refresh
    KEY=late ssh_refused carol+lab true
}

@test "one account is refreshed alone" {
    make_key erin
    hub put "$(account erin)" "$(key erin erin)" "$(grant erin lab)" "$(account frank)"
    run_ok refresh --account erin
    KEY=erin run_ok ssh_as erin+lab true
    run_rc 1 vestibulectl account show frank
    run_ok refresh
    run_ok vestibulectl account show frank
}

@test "12000 rows come in pages, and one bad row takes no other" {
    local n
    for n in $(seq 12000); do printf '{"account":{"name":"many-%s"}}\n' "$n"; done | hub put -
    hub put '{"account": {"name": "not:a:name"}}' '{"target": {"name": "evil", "driver": {"driver": "namespace", "leader": {"pid_file": "/run/sshd.pid"}}, "user": "root"}}' \
        '{"key": {"account": "alice", "key": "ssh-ed25519 AAAAnokey"}}' "$(account last-one)"
    run_ok refresh --json
    # frank of the test before may be among them.
    matches "^1200[1-3] 3$" "$(jq -r '"\(.counts.accounts.added) \(.problems.count)"' <<<"$output")"
    matches_not "$SECRET" "$output$stderr"
    run_ok vestibulectl account show last-one
    run_rc 1 vestibulectl target show evil
    hub gone '{"account": {"name": "not:a:name"}}' '{"target": {"name": "evil"}}' '{"key": {"account": "alice", "key": "ssh-ed25519 AAAAnokey"}}'
}

@test "a hub that lost nearly everything is not believed until somebody says so" {
    local before
    before=$(vestibulectl account list --json | jq length)
    cp "$STATE" /run/box/hub.saved
    limit sqlite3 "$STATE" "UPDATE rows SET gone = 1, seq = seq + 1000000 WHERE account LIKE 'many-%'; UPDATE state SET seq = seq + 2000000"
    run_rc 3 refresh
    matches 'accept-shrink' "$output$stderr"
    is "$before" "$(vestibulectl account list --json | jq length)"
    KEY=alice run_ok ssh_as alice+lab true
    run_ok refresh --accept-shrink
    is "$((before - 12000))" "$(vestibulectl account list --json | jq length)"
}

@test "HTTPS counts by the authority of ca_file, and not without" {
    local dir=/etc/vestibule/tls
    mkdir -p "$dir"
    openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=hub.example -addext basicConstraints=critical,CA:FALSE -addext subjectAltName=DNS:hub.example \
        -keyout "$dir/key" -out "$dir/ca.pem" 2>/dev/null
    echo '127.0.0.1 hub.example' >>/etc/hosts
    hub_serve 8443 --tls-cert "$dir/ca.pem" --tls-key "$dir/key"
    cat >"$SOURCES/tls.toml" <<'CONF'
[source.tls]
kind = "feed"
url = "https://hub.example:8443/feed"
token_file = "/etc/vestibule/secrets/feed"
CONF
    run_rc 1 "$REFRESH" --source tls
    matches 'no trust' "$stderr"
    echo 'ca_file = "/etc/vestibule/tls/ca.pem"' >>"$SOURCES/tls.toml"
    run_ok "$REFRESH" --source tls --dry-run
    rm "$SOURCES/tls.toml"
}

@test "a token that others could read is not used, and it stands in no message, log or argument" {
    chmod 0644 /etc/vestibule/secrets/feed
    run_rc 1 refresh
    matches 'others can read' "$stderr"
    matches_not "$SECRET" "$stderr"
    chmod 0400 /etc/vestibule/secrets/feed
    echo wrong >/run/box/wrong && chmod 0400 /run/box/wrong && chown vestibule-refresh /run/box/wrong
    sed -i 's,^token_file.*,token_file = "/run/box/wrong",' "$SOURCES/feed.toml"
    run_rc 1 refresh
    matches '401: is the token right' "$stderr"
    sed -i 's,^token_file.*,token_file = "/etc/vestibule/secrets/feed",' "$SOURCES/feed.toml"
    run_ok refresh
    fails grep -r "$SECRET" /run/box/logs
}

@test "plain http to another machine is refused, and so is a user in the address" {
    sed -i 's,^url.*,url = "http://192.0.2.1/feed",' "$SOURCES/feed.toml"
    run_rc 1 refresh
    matches 'plain http' "$stderr"
    sed -i 's,^url.*,url = "https://me:word@hub.example/feed",' "$SOURCES/feed.toml"
    run_rc 1 refresh
    matches 'has a user in it' "$stderr"
    sed -i 's,^url.*,url = "http://127.0.0.1:8090/feed",' "$SOURCES/feed.toml"
    run_ok refresh
}

@test "a target that does not run is started by the hub, where the configuration says how" {
    printf '#!/bin/sh\nsleep 1; [ "$1" != never ] && exec docker start lab\n' >/usr/local/bin/start-it
    chmod 755 /usr/local/bin/start-it
    hub_serve 8095 --start /usr/local/bin/start-it
    hub put "$(target lab | jq -c '.target.policy = {wake: "hub"}')" "$(target never | jq -c '.target.policy = {wake: "hub"}')"
    sed -i 's,8090,8095,' "$SOURCES/feed.toml"
    run_ok refresh
    docker stop --time 0 lab
    run_rc 212 ssh_as alice+lab true
    expect_audit "source 'hub': it starts no targets"
    echo 'wake_url = "http://127.0.0.2:8095/wake/{target}"' >>"$SOURCES/feed.toml"
    run_rc 1 "$REFRESH" --wake lab
    matches "wake_url: want .* the host of 'url'" "$stderr"
    sed -i 's,127.0.0.2,127.0.0.1,' "$SOURCES/feed.toml"
    run_ok ssh_as alice+lab hostname
    is lab "$output"
    expect_audit 'event=wake target=lab by=hub result=ready'
    run_rc 1 "$REFRESH" --wake never
    matches 'the hub refuses to start it \(409\)' "$stderr"
    hub gone "$(target never)"
    run_rc 1 "$REFRESH" --wake never
    matches 'the hub has no such target' "$stderr"
    hub put "$(target lab)"
    run_ok refresh
}

now() { date +%s%N; }
opens() { KEY=$1 ssh_as "$2" true 2>/dev/null; }

# a_login: how long one takes by itself, in nanoseconds.
a_login() {
    local begun
    begun=$(now)
    KEY=alice ssh_as alice+lab true
    echo $(($(now) - begun))
}

@test "--follow hears of a change by long poll: a login works at once" {
    detached /run/box/logs/follow.log "$REFRESH" --follow
    local pid=$! begun alone
    make_key grace
    hub put "$(account warm)"
    wait_for 20 vestibulectl account show warm
    alone=$(a_login)
    begun=$(now)
    hub put "$(account grace)" "$(key grace grace)" "$(grant grace lab)"
    wait_for 5 opens grace grace+lab
    echo "# $((($(now) - begun) / 1000000)) ms from the hub's commit to a login" >&3
    # What a busy machine takes for logins is not what is meant.
    (($(now) - begun < 1000000000 + 3 * alone))
    kill -HUP "$pid"
    hub gone "$(account grace)"
    wait_for 20 fails opens grace grace+lab
    kill -TERM "$pid"
    wait_for 5 fails kill -0 "$pid"
}
