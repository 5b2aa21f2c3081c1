#!/usr/bin/env bats
# README and the pages of docs/ are followed as a reader would: their commands are run, their files written, and what they show is
# compared with what is seen. What a page takes for granted (a machine that runs, a database, a laptop) is made here.
# needs: debian-image
# needs: jupyterhub

load ../lib/bastion

setup_file() {
    bastion_install
    bastion_init
    # As on a bastion with rsyslog.
    ln -sf "$AUDIT_LOG" /var/log/auth.log
    devlog_start
    cp /etc/pam.d/sshd "$BATS_FILE_TMPDIR/pam"
    mkdir -p /etc/ssh/sshd_config.d
    cp /usr/share/vestibule/sshd_config.d/10-vestibule.conf /etc/ssh/sshd_config.d/
    sshd_start 'Include /etc/ssh/sshd_config.d/*.conf'
    rm /etc/ssh/box/10-vestibule.conf
    useradd --create-home --shell /bin/bash you
    install -d -m 0700 -o you -g you /home/you/.ssh
    setpriv --reuid you --regid you --init-groups ssh-keygen -q -t ed25519 -N '' -C alice@laptop -f /home/you/.ssh/id_ed25519
    cp /home/you/.ssh/id_ed25519.pub /root/alice.pub
    cp /root/alice.pub /srv/alice.pub
    make_key bob
    cp "$KEYS/bob.pub" /root/bob.pub
    docker_start
    docker_image vt-debian
    docker_image vt-busybox
    docker tag vt-debian debian:12
    docker tag vt-busybox busybox
}

