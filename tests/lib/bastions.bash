# Several bastions in one box, each with a network, an /etc, a /run and a store of its own; their programs, users and containers
# are the box's. They stand on a wire with the box, which is 10.79.0.1 to them.
# shellcheck shell=bash

BASTIONS=/run/box/bastions

# bastions_wire: what they are plugged into. Once.
bastions_wire() {
    ip link set lo up
    ip link add wire type bridge || return 1
    ip addr add 10.79.0.1/24 dev wire
    ip link set wire up
}

# bastion_up NUMBER [LINE]...: starts the bastion 10.79.0.1NUMBER from copies of the box's /etc and store, which
# bastion_install and bastion_init have made, with an sshd that has the LINEs, and the host keys in $BASTIONS/keys.
bastion_up() {
    local number=$1 dir=$BASTIONS/$1
    shift
    mkdir -p "$dir"
    # shellcheck disable=SC2016  # for that shell
    detached "/run/box/logs/bastion-$number.log" unshare --mount --net --uts --propagation private bash -ec '
        number=$1 dir=$2
        hostname "bastion-$number"
        ip link set lo up
        mount -t tmpfs -o mode=0755 own "$dir"
        mkdir "$dir/run"
        cp -a /etc /var/lib/vestibule "$dir/"
        mkdir -p "$dir/run/box" "$dir/run/sshd" "$dir$3"
        mount --rbind /run/box "$dir/run/box"
        mount --bind "$3" "$dir$3"
        mount --bind "$dir/vestibule" /var/lib/vestibule
        mount --bind "$dir/etc" /etc
        mount --rbind "$dir/run" /run
        vestibulectl init
        : >/run/is-up
        exec sleep infinity' bash "$number" "$dir" "$SANDBOX_PIDS"
    echo "$!" >"$dir.pid"
    wait_for 10 in_bastion "$number" test -e /run/is-up || { cat "/run/box/logs/bastion-$number.log"; return 1; }
    ip link add "to-$number" type veth peer name eth0 netns "$(<"$dir.pid")" || return 1
    ip link set "to-$number" master wire up
    in_bastion "$number" sh -c "ip addr add 10.79.0.1$number/24 dev eth0 && ip link set eth0 up && ip route add default via 10.79.0.1"
    {
        printf '%s\n' "$@"
        cat <<CONF
ListenAddress 10.79.0.1$number:22
PidFile /run/sshd.pid
LogLevel VERBOSE
UsePAM yes
PrintMotd no
Subsystem sftp /usr/lib/openssh/sftp-server
Include /usr/share/vestibule/sshd_config.d/10-vestibule.conf
CONF
    } | in_bastion "$number" sh -c 'cat >/etc/ssh/sshd_config.box'
    bastion_detached "$number" "/run/box/logs/sshd-$number.log" /usr/sbin/sshd -D -e -f /etc/ssh/sshd_config.box
    wait_for 5 in_bastion "$number" test -s /run/sshd.pid
}

# on_bastion NUMBER: the words before a command that is to run there, in the array `there`.
on_bastion() {
    there=(nsenter --target "$(<"$BASTIONS/$1.pid")" --mount --net --uts --
        env -i PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LANG=C.UTF-8)
}

# in_bastion NUMBER CMD...: as root there, with a limit.
in_bastion() {
    local there
    on_bastion "$1"
    limit "${there[@]}" "${@:2}"
}

# bastion_detached NUMBER LOG CMD...: a process there that bats does not wait for; `$!` is its pid.
bastion_detached() {
    local there
    on_bastion "$1"
    detached "$2" "${there[@]}" "${@:3}"
}

# at NUMBER LOGIN [CMD...]: a session through that bastion and no other.
at() {
    local number=$1 login=$2
    shift 2
    # shellcheck disable=SC2086,SC2046  # options are words
    limit ssh ${SSH_OPTIONS-} $(ssh_options "$login") -o HostKeyAlias=bastion -l "$login" "10.79.0.1$number" "$@"
}
