#!/usr/bin/env bats
# What a forward must never reach: the bastion, and other targets. Somebody who may enter `lab` tries, and an administrator
# who set it up wrong.

# shellcheck disable=SC2046  # $(inside NAME) is words

load ../lib/bastion
load ../lib/forwards

setup_file() {
    bastion_start
    forwarding_on
    add_person alice
    sandbox_start lab
    sandbox_start other
    docker_start
    docker_image vt-busybox
    docker_run shared vt-busybox --network host
    printf '[may_enter]\nprivileged = ["docker:shared"]\n' >/etc/vestibule/vestibule.toml.d/may-enter.toml
    target lab --driver namespace --pid-file "$SANDBOX_PIDS/lab.pid"
    target other --driver namespace --pid-file "$SANDBOX_PIDS/other.pid"
    target shared --driver docker --container shared
    ip -6 addr add ::1/128 dev lo 2>/dev/null || true
    ip addr add 198.51.100.7/32 dev lo
    serve 8700 bastion
    serve 8800 other $(inside other)
    useradd --create-home --shell /bin/bash carol
    install -d -o carol -m 0700 /home/carol/.ssh
    make_key carol
    install -o carol -m 0600 "$KEYS/carol.pub" /home/carol/.ssh/authorized_keys
    cp /etc/pam.d/sshd /etc/pam.d.sshd
    cp /etc/vestibule/vestibule.toml.d/forwarding.toml /run/box/
}

target() {
    local name=$1
    shift
    limit vestibulectl target add "$name" --user alice "$@" >/dev/null && limit vestibulectl grant add alice "$name" >/dev/null
}

setup() { audit_mark; }
teardown() {
    show_logs_on_failure
    cp /etc/pam.d.sshd /etc/pam.d/sshd
    cp /run/box/forwarding.toml /etc/vestibule/vestibule.toml.d/
}

through() { SSH_OPTIONS="-W $1" ssh_as "$2" </dev/null; }

# never LOGIN PLACE...: nothing of the bastion comes back from there.
never() {
    local login=$1 place
    shift
    for place; do
        run_any through "$place" "$login"
        is '' "$output"
    done
    run_ok reach 8700
    is bastion "$output"
}

listen() { SSH_OPTIONS="-o ExitOnForwardFailure=yes -R $1:127.0.0.1:8700" ssh_as lab "${2:-true}"; }

@test "no address of the bastion, and no other target, is reached" {
    never lab 127.0.0.1:8700 localhost:8700 '[::1]:8700' 127.0.0.2:8700 0.0.0.0:8700 198.51.100.7:8700 \
        '[::ffff:127.0.0.1]:8700' '[fe80::1]:8700' 169.254.169.254:8700 localhost:22 bastion:22
    never lab 127.0.0.1:8800 localhost:8800
}

@test "a container in the bastion's own network forwards nowhere" {
    never shared 127.0.0.1:8700 localhost:8700 198.51.100.7:8700
    expect_audit "network=none cause=\"the container is in the bastion's own network namespace\""
    SSH_OPTIONS='-o ExitOnForwardFailure=yes -R 9100:127.0.0.1:8700' run_any ssh_as shared 'netstat -ltn'
    matches_not ':9100 ' "$output"
    run_ok ssh_as shared whoami
    is alice "$output"
}

@test "ssh -R listens on the container's loopback alone, whatever address is asked for" {
    local where
    for where in 9100 '*:9100' 0.0.0.0:9100 '[::]:9100'; do
        run_ok listen "$where" 'netstat -ltn'
        matches '127.0.0.1:9100 ' "$output"
        matches_not '(0.0.0.0|:::)9100 |0.0.0.0:9100 |:::9100 ' "$output"
    done
    fails listens_on 9100
}

@test "ssh -R on a port that is taken, and on one that is root's, is refused" {
    serve 9101 taken $(inside lab)
    run_rc 255 listen 9101
    matches 'remote port forwarding failed for listen port 9101' "$stderr"
    run_rc 255 listen 80
    matches 'remote port forwarding failed for listen port 80' "$stderr"
}

@test "unix sockets and tunnels are refused" {
    rm -f /run/box/sock
    detached /run/box/logs/unix.log busybox nc -ll -l local:/run/box/sock -e /bin/echo bastion
    SSH_OPTIONS='-W /run/docker.sock' run_any ssh_as lab
    is '' "$output"
    SSH_OPTIONS='-o ExitOnForwardFailure=yes -R /tmp/sock:127.0.0.1:8700' run_rc 255 ssh_as lab true
    SSH_OPTIONS='-o ExitOnForwardFailure=yes -w any' run_rc 255 ssh_as lab true
    [[ ! -e /tmp/sock ]]
}

@test "without PAM no forward is granted" {
    sshd_start 'UsePAM no'
    never lab localhost:8700
    expect_audit 'keys-lookup.* note="no forwards: process [0-9]+ has not loaded pam_vestibule'
    run_rc 1 vestibulectl check
    sshd_start
}