# A page may be followed after any other: it finds an empty store, and no configuration of another page.
setup() {
    pkill -x refresh-keys || true
    rm -f /etc/vestibule/vestibule.toml.d/*.toml /home/you/.ssh/config
    find /home/you -mindepth 1 -maxdepth 1 ! -name .ssh -exec rm -rf {} +
    if [[ -e /etc/ssh/sshd_config.d/05-vestibule-forward.conf ]]; then
        rm /etc/ssh/sshd_config.d/05-vestibule-forward.conf
        cp "$BATS_FILE_TMPDIR/pam" /etc/pam.d/sshd
        kill -HUP "$(</run/sshd.pid)"
        wait_for 5 sshd_answers
    fi
    local kind name
    for kind in target account; do
        while read -r name; do
            [[ -z $name ]] || limit vestibulectl "$kind" rm "$name" >/dev/null
        done < <(limit vestibulectl "$kind" list --json | jq -r '.[].name')
    done
    limit vestibulectl key unrevoke /root/alice.pub >/dev/null 2>&1 || true
    audit_mark
}

teardown() { show_logs_on_failure; }

follow() {
    TIMEOUT=110 run_any "$BOX_REPO/tests/lib/follow.py" "$BOX_REPO/$1" "${@:2}"
    [[ $status == 0 ]] || { echo "$output"; echo "$stderr"; return 1; }
}

# What README's five commands have done: a target lab, and alice, who may enter it.
lab_and_alice() {
    docker rm --force lab >/dev/null 2>&1 || true
    docker_run lab vt-debian
    limit vestibulectl target add lab --driver docker --container lab --user alice
    limit vestibulectl account add alice
    limit vestibulectl key add --account alice /root/alice.pub
    limit vestibulectl grant add alice lab
}

@test "README.md: the first session" {
    lab_and_alice
    follow README.md
}

@test "README.md, other ways: what it says of docker exec as ForceCommand is what happens" {
    local options
    docker rm --force plain >/dev/null 2>&1 || true
    docker_run plain vt-busybox
    printf '#!/bin/sh\nexec docker exec -i plain sh -c "$SSH_ORIGINAL_COMMAND"\n' >/usr/local/bin/into-plain
    chmod 0755 /usr/local/bin/into-plain
    getent group docker >/dev/null || groupadd --system docker
    chgrp docker /run/docker.sock
    useradd --create-home --groups docker --password '*' plain
    install -d -m 0700 -o plain -g plain /home/plain/.ssh
    install -m 0600 -o plain "$KEYS/bob.pub" /home/plain/.ssh/authorized_keys
    printf '%s\n' 'Match User plain' 'ForceCommand /usr/local/bin/into-plain' >/etc/ssh/sshd_config.d/plain.conf
    kill -HUP "$(</run/sshd.pid)"
    wait_for 5 sshd_answers
    options=$(ssh_options bob)
    # Exit statuses are right.
    KEY=bob run_rc 42 ssh_as plain 'exit 42'
    # The login user can use the engine's socket: a container of the host's files is root on the host.
    run_ok as_user plain env HOME=/ docker run --rm --volume /etc:/host busybox cat /host/shadow
    # No SFTP server in the image, no scp.
    # shellcheck disable=SC2086  # options are words
    run_rc 255 scp $options /root/bob.pub plain@bastion:
    # A forward ends on the bastion's loopback.
    detached /run/box/logs/loopback.log busybox nc -ll -p 9999 -e /bin/echo on-the-bastion
    # shellcheck disable=SC2086
    run_ok ssh $options -W 127.0.0.1:9999 plain@bastion
    is on-the-bastion "$output"
    # A command goes on when its client has gone.
    # shellcheck disable=SC2086
    detached /run/box/logs/plain.log ssh $options plain@bastion 'sleep 777'
    wait_for 5 sleeps_inside
    kill "$!"
    wait_for 5 fails pgrep -f 'sshd: plain'
    sleep 1
    run_ok sleeps_inside
    rm /etc/ssh/sshd_config.d/plain.conf
}

sleeps_inside() { docker exec plain ps | grep -q '[s]leep 777'; }

@test "docs/clients.md" {
    lab_and_alice
    follow docs/clients.md
}

@test "docs/docker.md" {
    docker rm --force lab >/dev/null 2>&1 || true
    follow docs/docker.md
}

@test "docs/podman.md, with a real Podman" {
    # An overlay can't be the upper layer of another: plain directories, on the tmpfs.
    cat >/etc/containers/storage.conf <<'CONF'
[storage]
driver = "vfs"
graphroot = "/run/box/containers"
runroot = "/run/containers"
CONF
    limit docker save debian:12 | TIMEOUT=60 limit podman load --quiet
    follow docs/podman.md
    pkill -x podman
}

@test "docs/nspawn-lxc.md: a machine of systemd-machined, and a container of LXC" {
    local cgroups=/sys/fs/cgroup
    [[ ! -d $cgroups/unified ]] || cgroups=$cgroups/unified
    busybox_root /run/box/images/vt-busybox
    mkdir -p /var/lib/machines/cell /var/lib/lxc/den
    cp -a /run/box/images/vt-busybox/. /var/lib/machines/cell
    cp -a /run/box/images/vt-busybox /var/lib/lxc/den/rootfs
    touch /var/lib/machines/cell/etc/os-release
    # systemd is not the first process here, so nobody made the machine's unit; and its tools ask whether it is.
    mkdir -p /run/dbus /run/systemd/system "$cgroups/machine.slice/systemd-nspawn@cell.service"
    detached /run/box/logs/dbus.log dbus-daemon --system --nofork --nopidfile
    wait_for 5 test -S /run/dbus/system_bus_socket
    detached /run/box/logs/machined.log /lib/systemd/systemd-machined
    wait_for 20 machined_answers
    # shellcheck disable=SC2016  # for that shell
    detached /run/box/logs/nspawn.log bash -c 'echo $$ >"$0/cgroup.procs" && exec systemd-nspawn --quiet --keep-unit --private-network --machine cell -D /var/lib/machines/cell /init' \
        "$cgroups/machine.slice/systemd-nspawn@cell.service"
    cat >/var/lib/lxc/den/config <<'CONF'
lxc.uts.name = den
lxc.rootfs.path = dir:/var/lib/lxc/den/rootfs
lxc.net.0.type = empty
lxc.init.cmd = /init
lxc.cap.drop = sys_module sys_rawio
lxc.mount.auto = proc:mixed sys:ro
lxc.apparmor.profile = unconfined
CONF
    run_ok lxc-start --name den
    wait_for 20 test -e /run/systemd/machines/cell
    follow docs/nspawn-lxc.md
    rmdir /run/systemd/system
}

machined_answers() { busctl list --acquired | grep -q 'org\.freedesktop\.machine1 .*systemd-machin'; }

@test "docs/projects.md, with a real PostgreSQL" {
    local bin data=/run/box/postgres
    bin=$(echo /usr/lib/postgresql/*/bin)
    install -d -o postgres -g postgres "$data" /run/postgresql
    as_postgres "$bin/initdb" -D "$data" --auth=peer >/run/box/logs/initdb.log 2>&1
    as_postgres "$bin/pg_ctl" -D "$data" -o "-h '' -k /run/postgresql -c fsync=off" -l "$data/log" -w start >/dev/null 2>&1 3>&-
    # `psql` as the page has it is the database's administrator.
    printf '#!/bin/sh\ncd /\nexec setpriv --reuid postgres --regid postgres --init-groups /usr/bin/psql -h /run/postgresql -q -v ON_ERROR_STOP=1 "$@"\n' >/usr/local/bin/psql
    chmod 0755 /usr/local/bin/psql
    as_postgres createdb -h /run/postgresql hub
    # Their image has the user.
    docker run --detach --name making debian:12 sleep infinity >/dev/null
    docker exec making userdel alice
    docker exec making useradd --uid 1000 --create-home --shell /bin/bash user
    docker commit making project >/dev/null
    docker rm --force making >/dev/null
    follow docs/projects.md
}

