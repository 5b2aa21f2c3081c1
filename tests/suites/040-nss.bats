#!/usr/bin/env bats
# Names at the door: which names are users of the bastion, as every program on it sees them. No sshd here.

load ../lib/bastion

INDEX=/var/lib/vestibule/names.idx
CONF=/etc/vestibule/nss.conf
UUID=6f1a2b3c-0d4e-4f5a-8b6c-7d8e9f0a1b2c

setup_file() {
    bastion_install
    bastion_init
    target lab
    target "$UUID"
    target 4242
    limit vestibulectl account add alice >/dev/null
    limit vestibulectl account add carol --default-target lab >/dev/null
}

# Nobody enters it: a name is all that counts here.
target() { limit vestibulectl target add "$1" --driver tcp --address 127.0.0.1:9 >/dev/null; }

# The entry that NAME must have.
entry() { echo "$1:*:$(id -u vestibule):$(id -g vestibule)::/usr/share/vestibule/empty:/bin/sh"; }

is_user() {
    run_ok getent passwd "$1"
    is "$(entry "$1")" "$output"
}

# 2: getent's word for "not found".
is_nobody() { run_rc 2 getent passwd -- "$1"; }

# What the module is made of, changed for one test.
keep() { cp -a "$INDEX" /run/box/names.idx && cp -a "$CONF" /run/box/nss.conf; }
teardown() {
    [[ ! -e /run/box/names.idx ]] || { rm -rf "$INDEX" && mv /run/box/names.idx "$INDEX"; }
    [[ ! -e /run/box/nss.conf ]] || { rm -rf "$CONF" && mv /run/box/nss.conf "$CONF"; }
    show_logs_on_failure
}

@test "a target is a user with the shared ids, no password, an empty home and /bin/sh" {
    is_user lab
    is_user "$UUID"
    run_ok stat -c '%U %a' /usr/share/vestibule/empty
    is 'root 755' "$output"
}

@test "every way to write a login name is a user" {
    is_user alice+lab
    is_user alice@lab
    is_user carol
    is_user carol+lab
    is_user "alice+$UUID"
    is_user "${UUID//-/}"
    is_user "${UUID^^}"
    is_user alice+4242
}

@test "what leads nowhere is not a user" {
    local name
    for name in den alice alice+den bob+lab lab+alice alice+lab+lab LAB lab: -lab lab@ 'la b' '' $'lab\n' "l"$'\xe4'"b"; do
        is_nobody "$name"
    done
    is_nobody "$(printf 'x%.0s' {1..100000})"
}

@test "a target named by a number takes nobody's uid away" {
    run_rc 1 /usr/bin/python3 -c 'import pwd; print(pwd.getpwnam("4242"))'
    # shellcheck disable=SC2154  # set by run
    matches 'name not found' "$stderr"
    : >/run/box/file
    run_ok chown 4242 /run/box/file
    run_ok stat -c %u /run/box/file
    is 4242 "$output"
}

@test "users of the host are as they were, and names that nobody uses are free" {
    run_ok getent passwd root
    matches '^root:x:0:0:' "$output"
    run_ok useradd --system --no-create-home den
    run_ok getent passwd den
    matches_not '/usr/share/vestibule/empty' "$output"
    userdel den
}

@test "a name is a user as soon as the target is there, and no longer when it is gone" {
    is_nobody brandnew
    target brandnew
    is_user brandnew
    run_ok vestibulectl target rm brandnew
    is_nobody brandnew
}

@test "a listing of all users has no login names" {
    run_ok getent passwd
    matches '(^|'$'\n'')root:' "$output"
    matches_not '(^|'$'\n'')(lab|carol|alice[+]lab):' "$output"
}

@test "the shared uid is vestibule, with or without the line in /etc/passwd; other uids are nobody's" {
    local uid
    uid=$(id -u vestibule)
    cp -a /etc/passwd /run/box/passwd
    sed -i '/^vestibule:/d' /etc/passwd
    run_any getent passwd "$uid"
    mv /run/box/passwd /etc/passwd
    is "vestibule:*:$uid:$(id -g vestibule)::/usr/share/vestibule/empty:/bin/sh" "$output"
    is_nobody 54321
    is_nobody 4294967295
}

@test "any user of the host sees them, and so does a setuid program" {
    run_ok setpriv --reuid 65534 --regid 65534 --clear-groups getent passwd lab
    is "$(entry lab)" "$output"
    install -m 4755 /usr/bin/id /run/box/id
    run_ok setpriv --reuid 65534 --regid 65534 --clear-groups /run/box/id -u lab
    is "$(id -u vestibule)" "$output"
}

@test "without the index, or with one that is not to be trusted, login names are nobody and others are as ever" {
    local fault
    keep
    for fault in 'rm' 'chmod o+w' 'chmod g+w' 'truncate -s 5000' 'truncate -s 0'; do
        $fault "$INDEX"
        is_nobody lab
        run_ok getent passwd root
        rm -f "$INDEX" && cp -a /run/box/names.idx "$INDEX"
    done
    rm "$INDEX" && mkfifo -m 0644 "$INDEX"
    is_nobody lab
    rm "$INDEX" && ln -s /run/box/names.idx "$INDEX"
    is_nobody lab
    rm "$INDEX" && cp -a /run/box/names.idx "$INDEX" && head -c 9999 /dev/urandom | dd of="$INDEX" conv=notrunc status=none
    is_nobody lab
    rm "$INDEX" && cp -a /run/box/names.idx "$INDEX"
    is_user lab
}