@test "with a stack that does not end in the module no forward is granted, and check says so" {
    local stack
    for stack in '' 'session optional pam_vestibule.so' $'session required pam_vestibule.so\nsession optional pam_motd.so'; do
        { grep -v pam_vestibule /etc/pam.d.sshd; printf '%s\n' "$stack"; } >/etc/pam.d/sshd
        audit_mark
        never lab localhost:8700
        expect_audit 'keys-lookup.* note="no forwards: '
        run_rc 1 vestibulectl check
        matches "the last rule is not 'session required pam_vestibule.so': no forwards are granted" "$output"
    done
}

# In the stack, loaded, last, and passed by all the same.
@test "with a stack that passes the module by no forward is granted, and check says so" {
    local rule
    printf 'session sufficient pam_permit.so\n' >/etc/pam.d/passing
    for rule in 'session sufficient pam_permit.so' 'session [success=done default=ignore] pam_permit.so' \
        'session [success=1 default=ignore] pam_permit.so' '@include passing' 'session include passing'; do
        { grep -v pam_vestibule /etc/pam.d.sshd; printf '%s\n' "$rule" 'session required pam_vestibule.so'; } >/etc/pam.d/sshd
        audit_mark
        never lab localhost:8700
        expect_audit 'keys-lookup.* note="no forwards: .* may end the stack before pam_vestibule.so'
        run_rc 1 vestibulectl check
        matches "pam_permit.so' may end the stack before pam_vestibule.so: no forwards are granted" "$output"
    done
}

@test "a stack whose last rule is in a file that it includes is as good" {
    printf 'session required pam_vestibule.so\n' >/etc/pam.d/forwards
    { grep -v pam_vestibule /etc/pam.d.sshd; printf '%s\n' 'session substack forwards' '@include common-password'; } >/etc/pam.d/sshd
    serve 8801 lab $(inside lab)
    run_ok through localhost:8801 lab
    is lab "$output"
    run_any vestibulectl check
    matches_not "pam.d" "$output"
}

@test "a module that is in the stack and not there refuses" {
    local module
    module=$(find /usr/lib -name pam_vestibule.so)
    mv "$module" /run/box/
    never lab localhost:8700
    mv /run/box/pam_vestibule.so "$module"
}

@test "whatever fails in the module refuses the session, and leaves nothing to forward to" {
    local enter=/usr/libexec/vestibule/enter
    mv "$enter" "$enter.away"
    never lab localhost:8700
    expect_audit 'pam_vestibule\[[0-9]+\]: result=refused cause='
    run_rc 254 ssh_as lab true
    # One that says yes and gives nothing, or what is no other network.
    printf '#!/bin/sh\nexit 0\n' >"$enter"
    chmod 0755 "$enter"
    never lab localhost:8700
    mv "$enter.away" "$enter"
    run_ok ssh_as lab true
}

@test "the module in the stack of a bastion that is not set up for it refuses" {
    rm /etc/vestibule/vestibule.toml.d/forwarding.toml
    run_rc 254 ssh_as lab true
    expect_audit "cause=\"pam_vestibule is in sshd's stack, and the configuration lacks 'forwarding'\""
    run_rc 1 vestibulectl check
    matches 'which refuses sessions as it is set up' "$output"
}

@test "users of the bastion are none of its business" {
    KEY=carol run_ok ssh_as carol 'readlink /proc/self/ns/net'
    is "$(readlink /proc/self/ns/net)" "$output"
    KEY=carol run_ok through localhost:8700 carol
    is bastion "$output"
}

@test "with the uid of all login names, no target is entered that sshd did not let in to" {
    local number
    number=$(vestibulectl target show other --json | jq .id)
    # No sshd above.
    run_rc 200 pipe_as_vestibule --session s1 --target "$number" --account alice
    expect_audit 'cause="no sshd above this process was let in to this target by pam_vestibule"'
    # A fault in the process of somebody who is in `lab`, and asks for `other`: one that runs below that sshd.
    mv /usr/libexec/vestibule/route-session /run/box/
    cat >/usr/libexec/vestibule/route-session <<SCRIPT
#!/bin/sh
exec /usr/libexec/vestibule/enter --session s2 --target \$SSH_ORIGINAL_COMMAND --account alice
SCRIPT
    chmod 0755 /usr/libexec/vestibule/route-session
    audit_mark
    run_rc 200 ssh_as lab "$number"
    expect_audit 'session=s2 result=refused .*no sshd above this process'
    run_any ssh_as lab "$(vestibulectl target show lab --json | jq .id)"
    expect_audit 'session=s2 event=start target=lab'
    mv /run/box/route-session /usr/libexec/vestibule/route-session
}

pipe_as_vestibule() { as_user vestibule /usr/libexec/vestibule/enter "$@" </dev/null 2>&1 | cat; return "${PIPESTATUS[0]}"; }

@test "enter --network is for root alone, and root gets nothing else" {
    run_rc 200 pipe_as_vestibule --network
    run_rc 200 /usr/libexec/vestibule/enter --session s1 --target 1
}
