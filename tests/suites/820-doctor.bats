#!/usr/bin/env bats
# vestibulectl doctor: every way in which a set-up is known to fail. Each test breaks one thing, and doctor names it, says
# what mends it, and is content again when that was done. (What vestibule itself installs: 035-vestibulectl.bats.)

load ../lib/bastion

CONF=/etc/ssh/sshd_config
DROP_IN=/etc/ssh/sshd_config.d/10-vestibule.conf

setup_file() {
    bastion_start
    sandbox_start lab
    vestibulectl target add lab --driver namespace --pid-file "$SANDBOX_PIDS/lab.pid" --user alice
    docker_run studio vt-busybox
    vestibulectl target add studio --driver docker --container studio --user alice
    add_person alice
    vestibulectl grant add alice lab
    # doctor asks sshd as it would be started: by /etc/ssh/sshd_config.
    grep -q '^Include /etc/ssh/sshd_config.d/' "$CONF"
    cp /usr/share/vestibule/sshd_config.d/10-vestibule.conf "$DROP_IN"
}

setup() {
    audit_mark
    run_ok vestibulectl doctor
    is 'no faults' "$output"
}

teardown() { show_logs_on_failure; }

# names WHAT MEND: doctor finds one fault, that one, with that mend and with what comes of it; the same as JSON.
names() {
    run_rc 1 vestibulectl doctor
    matches "^fault: .*$1.*; .*$2" "${lines[0]}"
    matches '^       [A-Za-z]' "${lines[1]}"
    is '1 fault' "${lines[2]}"
    run_rc 1 vestibulectl doctor --json
    is 1 "$(jq length <<<"$output")"
    matches "$1" "$(jq -r '.[0].what' <<<"$output")"
    matches "$2" "$(jq -r '.[0].mend' <<<"$output")"
    matches '^.{10,}$' "$(jq -r '.[0].why' <<<"$output")"
}

@test "a directory above keys-lookup that others can write, which sshd does not trust" {
    chmod o+w /usr/libexec
    names "'/usr/libexec' can be written by others than root" 'chmod go-w /usr/libexec'
    ssh_refused lab true
    chmod o-w /usr/libexec
}

@test "a drop-in of somebody else's that goes first" {
    printf 'Match all\n\tAuthorizedKeysCommand /usr/bin/userdbctl ssh-authorized-keys %%u\n\tAuthorizedKeysCommandUser root\n' >/etc/ssh/sshd_config.d/05-other.conf
    names "05-other.conf:2: 'AuthorizedKeysCommand /usr/bin/userdbctl .*goes before" 'behind the drop-in'
    rm /etc/ssh/sshd_config.d/05-other.conf
}

@test "a sshd_config that does not include its directory" {
    sed -i.good '/^Include/d' "$CONF"
    names "'/etc/ssh/sshd_config' does not include" 'Include /etc/ssh/sshd_config.d/\*.conf'
    mv "$CONF.good" "$CONF"
}

@test "AllowGroups without vestibule's group" {
    echo 'AllowGroups root sudo' >/etc/ssh/sshd_config.d/50-groups.conf
    names 'AllowGroups root sudo' "add 'vestibule' to AllowGroups"
    echo 'AllowGroups root vestibule' >/etc/ssh/sshd_config.d/50-groups.conf
    run_ok vestibulectl doctor
    rm /etc/ssh/sshd_config.d/50-groups.conf
}

@test "AllowUsers, which can't name every login" {
    echo 'AllowUsers carol' >/etc/ssh/sshd_config.d/50-users.conf
    names 'AllowUsers carol' 'use AllowGroups'
    rm /etc/ssh/sshd_config.d/50-users.conf
}

