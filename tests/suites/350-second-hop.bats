#!/usr/bin/env bats
# Targets on other machines: the session goes on, by the stock client of OpenSSH and the bastion's own key, to an SSH server
# there. The other machine is a network namespace with Debian's own sshd, whose user is remy.

load ../lib/bastion
load ../lib/second-hop

setup_file() {
    bastion_start
    server_start
    add_person alice
    proxy_key bastion
    hop_target lab
    vestibulectl grant add alice lab
}

setup() { audit_mark; }

teardown() {
    pkill -KILL -f '^sleep 500' || true
    show_logs_on_failure
}

# began [--tty] COMMAND: a session in the background that has begun; its client's exit status will be in $OUT.rc.
began() {
    local how=ssh_as
    OUT=$(mktemp -d)/out
    if [[ $1 == --tty ]]; then
        shift
        how='ssh_on_terminal 24x80 --'
    fi
    chmod 0777 "${OUT%/out}"
    # shellcheck disable=SC2086  # two words
    { $how alice+lab "touch $OUT.begun; $*" >"$OUT" 2>&1 && echo 0 >"$OUT.rc" || echo $? >"$OUT.rc"; } 3>&- &
    wait_for 10 test -e "$OUT.begun"
}

over() { wait_for "$1" test -s "$OUT.rc" || { cat "$OUT"; vestibulectl sessions; return 1; }; }

runs() { pgrep -f "^sleep $1" >/dev/null; }

no_hop() { fails pgrep -u vestibule-hop; }

@test "ssh lab@bastion stands on the other machine, as the target's user" {
    # shellcheck disable=SC2016  # for the shell there
    run_ok ssh_as lab 'whoami; echo "$SSH_CONNECTION"'
    is remy "${lines[0]}"
    matches '^198\.51\.100\.1 [0-9]+ 198\.51\.100\.2 22$' "${lines[1]}"
    is '' "$stderr"
    expect_audit 'event=start target=lab account=alice user="remy"'
    expect_audit 'event=end target=lab exit=0'
    wait_for 5 no_hop
}

@test "a command arrives as it was sent, whatever its bytes are" {
    local command
    # shellcheck disable=SC2016  # for the shell there
    for command in 'printf %s "a  b" '"'"'c$d'"'"' "%h %r %%"' $'printf one\nprintf two' $'  printf \'\xff\xfe\'  ' 'printf "%s" "$0" -c -o ProxyCommand=id' '#'; do
        bash -c "$command" bash >"$BATS_TEST_TMPDIR/wanted"
        ssh_as lab "$command" >"$BATS_TEST_TMPDIR/found"
        run_ok cmp "$BATS_TEST_TMPDIR/wanted" "$BATS_TEST_TMPDIR/found"
    done
    # One as long as a command line may be.
    command="printf %s $(head -c 100000 /dev/zero | tr '\0' x) | wc -c"
    run_ok ssh_as lab "$command"
    is 100000 "$output"
}

@test "every exit status is the command's own, 255 too, and no line of ours is with it" {
    local status command
    for status in 0 1 42 127 200 209 214 254 255; do
        run_rc "$status" ssh_as lab "exit $status"
        is '' "$output$stderr"
    done
    # As with ssh itself; which signal it was nobody says.
    # shellcheck disable=SC2016  # for the shell there
    run_rc 255 ssh_as lab 'kill -TERM $$'
    is '' "$output$stderr"
    expect_audit 'event=end target=lab exit=255'
    # Nor does anybody take the lines of a command for what the client says, or write them into the log.
    # shellcheck disable=SC2016  # for the shell there
    for command in $'true\nWORD=very-secret\nkill -TERM $$' $'true\r\nWORD=very-secret\r\nkill -TERM $$; :'; do
        run_rc 255 ssh_as lab "$command"
        matches_not vestibule "$stderr"
    done
    expect_no_audit very-secret
}

