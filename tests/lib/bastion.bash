# The bastion inside a box: vestibule installed, the distribution's sshd with the drop-in, a listener on /dev/log, and
# helpers to log in and to look at what was logged. Suites load this file; see tests/README.md for what is in it.
# shellcheck shell=bash

[[ -n ${BOX_NAME:-} ]] || { echo "this suite changes the machine it runs on: run it with tests/run" >&2; exit 1; }

# shellcheck source=tests/lib/assert.bash
source "$BOX_REPO/tests/lib/assert.bash"
# shellcheck source=tests/lib/docker.bash
source "$BOX_REPO/tests/lib/docker.bash"
# shellcheck source=tests/lib/sandbox.bash
source "$BOX_REPO/tests/lib/sandbox.bash"

# What happened, kept on the host when a test fails.
SSHD_LOG=/run/box/logs/sshd.log
AUDIT_LOG=/run/box/logs/audit.log
# Keys of the people of the tests: $KEYS/NAME and $KEYS/NAME.pub.
KEYS=/run/box/keys

# ---- set-up, once a file ------------------------------------------------------------------------------------------

# Everything: install, initialise, edit nsswitch, start the log and sshd.
bastion_start() {
    bastion_install
    bastion_init
    devlog_start
    sshd_start
}

# The programs as `make install` puts them, with owners, setuid and capabilities. Quiet unless it fails.
bastion_install() {
    make -C "$BOX_REPO" --no-print-directory install DESTDIR= PREFIX=/usr STAGE_OWNERS=1 >/run/box/logs/install.log 2>&1 ||
        { cat /run/box/logs/install.log; return 1; }
}

# What an administrator does after the installation.
bastion_init() {
    limit vestibulectl init || return 1
    sed -i -E 's/^passwd:.*/passwd: files vestibule/' /etc/nsswitch.conf
}

devlog_start() {
    [[ -S /dev/log ]] && return
    : >"$AUDIT_LOG"
    detached /run/box/logs/devlog.log "$BOX_REPO/tests/lib/devlog.py" /dev/log "$AUDIT_LOG"
    wait_for 5 test -S /dev/log
}

