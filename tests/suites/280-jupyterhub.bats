#!/usr/bin/env bats
# refresh-keys and a JupyterHub from PyPI, whose servers are Docker's containers by DockerSpawner.
# needs: jupyterhub

load ../lib/bastion

REFRESH=/usr/libexec/vestibule/refresh-keys
SOURCES=/etc/vestibule/vestibule.toml.d
SECRET=vestibule-token-3f9a61c2
API=http://127.0.0.1:8081/hub/api

setup_file() {
    bastion_start
    docker_start
    docker_image vt-busybox
    mkdir -p /etc/vestibule/secrets "$SOURCES" /run/box/hub
    (umask 077 && echo "$SECRET" >/etc/vestibule/secrets/hub && echo blind-token-77aa01 >/etc/vestibule/secrets/blind)
    chown vestibule-refresh /etc/vestibule/secrets/*
    hub_start
    source_is
    for name in alice bob carol; do
        make_key "$name"
        user_add "$name" "$name"
    done
}

setup() { audit_mark; }
teardown() {
    [[ -n ${BATS_TEST_COMPLETED-} ]] || tail -n 30 /run/box/logs/hub.log
    [[ ! -s /run/box/hub/culler ]] || kill "$(</run/box/hub/culler)" 2>/dev/null || true
    show_logs_on_failure
}

hub_start() {
    (
        cd /run/box/hub || exit
        export VESTIBULE_TOKEN=$SECRET BLIND_TOKEN=blind-token-77aa01 TESTER_TOKEN=tester-token-5512ab
        export JUPYTERHUB_CRYPT_KEY=0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef
        detached /run/box/logs/hub.log "${JUPYTERHUB_VENV:?}/bin/python" -m jupyterhub --config "$BOX_REPO/tests/lib/jupyterhub_config.py"
        echo $! >/run/box/hub/pid
    )
    TIMEOUT=60 wait_for 50 api GET /
}

hub_stop() {
    kill "$(</run/box/hub/pid)"
    wait_for 20 fails kill -0 "$(</run/box/hub/pid)"
}

# api METHOD PATH [JSON]: as the hub's administrator.
api() {
    limit curl --silent --show-error --fail-with-body --request "$1" --header 'Authorization: token tester-token-5512ab' \
        ${3:+--data "$3"} "$API$2"
}

# user_add NAME [KEY]: a user of the hub, whose auth_state has a key.
user_add() {
    api POST "/users/$1" >/dev/null
    [[ -z ${2-} ]] || state_is "$1" "$(jq -n --rawfile key "$KEYS/$2.pub" '{ssh: {keys: [$key]}}')"
}
state_is() { api PATCH "/users/$1" "$(jq -n --argjson state "$2" '{auth_state: $state}')" >/dev/null; }

# server METHOD USER [NAME]: starts (POST) or stops (DELETE) a server, and waits until it is so.
server() {
    local path=/users/$2/server
    [[ -z ${3-} ]] || path=/users/$2/servers/$3
    api "$1" "$path"
    if [[ $1 == POST ]]; then wait_for 20 is_ready "$2" "${3-}"; else wait_for 20 is_stopped "$2" "${3-}"; fi
}
is_ready() { [[ $(api GET "/users/$1" | jq --arg server "$2" '.servers[$server].ready') == true ]]; }
is_stopped() { [[ $(api GET "/users/$1" | jq --arg server "$2" '.servers | has($server)') == false ]]; }

# source_is [LINE]...: the source "hub", with further settings.
source_is() {
    {
        cat <<CONF
[source.hub]
kind = "jupyterhub"
url = "$API"
token_file = "/etc/vestibule/secrets/hub"
auth_state_keys = "/ssh/keys"
CONF
        printf '%s\n' 'server = { user = "alice" }' "$@"
    } >"$SOURCES/hub.toml"
}
refresh() { limit "$REFRESH" --source hub "$@"; }
count() { jq -r "\"\(.counts.$1.added) \(.counts.$1.changed) \(.counts.$1.removed)\"" <<<"$output"; }

@test "users are accounts and their servers targets, and what did not change is not written" {
    run_ok refresh --json
    is '3 0 0' "$(count accounts)"
    is '3 0 0' "$(count targets)"
    is '3 0 0' "$(count keys)"
    is '3 0 0' "$(count grants)"
    run_ok refresh
    matches 'hub: unchanged' "$output"
}

@test "ssh alice@bastion lands in the container that the hub spawned for alice, and not in bob's" {
    server POST alice
    run_ok ssh_as alice hostname
    is "$(docker inspect --format '{{.Config.Hostname}}' jupyter-alice)" "$output"
    KEY=alice ssh_refused bob true
    KEY=alice ssh_refused alice+bob true
}

@test "ssh alice+lab@bastion lands in alice's server lab, and bob+lab in bob's" {
    server POST alice lab
    run_ok refresh --json
    is '1 0 0' "$(count targets)"
    run_ok ssh_as alice+lab hostname
    is "$(docker inspect --format '{{.Config.Hostname}}' jupyter-alice--lab)" "$output"
    run_ok ssh_as alice+alice--lab hostname
    KEY=bob ssh_refused bob+lab true
    server POST bob lab
    run_ok refresh
    KEY=bob run_ok ssh_as bob+lab hostname
    is "$(docker inspect --format '{{.Config.Hostname}}' jupyter-bob--lab)" "$output"
    KEY=alice ssh_refused bob+lab true
    # Another target of that name does not come between.
    limit vestibulectl target add lab --driver docker --container jupyter-bob--lab --user alice
    run_ok ssh_as alice+lab hostname
    is "$(docker inspect --format '{{.Config.Hostname}}' jupyter-alice--lab)" "$output"
    limit vestibulectl target rm lab
    KEY=bob ssh_refused bob+alice--lab true
}

@test "a server that is stopped stays a target, and the login says that it does not run" {
    server DELETE alice
    run_ok refresh
    matches 'unchanged' "$output"
    run_any ssh_as alice true
    is_not 0 "$status"
    matches "'alice' .*not running" "$stderr"
}

@test "a key that goes from auth_state opens nothing any more, and one that comes does" {
    make_key spare
    state_is bob "$(jq -n --rawfile key "$KEYS/spare.pub" '{ssh: {keys: $key}}')"
    server POST bob
    run_ok refresh --json
    is '1 0 1' "$(count keys)"
    KEY=bob ssh_refused bob true
    KEY=spare run_ok ssh_as bob true
    state_is bob '{"ssh": {"keys": null}}'
    run_ok refresh --json
    is '0 0 1' "$(count keys)"
    KEY=spare ssh_refused bob true
}

@test "auth_state of another type and odd names are reported, and take no other with them" {
    user_add number && state_is number '{"ssh": {"keys": 7}}'
    user_add never
    user_add options && state_is options "$(jq -n --arg key "environment=\"A=b\" $(<"$KEYS/bob.pub")" '{ssh: {keys: [$key]}}')"
    user_add 'we!rd%20name'
    server POST carol my-lab
    run_ok refresh --json
    is '3 0 0' "$(count accounts)"
    is '4 0 0' "$(count targets)"
    is '0 0 0' "$(count keys)"
    is 3 "$(jq .problems.count <<<"$output")"
    matches "user 'we!rd name': it can't be an account" "$output"
    matches "user 'number': its keys in auth_state are neither text nor a list" "$output"
    matches "key of account 'options': line 1: .*environment" "$output"
    run_ok ssh_as carol+my-lab hostname
    is "$(docker inspect --format '{{.Config.Hostname}}' "$(docker ps --format '{{.Names}}' | grep carol--)")" "$output"
}

@test "two servers whose names are one to DockerSpawner are not both a target" {
    # A hub of today lets nobody call servers so, but those from before are there.
    local name
    for name in x y z; do api PUT "/users/bob/servers/$name" >/dev/null; done
    hub_stop
    limit sqlite3 /run/box/hub/jupyterhub.sqlite "UPDATE spawners SET display_name = '', name = CASE name WHEN 'y' THEN 'X' ELSE '../My Läb' END WHERE name IN ('y', 'z')"
    hub_start
    run_ok refresh --json
    is '2 0 0' "$(count targets)"
    matches "user 'bob': the target 'bob--x' is another server's" "$output"
    run_ok vestibulectl target show bob--x
    run_ok vestibulectl target show bob---2e-2e-2fmy-20l-c3-a4b
    hub_stop
    limit sqlite3 /run/box/hub/jupyterhub.sqlite "DELETE FROM spawners WHERE name IN ('x', 'X', '../My Läb')"
    run_rc 1 refresh
    matches 'Connection refused|no connection' "$stderr"
    hub_start
    run_ok refresh --json
    is '0 0 2' "$(count targets)"
}

@test "one account, or a dry run, does no more than it should" {
    user_add dora bob
    user_add erik
    run_ok refresh --dry-run
    matches 'hub: would-change' "$output"
    run_rc 1 vestibulectl account show dora
    run_ok refresh --account dora
    run_ok vestibulectl account show dora
    run_rc 1 vestibulectl account show erik
    api DELETE /users/dora
    run_ok refresh --account dora --json
    is '0 0 1' "$(count accounts)"
    run_rc 1 vestibulectl account show dora
    run_ok refresh
    run_ok vestibulectl account show erik
}

@test "the hub's admins and members of groups enter what the configuration says, and nobody else" {
    api POST /groups/teachers && api POST /groups/students
    api POST /groups/teachers/users '{"users": ["bob"]}' && api POST /groups/students/users '{"users": ["alice", "erik"]}'
    state_is bob "$(jq -n --rawfile key "$KEYS/bob.pub" '{ssh: {keys: [$key]}}')"
    server POST alice
    run_ok refresh
    KEY=bob ssh_refused bob+alice true
    source_is 'group_grants = { teachers = ["students"] }'
    run_ok refresh
    KEY=bob run_ok ssh_as bob+alice hostname
    KEY=alice ssh_refused alice+bob true
    api PATCH /users/carol '{"admin": true}' >/dev/null
    source_is 'admin_grants = true'
    run_ok refresh
    KEY=carol run_ok ssh_as carol+alice true
    KEY=bob ssh_refused bob+alice true
    source_is
    run_ok refresh
    KEY=carol ssh_refused carol+alice true
}

@test "a token that may not see auth_state takes nobody's keys away" {
    source_is
    sed -i 's,secrets/hub,secrets/blind,' "$SOURCES/hub.toml"
    run_rc 1 refresh
    matches "the token lacks the scope 'admin:auth_state'" "$stderr"
    run_ok ssh_as alice true
    sed -i 's,^auth_state_keys.*,,' "$SOURCES/hub.toml"
    run_ok refresh --dry-run --accept-shrink
    echo no-such-token >/etc/vestibule/secrets/blind
    run_rc 1 refresh
    matches '403: is the token right' "$stderr"
    matches_not "no-such-token" "$stderr"
    source_is
    fails grep -r "$SECRET" /run/box/logs
}

@test "a server that is stopped is started by the hub when its user comes, and the session lands in it" {
    server DELETE alice
    source_is 'server.policy = { wake = "hub" }'
    sed -i 's/^server = .*/server.user = "alice"/' "$SOURCES/hub.toml"
    run_ok refresh
    run_ok ssh_as alice hostname
    is "$(docker inspect --format '{{.Config.Hostname}}' jupyter-alice)" "$output"
    expect_audit 'event=wake target=alice by=hub result=ready'
    api GET /users/alice | jq -e '.servers[""].ready'
    # Without a terminal the events are lines of their own, and say nothing to a terminal.
    matches "vestibule: starting 'alice': pulling \\\\u\{1b\}\[31mthe image \(session [a-z0-9]{10}\)" "$stderr"
    is "$(grep -c 'pulling' <<<"$stderr")" 1
}