@test "standard output and standard error are kept apart, and each direction ends by itself" {
    run_ok ssh_as lab 'echo out; echo err >&2'
    is out "$output"
    is err "$stderr"
    head -c 20000000 /dev/urandom >"$BATS_TEST_TMPDIR/in"
    ssh_as lab 'sha256sum; head -c 20000000 /dev/zero; exec >&-; sleep 0.2' <"$BATS_TEST_TMPDIR/in" >"$BATS_TEST_TMPDIR/out"
    is "$(sha256sum <"$BATS_TEST_TMPDIR/in")" "$(head -n 1 "$BATS_TEST_TMPDIR/out")"
    is $((20000000 + 68)) "$(stat -c %s "$BATS_TEST_TMPDIR/out")"
}

@test "a login shell reads what it is given" {
    # shellcheck disable=SC2016  # for the shell there
    printf 'shopt -q login_shell && echo login; exit 7\n' >"$BATS_TEST_TMPDIR/in"
    run_rc 7 ssh_as lab <"$BATS_TEST_TMPDIR/in"
    matches '^login$' "$output"
}

@test "a terminal has the client's size, follows it, and TERM and the language come along" {
    # shellcheck disable=SC2016  # for the shell there
    SSH_OPTIONS='-o SendEnv=LC_TIME' LC_TIME=C.UTF-8 TERM=screen run_ok ssh_on_terminal 31x97 -- lab 'stty size; tty; echo "$TERM $LC_TIME"'
    matches '31 97' "$output"
    matches '/dev/pts/' "$output"
    matches 'screen C.UTF-8' "$output"
    run_ok ssh_on_terminal 24x80 --type 'stty size; echo in-$((40+2))\n' '$ ' --resize 50x120 in-42 --type 'stty size; exit 3 || :\n' '$ ' -- lab 'PS1="$ " bash --norc -i; true'
    matches '24 80' "$output"
    matches '50 120' "$output"
    run_rc 3 ssh_on_terminal 24x80 -- lab 'exit 3'
    # ^C is the command's, not the bastion's.
    run_rc 5 ssh_on_terminal 24x80 --type '\x03' ready -- lab 'trap "echo caught; exit 5" INT; echo ready; sleep 20'
    matches caught "$output"
}

@test "scp, sftp, scp -O and rsync carry files there and back" {
    head -c 3000000 /dev/urandom >"$BATS_TEST_TMPDIR/big"
    local options
    options=$(ssh_options alice)
    # shellcheck disable=SC2086  # options are words
    {
        run_ok limit scp $options "$BATS_TEST_TMPDIR/big" lab@bastion:big
        run_ok limit scp $options lab@bastion:big "$BATS_TEST_TMPDIR/one"
        run_ok limit scp -O $options lab@bastion:big "$BATS_TEST_TMPDIR/two"
        run_ok limit rsync -a -e "ssh $options" lab@bastion:big "$BATS_TEST_TMPDIR/three"
        echo "get big $BATS_TEST_TMPDIR/four" >"$BATS_TEST_TMPDIR/batch"
        run_ok limit sftp -q $options -b "$BATS_TEST_TMPDIR/batch" lab@bastion
    }
    local copy
    for copy in one two three four; do run_ok cmp "$BATS_TEST_TMPDIR/big" "$BATS_TEST_TMPDIR/$copy"; done
    is remy "$(stat -c %U ~remy/big)"
}

@test "git pushes and fetches through it" {
    as_user remy git init -q --bare /home/remy/repo.git
    git init -q "$BATS_TEST_TMPDIR/work"
    cd "$BATS_TEST_TMPDIR/work" || return 1
    git -c user.name=a -c user.email=a@b commit -q --allow-empty -m one
    GIT_SSH_COMMAND="ssh $(ssh_options alice)" run_ok limit git push -q lab@bastion:repo.git HEAD:refs/heads/main
    GIT_SSH_COMMAND="ssh $(ssh_options alice)" run_ok limit git clone -q -b main lab@bastion:repo.git "$BATS_TEST_TMPDIR/clone"
    is one "$(git -C "$BATS_TEST_TMPDIR/clone" log -1 --format=%s)"
}

