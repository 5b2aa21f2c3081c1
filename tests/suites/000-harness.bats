#!/usr/bin/env bats
# The ground that the other suites stand on: if one of these fails, what the others say means nothing.

load ../lib/bastion

setup_file() {
    bastion_install
    devlog_start
    useradd --create-home --shell /bin/bash carol
    useradd --system --gid vestibule --no-create-home --shell /bin/sh login-name
    useradd --system vestibule-keys
    sshd_start
    make_key carol
    install -d -o carol -g carol -m 0700 ~carol/.ssh
    install -o carol -g carol -m 0600 "$KEYS/carol.pub" ~carol/.ssh/authorized_keys
}

teardown() { show_logs_on_failure; }

@test "the box has processes, a network and a name of its own" {
    run_ok pgrep -f box-init
    is 1 "${lines[0]}"
    run_ok hostname
    is bastion "$output"
    run_ok ip -o -4 addr show dev lo
    matches '127\.0\.0\.1/8' "$output"
    run_rc 1 timeout 2 bash -c 'exec 9<>/dev/tcp/192.0.2.1/80'
}

@test "the box writes to its own layer, and the repository not at all" {
    run_ok findmnt --noheadings --output SOURCE,FSTYPE /
    matches "^$BOX_NAME +overlay\$" "$output"
    run_rc 1 touch "$BOX_REPO/tests/written"
    matches 'Read-only file system' "$stderr"
}

@test "what setup needs is there, and setup is silent about it" {
    run_ok env PATH="$PATH" bash -c 'sed "s/^usable_rust || missing.*//" "$BOX_REPO/tests/setup.sh" >/tmp/setup.sh
        sed -i "s:^cd .*:cd $BOX_REPO:" /tmp/setup.sh && bash /tmp/setup.sh'
    is '' "$output$stderr"
}

@test "make install gives the programs their owners, modes and capabilities" {
    run_ok stat -c '%a %U:%G %n' /usr/libexec/vestibule/{enter,keys-lookup,route-session} /usr/sbin/vestibulectl
    is "4750 root:vestibule /usr/libexec/vestibule/enter
750 root:vestibule /usr/libexec/vestibule/keys-lookup
755 root:root /usr/libexec/vestibule/route-session
755 root:root /usr/sbin/vestibulectl" "$output"
    run_ok getcap /usr/libexec/vestibule/keys-lookup
    is '/usr/libexec/vestibule/keys-lookup cap_dac_read_search=p' "$output"
    run_ok getcap /usr/libexec/vestibule/enter /usr/libexec/vestibule/route-session /usr/sbin/vestibulectl
    is '' "$output"
}

