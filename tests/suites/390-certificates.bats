#!/usr/bin/env bats
# OpenSSH certificates: an authority signs for a principal, root's configuration says what the principal means, and what
# the account may enter is decided as for its keys. Attacks among them.

load ../lib/bastion

LOOKUP=/usr/libexec/vestibule/keys-lookup
CA=/etc/vestibule/user-ca.pub
CONFIG=/etc/vestibule/vestibule.toml.d/certificates.toml

setup_file() {
    bastion_start
    make_key staff_ca
    make_key robots_ca
    make_key admins_ca
    make_key stranger_ca
    # The administrators' authority is trusted by this sshd too, and means nothing to vestibule.
    cat "$KEYS/staff_ca.pub" "$KEYS/robots_ca.pub" "$KEYS/admins_ca.pub" >"$CA"
    configure
    cp /usr/share/vestibule/sshd_config.d/06-vestibule-certificates.conf /etc/ssh/box/
    sshd_start
    sandbox_start lab
    limit vestibulectl target add lab --driver namespace --pid-file "$SANDBOX_PIDS/lab.pid" --user alice >/dev/null
    limit vestibulectl target add each --driver namespace --pid-file "$SANDBOX_PIDS/lab.pid" --user '{account}' >/dev/null
    # Accounts without a key in the store.
    local account
    for account in alice bob carol; do limit vestibulectl account add "$account" >/dev/null; done
    limit vestibulectl grant add alice lab >/dev/null
    limit vestibulectl grant add alice each >/dev/null
    limit vestibulectl grant add bob each >/dev/null
}

configure() {
    cat >"$CONFIG" <<TOML
[authority.staff]
key = "$(cut -d ' ' -f 1,2 "$KEYS/staff_ca.pub")"
accounts = ["{account}", "user:{account}"]

[authority.robots]
key = "$(cut -d ' ' -f 1,2 "$KEYS/robots_ca.pub")"
accounts = []
targets = ["target:{target}"]
TOML
}

setup() { audit_mark; }
teardown() { show_logs_on_failure; }

# certified NAME CA PRINCIPALS [ssh-keygen options]: a new key $KEYS/NAME with a certificate beside it, which ssh offers
# with the key.
certified() {
    local name=$1 ca=$2 principals=$3
    shift 3
    rm -f "$KEYS/$name" "$KEYS/$name.pub" "$KEYS/$name-cert.pub"
    make_key "$name"
    [[ -z $principals ]] || set -- -n "$principals" "$@"
    limit ssh-keygen -q -s "$KEYS/$ca" -I "$name" -z 7 "$@" "$KEYS/$name.pub"
}

# asked LOGIN NAME: what sshd is told.
asked() { as_user vestibule-keys env -i "$LOOKUP" --principals "$1" "$(cut -d ' ' -f 2 "$KEYS/$2-cert.pub")"; }

@test "a certificate of the staff's authority opens what its account has a grant for, with no key in the store" {
    certified laptop staff_ca alice
    KEY=laptop run_ok ssh_as lab whoami
    is alice "$output"
    expect_audit "keys-lookup.*result=granted for=sshd login=\"lab\" fingerprint=$(literally "$(fingerprint laptop)") authority=$(literally "$(fingerprint staff_ca)") serial=7 id=\"laptop\" target=lab account=alice source=certificate"
    expect_audit "route-session.*result=granted login=\"lab\" target=lab account=alice source=certificate fingerprint=$(literally "$(fingerprint laptop)") authority="
    KEY=laptop run_ok ssh_as alice+each whoami
    is alice "$output"
    certified laptop staff_ca somebody,user:bob
    KEY=laptop run_ok ssh_as each id -un
    is bob "$output"
    KEY=laptop ssh_refused lab true
    expect_audit 'result=denied .*target=lab reason=no-grant'
}

@test "every kind of key can be certified" {
    local kind
    for kind in 'ed25519' 'rsa -b 2048' 'ecdsa -b 256' 'ecdsa -b 521'; do
        rm -f "$KEYS"/kind "$KEYS"/kind*.pub
        # shellcheck disable=SC2086  # options are words
        ssh-keygen -q -N '' -t $kind -f "$KEYS/kind"
        limit ssh-keygen -q -s "$KEYS/staff_ca" -I kind -n alice "$KEYS/kind.pub"
        KEY=kind run_ok ssh_as lab whoami
        is alice "$output"
    done
}

