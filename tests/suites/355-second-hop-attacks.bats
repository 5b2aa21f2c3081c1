#!/usr/bin/env bats
# A second hop whose server, key or hub means no good: each is a clear line, and nothing of the bastion's is given away.

load ../lib/bastion
load ../lib/second-hop

setup_file() {
    bastion_start
    server_start
    add_person alice
    proxy_key bastion
    vestibulectl proxy-key create other >/dev/null
    hop_target lab
    vestibulectl grant add alice lab
}

setup() { audit_mark; }

teardown() {
    pkill -KILL -f '^sleep 500' || true
    show_logs_on_failure
}

no_hop() { fails pgrep -u vestibule-hop; }

# serves PORT COMMAND: something there that is no SSH server.
serves() {
    detached "/run/box/logs/serves.$1.log" ip netns exec elsewhere socat "TCP-LISTEN:$1,bind=198.51.100.2,fork,reuseaddr" "SYSTEM:$2"
    wait_for 5 in_server bash -c "exec 9<>/dev/tcp/198.51.100.2/$1"
    hop_target "p$1" --address "198.51.100.2:$1"
    vestibulectl grant add alice "p$1"
}

@test "another host key than the pinned one is refused, and the log has the one that was offered" {
    ssh-keygen -q -t ed25519 -N '' -f "$BATS_TEST_TMPDIR/other"
    hop_target changed --host-key "$(<"$BATS_TEST_TMPDIR/other.pub")"
    vestibulectl grant add alice changed
    run_rc 214 ssh_as alice+changed true
    matches "^vestibule: what answers for 'changed' has another host key than the one that is known here.*\(session [a-z0-9]{10}\)$" "$stderr"
    is '' "$output"
    local offered
    offered=$(ssh-keygen -l -f "$SERVER/host_ed25519.pub" | cut -d ' ' -f 2)
    expect_audit "result=refused exit=214 .*$(literally "offered: ssh-ed25519 $offered")"
    # An authority that is only pinned as a key certifies nothing, and a key is no authority.
    hop_target learned --host-key learn
    vestibulectl grant add alice learned
    run_rc 214 ssh_as alice+learned true
    matches "no host key of 'learned' is known here yet" "$stderr"
    wait_for 5 no_hop
}

@test "a proxy key with loose modes, of somebody else, or missing is not used, and the log says what mends it" {
    local key=$PROXY_KEYS/bastion
    chmod 0440 "$key"
    run_rc 200 ssh_as alice+lab true
    matches 'the bastion is not set up right' "$stderr"
    expect_audit "proxy key '$key': mode 0440 lets others at it; want 0400, chmod 0400"
    chmod 0400 "$key"
    chown vestibule "$key"
    run_rc 200 ssh_as alice+lab true
    expect_audit "proxy key '$key': belongs to uid"
    chown vestibule-hop "$key"
    run_ok ssh_as alice+lab true
    chown root "$key"
    mv "$key" "$key.away"
    run_rc 200 ssh_as alice+lab true
    expect_audit "proxy key '$key' does not exist; make it with"
    ln -s "$key.away" "$key"
    run_rc 200 ssh_as alice+lab true
    expect_audit 'symbolic link'
    rm "$key"
    mv "$key.away" "$key"
    chmod 0777 "$PROXY_KEYS"
    run_rc 200 ssh_as alice+lab true
    expect_audit "'$PROXY_KEYS': must be a directory of root's"
    chmod 0755 "$PROXY_KEYS"
    # Neither does one with a passphrase ask for it.
    cp "$key" "$BATS_TEST_TMPDIR/key"
    ssh-keygen -q -p -P '' -N secret -f "$key"
    chmod 0400 "$key"
    run_any ssh_as alice+lab true
    matches '^vestibule: ' "$stderr"
    cp "$BATS_TEST_TMPDIR/key" "$key"
    run_ok ssh_as alice+lab true
}

@test "servers that never speak, hang up, talk nonsense or without end are each said to be so" {
    serves 2301 'sleep 5001'
    serves 2302 'exit 0'
    serves 2303 'head -c 300 /dev/urandom'
    serves 2304 'yes "a line of a banner that does not end"'
    serves 2305 'tr "\\0" x </dev/zero'
    serves 2306 'echo SSH-2.0-x; sleep 5002'
    serves 2307 'echo SSH-1.5-old; sleep 5003'
    serves 2308 'echo SSH-2.0-x; head -c 100000000 /dev/zero; sleep 5004'
    local port
    for port in 2302 2303 2304 2305 2307 2308; do
        run_rc 209 ssh_as "alice+p$port" true
        matches "^vestibule: 'p$port' can't be reached: what answers hung up, or is no SSH server; .*\(session [a-z0-9]{10}\)$" "$stderr"
        is '' "$output"
    done
    for port in 2301 2306; do
        run_rc 204 ssh_as "alice+p$port" true
        matches "^vestibule: 'p$port' does not answer; try again later" "$stderr"
    done
    hop_target shut --address 198.51.100.2:9
    vestibulectl grant add alice shut
    run_rc 209 ssh_as alice+shut true
    matches "^vestibule: 'shut' can't be reached: Connection refused" "$stderr"
    hop_target lost --address no-such-host.invalid:22
    vestibulectl grant add alice lost
    run_rc 209 ssh_as alice+lost true
    matches "'lost' can't be reached: its address is not known" "$stderr"
    wait_for 5 no_hop
}

