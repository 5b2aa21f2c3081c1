#!/usr/bin/env bats
# Targets that are stopped, gone, broken or empty. Each ends in one clear line with the session's number, an exit code of
# its own, and the cause in the log.

load ../lib/bastion

setup_file() {
    bastion_start
    make_key alice
    vestibulectl account add alice
    vestibulectl key add --account alice "$KEYS/alice.pub"
    docker_start
}

setup() { audit_mark; }

teardown() { show_logs_on_failure; }

# box NAME IMAGE USER [docker run options]...: a container and its target.
box() {
    local name=$1 image=$2 user=$3
    shift 3
    docker_run "$name" "$image" "$@"
    vestibulectl target add "$name" --driver docker --container "$name" --user "$user"
    vestibulectl grant add alice "$name"
}

# refused CODE REGEX LOGIN [CMD...]: vestibule's own refusal: the code, one line that matches and has a session's number,
# and that number in the log.
refused() {
    local code=$1 regex=$2 number
    shift 2
    run_rc "$code" ssh_as "$@"
    is '' "$output"
    matches "^vestibule: $regex.* \(session ([a-z0-9]{10})\)$" "$stderr"
    number=${stderr##*session } && number=${number%)*}
    expect_audit "session=$number.*result=refused exit=$code"
}

@test "a stopped container is said to be not running" {
    box stopped vt-busybox alice
    docker stop --time 0 stopped
    refused 202 "'stopped' is not running; start it" alice+stopped true
    docker start stopped
    run_ok ssh_as alice+stopped true
}

@test "a container that was removed is said to be gone, and one of the same name is another one that works" {
    box fleeting vt-busybox alice
    docker_remove fleeting
    refused 203 "the container of 'fleeting' does not exist" alice+fleeting true
    docker_run fleeting vt-busybox
    run_ok ssh_as alice+fleeting true
}

@test "a paused container is said to be paused, at once" {
    box paused vt-busybox alice
    docker pause paused
    TIMEOUT=5 refused 204 "'paused' is paused" alice+paused true
    docker unpause paused
    run_ok ssh_as alice+paused true
}

@test "a frozen sandbox is said to be paused, at once" {
    local group
    sandbox_start frosty
    vestibulectl target add frosty --driver namespace --pid-file "$SANDBOX_PIDS/frosty.pid" --user alice
    vestibulectl grant add alice frosty
    run_ok ssh_as alice+frosty true
    for group in $(sandbox_cgroups frosty); do
        [[ ! -e $group/freezer.state ]] || echo FROZEN >"$group/freezer.state"
        [[ ! -e $group/cgroup.freeze ]] || echo 1 >"$group/cgroup.freeze"
    done
    TIMEOUT=5 refused 204 "'frosty' is paused" alice+frosty true
    for group in $(sandbox_cgroups frosty); do
        [[ ! -e $group/freezer.state ]] || echo THAWED >"$group/freezer.state"
        [[ ! -e $group/cgroup.freeze ]] || echo 0 >"$group/cgroup.freeze"
    done
    run_ok ssh_as alice+frosty true
}

@test "a sandbox whose first process ended is said to be not running" {
    sandbox_start mayfly
    vestibulectl target add mayfly --driver namespace --pid-file "$SANDBOX_PIDS/mayfly.pid" --user alice
    vestibulectl grant add alice mayfly
    run_ok ssh_as alice+mayfly true
    kill -KILL "$(sandbox_pid mayfly)"
    refused 202 "'mayfly' is not running" alice+mayfly true
    rm "$SANDBOX_PIDS/mayfly.pid"
    refused 202 "'mayfly' is not running" alice+mayfly true
}

@test "a container without a shell, without /etc/passwd, without anything" {
    box empty vt-empty root
    refused 207 "the shell '/bin/sh' can't be executed in the container: No such file" alice+empty true
    vestibulectl target add empty-alice --driver docker --container empty --user alice
    vestibulectl grant add alice empty-alice
    refused 206 "the container has no user 'alice'" alice+empty-alice true
    vestibulectl target add empty-number --driver docker --container empty --user 1234
    vestibulectl grant add alice empty-number
    refused 207 "the shell '/bin/sh' can't be executed" alice+empty-number true
}

@test "a shell that is not there or not executable is named" {
    box shellless vt-busybox alice
    docker exec shellless sed -i 's,^alice:\(.*\):.*,alice:\1:/bin/fish,' /etc/passwd
    refused 207 "the shell '/bin/fish' can't be executed in the container: No such file" alice+shellless true
    docker exec shellless /bin/sh -c 'echo x >/bin/fish'
    refused 207 "the shell '/bin/fish' can't be executed in the container: Permission denied" alice+shellless true
}

@test "a user that the container does not have is named" {
    box strange vt-busybox carol
    refused 206 "the container has no user 'carol'" alice+strange true
}

@test "a home that is not there is said, and the session begins in /" {
    box homeless vt-busybox alice
    docker exec homeless rm -r /home/alice
    run_ok ssh_as alice+homeless pwd
    is / "$output"
    local line="vestibule: can't go to your home '/home/alice': No such file or directory; you are in '/' instead"
    matches "^$line \(session [a-z0-9]{10}\)$" "$stderr"
    # On a terminal that is raw by then it is a line of its own, too.
    run_ok ssh_on_terminal 24x80 -- alice+homeless pwd
    matches "^$line \(session [a-z0-9]{10}\)"$'\r+\n/\r' "$output"
}

@test "a read-only container and one with a full file system are entered all the same" {
    box readonly vt-busybox alice --read-only
    run_ok ssh_as alice+readonly id -un
    run_ok ssh_on_terminal 24x80 -- alice+readonly tty
    box full vt-busybox alice --tmpfs /tmp:size=64k --tmpfs /home/alice:size=64k,mode=777
    docker exec full /bin/sh -c 'head -c 1000000 /dev/zero >/tmp/fill; head -c 1000000 /dev/zero >/home/alice/fill; true'
    run_ok ssh_as alice+full id -un
    run_ok ssh_on_terminal 24x80 -- alice+full tty
}

@test "a container that can have no more processes says so" {
    box crowded vt-busybox alice
    docker exec --detach crowded sleep 1000
    docker exec --detach crowded sleep 1000
    docker exec --detach crowded sleep 1000
    # Now, since the engine's own exec needs more than one.
    docker update --pids-limit 4 crowded
    refused 204 'the container can have no more processes' alice+crowded true
}

@test "a container that is killed in mid-session ends the session with a line that says so" {
    local how
    box doomed vt-busybox alice
    for how in plain terminal; do
        if [[ $how == plain ]]; then
            ssh_as alice+doomed 'touch /tmp/here; sleep 100' >"$BATS_TEST_TMPDIR/out" 2>&1 3>&- &
        else
            ssh_on_terminal 24x80 -- alice+doomed 'touch /tmp/here; sleep 100' >"$BATS_TEST_TMPDIR/out" 2>&1 3>&- &
        fi
        local client=$! rc=0
        wait_for 10 docker exec doomed test -e /tmp/here
        docker kill doomed
        wait "$client" || rc=$?
        is 211 "$rc"
        matches "vestibule: the container of 'doomed' was stopped; start it and connect again \(session " "$(<"$BATS_TEST_TMPDIR/out")"
        docker start doomed
        docker exec doomed rm -f /tmp/here
    done
}

@test "a container that stops while a shell waits at its prompt leaves the terminal as it was" {
    local rc=0 client
    box napping vt-busybox alice
    # The line ends of what is written after the session are those of a terminal in order, as are its modes.
    # shellcheck disable=SC2016,SC2046  # for that shell; options are words
    limit "$BOX_REPO/tests/lib/on-terminal.py" 24x80 --type 'touch /tmp/here\n' '$ ' -- \
        bash -c 'before=$(stty -g); "$@"; rc=$?; [[ $before == "$(stty -g)" ]] && echo as-it-was; exit $rc' bash \
        ssh -tt $(ssh_options alice) -l alice+napping bastion >"$BATS_TEST_TMPDIR/out" 2>&1 3>&- &
    client=$!
    wait_for 10 docker exec napping test -e /tmp/here
    docker stop --time 0 napping
    wait "$client" || rc=$?
    is 211 "$rc"
    matches $'\r+\n'"vestibule: the container of 'napping' was stopped; start it and connect again \(session [a-z0-9]{10}\)"$'\r+\n' "$(<"$BATS_TEST_TMPDIR/out")"
    matches 'as-it-was' "$(<"$BATS_TEST_TMPDIR/out")"
}

@test "an engine that is not in the configuration, or does not answer, is the operator's business" {
    vestibulectl target add elsewhere --driver docker --container x --engine podman --user alice
    vestibulectl grant add alice elsewhere
    refused 200 'the bastion is not set up right' alice+elsewhere true
    expect_audit "enter.*engine 'podman' at '/run/podman/podman.sock': No such file"

    # Accepts and says nothing.
    printf '[engine.mute]\nsocket = "/run/mute.sock"\n' >/etc/vestibule/vestibule.toml.d/mute.toml
    detached /run/box/logs/mute.log python3 -c '
import socket, time
s = socket.socket(socket.AF_UNIX); s.bind("/run/mute.sock"); s.listen(8)
held = []
while True: held.append(s.accept())'
    wait_for 5 test -S /run/mute.sock
    vestibulectl target add mute --driver docker --container x --engine mute --user alice
    vestibulectl grant add alice mute
    TIMEOUT=40 refused 204 "'mute' does not answer" alice+mute true
    rm /etc/vestibule/vestibule.toml.d/mute.toml
}

@test "answers of an engine that are cut, huge or nonsense are refused" {
    local answer
    printf '[engine.liar]\nsocket = "/run/liar.sock"\n' >/etc/vestibule/vestibule.toml.d/liar.toml
    vestibulectl target add liar --driver docker --container x --engine liar --user alice
    vestibulectl grant add alice liar
    for answer in '' 'nonsense' 'HTTP/1.0 200 OK\r\n' 'HTTP/1.0 200 OK\r\n\r\n{"Id":' 'HTTP/1.0 200 OK\r\n\r\n{"Id":"x","State":{"Pid":1}}' \
        'HTTP/1.0 500 Oops\r\n\r\n' "HTTP/1.0 200 OK\r\n\r\n{\"Id\":\"$(printf 'a%.0s' {1..64})\",\"Name\":\"/x\",\"State\":{\"Pid\":$$,\"Running\":true}}"; do
        rm -f /run/liar.sock
        ANSWER=$answer detached /run/box/logs/liar.log python3 -c '
import os, socket
s = socket.socket(socket.AF_UNIX); s.bind("/run/liar.sock"); s.listen(8)
c, _ = s.accept(); c.recv(9999); c.sendall(os.environ["ANSWER"].encode().decode("unicode_escape").encode()); c.close()'
        wait_for 5 test -S /run/liar.sock
        refused 200 'the bastion is not set up right' alice+liar true
    done
    rm /etc/vestibule/vestibule.toml.d/liar.toml
}

@test "commands with every kind of quoting, newlines and bytes arrive as they are" {
    local command
    box exact vt-busybox alice
    # The shell's own view of its command line: its third word is the command.
    for command in "'\"\\\`\$(x)" ' ~ * ? [a] {b,c} !x ; & | < >' $'two\nlines\n' $'tab\tCR\r.' $'\xff\xfe\x80 not UTF-8' "$(printf 'x%.0s' {1..20000})"; do
        command='cat /proc/$$/cmdline; : #'$command
        # What stands behind a line feed is a command of its own, and none that there is.
        ssh_as alice+exact "$command" >"$BATS_TEST_TMPDIR/seen" || true
        printf 'sh\0-c\0%s\0' "$command" >"$BATS_TEST_TMPDIR/wanted"
        run_ok cmp "$BATS_TEST_TMPDIR/wanted" "$BATS_TEST_TMPDIR/seen"
    done
}

@test "the engine's own exec: commands, exit codes, bytes, terminal, and its refusals" {
    docker_run remote vt-busybox
    vestibulectl target add remote --driver docker --container remote --exec engine --user alice
    vestibulectl grant add alice remote
    run_ok ssh_as alice+remote 'id -un; echo err >&2'
    is alice "$output"
    is err "$stderr"
    run_rc 37 ssh_as alice+remote 'exit 37'
    head -c 3000000 /dev/urandom >"$BATS_TEST_TMPDIR/in"
    ssh_as alice+remote cat <"$BATS_TEST_TMPDIR/in" >"$BATS_TEST_TMPDIR/out"
    run_ok cmp "$BATS_TEST_TMPDIR/in" "$BATS_TEST_TMPDIR/out"
    # The engine is told the size when the process runs already.
    local until='size() { until [ "$(stty size)" = "$1" ]; do sleep 0.1; done; echo "now $1"; }'
    run_ok ssh_on_terminal 33x111 --resize 44x122 'now 33' -- alice+remote "$until; size '33 111'; size '44 122'; tty"
    matches 'now 33 111.*now 44 122.*/dev/pts/' "$(tr -d '\r\n' <<<"$output")"
    refused 210 'this target takes commands in UTF-8 only' alice+remote $'echo \xff'
    docker pause remote
    refused 204 "'remote' is paused" alice+remote true
    docker unpause remote
    docker stop --time 0 remote
    refused 202 "'remote' is not running" alice+remote true
    docker_remove remote
    refused 203 "the container of 'remote' does not exist" alice+remote true
}

@test "a store that is missing, corrupt or newer lets nobody in, and the log says what to do" {
    box stored vt-busybox alice
    run_ok ssh_as alice+stored true
    mkdir /var/lib/vestibule/aside
    cp -a /var/lib/vestibule/store.db* /var/lib/vestibule/aside/

    rm /var/lib/vestibule/store.db*
    ssh_refused alice+stored true
    expect_audit "keys-lookup.*store\.db"

    audit_mark
    head -c 20000 /dev/urandom >/var/lib/vestibule/store.db
    chown vestibule-refresh:vestibule /var/lib/vestibule/store.db
    chmod 640 /var/lib/vestibule/store.db
    ssh_refused alice+stored true
    expect_audit "keys-lookup.*store\.db"

    audit_mark
    cp -a /var/lib/vestibule/aside/* /var/lib/vestibule/
    sqlite3 /var/lib/vestibule/store.db 'PRAGMA user_version = 9999'
    chown vestibule-refresh:vestibule /var/lib/vestibule/store.db*
    ssh_refused alice+stored true
    expect_audit "keys-lookup.*(newer|version)"

    rm -f /var/lib/vestibule/store.db*
    cp -a /var/lib/vestibule/aside/* /var/lib/vestibule/
    run_ok ssh_as alice+stored true
}

@test "an sshd that does not say which key it accepted is a fault of the set-up" {
    box keyless vt-busybox alice
    sshd_stop
    sshd_start 'Match Group vestibule' 'ExposeAuthInfo no' 'Match all'
    refused 200 'the bastion is not set up right' alice+keyless true
    expect_audit "route-session.*ExposeAuthInfo yes"
    sshd_stop
    sshd_start
    run_ok ssh_as alice+keyless true
}

@test "login names of any bytes and length are refused, and logged in one bounded line" {
    local login
    for login in '' '+' 'alice+' '+lab' 'alice+x+y' '../lab' 'lab/../x' '-oProxyCommand=x' "$(printf 'x%.0s' {1..5000})" $'lab\nroot' $'\xff\xfe' 'a:b' 'lab lab' '%u' '$(id)'; do
        # As sshd would run it, for names that never get so far: NSS does not know them.
        run_ok as_user vestibule-keys /usr/libexec/vestibule/keys-lookup -- "$login" "$(fingerprint alice)"
        is '' "$output"
        is '' "$stderr"
        run_any as_user nobody getent passwd -- "$login"
        is '' "$output"
    done
    run_ok bash -c "awk 'length > 1200' '$AUDIT_LOG'"
    is '' "$output"
}
