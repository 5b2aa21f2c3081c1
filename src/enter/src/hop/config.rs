//! What the client is told: ssh_config(5) and known_hosts, written from nothing. No other configuration is read.
//!
//! A hub may have written the target's user and address, and the account's name may stand in them. What could mean
//! something else to the client than itself is refused; nothing is escaped.

use std::fmt::Write;

use vestibule::paths;
use vestibule::target::HostKey;

use super::place::WAY;

/// What leads to the server.
pub(super) enum Lead {
    /// A TCP connection.
    Address { host: String, port: u16 },
    /// A connection that stands; it is handed over.
    HandedOver,
}

/// What is wanted of a client.
pub(super) struct Wanted<'a> {
    pub(super) target: &'a str,
    /// Who one is there.
    pub(super) user: &'a [u8],
    pub(super) way: &'a Lead,
    /// The files of the proxy key.
    pub(super) identities: &'a [&'a str],
    /// The session's client lends its agent.
    pub(super) agent: bool,
    /// Any host key will do: what leads there proves where it leads.
    pub(super) proven: bool,
}

/// What holds for every target. Each line is there because its default, or a default of some distribution, is another.
/// `LogVerbose` asks for what [`super::said`] wants to know of debugging, and no more: each line wakes who reads it.
const ALWAYS: &str = "\
BatchMode yes
GlobalKnownHostsFile /dev/null
UpdateHostKeys no
CheckHostIP no
VerifyHostKeyDNS no
PreferredAuthentications publickey
IdentitiesOnly yes
IdentityAgent none
PKCS11Provider none
AddKeysToAgent no
CanonicalizeHostname no
ProxyJump none
PermitLocalCommand no
ClearAllForwardings yes
ForwardX11 no
Tunnel no
Compression no
ControlMaster yes
ControlPersist no
SessionType none
EscapeChar none
SendEnv LANG LC_*
ConnectTimeout 10
ConnectionAttempts 1
TCPKeepAlive yes
ServerAliveInterval 15
ServerAliveCountMax 3
LogLevel VERBOSE
LogVerbose sshconnect.c:verify_host_key():*,clientloop.c:client_loop():*,clientloop.c:client_input_channel_req():*
";

/// The client's configuration.
pub(super) fn text(wanted: &Wanted<'_>) -> Result<String, String> {
    let here = paths::HOP_DIR;
    let mut text = ALWAYS.to_owned();
    let mut line = |key: &str, value: &str| {
        let _ = writeln!(text, "{key} {value}"); // to a String
    };
    line("StrictHostKeyChecking", if wanted.proven { "accept-new" } else { "yes" });
    line("HostKeyAlias", &alias(wanted.target));
    line("UserKnownHostsFile", &format!("{here}/known_hosts"));
    line("ControlPath", &format!("{here}/control"));
    match wanted.way {
        Lead::Address { host, port } => {
            line("HostName", host_name(host)?);
            line("Port", &port.to_string());
        }
        Lead::HandedOver => {
            line("ProxyCommand", &format!("{} --pass {here}/{WAY}", paths::CONNECT));
            line("ProxyUseFdpass", "yes");
        }
    }
    line("User", user(wanted.user)?);
    for name in wanted.identities {
        let key = if name.ends_with("-cert.pub") { "CertificateFile" } else { "IdentityFile" };
        line(key, &format!("{here}/{name}"));
    }
    if wanted.agent {
        line("ForwardAgent", &format!("{here}/agent"));
    }
    Ok(text)
}

/// The keys that the server may have.
pub(super) fn known_hosts(target: &str, keys: &[HostKey]) -> String {
    let mut text = String::new();
    for known in keys {
        let marker = if known.authority { "@cert-authority " } else { "" };
        let _ = writeln!(text, "{marker}{} {}", alias(target), known.key);
    }
    text
}

/// What the server is known as, which a certificate has to name. ssh compares in lower case, and a target's name has nothing
/// that means something in a pattern.
fn alias(target: &str) -> String {
    target.to_ascii_lowercase()
}