@test "a target without SFTP says so, and a server without terminals" {
    hop_target shut --sftp none
    vestibulectl grant add alice shut
    run_rc 210 ssh_as alice+shut internal-sftp
    matches 'has no SFTP' "$stderr"
    sed -i 's/^restrict,pty /restrict /' "$SERVER/keys/remy"
    run_rc 210 ssh_on_terminal 24x80 -- alice+lab true
    matches 'this target gives out no terminals' "$output"
    sed -i 's/^restrict /restrict,pty /' "$SERVER/keys/remy"
}

@test "a key's command= runs there in place of what was asked for" {
    make_key robot
    sed 's/^/command="echo forced" /' "$KEYS/robot.pub" >"$BATS_TEST_TMPDIR/robot.pub"
    vestibulectl key add --target lab "$BATS_TEST_TMPDIR/robot.pub"
    KEY=robot run_ok ssh_as lab whoami
    is forced "$output"
}

@test "the client's agent can be asked there where the policy has it, and nowhere else" {
    detached /run/box/logs/ssh-agent.log ssh-agent -D -a /run/box/agent
    wait_for 5 test -S /run/box/agent
    make_key hers
    SSH_AUTH_SOCK=/run/box/agent ssh-add -q "$KEYS/hers"
    hop_target lent --agent-forwarding
    vestibulectl grant add alice lent
    # The other side has to allow it too.
    SSH_AUTH_SOCK=/run/box/agent SSH_OPTIONS='-A -o IdentityAgent=SSH_AUTH_SOCK' run_rc 2 ssh_as alice+lent ssh-add -l
    vestibulectl proxy-key show bastion --target lent --line >"$SERVER/keys/remy"
    matches '^restrict,pty,agent-forwarding,port-forwarding ssh-ed25519 ' "$(<"$SERVER/keys/remy")"
    SSH_AUTH_SOCK=/run/box/agent SSH_OPTIONS='-A -o IdentityAgent=SSH_AUTH_SOCK' run_ok ssh_as alice+lent ssh-add -l
    matches "$(literally "$(fingerprint hers)")" "$output"
    SSH_AUTH_SOCK=/run/box/agent SSH_OPTIONS='-A -o IdentityAgent=SSH_AUTH_SOCK' run_rc 2 ssh_as alice+lab ssh-add -l
    vestibulectl proxy-key show bastion --line >"$SERVER/keys/remy"
}

@test "a session ends with what let it in, and what ran there is told" {
    began 'trap "exit 0" HUP; sleep 5001'
    vestibulectl grant rm alice lab
    over 3
    is 213 "$(<"$OUT.rc")"
    matches "^vestibule: your access to 'lab' was taken away" "$(<"$OUT")"
    expect_audit 'event=revoked target=lab account=alice reason=no-grant'
    wait_for 5 no_hop
    vestibulectl grant add alice lab
    began --tty 'sleep 5002'
    vestibulectl sessions end --account alice
    over 3
    is 213 "$(<"$OUT.rc")"
    matches 'the operator ended this session' "$(<"$OUT")"
    wait_for 5 no_hop
    wait_for 5 fails runs 5002
}

@test "a session ends with its client, on a terminal and without one" {
    began 'sleep 5003'
    pkill -KILL -f 'ssh .*alice[+]lab'
    wait_for 5 no_hop
    began --tty 'sleep 5004'
    pkill -KILL -f 'ssh .*alice[+]lab'
    wait_for 5 no_hop
    wait_for 5 fails runs 5004
}

@test "a server that goes away in mid-session is said to be lost" {
    began 'sleep 5005'
    pkill -KILL -f '^sshd: remy'
    over 5
    is 211 "$(<"$OUT.rc")"
    matches "^vestibule: the connection to 'lab' was lost; connect again, or tell the operator" "$(<"$OUT")"
    began --tty 'sleep 5006'
    pkill -KILL -f '^sshd: remy'
    over 5
    is 211 "$(<"$OUT.rc")"
    matches "the connection to 'lab' was lost" "$(<"$OUT")"
}

