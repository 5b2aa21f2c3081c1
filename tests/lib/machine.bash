# A machine inside the box for suites that install packages: a Debian 12 with an ssh server and nothing of vestibule, in a
# mount namespace of its own, with the box's /dev and Docker's socket. Needs `# needs: bastion-image` in the suite, or another
# image that the suite names to machine_start.
# shellcheck shell=bash

MACHINE=/run/box/machine

# machine_start [IMAGE]: unpacks the root and moves a process into it, which waits.
machine_start() {
    local image=${1:-${BASTION_IMAGE-}}
    mkdir -p "$MACHINE"
    tar -C "$MACHINE" --numeric-owner --xattrs --xattrs-include='*' -xf "${image:?the suite lacks the line: # needs: bastion-image}"
    # shellcheck disable=SC2016  # for that shell
    detached /run/box/logs/machine.log unshare --mount --propagation private bash -ec '
        root=$1
        mount --bind "$root" "$root"
        cd "$root"
        mount --rbind /dev dev
        mount --rbind /sys sys
        mount -t proc proc proc
        mount -t tmpfs -o mode=0755 run run
        mount -t tmpfs -o mode=1777 tmp tmp
        mkdir run/lock run/old packages
        # What lets the two sides see each other: packages, pid files, the engine.
        mkdir -p run/vestibule-test /run/vestibule-test /run/box/packages
        mount --bind /run/vestibule-test run/vestibule-test
        mount --bind /run/box/packages packages
        if [[ -S /run/docker.sock ]]; then
            : >run/docker.sock
            mount --bind /run/docker.sock run/docker.sock
        fi
        cp /etc/hosts etc/hosts
        pivot_root . run/old
        cd /
        umount -l /run/old
        rmdir /run/old
        : >/run/machine-is-up
        exec sleep infinity' bash "$MACHINE"
    MACHINE_PID=$!
    wait_for 10 in_machine test -e /run/machine-is-up || { cat /run/box/logs/machine.log; return 1; }
    echo "$MACHINE_PID" >/run/box/machine.pid
}

# in_machine CMD...: as root of the machine, with nothing of the caller's environment.
in_machine() {
    limit nsenter --target "${MACHINE_PID:-$(</run/box/machine.pid)}" --mount -- \
        env -i PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LANG=C.UTF-8 TERM=dumb \
        DEBIAN_FRONTEND=noninteractive "$@"
}

# packages_make DIR VERSION: the packages of what was built, as of that version, below /packages of the machine.
packages_make() {
    PACKAGE_HASTE=1 PACKAGE_VERSION=$2 TIMEOUT=110 limit "$BOX_REPO/packaging/make-packages" "/run/box/packages/$1" >/run/box/logs/packages.log 2>&1 ||
        { cat /run/box/logs/packages.log; return 1; }
}
