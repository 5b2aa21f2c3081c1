#!/usr/bin/env bats
# vestibulectl doctor: every way in which a set-up is known to fail. Each test breaks one thing; doctor names it, says
# what comes of it and what mends it, and is content again when that was done. Where it gives a command, the command that it
# printed is what is run. (What vestibule itself installs: 035-vestibulectl.bats.)

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
    is '1 fault' "$(jq -r '"\(length) \(.[0].level)"' <<<"$output")"
    matches "$1" "$(jq -r '.[0].what' <<<"$output")"
    matches "$2" "$(jq -r '.[0].mend' <<<"$output")"
    matches '^.{10,}$' "$(jq -r '.[0].why' <<<"$output")"
}

# mended: the commands that doctor prints, run as they stand, one fault after the other, until it has nothing to say.
mended() {
    local round mend
    for round in 1 2 3; do
        run_any vestibulectl doctor --json
        mend=$(jq -r '.[0].mend // empty' <<<"$output" | sed -n "s/^.*run '\\([^']*\\)'.*/\\1/p")
        [[ -n $mend ]] || break
        echo "round $round: $mend"
        run_ok bash -c "$mend"
    done
    run_ok vestibulectl doctor
    is 'no faults' "$output"
}

# notes RE: among what is no fault there is this, and the exit status does not count it.
notes() {
    run_ok vestibulectl doctor --notes
    matches "(^|
)note: .*$1" "$output"
    is 'no faults' "${lines[-1]}"
}

@test "a home of all login names that holds something, or has no place for agents' sockets" {
    local home=/usr/share/vestibule/empty
    touch $home/.profile
    names "'$home/.profile' is in the home of all login names" "remove '$home/.profile'"
    rm $home/.profile
    touch $home/.ssh/rc
    names "'$home/.ssh/rc' is in the home of all login names" "remove '$home/.ssh/rc'"
    rm $home/.ssh/rc
    rm $home/.ssh/agent
    names "'$home/.ssh/agent' is no link" 'doctor --mend'
    mended
    ln -sfn /tmp $home/.ssh/agent
    names "'$home/.ssh/agent' is no link" 'doctor --mend'
    mended
    is /run/vestibule/agents "$(readlink $home/.ssh/agent)"
    rmdir /run/vestibule/agents
    names "'/run/vestibule/agents' does not exist" 'doctor --mend'
    mended
}

@test "a directory above keys-lookup that others can write, which sshd does not trust" {
    chmod o+w /usr/libexec
    names "'/usr/libexec' can be written by others than root" 'chmod go-w /usr/libexec'
    ssh_refused lab true
    mended
    run_ok ssh_as lab true
}

@test "a directory above keys-lookup that a group can write: sshd and doctor are of one mind about whose group" {
    # Debian's sshd trusts a group that has root alone in it.
    chmod g+w /usr/libexec
    run_ok ssh_as lab true
    run_ok vestibulectl doctor
    is 'no faults' "$output"
    groupadd craftsmen
    useradd --gid craftsmen --no-create-home mason
    chgrp craftsmen /usr/libexec
    ssh_refused lab true
    names "'/usr/libexec' can be written by others than root" 'chown root:root /usr/libexec'
    mended
    run_ok ssh_as lab true
    userdel mason
}

@test "a keys-lookup that was copied, and lost its group and its capability" {
    local program=/usr/libexec/vestibule/keys-lookup
    cp "$program" "$program.copy"
    mv "$program.copy" "$program"
    ssh_refused lab true
    run_rc 1 vestibulectl doctor
    matches "keys-lookup' has mode 0750, owner 0, group 0" "$output"
    matches "user 'vestibule-keys' can't execute" "$output"
    matches 'lacks the capability' "$output"
    mended
    run_ok ssh_as lab true
    # With the group right and the capability gone, logins go on; keys in the containers' own files don't.
    setcap -r "$program"
    names 'lacks the capability cap_dac_read_search=p' 'run .setcap cap_dac_read_search=p'
    mended
}

