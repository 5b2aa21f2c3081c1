#!/usr/bin/env bats
# Hubs that are slow, cut, huge, wrong or lying: the store keeps what it had, the run says why, and the token goes nowhere.

load ../lib/bastion

REFRESH=/usr/libexec/vestibule/refresh-keys
ASKED=/run/box/logs/asked

setup_file() {
    bastion_install
    bastion_init
    devlog_start
    (umask 077 && echo secret-token-9f >/etc/vestibule/token)
    chown vestibule-refresh /etc/vestibule/token
    mkdir -p /etc/vestibule/vestibule.toml.d
    for port in 8091 8092; do
        detached "$ASKED-$port" "$BOX_REPO/tests/lib/lying-hub.py" $port
        wait_for 5 bash -c "exec 9<>/dev/tcp/127.0.0.1/$port"
    done
}

setup() {
    audit_mark
    for port in 8091 8092; do : >"$ASKED-$port"; done
}
teardown() { show_logs_on_failure; }

# ask HOW: refreshes from a hub that answers so.
ask() {
    cat >/etc/vestibule/vestibule.toml.d/hub.toml <<CONF
[source.hub]
kind = "feed"
url = "http://127.0.0.1:8091/$1"
token_file = "/etc/vestibule/token"
timeout = ${SECONDS_TO_ANSWER:-5}
${MORE-}
CONF
    TIMEOUT=60 limit "$REFRESH" --full "${@:2}"
}

kept() { run_ok vestibulectl account show liar; }
times() { grep -c "^$1 " "$ASKED-8091"; }

@test "a good answer is taken, also behind a redirect on the same host" {
    run_ok ask good
    kept
    run_ok ask here
    is 2 "$(times good)"
}

@test "no answer of a wrong kind changes anything, and each is named" {
    local how why
    while read -r how why; do
        run_rc 1 ask "$how"
        matches "$why" "$stderr"
        matches_not 'secret-token|Please log in' "$stderr"
        kept
    done <<'CASES'
html is .text/html., and not
html-as-feed first line is not that of a feed
no-last-line neither .next. nor .end.
brotli packed, and not by gzip
other-version another version
endless is empty or has more than 1024 bytes
no-such-path no feed at this address
CASES
}

@test "a cut answer is asked for again, three times, and then not believed" {
    run_rc 1 ask cut-body
    matches 'cut|clos|disconnect|EOF' "$stderr"
    is 4 "$(times cut-body)"
    kept
    run_rc 1 ask cut-gzip
    kept
}

@test "a gzip bomb and an answer without end stop at the limit, in little memory" {
    run_rc 1 ask bomb
    matches 'more than 16777216 bytes' "$stderr"
    run_rc 1 ask huge
    matches 'more than 16777216 bytes' "$stderr"
    kept
}

@test "a hub that answers a byte a second, or not at all, is let go" {
    SECONDS_TO_ANSWER=2 run_rc 1 ask drip
    matches 'too long' "$stderr"
    SECONDS_TO_ANSWER=2 run_rc 1 ask silent
    matches 'too long' "$stderr"
    kept
}

@test "a redirect to another host is not followed, and the token does not go there" {
    run_rc 1 ask elsewhere
    matches 'redirect that is not followed' "$stderr"
    is '' "$(<"$ASKED-8092")"
    run_rc 1 ask circle
    matches 'redirect that is not followed' "$stderr"
}

@test "Retry-After is heeded: a moment is waited for, an hour is not" {
    run_ok ask busy-twice
    is 3 "$(times busy-twice)"
    run_rc 1 ask busy-for-an-hour
    matches '503' "$stderr"
    is 1 "$(times busy-for-an-hour)"
}

@test "rows of wrong types and encodings are passed over and reported, and take no other" {
    run_ok ask wrong-types
    is 4 "$(grep -c 'passed over' <<<"$output")"
    kept
    run_ok ask wrong-encoding
    is 1 "$(grep -c 'passed over' <<<"$output")"
    kept
}

@test "rows that want more than rows may have, and second ones, are each reported and take no other" {
    run_ok ask hostile-rows
    is 13 "$(grep -c 'passed over' <<<"$output")"
    local why
    for why in 'said twice' 'etc/passwd' 'root' 'not both' 'cert-authority' 'teleport' 'recursion limit' 'everything'; do
        matches "passed over: .*$why" "$output"
    done
    kept
    run_ok vestibulectl account show last
    run_rc 1 vestibulectl target show tele
    run_ok ask good --accept-shrink
}

@test "a hub that has ever more rows does not fill the disk" {
    MORE='max_rows = 2000' run_rc 1 ask ever-more
    matches "more rows than 'max_rows'" "$stderr"
    (($(times ever-more) <= 9))
    kept
    fails ls /var/lib/vestibule/refresh-hub.stage
}

@test "a proxy of the environment is used for other machines, and never for this one" {
    HTTP_PROXY=http://127.0.0.1:8092 http_proxy=http://127.0.0.1:8092 run_ok ask good
    is '' "$(<"$ASKED-8092")"
    run_ok grep -q authorized "$ASKED-8091"
}

# beyond PROXY_LINE: asks a hub that is another machine by its name.
beyond() {
    grep -q hub.example /etc/hosts || echo '127.0.0.1 hub.example' >>/etc/hosts
    cat >/etc/vestibule/vestibule.toml.d/hub.toml <<CONF
[source.hub]
kind = "feed"
url = "http://hub.example:8091/good"
token_file = "/etc/vestibule/token"
allow_http = true
$1
CONF
    : >"$ASKED-8098"
    limit "$REFRESH" --full
}

@test "a proxy of the configuration goes before that of the environment, and NO_PROXY's hosts are asked without" {
    detached "$ASKED-8098" "$BOX_REPO/tests/lib/forward-proxy.py" 8098
    wait_for 5 bash -c 'exec 9<>/dev/tcp/127.0.0.1/8098'
    HTTP_PROXY=http://127.0.0.1:8098 run_ok beyond ''
    matches '^http://hub.example:8091/good' "$(<"$ASKED-8098")"
    HTTP_PROXY=http://127.0.0.1:8098 NO_PROXY=other.example,.hub.example,hub.example run_ok beyond ''
    is '' "$(<"$ASKED-8098")"
    HTTP_PROXY=http://127.0.0.1:9 run_ok beyond 'proxy = "http://127.0.0.1:8098"'
    matches '^http://hub.example:8091/good' "$(<"$ASKED-8098")"
    run_rc 1 beyond 'proxy = "http://127.0.0.1:9"'
    matches 'refused' "$stderr"
    run_rc 1 beyond 'proxy = "http://me:word@127.0.0.1:8098"'
    matches 'without a user' "$stderr"
    matches_not 'word' "$stderr"
}
