#!/bin/bash
# setup.sh [--demo]: installs what building, the demo and, without --demo, the tests need and this machine lacks: Debian
# packages, by apt, and nothing else. Quick and silent when everything is there. Starts no service and enables none.
set -euo pipefail
cd "$(dirname "$0")/.."

say() { echo "setup: $*" >&2; }
die() { say "$*"; exit 1; }

[[ $(uname -s) == Linux ]] || die "this needs Linux"
[[ $(id -u) == 0 ]] || die "must be run as root: the tests make namespaces, users and containers of their own"

# What shows that a package is there (a program, or a file), and the package: for building and the demo, and for the tests.
for_demo='
    gcc gcc
    make make
    /usr/lib/*/libc.a libc6-dev
    /usr/sbin/sshd openssh-server
    /usr/lib/openssh/sftp-server openssh-sftp-server
    ssh openssh-client
    /usr/sbin/dockerd docker.io
    /usr/bin/docker docker.io
    iptables iptables
    ps procps
    ip iproute2
    setcap libcap2-bin
    /usr/lib/python3*/pty.py python3
'
for_tests='
    bats bats
    shellcheck shellcheck
    mandoc mandoc
    sqlite3 sqlite3
    expect expect
    strace strace
    jq jq
    openssl openssl
    /usr/lib/postgresql/*/bin/postgres postgresql
    psql postgresql-client
    /usr/lib/python3*/ensurepip python3-venv
    /usr/lib/python3/dist-packages/paramiko python3-paramiko
    mmdebstrap mmdebstrap
    rsync rsync
    git git
    sshfs sshfs
    socat socat
    /usr/lib/python3/dist-packages/asyncssh python3-asyncssh
    Xvfb xvfb
    xauth xauth
    xdpyinfo x11-utils
    rpmbuild rpm
    lintian lintian
    apparmor_parser apparmor
    rpmlint rpmlint
    /usr/share/bash-completion/bash_completion bash-completion
    zsh zsh
    fish fish
    curl curl
    /usr/sbin/haproxy haproxy
    django-admin python3-django
    lxc-start lxc
    systemd-nspawn systemd-container
    dbus-daemon dbus-daemon
    podman podman
    crun crun
    node nodejs
    npm npm
'
needed=$for_demo
[[ ${1-} == --demo ]] || needed+=$for_tests

present() {
    local file
    [[ $1 == /* ]] || { command -v "$1" >/dev/null; return; }
    # shellcheck disable=SC2086  # a pattern
    for file in $1; do [[ -e $file ]] && return; done
    return 1
}

# A busybox that needs no library: the tests' containers hold nothing else.
static_busybox() { command -v busybox >/dev/null && ! ldd "$(command -v busybox)" >/dev/null 2>&1; }

# Whether a compiler is there that this workspace can be built and linted with.
usable_rust() {
    local wanted have
    wanted=$(sed -n 's/^rust-version = "\(.*\)"/\1/p' Cargo.toml)
    have=$(rustc --version 2>/dev/null | cut -d ' ' -f 2) || return 1
    [[ $(printf '%s\n' "$wanted" "$have" | sort -V | head -n 1) == "$wanted" ]] || return 1
    cargo --version && cargo fmt --version && cargo clippy --version
} >/dev/null 2>&1

missing=()
while read -r what package; do
    [[ -z $what ]] || present "$what" || missing+=("$package")
done <<<"$needed"
static_busybox || missing+=(busybox-static)
# Debian 12 keeps a current compiler for its browsers; it comes with the security updates.
usable_rust || missing+=(rustc-web cargo-web rustfmt-web rust-web-clippy)
((${#missing[@]})) || exit 0

command -v apt-get >/dev/null || die "not a Debian, so install these by hand: ${missing[*]}"
mapfile -t missing < <(printf '%s\n' "${missing[@]}" | sort -u)
say "installing ${missing[*]}"

log=$(mktemp)
units_before=$(mktemp)
policy=/usr/sbin/policy-rc.d
ours=''
finish() {
    [[ -z $ours ]] || rm -f "$policy"
    rm -f "$log" "$units_before"
}
trap finish EXIT

# Packages ask this program whether they may start their service.
if [[ ! -e $policy ]]; then
    ours=1
    printf '#!/bin/sh\nexit 101\n' >"$policy"
    chmod 0755 "$policy"
fi
enabled() { systemctl list-unit-files --state=enabled --no-legend 2>/dev/null | cut -d ' ' -f 1 | sort; }
has_systemd=''
! command -v systemctl >/dev/null || has_systemd=1
[[ -z $has_systemd ]] || enabled >"$units_before"

run_apt() {
    DEBIAN_FRONTEND=noninteractive apt-get -q -y -o DPkg::Lock::Timeout=300 "$@" >"$log" 2>&1 </dev/null
}
run_apt update || { tail -n 5 "$log" >&2; die "apt-get update failed: is the package mirror reachable?"; }
# Nothing is removed to make room: what this machine has, it keeps.
run_apt install --no-install-recommends --no-remove "${missing[@]}" ||
    { tail -n 15 "$log" >&2; die "apt-get install failed, see above"; }

# Debian enables what it installs, for the next boot.
if [[ -n $has_systemd ]]; then
    while read -r unit; do
        systemctl disable --quiet "$unit" || say "unit '$unit': could not be disabled again"
    done < <(enabled | comm -13 "$units_before" - | grep -E '^(ssh|docker|containerd|postgresql|haproxy)')
fi
usable_rust || die "no usable Rust: $(rustc --version 2>&1), Cargo.toml wants $(sed -n 's/^rust-version = //p' Cargo.toml)"
