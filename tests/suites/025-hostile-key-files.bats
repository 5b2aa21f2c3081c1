#!/usr/bin/env bats
# A target's own authorized_keys is written by whoever is in the container. Whatever it is made of, nobody else's file is
# read, nothing hangs, nothing crashes, no byte of it is logged, and a login by another key goes on as if it were not there.

load ../lib/bastion

LOOKUP=/usr/libexec/vestibule/keys-lookup
HOME_DIR=/srv/homes/lab
OWN=$HOME_DIR/.ssh/authorized_keys

# A FUSE file system whose server never answers the kernel's first question.
MUTE_FUSE='
import ctypes, os, sys, time
fuse = os.open("/dev/fuse", os.O_RDWR)
options = b"fd=%d,rootmode=40000,user_id=0,group_id=0,allow_other" % fuse
if ctypes.CDLL(None, use_errno=True).mount(b"mute", sys.argv[1].encode(), b"fuse", 6, options) != 0:
    sys.exit(os.strerror(ctypes.get_errno()))
time.sleep(60)
'

setup_file() {
    bastion_start
    limit vestibulectl target add lab --driver namespace --pid-file /run/none.pid --user root --home "$HOME_DIR" >/dev/null
    make_key tenant
    make_key other
    add_person alice
    limit vestibulectl grant add alice lab >/dev/null
}

setup() {
    audit_mark
    install -d -m 0755 "$HOME_DIR" "${OWN%/*}"
}

teardown() {
    show_logs_on_failure
    umount "$OWN" 2>/dev/null
    rm -rf "$HOME_DIR"
}

key() { cut -d ' ' -f 1,2 "$KEYS/${1:-tenant}.pub"; }

# Asked as sshd asks, and not for long.
ask() { TIMEOUT=5 as_user vestibule-keys env -i "$LOOKUP" lab "$(fingerprint "${1:-tenant}")"; }

# nobody REGEX: the tenant's key opens nothing, the log has the remark, and alice gets in all the same.
nobody() {
    run_ok ask
    is '' "$output$stderr"
    expect_audit "result=denied .*login=\"lab\" .*reason="
    [[ -z $1 ]] || expect_audit "note=\"own: not used: .*$1"
    run_ok ask alice
    is "restrict,pty $(key alice)" "$output"
}

# somebody LINE: the tenant's key opens with this line.
somebody() {
    run_ok ask
    is "$1 $(key)" "$output"
    is '' "$stderr"
}

@test "a plain file works, so that the rest of this suite means something" {
    key >"$OWN"
    somebody restrict,pty
}

@test "links that lead out of the home are not followed, whatever they lead to" {
    local to
    key >/srv/homes/elsewhere
    for to in /etc/shadow /proc/self/mem /proc/self/environ /proc/self/fd/0 /proc/1/root/etc/shadow /dev/zero /dev/stdin \
        /srv/homes/elsewhere ../../elsewhere ../../../../../../../etc/shadow authorized_keys; do
        ln -sfn "$to" "$OWN"
        nobody 'symbolic link'
        audit_mark
    done
}

@test "a directory that is a link out of the home is not followed" {
    install -d /srv/homes/evil
    key >/srv/homes/evil/authorized_keys
    rm -rf "${OWN%/*}"
    ln -s /srv/homes/evil "${OWN%/*}"
    nobody 'symbolic link'
    ln -sfn ../evil "${OWN%/*}"
    nobody 'symbolic link'
}

@test "a link inside the home is followed" {
    key >"$HOME_DIR/keys"
    ln -s ../keys "$OWN"
    somebody restrict,pty
}

@test "a FIFO, a socket, a directory and devices are no key files and hold nobody up" {
    mkfifo "$OWN"
    nobody 'not a regular file'
    rm "$OWN"
    mkdir "$OWN"
    nobody 'not a regular file'
    rmdir "$OWN"
    python3 -c 'import socket, sys; socket.socket(socket.AF_UNIX).bind(sys.argv[1])' "$OWN"
    nobody 'not a regular file'
    rm "$OWN"
    : >"$OWN"
    local device
    for device in /dev/zero /dev/null /dev/tty /dev/ptmx; do
        mount --bind "$device" "$OWN"
        nobody 'not a regular file'
        umount "$OWN"
    done
}