@test "a user or host that would be an option to the client is refused" {
    local n=0 user
    for user in '-oProxyCommand=touch /run/box/owned' 'a b' '%u' "\${HOME}" 'a"b'; do
        n=$((n + 1))
        run_any hop_target "odd$n" --user "$user"
        [[ $(vestibulectl target list) == *"odd$n"* ]] || continue
        vestibulectl grant add alice "odd$n"
        run_rc 200 ssh_as "alice+odd$n" true
        expect_audit 'is none that a second hop can be told'
    done
    run_rc 1 test -e /run/box/owned
}

@test "may_enter has the last word on where a second hop goes, and as whom" {
    printf '[may_enter]\naddresses = ["198.51.100.2:2222"]\n' >/etc/vestibule/vestibule.toml.d/may.toml
    ssh_refused alice+lab true
    printf '[may_enter]\nusers = ["nobody"]\n' >/etc/vestibule/vestibule.toml.d/may.toml
    ssh_refused alice+lab true
    rm /etc/vestibule/vestibule.toml.d/may.toml
    run_ok ssh_as alice+lab true
}

@test "what the client of a session can see: its own key and no other, no other session, and nothing of root's" {
    # shellcheck disable=SC2046  # options are words
    detached /run/box/logs/first.log ssh $(ssh_options alice) -l alice+lab bastion 'sleep 5005; echo very-secret-command'
    # shellcheck disable=SC2046  # options are words
    detached /run/box/logs/second.log ssh $(ssh_options alice) -l alice+lab bastion 'sleep 5006'
    wait_for 10 pgrep -f '^sleep 5006'
    wait_for 10 pgrep -f '^sleep 5005'
    local pid
    pid=$(pgrep -u vestibule-hop -x ssh | head -n 1)
    matches '^[0-9]+$' "$pid"
    # No command, no key and no user on a command line or in an environment.
    run_ok bash -c 'cat /proc/[0-9]*/cmdline | tr "\0" "\n"; for f in $(pgrep -u vestibule-hop); do tr "\0" "\n" <"/proc/$f/environ"; done'
    matches_not 'PRIVATE KEY' "$output"
    run_ok bash -c 'tr "\0" " " <"/proc/$1/cmdline"; tr "\0" " " <"/proc/$1/environ"' sh "$pid"
    matches_not 'secret|remy|198' "$output"
    # It is nobody, can become nobody, and has no capability.
    run_ok grep -E '^(Cap(Inh|Prm|Eff|Amb)|NoNewPrivs|Uid)' "/proc/$pid/status"
    is 0 "$(grep -c '^Cap.*[1-9a-f]$' <<<"$output")"
    matches 'NoNewPrivs:.1' "$output"
    # What is its own, and what is not.
    in_hop() { limit nsenter --target "$pid" --mount --pid setpriv --reuid vestibule-hop --regid vestibule-hop --clear-groups --inh-caps=-all "$@"; }
    run_ok in_hop ls /run/vestibule/hop
    is 'config control key known_hosts log' "$(tr '\n' ' ' <<<"$output" | sed 's/ $//')"
    run_any in_hop ls /etc/vestibule/proxy-keys/
    is '' "$output"
    fails in_hop cat /etc/vestibule/proxy-keys/other
    fails in_hop cat /var/lib/vestibule/store.db
    # The other session's client is not there for it, by its number or in /proc.
    run_ok in_hop sh -c 'ls -d /proc/[0-9]*'
    is_not '' "$output"
    local other
    for other in $(pgrep -u vestibule-hop -x ssh); do
        [[ $other == "$pid" ]] || fails in_hop kill -0 "$other"
    done
    run_ok in_hop sh -c 'cat /proc/[0-9]*/comm'
    is 1 "$(grep -c '^ssh$' <<<"$output")"
    # The host sees neither: the directory is empty, and nothing is left.
    is '' "$(ls -A /run/vestibule/hop)"
    expect_no_audit 'secret'
    pkill -KILL -f 'ssh .*alice[+]lab'
    wait_for 5 no_hop
}

@test "a worker that is killed leaves no client behind" {
    # shellcheck disable=SC2046  # options are words
    detached /run/box/logs/killed.log ssh $(ssh_options alice) -l alice+lab bastion 'sleep 5007'
    wait_for 10 pgrep -f '^sleep 5007'
    pkill -KILL -u vestibule-hop -x enter
    wait_for 5 no_hop
}

@test "the uid of the second hop opens nothing by itself" {
    run_any as_user vestibule-hop /usr/libexec/vestibule/enter --session x --target 1
    matches 'Permission denied' "$stderr"
    run_any as_user vestibule-hop cat "$PROXY_KEYS/bastion"
    matches 'Permission denied' "$stderr"
}
