#!/usr/bin/env bats
# vestibulectl on a host: init, check, sessions, and as whom it works. What it makes of its arguments is tested in
# src/vestibulectl/tests.

load ../lib/bastion

setup_file() {
    bastion_start
    sandbox_start lab
    limit vestibulectl target add lab --driver namespace --pid-file "$SANDBOX_PIDS/lab.pid" --user alice >/dev/null
    add_person alice --default-target lab
    limit vestibulectl grant add alice lab >/dev/null
    cp /usr/share/vestibule/sshd_config.d/10-vestibule.conf /etc/ssh/sshd_config.d/
}

setup() { audit_mark; }

teardown() { show_logs_on_failure; }

@test "init makes users, directories, store and index, and can be run again" {
    run_ok vestibulectl init
    run_ok id -nG vestibule-keys
    is 'vestibule-keys vestibule' "$output"
    run_ok stat -c '%a %U:%G %n' /var/lib/vestibule /usr/share/vestibule/empty /var/lib/vestibule/{store.db,store.db-wal,store.db-shm,names.idx} \
        /run/vestibule /run/vestibule/{sessions,used} /etc/vestibule /etc/vestibule/{vestibule.toml,nss.conf}
    is "2755 vestibule-refresh:vestibule /var/lib/vestibule
755 root:root /usr/share/vestibule/empty
640 vestibule-refresh:vestibule /var/lib/vestibule/store.db
640 vestibule-refresh:vestibule /var/lib/vestibule/store.db-wal
640 vestibule-refresh:vestibule /var/lib/vestibule/store.db-shm
644 vestibule-refresh:vestibule /var/lib/vestibule/names.idx
755 root:root /run/vestibule
770 root:vestibule /run/vestibule/sessions
770 vestibule-refresh:vestibule /run/vestibule/used
755 root:root /etc/vestibule
644 root:root /etc/vestibule/vestibule.toml
644 root:root /etc/vestibule/nss.conf" "$output"
    run_ok vestibulectl account list --json
    matches '"alice"' "$output"
}

@test "init says what is left to do, and that nothing is" {
    run_ok vestibulectl init
    matches 'NSS and sshd are set up' "$output"
    sed -i.good 's/^passwd:.*/passwd: files/' /etc/nsswitch.conf
    run_ok vestibulectl init
    matches "1\. run 'sed .*/etc/nsswitch.conf', .* does not have 'vestibule' on the line 'passwd:'" "$output"
    mv /etc/nsswitch.conf.good /etc/nsswitch.conf
}

@test "doctor finds nothing wrong with a fresh installation" {
    run_ok vestibulectl doctor
    is 'no faults' "$output"
    run_ok vestibulectl doctor --json
    is '[]' "$output"
}

@test "doctor finds what was changed, and --mend mends it" {
    chmod 0666 /var/lib/vestibule/store.db
    chown root /var/lib/vestibule/store.db-wal
    echo 'uid = 0' >/etc/vestibule/nss.conf
    echo rubbish >/var/lib/vestibule/names.idx
    run_rc 1 vestibulectl doctor
    matches "store.db' has mode 0666" "$output"
    matches "store.db-wal' has mode 0640, owner 0" "$output"
    matches "nss.conf' does not have the ids" "$output"
    matches 'index of login names' "$output"
    run_ok vestibulectl doctor --mend
    is 'no faults' "$output"
    run_ok ssh_as alice+lab hostname
}

@test "doctor finds faults of the set-up that only an administrator can mend" {
    sed -i.good 's/^passwd:.*/passwd: vestibule files/' /etc/nsswitch.conf
    mv /etc/ssh/sshd_config.d/10-vestibule.conf /run/drop-in
    setcap -r /usr/libexec/vestibule/keys-lookup
    echo 'workshop:x:4242:4242::/:/bin/sh' >>/etc/passwd
    sqlite3 /var/lib/vestibule/store.db "INSERT INTO target_names SELECT 'workshop', id FROM targets WHERE name = 'lab'"
    run_rc 1 vestibulectl doctor
    matches "before the host's own users" "$output"
    matches "sshd does not have vestibule's drop-in" "$output"
    matches 'lacks the capability cap_dac_read_search=p' "$output"
    matches "the login name 'workshop' is a user of this host" "$output"
    mv /etc/nsswitch.conf.good /etc/nsswitch.conf
    mv /run/drop-in /etc/ssh/sshd_config.d/10-vestibule.conf
    setcap cap_dac_read_search=p /usr/libexec/vestibule/keys-lookup
    sed -i '/^workshop:/d' /etc/passwd
    sqlite3 /var/lib/vestibule/store.db "DELETE FROM target_names WHERE name = 'workshop'"
    run_ok vestibulectl doctor --mend
    is 'no faults' "$output"
}

@test "root touches the store as its owner" {
    run_ok strace -f -e trace=openat,setresuid -o /run/trace vestibulectl account add traced
    run_ok stat -c '%U' /var/lib/vestibule/store.db-wal /var/lib/vestibule/names.idx
    is $'vestibule-refresh\nvestibule-refresh' "$output"
    # No file of the store is opened before the change of user.
    run_ok awk '/setresuid/ { changed = 1 } /var\/lib\/vestibule\/.*O_RDWR/ && !changed { bad = 1 } END { exit bad || !changed }' /run/trace
}

@test "a name of the host's own is refused as a login name" {
    run_rc 1 vestibulectl target add daemon --driver tcp --address 127.0.0.1:9
    matches "target 'daemon': is a user of this host" "$stderr"
    # One of ours is no user of the host's own.
    run_ok getent passwd lab
    run_ok vestibulectl account add lab --default-target lab
    matches 'a target has this name too' "$stderr"
}

@test "explain prints the line that sshd gets" {
    run_ok vestibulectl explain alice+lab --key "$KEYS/alice.pub"
    local explained=${lines[-1]}
    run_ok as_user vestibule-keys /usr/libexec/vestibule/keys-lookup alice+lab "$(fingerprint alice)"
    is "$output" "$explained"
}

@test "sessions lists those that live, and no others" {
    run_ok vestibulectl sessions --json
    is '[]' "$output"
    # shellcheck disable=SC2046  # options are words
    detached /run/box/logs/session.log ssh $(ssh_options alice+lab) -l alice+lab bastion 'sleep 100'
    local client=$!
    wait_for 5 a_session
    run_ok vestibulectl sessions
    matches '(^|
)[^ ]+ +lab +alice +alice ' "$output"
    kill "$client"
    wait_for 10 no_session
    # What a session that was killed leaves behind.
    echo '{}' >/run/vestibule/sessions/dead
    run_ok vestibulectl sessions --json
    is '[]' "$output"
    rm /run/vestibule/sessions/dead
}

a_session() { [[ $(vestibulectl sessions --json) == *'"lab"'* ]]; }
no_session() { [[ $(vestibulectl sessions --json) == '[]' ]]; }