@test "on a terminal the events of the spawn are drawn in one line, and gone when the session begins" {
    local plain
    server DELETE alice
    run_ok ssh_on_terminal 24x160 -- alice 'echo in-the-container'
    matches "vestibule: starting 'alice' \([0-9]+ s\): pulling" "$output"
    plain=$(sed -E 's/.*\r([^\r\n])/\1/' <<<"${output//$'\r\n'/$'\n'}" | tr -d '\r')
    is in-the-container "$plain"
}

@test "a spawn that fails is told in the hub's words, escaped, whether at once or later" {
    local name
    for name in quotanow quotalater; do
        user_add "$name" alice
        run_ok refresh
        KEY=alice run_rc 212 ssh_as "$name" true
        is '' "$output"
        matches "vestibule: '$name' could not be started, after [0-9]+ s: the hub says '.*no more GPU\\\\u\{1b\}\[31m hours for you this month'; try again later, .* \(session [a-z0-9]{10}\)" "$stderr"
        matches_not 'not for users|refresh-keys' "$stderr"
        expect_audit "event=wake target=$name by=hub result=failed step=start .*no more GPU"
    done
}

@test "a spawn that never ends is given up, and said so" {
    user_add endless alice
    run_ok refresh
    limit vestibulectl target set endless --wake-within 4
    KEY=alice run_rc 212 ssh_as endless true
    matches "could not be started, after [0-9]+ s: it was not ready in time; try again" "$stderr"
    api DELETE /users/endless/server || true
}

