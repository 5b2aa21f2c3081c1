#!/usr/bin/env bats
# A JupyterHub's tokens at sshd's prompt: a JupyterHub from PyPI, sshd with PAM, and servers in Docker's containers.
# needs: jupyterhub

load ../lib/bastion

CONF=/etc/vestibule/vestibule.toml.d/hub.toml
API=http://127.0.0.1:8081/hub/api
TOKENS=/run/vestibule/tokens
CHECK=/usr/libexec/vestibule/check-token

setup_file() {
    bastion_start
    docker_start
    docker_image vt-busybox
    mkdir -p /etc/vestibule/secrets /run/box/hub
    (umask 077 && echo vestibule-token-3f9a61c2 >/etc/vestibule/secrets/hub)
    chown vestibule-refresh /etc/vestibule/secrets/hub
    printf '#!/bin/sh\ncat /run/box/typed\n' >/run/box/askpass
    chmod 755 /run/box/askpass
    cp /etc/pam.d/sshd /run/box/pam-sshd
    hub_start
    local name
    for name in alice bob; do
        make_key "$name"
        api POST "/users/$name" >/dev/null
        api PATCH "/users/$name" "$(jq -n --rawfile key "$KEYS/$name.pub" '{auth_state: {ssh: {keys: [$key]}}}')" >/dev/null
    done
    api POST /users/alice/server
    wait_for 30 is_ready alice
    source_is 'tokens = true'
    limit /usr/libexec/vestibule/refresh-keys
    tokens_on
}

setup() {
    audit_mark
    rm -rf "${TOKENS:?}"/limits "$TOKENS"/cache
}
teardown() {
    [[ -n ${BATS_TEST_COMPLETED-} ]] || tail -n 20 /run/box/logs/hub.log
    show_logs_on_failure
}

hub_start() {
    (
        cd /run/box/hub || exit
        export VESTIBULE_TOKEN=vestibule-token-3f9a61c2 BLIND_TOKEN=blind-token-77aa01 TESTER_TOKEN=tester-token-5512ab
        export JUPYTERHUB_CRYPT_KEY=0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef
        detached /run/box/logs/hub.log "${JUPYTERHUB_VENV:?}/bin/python" -m jupyterhub --config "$BOX_REPO/tests/lib/jupyterhub_config.py"
        echo $! >/run/box/hub/pid
    )
    TIMEOUT=60 wait_for 50 api GET /
}

# api METHOD PATH [JSON]: as the hub's administrator.
api() {
    limit curl --silent --show-error --fail-with-body --request "$1" --header 'Authorization: token tester-token-5512ab' \
        ${3:+--data "$3"} "$API$2"
}
is_ready() { [[ $(api GET "/users/$1" | jq '.servers[""].ready') == true ]]; }

# token_of USER [JSON]: a new token of the user's.
token_of() { api POST "/users/$1/tokens" "${2-}" | jq -r .token; }

source_is() {
    printf '%s\n' '[source.hub]' 'kind = "jupyterhub"' "url = \"${URL:-$API}\"" \
        'token_file = "/etc/vestibule/secrets/hub"' 'auth_state_keys = "/ssh/keys"' 'server = { user = "alice" }' "$@" >"$CONF"
}

# tokens_on: what check-token(8) says an administrator does.
tokens_on() {
    { sed -n 's/^#\t\(auth .*\)/\1/p' /usr/share/vestibule/sshd_config.d/06-vestibule-key-and-token.conf && cat /run/box/pam-sshd; } >/etc/pam.d/sshd
    cp /usr/share/vestibule/sshd_config.d/06-vestibule-key-and-token.conf /etc/ssh/box/
    # Where doctor looks.
    cp /usr/share/vestibule/sshd_config.d/{06-vestibule-key-and-token,10-vestibule}.conf /etc/ssh/sshd_config.d/
    sshd_start
}

# with_token TOKEN LOGIN [CMD...]: a session, with that typed at the prompt; ssh_as's key.
with_token() {
    printf '%s\n' "$1" >/run/box/typed
    shift
    SSH_ASKPASS=/run/box/askpass SSH_ASKPASS_REQUIRE=force \
        SSH_OPTIONS="-o BatchMode=no -o NumberOfPasswordPrompts=1 ${SSH_OPTIONS-}" ssh_as "$@"
}
refused() {
    run_rc 255 with_token "$@"
    matches 'Permission denied \(' "$stderr"
}