# sshd_start [LINE]...: the distribution's sshd, with its own PAM, on 127.0.0.1:22 of the box. The configuration is
# Debian's in what matters (UsePAM yes, Subsystem sftp) and then the drop-in; LINEs stand before both.
sshd_start() {
    sshd_stop
    mkdir -p "$KEYS" /etc/ssh/box
    [[ -e /etc/ssh/box/host_key ]] || ssh-keygen -q -t ed25519 -N '' -C bastion -f /etc/ssh/box/host_key
    {
        printf '%s\n' "$@"
        cat <<'CONF'
Include /etc/ssh/box/*.conf
ListenAddress 127.0.0.1
Port 22
HostKey /etc/ssh/box/host_key
PidFile /run/sshd.pid
LogLevel VERBOSE
UsePAM yes
X11Forwarding yes
PrintMotd no
AcceptEnv LANG LC_*
Subsystem sftp /usr/lib/openssh/sftp-server
CONF
    } >/etc/ssh/sshd_config.box
    cp /usr/share/vestibule/sshd_config.d/10-vestibule.conf /etc/ssh/box/10-vestibule.conf
    printf 'bastion,127.0.0.1 %s\n' "$(</etc/ssh/box/host_key.pub)" >/etc/ssh/ssh_known_hosts
    limit /usr/sbin/sshd -t -f /etc/ssh/sshd_config.box || return 1
    detached "$SSHD_LOG" /usr/sbin/sshd -D -f /etc/ssh/sshd_config.box -E "$SSHD_LOG"
    wait_for 5 test -s /run/sshd.pid
    wait_for 5 sshd_answers
}

# forwarding_on: what an administrator does so that forwards end in the containers. Before or after sshd_start.
forwarding_on() {
    echo 'session required pam_vestibule.so' >>/etc/pam.d/sshd
    echo 'forwarding = "pam"' >/etc/vestibule/vestibule.toml.d/forwarding.toml
    mkdir -p /etc/ssh/box
    cp /usr/share/vestibule/sshd_config.d/05-vestibule-forward.conf /etc/ssh/box/
    [[ ! -s /run/sshd.pid ]] || sshd_start
}

sshd_answers() { [[ $(timeout 2 bash -c 'exec 9<>/dev/tcp/127.0.0.1/22; head -c 4 <&9') == SSH- ]]; }

sshd_stop() {
    local pid
    [[ -s /run/sshd.pid ]] || return 0
    pid=$(</run/sshd.pid)
    kill "$pid" 2>/dev/null
    wait_for 5 fails kill -0 "$pid"
    rm -f /run/sshd.pid
}

# ---- people and keys ----------------------------------------------------------------------------------------------

# make_key NAME [ssh-keygen options]: a key pair (ed25519 unless the options say otherwise), once.
make_key() {
    local name=$1
    shift
    [[ -e $KEYS/$name ]] || ssh-keygen -q -t ed25519 -N '' -C "$name@laptop" "$@" -f "$KEYS/$name"
}

# fingerprint NAME: SHA256:... of a key made with make_key.
fingerprint() { ssh-keygen -l -E sha256 -f "$KEYS/$1.pub" | cut -d ' ' -f 2; }

# add_person NAME [vestibulectl options]: an account with one key.
add_person() {
    local name=$1
    shift
    make_key "$name"
    limit vestibulectl account add "$name" "$@" >/dev/null && limit vestibulectl key add --account "$name" "$KEYS/$name.pub" >/dev/null
}

# as_user USER CMD...: as that user of the bastion, with its groups and nothing of root's.
as_user() {
    local user=$1
    shift
    # By way of a shell: setpriv itself executes with root's capabilities, and may execute what the user may not.
    # shellcheck disable=SC2016  # for that shell
    limit setpriv --reuid "$user" --regid "$(id -g "$user")" --init-groups --inh-caps=-all /bin/sh -c 'exec "$@"' sh "$@"
}

# ---- logging in ---------------------------------------------------------------------------------------------------

# ssh_as LOGIN [CMD...]: a session as LOGIN, with the key named by $KEY (by default the part of LOGIN before + or @, if
# there is such a key, else alice's). More ssh options, as words, in $SSH_OPTIONS: SSH_OPTIONS=-tt ssh_as lab tty
# stdin is what the caller gives; under bats' `run` that is nothing.
ssh_as() {
    local login=$1
    shift
    # shellcheck disable=SC2086,SC2046  # options are words
    limit ssh ${SSH_OPTIONS-} $(ssh_options "$login") -l "$login" bastion "$@"
}

# The options by which a test's ssh knows nothing but what the test gave it. Usable for scp, sftp and rsync too.
ssh_options() {
    local key=${KEY:-${1%%[+@]*}}
    [[ -e $KEYS/$key ]] || { key=alice && make_key alice; }
    echo "-F none -i $KEYS/$key -o IdentitiesOnly=yes -o IdentityAgent=none -o BatchMode=yes -o ConnectTimeout=10" \
        "-o StrictHostKeyChecking=yes -o UserKnownHostsFile=/dev/null -o LogLevel=ERROR"
}

# ssh_on_terminal ROWSxCOLS [STEP]... -- LOGIN [CMD...]: the same from a terminal of that size, with a pty asked for, and
# with the steps of on-terminal.py (--type TEXT AFTER, --resize ROWSxCOLS AFTER).
ssh_on_terminal() {
    local steps=()
    while [[ $1 != -- ]]; do steps+=("$1") && shift; done
    shift
    local login=$1
    shift
    # shellcheck disable=SC2086,SC2046  # options are words
    limit "$BOX_REPO/tests/lib/on-terminal.py" "${steps[@]}" -- ssh -tt ${SSH_OPTIONS-} $(ssh_options "$login") -l "$login" bastion "$@"
}

# ssh_refused LOGIN [CMD...]: sshd must refuse the login (255, "Permission denied"), not something behind it.
ssh_refused() {
    run_rc 255 ssh_as "$@"
    matches 'Permission denied \(' "$stderr"
}

# ---- the audit log ------------------------------------------------------------------------------------------------

# Where the log stands: expect_audit looks at what came after.
audit_mark() { AUDIT_MARK=$(stat -c %s "$AUDIT_LOG"); }

# What was logged since the mark; one line a message: `authpriv.info DATE program[pid]: text`.
audit_since() { tail -c +"$((${AUDIT_MARK:-0} + 1))" "$AUDIT_LOG"; }

# cant_be_written PID KIND WHY: root itself can't write the program that PID runs; it is on a file system of that KIND.
cant_be_written() {
    is "$2" "$(stat --dereference --file-system --format %T "/proc/$1/exe")"
    run_rc 1 bash -c ": >>'/proc/$1/exe'"
    matches "$3" "$stderr"
}

# expect_audit REGEX: within five seconds a line since the mark matches.
expect_audit() {
    wait_for 5 audit_has "$1" || { echo "in the audit log since the mark:"; audit_since; return 1; }
}

audit_has() { audit_since | grep -q -E -e "$1"; }

# expect_no_audit REGEX: nothing since the mark matches. Only after something that was logged later, or it proves nothing.
expect_no_audit() {
    fails audit_has "$1" || { audit_since; return 1; }
}

# For teardown(): what the logs say, when the test failed. bats shows it with the test.
show_logs_on_failure() {
    [[ -z ${BATS_TEST_COMPLETED:-} ]] || return 0
    echo "--- sshd.log, last 15 lines"
    tail -n 15 "$SSHD_LOG" 2>/dev/null
    echo "--- audit.log, last 15 lines"
    tail -n 15 "$AUDIT_LOG" 2>/dev/null
    return 0
}
