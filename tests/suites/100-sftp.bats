#!/usr/bin/env bats
# Files go in and out of every container: scp, sftp, sshfs, rsync, git. `desk` is Debian, `den` has busybox, `void` one
# static program that is no shell, `lab` is a sandbox in a user namespace.
# needs: debian-image

load ../lib/bastion

setup_file() {
    bastion_start
    add_person alice
    docker_run desk vt-debian
    docker_run den vt-busybox
    docker_run void vt-empty
    sandbox_start lab --userns
    vestibulectl target add desk --driver docker --container desk --user alice
    vestibulectl target add den --driver docker --container den --user alice
    vestibulectl target add void --driver docker --container void --user 1000
    vestibulectl target add lab --driver namespace --pid-file "$SANDBOX_PIDS/lab.pid" --user alice
    local target
    for target in desk den void lab; do vestibulectl grant add alice $target; done
    # The image without directories, as anybody may have it: one that the user owns.
    mkdir -p "/proc/$(docker_pid void)/root/data"
    chown 1000:1000 "/proc/$(docker_pid void)/root/data"
    mkdir -p /run/box/files/tree/deep/er
    head -c 3000000 /dev/urandom >/run/box/files/big
    printf 'a\n' >/run/box/files/tree/a
    printf 'b\n' >"/run/box/files/tree/deep/b c"
    : >/run/box/files/tree/deep/er/empty
    ln -s a /run/box/files/tree/link
    chmod 0750 /run/box/files/tree/a
}

setup() { audit_mark; }

teardown() { show_logs_on_failure; }

# Where alice may write in each.
place() { case $1 in void) echo /data ;; *) echo "/home/alice" ;; esac; }

# shellcheck disable=SC2046  # options are words
scp_as() { TIMEOUT=60 limit scp $(ssh_options alice) "$@"; }

# sftp_as LOGIN: with a batch on stdin.
# shellcheck disable=SC2046  # options are words
sftp_as() { TIMEOUT=60 limit sftp -q $(ssh_options alice) -b - "$@"; }

batch() { sftp_as "$1@bastion" <"$BATS_TEST_TMPDIR/batch"; }

@test "scp carries a file into every container and back, byte for byte" {
    local target
    for target in desk den void lab; do
        run_ok scp_as /run/box/files/big "alice+$target@bastion:$(place $target)/big"
        run_ok scp_as "alice+$target@bastion:$(place $target)/big" "$BATS_TEST_TMPDIR/$target"
        run_ok cmp /run/box/files/big "$BATS_TEST_TMPDIR/$target"
        is '' "$stderr"
    done
}

@test "scp -r carries a directory there and back, with links, modes and times" {
    local target
    for target in desk den void lab; do
        run_ok scp_as -r -p /run/box/files/tree "alice+$target@bastion:$(place $target)/tree"
        run_ok scp_as -r -p "alice+$target@bastion:$(place $target)/tree" "$BATS_TEST_TMPDIR/$target"
        run_ok diff -r /run/box/files/tree "$BATS_TEST_TMPDIR/$target"
        is "$(stat -c '%a %Y' /run/box/files/tree/a)" "$(stat -c '%a %Y' "$BATS_TEST_TMPDIR/$target/a")"
    done
}

@test "what scp makes belongs to the container's user" {
    local pid
    pid=$(docker_pid void)
    run_ok scp_as /run/box/files/tree/a alice+void@bastion:/data/mine
    is '1000 0' "$(stat -c '%u %g' "/proc/$pid/root/data/mine")"
    pid=$(sandbox_pid lab)
    run_ok scp_as /run/box/files/tree/a alice+lab@bastion:mine
    is '101000 101000' "$(stat -c '%u %g' "/proc/$pid/root/home/alice/mine")"
    # And what the user may not, the server may not.
    run_any scp_as /run/box/files/tree/a alice+void@bastion:/init
    is_not 0 "$status"
    matches 'Permission denied' "$stderr"
}

@test "sftp works in every container: what its commands do is there" {
    local target
    for target in desk den void lab; do
        cat >"$BATS_TEST_TMPDIR/batch" <<BATCH
cd $(place $target)
mkdir work
put /run/box/files/big work/one
chmod 600 work/one
rename work/one work/two
ln work/two work/hard
ln -s two work/soft
get work/soft $BATS_TEST_TMPDIR/$target
df work
ls -l work
rm work/soft
rm work/hard
rm work/two
rmdir work
BATCH
        run_ok batch "alice+$target"
        matches '-rw-------.*two' "$output"
        run_ok cmp /run/box/files/big "$BATS_TEST_TMPDIR/$target"
    done
}