@test "a server is started with the options of its target's policy" {
    server DELETE alice
    docker_remove jupyter-alice
    source_is 'server.policy = { wake = "hub", wake_options = { profile = "gpu" } }'
    sed -i 's/^server = .*/server.user = "alice"/' "$SOURCES/hub.toml"
    run_ok refresh
    run_ok ssh_as alice 'echo $PROFILE'
    is gpu "$output"
    source_is 'server.policy = { wake = "hub" }'
    sed -i 's/^server = .*/server.user = "alice"/' "$SOURCES/hub.toml"
    run_ok refresh
}

@test "one that is stopping is waited for, one that never ran is started too, and so is one with a name" {
    api DELETE /users/alice/server
    run_ok ssh_as alice hostname
    KEY=carol run_ok ssh_as carol hostname
    is "$(docker inspect --format '{{.Config.Hostname}}' jupyter-carol)" "$output"
    server DELETE carol my-lab
    KEY=carol run_ok ssh_as carol+my-lab true
}

@test "who may not enter a target does not start it" {
    server DELETE alice
    KEY=bob ssh_refused bob+alice true
    sleep 1
    is_stopped alice ''
}

@test "refresh-keys --wake tells what the hub tells, and names what is wrong" {
    run_ok "$REFRESH" --wake alice
    matches 'hub: pulling \\u\{1b\}\[31mthe image' "$stderr"
    matches 'hub: Server ready at /user/alice/' "$stderr"
    run_ok "$REFRESH" --wake alice
    user_add broken
    run_ok refresh
    run_rc 1 "$REFRESH" --wake broken
    matches "wake: target .broken.: the hub says '.*no such image" "$stderr"
    run_rc 1 "$REFRESH" --wake no-such
    matches 'there is none of that name' "$stderr"
    run_rc 1 "$REFRESH" --wake '../x'
    matches_not "$SECRET" "$stderr"
    limit vestibulectl target add mine --driver docker --container mine --user alice --wake hub
    run_rc 1 "$REFRESH" --wake mine
    matches 'the hub has no such server' "$stderr"
    limit vestibulectl target rm mine
}

