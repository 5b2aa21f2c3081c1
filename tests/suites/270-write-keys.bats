#!/usr/bin/env bats
# write-keys: the keys that open a target, in a file below its home, for an sshd of its own; and homes of tenants who would
# have it write elsewhere, or nothing.

load ../lib/bastion

WRITE=/usr/libexec/vestibule/write-keys
HOMES=/srv/homes
LAB=$HOMES/lab
FILE=.ssh/.vestibule/authorized_keys
STORE=/var/lib/vestibule/store.db

# A FUSE file system whose server never answers the kernel's first question.
MUTE_FUSE='
import ctypes, os, sys, time
fuse = os.open("/dev/fuse", os.O_RDWR)
options = b"fd=%d,rootmode=40000,user_id=2001,group_id=2001,allow_other" % fuse
if ctypes.CDLL(None, use_errno=True).mount(b"mute", sys.argv[1].encode(), b"fuse", 6, options) != 0:
    sys.exit(os.strerror(ctypes.get_errno()))
time.sleep(60)
'

setup_file() {
    bastion_start
    docker_start
    docker_image vt-busybox
    useradd -u 2001 -d "$LAB" -s /bin/sh tenant
    passwd -q -d tenant
    useradd -u 2002 -d "$HOMES/den" -s /bin/sh neighbour
    make_key spare
    make_key bob
    sshd_of_the_tenant
}

setup() {
    audit_mark
    rm -rf "$HOMES" /var/lib/vestibule-written
    install -d -o 2001 -g 2001 -m 0755 "$LAB"
    install -d -o 2002 -g 2002 -m 0755 "$HOMES/den"
    printf '[written]\nhomes = ["%s"]\n' "$HOMES" >/etc/vestibule/vestibule.toml.d/written.toml
    limit vestibulectl target add lab --driver tcp --address 127.0.0.1:2222 --home "$LAB" --write-keys >/dev/null
    add_person alice
    limit vestibulectl grant add alice lab >/dev/null
}

teardown() {
    show_logs_on_failure
    [[ ! -e $BATS_TEST_TMPDIR/follow.pid ]] || kill "$(<"$BATS_TEST_TMPDIR/follow.pid")" 2>/dev/null
    local name
    for name in lab den studio; do limit vestibulectl target rm "$name" >/dev/null 2>&1; done
    for name in alice bob; do limit vestibulectl account rm "$name" >/dev/null 2>&1; done
    limit vestibulectl key unrevoke "$(fingerprint alice)" >/dev/null 2>&1
    umount "$LAB/.ssh" "$LAB" 2>/dev/null
    return 0
}

# An sshd as a container has it: it knows the written file and nothing of vestibule.
sshd_of_the_tenant() {
    cat >/etc/ssh/sshd_config.tenant <<CONF
ListenAddress 127.0.0.1
Port 2222
HostKey /etc/ssh/box/host_key
PidFile /run/sshd.tenant.pid
UsePAM no
AuthorizedKeysFile .ssh/authorized_keys $FILE
CONF
    printf '[127.0.0.1]:2222 %s\n' "$(</etc/ssh/box/host_key.pub)" >>/etc/ssh/ssh_known_hosts
    detached /run/box/logs/sshd.tenant.log /usr/sbin/sshd -D -f /etc/ssh/sshd_config.tenant -e
    wait_for 5 test -s /run/sshd.tenant.pid
}

# inside KEY [CMD...]: straight to the container's own sshd.
inside() {
    # shellcheck disable=SC2046  # options are words
    limit ssh $(KEY=$1 ssh_options tenant) -p 2222 -l tenant 127.0.0.1 "${@:2}"
}
outside() { run_rc 255 inside "$1" true; }

key() { cut -d ' ' -f 1,2 "$KEYS/$1.pub"; }
# written [HOME]: the keys of its file.
written() { grep -v '^#' "${1:-$LAB}/$FILE" || true; }
has() { is "$2" "$(written "$1" | sed -E 's/.*(ssh-ed25519 [^ ]+)$/\1/')"; }
writes() { run_ok "$WRITE" "$@"; }
follow() {
    detached /run/box/logs/follow.log "$WRITE" --follow "$@"
    echo $! >"$BATS_TEST_TMPDIR/follow.pid"
    wait_for 10 test -s "$LAB/$FILE"
}
milliseconds() { echo $(($(date +%s%N) / 1000000)); }

