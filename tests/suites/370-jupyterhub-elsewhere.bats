#!/usr/bin/env bats
# A JupyterHub on another machine: the bastion reaches its servers by the hub's proxy alone, over HTTPS and WebSocket, where
# jupyter-sshd-proxy has an sshd in each. Hub, proxy, servers and sshd are those of PyPI, npm and Debian.
# needs: jupyterhub

load ../lib/bastion
load ../lib/elsewhere

REFRESH=/usr/libexec/vestibule/refresh-keys
SECRET=vestibule-token-3f9a61c2
PKI=/run/box/pki

setup_file() {
    bastion_start
    # shellcheck disable=SC2034  # for elsewhere_start
    ELSEWHERE_BINDS=("${JUPYTERHUB_VENV:?}" "$BOX_REPO")
    elsewhere_start hub
    for name in ada bea; do
        in_elsewhere hub useradd --create-home --password '*' --shell /bin/bash "$name"
        make_key "$name"
    done
    limit vestibulectl proxy-key create bastion >/dev/null
    limit vestibulectl proxy-key show bastion --line | in_elsewhere hub sh -c 'cat >/etc/ssh/bastion_keys'
    certificate
    hub_start
    mkdir -p /etc/vestibule/secrets /etc/vestibule/tokens
    install -o vestibule-refresh -m 0400 /dev/stdin /etc/vestibule/secrets/hub <<<"$SECRET"
    install -o vestibule-hop -m 0400 /dev/stdin /etc/vestibule/tokens/hub <<<"$SECRET"
    cat >/etc/vestibule/vestibule.toml.d/hub.toml <<CONF
[site.hub]
url = "$(site)"
token_file = "/etc/vestibule/tokens/hub"
ca_file = "$PKI/ca.pem"
[source.hub]
kind = "jupyterhub"
url = "$(site)/hub/api"
ca_file = "$PKI/ca.pem"
token_file = "/etc/vestibule/secrets/hub"
sshd = { site = "hub" }
server = { user = "{raw_username}" }
allow = { websockets = ["hub:/user/*"] }
CONF
    for name in ada bea; do
        api POST "/users/$name" >/dev/null
    done
    server POST ada
    server POST bea
    limit "$REFRESH" --source hub
    # A hub without keys in auth_state: the administrator adds them.
    for name in ada bea; do
        limit vestibulectl key add --account "$name" "$KEYS/$name.pub" >/dev/null
    done
}

setup() { audit_mark; }
teardown() {
    [[ -n ${BATS_TEST_COMPLETED-} ]] || tail -n 30 /run/box/logs/hub.log
    show_logs_on_failure
}
teardown_file() { elsewhere_stop hub; }

site() { echo "https://$(elsewhere_address hub):8000"; }

# An authority, and the site's certificate by it.
certificate() {
    mkdir -p "$PKI"
    limit openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj '/CN=Test authority' \
        -keyout "$PKI/ca.key" -out "$PKI/ca.pem" 2>/dev/null
    limit openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj '/CN=hub' -keyout "$PKI/site.key" -out "$PKI/site.csr" 2>/dev/null
    limit openssl x509 -req -in "$PKI/site.csr" -CA "$PKI/ca.pem" -CAkey "$PKI/ca.key" -CAcreateserial -days 2 -out "$PKI/site.pem" \
        -extfile <(echo "subjectAltName=IP:$(elsewhere_address hub)") 2>/dev/null
    chmod 0644 "$PKI/ca.pem"
    in_elsewhere hub mkdir -p /srv/hub
    for file in site.pem site.key; do
        in_elsewhere hub sh -c "cat >/srv/hub/$file" <"$PKI/$file"
    done
}

hub_start() {
    detached /run/box/logs/hub.log nsenter --target "$(elsewhere_pid hub)" --mount --net --pid --ipc --uts -- \
        env -i PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LANG=C.UTF-8 \
        "JUPYTERHUB_VENV=$JUPYTERHUB_VENV" "ADDRESS=$(elsewhere_address hub)" "VESTIBULE_TOKEN=$SECRET" \
        BLIND_TOKEN=blind-token-77aa01 TESTER_TOKEN=tester-token-5512ab \
        sh -c 'cd /srv/hub && exec "$JUPYTERHUB_VENV/bin/python" -m jupyterhub --config "$1"' sh "$BOX_REPO/tests/lib/jupyterhub_elsewhere.py"
    TIMEOUT=60 wait_for 50 api GET /
}

# api METHOD PATH: as the hub's administrator, by its proxy.
api() {
    limit curl --silent --show-error --fail-with-body --cacert "$PKI/ca.pem" --request "$1" \
        --header 'Authorization: token tester-token-5512ab' "$(site)/hub/api$2"
}

