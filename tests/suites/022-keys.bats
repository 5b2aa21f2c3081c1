#!/usr/bin/env bats
# Keys: which key opens which login name, from which source, and what takes that away. Everything here ends at sshd's
# own verdict; what a session then does is for other suites.

load ../lib/bastion

LOOKUP=/usr/libexec/vestibule/keys-lookup
MANAGED=/etc/vestibule/authorized_keys.d
HOMES=/srv/homes
OWN=$HOMES/lab/.ssh/authorized_keys

setup_file() {
    bastion_start
    # Nothing runs in it: sshd lets in or not, and route-session then says that it is not running.
    target lab --user root --home "$HOMES/lab"
    target each --user '{account}' --home "$HOMES/lab"
    add_person alice --default-target lab
    add_person bob
    limit vestibulectl grant add alice lab >/dev/null
    limit vestibulectl grant add alice each >/dev/null
    make_key tenant
    make_key stranger
    install -d -m 0700 -o 4242 -g 4242 "$HOMES/lab" "$HOMES/lab/.ssh"
}

target() {
    local name=$1
    shift
    limit vestibulectl target add "$name" --driver namespace --pid-file /run/none.pid "$@" >/dev/null
}

setup() { audit_mark; }

# A test may leave these files; the next one starts without.
teardown() {
    show_logs_on_failure
    rm -f "$OWN" "$MANAGED/lab" "$MANAGED/each"
}

# lets_in KEY LOGIN: sshd takes the key; what ends the session then is ours, and not ssh's 255.
lets_in() {
    KEY=$1 run_any ssh_as "$2" true
    [[ $status != 255 ]] || fail_with "sshd refused" ssh_as "$2"
}

keeps_out() { KEY=$1 ssh_refused "$2" true; }

# What sshd gets for a key and a login name, asked as sshd asks: as vestibule-keys, with nothing in the environment.
line() { as_user vestibule-keys env -i "$LOOKUP" "$2" "$(fingerprint "$1")"; }

key() { cut -d ' ' -f 1,2 "$KEYS/$1.pub"; }

@test "an account's key opens its targets under every name that leads there" {
    local login
    for login in alice+lab alice@lab alice lab alice+each each; do
        run_ok line alice "$login"
        is "restrict,pty $(key alice)" "$output"
        lets_in alice "$login"
        expect_audit "keys-lookup.*result=granted for=sshd login=\"${login//+/\\+}\" .*account=alice source=account"
    done
}

@test "a key opens nothing for who has no grant, under another's name, or if nobody knows it" {
    keeps_out bob bob+lab
    keeps_out bob lab
    keeps_out bob alice+lab
    keeps_out alice bob+lab
    keeps_out stranger lab
    keeps_out stranger alice
    expect_audit 'result=denied for=sshd login="bob\+lab" .*reason=no-grant'
    expect_audit 'result=denied for=sshd login="alice\+lab" .*reason=key-not-listed'
}

@test "the right key is found after wrong ones were offered" {
    SSH_OPTIONS="-i $KEYS/stranger -i $KEYS/bob -i $KEYS/alice" KEY=stranger run_any ssh_as lab true
    is_not 255 "$status"
}

@test "a managed file opens its target alone, and no target whose user is the account" {
    key tenant >"$MANAGED/lab"
    key tenant >"$MANAGED/each"
    lets_in tenant lab
    expect_audit 'result=granted .*target=lab source=managed:1'
    keeps_out tenant each
    expect_audit 'result=denied .*target=each .*reason=account-needed'
    keeps_out tenant alice+lab
}

@test "a target's own file in a home that only its user may read opens that target" {
    printf '# mine\n%s\n' "$(key tenant)" >"$OWN"
    chown 4242:4242 "$OWN" && chmod 0600 "$OWN"
    lets_in tenant lab
    expect_audit 'result=granted .*target=lab source=own:2'
    keeps_out tenant alice
    limit vestibulectl target set lab --no-own-keys >/dev/null
    keeps_out tenant lab
    limit vestibulectl target set lab --own-keys >/dev/null
    lets_in tenant lab
}

@test "a target's key in the store opens it until it is removed" {
    limit vestibulectl key add --target lab "$KEYS/tenant.pub" >/dev/null
    lets_in tenant lab
    expect_audit 'result=granted .*target=lab source=target'
    keeps_out tenant each
    limit vestibulectl key rm --target lab "$(fingerprint tenant)" >/dev/null
    keeps_out tenant lab
}

@test "a revoked key opens nothing, whoever lists it" {
    add_person carol
    limit vestibulectl grant add carol lab >/dev/null
    limit vestibulectl key add --target lab "$KEYS/carol.pub" >/dev/null
    key carol | tee "$MANAGED/lab" >"$OWN"
    lets_in carol lab
    limit vestibulectl key revoke --reason lost "$(fingerprint carol)" >/dev/null
    keeps_out carol lab
    keeps_out carol carol+lab
    expect_audit 'result=denied .*reason=key-revoked'
    limit vestibulectl key rm --account carol "$(fingerprint carol)" >/dev/null
    limit vestibulectl key rm --target lab "$(fingerprint carol)" >/dev/null
    keeps_out carol lab
    limit vestibulectl key unrevoke "$(fingerprint carol)" >/dev/null
    lets_in carol lab
    expect_audit 'result=granted .*source=managed:1'
}

@test "a key of a disabled account opens nothing, whoever else lists it" {
    key alice | tee "$MANAGED/lab" >"$OWN"
    limit vestibulectl account disable alice >/dev/null
    keeps_out alice lab
    keeps_out alice alice+lab
    keeps_out alice alice
    expect_audit 'result=denied .*login="lab" .*reason=owner-disabled'
    expect_audit 'result=denied .*login="alice" .*reason=account-disabled'
    limit vestibulectl account enable alice >/dev/null
    lets_in alice lab
}

