# What the second hop costs: a session to an SSH server on another machine, against `ssh -J` to the same server, which is two
# connections of the client's own.
# shellcheck shell=bash

# shellcheck source=tests/lib/second-hop.bash
source "$BOX_REPO/tests/lib/second-hop.bash"

bench_hop() {
    local options far jump size=536870912
    server_start
    proxy_key bastion
    hop_target far >/dev/null
    limit vestibulectl grant add alice far >/dev/null
    cat "$KEYS/alice.pub" >>"$SERVER/keys/remy"
    options=$(ssh_options alice)
    printf '198.51.100.2 %s\n' "$(cut -d ' ' -f 1,2 "$SERVER/host_ed25519.pub")" >>/etc/ssh/ssh_known_hosts
    far="ssh $options alice+far@bastion"
    jump="ssh $options -o 'ProxyCommand=ssh $options -W %h:%p plain@bastion' remy@198.51.100.2"
    [[ $(limit /bin/sh -c "$far whoami") == remy && $(limit /bin/sh -c "$jump whoami") == remy ]] || die 'no second hop'

    section 'another machine: true'
    TIMEOUT=180 measure 20 /bin/sh -c "exec $jump true" -- /bin/sh -c "exec $far true"
    row_of 0 'ssh -J'
    row_over 1 'vestibule, ssh driver'
    goal 'ssh far true (ssh driver), time of ssh -J' "${ratio[1]}" x '<=' 1

    local way
    for way in in out; do
        case $way in
        in) way_of() { echo "head -c $size /dev/zero | $1 'exec /bin/busybox cat >/dev/null'"; } ;;
        out) way_of() { echo "$1 'exec /bin/busybox dd if=/dev/zero bs=65536 count=$((size / 65536)) 2>/dev/null'"; } ;;
        esac
        section "another machine: 512 MiB $way"
        TIMEOUT=240 measure 3 /bin/sh -c "$(way_of "$jump")" -- /bin/sh -c "$(way_of "$far")"
        row_rate 0 'ssh -J' $size
        row_rate 1 'vestibule, ssh driver' $size
        goal "512 MiB $way (ssh driver), rate of ssh -J's" "$(quotient 1 "${ratio[1]}")" x '>=' 0.9
    done
}
