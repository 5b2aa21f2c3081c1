#!/usr/bin/env bats
# The container is hostile to whoever enters it, and the account that all logins share is not to be trusted with more than
# it needs. Each test is an attack.

load ../lib/bastion

ENTER=/usr/libexec/vestibule/enter

setup_file() {
    bastion_start
    make_key alice
    vestibulectl account add alice
    vestibulectl key add --account alice "$KEYS/alice.pub"
    docker_run den vt-busybox --cap-add SYS_PTRACE
    vestibulectl target add den --driver docker --container den --user root
    vestibulectl target add den-alice --driver docker --container den --user alice
    vestibulectl grant add alice den
    vestibulectl grant add alice den-alice
    docker exec den cp -p /etc/passwd /etc/passwd.orig
}

setup() { audit_mark; }

teardown() {
    show_logs_on_failure
    rm -rf "$(den)/etc/passwd"
    cp -p "$(den)/etc/passwd.orig" "$(den)/etc/passwd"
}

# The container's root, from outside: docker's own exec would hang on some of what is put there.
den() { echo "/proc/$(docker_pid den)/root"; }

setup_shell() { docker exec den /bin/sh -c "sed -i 's,^root:.*,root:x:0:0:root:/root:$1,' /etc/passwd"; }

# The account of all logins, as it runs route-session, but with a command line of its own. 0, 1 and 2 are pipes, as sshd
# makes them.
as_session() {
    (
        set -o pipefail
        { { limit env -i setpriv --reuid vestibule --regid vestibule --init-groups "$@" 2>&1 >&3 | cat >&2; } 3>&1 | cat; } </dev/null
    )
}

target_id() { vestibulectl target show "$1" --json | jq .id; }

@test "a shell that is '#!/proc/self/exe' gets neither the bastion's program to write to nor its privilege" {
    local before
    before=$(sha256sum "$ENTER")
    docker exec den /bin/sh -c 'printf "#!/proc/self/exe\n" >/trap && chmod 755 /trap'
    setup_shell /trap
    run_any ssh_as alice+den true
    is_not 0 "$status"
    # A watcher with all the container's rights tries to write to whatever is executed in it, for a second.
    docker exec --detach den /bin/sh -c 'end=$(($(date +%s) + 4)); while [ $(date +%s) -lt $end ]; do
        for exe in /proc/[0-9]*/exe; do
            case $(readlink $exe) in
            *memfd*|*enter*) echo "$(readlink $exe)" >>/seen; (printf X >>$exe) 2>/dev/null && echo written >>/written ;;
            esac
        done; done'
    for _ in 1 2 3 4 5 6 7 8 9 10 11 12; do ssh_as alice+den true || true; done
    run_rc 1 docker exec den test -e /written
    is "$before" "$(sha256sum "$ENTER")"
}

@test "what enters runs from a read-only overlay, or from sealed memory where the kernel has none for it" {
    local before home=/usr/share/vestibule/empty way session
    before=$(sha256sum "$ENTER")
    for way in overlay memory; do
        # procfs can't be a layer.
        [[ $way == overlay ]] || mount -t proc proc "$home"
        ssh_as alice+den 'echo in; exec sleep 4' >"$BATS_TEST_TMPDIR/$way" 3>&- &
        session=$!
        wait_for 10 grep -q in "$BATS_TEST_TMPDIR/$way"
        case $way in
        overlay) cant_be_written "$(pgrep -f 'enter --session')" overlayfs 'Read-only file system' ;;
        memory) cant_be_written "$(pgrep -f 'enter --session')" tmpfs 'Text file busy' ;;
        esac
        wait "$session"
    done
    umount "$home"
    is "$before" "$(sha256sum "$ENTER")"
}

