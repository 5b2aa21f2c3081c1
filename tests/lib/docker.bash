# Docker in the box: the distribution's dockerd, its data on the box's tmpfs, images from local root file systems.
# shellcheck shell=bash

# docker_start: dockerd on /run/docker.sock (once), in the box's own network and cgroups.
docker_start() {
    [[ ! -s /run/docker.pid ]] || return 0
    detached /run/box/logs/dockerd.log /usr/sbin/dockerd --host unix:///run/docker.sock --pidfile /run/docker.pid \
        --exec-opt native.cgroupdriver=cgroupfs
    TIMEOUT=60 wait_for 30 docker version || { tail -n 20 /run/box/logs/dockerd.log; return 1; }
}

docker_stop() {
    local pid
    [[ -s /run/docker.pid ]] || return 0
    pid=$(</run/docker.pid)
    kill "$pid"
    wait_for 30 fails kill -0 "$pid"
}

# docker_image NAME: imports vt-busybox, vt-empty or vt-debian (once).
#   vt-busybox  busybox and the people of tests/images/busybox-root
#   vt-empty    one static program, /init; no shell, no /etc/passwd, no directory
#   vt-debian   Debian 12 with bash, tmux, sudo, rsync, git; the suite must have the line `# needs: debian-image`
docker_image() {
    local name=$1 dir=/run/box/images/$1
    ! docker image inspect "$name" >/dev/null 2>&1 || return 0
    case $name in
    vt-busybox)
        busybox_root "$dir"
        tar -C "$dir" -c . | docker_import "$name"
        ;;
    vt-empty)
        busybox_root /run/box/images/vt-busybox
        mkdir -p "$dir"
        cp /run/box/images/vt-busybox/init "$dir/init"
        tar -C "$dir" -c init | docker_import "$name"
        ;;
    vt-debian)
        busybox_root /run/box/images/vt-busybox
        mkdir -p "$dir"
        # The same first process as everywhere: one that waits for orphans.
        cp "${DEBIAN_IMAGE:?the suite lacks the line: # needs: debian-image}" "$dir/root.tar"
        tar -C /run/box/images/vt-busybox -rf "$dir/root.tar" ./init
        docker_import "$name" <"$dir/root.tar"
        rm "$dir/root.tar"
        ;;
    *) echo "docker_image: no such image: $name" && return 1 ;;
    esac
}

docker_import() {
    TIMEOUT=120 limit docker import --change 'CMD ["/init"]' --change 'ENV PATH=/usr/sbin:/usr/bin:/sbin:/bin' \
        --change "ENV VT_IMAGE=$1" - "$1" >/dev/null
}

# busybox_root DIR: the root file system, made once.
busybox_root() {
    [[ -e $1/init ]] || "$BOX_REPO/tests/images/busybox-root" "$1"
}

# docker_run NAME IMAGE [docker run options]...: a container that runs /init until it is removed.
docker_run() {
    local name=$1 image=$2
    shift 2
    docker_start && docker_image "$image" || return 1
    TIMEOUT=60 limit docker run --detach --name "$name" --hostname "$name" "$@" "$image" >/dev/null
}

# docker_pid NAME: the container's first process, as the bastion sees it.
docker_pid() { docker inspect --format '{{.State.Pid}}' "$1"; }

# docker_remove NAME: with everything in it.
docker_remove() { docker rm --force "$1" >/dev/null; }