# server METHOD USER [NAME]: starts (POST) or stops (DELETE) a server, and waits until it is so.
server() {
    local path=/users/$2/server
    [[ -z ${3-} ]] || path=/users/$2/servers/$3
    api "$1" "$path"
    if [[ $1 == POST ]]; then TIMEOUT=70 wait_for 60 is_ready "$2" "${3-}"; else TIMEOUT=70 wait_for 60 is_stopped "$2" "${3-}"; fi
}
is_ready() { [[ $(api GET "/users/$1" | jq --arg server "$2" '.servers[$server].ready') == true ]]; }
is_stopped() { [[ $(api GET "/users/$1" | jq --arg server "$2" '.servers | has($server)') == false ]]; }

@test "ssh ada@bastion is a session in the server that the hub runs for ada on another machine, and in no other's" {
    run_ok ssh_as ada 'whoami; hostname; echo err >&2'
    is $'ada\nhub' "$output"
    is err "$stderr"
    run_rc 7 ssh_on_terminal 31x97 -- ada 'stty size; exit 7'
    matches '31 97' "$output"
    KEY=ada ssh_refused bea true
    KEY=ada ssh_refused ada+bea true
    expect_audit 'event=start target=ada account=ada user="ada"'
}

@test "the key that the server had the first time is the one that it must have from then on" {
    run_ok ssh_as bea whoami
    is bea "$output"
    wait_for 5 pinned bea
    run_ok limit vestibulectl target show bea
    matches "$(literally "$(in_elsewhere hub ssh-keygen -l -f /home/bea/.ssh/jupyter_sshd_hostkey.pub | cut -d ' ' -f 2)")" "$output"
    # A refresh of everything keeps it.
    run_ok limit "$REFRESH" --source hub --full
    pinned bea
    # Somebody in the hub's network puts another server in its place.
    server DELETE bea
    in_elsewhere hub rm /home/bea/.ssh/jupyter_sshd_hostkey
    server POST bea
    run_rc 214 ssh_as bea whoami
    matches "'bea' has another host key" "$stderr"
    run_ok limit vestibulectl target set bea --driver ssh --site hub --path /user/bea/sshd/ --host-key learn
    run_ok ssh_as bea whoami
    is bea "$output"
}
pinned() { limit vestibulectl target show "$1" | grep -q '^host key   [a-z]'; }

@test "scp, sftp and rsync carry files there and back" {
    local options
    options=$(ssh_options ada)
    head -c 3000000 /dev/urandom >"$BATS_TEST_TMPDIR/in"
    # shellcheck disable=SC2086  # options are words
    run_ok limit scp $options "$BATS_TEST_TMPDIR/in" ada@bastion:by-scp
    run_ok in_elsewhere hub cmp /home/ada/by-scp /dev/stdin <"$BATS_TEST_TMPDIR/in"
    # shellcheck disable=SC2086
    run_ok limit rsync -e "ssh $options" ada@bastion:by-scp "$BATS_TEST_TMPDIR/out"
    run_ok cmp "$BATS_TEST_TMPDIR/in" "$BATS_TEST_TMPDIR/out"
}

@test "a server with a name is ada+lab@bastion" {
    server POST ada lab
    run_ok limit "$REFRESH" --source hub
    run_ok ssh_as ada+lab 'echo $JUPYTERHUB_SERVER_NAME; pwd'
    matches '/home/ada' "$output"
    run_ok limit vestibulectl target show ada--lab
    matches 'WebSocket /user/ada/lab/sshd/ of hub' "$output"
    server DELETE ada lab
}

@test "a server that does not run is started by the hub, if its policy says so, and whoever waits sees what the hub tells" {
    server DELETE bea
    limit vestibulectl target set bea --wake hub
    run_ok ssh_as bea whoami
    is bea "$output"
    matches 'Server ready' "$stderr"
    expect_audit 'event=wake target=bea by=hub result=ready'
    # One that runs is gone to, and nobody is asked.
    audit_mark
    run_ok ssh_as bea whoami
    is '' "$stderr"
    expect_no_audit event=wake
    # What no start mends is not tried.
    echo blind-token-77aa01 >/etc/vestibule/tokens/hub
    run_any ssh_as bea true
    is 209 "$status"
    matches "'bea' can't be reached: .*403" "$stderr"
    expect_no_audit event=wake
    echo "$SECRET" >/etc/vestibule/tokens/hub
    limit vestibulectl target set bea --wake none
}

@test "a server that does not run, a token without access and a hub that is away are said to be so, without the token" {
    server DELETE bea
    run_any ssh_as bea true
    is 209 "$status"
    matches "^vestibule: 'bea' can't be reached: .* \\(session [0-9a-z]+\\)\$" "$stderr"
    echo blind-token-77aa01 >/etc/vestibule/tokens/hub
    run_any ssh_as ada true
    is 209 "$status"
    matches "'ada' can't be reached: .*403" "$stderr"
    echo "$SECRET" >/etc/vestibule/tokens/hub
    run_ok ssh_as ada true
    ip link set to-hub down
    run_any ssh_as ada true
    [[ $status == 209 || $status == 204 ]]
    ip link set to-hub up
    expect_no_audit 'token-(3f9|77a)'
    fails grep -r -e "$SECRET" -e blind-token /run/box/logs/audit.log /run/box/logs/sshd.log
}