@test "no file, an empty file and a home that is gone are no fault" {
    nobody ''
    : >"$OWN"
    nobody ''
    rm -rf "$HOME_DIR"
    nobody ''
    : >"$HOME_DIR"
    nobody ''
    rm -f "$HOME_DIR"
    expect_no_audit 'note='
}

@test "a file that everybody may write is not used" {
    key >"$OWN"
    chmod 0666 "$OWN"
    nobody 'chmod o-w'
}

@test "a file of more than 64 KiB is not used, not even its beginning" {
    { key && head -c 65536 /dev/zero; } >"$OWN"
    nobody 'more than 65536 bytes'
    { key && truncate -s 1T /dev/stdout; } >"$OWN"
    nobody 'more than 65536 bytes'
}

@test "lines of any bytes are passed over, and a good line among them is found" {
    {
        head -c 20000 /dev/urandom
        printf '\n\0\n\r\n \t\r\n"\n"""""\n\\"\n,,,\n=\n#\n'
        head -c 20000 /dev/zero | tr '\0' 'x'
        printf '\n%s\r\n' "$(key)"
    } >"$OWN"
    somebody restrict,pty
}

@test "options at fault cost their line, and no byte of the file is logged" {
    local option
    for option in sesame 'command="sesame' 'command=sesame' 'command="sesame"x' 'from="sesame",from="sesame"' \
        'expiry-time="sesame"' 'permitopen="sesame"' 'tunnel="sesame"' 'environment="sesame"' 'no-sesame'; do
        printf '%s %s sesame\n' "$option" "$(key)" >"$OWN"
        nobody ''
    done
    for option in cert-authority,restrict 'environment="SESAME=sesame"' 'tunnel="0"' 'principals="sesame"' \
        $'from="sesame\x01"' $'from="sesame\r"'; do
        printf '%s %s sesame\n' "$option" "$(key)" >"$OWN"
        nobody ''
        expect_audit 'reason=options dropped=own:1'
        audit_mark
    done
    run grep -c -i sesame "$AUDIT_LOG"
    is 0 "$output"
}

@test "what a file grants itself is not granted" {
    printf 'port-forwarding,agent-forwarding,X11-forwarding,user-rc,no-touch-required,permitopen="*:*",permitlisten="*:*" %s\n' "$(key)" >"$OWN"
    somebody restrict,pty
    printf 'command="echo hi",no-pty,verify-required,from="127.0.0.1" %s\n' "$(key)" >"$OWN"
    somebody 'restrict,from="127.0.0.1",verify-required'
}

@test "a file that is swapped while it is read is the one or the other, and never somebody else's" {
    key >/srv/homes/elsewhere
    { key other && seq -f '# %g' 1 2000; } >"$HOME_DIR/real"
    detached /run/box/logs/swapper.log bash -c '
        cd "$1" || exit
        while :; do
            ln -sfn /srv/homes/elsewhere n && mv -T n authorized_keys
            ln -sfn ../../elsewhere n && mv -T n authorized_keys
            mkfifo n && mv -T n authorized_keys
            cp ../real n && mv -T n authorized_keys
            printf x >>authorized_keys; truncate -s 0 authorized_keys
            cp ../real n && mv -T n authorized_keys
        done' swapper "${OWN%/*}"
    local swapper=$! end=$((SECONDS + 6)) out found=0 asked=0
    while ((SECONDS < end)); do
        out=$(ask) || { echo "exit status $?" && kill "$swapper" && return 1; }
        [[ -z $out ]] || { echo "opened by a file that is not the tenant's" && kill "$swapper" && return 1; }
        out=$(ask other) || { echo "exit status $?" && kill "$swapper" && return 1; }
        [[ -z $out ]] || found=$((found + 1))
        asked=$((asked + 1))
    done
    kill "$swapper"
    echo "asked $asked times, found $found times"
    ((found > 0 && asked > 10))
}

@test "a file system that does not answer is waited for half a second, and no longer" {
    [[ -c /dev/fuse ]] || mknod /dev/fuse c 10 229
    detached /run/box/logs/mute-fuse.log python3 -c "$MUTE_FUSE" "${OWN%/*}"
    local server=$!
    wait_for 5 grep -q '^mute ' /proc/mounts
    local start end
    start=$(date +%s%N)
    nobody 'not read within 500 ms'
    end=$(date +%s%N)
    kill "$server"
    umount -l "${OWN%/*}"
    (((end - start) / 1000000 >= 500 && (end - start) / 1000000 < 3000))
}