@test "the entering process shows the container no descriptor of the bastion" {
    # As root with CAP_SYS_PTRACE: looks at the descriptors of every new process as fast as it can.
    docker exec den /bin/sh -c 'rm -f /fds /ready'
    docker exec --detach den /bin/sh -c 'touch /ready; end=$(($(date +%s) + 5)); while [ $(date +%s) -lt $end ]; do
        for fd in /proc/[0-9]*/fd/*; do readlink $fd; done; done 2>/dev/null | sort -u >/fds.part; mv /fds.part /fds'
    wait_for 5 docker exec den test -e /ready
    for _ in {1..25}; do ssh_as alice+den true; done
    wait_for 10 docker exec den test -s /fds
    docker exec den cat /fds | grep -v -E '^(pipe|socket):|^anon_inode:\[event|^/dev/(null|pts)|^/proc($|/[0-9]+)|^/$|^/bin|^/fds' >"$BATS_TEST_TMPDIR/odd" || true
    is '' "$(<"$BATS_TEST_TMPDIR/odd")"
    # It saw something at all. (event: the descriptors of docker's own exec.)
    matches 'pipe:' "$(docker exec den cat /fds)"
}

@test "no descriptor but 0, 1 and 2 crosses" {
    run_ok ssh_as alice+den-alice 'ls /proc/self/fd'
    # The last is ls reading the directory.
    is '0 1 2 3' "$(tr '\n' ' ' <<<"$output" | sed 's/ $//')"
    run_ok ssh_on_terminal 24x80 -- alice+den-alice 'ls /proc/self/fd'
    is '0 1 2 3' "$(tr -d '\r' <<<"$output" | tr -s '\n ' ' ' | sed 's/ $//')"
}

@test "libraries and settings of the container are not loaded by what enters it" {
    docker exec den /bin/sh -c 'echo /nowhere/evil.so >/etc/ld.so.preload'
    run_ok ssh_as alice+den-alice id -un
    is alice "$output"
    docker exec den rm /etc/ld.so.preload
    # No program interpreter: nothing is loaded at all.
    run_rc 1 bash -c "readelf --program-headers $ENTER | grep INTERP"
}

@test "a terminal device that is none is not relayed" {
    local what
    docker exec den mkdir -p /away
    docker_run quiet vt-busybox --tmpfs /dev/pts
    vestibulectl target add quiet --driver docker --container quiet --user root
    vestibulectl grant add alice quiet
    for what in 'true' 'mkfifo /dev/pts/ptmx' 'echo x >/dev/pts/ptmx' 'ln -s /etc/passwd /dev/pts/ptmx'; do
        docker exec quiet /bin/sh -c "rm -f /dev/pts/ptmx /dev/ptmx; $what"
        run_rc 210 ssh_on_terminal 24x80 -- alice+quiet true
        matches 'vestibule: the container gives out no terminal' "$output"
        run_ok ssh_as alice+quiet true
    done
    docker_remove quiet
}

@test "an /etc/passwd that is no file, or a way out, is not followed" {
    local what
    for what in mkfifo mkdir 'ln -s /dev/zero' 'ln -s /proc/self/root/etc/passwd.orig'; do
        rm -rf "$(den)/etc/passwd"
        $what "$(den)/etc/passwd"
        TIMEOUT=5 run_rc 206 ssh_as alice+den-alice true
        matches "vestibule: the container has no user 'alice'" "$stderr"
    done
    rm "$(den)/etc/passwd"
    cp -p "$(den)/etc/passwd.orig" "$(den)/etc/passwd"
    # Absolute links lead where they lead in the container: to the container's own file.
    mv "$(den)/etc/passwd" "$(den)/etc/people"
    ln -s /etc/people "$(den)/etc/passwd"
    run_ok ssh_as alice+den-alice id -un
    is alice "$output"
}

@test "a user file of a megabyte of nonsense ends in a clear line" {
    head -c 3000000 /dev/urandom >"$(den)/etc/passwd"
    run_rc 206 ssh_as alice+den-alice true
    matches "no user 'alice'" "$stderr"
}

@test "what the container calls things can not drive the client's terminal" {
    docker exec den /bin/sh -c 'printf "root:x:0:0:root:/root:/no\033]0;x\007such\n" >/etc/passwd'
    run_rc 207 ssh_as alice+den true
    matches_not $'\033' "$stderr"
    matches 'vestibule: the shell' "$stderr"
}

@test "only the shared account may run the privileged program, and root may not" {
    local number
    run_rc 126 as_user nobody "$ENTER" --help
    run_rc 126 as_user vestibule-refresh "$ENTER" --help
    run_rc 200 "$ENTER" --session x --target 1
    matches 'not by root' "$stderr"
    expect_audit 'enter.*result=refused exit=200.*not by root'
    # Installed without its bit, it tells sessions no more than others of its kind.
    chmod u-s "$ENTER"
    run_rc 200 ssh_as alice+den true
    matches '^vestibule: the bastion is not set up right; .*\(session [a-z0-9]{10}\)$' "$stderr"
    number=${stderr##*session } && number=${number%)*}
    expect_audit "enter.*session=$number .*result=refused exit=200.*setuid root"
    chmod u+s "$ENTER"
}

@test "the shared account can enter registered targets only, and only by number" {
    run_rc 201 as_session "$ENTER" --session a1 --target 99999
    matches 'vestibule: this key may not enter here' "$stderr"
    local args
    for args in '--session a1' '--target 1' '--session ../x --target 1' '--session a1 --target x' '--session a1 --target 1 --pid 1' '--session a1 --target 1 extra'; do
        # shellcheck disable=SC2086  # words
        run_rc 200 as_session "$ENTER" $args
        matches 'usage: enter' "$stderr"
    done
}

@test "the privileged program asks for the account's grant itself" {
    vestibulectl account add bob
    run_rc 201 as_session "$ENTER" --session a1 --target "$(target_id den)" --account bob
    run_rc 201 as_session "$ENTER" --session a1 --target "$(target_id den)" --account nobody-at-all
    run_ok as_session "$ENTER" --session a1 --target "$(target_id den)" --account alice
}

@test "the caller's environment, directory, mask and descriptors do not reach the container" {
    run_ok as_session env LD_PRELOAD=/x PATH=/evil BASH_ENV=/x VESTIBULE_COMMAND='env; umask; pwd; ls /proc/self/fd' \
        /bin/bash -c "cd /tmp; umask 0; exec 7</etc/passwd; exec $ENTER --session a1 --target $(target_id den-alice) --account alice"
    matches_not 'LD_PRELOAD|BASH_ENV|evil|VESTIBULE' "$output"
    matches '0022' "$output"
    matches '/home/alice' "$output"
    matches_not '^7$' "$output"
    is 3 "${lines[-1]}"
}

@test "a pid file is believed only if root alone can have written it, and only about a process that is not the bastion's" {
    local file=/run/vestibule-test/forged.pid
    sandbox_start cell
    vestibulectl target add forged --driver namespace --pid-file "$file" --user root
    vestibulectl grant add alice forged

    sandbox_pid cell >"$file"
    run_ok ssh_as alice+forged true
    chmod 666 "$file"
    run_rc 200 ssh_as alice+forged true
    expect_audit 'enter.*could be written by others than root'
    chmod 644 "$file"
    chown alice-of-nowhere "$file" 2>/dev/null || chown 12345 "$file"
    run_rc 200 ssh_as alice+forged true
    chown root "$file"

    audit_mark
    echo $$ >"$file"
    run_rc 200 ssh_as alice+forged true
    expect_audit "enter.*in the bastion's own namespaces"
    local content
    for content in 1 0 -1 '' x 99999999999 4194303; do
        echo "$content" >"$file"
        run_any ssh_as alice+forged true
        matches '^(200|202)$' "$status"
        matches '^vestibule: ' "$stderr"
    done
    # A number that was used again: the process is younger than the file.
    sandbox_pid cell >"$file"
    touch -d '1 hour ago' "$file"
    run_rc 202 ssh_as alice+forged true
    matches "'forged' is not running" "$stderr"
    expect_audit 'the number was used again'
}

# What a session could leave in places where the shared account may write.
left_behind() { find /run/vestibule /tmp /dev/shm /var/tmp -xdev -not -path '/tmp/bats-run*' | sort; }

@test "what the session leaves on the bastion is nothing" {
    local before
    before=$(left_behind)
    run_ok ssh_as alice+den-alice true
    run_ok ssh_on_terminal 24x80 -- alice+den-alice true
    wait_for 5 bash -c "! pgrep -u vestibule"
    is "$before" "$(left_behind)"
    fails pgrep -f "$ENTER"
}