@test "sftp begins in the user's home, and names people as the container does" {
    local target
    printf 'pwd\nls -la\n' >"$BATS_TEST_TMPDIR/batch"
    for target in desk den lab; do
        run_ok batch "alice+$target"
        matches 'Remote working directory: /home/alice' "$output"
        matches ' alice +alice ' "$output"
    done
    # Where there is no /etc/passwd there are numbers.
    run_ok batch alice+void
    matches 'Remote working directory: /' "$output"
}

@test "the server that comes along is sealed memory, confined as the container is, and has nothing but 0, 1 and 2" {
    local pid root
    hold_sftp alice+den
    pid=$SFTP_PID
    matches '^/memfd:sftp-server \(deleted\)$' "$(readlink "/proc/$pid/exe")"
    is $'0\n1\n2' "$(ls "/proc/$pid/fd")"
    root=$(docker_pid den)
    local ns
    for ns in mnt pid net ipc uts cgroup; do is "$(readlink "/proc/$root/ns/$ns")" "$(readlink "/proc/$pid/ns/$ns")"; done
    local fields='^(CapBnd|NoNewPrivs|Seccomp|Seccomp_filters):'
    is "$(grep -E "$fields" "/proc/$root/status")" "$(grep -E "$fields" "/proc/$pid/status")"
    is 'Uid: 1000 1000 1000 1000' "$(grep ^Uid: "/proc/$pid/status" | tr -s '\t' ' ')"
    matches '^CapEff:.0000000000000000$' "$(grep ^CapEff: "/proc/$pid/status")"
    is "$(<"/proc/$root/cgroup")" "$(<"/proc/$pid/cgroup")"
    release_sftp
}

# hold_sftp LOGIN: a session of SFTP that lasts; $SFTP_PID is the server, as the bastion sees it.
hold_sftp() {
    mkfifo "$BATS_TEST_TMPDIR/hold"
    # shellcheck disable=SC2016,SC2046  # for that shell; options are words
    detached "$BATS_TEST_TMPDIR/held" bash -c 'exec "${@:2}" <>"$1"' bash "$BATS_TEST_TMPDIR/hold" \
        ssh $(ssh_options alice) -s "$1@bastion" sftp
    SFTP_CLIENT=$!
    wait_for 5 pgrep -x sftp-server
    SFTP_PID=$(pgrep -x sftp-server)
}

release_sftp() {
    kill "$SFTP_CLIENT"
    wait_for 5 fails kill -0 "$SFTP_PID"
    rm -f "$BATS_TEST_TMPDIR/hold"
}

@test "root of the container can not write the bastion's server through /proc" {
    local before inside
    before=$(sha256sum /usr/libexec/vestibule/sftp-server)
    hold_sftp alice+den
    inside=$(grep ^NSpid: "/proc/$SFTP_PID/status" | awk '{ print $NF }')
    # It is there to be seen, so that what fails is the writing.
    run_ok docker exec den cat "/proc/$inside/comm"
    is sftp-server "$output"
    run_any docker exec den /bin/sh -c "echo evil >/proc/$inside/exe"
    is_not 0 "$status"
    run_any docker exec --privileged den /bin/sh -c "echo evil >/proc/$inside/exe"
    is_not 0 "$status"
    run_any docker exec --privileged den /bin/sh -c "dd if=/proc/$inside/exe of=/tmp/copy && dd if=/bin/busybox of=/proc/$inside/exe conv=notrunc"
    is_not 0 "$status"
    is "$before" "$(sha256sum /usr/libexec/vestibule/sftp-server)"
    release_sftp
    # And the server still serves.
    printf 'pwd\n' >"$BATS_TEST_TMPDIR/batch"
    run_ok batch alice+den
}

@test "a container that puts its own program where the server would be is not asked" {
    docker exec den /bin/sh -c 'mkdir -p /usr/lib/openssh /usr/libexec/vestibule
        printf "#!/bin/sh\necho caught >/tmp/caught\n" >/usr/lib/openssh/sftp-server
        cp /usr/lib/openssh/sftp-server /usr/libexec/vestibule/sftp-server
        chmod 755 /usr/lib/openssh/sftp-server /usr/libexec/vestibule/sftp-server'
    printf 'pwd\n' >"$BATS_TEST_TMPDIR/batch"
    run_ok batch alice+den
    run_rc 1 docker exec den test -e /tmp/caught
    # But where the target asks for the image's, it is the image's.
    vestibulectl target set den --sftp image
    run_any batch alice+den
    run_ok docker exec den test -e /tmp/caught
    vestibulectl target set den --sftp own
    docker exec den rm -r /usr/lib/openssh /usr/libexec/vestibule /tmp/caught
}

