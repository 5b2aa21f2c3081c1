# What a session that lives costs: the processes of the bastion that stay for it.
# shellcheck shell=bash

bench_memory() {
    local login ssh pid user
    printf '\n== memory of a live session, KiB: Rss, Pss, private; program [command line]\n'
    for login in plain alice+lab; do
        # shellcheck disable=SC2046  # options are words
        detached /dev/null ssh $(ssh_options alice) "$login@bastion" 'exec /bin/busybox sleep 424242'
        ssh=$!
        wait_for 10 pgrep -f '^/bin/busybox sleep 424242$' || die "no session as '$login'"
        sleep 0.5
        echo "-- $login"
        user=vestibule
        [[ $login != plain ]] || user=plain
        while read -r pid; do process_memory "$pid"; done < <({ pgrep -u $user; pgrep -f "^sshd: ${login/+/[+]}"; } | sort -u)
        # sshd itself would let the program live on without its client.
        kill "$(pgrep -o -f '^/bin/busybox sleep 424242$')"
        wait_for 10 fails kill -0 "$ssh"
    done
}

# process_memory PID: a row; for a program in memory also that file's size, which counts in Rss only where it is mapped.
process_memory() {
    local pid=$1 exe sizes
    exe=$(readlink "/proc/$pid/exe") || return 0
    sizes=$(awk '/^Rss:/ { r = $2 } /^Pss:/ { p = $2 } /^Private_/ { v += $2 } END { print r, p, v }' "/proc/$pid/smaps_rollup") || return 0
    [[ $exe != /memfd:* ]] || exe+=", a file of $(($(stat -Lc %s "/proc/$pid/exe") / 1024)) KiB"
    # shellcheck disable=SC2086  # three words
    printf '   %6s %6s %6s  %s [%s]\n' $sizes "$exe" "$(tr '\0' ' ' <"/proc/$pid/cmdline")"
}