@test "an enter that was copied, and lost its setuid bit" {
    local program=/usr/libexec/vestibule/enter
    cp "$program" "$program.copy"
    mv "$program.copy" "$program"
    run_rc 1 vestibulectl doctor
    matches "enter' has mode 0750, owner 0, group 0" "$output"
    mended
    run_ok ssh_as lab true
}

@test "a nsswitch.conf without vestibule, and one in which it goes first" {
    sed -i -E '/^passwd:/s/ vestibule//' /etc/nsswitch.conf
    run_rc 1 vestibulectl doctor
    matches "does not have 'vestibule' on the line 'passwd:'" "$output"
    mended
    sed -i -E 's/^passwd:.*/passwd:         vestibule files systemd/' /etc/nsswitch.conf
    names "has 'vestibule' before the host's own users" 'run .sed '
    mended
    is 'passwd: files vestibule systemd' "$(grep ^passwd: /etc/nsswitch.conf | tr -s ' ')"
    sed -i -E 's/^passwd:.*/passwd: files vestibule/' /etc/nsswitch.conf
}

@test "no drop-in" {
    rm "$DROP_IN"
    names "sshd does not have vestibule's drop-in" 'install vestibule-sshd, or run'
    mended
}

@test "a drop-in of somebody else's that goes first" {
    printf 'Match all\n\tAuthorizedKeysCommand /usr/bin/userdbctl ssh-authorized-keys %%u\n\tAuthorizedKeysCommandUser root\n' >/etc/ssh/sshd_config.d/05-other.conf
    names "05-other.conf:2: 'AuthorizedKeysCommand /usr/bin/userdbctl .*goes before" 'behind the drop-in'
    rm /etc/ssh/sshd_config.d/05-other.conf
}

@test "a drop-in that goes first for one login name, or from one network" {
    printf 'Match User lab\n\tForceCommand /bin/false\nMatch Address 192.0.2.0/24\n\tAuthorizedKeysCommand none\n' >/etc/ssh/sshd_config.d/05-other.conf
    run_ok vestibulectl doctor
    run_rc 1 vestibulectl doctor --login lab
    matches "05-other.conf:2: 'ForceCommand /bin/false' goes before" "$output"
    run_ok vestibulectl doctor --login studio
    run_rc 1 vestibulectl doctor --login studio --client 192.0.2.7
    matches 'goes before' "$output"
    # A name that leads nowhere.
    run_rc 1 vestibulectl doctor --login nosuch
    matches "the login name 'nosuch' is not found by NSS" "$output"
    rm /etc/ssh/sshd_config.d/05-other.conf
}

@test "a drop-in that opens forwards which could reach the bastion" {
    local setting
    for setting in 'AllowTcpForwarding yes' 'PermitListen any' 'GatewayPorts yes' 'X11Forwarding yes' 'AllowStreamLocalForwarding yes' 'PermitTunnel yes'; do
        printf 'Match Group vestibule\n\t%s\n' "$setting" >/etc/ssh/sshd_config.d/05-other.conf
        names "sshd has '${setting,,}' for vestibule's login names; it must be" '.'
    done
    rm /etc/ssh/sshd_config.d/05-other.conf
}

