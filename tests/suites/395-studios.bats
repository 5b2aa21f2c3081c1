#!/usr/bin/env bats
# Studios: sessions that a platform starts and ends, reached as USER@SESSION. Their names with the clients that people have, the
# workspaces that this bastion is open to, and what is said of a session that does not run.
# needs: debian-image

load ../lib/bastion

REFRESH=/usr/libexec/vestibule/refresh-keys
HUB=$BOX_REPO/examples/reference-hub/reference_hub.py
STATE=/run/box/studios.db
CONF=/etc/vestibule/vestibule.toml.d

setup_file() {
    bastion_start
    docker_run desk vt-debian
    ip address add 198.51.100.7/32 dev lo
    # What a session's own server would say first.
    detached /run/box/logs/service.log socat TCP-LISTEN:2222,bind=198.51.100.7,fork,reuseaddr 'SYSTEM:echo arrived'
    install -d -m 0755 /etc/vestibule/secrets
    (umask 077 && echo token-5e1d >/etc/vestibule/secrets/studios)
    chown vestibule-refresh /etc/vestibule/secrets/studios
    cat >"$CONF/studios.toml" <<'TOML'
[source.studios]
kind = "feed"
url = "http://127.0.0.1:8090/feed"
token_file = "/etc/vestibule/secrets/studios"
allow = { addresses = ["198.51.100.*:2222"], containers = ["desk"] }
max_shrink = 1.0
TOML
    make_key alice
    make_key mallory
    hub put '{"account": {"name": "alice-l_2.x"}}' '{"account": {"name": "mallory"}}' \
        "$(key alice-l_2.x alice)" "$(key mallory mallory)" \
        "$(desk a1b2c3d4)" "$(desk 12345678)" "$(desk 1e5)" "$(desk studio_7.b)" \
        "$(studio 9f00ba12 '{"workspace": 12345}')"
    local session
    for session in a1b2c3d4 12345678 1e5 studio_7.b 9f00ba12; do hub put "$(grant alice-l_2.x "$session")"; done
    detached /run/box/logs/hub.log "$HUB" serve "$STATE" --listen 127.0.0.1:8090 --token-file /etc/vestibule/secrets/studios
    wait_for 5 bash -c 'exec 9<>/dev/tcp/127.0.0.1/8090'
    refresh
}

setup() {
    audit_mark
    export KEY=alice
    open_to '"all"'
}
teardown() { show_logs_on_failure; }

hub() { limit "$HUB" "$1" "$STATE" "${@:2}"; }
refresh() { limit "$REFRESH" --source studios; }
key() { jq -cn --arg account "$1" --arg key "$(<"$KEYS/$2.pub")" '{key: {account: $account, key: $key}}'; }
grant() { jq -cn --arg account "$1" --arg target "$2" '{grant: {account: $account, target: $target}}'; }
desk() { jq -cn --arg name "$1" '{target: {name: $name, driver: {driver: "docker", container: "desk"}, user: "alice"}}'; }
# studio SESSION POLICY: one that is an address.
studio() {
    jq -cn --arg name "$1" --argjson policy "$2" '{target: {name: $name, user: "studio", policy: $policy,
        driver: {driver: "tcp", address: {fixed: {host: "198.51.100.7", port: 2222}}}}}'
}
# says POLICY: what the platform says of the session 9f00ba12 from now on.
says() {
    hub put "$(studio 9f00ba12 "$1")"
    refresh >/dev/null
}
# open_to WORKSPACES: in root's configuration; nothing is said of them without.
open_to() {
    rm -f "$CONF/may.toml"
    [[ -z ${1-} ]] || printf '[may_enter]\nworkspaces = %s\n' "$1" >"$CONF/may.toml"
}

ME=alice-l_2.x

@test "ssh USER@SESSION@bastion, whatever a session and a user are called, and the user is asked for no plus sign" {
    local session
    for session in a1b2c3d4 12345678 1e5 studio_7.b; do
        # As it is typed: the client takes the last @ for its own.
        # shellcheck disable=SC2046  # options are words
        run_ok limit ssh $(ssh_options alice) "$ME@$session@bastion" hostname
        is desk "$output"
        # shellcheck disable=SC2046  # options are words
        run_ok limit ssh $(ssh_options alice) "$ME+$session@bastion" hostname
        is desk "$output"
    done
    # Names are told apart by case, and a beginning of one is none.
    # shellcheck disable=SC2046  # options are words
    for session in A1B2C3D4 a1b2c3d a1b2c3d45; do
        run_rc 255 limit ssh $(ssh_options alice) "$ME@$session@bastion" hostname
    done
}