@test "sshd is told one principal with what policy allows, and nothing else" {
    certified laptop staff_ca 'x,alice,bob,user:alice'
    run_ok asked lab laptop
    is 'restrict,pty alice' "$output"
    run_ok asked alice+lab laptop
    is 'restrict,pty alice' "$output"
    run_ok asked bob+lab laptop
    is '' "$output"
    run_ok asked each laptop
    is '' "$output"
    expect_audit 'target=each reason=ambiguous-account'
    run_ok asked root laptop
    is '' "$output"
    # A key's question is no certificate's, and the other way round.
    run_ok as_user vestibule-keys "$LOOKUP" --principals lab "$(fingerprint laptop)"
    is '' "$output"
    run_ok as_user vestibule-keys "$LOOKUP" lab "$(cut -d ' ' -f 2 "$KEYS/laptop-cert.pub")"
    is '' "$output"
}

@test "a principal opens a target without an account only where the operator lets the authority say so" {
    certified robot robots_ca target:lab,alice
    KEY=robot run_ok ssh_as lab whoami
    is alice "$output"
    expect_audit 'result=granted for=session .*target=lab source=certificate'
    KEY=robot ssh_refused each true
    KEY=robot ssh_refused alice+lab true
    certified robot staff_ca target:lab
    KEY=robot ssh_refused lab true
}

@test "whoever else signs opens nothing: a stranger, an authority that only sshd trusts, the key itself" {
    certified laptop stranger_ca alice
    KEY=laptop ssh_refused lab true
    expect_no_audit 'result=granted'
    certified laptop admins_ca alice
    KEY=laptop ssh_refused lab true
    expect_audit 'result=denied .*target=lab reason=authority'
    make_key selfmade
    ssh-keygen -q -s "$KEYS/selfmade" -I self -n alice "$KEYS/selfmade.pub"
    KEY=selfmade ssh_refused lab true
}

@test "a host's certificate, one without principals, one that is over and one that is not valid yet open nothing" {
    certified laptop staff_ca alice -h
    KEY=laptop ssh_refused lab true
    certified laptop staff_ca ''
    KEY=laptop ssh_refused lab true
    certified laptop staff_ca alice -V 20200101:20200102
    KEY=laptop ssh_refused lab true
    expect_audit 'result=denied .*reason=ended'
    certified laptop staff_ca alice -V 20990101:20990102
    KEY=laptop ssh_refused lab true
    certified laptop staff_ca alice -V -1h:+1h
    KEY=laptop run_ok ssh_as lab true
}

@test "principals are names and nothing more: line feeds, commas, quotes, options and comments open nothing" {
    local principal
    # Signed by hand: ssh-keygen splits at commas. What is asked is what sshd asks.
    for principal in 'alice ' ' alice' 'restrict alice' 'alice#' '"alice"' $'alice\nbob' $'x\nalice' '*' 'ali*' 'alice,bob' '../alice' 'ALICE'; do
        run_ok "$BOX_REPO/tests/lib/draft-certificate.py" "$(cut -d ' ' -f 2 "$KEYS/staff_ca.pub")" "$principal"
        run_ok as_user vestibule-keys "$LOOKUP" --principals lab "$output"
        is '' "$output"
    done
    run_ok "$BOX_REPO/tests/lib/draft-certificate.py" "$(cut -d ' ' -f 2 "$KEYS/staff_ca.pub")" alice
    run_ok as_user vestibule-keys "$LOOKUP" --principals lab "$output"
    is 'restrict,pty alice' "$output"
    # What sshd can be made to take with ssh-keygen.
    certified laptop staff_ca $'x\nrestrict,pty alice'
    KEY=laptop ssh_refused lab true
}

@test "a certificate with 256 principals opens by the last, and costs no more than a moment" {
    certified laptop staff_ca "$(printf 'p%s,' {1..255})alice"
    KEY=laptop run_ok ssh_as lab whoami
    is alice "$output"
    local before after
    before=${EPOCHREALTIME/./}
    run_ok asked lab laptop
    after=${EPOCHREALTIME/./}
    is 'restrict,pty alice' "$output"
    ((after - before < 500000)) || fail_with "it took $((after - before)) us" true
}

@test "a forced command runs in the container, whatever is in it, and never on the bastion" {
    # shellcheck disable=SC2016  # for the container's shell
    certified laptop staff_ca alice -O force-command='echo "forced: $(id -un) $SSH_ORIGINAL_COMMAND; "; cat /etc/hostname 2>/dev/null; touch /tmp/forced'
    KEY=laptop run_ok ssh_as lab 'echo asked; touch /tmp/asked'
    matches '^forced: alice echo asked' "$output"
    [[ ! -e /tmp/forced && ! -e /tmp/asked ]]
}

@test "a certificate holds from where its source-address says" {
    certified laptop staff_ca alice -O source-address=192.0.2.0/24
    KEY=laptop ssh_refused lab true
    certified laptop staff_ca alice -O source-address=192.0.2.0/24,127.0.0.0/8
    KEY=laptop run_ok ssh_as lab whoami
    # Asked once more when the session begins, of who is inside.
    run_ok as_user vestibule-keys "$LOOKUP" --decide --client 192.0.2.9 lab "$(cut -d ' ' -f 2 "$KEYS/laptop-cert.pub")"
    matches '"granted":true' "$output"
    run_ok as_user vestibule-keys "$LOOKUP" --decide --client 198.51.100.1 lab "$(cut -d ' ' -f 2 "$KEYS/laptop-cert.pub")"
    matches '"reason":"from"' "$output"
}

