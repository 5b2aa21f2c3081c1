//! What leads to a target that is not on this host, and by which keys it is known.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::TcpAddress;
use crate::public_key::{PublicKey, PublicKeyError};

/// What carries the bytes. The store names things; where a path or a command is named, root's configuration has the last
/// word (`[may_enter]`), and a command itself stands there alone.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Transport {
    /// A TCP connection.
    Tcp(TcpAddress),
    /// A unix socket of this host, by its absolute path.
    Unix(String),
    /// The standard input and output of the command that root's configuration has under this name, `[connect.NAME]`.
    Command(String),
    /// A WebSocket (RFC 6455) with binary messages.
    Websocket {
        /// The site of root's configuration, `[site.NAME]`: its address, and what proves who asks.
        site: String,
        /// The path there, from `/` on; percent-encoded where it has to be.
        path: String,
    },
}

/// The keys by which an SSH server is known.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum HostKeys {
    /// These, and no other.
    Pinned(Vec<HostKey>),
    /// Those that it has when it is first reached over a transport that proves where it leads.
    Learn,
}

/// A server's key, or the key of an authority that certifies servers' keys.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct HostKey {
    /// Whether it is an authority's, for certificates with the target's name as principal.
    pub authority: bool,
    /// The key.
    pub key: PublicKey,
}

/// What stands before the key of an authority, as in known_hosts without its `@`; sshd(8), "SSH_KNOWN_HOSTS FILE FORMAT".
const AUTHORITY: &str = "cert-authority";

impl FromStr for HostKey {
    type Err = PublicKeyError;

    /// `TYPE BASE64` or `cert-authority TYPE BASE64`; a comment behind it is dropped.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let text = text.trim();
        let bare = text.strip_prefix(AUTHORITY).filter(|rest| rest.starts_with([' ', '\t']));
        let (key, _) = PublicKey::read(bare.unwrap_or(text).trim_start().as_bytes())?;
        Ok(HostKey { authority: bare.is_some(), key })
    }
}

impl fmt::Display for HostKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.authority {
            write!(f, "{AUTHORITY} ")?;
        }
        self.key.fmt(f)
    }
}

impl TryFrom<String> for HostKey {
    type Error = PublicKeyError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<HostKey> for String {
    fn from(key: HostKey) -> String {
        key.to_string()
    }
}

#[cfg(test)]
mod tests {
    use crate::target::Driver;

    #[test]
    fn drivers_of_targets_elsewhere_survive_the_store() {
        const KEY: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIHlOyUY6YJLK6Qn9yPMTUoC6dKLRSDeLsrXZaTIxSpg2";
        for json in [
            r#"{"driver":"stream","over":{"unix":"/run/lab.sock"}}"#.to_owned(),
            r#"{"driver":"stream","over":{"command":"site"}}"#.to_owned(),
            r#"{"driver":"ssh","over":{"websocket":{"site":"hub","path":"/user/ada/sshd/"}},"key":"bastion","host_keys":"learn"}"#
                .to_owned(),
            format!(
                r#"{{"driver":"ssh","over":{{"tcp":{{"fixed":{{"host":"10.0.0.7","port":22}}}}}},"key":"k","host_keys":{{"pinned":["{KEY}","cert-authority {KEY}"]}}}}"#
            ),
        ] {
            let driver: Driver = serde_json::from_str(&json).unwrap();
            assert_eq!(serde_json::to_string(&driver).unwrap(), json);
        }
        for json in [
            // A server whose key is not known is none to log in to.
            r#"{"driver":"ssh","over":{"unix":"/x"}}"#,
            r#"{"driver":"ssh","over":{"unix":"/x"},"host_keys":"any"}"#,
            r#"{"driver":"ssh","over":{"unix":"/x"},"host_keys":{"pinned":["ssh-ed25519"]}}"#,
            r#"{"driver":"stream","over":{"command":["/bin/sh"]}}"#,
            r#"{"driver":"stream","over":{"websocket":{"url":"wss://evil"}}}"#,
        ] {
            assert!(serde_json::from_str::<Driver>(json).is_err(), "{json}");
        }
    }
}