@test "with a prefix in the configuration a session is reached by either name" {
    printf 'target_prefix = "studio-"\n' >"$CONF/prefix.toml"
    run_ok vestibulectl init
    # shellcheck disable=SC2046  # options are words
    run_ok limit ssh $(ssh_options alice) "$ME@studio-a1b2c3d4@bastion" hostname
    is desk "$output"
    # shellcheck disable=SC2046  # options are words
    run_ok limit ssh $(ssh_options alice) "$ME@a1b2c3d4@bastion" hostname
    rm "$CONF/prefix.toml"
    run_ok vestibulectl init
}

@test "scp, sftp, rsync, git and sshfs take USER@SESSION@bastion as it stands" {
    local at="$ME@a1b2c3d4@bastion" options ssh
    options=$(ssh_options alice)
    ssh="ssh $options"
    head -c 100000 /dev/urandom >"$BATS_TEST_TMPDIR/file"
    # shellcheck disable=SC2086  # options are words
    {
        run_ok limit scp $options "$BATS_TEST_TMPDIR/file" "$at:by-scp"
        run_ok limit scp $options "scp://$ME%40a1b2c3d4@bastion/by-scp" "$BATS_TEST_TMPDIR/back"
        run_ok cmp "$BATS_TEST_TMPDIR/file" "$BATS_TEST_TMPDIR/back"
        echo 'rename by-scp by-sftp' >"$BATS_TEST_TMPDIR/batch"
        run_ok limit sftp -q $options -b "$BATS_TEST_TMPDIR/batch" "$at"
        mkdir "$BATS_TEST_TMPDIR/mnt"
        run_ok limit sshfs -o "ssh_command=$ssh" "$at:/home/alice" "$BATS_TEST_TMPDIR/mnt"
        run_ok cmp "$BATS_TEST_TMPDIR/file" "$BATS_TEST_TMPDIR/mnt/by-sftp"
        run_ok fusermount3 -u "$BATS_TEST_TMPDIR/mnt"
    }
    run_ok limit rsync -e "$ssh" "$at:by-sftp" "$BATS_TEST_TMPDIR/by-rsync"
    run_ok cmp "$BATS_TEST_TMPDIR/file" "$BATS_TEST_TMPDIR/by-rsync"
    # shellcheck disable=SC2086  # options are words
    run_ok limit ssh $options "$at" 'git init -q --bare repo.git'
    GIT_SSH_COMMAND=$ssh run_ok limit git ls-remote "$at:repo.git"
    # In a URL the user's own @ is written %40.
    GIT_SSH_COMMAND=$ssh run_ok limit git ls-remote "ssh://$ME%40a1b2c3d4@bastion/home/alice/repo.git"
}

@test "editors' configuration and paramiko: User USER@SESSION" {
    cat >"$BATS_TEST_TMPDIR/config" <<CONF
Host studio
    HostName bastion
    User $ME@a1b2c3d4
CONF
    # What an editor does first: a script on the standard input of a shell.
    local options
    options=$(ssh_options alice)
    # shellcheck disable=SC2086  # options are words
    run_ok limit ssh ${options/-F none/-F "$BATS_TEST_TMPDIR/config"} studio sh <<<'hostname; id -un'
    is $'desk\nalice' "$output"
    run_ok limit python3 - "$ME@a1b2c3d4" "$KEYS/alice" <<'PY'
import sys, paramiko
client = paramiko.SSHClient()
client.load_system_host_keys("/etc/ssh/ssh_known_hosts")
client.connect("bastion", username=sys.argv[1], key_filename=sys.argv[2], look_for_keys=False, allow_agent=False)
print(client.exec_command("hostname")[1].read().decode(), end="")
PY
    is desk "$output"
}

@test "a workspace is open if root's configuration says so, by number, string, pattern or word" {
    says '{"workspace": 12345}'
    local workspaces
    for workspaces in '[12345]' '["67890", "12345"]' '["123*"]' '"all"'; do
        open_to "$workspaces"
        run_ok ssh_as "$ME+9f00ba12" -T
        is arrived "$output"
    done
}

@test "who may enter a session of a workspace that is not open reads that, and not 'Permission denied'" {
    says '{"workspace": 12345}'
    local workspaces
    for workspaces in '' '"none"' '[67890]' '["1234"]'; do
        open_to "$workspaces"
        audit_mark
        run_rc 201 ssh_as "$ME+9f00ba12"
        is '' "$output"
        matches "^vestibule: this bastion is closed to the workspace of '9f00ba12'; ask its operator to open it \(session [a-z0-9]+\)$" "$stderr"
        expect_audit "keys-lookup\[[0-9]*\]: result=closed for=sshd login=\"$ME\+9f00ba12\" .*reason=workspace"
        expect_audit "result=refused exit=201 .*workspace: the workspace '12345' is not among 'may_enter.workspaces'"
    done
    # Targets without a workspace are none of it.
    open_to '"none"'
    run_ok ssh_as "$ME+a1b2c3d4" hostname
    is desk "$output"
}