@test "the image's server is found also where sshd's own is the Subsystem, and where it is not it is said" {
    sed -i 's/^Subsystem.*/Subsystem sftp internal-sftp/' /etc/ssh/sshd_config.box
    sshd_restart
    vestibulectl target set den --sftp image
    printf 'pwd\n' >"$BATS_TEST_TMPDIR/batch"
    run_any batch alice+den
    is_not 0 "$status"
    matches "vestibule: the SFTP server can't be executed in the container: No such file or directory; .*\(session [a-z0-9]+\)" "$stderr"
    expect_audit 'result=refused exit=207'
    # Ours stands for one that the image has.
    docker exec den mkdir -p /usr/lib/ssh
    docker cp /usr/libexec/vestibule/sftp-server den:/usr/lib/ssh/sftp-server
    docker exec den chmod 755 /usr/lib/ssh/sftp-server
    run_ok batch alice+den
    matches '/home/alice' "$output"
    hold_sftp alice+den
    is /usr/lib/ssh/sftp-server "$(readlink "/proc/$SFTP_PID/exe")"
    release_sftp
    # A user whose shell lets nobody in has files nevertheless, as with ours.
    docker exec den sed -i 's,^alice:\(.*\):.*,alice:\1:/bin/false,' /etc/passwd
    run_ok batch alice+den
    docker exec den sed -i 's,^alice:\(.*\):.*,alice:\1:/bin/sh,' /etc/passwd
    # And by the engine.
    vestibulectl target add engined --driver docker --container den --exec engine --user alice --sftp image
    vestibulectl grant add alice engined
    run_ok batch alice+engined
    matches 'Remote working directory: /' "$output"
    docker exec den rm -r /usr/lib/ssh
    vestibulectl target set den --sftp own
    sshd_start
}

@test "a target may have no SFTP, and says so" {
    vestibulectl target set den --sftp none
    run_any scp_as /run/box/files/tree/a alice+den@bastion:a
    is_not 0 "$status"
    expect_audit 'result=refused exit=210'
    run_any scp_as alice+den@bastion:a "$BATS_TEST_TMPDIR/a"
    is_not 0 "$status"
    printf 'pwd\n' >"$BATS_TEST_TMPDIR/batch"
    run_any batch alice+den
    is_not 0 "$status"
    matches 'vestibule: this target has no SFTP.*\(session [a-z0-9]+\)' "$stderr"
    # Who does not speak SFTP gets words only.
    run_rc 210 ssh_as alice+den internal-sftp
    matches '^vestibule: this target has no SFTP.*\(session [a-z0-9]+\)' "$stderr"
    # Commands are as ever.
    run_ok ssh_as alice+den 'echo fine'
    is fine "$output"
    vestibulectl target set den --sftp own
}

@test "sftp to a container that is not running says so, and scp fails at once" {
    docker_run gone vt-busybox
    vestibulectl target add gone --driver docker --container gone --user alice
    vestibulectl grant add alice gone
    TIMEOUT=30 limit docker stop -t 1 gone
    run_any scp_as /run/box/files/tree/a alice+gone@bastion:a
    is_not 0 "$status"
    printf 'pwd\n' >"$BATS_TEST_TMPDIR/batch"
    run_any batch alice+gone
    matches "vestibule: 'gone' is not running" "$stderr"
}

@test "only the whole text of the Subsystem line is SFTP" {
    run_rc 127 ssh_as alice+den 'internal-sftp -R'
    run_rc 127 ssh_as alice+den 'internal-sftp '
    run_ok ssh_as alice+den 'internal-sftp; true'
    is '' "$output"
}

@test "options of the Subsystem line reach the server, once root has named the line" {
    printf '[session]\nsftp_commands = ["internal-sftp", "/usr/lib/openssh/sftp-server -R -l INFO"]\n' >/etc/vestibule/vestibule.toml.d/50-sftp.toml
    sed -i 's/^Subsystem.*/& -R -l INFO/' /etc/ssh/sshd_config.box
    sshd_restart
    printf 'ls /\n' >"$BATS_TEST_TMPDIR/batch"
    run_ok batch alice+den
    run_any scp_as /run/box/files/tree/a alice+den@bastion:read-only
    is_not 0 "$status"
    matches 'Permission denied' "$stderr"
    rm /etc/vestibule/vestibule.toml.d/50-sftp.toml
    sshd_start
}

sshd_restart() {
    sshd_stop
    detached "$SSHD_LOG" /usr/sbin/sshd -D -f /etc/ssh/sshd_config.box -E "$SSHD_LOG"
    wait_for 5 test -s /run/sshd.pid
    wait_for 5 sshd_answers
}

