#!/usr/bin/env bats
# The client of a second hop in the hands of a server that has taken it over: it is the user of the second hop, in the
# session's own place, and not for longer than the session. In place of the stock client stands a program that does first
# what such a client would do.

load ../lib/bastion
load ../lib/second-hop

setup_file() {
    bastion_start
    server_start
    add_person alice
    proxy_key bastion
    hop_target lab
    vestibulectl grant add alice lab
    mv /usr/bin/ssh /usr/bin/ssh.stock
    cat >/usr/bin/ssh <<'PY'
#!/usr/bin/python3
import ctypes, os, pwd, signal, sys, time
if pwd.getpwuid(os.getuid()).pw_name == "vestibule-hop":
    ctypes.CDLL(None).prctl(1, 0)  # PR_SET_PDEATHSIG: not to end with its parent
    if os.fork() == 0:
        while not os.path.exists("/run/box/attack"):
            time.sleep(0.05)
        for number in open("/run/box/attack").read().split():
            for pid in [0, -1, 1, os.getppid()][: 2 if int(number) == signal.SIGKILL else 4]:
                try:
                    os.kill(pid, int(number))
                except OSError:
                    pass
        os._exit(0)
os.execv("/usr/bin/ssh.stock", sys.argv)
PY
    chmod 0755 /usr/bin/ssh /run/box
}

setup() {
    audit_mark
    rm -f /run/box/attack
}

teardown() {
    pkill -KILL -f '^sleep 500' || true
    show_logs_on_failure
}

no_hop() { fails pgrep -u vestibule-hop; }

# begun N: a session in the background that has begun, and sleeps for N seconds.
begun() {
    # shellcheck disable=SC2046  # options are words
    detached "/run/box/logs/session.$1.log" ssh $(ssh_options alice) -l alice+lab bastion "sleep $1"
    wait_for 10 pgrep -f "^sleep $1"
}

@test "a client that ends whoever it can does not outlive its session" {
    begun 5001
    # Its worker is in its process group, and of its user.
    echo 9 >/run/box/attack
    wait_for 5 no_hop
    is '' "$(vestibulectl sessions | tail -n +2)"
    expect_audit 'event=end target=lab'
}

@test "a client that stops whoever it can is ended with the session's access" {
    begun 5002
    echo 19 >/run/box/attack
    sleep 0.5
    vestibulectl grant rm alice lab
    wait_for 6 no_hop
    expect_audit 'event=revoked target=lab account=alice reason=no-grant'
    vestibulectl grant add alice lab
}

@test "a client that would not end is ended with its session's client" {
    begun 5003
    pkill -KILL -f 'ssh .*alice[+]lab'
    wait_for 5 no_hop
}

@test "nothing of a session is left when the process that watches it is killed" {
    begun 5004
    pkill -KILL -u vestibule -x enter
    wait_for 5 no_hop
    wait_for 5 fails pgrep -f '^sshd: remy'
}