@test "who may enter the target may enter its own sshd, and nobody else" {
    outside alice
    writes
    is '1 written, 0 as they were, 0 without a home, 0 failed' "$output"
    run_ok inside alice whoami
    is tenant "$output"
    outside spare
    is '2001 2001 600' "$(stat -c '%u %g %a' "$LAB/$FILE")"
    is '2001 700' "$(stat -c '%u %a' "$LAB/.ssh/.vestibule")"
    expect_audit "write-keys.*home=\"$LAB\" result=written keys=1"
    writes
    is '0 written, 1 as they were, 0 without a home, 0 failed' "$output"
    is '[".ssh/.vestibule/authorized_keys"]' "$(jq -c '.[1:]' /var/lib/vestibule-written/files)"
}

@test "lines are what keys-lookup would answer, and a command of a key runs where the file is" {
    limit vestibulectl key add --target lab <(echo "from=\"127.0.0.0/8\",command=\"echo \\\"only this\\\"\",no-pty $(key spare)") >/dev/null
    limit vestibulectl target set lab --no-pty --agent-forwarding --forward none >/dev/null
    writes
    is "restrict,agent-forwarding $(key alice)
restrict,agent-forwarding,from=\"127.0.0.0/8\",command=\"echo \\\"only this\\\"\" $(key spare)" "$(written)"
    run_ok inside spare 'cat /etc/shadow'
    is 'only this' "$output"
    limit vestibulectl target set lab --pty --no-agent-forwarding --forward local --open-port 8080 >/dev/null
    writes
    matches '^restrict,pty,port-forwarding,permitopen="localhost:8080",permitopen="127.0.0.1:8080",permitopen="\[::1\]:8080",permitlisten="none.invalid:1" ssh' "$(written)"
}

@test "a key that is revoked, removed, ended, or of somebody disabled is not in it, and the last one empties it" {
    writes
    has "$LAB" "$(key alice)"
    limit vestibulectl key revoke "$(fingerprint alice)" >/dev/null
    writes
    has "$LAB" ''
    outside alice
    limit vestibulectl key unrevoke "$(fingerprint alice)" >/dev/null
    writes
    run_ok inside alice true
    limit vestibulectl account disable alice >/dev/null
    # Nor by another who has the same key.
    limit vestibulectl account add bob >/dev/null
    limit vestibulectl key add --account bob "$KEYS/alice.pub" >/dev/null
    limit vestibulectl grant add bob lab >/dev/null
    writes
    has "$LAB" ''
    limit vestibulectl account rm bob >/dev/null
    limit vestibulectl account enable alice >/dev/null
    writes
    has "$LAB" "$(key alice)"
    limit vestibulectl grant rm alice lab >/dev/null
    writes
    has "$LAB" ''
    limit vestibulectl grant add alice lab --expires +2s >/dev/null
    writes
    has "$LAB" "$(key alice)"
    sleep 2.1
    writes
    has "$LAB" ''
}

@test "keys of a source that is stale are not in it" {
    sqlite3 /srv/projects.db "CREATE TABLE IF NOT EXISTS k(key TEXT); DELETE FROM k; INSERT INTO k VALUES('$(key spare)')"
    chmod 0644 /srv/projects.db
    cat >/etc/vestibule/vestibule.toml.d/60-projects.toml <<'TOML'
[source.projects]
kind = "sqlite"
path = "/srv/projects.db"
others = true
max_stale = 60
keys = "SELECT 'lab' AS target, key FROM k"
TOML
    run_ok /usr/libexec/vestibule/refresh-keys
    writes
    run_ok inside spare true
    run_ok as_user vestibule-refresh sqlite3 "$STORE" "UPDATE sources SET valid_until = valid_until - 61"
    writes
    outside spare
    run_ok inside alice true
    sqlite3 /srv/projects.db 'DELETE FROM k'
    run_ok /usr/libexec/vestibule/refresh-keys --accept-shrink
    rm /etc/vestibule/vestibule.toml.d/60-projects.toml
}