@test "a key's command= runs in place of SFTP; internal-sftp as command= is SFTP and nothing else" {
    make_key robot
    printf 'command="echo forced" %s\n' "$(<"$KEYS/robot.pub")" >/etc/vestibule/authorized_keys.d/den
    # shellcheck disable=SC2046  # options are words
    run_ok ssh -s $(KEY=robot ssh_options den) den@bastion sftp
    is forced "$output"
    printf 'command="internal-sftp" %s\n' "$(<"$KEYS/robot.pub")" >/etc/vestibule/authorized_keys.d/den
    printf 'pwd\n' >"$BATS_TEST_TMPDIR/batch"
    # shellcheck disable=SC2046  # options are words
    run_ok limit sftp -q $(KEY=robot ssh_options den) -b "$BATS_TEST_TMPDIR/batch" den@bastion
    matches '/home/alice' "$output"
    KEY=robot run_any ssh_as den 'id >/tmp/ran'
    run_rc 1 docker exec den test -e /tmp/ran
    rm /etc/vestibule/authorized_keys.d/den
}

@test "scp -O runs scp in the container, and says so where there is none" {
    run_any scp_as -O /run/box/files/big alice+den@bastion:old
    is_not 0 "$status"
    matches 'scp' "$stderr"
    # Debian's image has none either; give it one.
    docker cp -q "$(command -v scp)" desk:/usr/bin/scp 2>/dev/null || docker cp "$(command -v scp)" desk:/usr/bin/scp
    run_any docker exec desk scp
    # libraries of scp are not in the image: those come along
    local library
    for library in $(ldd "$(command -v scp)" | grep -o '/[^ ]*'); do
        docker exec desk test -e "$library" || docker cp -L "$library" "desk:$library"
    done
    run_ok scp_as -O /run/box/files/big alice+desk@bastion:old
    run_ok scp_as -O alice+desk@bastion:old "$BATS_TEST_TMPDIR/old"
    run_ok cmp /run/box/files/big "$BATS_TEST_TMPDIR/old"
}

@test "rsync goes both ways, and says nothing of its own" {
    local ssh
    ssh="ssh $(ssh_options alice)"
    TIMEOUT=60 run_ok rsync -a -e "$ssh" /run/box/files/ alice+desk@bastion:synced/
    is '' "$output$stderr"
    TIMEOUT=60 run_ok rsync -a -e "$ssh" alice+desk@bastion:synced/ "$BATS_TEST_TMPDIR/back/"
    run_ok diff -r /run/box/files "$BATS_TEST_TMPDIR/back"
}

@test "git clones from a container and pushes to it" {
    docker exec --user alice --workdir /home/alice desk git init -q --bare project.git
    export GIT_SSH_COMMAND GIT_AUTHOR_NAME=alice GIT_COMMITTER_NAME=alice GIT_AUTHOR_EMAIL=a@example.org GIT_COMMITTER_EMAIL=a@example.org
    GIT_SSH_COMMAND="ssh $(ssh_options alice)"
    cd "$BATS_TEST_TMPDIR"
    run_ok git init -q -b main work
    cp -r /run/box/files/tree work/
    run_ok git -C work add .
    run_ok git -C work commit -q -m first
    run_ok git -C work push -q alice+desk@bastion:project.git main
    run_ok git clone -q -b main alice+desk@bastion:project.git again
    run_ok diff -r work/tree again/tree
}

@test "sshfs mounts a container that has no shell, and writes there" {
    mkdir "$BATS_TEST_TMPDIR/mount"
    run_ok sshfs -o "ssh_command=ssh $(ssh_options alice)" alice+void@bastion:/data "$BATS_TEST_TMPDIR/mount"
    cp -r /run/box/files/tree "$BATS_TEST_TMPDIR/mount/mounted"
    run_ok diff -r /run/box/files/tree "$BATS_TEST_TMPDIR/mount/mounted"
    mv "$BATS_TEST_TMPDIR/mount/mounted/a" "$BATS_TEST_TMPDIR/mount/mounted/z"
    echo more >>"$BATS_TEST_TMPDIR/mount/mounted/z"
    run_ok fusermount3 -u "$BATS_TEST_TMPDIR/mount"
    is $'a\nmore' "$(<"/proc/$(docker_pid void)/root/data/mounted/z")"
}

@test "with the engine's exec the image's server answers, or nobody" {
    vestibulectl target add slow --driver docker --container desk --exec engine --user alice
    vestibulectl grant add alice slow
    run_any scp_as /run/box/files/tree/a alice+slow@bastion:a
    is_not 0 "$status"
    vestibulectl target set slow --sftp none
    run_rc 210 ssh_as alice+slow internal-sftp
    matches 'this target has no SFTP' "$stderr"
}

@test "a server that others could write is carried nowhere" {
    chmod g+w /usr/libexec/vestibule/sftp-server
    run_any scp_as /run/box/files/tree/a alice+den@bastion:a
    is_not 0 "$status"
    expect_audit 'sftp-server.*could be written by others'
    chmod g-w /usr/libexec/vestibule/sftp-server
    run_ok scp_as /run/box/files/tree/a alice+den@bastion:a
}
