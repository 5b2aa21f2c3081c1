# The outside of the bastion in a box: what the host lends to it, and the proof that it got everything back.
#
# A box is a set of namespaces (mount, pid, network, uts, ipc, cgroup) with a copy-on-write view of the host's root file
# system. What runs in it believes that it owns the machine; when its first process ends the kernel takes the processes,
# the mounts and the interfaces away. Only two things of a box live on the host, and both carry its name:
#   - one directory in each cgroup hierarchy,
#   - one directory under ${TMPDIR:-/tmp}, an empty mount point and its log files.
# shellcheck shell=bash

BOX_PREFIX=vestibule-box

# The cgroup directories that a box named $1 has on this host, one a line (one for each hierarchy).
# v1 hierarchies: below our own group, so that the limits we live under hold for the box too. v2: at the top of what we
# see, since a group that has processes cannot hand controllers on.
box_cgroups() {
    local name=$1 id list path mount super
    while IFS=: read -r id list path; do
        while read -r mount root super; do
            if [[ $id == 0 ]]; then
                printf '%s/%s\n' "$mount" "$name"
            elif box_same_hierarchy "$list" "$super"; then
                [[ $root == / ]] || path=${path#"$root"}
                path=${path%/}
                printf '%s%s/%s\n' "$mount" "$path" "$name"
            fi
        done < <(box_cgroup_mounts "$id") | head -n 1
    done </proc/self/cgroup
}

# "mount-point root super-options" of each cgroup mount; $1: 0 for v2, anything else for v1.
box_cgroup_mounts() {
    local type=cgroup
    [[ $1 == 0 ]] && type=cgroup2
    awk -v type="$type" '{ for (i = 7; i <= NF; i++) if ($i == "-") { if ($(i + 1) == type) print $5, $4, $(i + 3); break } }' \
        /proc/self/mountinfo
}

# Whether every controller of the list $1 (as /proc/self/cgroup has it) stands in the mount options $2.
box_same_hierarchy() {
    local controller
    for controller in ${1//,/ }; do
        [[ ,$2, == *,"$controller",* ]] || return 1
    done
}

# Makes the box's cgroups and moves the calling shell's process ($2) there.
box_enter_cgroups() {
    local name=$1 pid=$2 dir parent file
    while read -r dir; do
        parent=${dir%/*}
        mkdir "$dir" || { echo "box: cgroup '$dir': cannot be made" >&2; return 1; }
        # A new cpuset is empty, and nothing can live in it, until it is told what it may use.
        for file in cpuset.cpus cpuset.mems; do
            if [[ -e $dir/cgroup.clone_children && -e $dir/$file ]]; then
                cat "$parent/$file" >"$dir/$file"
            fi
        done
        echo "$pid" >"$dir/cgroup.procs" || { echo "box: cgroup '$dir': cannot be entered" >&2; return 1; }
    done < <(box_cgroups "$name")
}

# Ends what still runs in the box's cgroups, and removes them. Silent when there is nothing to do.
box_remove_cgroups() {
    local name=$1 dir sub pid try
    while read -r dir; do
        [[ -d $dir ]] || continue
        for try in {1..100}; do
            while read -r sub; do
                while read -r pid; do
                    # 0 is a process of a namespace that we cannot see into: never ours, and kill 0 would be us.
                    ((pid > 0)) && kill -KILL "$pid" 2>/dev/null
                done <"$sub/cgroup.procs"
                rmdir "$sub" 2>/dev/null
            done < <(find "$dir" -depth -type d 2>/dev/null)
            [[ -d $dir ]] || break
            sleep 0.05
        done
    done < <(box_cgroups "$name")
    return 0
}

# Removes what an earlier box left whose runner was killed before it could do so itself.
box_sweep() {
    local dir name pid
    for dir in "${TMPDIR:-/tmp}/$BOX_PREFIX".*; do
        [[ -d $dir ]] || continue
        name=${dir##*/}
        pid=${name#"$BOX_PREFIX".}
        pid=${pid%%.*}
        [[ $pid =~ ^[0-9]+$ && ! -e /proc/$pid ]] || continue
        echo "box: sweeping '$name', left by a run that was killed" >&2
        box_remove_cgroups "$name"
        rm -rf --one-file-system "$dir"
    done
}

# What a box could leave on the host, one thing a line: interfaces, and whatever bears a box's name.
box_inventory() {
    local name=$1 dir pid
    ip -o link show | awk -F': ' '{ sub(/@.*/, "", $2); print "interface", $2 }'
    awk -v name="$name" 'index($0, name) { print "mount", $5 }' /proc/self/mountinfo
    while read -r dir; do
        [[ ! -d $dir ]] || echo "cgroup $dir"
    done < <(box_cgroups "$name")
    grep -l -s -F -e "$name" /proc/[0-9]*/cgroup | while IFS=/ read -r _ _ pid _; do
        printf 'process %s (%s)\n' "$pid" "$(tr '\0' ' ' 2>/dev/null <"/proc/$pid/cmdline")"
    done
    getent passwd | awk -F: '/^vestibule/ { print "user", $1 }'
    find /etc /usr/libexec /usr/lib /usr/sbin /var/lib /run -xdev -maxdepth 3 -name '*vestibule*' 2>/dev/null | sed 's/^/file /'
    return 0
}

# Compares the inventory now with the one in file $2; prints what is new and fails if there is something.
# Interfaces of other people's containers come and go: what is gone within five seconds was not left behind.
box_check_left() {
    local name=$1 before=$2 left try
    for try in {1..50}; do
        left=$(box_inventory "$name" | sort | comm -13 "$before" -)
        [[ -n $left ]] || return 0
        ((try == 50)) || sleep 0.1
    done
    while read -r try; do echo "box: left behind on the host: $try" >&2; done <<<"$left"
    return 1
}
