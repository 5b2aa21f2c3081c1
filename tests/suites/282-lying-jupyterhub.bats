#!/usr/bin/env bats
# JupyterHubs that are slow, wrong or lying: the store keeps what it had, the run says why, and the token goes nowhere.

load ../lib/bastion

REFRESH=/usr/libexec/vestibule/refresh-keys
ASKED=/run/box/logs/asked

setup_file() {
    bastion_install
    bastion_init
    devlog_start
    (umask 077 && echo secret-token-4d >/etc/vestibule/token)
    chown vestibule-refresh /etc/vestibule/token
    mkdir -p /etc/vestibule/vestibule.toml.d "$KEYS"
    make_key alice
    for port in 8093 8094; do
        detached "$ASKED-$port" "$BOX_REPO/tests/lib/lying-jupyterhub.py" $port "$(<"$KEYS/alice.pub")"
        wait_for 5 bash -c "exec 9<>/dev/tcp/127.0.0.1/$port"
    done
}

setup() {
    audit_mark
    for port in 8093 8094; do : >"$ASKED-$port"; done
}
teardown() { show_logs_on_failure; }

# hub_is HOW [LINE]...: a hub that answers so.
hub_is() {
    {
        cat <<CONF
[session]
wake_seconds = ${WAKE_SECONDS:-5}
[source.hub]
kind = "jupyterhub"
url = "http://127.0.0.1:8093/$1"
token_file = "/etc/vestibule/token"
timeout = 5
CONF
        printf '%s\n' "${@:2}"
        printf '[site.%s]\nurl = "http://127.0.0.1:8093"\n' hub other
    } >/etc/vestibule/vestibule.toml.d/hub.toml
}
ask() {
    hub_is "$@"
    TIMEOUT=60 limit "$REFRESH" --source hub --accept-shrink
}
kept() { run_ok vestibulectl grant list --account alice; matches alice "$output"; }
times() { grep -c -E "$1" "$ASKED-8093" || true; }

@test "a good answer is taken" {
    run_ok ask good
    kept
    run_ok ask good 'auth_state_keys = "/keys"'
    run_ok vestibulectl key list --account alice
    matches "$(literally "$(fingerprint alice)")" "$output"
}

@test "no answer of a wrong kind changes anything, and each is named" {
    local how why
    while read -r how why; do
        run_rc 1 ask "$how" 'auth_state_keys = "/keys"'
        matches "$why" "$stderr"
        matches_not 'secret|Please log in' "$stderr"
        kept
    done <<'CASES'
html is .text/html., and not
html-as-json no page of users
bare-list before 2.0
bad the answer is 400
forbidden 403: is the token right
broken 500: the fault is on the other side
elsewhere redirect that is not followed
another about another user
circle pages don't follow each other
endless pages don't follow each other
never-still changes faster than it can be read
no-such-path no list of users at this address
CASES
    is '' "$(<"$ASKED-8094")"
    run_rc 1 ask blind
    matches "lacks the scope 'read:servers'" "$stderr"
    kept
}

@test "odd users and doubled ones are reported, and take no other with them" {
    run_ok ask twice
    is 9 "$(grep -c 'passed over' <<<"$output")"
    matches "user 'alice': it was said twice" "$output"
    run_ok vestibulectl target list
    matches 'erik---2e-2e' "$output"
    matches 'erik--a-2fb' "$output"
    run_rc 1 vestibulectl account show dora
}

@test "names as they are make no path of a container, a home or a control group" {
    run_ok ask twice 'escape = "none"' 'server = { home = "/srv/{raw_username}", target = "{username}" }' \
        'named = { container = "c-{servername}" }' 'allow = { homes = ["/srv"] }'
    matches "server '..' of user 'erik': the name '..' can't stand there" "$output"
    matches "server 'a/b' of user 'erik': the name 'a/b' can't stand there" "$output"
    run_ok ask good
}

