#!/usr/bin/env bats
# The drop-in: what it shuts for login names, and that it leaves everybody else alone.

load ../lib/bastion

setup_file() {
    bastion_install
    useradd --create-home --shell /bin/bash carol
    useradd --system --gid vestibule --no-create-home --shell /bin/sh login-name
    useradd --system vestibule-keys
    sshd_start
}

teardown() { show_logs_on_failure; }

# The effective value of each keyword for a user, in lower case (newer sshd prints MixedCase).
effective() { limit /usr/sbin/sshd -T -f /etc/ssh/sshd_config.box -C "user=$1,host=laptop,addr=192.0.2.7" | tr '[:upper:]' '[:lower:]' | sort; }

@test "sshd accepts the drop-in without a word" {
    run_ok /usr/sbin/sshd -t -f /etc/ssh/sshd_config.box
    is '' "$output$stderr"
}

@test "a login name can do what is granted and nothing else" {
    run_ok effective login-name
    local line
    while read -r line; do
        grep -q -x -F -- "$line" <<<"$output" || fail_with "not in force: $line" effective login-name
    done <<'WANTED'
authorizedkeyscommand /usr/libexec/vestibule/keys-lookup %u %f
authorizedkeyscommanduser vestibule-keys
authorizedkeysfile none
authenticationmethods publickey
pubkeyauthentication yes
passwordauthentication no
permitemptypasswords no
kbdinteractiveauthentication no
hostbasedauthentication no
gssapiauthentication no
ignorerhosts yes
trustedusercakeys none
authorizedprincipalsfile none
authorizedprincipalscommand none
forcecommand exec /usr/libexec/vestibule/route-session
exposeauthinfo yes
permittty yes
permituserrc no
acceptenv lang
acceptenv lc_*
banner none
allowtcpforwarding local
permitlisten none
gatewayports no
allowstreamlocalforwarding no
allowagentforwarding yes
x11forwarding no
permittunnel no
WANTED
}

@test "what an administrator allows everybody, login names are still not allowed" {
    cat >/etc/ssh/sshd_config.open <<'CONF'
PasswordAuthentication yes
KbdInteractiveAuthentication yes
X11Forwarding yes
AllowAgentForwarding no
AllowStreamLocalForwarding yes
PermitTunnel yes
GatewayPorts yes
PermitUserRC yes
AcceptEnv *
Banner /etc/issue
AuthorizedKeysFile .ssh/authorized_keys /etc/ssh/keys/%u
TrustedUserCAKeys /etc/ssh/ca.pub
AuthenticationMethods any
ForceCommand /bin/false
AuthorizedKeysCommand /bin/true
AuthorizedKeysCommandUser nobody
CONF
    cat /etc/ssh/sshd_config.open /etc/ssh/sshd_config.box >/etc/ssh/sshd_config.both
    run_ok effective login-name
    local closed=$output
    run_ok /usr/sbin/sshd -T -f /etc/ssh/sshd_config.both -C user=login-name,host=laptop,addr=192.0.2.7
    is "$closed" "$(tr '[:upper:]' '[:lower:]' <<<"$output" | sort)"
}

@test "everybody else is as without the drop-in" {
    run_ok effective carol
    local with=$output
    mv /etc/ssh/box/10-vestibule.conf /tmp/
    run_ok effective carol
    mv /tmp/10-vestibule.conf /etc/ssh/box/
    is "$output" "$with"
}

@test "a Match block of ours does not swallow what follows the Include" {
    # `Subsystem` stands after the Include in Debian's file, and would be an error inside a Match block.
    run_ok effective carol
    matches 'subsystem sftp /usr/lib/openssh/sftp-server' "$output"
}
