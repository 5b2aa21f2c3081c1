#!/usr/bin/env bats
# The SELinux module, built into the distribution's policy and asked what it decides, by the library that decides as the kernel
# does (no kernel with SELinux is needed, and none was there). Tests follow one another on one policy.
# needs: policy-image

load ../lib/bastion

ROOT=/run/box/policy
POLICY=/etc/selinux/default/policy/policy.33
MODULES='vestibule permissive_vestibule_keys_t permissive_vestibule_route_t permissive_vestibule_enter_t permissive_vestibule_refresh_t'

setup_file() {
    mkdir -p "$ROOT"
    tar -C "$ROOT" --numeric-owner -xf "${POLICY_IMAGE:?the suite lacks the line: # needs: policy-image}"
    cp "$BOX_REPO"/packaging/selinux/*.cil "$ROOT/tmp/"
    # What later policies and container-selinux have and this one has not.
    cat >"$ROOT/tmp/later.cil" <<'CIL'
(type sshd_session_t)
(type container_t)
(type container_file_t)
(roletype system_r sshd_session_t)
(roletype system_r container_t)
(roletype object_r container_file_t)
(typeattributeset domain (sshd_session_t container_t))
(typeattributeset file_type (container_file_t))
CIL
}

in_root() { chroot "$ROOT" /usr/bin/env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LANG=C.UTF-8 "$@"; }
semodule() { TIMEOUT=100 run_ok in_root semodule -n -s default "$@"; }
asks() { run_ok "$BOX_REPO/tests/lib/selinux-asks" "$ROOT" "$@"; }
# permissive: which domains of ours are.
permissive() { in_root seinfo "$POLICY" --permissive | grep -o 'vestibule_[a-z]*_t' | sort | tr '\n' ' '; }

@test "the module and its permissive domains go into the distribution's policy" {
    local module files=()
    for module in $MODULES; do files+=("/tmp/$module.cil"); done
    semodule -i "${files[@]}"
    is 'vestibule_enter_t vestibule_keys_t vestibule_refresh_t vestibule_route_t ' "$(permissive)"
    run_ok in_root semodule -s default -l
    for module in $MODULES; do matches "(^|
)$module(
|$)" "$output"; done
}

@test "files get their labels by their paths" {
    local path type
    while read -r path type; do
        run_ok in_root matchpathcon -n -f /etc/selinux/default/contexts/files/file_contexts -m "$([[ $path == */ ]] && echo dir || echo file)" "${path%/}"
        is "system_u:object_r:$type:s0" "$output"
    done <<'PATHS'
/usr/libexec/vestibule/keys-lookup vestibule_keys_exec_t
/usr/libexec/vestibule/route-session vestibule_route_exec_t
/usr/libexec/vestibule/enter vestibule_enter_exec_t
/usr/libexec/vestibule/refresh-keys vestibule_refresh_exec_t
/usr/libexec/vestibule/sftp-server bin_t
/etc/vestibule/ vestibule_etc_t
/etc/vestibule/authorized_keys.d/lab vestibule_etc_t
/etc/vestibule/nss.conf vestibule_names_t
/var/lib/vestibule/ vestibule_var_lib_t
/var/lib/vestibule/store.db-wal vestibule_var_lib_t
/var/lib/vestibule/names.idx vestibule_names_t
/run/vestibule/sessions/abc vestibule_run_t
PATHS
}

@test "each program that the services start gets its domain, and nobody else may start them there" {
    asks becomes system_u:system_r:sshd_t:s0-s0:c0.c1023 system_u:object_r:vestibule_keys_exec_t:s0 \
        becomes system_u:system_r:sshd_t:s0-s0:c0.c1023 system_u:object_r:vestibule_enter_exec_t:s0 \
        becomes system_u:system_r:init_t:s0 system_u:object_r:vestibule_refresh_exec_t:s0 \
        may system_u:system_r:init_t:s0 system_u:system_r:vestibule_refresh_t:s0 process2 \
        becomes user_u:user_r:user_t:s0 system_u:object_r:vestibule_enter_exec_t:s0 \
        becomes system_u:system_r:ntpd_t:s0 system_u:object_r:vestibule_keys_exec_t:s0
    is 'system_u:system_r:vestibule_keys_t:s0-s0:c0.c1023 allowed' "${lines[0]}"
    is 'system_u:system_r:vestibule_enter_t:s0-s0:c0.c1023 allowed' "${lines[1]}"
    is 'system_u:system_r:vestibule_refresh_t:s0 allowed' "${lines[2]}"
    matches 'nnp_transition' "${lines[3]}"
    is 'user_u:user_r:user_t:s0 refused' "${lines[4]}"
    is 'system_u:system_r:ntpd_t:s0 refused' "${lines[5]}"
}

@test "whatever role a session has, its forced command gets its domain, and enter after it" {
    local who
    for who in unconfined_u:unconfined_r:unconfined_t:s0-s0:c0.c1023 user_u:user_r:user_t:s0 staff_u:staff_r:staff_t:s0 sysadm_u:sysadm_r:sysadm_t:s0 system_u:system_r:sshd_t:s0; do
        asks becomes "$who" system_u:object_r:vestibule_route_exec_t:s0
        matches ':vestibule_route_t:.* allowed$' "$output"
        asks becomes "${output% *}" system_u:object_r:vestibule_enter_exec_t:s0 \
            becomes "${output% *}" system_u:object_r:vestibule_keys_exec_t:s0
        matches ':vestibule_enter_t:.* allowed$' "${lines[0]}"
        matches ':vestibule_keys_t:.* allowed$' "${lines[1]}"
    done
}