@test "the programs are static and the NSS module is not" {
    local program
    for program in /usr/libexec/vestibule/* /usr/sbin/vestibulectl; do
        run_any ldd "$program"
        matches 'statically linked|not a dynamic executable' "$output$stderr"
    done
    run_ok ldd "/usr/lib/$(gcc -print-multiarch)/libnss_vestibule.so.2"
    matches 'libc\.so\.6' "$output"
}

@test "make install changes neither sshd nor nsswitch" {
    fails grep -r -q vestibule /etc/ssh/sshd_config /etc/ssh/sshd_config.d /etc/nsswitch.conf
}

@test "make install with DESTDIR stages files and touches nothing else" {
    run_ok make -C "$BOX_REPO" --no-print-directory install DESTDIR=/tmp/stage
    run_ok stat -c '%a %U:%G' /tmp/stage/usr/libexec/vestibule/enter
    is '750 root:root' "$output"
    run_ok find /tmp/stage -not -type d -not -path '/tmp/stage/usr/*'
    is '' "$output"
}

@test "sshd is the distribution's, and a normal user of the bastion logs in as ever" {
    run_ok dpkg-query --search "$(readlink "/proc/$(</run/sshd.pid)/exe")"
    matches '^openssh-server:' "$output"
    run_ok ssh_as carol 'id -un; echo "$SSH_ORIGINAL_COMMAND"'
    is carol "$output"
}

@test "a normal user gets a terminal of the size that the client has" {
    run_ok ssh_on_terminal 33x111 -- carol 'tty; stty size'
    matches '/dev/pts/[0-9]+' "$output"
    matches '33 111' "$output"
}

@test "the terminal helper types and resizes in order" {
    run_ok ssh_on_terminal 24x80 --type 'echo one; stty size\r' '$ ' --resize 50x132 '24 80' --type 'stty size; exit 0\r' '$ ' -- carol \
        'PS1="$ " exec sh'
    matches '24 80.*50 132' "$(tr -d '\r\n' <<<"$output")"
}

@test "an unknown name is refused" {
    make_key mallory
    ssh_refused nobody-knows-this-name
}

@test "what programs log arrives as one line a message" {
    audit_mark
    logger -p authpriv.info -t harness "one"
    logger -p auth.warning -t harness "two"
    expect_audit '^authpriv\.info .*harness: one$'
    expect_audit '^auth\.warning .*harness: two$'
    expect_no_audit 'three'
}

@test "as_user has nothing of root's" {
    run_ok as_user carol sh -c 'id -un; grep CapEff /proc/self/status; cat /etc/shadow 2>&1 || true'
    matches '^carol' "$output"
    matches 'CapEff:.0000000000000000' "$output"
    matches 'Permission denied' "$output"
}

@test "a command that hangs is ended, and counts as failed" {
    TIMEOUT=1 run_rc 124 sleep 60
    fails run_ok false
    fails wait_for 0 false
}

@test "docker runs a container from a local image, and seccomp confines it" {
    docker_run studio vt-busybox
    run_ok docker exec studio sh -c 'hostname; id -un; grep Seccomp: /proc/1/status'
    is $'studio\nroot\nSeccomp:\t2' "$output"
    run_ok docker exec --user alice studio id
    is 'uid=1000(alice) gid=1000(alice) groups=50(staff),1000(alice),2000(lab)' "$output"
    docker_remove studio
    run_rc 1 docker inspect studio
}

@test "an image may hold one program and nothing else" {
    docker_run empty vt-empty
    run_ok docker exec empty /init say hello
    is hello "$output"
    run_any docker exec empty /bin/sh -c true
    is_not 0 "$status"
    docker_remove empty
}

@test "a sandbox has all namespaces of its own, but the user's" {
    local kind pid
    sandbox_start plain
    pid=$(sandbox_pid plain)
    for kind in mnt pid net ipc uts cgroup; do
        is_not "$(readlink /proc/self/ns/$kind)" "$(readlink "/proc/$pid/ns/$kind")"
    done
    is "$(readlink /proc/self/ns/user)" "$(readlink "/proc/$pid/ns/user")"
    run_ok nsenter --all --target "$pid" /bin/sh -c 'hostname; ls /proc/1/fd'
    is $'plain\n0\n1\n2' "$output"
    run_ok stat -c '%U %a' "$SANDBOX_PIDS/plain.pid"
    is 'root 644' "$output"
    sandbox_stop plain
    fails test -e "/proc/$pid"
    run_ok sandbox_cgroups plain
    is '' "$output"
}

@test "a sandbox may have a user namespace in which root is nobody outside" {
    local pid
    sandbox_start mapped --userns
    pid=$(sandbox_pid mapped)
    is_not "$(readlink /proc/self/ns/user)" "$(readlink "/proc/$pid/ns/user")"
    run_ok stat -c '%u' "/proc/$pid"
    is 100000 "$output"
    run_ok nsenter --all --target "$pid" /bin/sh -c 'id -u; stat -c %U /home/alice'
    is $'0\nalice' "$output"
    sandbox_stop mapped
}

@test "a machine elsewhere has a network, users and files of its own, and an sshd" {
    load ../lib/elsewhere
    make_key dora
    elsewhere_start away
    run_ok elsewhere_answers away
    elsewhere_lets_in away "$KEYS/dora.pub"
    printf '%s %s\n' "$(elsewhere_address away)" "$(elsewhere_host_key away)" >"$BATS_TEST_TMPDIR/known"
    run_ok ssh -F none -i "$KEYS/dora" -o "UserKnownHostsFile=$BATS_TEST_TMPDIR/known" -o BatchMode=yes \
        "studio@$(elsewhere_address away)" 'whoami; hostname; touch mine; ip -o -4 addr show eth0'
    is studio "${lines[0]}"
    is away "${lines[1]}"
    matches "$(literally "$(elsewhere_address away)")/24" "${lines[2]}"
    [[ ! -e /home/studio && -e $(elsewhere_root away)/home/studio/mine ]]
    fails getent passwd studio
    elsewhere_stop away
    fails elsewhere_answers away
}