@test "nobody else learns that a session is closed or does not run" {
    open_to '"none"'
    says '{"workspace": 12345, "running": false}'
    KEY=mallory ssh_refused "$ME+9f00ba12"
    KEY=mallory ssh_refused mallory+9f00ba12
    KEY=mallory ssh_refused 9f00ba12
    matches 'Permission denied' "$stderr"
}

@test "a session that does not run is said to be so, with the place where it is started, and nothing is connected to" {
    says '{"workspace": 12345, "running": false, "start_at": "https://platform.example.org/studios/9f00ba12"}'
    run_rc 202 ssh_as "$ME@9f00ba12"
    is '' "$output"
    matches "^vestibule: '9f00ba12' is not running; start it at https://platform.example.org/studios/9f00ba12 and connect again \(session" "$stderr"
    expect_audit 'result=closed .*reason=not-running'
    # As every client meets it.
    run_rc 202 ssh_on_terminal 24x80 -- "$ME@9f00ba12"
    matches 'is not running; start it at https' "$output"
    # shellcheck disable=SC2046  # options are words
    run_rc 255 limit sftp $(ssh_options alice) "$ME@9f00ba12@bastion"
    matches "'9f00ba12' is not running; start it at https" "$stderr$output"
    # Who only looks like it is not kept for long.
    # shellcheck disable=SC2046  # options are words
    run_rc 202 limit ssh $(ssh_options alice) -s "$ME@9f00ba12@bastion" sftp <<<'hello'
    says '{"workspace": 12345, "running": false}'
    run_rc 202 ssh_as "$ME@9f00ba12"
    matches "'9f00ba12' is not running; start it and connect again" "$stderr"
    # It is started: nothing but the platform's word has changed.
    says '{"workspace": 12345}'
    run_ok ssh_as "$ME@9f00ba12" -T
    is arrived "$output"
}

@test "a session that was let in and has no answer yet ends, when its grant is taken away before there is one" {
    says '{"workspace": 12345}'
    local out=$BATS_TEST_TMPDIR/out pid
    # Nobody at the address says a word, and then somebody does who waits.
    iptables -I INPUT -p tcp -d 198.51.100.7 --dport 2223 --syn -j DROP
    detached /run/box/logs/waiting.log socat TCP-LISTEN:2223,bind=198.51.100.7,fork,reuseaddr 'SYSTEM:echo arrived; sleep 60'
    vestibulectl target add waiting --driver tcp --address 198.51.100.7:2223
    add_person dora
    vestibulectl grant add dora waiting
    # shellcheck disable=SC2046  # options are words
    { limit ssh $(KEY=dora ssh_options dora) dora+waiting@bastion >"$out" 2>&1 < <(sleep 30) || echo "ended with $?" >>"$out"; } 3>&- &
    pid=$!
    expect_audit 'session=.* result=granted .*target=waiting'
    vestibulectl grant rm dora waiting
    iptables -D INPUT -p tcp -d 198.51.100.7 --dport 2223 --syn -j DROP
    wait_for 15 grep -q 'ended with 213' "$out"
    wait "$pid" || true
    matches "your access to 'waiting' was taken away" "$(<"$out")"
    expect_audit 'event=revoked target=waiting account=dora reason=no-grant'
    vestibulectl target rm waiting
}

@test "nothing is forwarded to the address of a session that does not run: somebody else may have it by now" {
    says '{}'
    # shellcheck disable=SC2046  # options are words
    run_ok limit ssh $(ssh_options alice) -W 198.51.100.7:2222 "$ME@9f00ba12@bastion"
    is arrived "$output"
    says '{"running": false}'
    # shellcheck disable=SC2046  # options are words
    run_rc 255 limit ssh $(ssh_options alice) -W 198.51.100.7:2222 "$ME@9f00ba12@bastion"
    matches 'administratively prohibited|stdio forwarding failed' "$stderr"
    open_to '"none"'
    says '{"workspace": 1}'
    # shellcheck disable=SC2046  # options are words
    run_rc 255 limit ssh $(ssh_options alice) -W 198.51.100.7:2222 "$ME@9f00ba12@bastion"
}

@test "what a hub writes where its users start a session can't drive their terminals, and spoils no other row" {
    hub put "$(studio 9f00ba12 '{"running": false, "start_at": "x\u001b]0;y\u0007"}')"
    run_any refresh
    matches "target '9f00ba12': policy: start_at: want at most 120 bytes of text without control characters" "$output$stderr"
    hub put "$(studio 9f00ba12 '{"workspace": "a b"}')"
    run_any refresh
    matches "target '9f00ba12': policy: want a workspace's name" "$output$stderr"
    run_ok ssh_as "$ME+a1b2c3d4" hostname
    says '{}'
}

