#!/usr/bin/env bats
# Three bastions, each with a store of its own, all fed from one PostgreSQL, behind a balancer of TCP connections. What holds on
# one holds on all within a second; what is cut off lets nobody in and keeps nobody out beyond max_stale.

load ../lib/bastion
load ../lib/bastions

REFRESH=/usr/libexec/vestibule/refresh-keys
DATA=/run/box/postgres
HAPROXY=/run/box/haproxy.cfg
ALL=(1 2 3)
# Seconds. No source may say less than 60.
STALE=60

setup_file() {
    bastion_install
    bastion_init
    devlog_start
    bastions_wire
    sandbox_start lab
    mkdir -p "$KEYS" "$BASTIONS/keys"
    pg_init
    local name number
    for name in alice bob; do make_key "$name"; done
    {
        cat <<'SQL'
CREATE TABLE people(name text PRIMARY KEY, active boolean NOT NULL DEFAULT true);
CREATE TABLE keys(person text, key text);
CREATE TABLE studios(name text PRIMARY KEY, driver text);
CREATE TABLE members(person text, studio text, until timestamptz);
CREATE FUNCTION tell() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN PERFORM pg_notify('vestibule', 'account:' || coalesce(NEW.person, OLD.person)); RETURN NULL; END $$;
CREATE TRIGGER tell AFTER INSERT OR UPDATE OR DELETE ON keys FOR EACH ROW EXECUTE FUNCTION tell();
CREATE TRIGGER tell AFTER INSERT OR UPDATE OR DELETE ON members FOR EACH ROW EXECUTE FUNCTION tell();
CREATE ROLE reader LOGIN PASSWORD 'pg-secret-77';
SQL
        echo "INSERT INTO studios VALUES('lab', '{\"driver\": \"namespace\", \"leader\": {\"pid_file\": \"$SANDBOX_PIDS/lab.pid\"}}');"
        for name in alice bob carol; do echo "INSERT INTO people VALUES('$name'); INSERT INTO members VALUES('$name', 'lab', NULL);"; done
        for name in alice bob; do echo "INSERT INTO keys VALUES('$name', '$(<"$KEYS/$name.pub")');"; done
        echo 'GRANT SELECT ON ALL TABLES IN SCHEMA public TO reader;'
    } | sql
    mkdir -p /etc/vestibule/secrets
    (umask 077 && echo pg-secret-77 >/etc/vestibule/secrets/platform)
    chown vestibule-refresh /etc/vestibule/secrets/platform
    cat >/etc/vestibule/vestibule.toml.d/platform.toml <<CONF
[source.platform]
kind = "postgres"
connect = "host=10.79.0.1 port=5499 dbname=postgres user=reader target_session_attrs=read-write"
password_file = "/etc/vestibule/secrets/platform"
ca_file = "/run/box/tls/ca.pem"
listen = "vestibule"
max_stale = $STALE
accounts = "SELECT name, active FROM people"
keys = "SELECT person AS account, key FROM keys"
targets = "SELECT name, driver, 'alice' AS user FROM studios"
grants = "SELECT person AS account, studio AS target, extract(epoch FROM until)::bigint AS expires FROM members"
allow.leaders = ["pid_file:$SANDBOX_PIDS/*"]
max_shrink = 1.0
CONF
    host_keys
    for number in "${ALL[@]}"; do
        bastion_up "$number" "HostKey $BASTIONS/keys/shared"
        follow "$number"
    done
    balance
    for number in "${ALL[@]}"; do wait_for 10 opens "$number" alice; done
}

setup() { audit_mark; }
teardown() {
    [[ -n ${BATS_TEST_COMPLETED:-} ]] || tail -n 8 /run/box/logs/follow-?.log /run/box/logs/haproxy.log
    show_logs_on_failure
}
teardown_file() { pg stop -m fast; }

