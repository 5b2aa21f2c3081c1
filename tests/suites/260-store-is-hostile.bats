#!/usr/bin/env bats
# Whoever writes the store, a hub or somebody who took its user over, can't make the bastion enter what root's configuration
# does not let be entered, whatever the rows say.

load ../lib/bastion

setup_file() {
    bastion_start
    sandbox_start lab
    docker_run den vt-busybox
    docker_run agent vt-busybox --cap-add SYS_MODULE --cap-add SYS_PTRACE
    docker_run watcher vt-busybox --pid host
    docker_run router vt-busybox --network host
    docker_run loader vt-busybox --cap-add SYS_MODULE
    docker_run digger vt-busybox --cap-add SYS_RAWIO
    docker_run mounter vt-busybox --cap-add SYS_ADMIN
    add_person alice
    local name
    for name in den agent watcher router loader digger mounter; do
        vestibulectl target add "$name" --driver docker --container "$name" --user alice
        vestibulectl grant add alice "$name"
    done
    vestibulectl target add lab --driver namespace --pid-file "$SANDBOX_PIDS/lab.pid" --user alice
    vestibulectl grant add alice lab
}

setup() { audit_mark; }

teardown() {
    rm -f /etc/vestibule/vestibule.toml.d/may.toml
    show_logs_on_failure
}

may() { printf '[may_enter]\n%s\n' "$1" >/etc/vestibule/vestibule.toml.d/may.toml; }

# as_owner SQL: the store's owner writes what vestibulectl and refresh-keys never would.
as_owner() {
    as_user vestibule-refresh python3 -c '
import sqlite3, sys
db = sqlite3.connect("/var/lib/vestibule/store.db", timeout=10)
db.executescript(sys.argv[1])
db.commit()' "$1"
}

refused() {
    run_rc 201 ssh_as "alice+$1" true
    matches "vestibule: this bastion's configuration lets nobody enter '$1'; tell the operator" "$stderr"
    expect_audit "result=refused exit=201 .*cause=\"'[a-z]*:?$1', which $2, is not among 'may_enter.privileged'"
}

@test "a container in which root is root on the bastion is not entered" {
    refused agent 'may load kernel modules'
    refused watcher "sees the bastion's processes"
    refused router "is in the bastion's own network"
    refused loader 'may load kernel modules'
    refused digger 'may reach the hardware'
    run_ok ssh_as alice+den true
    run_ok ssh_as alice+lab true
    run_ok ssh_as alice+mounter true
}

@test "unless root's configuration names it, by name and not by likeness" {
    may 'privileged = ["docker:agen", "docker:wat*"]'
    run_ok ssh_as alice+watcher true
    refused agent 'may load kernel modules'
    may 'privileged = ["podman:agent", "pid_file:*"]'
    refused agent 'may load kernel modules'
    may 'privileged = ["docker:agent"]'
    run_ok ssh_as alice+agent true
}

@test "by the engine's exec neither" {
    local name
    for name in agent watcher router loader digger; do
        vestibulectl target set "$name" --driver docker --container "$name" --exec engine
        run_rc 201 ssh_as "alice+$name" true
        matches "this bastion's configuration lets nobody enter '$name'" "$stderr"
    done
    vestibulectl target set den --driver docker --container den --exec engine
    run_ok ssh_as alice+den true
    may 'privileged = ["docker:agent"]'
    run_ok ssh_as alice+agent true
    for name in den agent watcher router loader digger; do
        vestibulectl target set "$name" --driver docker --container "$name" --exec namespaces
    done
}