@test "a certificate that does not permit a terminal gets none, and one that permits more than policy gets no more" {
    certified laptop staff_ca alice -O clear
    KEY=laptop SSH_OPTIONS=-tt run_any ssh_as lab tty
    is_not 0 "$status"
    certified laptop staff_ca alice
    KEY=laptop SSH_OPTIONS=-tt run_ok ssh_as lab tty
    matches '/dev/' "$output"
    KEY=laptop SSH_OPTIONS='-A' run_ok ssh_as lab 'echo ${SSH_AUTH_SOCK:-none}'
    is none "$output"
    # shellcheck disable=SC2046  # options are words
    KEY=laptop run_any limit ssh $(KEY=laptop ssh_options lab) -o ExitOnForwardFailure=yes -W 127.0.0.1:22 lab@bastion
    is_not 0 "$status"
}

@test "an own file's line with the key, or with the authority, is no way in for a certificate" {
    install -d -m 0755 /srv/homes/lab/.ssh
    certified laptop staff_ca carol
    { cut -d ' ' -f 1,2 "$KEYS/laptop.pub"; printf 'cert-authority %s\n' "$(cut -d ' ' -f 1,2 "$KEYS/stranger_ca.pub")"; } >/srv/homes/lab/.ssh/authorized_keys
    limit vestibulectl target set lab --home /srv/homes/lab >/dev/null
    # The key alone opens as ever; its certificate does not.
    KEY=laptop run_ok ssh_as lab whoami
    expect_audit 'for=session .* source=own'
    run_ok asked lab laptop
    is '' "$output"
    certified other stranger_ca alice
    KEY=other ssh_refused lab true
    limit vestibulectl target set lab --no-home >/dev/null
}

@test "a revoked key opens nothing by its certificate, nor does anything that a revoked authority signed" {
    certified laptop staff_ca alice
    limit vestibulectl key revoke "$(fingerprint laptop)" >/dev/null
    KEY=laptop ssh_refused lab true
    expect_audit 'result=denied .*reason=key-revoked'
    certified laptop staff_ca alice
    KEY=laptop run_ok ssh_as lab true
    limit vestibulectl key revoke "$(fingerprint staff_ca)" >/dev/null
    KEY=laptop ssh_refused lab true
    limit vestibulectl key unrevoke "$(fingerprint staff_ca)" >/dev/null
    KEY=laptop run_ok ssh_as lab true
}

@test "a disabled account and an ended grant hold for certificates too" {
    certified laptop staff_ca alice
    limit vestibulectl account disable alice >/dev/null
    KEY=laptop ssh_refused lab true
    expect_audit 'reason=account-disabled'
    limit vestibulectl account enable alice >/dev/null
    limit vestibulectl grant add alice lab --expires +1s >/dev/null
    sleep 1.1
    KEY=laptop ssh_refused lab true
    expect_audit 'reason=ended'
    limit vestibulectl grant add alice lab >/dev/null
    KEY=laptop run_ok ssh_as lab true
}

# lives NAME: a session by the certificate NAME is inside, and says so.
lives() {
    detached "$BATS_TEST_TMPDIR/session" env KEY="$1" bash -c "source $BOX_REPO/tests/lib/bastion.bash; ssh_as lab 'echo inside; sleep 600'"
    wait_for 10 grep -q inside "$BATS_TEST_TMPDIR/session"
}

@test "a session ends when its certificate does" {
    certified laptop staff_ca alice -V "-1h:$(date -u -d '+6 seconds' +%Y%m%d%H%M%SZ)"
    lives laptop
    wait_for 15 grep -q 'is over' "$BATS_TEST_TMPDIR/session"
    KEY=laptop ssh_refused lab true
}

@test "a session ends when the authority or the account's grant is taken away" {
    certified laptop staff_ca alice
    lives laptop
    limit vestibulectl key revoke "$(fingerprint staff_ca)" >/dev/null
    wait_for 5 grep -q 'taken away' "$BATS_TEST_TMPDIR/session"
    limit vestibulectl key unrevoke "$(fingerprint staff_ca)" >/dev/null
    lives laptop
    limit vestibulectl grant rm alice lab >/dev/null
    wait_for 5 grep -q 'taken away' "$BATS_TEST_TMPDIR/session"
    limit vestibulectl grant add alice lab >/dev/null
    KEY=laptop run_ok ssh_as lab true
}