@test "a sshd_config that does not include its directory" {
    sed -i.good '/^Include/d' "$CONF"
    names "'/etc/ssh/sshd_config' does not include" 'Include /etc/ssh/sshd_config.d/\*.conf'
    mended
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
    mended
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
    mended
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

@test "a clock that nothing keeps is worth a note" {
    # The kernel's word, which a box can't change: adjtimex(2) answers 5, TIME_ERROR, for a clock that nothing keeps.
    local state
    state=$(python3 -c 'import ctypes; print(ctypes.CDLL(None).adjtimex((ctypes.c_byte * 512)()))')
    run_ok vestibulectl doctor --notes --json
    is "$([[ $state == 5 ]] && echo 1 || echo 0)" "$(jq '[.[] | select(.level == "note" and (.what | startswith("nothing keeps the clock")))] | length' <<<"$output")"
}

# denial COMM PERMISSIVE [SECONDS AGO]: what auditd writes of SELinux.
denial() {
    mkdir -p /var/log/audit
    printf 'type=AVC msg=audit(%s.123:456): avc:  denied  { read } for  pid=77 comm="%s" name="store.db" scontext=system_u:system_r:sshd_t:s0 tcontext=system_u:object_r:var_lib_t:s0 tclass=file permissive=%s\n' \
        "$(($(date +%s) - ${3:-0}))" "$1" "$2" >/var/log/audit/audit.log
}

@test "denials of a security policy, unless they are old or somebody else's" {
    denial keys-lookup 0
    names 'has 1 denials of vestibule, the last: .*keys-lookup' 'ausearch'
    denial httpd 0
    run_ok vestibulectl doctor
    is 'no faults' "$output"
    denial keys-lookup 0 90000
    run_ok vestibulectl doctor --notes
    matches_not 'of vestibule' "$output"
    # AppArmor's, where the kernel's log is kept by rsyslog.
    printf 'Nov 25 08:00:00 bastion kernel: audit: type=1400 audit(%s.1:9): apparmor="DENIED" operation="open" profile="vestibule-keys-lookup" name="/x" pid=1 comm="keys-lookup"\n' "$(date +%s)" >/var/log/kern.log
    names "'/var/log/kern.log' has 1 denials of vestibule" 'allow what is refused'
    rm /var/log/kern.log
}

@test "what a policy would refuse if it were in force is worth a note" {
    denial keys-lookup 1
    notes 'has 1 things of vestibule that the policy would refuse'
    rm /var/log/audit/audit.log
}

@test "a release of OpenSSH that shuts out addresses is worth a note" {
    mv /usr/sbin/sshd /usr/sbin/sshd.real
    printf '#!/bin/sh\n[ "$1" != -V ] || { echo "OpenSSH_9.9p1, OpenSSL 3.5.0"; exit 0; }\nexec /usr/sbin/sshd.real "$@"\n' >/usr/sbin/sshd
    chmod 0755 /usr/sbin/sshd
    notes 'shuts out addresses from which logins fail; .*PerSourcePenaltyExemptList'
    mv /usr/sbin/sshd.real /usr/sbin/sshd
}

# A hub's trigger, as refresh-keys(8) says.
trigger_start() {
    usermod --shell /bin/sh vestibule-refresh
    cp "$KEYS/alice.pub" /etc/vestibule/trigger_keys
    cp /usr/share/vestibule/sshd_config.d/20-vestibule-trigger.conf /etc/ssh/sshd_config.d/
}

@test "a trigger's user without a shell, expired, or with a key file that isn't right" {
    trigger_start
    run_ok vestibulectl doctor
    usermod --shell /usr/sbin/nologin vestibule-refresh
    names "'/usr/sbin/nologin', which runs no trigger" 'usermod --shell /bin/sh'
    mended
    chage --expiredate 2020-01-01 vestibule-refresh
    names "the account of user 'vestibule-refresh' has expired" 'chage --expiredate -1'
    mended
    chmod 0600 /etc/vestibule/trigger_keys
    names "trigger_keys' can't be read by user 'vestibule-refresh'" 'chmod 0644'
    mended
    chown vestibule-refresh /etc/vestibule/trigger_keys
    names "trigger_keys' can be written by others than root" 'chown root:root'
    mended
}

@test "a trigger's user whose password is locked, where sshd does without PAM" {
    trigger_start
    printf 'UsePAM no\n' >/etc/ssh/sshd_config.d/00-no-pam.conf
    usermod --lock vestibule-refresh
    names "user 'vestibule-refresh' has a locked password, and sshd has 'UsePAM no'" 'usermod --password'
    sshd_start 'UsePAM no' 'Include /etc/ssh/sshd_config.d/20-vestibule-trigger.conf'
    KEY=alice ssh_refused vestibule-refresh
    mended
    # In, and told that no source is configured.
    KEY=alice run_any ssh_as vestibule-refresh
    is_not 255 "$status"
    rm /etc/ssh/sshd_config.d/00-no-pam.conf /etc/ssh/sshd_config.d/20-vestibule-trigger.conf
    sshd_start
}

@test "check is another name for it" {
    run_ok vestibulectl check
    is 'no faults' "$output"
}
