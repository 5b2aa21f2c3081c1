#!/usr/bin/env bats
# The Debian packages, on a Debian 12 that has an ssh server and nothing of vestibule: installed, used as README says,
# brought to another version and back, removed, purged. Tests follow one another on one machine.
# needs: bastion-image

load ../lib/bastion
load ../lib/machine

OLD=0.1.0~old1
NEW=0.1.0~old2

setup_file() {
    docker_run lab vt-busybox
    packages_make old "$OLD"
    packages_make new "$NEW"
    machine_start
    devlog_start
    mkdir -p "$KEYS"
    make_key alice
    in_machine sh -c 'echo "APT::Get::Assume-Yes yes;" >/etc/apt/apt.conf.d/99yes'
    in_machine service ssh start
    wait_for 5 sshd_answers
    printf 'bastion,127.0.0.1 %s\n' "$(in_machine cat /etc/ssh/ssh_host_ed25519_key.pub)" >/etc/ssh/ssh_known_hosts
    # Somebody of the machine's own, who must always come in.
    in_machine useradd --create-home --shell /bin/bash carol
    make_key carol
    in_machine mkdir -m 0700 /home/carol/.ssh
    in_machine tee /home/carol/.ssh/authorized_keys <"$KEYS/carol.pub" >/dev/null
    in_machine chown -R carol:carol /home/carol
    in_machine cat /run/sshd.pid >"$BATS_FILE_TMPDIR/sshd.pid"
    in_machine cat /etc/nsswitch.conf >"$BATS_FILE_TMPDIR/nsswitch"
    in_machine sha256sum /etc/ssh/sshd_config >"$BATS_FILE_TMPDIR/sshd_config.sum"
}

setup() { audit_mark; }

teardown() { show_logs_on_failure; }

# apt ARGUMENT...: as one types it; says everything on stdout.
apt() { TIMEOUT=100 in_machine sh -c 'exec apt-get "$@" 2>&1' apt "$@"; }

# apt_installs DIR [OPTION]...: all packages of a directory.
apt_installs() {
    local dir=$1
    shift
    # shellcheck disable=SC2046  # names without spaces
    apt "$@" install $(in_machine sh -c "ls /packages/$dir/*.deb")
}

# sshd is the process that it was, its configuration is valid, and who had a way in still has it.
sshd_works() {
    is "$(<"$BATS_FILE_TMPDIR/sshd.pid")" "$(in_machine cat /run/sshd.pid)"
    run_ok in_machine /usr/sbin/sshd -t
    run_ok in_machine sha256sum --check --status - <"$BATS_FILE_TMPDIR/sshd_config.sum"
    run_ok ssh_as carol whoami
    is carol "$output"
}

version_of() { in_machine dpkg-query -W -f '${Version}' "$1"; }

enters_lab() {
    # A sshd that reads its configuration anew is away for a moment.
    wait_for 5 sshd_answers
    run_ok ssh_as lab 'whoami; hostname'
    is "$(printf 'alice\n%s' "$(docker inspect -f '{{.Config.Hostname}}' lab)")" "$output"
}

@test "the same commit makes the same packages, byte for byte" {
    packages_make again "$OLD"
    run_ok bash -c 'cd /run/box/packages/old && sha256sum *.deb *.rpm'
    run_ok bash -c "cd /run/box/packages/again && sha256sum --check" <<<"$output"
}