@test "ssh alice@bastion with her key and a token of hers lands in her server" {
    local token
    token=$(token_of alice)
    run_ok with_token "$token" alice hostname
    is "$(docker inspect --format '{{.Config.Hostname}}' jupyter-alice)" "$output"
    expect_audit "check-token.*result=granted login=\"alice\" account=alice target=alice hub=hub by=hub"
    # What goes by a session's own way is as without a token.
    run_ok with_token "$token" alice 'cat; exit 0' <<<text
    is text "$output"
    expect_audit "result=granted .* by=cache"
}

@test "a key without a token, and a token without a key, let nobody in" {
    ssh_refused alice true
    SSH_OPTIONS='-o PubkeyAuthentication=no' refused "$(token_of alice)" alice true
    expect_no_audit 'route-session'
}

@test "somebody else's token lets nobody in, whoever may do what" {
    refused "$(token_of bob)" alice true
    expect_audit 'check-token.*result=refused reason=owner login="alice"'
    api PATCH /users/bob '{"admin": true}' >/dev/null
    refused "$(token_of bob)" alice true
    api PATCH /users/bob '{"admin": false}' >/dev/null
    # A service's.
    refused vestibule-token-3f9a61c2 alice true
    expect_no_audit 'token of|bob'
}

@test "a token without access to the server is refused, and one with access to it alone is not" {
    local scope
    for scope in access:servers!server=alice/other read:users:name!user=alice; do
        refused "$(token_of alice "{\"scopes\": [\"$scope\"]}")" alice true
        expect_audit 'result=refused reason=scope'
    done
    for scope in access:servers!server=alice/ access:servers!user=alice; do
        run_ok with_token "$(token_of alice "{\"scopes\": [\"$scope\"]}")" alice true
    done
}

@test "a token that has ended or was revoked lets nobody in, at once if it was not used just now" {
    local made token
    made=$(api POST /users/alice/tokens '{"expires_in": 1}')
    sleep 2
    refused "$(jq -r .token <<<"$made")" alice true
    expect_audit 'result=refused reason=token'
    made=$(api POST /users/alice/tokens)
    token=$(jq -r .token <<<"$made")
    run_ok with_token "$token" alice true
    api DELETE "/users/alice/tokens/$(jq -r .id <<<"$made")"
    # For a minute it is remembered.
    run_ok with_token "$token" alice true
    # Which is over sooner here.
    find "$TOKENS/cache" -type f -exec sh -c 'for f; do head -c 8 /dev/zero >"$f"; done' sh {} +
    refused "$token" alice true
}

@test "guessing is counted, and after ten guesses the hub is not asked any more" {
    local n good
    good=$(token_of alice)
    run_ok with_token "$good" alice true
    for n in {1..10}; do refused "guess-$n" alice true; done
    audit_mark
    refused guess-11 alice true
    expect_audit 'result=refused reason=limit .*too many for this account'
    # One that was taken within the minute is, and another account's are.
    run_ok with_token "$good" alice true
    refused guess bob true
    expect_audit 'result=refused reason=token login="bob"'
}

@test "a login that names no account takes no token, and neither does a target that is no server" {
    limit vestibulectl target add plain --driver docker --container jupyter-alice --user alice
    limit vestibulectl grant add alice plain
    KEY=alice refused "$(token_of alice)" plain true
    expect_audit 'result=refused reason=no-account'
    refused "$(token_of alice)" alice+plain true
    expect_audit 'result=refused reason=no-server'
    limit vestibulectl target set plain --hub-server alice/
    run_ok with_token "$(token_of alice)" alice+plain true
    limit vestibulectl target rm plain
}

