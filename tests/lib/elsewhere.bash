# Machines that are not the bastion: an sshd of the distribution in a network namespace and a root of its own, a copy of the
# box's that is written to without the box seeing it. For targets that are reached over the network.
# shellcheck shell=bash

ELSEWHERE=/run/box/elsewhere

# elsewhere_start NAME [LINE]...: a machine called NAME with the user `studio` (uid 4711, bash, a home) and an sshd on port 22 of
# the address $(elsewhere_address NAME); LINEs stand before what its configuration says. Who comes in: the keys in
# $(elsewhere_root NAME)/home/studio/.ssh/authorized_keys, a file that is there and empty. Its log is
# /run/box/logs/elsewhere-NAME.log, its host key $(elsewhere_host_key NAME). Directories of the box in the array ELSEWHERE_BINDS are
# there too, read-only.
elsewhere_start() {
    local name=$1 dir=$ELSEWHERE/$1 number
    shift
    mkdir -p "$dir/upper" "$dir/work" "$dir/root" "$dir/ssh"
    number=$(find "$ELSEWHERE" -mindepth 1 -maxdepth 1 -type d | wc -l)
    echo "10.78.$number" >"$dir/net"
    ssh-keygen -q -t ed25519 -N '' -C "$name" -f "$dir/ssh/host_key" || return 1
    {
        printf '%s\n' "$@"
        cat <<'CONF'
Port 22
HostKey /etc/ssh/elsewhere/host_key
PidFile none
LogLevel VERBOSE
UsePAM no
PasswordAuthentication no
KbdInteractiveAuthentication no
PrintMotd no
AcceptEnv LANG LC_*
Subsystem sftp /usr/lib/openssh/sftp-server
CONF
    } >"$dir/ssh/sshd_config"
    # shellcheck disable=SC2016  # for that shell
    detached "/run/box/logs/elsewhere-$name.log" unshare --mount --net --pid --ipc --uts --fork --kill-child --propagation private \
        bash -ec '
        name=$1 dir=$2
        shift 2
        hostname "$name"
        ip link set lo up
        mount -t overlay -o "lowerdir=/,upperdir=$dir/upper,workdir=$dir/work" elsewhere "$dir/root"
        cd "$dir/root"
        mount --rbind /dev dev
        mount -t devpts -o newinstance,gid=5,mode=0620,ptmxmode=0666 devpts dev/pts
        mount -t proc proc proc
        mount -t tmpfs -o mode=0755 run run
        mount -t tmpfs -o mode=1777 tmp tmp
        mkdir -p run/sshd run/old etc/ssh/elsewhere
        cp -a "$dir/ssh/." etc/ssh/elsewhere
        for bind; do
            mkdir -p ".$bind"
            mount --bind "$bind" ".$bind"
            mount -o remount,bind,ro ".$bind"
        done
        printf "passwd: files\ngroup: files\nshadow: files\nhosts: files\n" >etc/nsswitch.conf
        pivot_root . run/old
        cd /
        umount -l /run/old
        rmdir /run/old
        useradd --uid 4711 --create-home --password "*" --shell /bin/bash studio
        install -d -o studio -g studio -m 0700 /home/studio/.ssh
        install -o studio -g studio -m 0600 /dev/null /home/studio/.ssh/authorized_keys
        : >/run/is-up
        while [[ ! -e /run/go ]]; do sleep 0.05; done
        exec /usr/sbin/sshd -D -e -f /etc/ssh/elsewhere/sshd_config' bash "$name" "$dir" ${ELSEWHERE_BINDS+"${ELSEWHERE_BINDS[@]}"}
    echo "$!" >"$dir/launcher"
    wait_for 10 elsewhere_is_up "$name" || { cat "/run/box/logs/elsewhere-$name.log"; return 1; }
    elsewhere_link "$name" || return 1
    in_elsewhere "$name" touch /run/go
    wait_for 10 elsewhere_answers "$name" || { cat "/run/box/logs/elsewhere-$name.log"; return 1; }
}

# elsewhere_stop NAME: ends the machine and every process on it.
elsewhere_stop() {
    local dir=$ELSEWHERE/$1
    kill -KILL "$(<"$dir/launcher")"
    wait_for 5 fails kill -0 "$(<"$dir/launcher")"
    ip link del "to-$1" 2>/dev/null || true
    rm -rf --one-file-system "${dir:?}/upper" "$dir/work"
}

# elsewhere_link NAME: (again) the wire between the bastion and the machine. `ip link set to-NAME down` cuts it.
elsewhere_link() {
    local name=$1 net pid
    net=$(<"$ELSEWHERE/$name/net")
    pid=$(elsewhere_pid "$name")
    ip link add "to-$name" type veth peer name eth0 netns "$pid" || return 1
    ip addr add "$net.1/24" dev "to-$name"
    ip link set "to-$name" up
    limit nsenter --target "$pid" --net -- sh -c "ip addr add $net.2/24 dev eth0 && ip link set eth0 up"
}

elsewhere_address() { echo "$(<"$ELSEWHERE/$1/net").2"; }
elsewhere_root() { echo "/proc/$(elsewhere_pid "$1")/root"; }
elsewhere_host_key() { cut -d ' ' -f 1,2 "$ELSEWHERE/$1/ssh/host_key.pub"; }

# The machine's first process, as the bastion sees it.
elsewhere_pid() { pgrep -P "$(<"$ELSEWHERE/$1/launcher")" | head -n 1; }

elsewhere_is_up() { [[ -e $(elsewhere_root "$1")/run/is-up ]] 2>/dev/null; }
elsewhere_answers() {
    [[ $(timeout 2 bash -c 'exec 9<>"/dev/tcp/$1/22"; head -c 4 <&9' bash "$(elsewhere_address "$1")") == SSH- ]]
}

# in_elsewhere NAME CMD...: as root of that machine, with nothing of the caller's environment.
in_elsewhere() {
    local name=$1
    shift
    limit nsenter --target "$(elsewhere_pid "$name")" --mount --net --pid --ipc --uts -- \
        env -i PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LANG=C.UTF-8 TERM=dumb "$@"
}

# elsewhere_lets_in NAME FILE: who has the public key of FILE is `studio` there.
elsewhere_lets_in() { in_elsewhere "$1" sh -c 'cat >>/home/studio/.ssh/authorized_keys' <"$2"; }
