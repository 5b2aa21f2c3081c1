# Bytes through a session, against plain sshd; the same busybox on both sides of the comparison.
# shellcheck shell=bash

# session LOGIN in|out BYTES [ssh option]: a command, in the array `command`, that carries zeros into or out of a session.
# (Not with busybox's head, which is slower than the session.)
session() {
    local ssh
    ssh="ssh ${4-} $(ssh_options alice) $1@bastion"
    case $2 in
    in) command=(/bin/sh -c "head -c $3 /dev/zero | $ssh 'exec /bin/busybox cat >/dev/null'") ;;
    out) command=(/bin/sh -c "$ssh 'exec /bin/busybox dd if=/dev/zero bs=65536 count=$(($3 / 65536)) 2>/dev/null'") ;;
    esac
}

# carry N in|out BYTES [ssh option]: measures it for the three logins.
carry() {
    local rounds=$1 plain lab studio command
    shift
    session plain "$@" && plain=("${command[@]}")
    session alice+lab "$@" && lab=("${command[@]}")
    session alice+studio "$@" && studio=("${command[@]}")
    TIMEOUT=240 measure "$rounds" "${plain[@]}" -- "${lab[@]}" -- "${studio[@]}"
}

# row_rate N LABEL BYTES: with the rate; what has a goal is the ratio of rates, the reciprocal of that of times.
row_rate() { row_of "$1" "$2" "$(awk -v t="${time[$1]}" -v b="$3" 'BEGIN { printf "%.0f MiB/s", b / 1.048576 / t }')"; }

bench_bulk() {
    local way size=1073741824
    for way in in out; do
        section "1 GiB $way, no terminal"
        carry 4 "$way" $size
        row_rate 0 'plain sshd' $size
        row_rate 1 'vestibule, namespace driver' $size
        row_rate 2 'vestibule, docker driver' $size
        goal "1 GiB $way (namespace), rate of plain sshd's" "$(quotient 1 "${ratio[1]}")" x '>=' 0.95
        goal "1 GiB $way (docker), rate of plain sshd's" "$(quotient 1 "${ratio[2]}")" x '>=' 0.95
    done
    size=67108864
    section '64 MiB out, through a terminal'
    carry 3 out $size -tt
    row_rate 0 'plain sshd' $size
    row_rate 1 'vestibule, namespace driver' $size
    row_rate 2 'vestibule, docker driver' $size
}