@test "whoever publishes the packages is named in all of them" {
    PACKAGE_MAINTAINER='Ada Lovelace <ada@engine.example>' PACKAGE_URL=https://engine.example/vestibule packages_make mine "$OLD"
    local file
    for file in /run/box/packages/mine/*.deb; do
        is 'Ada Lovelace <ada@engine.example> https://engine.example/vestibule' "$(dpkg-deb -W --showformat '${Maintainer} ${Homepage}' "$file")"
    done
    for file in /run/box/packages/mine/*.rpm; do
        is 'Ada Lovelace <ada@engine.example> https://engine.example/vestibule' "$(rpm -qp --qf '%{PACKAGER} %{URL}' "$file")"
    done
}

# exposure UNIT: how much of the host it could reach if it were taken over, by systemd's own count, of 10.
exposure() { systemd-analyze security --offline=true --no-pager "$BOX_REPO/packaging/systemd/$1" 2>&1 | sed -n 's/.*Overall exposure level for .*: \([0-9.]*\) .*/\1/p'; }

@test "systemd's own count of what a unit is exposed to is what the manual says" {
    is 1.4 "$(exposure refresh-keys.service)"
    is 1.4 "$(exposure refresh-keys-follow.service)"
    is 2.0 "$(exposure write-keys.service)"
    run_ok bash -c "tr '\n' ' ' <'$BOX_REPO/man/vestibule.7' | grep -o 'counts an exposure of 1.4 for the first three and of 2.0 for the last'"
}

@test "lintian has nothing to say" {
    TIMEOUT=60 run_ok bash -c 'lintian --allow-root --fail-on error,warning /run/box/packages/old/*.deb'
    is '' "$output"
}

@test "rpmlint has nothing to say, and the RPMs give the privileged programs what they need" {
    TIMEOUT=60 run_ok bash -c "rpmlint -c '$BOX_REPO/packaging/rpm/rpmlint.toml' /run/box/packages/old/*.rpm"
    matches '0 errors, 0 warnings' "$output"
    run_ok bash -c "rpm -qp --qf '[%{FILEMODES:perms} %{FILEUSERNAME}:%{FILEGROUPNAME} %{FILECAPS} %{FILENAMES}\n]' /run/box/packages/old/vestibule-0*.rpm"
    matches '-rwsr-x--- root:vestibule  /usr/libexec/vestibule/enter' "$output"
    matches '-rwxr-x--- root:vestibule cap_dac_read_search=p /usr/libexec/vestibule/keys-lookup' "$output"
}

@test "the two kinds of package carry the same files" {
    local deb rpm
    deb=$(for file in /run/box/packages/old/*.deb; do dpkg-deb --fsys-tarfile "$file" | tar -t; done | sed 's/^\.//' | grep -v -e '/$' -e /usr/share/doc/ -e lintian | sort)
    rpm=$(for file in /run/box/packages/old/*.rpm; do rpm -qp -l "$file"; done | grep -v -e /usr/share/doc/ -e /usr/share/licenses/ | sort)
    # Each of the two houses has a policy of its own.
    deb=$(grep -v '^/etc/apparmor.d/' <<<"$deb")
    rpm=$(grep -v '^/usr/share/selinux/packages/vestibule' <<<"$rpm")
    deb=$(echo "$deb" | sed 's,/usr/lib/[a-z0-9_]*-linux-gnu/,/usr/lib64/,; s,/zsh/vendor-completions/,/zsh/site-functions/,' | sort)
    # The RPM's list has directories too.
    is '' "$(comm -23 <(echo "$deb") <(echo "$rpm"))"
    is '' "$(comm -13 <(echo "$deb") <(echo "$rpm") | grep -v -x -E '/usr/(share|libexec)/vestibule(/[a-z_.]*)?')"
}

@test "the programs alone change nothing about sshd and NSS" {
    run_ok apt install "/packages/old/vestibule_${OLD}_$(dpkg --print-architecture).deb"
    run_ok in_machine cat /etc/nsswitch.conf
    is "$(<"$BATS_FILE_TMPDIR/nsswitch")" "$output"
    run_ok in_machine find /etc/ssh/sshd_config.d -type f -o -type l
    is '' "$output"
    sshd_works
    run_ok in_machine stat -c '%a %U:%G' /usr/libexec/vestibule/enter
    is '4750 root:vestibule' "$output"
}

@test "profiles for AppArmor are there for the administrator to change, and refuse nothing" {
    run_ok in_machine dpkg-query -W -f '${Conffiles}' vestibule
    is 4 "$(grep -c /etc/apparmor.d/usr.libexec.vestibule. <<<"$output")"
    is '' "$(in_machine sh -c 'grep -L complain /etc/apparmor.d/usr.libexec.vestibule.*')"
}

@test "five commands, as README has them, and ssh lab@bastion is in the container" {
    local line commands
    in_machine tee /root/alice.pub <"$KEYS/alice.pub" >/dev/null
    commands=$(awk '/^<!-- five commands/ { on = 1; next } on && /^```/ { if (seen++) exit; next } on' "$BOX_REPO/README.md")
    is 5 "$(wc -l <<<"$commands")"
    while IFS= read -r line; do
        line=${line//.\/vestibule/\/packages\/old\/vestibule} line=${line//.\/libnss/\/packages\/old\/libnss}
        TIMEOUT=100 run_ok in_machine sh -c "cd /root; $line"
    done <<<"$commands"
    enters_lab
    sshd_works
}

@test "what was installed is found faultless, and installed again changes nothing" {
    run_ok in_machine vestibulectl doctor
    is 'no faults' "$output"
    run_ok in_machine grep '^passwd:' /etc/nsswitch.conf
    matches 'files vestibule' "$output"
    run_ok apt_installs old --reinstall
    is "$(in_machine grep -c vestibule /etc/nsswitch.conf)" 1
    run_ok in_machine vestibulectl doctor
    sshd_works
}

@test "a later version keeps accounts, keys and targets, and an earlier one does" {
    local dir version
    for dir in new old; do
        run_ok apt_installs "$dir" --allow-downgrades
        version=$([[ $dir == new ]] && echo "$NEW" || echo "$OLD")
        is "$version" "$(version_of vestibule)$([[ $(version_of vestibule-sshd) == "$version" ]] || echo ' sshd differs')"
        enters_lab
        run_ok in_machine vestibulectl doctor
        sshd_works
    done
}

@test "what sshd does not accept is not left where sshd reads it" {
    run_ok apt remove vestibule-sshd
    in_machine sh -c 'echo "NoSuchKeyword yes" >/etc/ssh/sshd_config.d/99-broken.conf'
    run_rc 100 apt install "/packages/old/vestibule-sshd_${OLD}_all.deb"
    matches 'NoSuchKeyword' "$output"
    matches "dpkg --configure vestibule-sshd" "$output"
    run_ok in_machine test ! -L /etc/ssh/sshd_config.d/10-vestibule.conf
    in_machine rm /etc/ssh/sshd_config.d/99-broken.conf
    run_ok in_machine dpkg --configure vestibule-sshd
    enters_lab
    sshd_works
}

@test "an administrator's own drop-in of the same name is left alone" {
    in_machine sh -c 'cd /etc/ssh/sshd_config.d && cp --remove-destination "$(readlink 10-vestibule.conf)" 10-vestibule.conf && echo "# mine" >>10-vestibule.conf'
    run_ok apt_installs new
    run_ok in_machine tail -n 1 /etc/ssh/sshd_config.d/10-vestibule.conf
    is '# mine' "$output"
    enters_lab
    in_machine rm /etc/ssh/sshd_config.d/10-vestibule.conf
    run_ok apt_installs new --reinstall
    enters_lab
}

@test "removing vestibule-sshd shuts the door, and installing it opens it again" {
    run_ok apt remove vestibule-sshd
    run_ok in_machine find /etc/ssh/sshd_config.d -type f -o -type l
    is '' "$output"
    ssh_refused lab true
    sshd_works
    run_ok apt_installs new
    enters_lab
}

@test "remove leaves the store and a sshd that works; purge leaves nothing but users" {
    run_ok apt remove vestibule libnss-vestibule vestibule-sshd
    run_ok in_machine cat /etc/nsswitch.conf
    is "$(<"$BATS_FILE_TMPDIR/nsswitch")" "$output"
    run_ok in_machine test -s /var/lib/vestibule/store.db
    ssh_refused lab true
    sshd_works
    run_ok apt_installs new
    enters_lab
    run_ok apt purge vestibule libnss-vestibule vestibule-sshd
    run_ok in_machine find / -xdev -path /proc -prune -o -path /packages -prune -o -name '*vestibule*' ! -path '/var/log/*' ! -path '/run/*' ! -path '/var/cache/*' -print
    is '' "$output"
    run_rc 1 in_machine dpkg-statoverride --list '*vestibule*'
    sshd_works
}