@test "what was typed stands in no log, and the hub never learns of the host's passwords" {
    local token
    token=$(token_of alice)
    run_ok with_token "$token" alice true
    refused never-to-be-seen-77 alice true
    fails grep -r -F -e "$token" -e never-to-be-seen-77 /run/box/logs /run/vestibule
    audit_mark
    useradd --create-home carol
    chpasswd <<<carol:carols-own-word
    SSH_OPTIONS='-o PubkeyAuthentication=no' run_ok with_token carols-own-word carol id -un
    is carol "$output"
    SSH_OPTIONS='-o PubkeyAuthentication=no' refused no-such-word carol true
    SSH_OPTIONS='-o PubkeyAuthentication=no' refused whatever nobody-of-that-name true
    expect_no_audit 'check-token'
}

@test "a hub that is down, slow, wrong or elsewhere lets nobody in, and the log says why" {
    local token how
    token=$(token_of alice)
    detached /run/box/logs/lying "$BOX_REPO/tests/lib/lying-jupyterhub.py" 8093
    wait_for 5 bash -c 'exec 9<>/dev/tcp/127.0.0.1/8093'
    while read -r how why; do
        audit_mark
        URL=http://127.0.0.1:8093/$how source_is 'tokens = true'
        TIMEOUT=30 refused "$token" alice true
        expect_audit "result=refused reason=$why"
    done <<'CASES'
me-html hub .*no JSON
me-500 hub .*500
me-429 hub .*429
me-403 token
me-404 hub .*404
me-redirect hub .*redirect
me-slow hub .*takes too long
me-big hub .*more than
me-cut hub .*cut
me-odd hub .*not what a hub says
CASES
    is 10 "$(grep -c '^get /me-.*authorized' /run/box/logs/lying)"
    URL=http://127.0.0.1:8099/hub/api source_is 'tokens = true'
    refused "$token" alice true
    expect_audit 'reason=hub .*[Rr]efused'
    source_is
    refused "$token" alice true
    expect_audit 'reason=off'
    source_is 'tokens = true'
    run_ok with_token "$token" alice true
}

@test "check-token does nothing for who is not sshd, and reads nothing as root" {
    run_rc 1 as_user nobody "$CHECK"
    matches 'as root' "$stderr"
    run_rc 2 "$CHECK" --help
    PAM_TYPE=account PAM_USER=alice run_rc 1 "$CHECK" </dev/null
    # It waits for its input as the user of its own.
    mkfifo /run/box/never
    PAM_TYPE=auth PAM_USER=alice detached /run/box/logs/waiting sh -c "exec $CHECK </run/box/never"
    local pid=$!
    exec 8>/run/box/never
    local uid
    uid=$(id -u vestibule-tokens)
    wait_for 5 grep -q -P "^Uid:\t$uid\t$uid\t$uid\t$uid$" "/proc/$pid/status"
    matches 'CapEff:.0000000000000000' "$(</proc/$pid/status)"
    matches 'NoNewPrivs:.1' "$(</proc/$pid/status)"
    # And does not wait for ever.
    wait_for 25 fails kill -0 "$pid"
    exec 8>&-
    is "750 vestibule-tokens:vestibule" "$(stat -c '%a %U:%G' "$TOKENS")"
    fails as_user vestibule cat "$TOKENS/key"
    fails as_user vestibule ls "$TOKENS/cache"
}

@test "doctor says where the configuration, PAM and sshd do not fit together" {
    doctor() { run_any vestibulectl doctor "$@"; }
    doctor
    matches_not 'token|authenticationmethods' "$output"
    cp /run/box/pam-sshd /etc/pam.d/sshd
    doctor
    matches "'/etc/pam.d/sshd': it does not ask check-token" "$output"
    { cat /run/box/pam-sshd && sed -n 's/^#\t\(auth .*\)/\1/p' /etc/ssh/box/06-vestibule-key-and-token.conf; } >/etc/pam.d/sshd
    doctor
    matches "rule 1 for 'auth' is '@include common-auth'" "$output"
    source_is
    tokens_on
    doctor
    matches "authenticationmethods publickey,password'.*must be 'publickey'" "$output"
    source_is 'tokens = true'
}

@test "without the rules of PAM, or with the module gone, the prompt lets nobody in" {
    local token
    token=$(token_of alice)
    cp /run/box/pam-sshd /etc/pam.d/sshd
    refused "$token" alice true
    tokens_on
    mv "$CHECK" "$CHECK.away"
    refused "$token" alice true
    mv "$CHECK.away" "$CHECK"
    run_ok with_token "$token" alice true
}