@test "a target that is removed, moved or not written any more leaves no key behind" {
    writes
    has "$LAB" "$(key alice)"
    limit vestibulectl target set lab --no-write-keys >/dev/null
    writes
    is 0 "$(stat -c %s "$LAB/$FILE")"
    outside alice
    limit vestibulectl target set lab --write-keys >/dev/null
    writes
    limit vestibulectl target set lab --home "$HOMES/den" >/dev/null
    writes
    is 0 "$(stat -c %s "$LAB/$FILE")"
    has "$HOMES/den" "$(key alice)"
    is 2002 "$(stat -c %u "$HOMES/den/$FILE")"
    limit vestibulectl target rm lab >/dev/null
    writes
    is 0 "$(stat -c %s "$HOMES/den/$FILE")"
    is '' "$(</var/lib/vestibule-written/files)"
}

@test "nothing is written where root's configuration does not say so, whatever the store says" {
    local home
    install -d -o 2001 /srv/homesick/x /srv/other/x
    for home in /srv/homesick/x /srv/other/x "$HOMES/../other/x" "$HOMES"; do
        limit vestibulectl target set lab --home "$HOMES/den" >/dev/null
        run_ok as_user vestibule-refresh sqlite3 "$STORE" "UPDATE targets SET home = '$home' WHERE name = 'lab'"
        run_rc 1 "$WRITE"
        matches 'not below one of \[written\] homes' "$stderr"
    done
    is '' "$(find /srv/homesick /srv/other -name .ssh)"
    rm /etc/vestibule/vestibule.toml.d/written.toml
    rm -rf "$LAB/.ssh"
    limit vestibulectl target set lab --home "$LAB" >/dev/null
    run_any "$WRITE"
    fails test -e "$LAB/.ssh"
    printf '[written]\nhomes = ["%s"]\nfile = ".ssh/authorized_keys"\n' "$HOMES" >/etc/vestibule/vestibule.toml.d/written.toml
    run_rc 1 "$WRITE"
    matches 'written.file is keys.own_file' "$stderr"
    fails test -e "$LAB/.ssh"
}

@test "a target that root's configuration lets nobody enter has no keys in its file" {
    writes
    has "$LAB" "$(key alice)"
    printf '[may_enter]\naddresses = ["10.9.9.9:*"]\n' >/etc/vestibule/vestibule.toml.d/may.toml
    writes
    has "$LAB" ''
    rm /etc/vestibule/vestibule.toml.d/may.toml
    writes
    has "$LAB" "$(key alice)"
}

@test "a target of a workspace that is closed has no keys in its file, and one that does not run keeps them for its start" {
    limit vestibulectl target set lab --workspace 12345 >/dev/null
    writes
    has "$LAB" ''
    printf '[may_enter]\nworkspaces = [12345]\n' >/etc/vestibule/vestibule.toml.d/may.toml
    limit vestibulectl target set lab --running no >/dev/null
    writes
    has "$LAB" "$(key alice)"
    rm /etc/vestibule/vestibule.toml.d/may.toml
    limit vestibulectl target set lab --workspace '' --running yes >/dev/null
    writes
    has "$LAB" "$(key alice)"
}

@test "one who is not root can't run it, and as its unit runs it it has what it needs" {
    run_any as_user vestibule "$WRITE"
    is 1 "$status"
    matches 'only root' "$stderr"
    run_ok setpriv --no-new-privs --inh-caps=-all --bounding-set=-all,+setuid,+setgid,+dac_read_search "$WRITE"
    has "$LAB" "$(key alice)"
}

@test "targets that share a home share the file" {
    limit vestibulectl target add studio --driver tcp --address 127.0.0.1:2223 --home "$LAB" --write-keys >/dev/null
    add_person bob
    limit vestibulectl grant add bob studio >/dev/null
    writes
    is "$(printf '%s\n%s' "$(key alice)" "$(key bob)")" "$(written | grep -o 'ssh-ed25519 .*')"
}

