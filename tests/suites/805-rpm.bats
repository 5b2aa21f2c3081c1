#!/usr/bin/env bats
# The RPMs, by rpm(8) with its scriptlets, on a machine that has an ssh server and nothing of vestibule: installed, used, brought
# to another version and back, erased. The machine is a Debian with rpm, since no mirror of an RPM distribution is in reach:
# what those have in other places (PAM's modules, sshd's unit, authselect, a running SELinux) is not tried here. Tests follow
# one another on one machine.
# needs: rpm-image

load ../lib/bastion
load ../lib/machine

OLD=0.1.0~old1
NEW=0.1.0~old2
POLICY=/etc/selinux/default/policy/policy.33

setup_file() {
    local file
    docker_run lab vt-busybox
    packages_make old "$OLD"
    packages_make new "$NEW"
    machine_start "${RPM_IMAGE:?the suite lacks the line: # needs: rpm-image}"
    devlog_start
    mkdir -p "$KEYS"
    make_key alice
    # What the machine has, as rpm has to know it.
    mkdir -p /run/box/packages/host
    {
        cat <<'SPEC'
Name: host
Version: 1
Release: 1
Summary: What the machine has
License: none
BuildArch: noarch
Provides: openssh-server = 9.2p1
Provides: shadow-utils
Provides: policycoreutils
Provides: /bin/sh
SPEC
        # The C library and PAM, that the modules were linked with.
        for file in /run/box/packages/old/*.rpm; do rpm -qp --requires "$file"; done |
            grep -E '^(lib(c|gcc_s|pam|m)\.so|ld-linux|rtld\()' | sort -u | sed 's/^/Provides: /'
        printf '%%description\n%%files\n'
    } >/run/box/host.spec
    limit rpmbuild -bb --quiet --define '_rpmdir /run/box/packages/host' --define '_build_name_fmt host.rpm' /run/box/host.spec
    in_machine rpm --install /packages/host/host.rpm
    # Where these packages have their modules the linker of Debian does not look.
    in_machine sh -c 'echo /usr/lib64 >/etc/ld.so.conf.d/lib64.conf'
    in_machine service ssh start
    wait_for 5 sshd_answers
    printf 'bastion,127.0.0.1 %s\n' "$(in_machine cat /etc/ssh/ssh_host_ed25519_key.pub)" >/etc/ssh/ssh_known_hosts
    in_machine useradd --create-home --shell /bin/bash carol
    make_key carol
    in_machine mkdir -m 0700 /home/carol/.ssh
    in_machine tee /home/carol/.ssh/authorized_keys <"$KEYS/carol.pub" >/dev/null
    in_machine chown -R carol:carol /home/carol
    in_machine cat /run/sshd.pid >"$BATS_FILE_TMPDIR/sshd.pid"
    in_machine sha256sum /etc/ssh/sshd_config >"$BATS_FILE_TMPDIR/sshd_config.sum"
}

setup() { audit_mark; }
teardown() { show_logs_on_failure; }

# packages DIR [NAME]...: the files of packages, as the machine sees them; all but vestibule-selinux unless named.
packages() {
    local dir=$1 name
    shift
    (($#)) || set -- vestibule libnss-vestibule libpam-vestibule vestibule-sshd
    for name; do (cd /run/box/packages/"$dir" && ls "$name"-0*.rpm) | sed "s|^|/packages/$dir/|"; done
}

# rpm_does OPTION... -- DIR [NAME]...: says everything on stdout.
rpm_does() {
    local options=()
    while [[ $1 != -- ]]; do options+=("$1") && shift; done
    shift
    # shellcheck disable=SC2046  # names without spaces
    TIMEOUT=110 in_machine sh -c 'exec rpm "$@" 2>&1' rpm "${options[@]}" $(packages "$@")
}

# A reload, as the packages' scriptlets ask systemd for one where there is one.
reload() {
    in_machine sh -c 'kill -HUP "$(cat /run/sshd.pid)"'
    wait_for 5 sshd_answers
}

sshd_works() {
    is "$(<"$BATS_FILE_TMPDIR/sshd.pid")" "$(in_machine cat /run/sshd.pid)"
    run_ok in_machine /usr/sbin/sshd -t
    run_ok in_machine sha256sum --check --status - <"$BATS_FILE_TMPDIR/sshd_config.sum"
    run_ok ssh_as carol whoami
    is carol "$output"
}

enters_lab() {
    run_ok ssh_as lab 'whoami; hostname'
    is "$(printf 'alice\n%s' "$(docker inspect -f '{{.Config.Hostname}}' lab)")" "$output"
}

@test "rpm wants what the packages need" {
    run_any rpm_does --install -- old vestibule-sshd
    is_not 0 "$status"
    matches "vestibule = .* is needed by vestibule-sshd" "$output"
    matches "libnss-vestibule = .* is needed by vestibule-sshd" "$output"
}

@test "installed, they make users and the store, and say what authselect has to be told" {
    run_ok rpm_does --install -- old
    matches 'libnss-vestibule: /etc/nsswitch.conf was not changed' "$output"
    matches 'authselect create-profile vestibule' "$output"
    run_ok in_machine grep '^passwd:' /etc/nsswitch.conf
    matches_not vestibule "$output"
    run_ok in_machine stat -c '%a %U:%G' /usr/libexec/vestibule/enter
    is '4750 root:vestibule' "$output"
    run_ok in_machine getcap /usr/libexec/vestibule/keys-lookup
    matches 'cap_dac_read_search=p$' "$output"
    run_ok in_machine rpm --verify vestibule libnss-vestibule libpam-vestibule vestibule-sshd
    is '' "$output"
    run_ok in_machine readlink /etc/ssh/sshd_config.d/10-vestibule.conf
    is /usr/share/vestibule/sshd_config.d/10-vestibule.conf "$output"
    sshd_works
}

@test "with the line that they print for /etc/nsswitch.conf, ssh lab@bastion is in the container" {
    local command
    run_ok rpm -qp --scripts "/run/box/packages/old/libnss-vestibule-$OLD-1.$(uname -m).rpm"
    command=$(sed -n '/^Without it:/,$s/^ *\(sed .*\)$/\1/p' <<<"$output" | head -n 1)
    run_ok in_machine sh -c "$command"
    reload
    in_machine tee /root/alice.pub <"$KEYS/alice.pub" >/dev/null
    run_ok in_machine vestibulectl target add lab --driver docker --container lab --user alice
    run_ok in_machine vestibulectl account add alice
    run_ok in_machine vestibulectl key add --account alice /root/alice.pub
    run_ok in_machine vestibulectl grant add alice lab
    enters_lab
    run_ok in_machine vestibulectl doctor
    is 'no faults' "$output"
    sshd_works
}

@test "what authselect has to be told keeps the other services of its profile" {
    # authselect is not there; its profile's file is.
    local commands
    run_ok rpm -qp --scripts "/run/box/packages/old/libnss-vestibule-$OLD-1.$(uname -m).rpm"
    commands=$(grep 'custom/vestibule/nsswitch.conf' <<<"$output")
    in_machine mkdir -p /etc/authselect/custom/vestibule
    in_machine sh -c 'printf "passwd:     files {if \"with-x\":x |}systemd sss\ngroup:      files\n" >/etc/authselect/custom/vestibule/nsswitch.conf'
    run_ok in_machine sh -c "$commands"
    run_ok in_machine cat /etc/authselect/custom/vestibule/nsswitch.conf
    is 'passwd:     files vestibule {if "with-x":x |}systemd sss' "${lines[0]}"
    is 'group:      files' "${lines[1]}"
}

@test "a later version keeps accounts, keys and targets, and an earlier one does" {
    run_ok rpm_does --upgrade -- new
    matches_not 'nsswitch' "$output"
    is "$NEW" "$(in_machine rpm -q --qf '%{VERSION}' vestibule)"
    enters_lab
    sshd_works
    run_ok rpm_does --upgrade --oldpackage -- old
    is "$OLD" "$(in_machine rpm -q --qf '%{VERSION}' vestibule)"
    enters_lab
    run_ok in_machine vestibulectl doctor
    is 'no faults' "$output"
    sshd_works
}

@test "what sshd does not accept is not left where sshd reads it" {
    run_ok in_machine rpm --erase vestibule-sshd
    in_machine sh -c 'echo "NoSuchKeyword yes" >/etc/ssh/sshd_config.d/99-broken.conf'
    run_ok rpm_does --install -- old vestibule-sshd
    matches 'sshd does not accept its configuration.*NoSuchKeyword' "$output"
    run_ok in_machine test ! -L /etc/ssh/sshd_config.d/10-vestibule.conf
    in_machine rm /etc/ssh/sshd_config.d/99-broken.conf
    run_ok rpm_does --install --replacepkgs -- old vestibule-sshd
    enters_lab
    sshd_works
}

# domains: those of ours that the machine's policy has, and which are permissive.
domains() { in_machine sh -c "strings $POLICY 2>/dev/null || tr -c '[:print:]' '\n' <$POLICY" | grep -o -x 'vestibule_[a-z]*_t' | sort -u | tr '\n' ' '; }
modules() { in_machine semodule -s default -l | grep vestibule | tr '\n' ' '; }

@test "the module for SELinux goes into the policy, and an upgrade leaves in force what was put in force" {
    # It asks sshd nothing: the policy is not this machine's to enforce.
    in_machine sh -c 'printf "SELINUX=permissive\nSELINUXTYPE=default\n" >/etc/selinux/config'
    run_ok rpm_does --install -- old vestibule-selinux
    is 'permissive_vestibule_enter_t permissive_vestibule_keys_t permissive_vestibule_refresh_t permissive_vestibule_route_t vestibule ' "$(modules)"
    run_ok in_machine matchpathcon -n /usr/libexec/vestibule/keys-lookup
    matches 'vestibule_keys_exec_t' "$output"
    TIMEOUT=100 run_ok in_machine semodule -n -r permissive_vestibule_keys_t
}

@test "and another version of it, too" {
    run_ok rpm_does --upgrade -- new vestibule-selinux
    is 'permissive_vestibule_enter_t permissive_vestibule_refresh_t permissive_vestibule_route_t vestibule ' "$(modules)"
    enters_lab
}

@test "erased, it leaves no module" {
    TIMEOUT=115 run_ok in_machine rpm --erase vestibule-selinux
    is '' "$(modules || true)"
    enters_lab
}

@test "erasing vestibule-sshd shuts the door" {
    run_ok in_machine rpm --erase vestibule-sshd
    run_ok in_machine find /etc/ssh/sshd_config.d -type f -o -type l
    is '' "$output"
    reload
    ssh_refused lab true
    sshd_works
}

@test "erased, they leave the store, and a sshd that works; installed again, the accounts are there" {
    TIMEOUT=60 run_ok in_machine sh -c 'exec rpm --erase libnss-vestibule libpam-vestibule vestibule 2>&1'
    matches "does no harm there" "$output"
    run_ok in_machine find /usr /etc -xdev -name '*vestibule*' ! -path '/etc/vestibule*' ! -path '/etc/authselect/*'
    is '' "$output"
    run_ok in_machine test -s /var/lib/vestibule/store.db
    # The name of a module that is not there is passed over.
    run_ok in_machine getent passwd carol
    ssh_refused lab true
    sshd_works
    run_ok rpm_does --install -- new
    reload
    enters_lab
}
