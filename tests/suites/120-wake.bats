#!/usr/bin/env bats
# A target that does not run is started when somebody comes: once for all, waited for until it is ready, and no longer than
# it may take. Docker's containers, started by the engine or by a command of root's configuration.

load ../lib/bastion

setup_file() {
    bastion_start
    make_key alice
    vestibulectl account add alice
    vestibulectl key add --account alice "$KEYS/alice.pub"
    docker_start
    mkdir -p /usr/local/libexec
    # What a command of the configuration sees and does: says who it is, then starts the container of that name.
    cat >/usr/local/libexec/starter <<'SH'
#!/bin/sh
{ id -un; id -G; echo "$1 $VESTIBULE_TARGET"; env | cut -d = -f 1 | sort | tr '\n' ' '; echo; readlink /proc/self/fd/0; pwd; } >/run/starter/seen
echo "about to start $1"
echo x >>/run/starter/count
exec docker start "$1"
SH
    printf '#!/bin/sh\necho one; echo the-hub-is-asleep >&2; exit 3\n' >/usr/local/libexec/broken
    printf '#!/bin/sh\necho $$ >/run/starter/pid; sleep 1000 & echo $! >/run/starter/child; wait\n' >/usr/local/libexec/endless
    printf '#!/bin/sh\nexit 0\n' >/usr/local/libexec/liar
    chmod 755 /usr/local/libexec/*
    useradd --system --groups docker starter 2>/dev/null || { groupadd --system docker; useradd --system --groups docker starter; }
    install -d -o starter /run/starter
    install -d -o nobody /run/nobody
    cat >/etc/vestibule/vestibule.toml.d/wake.toml <<'TOML'
[session]
wake_seconds = 30
[wake.site]
command = ["/usr/local/libexec/starter", "{target}"]
user = "starter"
[wake.broken]
command = ["/usr/local/libexec/broken"]
[wake.endless]
command = ["/usr/local/libexec/endless"]
user = "starter"
[wake.liar]
command = ["/usr/local/libexec/liar"]
[wake.none]
command = ["/no/such/program"]
[wake.nobody]
command = ["/usr/local/libexec/liar"]
user = "no-such-user"
TOML
    chgrp docker /run/docker.sock && chmod 660 /run/docker.sock
}

setup() {
    audit_mark
    SINCE=$(date +%s)
}

teardown() { show_logs_on_failure; }

# sleeper NAME OPTIONS... [-- DOCKER OPTIONS... [CMD...]]: a stopped container of vt-busybox and its target.
sleeper() {
    local name=$1 options=()
    shift
    while (($#)) && [[ $1 != -- ]]; do options+=("$1") && shift; done
    shift || true
    docker_image vt-busybox
    limit docker create --name "$name" --hostname "$name" "$@" >/dev/null
    limit vestibulectl target add "$name" --driver docker --container "$name" --user alice "${options[@]}" >/dev/null
    limit vestibulectl grant add alice "$name" >/dev/null
}

starts() { docker events --since "$SINCE" --until "$(($(date +%s) + 1))" --filter event=start --filter "container=$1" | wc -l; }

runs() { [[ $(docker inspect --format '{{.State.Running}}' "$1") == true ]]; }

# not_woken REGEX LOGIN...: exit code 212, one line with the session's number, and the same number in the log.
not_woken() {
    local regex=$1 number
    shift
    run_rc 212 ssh_as "$@"
    is '' "$output"
    matches "^vestibule: $regex.* \(session ([a-z0-9]{10})\)$" "$stderr"
    number=${stderr##*session } && number=${number%)*}
    expect_audit "session=$number.*result=refused exit=212"
}

@test "a stopped container is started on connect, and a command sees nothing of it" {
    sleeper lab --wake engine -- vt-busybox
    run_ok ssh_as alice+lab 'hostname; exit 0'
    is lab "$output"
    is '' "$stderr"
    expect_audit 'event=wake target=lab by=engine result=ready'
    is 1 "$(starts lab)"
}

@test "one that runs is not started again" {
    local before
    before=$(docker_pid lab)
    run_ok ssh_as alice+lab true
    is "$before" "$(docker_pid lab)"
    is 0 "$(starts lab)"
    expect_audit 'event=start target=lab'
    expect_no_audit 'event=wake'
}

@test "without the policy a stopped container stays stopped" {
    sleeper still -- vt-busybox
    run_rc 202 ssh_as alice+still true
    fails runs still
}

@test "ten who come at once start it once, and all get in" {
    local i pids=() rc=0
    docker stop --time 0 lab
    for i in {1..10}; do
        ssh_as alice+lab "echo $i" >"$BATS_TEST_TMPDIR/$i" 2>&1 </dev/null &
        pids+=($!)
    done
    for i in "${pids[@]}"; do wait "$i" || rc=1; done
    is 0 "$rc"
    for i in {1..10}; do is "$i" "$(<"$BATS_TEST_TMPDIR/$i")"; done
    is 1 "$(starts lab)"
    is 1 "$(audit_since | grep -c 'event=wake')"
}

@test "ten who come at once run the command once" {
    local i pids=() rc=0
    sleeper site --wake command:site --ready-file /dev/shm/ready -- vt-busybox /bin/sh -c 'sleep 2; : >/dev/shm/ready; exec /init'
    rm -f /run/starter/count
    for i in {1..10}; do
        ssh_as alice+site 'test -e /dev/shm/ready' >"$BATS_TEST_TMPDIR/$i" 2>&1 </dev/null &
        pids+=($!)
    done
    for i in "${pids[@]}"; do wait "$i" || rc=1; done
    is 0 "$rc"
    is 1 "$(wc -l </run/starter/count)"
    is 1 "$(starts site)"
}

@test "the command runs as its user, with a clean environment and nothing to read" {
    docker stop --time 0 site
    run_ok ssh_as alice+site true
    is starter "$(sed -n 1p /run/starter/seen)"
    is "$(id -G starter | tr ' ' '\n' | sort)" "$(sed -n 2p /run/starter/seen | tr ' ' '\n' | sort)"
    is 'site site' "$(sed -n 3p /run/starter/seen)"
    is 'HOME LOGNAME PATH PWD USER VESTIBULE_SESSION VESTIBULE_TARGET ' "$(sed -n 4p /run/starter/seen)"
    is /dev/null "$(sed -n 5p /run/starter/seen)"
    is / "$(sed -n 6p /run/starter/seen)"
}

@test "a port is waited for, in the container's own network" {
    sleeper port --wake engine --ready-tcp 8888 -- vt-busybox /bin/sh -c 'sleep 2; exec nc -ll -p 8888 -e /bin/true'
    run_ok ssh_as alice+port 'netstat -ltn | grep -c :8888'
    is 1 "$output"
    expect_audit 'event=wake target=port by=engine result=ready seconds=[2-9]'
}

@test "a file is waited for, and a link can't make one of the bastion's count" {
    sleeper file --wake engine --ready-file /dev/shm/ready --wake-within 3 -- vt-busybox /bin/sh -c 'sleep 1; ln -s /etc/machine /dev/shm/ready; exec /init'
    : >/etc/machine
    not_woken "'file' was started but is not ready, after [3-5] s" alice+file true
    expect_audit "event=wake target=file .*result=failed step=probe .*no file '/dev/shm/ready'"
    # It runs, so the next one gets in; and with the file inside it would have been ready.
    run_ok ssh_as alice+file true
    docker exec file touch /etc/machine
    docker stop --time 0 file
    run_ok ssh_as alice+file 'test -e /dev/shm/ready'
}

@test "a program of the container's is asked as the login user, confined, and with no shell" {
    sleeper asked --wake engine --ready-command /bin/sh --ready-command -c --ready-command \
        '{ id -un; grep -E "^(CapBnd|CapEff|NoNewPrivs|Seccomp):" /proc/self/status; ls /proc/self/fd | tr "\n" " "; } >/tmp/asked; test -e /tmp/up' -- \
        --security-opt no-new-privileges vt-busybox /bin/sh -c 'rm -f /tmp/up; sleep 2; : >/tmp/up; exec /init'
    run_ok ssh_as alice+asked 'id -un; grep -E "^(CapBnd|CapEff|NoNewPrivs|Seccomp):" /proc/self/status; ls /proc/self/fd | tr "\n" " "'
    is "$output" "$(docker exec asked cat /tmp/asked)"
    expect_audit 'event=wake target=asked by=engine result=ready seconds=[2-9]'
}

@test "a program that hangs is ended, and the wake with it" {
    sleeper hanging --wake engine --wake-within 2 --ready-command /bin/sleep --ready-command 1000 -- vt-busybox
    not_woken "'hanging' was started but is not ready, after [2-4] s" alice+hanging true
    expect_audit "step=probe .*'/bin/sleep' did not end in time"
    run_ok ssh_as alice+hanging 'ps | grep -c "[s]leep 1000" || true'
    is 0 "$output"
}

@test "a program that hangs is ended also when the engine runs it" {
    sleeper drowsy --exec engine --wake engine --wake-within 2 --ready-command /bin/sleep --ready-command 1001 -- vt-busybox
    not_woken "'drowsy' was started but is not ready, after [2-5] s" alice+drowsy true
    wait_for 5 fails docker exec drowsy pgrep -f 'sleep 1001'
}

@test "a container that stops again at once is said so, without waiting for the rest of the time" {
    sleeper brief --wake engine -- vt-busybox /bin/sh -c 'exit 7'
    TIMEOUT=10 not_woken "'brief' was started but does not run, after [0-4] s" alice+brief true
    # Whether it was seen running in between or not.
    expect_audit 'step=running .*exit status 7|wake, running: it stopped: '
}

@test "one that its engine restarts again and again comes to a clear end, for ten who come at once too" {
    local i pids=() rc began=$SECONDS
    sleeper looping --wake engine --wake-within 4 --ready-tcp 1 -- --restart always vt-busybox /bin/sh -c 'sleep 0.3; exit 9'
    for i in {1..10}; do
        TIMEOUT=30 ssh_as alice+looping true >"$BATS_TEST_TMPDIR/$i" 2>&1 </dev/null &
        pids+=($!)
    done
    for i in {1..10}; do
        rc=0
        wait "${pids[i - 1]}" || rc=$?
        # All but who came last, when it was over, and wakes it once more, share one wake.
        is 212 "$rc"
        matches "^vestibule: 'looping' was started but (is not ready|does not run), after [0-9]+ s; " "$(<"$BATS_TEST_TMPDIR/$i")"
    done
    ((SECONDS - began < 25))
    expect_audit 'event=wake target=looping .*result=failed step=(probe|running).*(exit status 9|no connection)'
    docker_remove looping
}

@test "one that its engine restarts until it stays is waited for" {
    sleeper third --wake engine --ready-file /dev/shm/up -- --restart on-failure -v /run/third:/count vt-busybox \
        /bin/sh -c 'echo x >>/count/n; [ $(wc -l </count/n) -ge 3 ] || exit 9; : >/dev/shm/up; exec /init'
    mkdir -p /run/third && : >/run/third/n
    run_ok ssh_as alice+third 'wc -l </count/n'
    is 3 "$output"
    docker_remove third
}

@test "one that stops while it gets ready is said so" {
    sleeper falling --wake engine --ready-tcp 1 -- vt-busybox /bin/sh -c 'sleep 2; exit 7'
    TIMEOUT=15 not_woken "'falling' was started but is not ready" alice+falling true
    expect_audit 'step=probe .*it stopped: .*exit status 7'
}

@test "a container that the engine can't start is said so, and its words are in the log only" {
    sleeper bad --wake engine -- vt-busybox /no/such/program
    TIMEOUT=10 not_woken "'bad' could not be started, after [0-4] s" alice+bad true
    matches_not 'no/such' "$stderr"
    expect_audit "step=start .*engine 'docker' answered with status 4.*runc create failed"
}

@test "a paused container is paused, and not resumed" {
    docker pause lab
    run_rc 204 ssh_as alice+lab true
    matches "'lab' is paused" "$stderr"
    is true "$(docker inspect --format '{{.State.Paused}}' lab)"
    docker unpause lab
}

@test "a command that fails is said so, with its last line in the log" {
    sleeper command --wake command:broken -- vt-busybox
    not_woken "'command' could not be started" alice+command true
    matches_not 'asleep' "$stderr"
    expect_audit "step=start .*'/usr/local/libexec/broken' exited with 3 and said 'the-hub-is-asleep'"
    limit vestibulectl target set command --wake command:none
    not_woken "'command' could not be started" alice+command true
    expect_audit "'/no/such/program' exited with 127 and said 'No such file"
    limit vestibulectl target set command --wake command:nobody
    not_woken "'command' could not be started" alice+command true
    expect_audit "user 'no-such-user' is not in"
}

@test "a command that says that it did and did not is not believed" {
    limit vestibulectl target set command --wake command:liar --wake-within 2
    not_woken "'command' was started but does not run, after [2-4] s" alice+command true
}

@test "a command that never ends is ended, with what it started" {
    limit vestibulectl target set command --wake command:endless --wake-within 2
    not_woken "'command' could not be started, after [2-4] s" alice+command true
    expect_audit 'did not end in time'
    wait_for 3 fails kill -0 "$(</run/starter/pid)"
    wait_for 3 fails kill -0 "$(</run/starter/child)"
}

@test "a command that the configuration no longer has starts nothing" {
    limit vestibulectl target set command --wake command:broken
    sed -i 's/^\[wake\.broken\]/[wake.mended]/' /etc/vestibule/vestibule.toml.d/wake.toml
    not_woken "'command' could not be started" alice+command true
    expect_audit "wake command 'broken': not in the configuration"
    sed -i 's/^\[wake\.mended\]/[wake.broken]/' /etc/vestibule/vestibule.toml.d/wake.toml
}

@test "vestibulectl names only commands that the configuration has, and only drivers that can be started" {
    run_rc 1 vestibulectl target set command --wake command:other
    matches "wake command 'other': vestibule.toml has only " "$stderr"
    run_rc 1 vestibulectl target set command --wake /bin/sh
    run_rc 1 vestibulectl target set command --ready-file ../etc/shadow
    run_rc 1 vestibulectl target set command --ready-command sh
    run_rc 1 vestibulectl target set command --wake-within 0
    run_rc 1 vestibulectl target add net --driver tcp --address localhost:22 --wake hub
    run_rc 1 vestibulectl target add ns --driver namespace --pid-file /run/x.pid --user alice --wake engine
}

@test "the hub is asked by refresh-keys, as its own user" {
    [[ ! -e /usr/libexec/vestibule/refresh-keys ]] || mv /usr/libexec/vestibule/refresh-keys /usr/libexec/vestibule/refresh-keys.real
    printf '#!/bin/sh\necho "$(id -un) $*" >/tmp/hub-seen\nexit 9\n' >/usr/libexec/vestibule/refresh-keys
    chmod 755 /usr/libexec/vestibule/refresh-keys
    limit vestibulectl target set command --wake hub
    not_woken "'command' could not be started" alice+command true
    matches '^vestibule-refresh --wake command --within [0-9]+$' "$(</tmp/hub-seen)"
    expect_audit 'by=hub result=failed step=start'
    rm /usr/libexec/vestibule/refresh-keys
    [[ ! -e /usr/libexec/vestibule/refresh-keys.real ]] || mv /usr/libexec/vestibule/refresh-keys.real /usr/libexec/vestibule/refresh-keys
}

@test "on a terminal the waiting is drawn, and gone when the session begins" {
    local plain
    sleeper seen --wake engine --ready-file /dev/shm/up -- vt-busybox /bin/sh -c 'sleep 3; : >/dev/shm/up; exec /init'
    run_ok ssh_on_terminal 24x80 -- alice+seen 'echo in-the-container'
    matches "vestibule: 'seen'|vestibule: waiting for .*'seen'" "$output"
    # As a terminal would show it: nothing is left of the line.
    plain=$(sed -E 's/.*\r([^\r\n])/\1/' <<<"${output//$'\r\n'/$'\n'}" | tr -d '\r')
    is 'in-the-container' "$plain"
    docker stop --time 0 seen
    SSH_OPTIONS=-T run_ok ssh_as alice+seen 'echo in-the-container'
    is 'in-the-container' "$output"
    is '' "$stderr"
}

@test "the terminal is never drawn beyond its width" {
    docker stop --time 0 seen
    run_ok ssh_on_terminal 24x20 -- alice+seen 'echo in-the-container'
    local part
    while read -r -d $'\r' part; do ((${#part} < 20)) || { printf 'too wide: %q\n' "$part"; return 1; }; done <<<"$output"
}

@test "a failure on a terminal leaves the line of the failure alone" {
    limit vestibulectl target set hanging --wake-within 2
    docker stop --time 0 hanging
    run_rc 212 ssh_on_terminal 24x80 -- alice+hanging true
    matches $'\r'"vestibule: 'hanging' was started but is not ready" "$output"
}

@test "^C while waiting ends the session at once, and not the wake" {
    docker stop --time 0 seen
    run_any ssh_on_terminal 24x80 --type '\x03' "'seen'" -- alice+seen true
    is_not 0 "$status"
    wait_for 10 runs seen
    expect_audit 'event=wake target=seen by=engine result=ready'
}

@test "who goes while waiting is gone at once, and the target is started nevertheless" {
    local client
    docker stop --time 0 seen
    # shellcheck disable=SC2046  # options are words
    detached "$BATS_TEST_TMPDIR/client" ssh $(ssh_options alice) -l alice+seen bastion 'echo never >/tmp/never'
    client=$!
    wait_for 5 runs seen
    sleep 0.5
    kill "$client"
    expect_audit 'event=left target=seen'
    expect_no_audit 'event=wake target=seen'
    expect_audit 'event=wake target=seen by=engine result=ready'
    fails docker exec seen test -e /tmp/never
}

@test "scp into a stopped container works" {
    docker stop --time 0 lab
    echo some-bytes >"$BATS_TEST_TMPDIR/file"
    # shellcheck disable=SC2046  # options are words
    run_ok scp $(ssh_options alice) "$BATS_TEST_TMPDIR/file" alice+lab@bastion:/tmp/arrived
    is some-bytes "$(docker exec lab cat /tmp/arrived)"
    is 1 "$(starts lab)"
}

@test "a container that was removed is gone for the engine, and for a command to make anew" {
    sleeper anew --wake engine -- vt-busybox
    docker_remove anew
    run_rc 203 ssh_as alice+anew true
    printf '#!/bin/sh\nexec docker run --detach --name "$1" vt-busybox\n' >/usr/local/libexec/maker
    chmod 755 /usr/local/libexec/maker
    printf '[wake.maker]\ncommand = ["/usr/local/libexec/maker", "{target}"]\nuser = "starter"\n' >/etc/vestibule/vestibule.toml.d/maker.toml
    limit vestibulectl target set anew --wake command:maker
    run_ok ssh_as alice+anew true
}

@test "one that was removed and made anew under its name while it got ready is another one" {
    sleeper other --wake engine --ready-file /never -- vt-busybox
    detached "$BATS_TEST_TMPDIR/swap" sh -c 'sleep 2; docker rm -f other; docker run --detach --name other vt-busybox /bin/sh -c ": >/never; exec /init"'
    TIMEOUT=15 not_woken "'other' was started but is not ready" alice+other true
    expect_audit "step=probe .*it stopped: "
}

@test "a target of the driver namespace is started by a command" {
    sandbox_start plain
    sandbox_stop plain
    printf '#!/bin/sh\necho wanted >/run/nobody/wanted\n' >/usr/local/libexec/ask
    chmod 755 /usr/local/libexec/ask
    printf '[wake.ask]\ncommand = ["/usr/local/libexec/ask"]\n' >/etc/vestibule/vestibule.toml.d/ask.toml
    limit vestibulectl target add plain --driver namespace --pid-file "$SANDBOX_PIDS/plain.pid" --user alice --wake command:ask --ready-file /etc/passwd
    limit vestibulectl grant add alice plain
    ssh_as alice+plain hostname >"$BATS_TEST_TMPDIR/out" 2>&1 </dev/null &
    local client=$!
    wait_for 5 test -e /run/nobody/wanted
    is nobody "$(stat -c %U /run/nobody/wanted)"
    sandbox_start plain
    wait "$client"
    is plain "$(<"$BATS_TEST_TMPDIR/out")"
}

@test "a target of the engine's exec is started too" {
    sleeper byexec --exec engine --wake engine --ready-tcp 99 -- vt-busybox /bin/sh -c 'sleep 1; exec nc -ll -p 99 -e /bin/true'
    run_ok ssh_as alice+byexec hostname
    is byexec "$output"
    is 1 "$(starts byexec)"
}

@test "who starts what is for root's eyes and hands" {
    is '700 root root' "$(stat -c '%a %U %G' /run/vestibule/wake)"
    fails as_user vestibule ls /run/vestibule/wake
}

@test "the process that wakes keeps nothing of the client: the session ends when its command does" {
    docker stop --time 0 seen
    TIMEOUT=15 run_ok ssh_as alice+seen true
    fails pgrep -x enter
}

@test "the engine down is a fault of the bastion, at once" {
    docker_stop
    TIMEOUT=10 run_rc 200 ssh_as alice+lab true
    matches 'the bastion is not set up right' "$stderr"
}