as_postgres() { (cd / && setpriv --reuid postgres --regid postgres --init-groups "$@"); }
pg() { as_postgres "$(</run/box/pg-bin)/pg_ctl" -D "$DATA" -l "$DATA/log" -w "$@" >/dev/null 2>&1 3>&-; }
pg_init() {
    local tls=/run/box/tls
    echo /usr/lib/postgresql/*/bin >/run/box/pg-bin
    install -d -o postgres -g postgres "$DATA" /run/postgresql
    echo boss >/run/box/pw
    chmod 0644 /run/box/pw
    as_postgres "$(</run/box/pg-bin)/initdb" -D "$DATA" --auth-local=peer --auth-host=scram-sha-256 --pwfile=/run/box/pw >/run/box/logs/initdb.log 2>&1
    mkdir -p "$tls"
    openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=site -keyout "$tls/ca.key" -out "$tls/ca.pem" 2>/dev/null
    openssl req -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -subj /CN=db -keyout "$tls/server.key" -out "$tls/server.csr" 2>/dev/null
    openssl x509 -req -in "$tls/server.csr" -CA "$tls/ca.pem" -CAkey "$tls/ca.key" -CAcreateserial -days 2 -out "$tls/server.crt" \
        -extfile <(printf 'subjectAltName = IP:10.79.0.1\nbasicConstraints = CA:FALSE\n') 2>/dev/null
    install -o postgres -m 0600 "$tls/server.key" "$tls/server.crt" "$DATA/"
    echo 'hostssl all all 10.79.0.0/24 scram-sha-256' >>"$DATA/pg_hba.conf"
    printf '%s\n' "listen_addresses = '10.79.0.1'" 'port = 5499' 'ssl = on' 'fsync = off' >>"$DATA/postgresql.conf"
    pg start
}
sql() { (cd / && limit setpriv --reuid postgres --regid postgres --init-groups psql -q -v ON_ERROR_STOP=1 -h /run/postgresql -p 5499 postgres); }

# One key that all have; and, for another port, one of its own for each, with a certificate of the site's authority. (A client that
# knows the first would be offered the second, were they at one port.)
host_keys() {
    local number
    ssh-keygen -q -t ed25519 -N '' -f "$BASTIONS/keys/shared"
    ssh-keygen -q -t ed25519 -N '' -f "$BASTIONS/keys/authority"
    for number in "${ALL[@]}"; do
        ssh-keygen -q -t ed25519 -N '' -f "$BASTIONS/keys/own-$number"
        ssh-keygen -q -s "$BASTIONS/keys/authority" -h -I "bastion-$number" -n bastion -V +2d "$BASTIONS/keys/own-$number.pub"
    done
    printf 'bastion %s\n' "$(<"$BASTIONS/keys/shared.pub")" >/etc/ssh/ssh_known_hosts
}

# follow NUMBER: the service that keeps the bastion's store.
follow() {
    bastion_detached "$1" "/run/box/logs/follow-$1.log" "$REFRESH" --follow
    echo "$!" >"$BASTIONS/$1.follow"
}

# balance: 127.0.0.1:22 is whichever bastion is up. A bastion is if it says that it speaks SSH.
balance() {
    {
        cat <<'CONF'
defaults
    mode tcp
    timeout connect 2s
    timeout client 1h
    timeout server 1h
    timeout check 2s
    balance roundrobin
    option tcp-check
    tcp-check expect rstring ^SSH-2.0-
CONF
        local number port
        for port in 22 2222; do
            printf 'listen bastions-%s\n    bind 127.0.0.1:%s\n' "$port" "$port"
            for number in "${ALL[@]}"; do
                echo "    server bastion-$number 10.79.0.1$number:$port check inter 500ms fall 2 rise 1 on-marked-down shutdown-sessions"
            done
        done
    } >"$HAPROXY"
    detached /run/box/logs/haproxy.log haproxy -db -f "$HAPROXY"
    wait_for 5 sshd_answers
}

# opens NUMBER KEY: that key opens lab through that bastion.
opens() { KEY=$2 at "$1" lab true 2>/dev/null; }
# answer NUMBER KEY: what sshd there is told, without a login: how many bytes.
answer() { in_bastion "$1" setpriv --reuid vestibule-keys --regid vestibule-keys --init-groups /usr/libexec/vestibule/keys-lookup lab "$(fingerprint "$2")" | wc -c; }
# all_say WORD KEY: `yes` if each bastion lets the key in, `no` if none does.
all_say() {
    local number bytes
    for number in "${ALL[@]}"; do
        bytes=$(answer "$number" "$2")
        if [[ $1 == yes ]]; then ((bytes > 0)) || return 1; else ((bytes == 0)) || return 1; fi
    done
}
# noted: which bastion printed this SSH_CONNECTION; all_served: each did.
noted() { cut -d ' ' -f 3 <<<"$output" >>"$BATS_TEST_TMPDIR/served"; }
all_served() { is $'10.79.0.11\n10.79.0.12\n10.79.0.13' "$(sort -u "$BATS_TEST_TMPDIR/served")"; }
now() { date +%s%3N; }
# until_all_say WORD KEY: milliseconds until they do.
until_all_say() {
    local begin
    begin=$(now)
    until all_say "$@"; do (($(now) - begin < 10000)) || return 1; done
    echo $(($(now) - begin))
}
key_of() { echo "INSERT INTO keys VALUES('$1', '$(<"$KEYS/$1.pub")')" | sql; }
no_key_of() { echo "DELETE FROM keys WHERE person = '$1'" | sql; }

@test "ssh bastion goes to one of three, round and round, and the client sees one machine" {
    for _ in 1 2 3 4 5 6; do
        # shellcheck disable=SC2016  # for that shell
        run_ok ssh_as lab 'echo "$SSH_CONNECTION"'
        noted
    done
    all_served
}

@test "with certificates each bastion has a host key of its own, and the client knows the authority only" {
    local number known="-p 2222 -o HostKeyAlias=bastion -o GlobalKnownHostsFile=$BATS_TEST_TMPDIR/known"
    for number in "${ALL[@]}"; do
        in_bastion "$number" sh -c "sed -e 's|^HostKey.*|HostKey $BASTIONS/keys/own-$number\nHostCertificate $BASTIONS/keys/own-$number-cert.pub|' \
            -e 's|:22\$|:2222|' -e 's|^PidFile.*|PidFile none|' /etc/ssh/sshd_config.box >/etc/ssh/sshd_config.certificate"
        bastion_detached "$number" "/run/box/logs/sshd-$number.log" /usr/sbin/sshd -D -e -f /etc/ssh/sshd_config.certificate
    done
    printf '@cert-authority bastion %s\n' "$(<"$BASTIONS/keys/authority.pub")" >"$BATS_TEST_TMPDIR/known"
    SSH_OPTIONS=$known wait_for 10 ssh_as lab true
    sleep 1
    for _ in 1 2 3 4 5 6; do
        # shellcheck disable=SC2016  # for that shell
        SSH_OPTIONS=$known run_ok ssh_as lab 'echo "$SSH_CONNECTION"'
        noted
    done
    all_served
    # Somebody else's machine in their place: its key is in no certificate of this authority.
    printf '@cert-authority bastion %s\n' "$(<"$BASTIONS/keys/shared.pub")" >"$BATS_TEST_TMPDIR/known"
    SSH_OPTIONS=$known run_rc 255 ssh_as lab hostname
    matches 'Host key verification failed' "$stderr"
}

@test "a key that is added, and one that is revoked, is so on all three within a second of the commit" {
    local round added=() revoked=()
    make_key carol
    for round in 1 2 3 4 5; do
        key_of carol
        added+=("$(until_all_say yes carol)")
        [[ $round != 1 ]] || { opens 1 carol && opens 2 carol && opens 3 carol; }
        no_key_of carol
        revoked+=("$(until_all_say no carol)")
    done
    echo "# until all three knew, in ms: added ${added[*]}, revoked ${revoked[*]}" >&3
    # The middle of five: this machine has other things to do, too.
    (($(printf '%s\n' "${added[@]}" | sort -n | sed -n 3p) < 1000))
    (($(printf '%s\n' "${revoked[@]}" | sort -n | sed -n 3p) < 1000))
    fails opens 1 carol
    fails opens 2 carol
    fails opens 3 carol
}

@test "what lives through each bastion ends when the key is revoked; sessions are listed where they are" {
    local number begin
    key_of carol
    until_all_say yes carol
    for number in "${ALL[@]}"; do
        stays "$number" carol "$BATS_TEST_TMPDIR/session-$number" sleep 300
    done
    for number in "${ALL[@]}"; do
        wait_for 10 lives "$number" 1
    done
    no_key_of carol
    begin=$(now)
    for number in "${ALL[@]}"; do wait_for 10 lives "$number" 0; done
    echo "# three sessions were over after $(($(now) - begin)) ms" >&3
    grep -q 'was taken away' "$BATS_TEST_TMPDIR/session-1"
}
# stays NUMBER PERSON LOG CMD...: a session through that bastion, and nobody waits for it.
stays() {
    # shellcheck disable=SC2046  # options are words
    detached "$3" ssh $(ssh_options "$2") -o HostKeyAlias=bastion -l "$2+lab" "10.79.0.1$1" "${@:4}"
}
# lives NUMBER COUNT
lives() { [[ $(in_bastion "$1" vestibulectl sessions --json | jq length) == "$2" ]]; }

@test "from= sees the balancer where it ends connections, and the client where it passes packets on" {
    # haproxy is the client of the bastions.
    run_ok ssh_as lab 'echo "${SSH_CONNECTION%% *}"'
    is 10.79.0.1 "$output"
    # The same by the kernel, which changes where a packet goes and not where it is from.
    ip netns add laptop
    ip link add to-laptop type veth peer name eth0 netns laptop
    ip addr add 10.80.0.1/24 dev to-laptop
    ip link set to-laptop up
    ip -n laptop addr add 10.80.0.2/24 dev eth0
    ip -n laptop link set eth0 up
    echo 1 >/proc/sys/net/ipv4/ip_forward
    local number every=3
    for number in "${ALL[@]}"; do
        iptables -t nat -A PREROUTING -d 10.80.0.1 -p tcp --dport 22 -m statistic --mode nth --every "$every" --packet 0 -j DNAT --to-destination "10.79.0.1$number"
        every=$((every - 1))
    done
    make_key dave
    echo "INSERT INTO people VALUES('dave'); INSERT INTO members VALUES('dave', 'lab', NULL);
        INSERT INTO keys VALUES('dave', 'from=\"10.80.0.2\" $(<"$KEYS/dave.pub")')" | sql
    until_all_say yes dave
    local options
    options=$(ssh_options dave)
    for _ in 1 2 3; do
        # shellcheck disable=SC2016,SC2086  # for that shell; options are words
        run_ok limit ip netns exec laptop ssh $options -o HostKeyAlias=bastion -l dave+lab 10.80.0.1 'echo "$SSH_CONNECTION"'
        is 10.80.0.2 "${output%% *}"
        noted
    done
    all_served
    KEY=dave ssh_refused dave+lab true
    ip netns del laptop
    iptables -t nat -F PREROUTING
}

@test "a bastion that is down is passed by, and what is not its own goes on" {
    local pid
    stays 1 alice "$BATS_TEST_TMPDIR/kept" 'sleep 6; echo kept'
    wait_for 5 lives 1 1
    pid=$(in_bastion 2 cat /run/sshd.pid)
    kill "$pid"
    wait_for 5 fails kill -0 "$pid"
    sleep 2
    for _ in 1 2 3 4 5 6; do run_ok ssh_as lab true; done
    wait_for 10 grep -q kept "$BATS_TEST_TMPDIR/kept"
    bastion_detached 2 /run/box/logs/sshd-2.log /usr/sbin/sshd -D -e -f /etc/ssh/sshd_config.box
    wait_for 5 opens 2 alice
}

@test "a bastion that is killed while it takes changes over, and PostgreSQL that is restarted: all know again at once" {
    local number
    make_key erin
    kill -KILL "$(<"$BASTIONS/3.follow")"
    key_of_new erin
    wait_for 5 eval '(($(answer 1 erin) > 0 && $(answer 2 erin) > 0))'
    is 0 "$(answer 3 erin)"
    follow 3
    wait_for 5 eval '(($(answer 3 erin) > 0))'
    pg restart -m immediate
    for number in "${ALL[@]}"; do run_ok at "$number" lab true; done
    no_key_of erin
    # Who has lost a connection asks for everything; nothing that was said meanwhile is missed.
    wait_for 30 all_say no erin
}
key_of_new() {
    echo "INSERT INTO people VALUES('$1'); INSERT INTO members VALUES('$1', 'lab', NULL);" | sql
    key_of "$1"
}

@test "one bastion that hears nothing more, without being told: until max_stale it knows what it knew, then it lets nobody in, then it knows what there is" {
    make_key frank
    make_key grace
    key_of_new frank
    until_all_say yes frank
    local cut began
    # Packets are lost: no end of a connection, no refusal.
    for cut in INPUT:--sport OUTPUT:--dport; do in_bastion 2 iptables -A "${cut%:*}" -p tcp "${cut#*:}" 5499 -j DROP; done
    began=$(now)
    no_key_of frank
    key_of_new grace
    wait_for 5 eval '(($(answer 1 frank) == 0 && $(answer 3 frank) == 0 && $(answer 1 grace) > 0 && $(answer 3 grace) > 0))'
    # The state of this one is old, and whole: nobody else is kept out, nobody new is let in.
    opens 2 frank
    opens 2 alice
    is 0 "$(answer 2 grace)"
    # Beforehand it says so.
    TIMEOUT=60 wait_for 50 eval 'in_bastion 2 vestibulectl sources | grep -q ageing'
    opens 2 frank
    wait_for 60 eval '(($(answer 2 frank) == 0))'
    local after=$(($(now) - began))
    echo "# cut off, what was revoked elsewhere held for $((after / 1000)) s; max_stale is $STALE s" >&3
    ((after < (STALE + 3) * 1000))
    fails opens 2 alice
    run_any in_bastion 2 vestibulectl doctor
    matches "the source 'platform' has not answered since .*: its keys have ceased to count" "$output"
    # The others have not noticed.
    opens 1 alice
    opens 3 grace
    in_bastion 2 iptables -F
    began=$(now)
    wait_for 60 eval '(($(answer 2 grace) > 0))'
    echo "# back, it knew after $((($(now) - began) / 1000)) s" >&3
    opens 2 alice
    fails opens 2 frank
}

@test "PostgreSQL is gone: all let in whom they knew, for max_stale; back, it is as it was" {
    local number began
    wait_for 30 all_say yes alice
    pg stop -m immediate
    began=$(now)
    for number in "${ALL[@]}"; do opens "$number" alice; done
    sleep $((STALE / 2 - 10))
    for number in "${ALL[@]}"; do opens "$number" alice; done
    run_rc 255 at 1 lab@nobody true
    wait_for 80 all_say no alice
    local after=$(($(now) - began))
    echo "# without PostgreSQL keys counted for $((after / 1000)) s" >&3
    ((after < (STALE + 3) * 1000))
    pg start
    began=$(now)
    wait_for 60 all_say yes alice
    echo "# with it again, all three let in after $((($(now) - began) / 1000)) s" >&3
    for number in "${ALL[@]}"; do opens "$number" grace; done
}

@test "a grant ends on all three when its time is over, without anybody saying anything" {
    make_key heidi
    echo "INSERT INTO people VALUES('heidi'); INSERT INTO members VALUES('heidi', 'lab', now() + interval '8 seconds');" | sql
    key_of heidi
    wait_for 5 all_say yes heidi
    wait_for 15 all_say no heidi
}