@test "a hub that is away, or lets nobody start servers, is a refusal with a reason, and nothing of the token" {
    server DELETE alice
    sed -i 's,secrets/hub,secrets/blind,' "$SOURCES/hub.toml"
    echo blind-token-77aa01 >/etc/vestibule/secrets/blind
    run_rc 212 ssh_as alice true
    expect_audit "event=wake target=alice by=hub result=failed step=start .*\[start:servers\]' \(403\)"
    sed -i 's,secrets/blind,secrets/hub,; s,:8081,:8082,' "$SOURCES/hub.toml"
    TIMEOUT=40 run_rc 212 ssh_as alice true
    expect_audit "event=wake target=alice by=hub result=failed step=start .*[Cc]onnection refused"
    source_is
}

# follow_start, follow_stop: the service.
follow_start() {
    detached /run/box/logs/follow "$REFRESH" --source hub --follow
    echo $! >/run/box/hub/follow
}
follow_stop() {
    kill "$(</run/box/hub/follow)"
    wait_for 10 fails kill -0 "$(</run/box/hub/follow)"
}
cull_after() {
    JUPYTERHUB_API_TOKEN=culler-token-1188ff detached /run/box/logs/culler "$JUPYTERHUB_VENV/bin/python" -m jupyterhub_idle_culler \
        --url="$API" --timeout="$1" --cull-every=2
    echo $! >/run/box/hub/culler
}
last_activity() { api GET /users/alice | jq -r '.servers[""].last_activity'; }