@test "rows that say they are the administrator's are held to it like all others" {
    may 'containers = ["docker:den"]
leaders = ["lxc:*"]
addresses = ["10.0.0.*:22"]
users = ["alice"]'
    run_ok ssh_as alice+den true
    as_owner "
INSERT INTO targets(name, driver, login_user, policy, source, created, updated)
  SELECT 'forged', '{\"driver\":\"docker\",\"container\":\"mounter\"}', 'alice', '{}', 'local', 1, 1;
INSERT INTO grants(account_id, target_id, source, created)
  SELECT a.id, t.id, 'local', 1 FROM accounts a, targets t WHERE a.name = 'alice' AND t.name = 'forged';
UPDATE target_names SET target_id = (SELECT id FROM targets WHERE name = 'forged') WHERE name = 'mounter';"
    ssh_refused alice+mounter true
    expect_audit "result=denied for=sshd login=\"alice.mounter\" .*reason=not-allowed"
    run_ok vestibulectl explain alice+mounter --key "$KEYS/alice.pub"
    matches "sshd gets no line: 'docker:mounter' is not among 'may_enter.containers' of the configuration" "$output"
    ssh_refused alice+lab true
    as_owner "
UPDATE target_names SET target_id = (SELECT id FROM targets WHERE name = 'mounter') WHERE name = 'mounter';
DELETE FROM grants WHERE target_id = (SELECT id FROM targets WHERE name = 'forged');
DELETE FROM targets WHERE name = 'forged';"
}

@test "nor as another user, nor by the container's number, nor over an alias of it" {
    may 'containers = ["docker:den"]
users = ["alice"]'
    local id
    id=$(docker inspect --format '{{.Id}}' den)
    vestibulectl target add other --driver docker --container "$id" --user alice --alias den2
    vestibulectl grant add alice other
    ssh_refused alice+other true
    ssh_refused alice+den2 true
    vestibulectl target set other --driver docker --container den
    run_ok ssh_as alice+other true
    local user
    for user in root 0 1000 '{account}'; do
        vestibulectl target set other --user "$user"
        ssh_refused alice+other true
    done
    vestibulectl target rm other
}

@test "whoever has the uid of all logins is held to it by the program that enters" {
    local id
    id=$(vestibulectl target show mounter --json | python3 -c 'import json, sys; print(json.load(sys.stdin)["id"])')
    may 'containers = ["docker:den"]'
    # shellcheck disable=SC2016  # for that shell
    run_any as_user vestibule sh -c 'true | /usr/libexec/vestibule/enter --session a1 --target "$1" --account alice 2>&1 | cat' sh "$id"
    matches "lets nobody enter 'mounter'" "$output"
    may 'containers = ["*"]'
    # shellcheck disable=SC2016
    run_any as_user vestibule sh -c 'true | VESTIBULE_COMMAND="echo in" /usr/libexec/vestibule/enter --session a2 --target "$1" --account alice 2>&1 | cat' sh "$id"
    matches 'in' "$output"
}

@test "the bastion goes to no address, and reads keys of no home, that is not among those it may" {
    vestibulectl target add metadata --driver tcp --address 127.0.0.1:22
    vestibulectl grant add alice metadata
    run_ok vestibulectl explain alice+metadata --key "$KEYS/alice.pub"
    matches 'permitopen="127.0.0.1:22"' "$output"
    may 'addresses = ["10.0.0.*:22"]'
    run_ok vestibulectl explain alice+metadata --key "$KEYS/alice.pub"
    matches "'127.0.0.1:22' is not among 'may_enter.addresses'" "$output"
    run_any limit ssh_as alice+metadata </dev/null
    matches_not 'SSH-2.0' "$output"

    make_key admin
    mkdir -p /root/.ssh /srv/homes/lab/.ssh
    cp "$KEYS/admin.pub" /root/.ssh/authorized_keys
    cp "$KEYS/admin.pub" /srv/homes/lab/.ssh/authorized_keys
    vestibulectl target set lab --home /root
    may 'homes = ["/srv/homes"]'
    run_ok vestibulectl explain lab --key "$KEYS/admin.pub"
    matches "own: not used: its home is not below one of 'may_enter.homes' of the configuration" "$output"
    KEY='admin' ssh_refused lab true
    vestibulectl target set lab --home /srv/homes/lab
    KEY='admin' run_ok ssh_as lab whoami
    is alice "$output"
}