@test "a proxy key is made, shown, rotated and removed" {
    run_ok vestibulectl proxy-key create site
    matches 'fingerprint SHA256:' "$output"
    matches '^restrict,pty ssh-ed25519 AAAA[^ ]+ vestibule-site$' "${lines[-1]}"
    local old
    old=$(vestibulectl proxy-key show site --line)
    is "400 root" "$(stat -c '%a %U' "$PROXY_KEYS/site")"
    run_rc 1 vestibulectl proxy-key create site
    matches 'exists already' "$stderr"
    hop_target rotated --proxy-key site
    vestibulectl grant add alice rotated
    run_rc 215 ssh_as alice+rotated true
    matches "^vestibule: 'rotated' does not accept the bastion's key for its user 'remy'; tell the operator .*\(session [a-z0-9]{10}\)$" "$stderr"
    echo "$old" >>"$SERVER/keys/remy"
    run_ok ssh_as alice+rotated true
    # The new one is known nowhere yet.
    run_ok vestibulectl proxy-key rotate site
    run_ok ssh_as alice+rotated true
    run_rc 1 vestibulectl proxy-key rotate site
    matches 'being rotated already' "$stderr"
    is 2 "$(vestibulectl proxy-key show site --line | wc -l)"
    vestibulectl proxy-key show site --line --from 198.51.100.0/24 | head -n 1 >>"$SERVER/keys/remy"
    run_ok ssh_as alice+rotated true
    expect_server "Accepted publickey for remy .*$(vestibulectl proxy-key show site --json | grep -o '"fingerprint": "[^"]*' | cut -d '"' -f 4 | sed 's/[+]/[+]/g')"
    run_ok vestibulectl proxy-key rotate site --finish
    sed -i "\#${old#* }#d" "$SERVER/keys/remy"
    run_ok ssh_as alice+rotated true
    run_ok vestibulectl proxy-key list
    matches '^bastion  ssh-ed25519 SHA256:' "${lines[0]}"
    matches '^site  ssh-ed25519 SHA256:' "${lines[1]}"
    # A certificate is no key of its own.
    ssh-keygen -q -t ed25519 -N '' -f "$BATS_TEST_TMPDIR/ca"
    ssh-keygen -q -s "$BATS_TEST_TMPDIR/ca" -I site -n remy "$PROXY_KEYS/site.pub"
    run_ok vestibulectl proxy-key list
    is 2 "${#lines[@]}"
    run_rc 1 vestibulectl proxy-key create site-cert
    matches "no '-cert' at its end" "$stderr"
    run_ok vestibulectl proxy-key rm site
    run_rc 200 ssh_as alice+rotated true
    expect_audit "proxy key '$PROXY_KEYS/site' does not exist; make it with 'vestibulectl proxy-key create site'"
}

@test "host keys by certificate: an authority's word for the target's name is enough, for another name it is not" {
    ssh-keygen -q -t ed25519 -N '' -f "$SERVER/ca"
    ssh-keygen -q -s "$SERVER/ca" -I elsewhere -h -n certified -V -1m:+1d "$SERVER/host_ed25519.pub"
    server_sshd "HostCertificate $SERVER/host_ed25519-cert.pub"
    local name
    for name in certified other; do
        hop_target "$name" --host-key "cert-authority $(<"$SERVER/ca.pub")"
        vestibulectl grant add alice "$name"
    done
    run_ok ssh_as alice+certified whoami
    is remy "$output"
    run_rc 214 ssh_as alice+other true
    # A pinned key is known with and without the certificate.
    run_ok ssh_as alice+lab true
    server_sshd
}

@test "where forwards end elsewhere, the session still finds its way" {
    forwarding_on
    run_ok ssh_as alice+lab whoami
    is remy "$output"
}