@test "a sshd that is too old" {
    mv /usr/sbin/sshd /usr/sbin/sshd.real
    printf '#!/bin/sh\n[ "$1" != -V ] || { echo "OpenSSH_8.4p1 Debian-5+deb11u3, OpenSSL 1.1.1w" >&2; exit 1; }\nexec /usr/sbin/sshd.real "$@"\n' >/usr/sbin/sshd
    chmod 0755 /usr/sbin/sshd
    # sshd wants to be called by its full path, and this one is another file.
    names 'sshd is OpenSSH 8.4' 'use OpenSSH 8.7 or later'
    mv /usr/sbin/sshd.real /usr/sbin/sshd
}

@test "a user of AuthorizedKeysCommand that can't start it" {
    chmod 0700 /usr/libexec/vestibule
    names "user 'vestibule-keys' can't execute '/usr/libexec/vestibule/keys-lookup': .*Permission denied" 'install vestibule again'
    chmod 0755 /usr/libexec/vestibule
}

@test "no user of AuthorizedKeysCommand" {
    cp /etc/passwd /run/passwd
    sed -i '/^vestibule-keys:/d' /etc/passwd
    names "user 'vestibule-keys' does not exist" "vestibulectl init"
    cp /run/passwd /etc/passwd
}

@test "another service of NSS that knows the name of a target" {
    # A user of the host's own is found too, but by another fault. `extrausers` or LDAP would be this.
    mkdir -p /run/vestibule-nss
    mv /usr/bin/getent /usr/bin/getent.real
    printf '#!/bin/sh\n[ "$*" != "passwd lab" ] || { echo "lab:x:4242:4242::/home/lab:/bin/sh"; exit 0; }\nexec /usr/bin/getent.real "$@"\n' >/usr/bin/getent
    chmod 0755 /usr/bin/getent
    names "the login name 'lab' is uid 4242, not vestibule's" 'nsswitch.conf'
    mv /usr/bin/getent.real /usr/bin/getent
}

@test "a host on which PAM lets nobody in" {
    touch /etc/nologin
    names "'/etc/nologin' exists" "rm /etc/nologin"
    rm /etc/nologin
}

@test "an engine that does not answer" {
    mv /run/docker.sock /run/docker.sock.away
    names "the engine 'docker' does not answer at '/run/docker.sock'" 'start the engine'
    mv /run/docker.sock.away /run/docker.sock
}

@test "programs on a file system without setuid" {
    mount --bind /usr/libexec /usr/libexec
    mount -o remount,bind,nosuid /usr/libexec
    names "'/usr/libexec/vestibule/enter' is on a file system that is mounted nosuid" 'mount it without'
    umount /usr/libexec
}

@test "a store with no room to grow" {
    local state=/var/lib/vestibule
    cp -a "$state" /run/state
    mount -t tmpfs -o size=8m,mode=2755 tmpfs "$state"
    chown vestibule-refresh:vestibule "$state"
    chmod 2755 "$state"
    cp -a /run/state/. "$state/"
    names "'/var/lib/vestibule' has [0-9]+ MiB left" 'make room'
    umount "$state"
}

@test "a clock that is behind the store" {
    touch -d '+2 hours' /var/lib/vestibule/store.db
    names 'the clock is 7[0-9]{3} seconds behind the last change of the store' 'set the clock'
    touch /var/lib/vestibule/store.db
}

@test "denials of a security policy" {
    mkdir -p /var/log/audit
    printf 'type=AVC msg=audit(1790000000.123:456): avc:  denied  { read } for  pid=77 comm="keys-lookup" name="store.db" scontext=system_u:system_r:sshd_t:s0 tcontext=system_u:object_r:var_lib_t:s0 tclass=file permissive=0\n' >/var/log/audit/audit.log
    names 'has 1 denials of vestibule, the last: .*keys-lookup' 'ausearch'
    printf 'type=AVC msg=audit(1790000000.123:456): avc:  denied  { read } for  pid=77 comm="httpd" name="x"\n' >/var/log/audit/audit.log
    run_ok vestibulectl doctor
}

@test "check is another name for it" {
    run_ok vestibulectl check
    is 'no faults' "$output"
}