# refuses WHY: the file of the lab is not written, and says why; that of the den is.
refuses() {
    limit vestibulectl target add den --driver tcp --address 127.0.0.1:2224 --home "$HOMES/den" --write-keys >/dev/null 2>&1 || true
    limit vestibulectl grant add alice den >/dev/null 2>&1 || true
    rm -f "$HOMES/den/$FILE"
    run_rc 1 "$WRITE"
    matches "home '$LAB': .*$1" "$stderr"
    expect_audit "home=\"$LAB\" result=failed"
    has "$HOMES/den" "$(key alice)"
}

@test "no link leads it out of the home" {
    local to
    install -d -m 0777 /srv/everybodys
    for to in /srv/everybodys /root /etc ../den /proc/self/cwd; do
        rm -rf "$LAB/.ssh"
        ln -s "$to" "$LAB/.ssh"
        refuses 'symbolic link'
        rm "$LAB/.ssh"
        install -d -o 2001 "$LAB/.ssh"
        ln -s "$to" "$LAB/.ssh/.vestibule"
        refuses 'symbolic link'
    done
    is '' "$(find /srv/everybodys /root /etc "$HOMES/den" -maxdepth 1 \( -name .vestibule -o -name authorized_keys -o -name '*.new' \))"
    rm -rf "$LAB"
    ln -s den "$LAB"
    refuses 'symbolic link'
    rm "$LAB"
    install -d -o 2001 "$LAB"
}

@test "what stands in the place of the file is replaced and never written into" {
    install -d -o 2001 "$LAB/.ssh" "$LAB/.ssh/.vestibule"
    echo mine >"$HOMES/victim"
    chmod 0666 "$HOMES/victim"
    ln -s "$HOMES/victim" "$LAB/$FILE"
    ln "$HOMES/victim" "$LAB/$FILE.new"
    writes
    has "$LAB" "$(key alice)"
    rm "$LAB/$FILE"
    ln "$HOMES/victim" "$LAB/$FILE"
    writes
    has "$LAB" "$(key alice)"
    is mine "$(<"$HOMES/victim")"
    rm "$LAB/$FILE"
    mkfifo -m 0666 "$LAB/$FILE" "$LAB/$FILE.new"
    writes
    has "$LAB" "$(key alice)"
    rm "$LAB/$FILE"
    as_user tenant mkdir -p "$LAB/$FILE/full"
    refuses 'a directory stands'
    as_user tenant rm -r "$LAB/$FILE"
    as_user tenant mkdir "$LAB/$FILE.new"
    refuses 'a directory stands'
}

@test "directories of others, homes of root's, mounts and file systems that can't be written are told and left alone" {
    install -d -o 2002 "$LAB/.ssh"
    refuses 'belongs to another'
    rm -rf "$LAB/.ssh"
    install -d -o 2001 -m 0777 "$LAB/.ssh"
    refuses 'written by everybody'
    rm -rf "$LAB/.ssh"
    echo >"$LAB/.ssh"
    refuses 'no directory'
    rm -rf "$LAB/.ssh"
    install -d -o 2001 "$LAB/.ssh"
    mount -t tmpfs -o uid=2001 inner "$LAB/.ssh"
    refuses 'another file system'
    umount "$LAB/.ssh"
    mount -t tmpfs -o uid=2001,ro still "$LAB"
    refuses 'Read-only'
    umount "$LAB"
    chown root "$LAB"
    refuses 'belongs to root'
    chown 2001 "$LAB"
}

@test "a tenant who swaps directories while it writes gains nothing" {
    : >"$BATS_TEST_TMPDIR/before"
    install -d -o 2002 -m 0777 "$HOMES/den/open"
    # shellcheck disable=SC2016  # for that shell
    detached /dev/null setpriv --reuid 2001 --regid 2001 --clear-groups sh -c '
        cd "$1" && mkdir -p real/.vestibule
        while :; do ln -sfn ../den/open .ssh; rm -f .ssh; mv real .ssh; mv .ssh real; ln -sfn /root .ssh; rm -f .ssh; done' sh "$LAB"
    local swapper=$! n
    for n in {1..60}; do run_any "$WRITE" --target lab; ((n)); done
    kill "$swapper"
    is '' "$(find "$HOMES/den" /root -maxdepth 3 -newer "$BATS_TEST_TMPDIR/before" \( -name .vestibule -o -name 'authorized_keys*' \))"
    is '' "$(find "$HOMES" -path '*.vestibule*' -not -user 2001)"
}

