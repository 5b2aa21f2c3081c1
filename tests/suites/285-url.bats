#!/usr/bin/env bats
# refresh-keys and a host that has a file of keys for each account, as GitHub and GitLab do: https://host/NAME.keys.

load ../lib/bastion

REFRESH=/usr/libexec/vestibule/refresh-keys
SOURCES=/etc/vestibule/vestibule.toml.d
FILES=/run/box/files
ASKED=/run/box/logs/asked

setup_file() {
    bastion_start
    sandbox_start lab
    vestibulectl target add lab --driver namespace --pid-file "$SANDBOX_PIDS/lab.pid" --user alice
    mkdir -p "$SOURCES" "$FILES" /srv/people/accounts
    for name in alice bob carol; do
        make_key "$name"
        vestibulectl account add "$name"
        vestibulectl grant add "$name" lab
        cp "$KEYS/$name.pub" "$FILES/$name.keys"
    done
    detached "$ASKED" "$BOX_REPO/tests/lib/key-host.py" 8096 "$FILES"
    wait_for 5 bash -c 'exec 9<>/dev/tcp/127.0.0.1/8096'
    source_is
}

setup() {
    audit_mark
    : >"$ASKED"
    rm -f "$FILES"/*.how
}
teardown() { show_logs_on_failure; }

# source_is [LINE]...: the source "github" for these accounts, with further settings.
source_is() {
    {
        printf '%s\n' '[source.github]' 'kind = "url"' 'url = "http://127.0.0.1:8096/{account}.keys"'
        (($#)) || echo 'accounts = ["alice", "bob", "carol"]'
        printf '%s\n' "$@"
    } >"$SOURCES/github.toml"
}
refresh() { TIMEOUT=60 limit "$REFRESH" --source github "$@"; }
count() { jq -r "\"\(.counts.$1.added) \(.counts.$1.changed) \(.counts.$1.removed)\"" <<<"$output"; }
asked() { grep -c -E "$1" "$ASKED" || true; }

@test "keys that a host has for an account open what the account is granted" {
    run_ok refresh --json
    is '3 0 0' "$(count keys)"
    is '0 0 0' "$(count accounts)"
    KEY=alice run_ok ssh_as alice+lab whoami
    is alice "$output"
}

@test "what is as it was is not sent again, and nothing is written" {
    run_ok refresh
    matches 'github: unchanged' "$output"
    is 3 "$(asked ' 304 ')"
    is 0 "$(asked ' 200 ')"
}

@test "a key that goes there goes here, one that comes opens, and no other account's file is sent" {
    make_key spare
    cp "$KEYS/spare.pub" "$FILES/bob.keys"
    run_ok refresh --json
    is '1 0 1' "$(count keys)"
    is '2 1' "$(asked ' 304 ') $(asked ' 200 ')"
    KEY=bob ssh_refused bob+lab true
    KEY=spare run_ok ssh_as bob+lab true
}

@test "an account without a file there has no keys, and the last one's removal is carried out" {
    rm "$FILES/bob.keys"
    run_ok refresh --json
    is '0 0 1' "$(count keys)"
    KEY=spare ssh_refused bob+lab true
    run_ok refresh
    matches 'unchanged' "$output"
    cp "$KEYS/bob.pub" "$FILES/bob.keys"
    run_ok refresh
    KEY=bob run_ok ssh_as bob+lab true
}

@test "a host that has suddenly nobody's keys is not believed" {
    mkdir /run/box/away && mv "$FILES"/*.keys /run/box/away
    run_rc 3 refresh
    matches 'accept-shrink' "$stderr"
    KEY=alice run_ok ssh_as alice+lab true
    mv /run/box/away/*.keys "$FILES"
    run_ok refresh
}

@test "where the store has other keys than were sent the file is asked for anew" {
    limit vestibulectl key rm "$(fingerprint alice)" --account alice
    KEY=alice ssh_refused alice+lab true
    run_ok refresh --json
    is '1 0 0' "$(count keys)"
    KEY=alice run_ok ssh_as alice+lab true
    # An ETag that does not change with the file, and one account that was refreshed alone meanwhile.
    echo stuck >"$FILES/carol.how"
    run_ok refresh
    make_key carol2
    cp "$KEYS/carol2.pub" "$FILES/carol.keys"
    run_ok refresh --account carol --full
    KEY=carol2 run_ok ssh_as carol+lab true
    run_ok refresh
    KEY=carol2 run_ok ssh_as carol+lab true
    KEY=carol ssh_refused carol+lab true
    cp "$KEYS/carol.pub" "$FILES/carol.keys"
    run_ok refresh --full
}

@test "options and what is no key are reported each time, and take no other with them" {
    make_key extra
    {
        echo "command=\"id\" $(<"$KEYS/bob.pub")"
        echo 'ssh-ed25519 AAAAnokey'
        printf 'a\xff\xfe\0b\n'
        printf '%s caf\xc3\xa9\xff\n' "$(cut -d ' ' -f 1,2 "$KEYS/extra.pub")"
        cat "$KEYS/alice.pub" "$KEYS/alice.pub"
    } >"$FILES/alice.keys"
    run_ok refresh --json
    is '1 0 0' "$(count keys)"
    is 3 "$(jq .problems.count <<<"$output")"
    matches 'line 1: it has options' "$output"
    run_ok refresh --json
    is '0 0 0' "$(count keys)"
    is 3 "$(jq .problems.count <<<"$output")"
    KEY=bob ssh_refused alice+lab true
    KEY=extra run_ok ssh_as alice+lab true
    head -c 300000 /dev/zero | tr '\0' '#' >"$FILES/alice.keys"
    run_ok refresh --json --accept-shrink
    is '0 0 2' "$(count keys)"
    matches "keys of account 'alice': the answer has more than 262144 bytes" "$output"
    cp "$KEYS/alice.pub" "$FILES/alice.keys"
    run_ok refresh
}

@test "an answer that is about the host, not about the account, changes nothing and says so" {
    local how why
    while read -r how why; do
        echo "${how//-/ }" >"$FILES/bob.how"
        run_rc 1 refresh
        matches "github: failed: account 'bob': .*$why" "$stderr"
        KEY=bob run_ok ssh_as bob+lab true
    done <<'CASES'
html text/html., and not
elsewhere redirect that is not followed
status-403 403: is the token right
status-429 429: too many
status-503 503: the fault is on the other side
CASES
    echo 'status 451' >"$FILES/bob.how"
    run_ok refresh --json --accept-shrink
    matches "keys of account 'bob': the answer is 451" "$output"
    is '0 0 1' "$(count keys)"
    rm "$FILES/bob.how"
    run_ok refresh
    KEY=bob run_ok ssh_as bob+lab true
}

@test "Retry-After is heeded" {
    echo 'twice 429' >"$FILES/alice.how"
    cp "$KEYS/alice.pub" "$FILES/late.keys" && echo 'twice 429' >"$FILES/late.how"
    vestibulectl account add late
    source_is 'accounts = ["late"]'
    run_ok refresh --json --accept-shrink
    is 3 "$(asked late)"
    (($(jq .milliseconds <<<"$output") >= 2000))
    source_is
    rm "$FILES/late.keys"
    run_ok refresh --accept-shrink
}

@test "accounts of another source are asked about too, by their names there, a few at a time" {
    local n
    for n in $(seq 150); do echo 'disabled = false' >"/srv/people/accounts/p$n.toml"; done
    touch '/srv/people/accounts/a@example.org.toml'
    printf '%s\n' '[source.people]' 'kind = "directory"' 'path = "/srv/people"' >"$SOURCES/people.toml"
    run_ok "$REFRESH" --source people
    cp "$KEYS/alice.pub" "$FILES/octocat.keys"
    source_is 'accounts_of = ["people", "local"]' 'names = { p7 = "octocat" }' 'parallel = 3'
    run_ok refresh --json
    is '1 0 0' "$(count keys)"
    run_ok vestibulectl key list --account p7 --json
    is "$(fingerprint alice)" "$(jq -r '.[0].fingerprint' <<<"$output")"
    is 1 "$(asked '^/octocat.keys 200')"
    is 1 "$(asked '^/a%40example.org.keys 404')"
    is 0 "$(asked 'p7\.keys')"
    is 3 "$(cut -d ' ' -f 3 "$ASKED" | sort -n | tail -n 1)"
    # Who is gone from the other source is not asked about any more.
    rm /srv/people/accounts/p7.toml
    run_ok "$REFRESH" --source people
    run_ok refresh
    is 1 "$(asked octocat)"
    source_is
}

@test "what can't be meant is a fault of the configuration" {
    local line
    for line in 'accounts = []' 'accounts = ["../x"]' 'names = { alice = ".." }' 'parallel = 33' 'acounts = ["alice"]'; do
        source_is "$line"
        run_rc 1 refresh
        matches 'source.github' "$stderr"
    done
    source_is
    sed -i 's,^url.*,url = "http://{account}.example/keys",' "$SOURCES/github.toml"
    run_rc 1 refresh
    matches "want '\{account\}' in its path" "$stderr"
    source_is
}