@test "ids that somebody else could have written, or root's, are not believed" {
    local ids
    keep
    chmod o+w "$CONF" && is_nobody lab
    chmod 0664 "$CONF" && is_nobody lab
    chmod 0644 "$CONF" && is_user lab
    chown vestibule "$CONF" && is_nobody lab
    chown root "$CONF"
    for ids in 'uid = 0\ngid = 5' 'uid = 5\ngid = 0' 'uid = 5' 'uid = -1\ngid = 5' 'uid = 5\ngid = 5\nhome = /root' ''; do
        # shellcheck disable=SC2059
        printf "$ids" >"$CONF"
        is_nobody lab
    done
    rm "$CONF"
    is_nobody lab
}

@test "programs get errno, small buffers, threads and forked children right, and keep no file open" {
    keep
    run_ok /usr/bin/python3 - <<'PY'
import ctypes, errno, os, pwd, threading

libc = ctypes.CDLL(None, use_errno=True)
# The module itself, past glibc: its status and its errno.
module = ctypes.CDLL("libnss_vestibule.so.2")
SUCCESS, NOTFOUND, UNAVAIL, TRYAGAIN = 1, 0, -1, -2


def ask(name, size=1024):
    entry, buffer, code = ctypes.create_string_buffer(256), ctypes.create_string_buffer(size + 1), ctypes.c_int(77)
    buffer[size] = b"\x55"
    status = module._nss_vestibule_getpwnam_r(name, entry, buffer, ctypes.c_size_t(size), ctypes.byref(code))
    assert buffer[size] == b"\x55", "wrote behind the buffer"
    return status, code.value


def uid(number):
    entry, buffer, code = ctypes.create_string_buffer(256), ctypes.create_string_buffer(1024), ctypes.c_int(77)
    return module._nss_vestibule_getpwuid_r(number, entry, buffer, ctypes.c_size_t(1024), ctypes.byref(code)), code.value


needed = len(b"lab\0*\0\0/usr/share/vestibule/empty\0/bin/sh\0")
assert ask(b"lab") == (SUCCESS, 77)
assert ask(b"lab", needed) == (SUCCESS, 77)
for size in range(needed):
    assert ask(b"lab", size) == (TRYAGAIN, errno.ERANGE), size
for name in b"den", b"", b"not a name", b"x" * 1000000:
    assert ask(name) == (NOTFOUND, errno.ENOENT), name[:20]
assert ask(None) == (NOTFOUND, errno.ENOENT)
assert uid(0) == uid(54321) == (NOTFOUND, errno.ENOENT)
assert uid(pwd.getpwnam("lab").pw_uid) == (SUCCESS, 77)
code = ctypes.c_int(77)
assert module._nss_vestibule_setpwent(0) == SUCCESS
assert module._nss_vestibule_getpwent_r(None, None, ctypes.c_size_t(0), ctypes.byref(code)) == NOTFOUND
assert code.value == errno.ENOENT
assert module._nss_vestibule_endpwent() == SUCCESS

faults = []


def many():
    for _ in range(2000):
        if pwd.getpwnam("alice+lab").pw_name != "alice+lab" or ask(b"den") != (NOTFOUND, errno.ENOENT):
            faults.append("thread")


before = os.listdir("/proc/self/fd")
threads = [threading.Thread(target=many) for _ in range(8)]
for thread in threads:
    thread.start()
for _ in range(20):
    child = os.fork()
    if child == 0:
        os._exit(0 if ask(b"lab") == (SUCCESS, 77) and ask(b"den") == (NOTFOUND, errno.ENOENT) else 1)
    if os.waitpid(child, 0)[1] != 0:
        faults.append("child")
for thread in threads:
    thread.join()
assert os.listdir("/proc/self/fd") == before
assert not faults, faults

os.unlink("/var/lib/vestibule/names.idx")
assert ask(b"lab") == (UNAVAIL, errno.ENOENT)
assert ask(b"not a name") == (NOTFOUND, errno.ENOENT)
os.unlink("/etc/vestibule/nss.conf")
assert uid(54321) == (UNAVAIL, errno.ENOENT)
PY
}

@test "a look-up of somebody else costs five system calls, or none for what can't be a login name" {
    run_rc 2 strace -o /run/box/calls getent passwd den
    # From the open of the index to the end: open, stat, header, slots, close.
    is 'openat statx pread64 pread64 close' \
        "$(sed -n '\|names\.idx|,$p' /run/box/calls | sed 's/(.*//' | grep -v '^[+]\|^exit' | paste -s -d ' ')"
    for name in 'not a name' 54x:y; do
        run_rc 2 strace -o /run/box/calls getent passwd "$name"
        fails grep -e names.idx -e nss.conf -e AF_INET /run/box/calls
    done
    # The environment changes nothing.
    run_ok env VESTIBULE_INDEX=/nowhere VESTIBULE_CONF=/nowhere getent passwd lab
    is "$(entry lab)" "$output"
}

@test "the module exports the five functions of NSS, and needs the C library only" {
    local module
    for module in /usr/lib/*/libnss_vestibule.so.2 /usr/lib64/libnss_vestibule.so.2; do
        [[ ! -e $module ]] || break
    done
    run_ok nm --dynamic --defined-only "$module"
    is 'endpwent getpwent_r getpwnam_r getpwuid_r setpwent' \
        "$(sed -n 's/^.* T _nss_vestibule_//p' <<<"$output" | sort | paste -s -d ' ')"
    is 5 "${#lines[@]}"
    run_ok readelf --dynamic "$module"
    matches 'SONAME.*\[libnss_vestibule\.so\.2\]' "$output"
    matches_not "NEEDED.*\[(libpthread|libdl|libm|libssl|libsqlite|libresolv)" "$output"
}