@test "every role whose processes may start a session may have the domains" {
    # A transition to a type that a role has not got fails, also where the domain is permissive.
    local role roles
    roles=$(in_root seinfo "$POLICY" -r user_r -x && in_root seinfo "$POLICY" -r -x)
    for role in auditadm_r secadm_r logadm_r dbadm_r webadm_r guest_r xguest_r staff_r sysadm_r system_r unconfined_r user_r; do
        matches "role $role types \{[^}]* vestibule_route_t[ }]" "$roles"
        matches "role $role types \{[^}]* vestibule_enter_t[ }]" "$roles"
    done
}

@test "every process that looks a user up may read the index of login names, and not the store" {
    local who
    for who in sshd_t chkpwd_t system_cronjob_t getty_t; do
        asks may "system_u:system_r:$who:s0" system_u:object_r:vestibule_names_t:s0 file \
            may "system_u:system_r:$who:s0" system_u:object_r:vestibule_var_lib_t:s0 dir \
            may "system_u:system_r:$who:s0" system_u:object_r:vestibule_etc_t:s0 dir
        matches '\bopen\b' "${lines[0]}"
        matches '\bread\b' "${lines[0]}"
        matches '\bmap\b' "${lines[0]}"
        matches_not '\bwrite\b' "${lines[0]}"
        matches '\bsearch\b' "${lines[1]}"
        matches '\bsearch\b' "${lines[2]}"
    done
    asks may system_u:system_r:sshd_t:s0 system_u:object_r:vestibule_var_lib_t:s0 file \
        may system_u:system_r:sshd_t:s0 system_u:object_r:vestibule_run_t:s0 sock_file
    matches_not '\bread\b' "${lines[0]}"
    # A client's agent has a socket of sshd's there.
    matches '\bcreate\b' "${lines[1]}"
    # Whoever makes it, it has that label: it is made anew, and renamed.
    run_ok in_root sesearch "$POLICY" -T -s vestibule_refresh_t -t vestibule_var_lib_t
    matches 'vestibule_names_t names.idx.new;' "$output"
    matches 'vestibule_names_t names.idx;' "$output"
}

@test "keys-lookup reads the store, tenants' files in homes, and no shadow; others only when the administrator says so" {
    local keys=system_u:system_r:vestibule_keys_t:s0
    asks may "$keys" system_u:object_r:vestibule_var_lib_t:s0 file may "$keys" system_u:object_r:user_home_t:s0 file \
        may "$keys" system_u:object_r:shadow_t:s0 file may "$keys" system_u:object_r:var_t:s0 file may "$keys" "$keys" tcp_socket
    matches '\bread\b.*\bopen\b' "$(tr ' ' '\n' <<<"${lines[0]}" | sort -r | tr '\n' ' ')"
    matches_not '\bwrite\b' "${lines[0]}"
    matches '\bread\b' "${lines[1]}"
    matches_not '\bread\b' "${lines[2]}"
    matches_not '\bread\b' "${lines[3]}"
    matches_not '\bconnect\b' "${lines[4]}"
    run_ok in_root sesearch "$POLICY" -A -s vestibule_keys_t -c file -p read -b vestibule_read_any_home
    matches 'non_security_file_type:file .*vestibule_read_any_home' "$output"
}

@test "where sshd's monitor has a domain of its own and containers have theirs, the module knows them" {
    semodule -i /tmp/later.cil
    local enter=unconfined_u:unconfined_r:vestibule_enter_t:s0-s0:c0.c1023 container=system_u:system_r:container_t:s0:c1,c2
    asks becomes system_u:system_r:sshd_session_t:s0-s0:c0.c1023 system_u:object_r:vestibule_keys_exec_t:s0 \
        becomes system_u:system_r:sshd_session_t:s0-s0:c0.c1023 system_u:object_r:vestibule_enter_exec_t:s0 \
        may "$enter" "$container" process \
        may "$container" unconfined_u:object_r:vestibule_memory_t:s0 file \
        may "$container" "$enter" fd
    is 'system_u:system_r:vestibule_keys_t:s0-s0:c0.c1023 allowed' "${lines[0]}"
    is 'system_u:system_r:vestibule_enter_t:s0-s0:c0.c1023 allowed' "${lines[1]}"
    # The container's label: another user, role and categories.
    matches '\btransition\b' "${lines[2]}"
    # The SFTP server that comes along.
    matches '\bentrypoint\b' "${lines[3]}"
    matches '\buse\b' "${lines[4]}"
}

@test "a domain is put in force by what semanage permissive -d does, and an upgrade leaves it so" {
    semodule -r permissive_vestibule_keys_t
    is 'vestibule_enter_t vestibule_refresh_t vestibule_route_t ' "$(permissive)"
    semodule -i /tmp/vestibule.cil
    is 'vestibule_enter_t vestibule_refresh_t vestibule_route_t ' "$(permissive)"
}

@test "taken out, nothing of it is left in the policy" {
    # shellcheck disable=SC2086  # names
    semodule -r ${MODULES/permissive_vestibule_keys_t/}
    is '' "$(permissive)"
    run_ok in_root seinfo "$POLICY" -t
    matches_not 'vestibule_' "$output"
}