/// An address or a name of the DNS.
fn host_name(host: &str) -> Result<&str, String> {
    let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_' | b':');
    if !bare.is_empty() && bare.len() <= 255 && !bare.starts_with('-') && bare.bytes().all(plain) {
        Ok(bare)
    } else {
        Err(format!("host {host:?} is none that a second hop can be told"))
    }
}

/// A user's name. A backslash, a quote, `%`, `$` or a blank would be more to some version of the client.
fn user(name: &[u8]) -> Result<&str, String> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_' | b'@' | b'+');
    match std::str::from_utf8(name) {
        Ok(text) if (1..=256).contains(&text.len()) && !text.starts_with('-') && text.bytes().all(plain) => {
            Ok(text)
        }
        _ => Err(format!("user {:?} is none that a second hop can be told", String::from_utf8_lossy(name))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wanted<'a>(user: &'a str, way: &'a Lead) -> Wanted<'a> {
        let identities = &["key", "key-cert.pub", "old"];
        Wanted { target: "Lab", user: user.as_bytes(), way, identities, agent: false, proven: false }
    }

    fn at(host: &str) -> Lead {
        Lead::Address { host: host.to_owned(), port: 22 }
    }

    #[test]
    fn what_a_hub_names_stands_in_one_line_each() {
        let text = text(&wanted("ada@example.org", &at("[2001:db8::7]"))).unwrap();
        for line in [
            "HostKeyAlias lab",
            "HostName 2001:db8::7",
            "Port 22",
            "User ada@example.org",
            "IdentityFile /run/vestibule/hop/key",
            "CertificateFile /run/vestibule/hop/key-cert.pub",
            "IdentityFile /run/vestibule/hop/old",
        ] {
            assert!(text.lines().any(|l| l == line), "{line} in {text}");
        }
        assert!(!text.contains("ForwardAgent"), "{text}");
        assert!(text.contains("StrictHostKeyChecking yes\n") && !text.contains("ProxyCommand"), "{text}");
        let keys = text.lines().map(|line| line.split(' ').next().unwrap());
        let single = keys.filter(|key| !matches!(*key, "IdentityFile" | "CertificateFile"));
        let mut seen = std::collections::BTreeSet::new();
        assert!(single.into_iter().all(|key| seen.insert(key)), "a key stands twice, and the first counts");
    }

    #[test]
    fn what_would_be_more_than_a_name_is_refused() {
        for user in
            ["", "-oProxyCommand=id", "a b", "a\nb", "a\"b", "%u", "${HOME}", "a\\b", "a#", "\u{e4}", "a=b"]
        {
            assert!(text(&wanted(user, &at("h"))).is_err(), "{user:?}");
        }
        for host in
            ["", "-oProxyCommand=id", "a b", "h\nProxyCommand id", "%h", "[]", "h/", "h\"", "fe80::1%lo"]
        {
            assert!(text(&wanted("ada", &at(host))).is_err(), "{host:?}");
        }
    }

    proptest::proptest! {
        #[test]
        fn no_user_and_no_host_adds_a_line(user in "\\PC{0,20}|[ -~\n\t]{0,20}", host in "\\PC{0,20}|[ -~\n\t]{0,20}") {
            let way = at(&host);
            let plain = text(&wanted("ada", &at("h"))).unwrap().lines().count();
            if let Ok(text) = text(&wanted(&user, &way)) {
                proptest::prop_assert_eq!(text.lines().count(), plain);
                proptest::prop_assert!(!text.contains(['"', '%', '$', '\\']));
            }
        }
    }

    #[test]
    fn keys_and_authorities_are_known_by_the_targets_name() {
        const KEY: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIHlOyUY6YJLK6Qn9yPMTUoC6dKLRSDeLsrXZaTIxSpg2";
        let keys = [KEY.parse().unwrap(), format!("cert-authority {KEY}").parse().unwrap()];
        assert_eq!(known_hosts("Lab", &keys), format!("lab {KEY}\n@cert-authority lab {KEY}\n"));
    }
}