@test "a source that has to name a workspace for each of its sessions can't leave it out" {
    sed -i 's/^allow = .*/allow = { addresses = ["198.51.100.*:2222"], workspaces = [12345] }/' "$CONF/studios.toml"
    hub put "$(studio 0000aaaa '{}')" "$(studio 0000bbbb '{"workspace": 67890}')" "$(studio 0000cccc '{"workspace": 12345}')"
    run_any refresh
    matches "target '0000aaaa': no workspace, and this source has 'allow.workspaces'" "$output$stderr"
    matches "target '0000bbbb': the workspace '67890' is not among the 'allow.workspaces'" "$output$stderr"
    run_ok vestibulectl target show 0000cccc
    matches 'workspace  12345' "$output"
    run_rc 1 vestibulectl target show 0000bbbb
    sed -i 's/, workspaces = \[12345\] }/, containers = ["desk"] }/' "$CONF/studios.toml"
    refresh
}

@test "explain and doctor say what is closed" {
    says '{"workspace": 12345, "running": false, "start_at": "https://platform.example.org/s"}'
    open_to ''
    run_ok vestibulectl explain "$ME@9f00ba12" --key "$KEYS/alice.pub"
    matches "the session is let in to be told why it gets no further: the workspace '12345' is not among 'may_enter.workspaces' of the configuration" "$output"
    matches $'\nsshd gets:\nrestrict,pty ssh-ed25519' "$output"
    run_any vestibulectl doctor --notes
    matches "note: [0-9]+ targets? (is|are) of workspaces that are closed here \('[0-9a-f]+' of '[0-9]+'\); set 'may_enter.workspaces'" "$output"
    open_to '"all"'
    run_ok vestibulectl explain "$ME@9f00ba12" --key "$KEYS/alice.pub" --json
    is 'closed not-running' "$(jq -r '"\(.outcome) \(.reason)"' <<<"$output")"
    open_to '[]'
    run_any vestibulectl doctor
    matches 'may.toml:2:14: want "all", "none", or a list of workspaces that is not empty' "$output"
    ssh_refused "$ME+a1b2c3d4" hostname
}

@test "an administrator says the same of a target of the store's own" {
    run_ok vestibulectl target add mine --driver tcp --address 198.51.100.7:2222 --workspace org/one --running no --start-at https://one.example/
    run_ok vestibulectl target show mine
    matches $'workspace  org/one\nrunning    no, by its hub.s word\nstarted at https://one.example/' "$output"
    run_ok vestibulectl target set mine --workspace '' --running yes --start-at ''
    run_ok vestibulectl target show mine --json
    is '{"pty":true,"own_keys":true}' "$(jq -c .policy <<<"$output")"
    run_rc 1 vestibulectl target set mine --workspace 'a b'
    matches "workspace 'a b': want a workspace's name" "$stderr"
    run_rc 1 vestibulectl target set mine --start-at $'a\nb'
}

# As a fault in sshd's child would: with descriptors as sshd makes them.
enter_by_hand() {
    # shellcheck disable=SC2016  # for that shell
    as_user vestibule sh -c 'true | VESTIBULE_COMMAND=hostname /usr/libexec/vestibule/enter --session s --target "$1" 2>&1 | cat' sh "$1"
}

@test "whoever is the login names' uid can't enter a session of a closed workspace by its number" {
    run_ok vestibulectl target add tied --driver docker --container desk --user alice --workspace 12345
    local id
    id=$(vestibulectl target show tied --json | jq .id)
    open_to '"none"'
    run_any enter_by_hand "$id"
    matches "^vestibule: this bastion is closed to the workspace of 'tied'" "$output"
    open_to '[12345]'
    run_ok enter_by_hand "$id"
    is desk "$output"
}

@test "where sessions are moved into their target the same is said, and nothing is moved" {
    vestibulectl target add moved --driver docker --container desk --user alice --workspace 12345 2>/dev/null
    vestibulectl key add --target moved "$KEYS/alice.pub"
    sshd_stop
    forwarding_on
    sshd_start
    open_to '"none"'
    run_any ssh_as moved hostname
    matches "closed to the workspace of 'moved'" "$output$stderr"
    matches_not '^desk' "$output"
    vestibulectl target set moved --running no --start-at https://one.example/
    open_to '"all"'
    run_any ssh_as moved hostname
    matches "'moved' is not running; start it at https://one.example/" "$output$stderr"
    matches_not '^desk' "$output"
    vestibulectl target set moved --running yes
    run_ok ssh_as moved hostname
    is desk "$output"
}