@test "a home that does not answer holds up neither the others nor the next run" {
    local begun
    detached /run/box/logs/mute-fuse.log python3 -c "$MUTE_FUSE" "$LAB"
    wait_for 5 grep -q " $LAB fuse" /proc/self/mounts
    begun=$(milliseconds)
    refuses 'does not answer'
    (($(milliseconds) - begun < 12000))
    umount -l "$LAB"
}

@test "with no room left a key that is gone is gone all the same" {
    mount -t tmpfs -o uid=2001,gid=2001,mode=755,size=64k small "$LAB"
    add_person bob
    limit vestibulectl grant add bob lab >/dev/null
    writes
    dd if=/dev/zero of="$LAB/full" 2>/dev/null || true
    limit vestibulectl key revoke "$(fingerprint alice)" >/dev/null
    run_any "$WRITE"
    outside alice
    matches_not "$(literally "$(key alice)")" "$(cat "$LAB/$FILE" 2>/dev/null)"
    rm "$LAB/full"
    writes
    run_ok inside bob true
}

@test "--follow: a change of the store is in the file within a second, and other files are not touched" {
    local begun before
    limit vestibulectl target add den --driver tcp --address 127.0.0.1:2224 --home "$HOMES/den" --write-keys >/dev/null
    limit vestibulectl grant add alice den >/dev/null
    follow
    wait_for 5 test -s "$HOMES/den/$FILE"
    before=$(stat -c '%i %z' "$HOMES/den/$FILE")
    begun=$(milliseconds)
    limit vestibulectl key add --target lab "$KEYS/spare.pub" >/dev/null
    wait_for 5 inside spare true 2>/dev/null
    echo "# $(($(milliseconds) - begun)) ms from the command to a login" >&3
    (($(milliseconds) - begun < 2000))
    limit vestibulectl key revoke "$(fingerprint spare)" >/dev/null
    wait_for 5 fails grep -q "$(key spare)" "$LAB/$FILE"
    is "$before" "$(stat -c '%i %z' "$HOMES/den/$FILE")"
    limit vestibulectl key unrevoke "$(fingerprint spare)" >/dev/null
    # What ends with time needs no change.
    limit vestibulectl grant add alice lab --expires +3s >/dev/null
    wait_for 2 grep -q "$(key alice)" "$LAB/$FILE"
    wait_for 6 fails grep -q "$(key alice)" "$LAB/$FILE"
}

@test "--follow: a file that was changed is made anew, and a home that comes late gets its file" {
    mv "$LAB" "$LAB.away"
    install -d -o 2001 "$LAB"
    follow --every 2
    as_user tenant sh -c "echo rubbish >$LAB/$FILE"
    wait_for 5 fails grep -q rubbish "$LAB/$FILE"
    has "$LAB" "$(key alice)"
    limit vestibulectl target add den --driver tcp --address 127.0.0.1:2224 --home "$HOMES/late" --write-keys >/dev/null
    limit vestibulectl grant add alice den >/dev/null
    sleep 1
    install -d -o 2002 "$HOMES/late"
    wait_for 10 test -s "$HOMES/late/$FILE"
    is 2002 "$(stat -c %u "$HOMES/late/$FILE")"
}

@test "--follow: a target that is woken gets its file as soon as it has its home" {
    cat >/usr/local/sbin/start-studio <<'SH'
#!/bin/sh
install -d -o 2001 /srv/homes/studio && docker start studio
SH
    chmod 0755 /usr/local/sbin/start-studio
    printf '[wake.site]\ncommand = ["/usr/local/sbin/start-studio"]\nuser = "root"\n' >/etc/vestibule/vestibule.toml.d/wake.toml
    docker_run studio vt-busybox
    limit docker stop -t 0 studio >/dev/null
    limit vestibulectl target add studio --driver docker --container studio --user alice --home "$HOMES/studio" --write-keys \
        --wake command:site >/dev/null
    limit vestibulectl grant add alice studio >/dev/null
    follow
    # By now it is not tried again before long.
    sleep 7
    run_ok ssh_as alice+studio true
    wait_for 3 grep -q "$(key alice)" "$HOMES/studio/$FILE"
}