@test "a grant and a key end when they say" {
    add_person dave
    limit vestibulectl grant add dave lab --expires "$(date -u -d '+3 seconds' +%Y-%m-%dT%H:%M:%SZ)" >/dev/null
    sleep 4
    keeps_out dave dave+lab
    expect_audit 'result=denied .*login="dave\+lab" .*reason=ended'
    limit vestibulectl grant add dave lab --expires +1d >/dev/null
    lets_in dave dave+lab
    limit vestibulectl grant rm dave lab >/dev/null
    keeps_out dave dave+lab
}

@test "a key that several accounts have is nobody's where the target wants an account" {
    add_person erin
    limit vestibulectl key add --account erin "$KEYS/alice.pub" >/dev/null
    limit vestibulectl grant add erin each >/dev/null
    keeps_out alice each
    expect_audit 'result=denied .*login="each" .*reason=ambiguous-account'
    lets_in alice alice+each
    lets_in alice erin+each
    limit vestibulectl account rm erin >/dev/null
    lets_in alice each
}

@test "a tcp target's line lets ssh -J through to it and nowhere else" {
    limit vestibulectl target add node --driver tcp --address '127.0.0.1:22' --user root >/dev/null
    limit vestibulectl grant add alice node >/dev/null
    run_ok line alice node
    is "restrict,pty,port-forwarding,permitopen=\"127.0.0.1:22\",permitlisten=\"none.invalid:1\" $(key alice)" "$output"
    SSH_OPTIONS='-W 127.0.0.1:22' run_any timeout 5 bash -c 'source "$BOX_REPO/tests/lib/bastion.bash"; sleep 1 | ssh_as alice+node'
    matches '^SSH-2.0-' "$output"
    SSH_OPTIONS='-W 127.0.0.1:2222' run_any ssh_as alice+node
    matches 'stdio forwarding failed' "$stderr"
}

@test "names and fingerprints of any bytes print nothing, end well and are escaped in the log" {
    local name
    for name in '' -x --unheard-of $'\xff\xfe' $'a\nb result=granted' 'lab:22' '../lab' "$(printf 'x%.0s' {1..5000})"; do
        run_ok as_user vestibule-keys "$LOOKUP" "$name" "$(fingerprint alice)"
        is '' "$output$stderr"
    done
    expect_audit 'result=not-ours for=sshd login="\\xff\\xfe"'
    expect_audit 'result=not-ours for=sshd login="a\\nb result=granted"'
    expect_audit 'result=not-ours for=sshd login="x{64}\.\.\."'
    for name in '' SHA256: MD5:16:27 $'SHA256:\xff' "$(fingerprint alice)x"; do
        run_ok as_user vestibule-keys "$LOOKUP" lab "$name"
        is '' "$output$stderr"
    done
    expect_audit 'result=denied .*login="lab" fingerprint="MD5:16:27" reason=fingerprint'
}

@test "no key and no comment of a key is ever logged" {
    lets_in alice lab
    expect_audit 'result=granted'
    run grep -c -e "$(key alice | cut -d ' ' -f 2)" -e laptop "$AUDIT_LOG"
    is 0 "$output"
}

@test "without a store nobody gets in, the log names the mend, and the other command answers for others" {
    mv /var/lib/vestibule/store.db /var/lib/vestibule/store.away
    run_ok line alice lab
    is '' "$output"
    expect_audit "result=denied .*reason=store error=\"the store '/var/lib/vestibule/store.db' does not exist; run 'vestibulectl init'\""
    run_ok as_user vestibule-keys "$LOOKUP" lab "$(fingerprint alice)" --fallback /bin/echo other
    is '' "$output"
    run_ok as_user vestibule-keys "$LOOKUP" root "$(fingerprint alice)" --fallback /bin/echo other
    is other "$output"
    mv /var/lib/vestibule/store.away /var/lib/vestibule/store.db
    run_ok as_user vestibule-keys "$LOOKUP" root "$(fingerprint alice)" --fallback /bin/echo other
    is other "$output"
    lets_in alice lab
}

@test "a configuration that is wrong or somebody else's lets nobody in and is named in the log" {
    local conf=/etc/vestibule/vestibule.toml
    [[ ! -e $conf ]] || mv "$conf" "$conf.away"
    echo 'colour = "blue"' >"$conf"
    run_ok line alice lab
    is '' "$output"
    expect_audit "reason=config error=\".*vestibule.toml:1:1"
    : >"$conf" && chown 4242 "$conf"
    run_ok line alice lab
    is '' "$output"
    expect_audit "reason=config error=\".*vestibule.toml' is not used"
    rm -f "$conf"
    [[ ! -e $conf.away ]] || mv "$conf.away" "$conf"
    lets_in alice lab
}

@test "who says where the store is reads with the caller's rights: a home that is shut stays shut" {
    key tenant >"$OWN"
    chown 4242:4242 "$OWN" && chmod 0600 "$OWN"
    mkdir -p /tmp/mine
    cp /var/lib/vestibule/store.db /tmp/mine/
    : >/tmp/mine/store.db-wal
    chmod 0755 /tmp/mine && chmod 0644 /tmp/mine/*
    run_ok as_user vestibule "$LOOKUP" lab "$(fingerprint tenant)"
    is "restrict,pty $(key tenant)" "$output"
    run_ok as_user vestibule "$LOOKUP" --store /tmp/mine/store.db --debug lab "$(fingerprint tenant)"
    is '' "$output"
    matches 'own: not used: .*[Pp]ermission denied' "$stderr"
}
