#!/usr/bin/env bats
# `make install` below another PREFIX: every text that names a program names it there.

load ../lib/bastion

PREFIX=/opt
BUILT=/run/box/built

setup_file() {
    local target profile=${PROFILE:-release} host
    target=${CARGO_TARGET_DIR:-$BOX_REPO/target}
    host=$(uname -m)-unknown-linux-gnu
    # What `make build PREFIX=/opt` would make, without the minutes that it takes: the names are as long as those of /usr.
    mkdir -p "$BUILT/$host/$profile" "$BUILT/$profile"
    find "$target/$host/$profile" -maxdepth 1 -type f -executable -exec cp -t "$BUILT/$host/$profile" {} +
    cp "$target/$profile"/lib{nss,pam}_vestibule.so "$BUILT/$profile/"
    find "$BUILT" -type f -exec sed -i -E 's,/usr/((libexec|share)/vestibule),/opt/\1,g' {} +
    devlog_start
}

setup() { audit_mark; }
teardown() { show_logs_on_failure; }

# installs DESTDIR [VARIABLE=VALUE]...: by make, from what was built for the prefix.
installs() {
    local dir=$1
    shift
    run_ok env CARGO_TARGET_DIR="$BUILT" PROFILE="${PROFILE:-release}" \
        make -C "$BOX_REPO" --no-print-directory install DESTDIR="$dir" PREFIX="$PREFIX" "$@"
}

@test "what was built for one prefix is not installed below another" {
    run_any env PROFILE="${PROFILE:-release}" make -C "$BOX_REPO" --no-print-directory install DESTDIR=/run/box/none PREFIX=/opt
    is_not 0 "$status"
    matches 'make build PREFIX=/opt' "$stderr"
    run_ok test ! -e /run/box/none
}

@test "staged, every text names the programs where they are" {
    local stage=/run/box/stage path
    installs "$stage" APPARMORDIR=/etc/apparmor.d SELINUXDIR=/opt/share/selinux/packages/vestibule
    # The manual tells of sshd's own directories too, but of ours by this prefix alone.
    run_rc 1 grep -r -I -E '/usr/((libexec|share)/vestibule|sbin/vestibulectl)' "$stage/opt/lib" "$stage/opt/share/vestibule" "$stage/opt/share/man" "$stage/opt/share/selinux" "$stage/etc"
    # What is named is there.
    grep -r -h -o -E '/opt/libexec/vestibule/[a-z-]+' "$stage/opt/lib/systemd" "$stage/opt/share/vestibule" "$stage/etc" | sort -u >/run/named
    for path in keys-lookup route-session refresh-keys; do run_ok grep -x "/opt/libexec/vestibule/$path" /run/named; done
    while read -r path; do run_ok test -x "$stage$path"; done </run/named
    run_ok test -d "$stage/opt/share/vestibule/empty"
    run_ok apparmor_parser --skip-kernel-load --skip-cache --quiet "$stage/etc/apparmor.d/usr.libexec.vestibule.keys-lookup"
    # Nothing went anywhere else.
    is 'etc opt' "$(cd "$stage" && echo *)"
}