as_postgres() { (cd / && limit setpriv --reuid postgres --regid postgres --init-groups "$@"); }

@test "docs/django.md, with a real Django" {
    follow docs/django.md
}

@test "docs/jupyterhub.md, with a real JupyterHub" {
    local pid api=http://127.0.0.1:8081/hub/api token=tester-token-31c5 hub=(curl --silent --show-error --fail)
    hub+=(--header "Authorization: token $token")
    mkdir -p /srv/jupyterhub /run/box/hub
    install -d -o 1000 -g 1000 /srv/homes/alice
    # The hub of suite 280, without that suite's services, and with an image whose user is jovyan.
    docker run --detach --name making vt-busybox >/dev/null
    docker exec making sed -i 's/^alice:/jovyan:/; s,/home/alice,/home/jovyan,' /etc/passwd /etc/group
    docker commit making notebook >/dev/null
    docker rm --force making >/dev/null
    cat >/srv/jupyterhub/jupyterhub_config.py <<CONF
exec(open("$BOX_REPO/tests/lib/jupyterhub_config.py").read())
c.JupyterHub.services = [{"name": "tester", "api_token": "$token", "admin": True}]
c.JupyterHub.load_roles = []
c.DockerSpawner.image = "notebook"
CONF
    follow docs/jupyterhub.md --only "The hub's side"
    JUPYTERHUB_CRYPT_KEY=$(openssl rand -hex 32) VESTIBULE_TOKEN='' BLIND_TOKEN='' TESTER_TOKEN='' \
        detached /run/box/logs/hub.log "${JUPYTERHUB_VENV:?}/bin/python" -m jupyterhub --config /srv/jupyterhub/jupyterhub_config.py
    pid=$!
    TIMEOUT=60 wait_for 50 "${hub[@]}" "$api/"
    run_ok "${hub[@]}" --request POST "$api/users/alice"
    run_ok "${hub[@]}" --request POST "$api/users/alice/server"
    wait_for 20 docker exec jupyter-alice true
    follow docs/jupyterhub.md --only "The bastion's side"
    follow docs/jupyterhub.md --only "A key"
    run_ok "${hub[@]}" --request DELETE "$api/users/alice/server"
    wait_for 20 server_is_stopped
    follow docs/jupyterhub.md --only "Servers that sleep"
    run_ok docker exec jupyter-alice true
    kill "$pid"
}

server_is_stopped() { ! docker exec jupyter-alice true >/dev/null 2>&1; }

@test "docs/studios.md, with a hub and a SSH server at another address" {
    ln -s "$BOX_REPO/examples/reference-hub" /root/reference-hub
    ip address add 198.51.100.7/32 dev lo
    useradd --create-home --shell /bin/bash --password '*' studio
    install -d -m 0700 -o studio -g studio /home/studio/.ssh
    ssh-keygen -q -t ed25519 -N '' -f /etc/ssh/studio_key
    cp /etc/ssh/studio_key.pub /root/studio-7.pub
    printf '%s\n' 'ListenAddress 198.51.100.7:2222' 'HostKey /etc/ssh/studio_key' 'PidFile none' 'Subsystem sftp internal-sftp' >/etc/ssh/studio_config
    detached /run/box/logs/studio.log unshare --uts bash -c 'hostname studio-7; exec /usr/sbin/sshd -D -e -f /etc/ssh/studio_config'
    follow docs/studios.md
}

@test "docs/bastions.md" {
    follow docs/bastions.md
}

@test "docs/certificates.md" {
    lab_and_alice
    ssh-keygen -q -t ed25519 -N '' -C staff -f /root/staff_ca
    follow docs/certificates.md
    rm /etc/ssh/sshd_config.d/06-vestibule-certificates.conf
}

@test "docs/operations.md" {
    lab_and_alice
    follow docs/operations.md
}

@test "every page of docs/ is in its index and is followed by a test" {
    local page
    for page in "$BOX_REPO"/docs/*.md; do
        page=${page##*/}
        [[ $page != README.md ]] || continue
        run_ok grep -q -F "($page)" "$BOX_REPO/docs/README.md"
        run_ok grep -q -E "^    follow docs/$page( --only .*)?\$" "$BATS_TEST_FILENAME"
    done
}

@test "links between pages lead somewhere, headings included" {
    run_ok "$BOX_REPO/tests/lib/links.py" "$BOX_REPO"
    matches '^[1-9][0-9]+ links' "$output"
}