@test "who calls a server as another's target is called does not get that target, asked for alone or with all" {
    run_ok ask good 'escape = "none"' 'server = { container = "own-{username}", target = "{username}" }'
    # erik has a server "bob", and bob is a target.
    run_ok ask taker 'escape = "none"' 'server = { container = "own-{username}", target = "{username}" }' \
        'named = { container = "c-{servername}", target = "{servername}" }'
    matches "server 'bob' of user 'erik': the target 'bob' is another server's" "$output"
    run_ok "$REFRESH" --source hub --account erik
    matches "server 'bob' of user 'erik': the target 'bob' is another server's" "$output"
    run_ok vestibulectl target show bob --json
    matches own-bob "$output"
    run_ok vestibulectl grant list --account erik
    matches_not 'bob' "$output"
    run_ok ask good
}

@test "when a user goes while the list is read nobody is missed" {
    run_ok ask moves
    run_ok vestibulectl account list
    for name in bob carol dora erik; do matches "$name" "$output"; done
    matches_not alice "$output"
    run_ok ask good
}

@test "what may not be named by root's configuration is not taken" {
    run_ok ask good 'allow = { containers = ["jupyter-a*"] }'
    matches "target 'bob': 'jupyter-bob' is not among the 'allow.containers'" "$output"
    run_ok ask good
}

@test "what was learned of a server elsewhere stays, and nobody gets another's place behind the hub's proxy" {
    local key
    key=$(cut -d ' ' -f 1,2 "$KEYS/alice.pub")
    run_ok ask good 'sshd = { site = "hub" }'
    matches "'hub:/user/alice/sshd/' is not among the 'allow.websockets'" "$output"
    local with=('sshd = { site = "hub" }' 'allow = { websockets = ["hub:/user/*"] }')
    run_ok ask good "${with[@]}"
    run_ok vestibulectl target show alice --json
    is '{"websocket":{"site":"hub","path":"/user/alice/sshd/"}} "learn"' "$(jq -c '.over, .host_keys' <<<"$output" | xargs -d '\n')"
    limit vestibulectl target set alice --driver ssh --site hub --path /user/alice/sshd/ --host-key "$key"
    run_ok ask good "${with[@]}"
    matches 'hub: unchanged' "$output"
    run_ok vestibulectl target show alice --json
    is "[\"$key\"]" "$(jq -c .host_keys.pinned <<<"$output")"
    # Another way there, another server.
    run_ok ask good 'sshd = { site = "other" }' 'allow = { websockets = ["*"] }'
    run_ok vestibulectl target show alice --json
    is '"learn"' "$(jq -c .host_keys <<<"$output")"
    run_ok ask twice "${with[@]}"
    matches "server '..' of user 'erik': the name '..' can't stand there" "$output"
    matches "server 'a/b' of user 'erik': the name 'a/b' can't stand there" "$output"
    run_ok ask good
}

@test "a wake that comes to no good end ends in time, says why, and tells the token to nobody else" {
    local how why
    while read -r how why; do
        WAKE_SECONDS=3 hub_is "$how"
        TIMEOUT=15 run_rc 1 "$REFRESH" --wake alice
        matches "$why" "$stderr"
        matches_not 'secret' "$stderr"
    done <<'CASES'
refuses the hub refuses to start it
failed hub says 'no\\u\{7\} room'
mute the hub could not start it
html-post is .text/html., and not
endless-spawn takes too long|not ready in time
endless-line more than 65536 bytes
good ended before it was ready
elsewhere the answer is 307
CASES
    is '' "$(<"$ASKED-8094")"
    hub_is failed
    run_rc 1 "$REFRESH" --wake alice
    matches "^hub refuses: the hub says 'no.u.7. room'" "$stderr"
    matches_not '^hub: .*room' "$stderr"
    hub_is busy
    run_ok "$REFRESH" --wake alice
    is 3 "$(times '^post /busy/')"
}