@test "the idle culler sees who works over SSH, and not a terminal that is left open" {
    source_is 'activity_every = 1'
    run_ok refresh
    for name in alice bob; do server DELETE "$name" || true; server POST "$name"; done
    # Alice runs a command, without a terminal; Bob has a terminal open, and nothing happens there.
    # shellcheck disable=SC2046  # options are words
    detached "$BATS_TEST_TMPDIR/alice" ssh $(ssh_options alice) -l alice bastion 'sleep 60'
    local works=$!
    # shellcheck disable=SC2046  # options are words
    detached "$BATS_TEST_TMPDIR/bob" ssh -tt $(ssh_options bob) -l bob bastion 'sleep 60'
    follow_start
    local before
    before=$(last_activity)
    wait_for 15 eval '[[ $(last_activity) > $before ]]'
    cull_after 10
    wait_for 40 is_stopped bob ''
    is_ready alice ''
    sleep 8
    is_ready alice ''
    # A terminal on which something is written is used.
    kill "$works"
    # shellcheck disable=SC2046  # options are words
    detached "$BATS_TEST_TMPDIR/alice" ssh -tt $(ssh_options alice) -l alice bastion 'while sleep 1; do date; done'
    works=$!
    sleep 16
    is_ready alice ''
    kill "$works"
    wait_for 40 is_stopped alice ''
    follow_stop
    # shellcheck disable=SC2012  # names of our own
    is 'target terminal' "$(ls /run/vestibule/used | cut -d - -f 1 | sort -u | xargs)"
}

@test "where sessions count a terminal that is open keeps a server, and where nothing counts none does" {
    local before
    source_is 'activity_every = 1' 'activity = "sessions"'
    server POST alice
    follow_start
    # shellcheck disable=SC2046  # options are words
    detached "$BATS_TEST_TMPDIR/alice" ssh -tt $(ssh_options alice) -l alice bastion 'sleep 60'
    local open=$!
    sleep 10
    before=$(last_activity)
    wait_for 15 eval '[[ $(last_activity) > $before ]]'
    follow_stop
    source_is 'activity = "off"'
    follow_start
    sleep 2
    before=$(last_activity)
    sleep 5
    is "$before" "$(last_activity)"
    follow_stop
    kill "$open"
}

@test "a hub that may not be told, or is away, is told of once in the log, and sessions go on" {
    source_is 'activity_every = 1'
    echo blind-token-77aa01 >/etc/vestibule/secrets/blind
    sed -i 's,secrets/hub,secrets/blind,; s,^auth_state_keys.*,,' "$SOURCES/hub.toml"
    follow_start
    # shellcheck disable=SC2046  # options are words
    detached "$BATS_TEST_TMPDIR/alice" ssh $(ssh_options alice) -l alice bastion 'sleep 60'
    local works=$!
    expect_audit "source=hub: no activity told: .*users:activity.*403"
    sleep 8
    is 1 "$(audit_since | grep -c 'no activity told')"
    run_ok ssh_as alice true
    follow_stop
    source_is
    run_ok refresh --accept-shrink
    kill "$works"
}

@test "what can't be meant is a fault of the configuration" {
    source_is 'others = true'
    run_rc 1 refresh
    matches 'others: a source of this kind' "$stderr"
    source_is 'named = { container = "jupyter-{user}" }'
    run_rc 1 refresh
    matches "there is no '\{user\}'" "$stderr"
    source_is
}

@test "400 users come page by page" {
    run_ok refresh
    seq 400 | jq -R . | jq -cs '{usernames: map("many" + .)}' >/run/box/many
    api POST /users @/run/box/many >/dev/null
    sed -i 's,^auth_state_keys.*,,' "$SOURCES/hub.toml"
    TIMEOUT=60 run_ok refresh --accept-shrink --json
    is '400 0 0' "$(count accounts)"
    is '400 0 0' "$(count targets)"
    source_is
}
