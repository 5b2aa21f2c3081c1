//! `permitopen=` and `permitlisten=`: where a forward may go.

use std::fmt;

use super::OptionsError;
use super::scan::number;

/// A host's name has fewer bytes than this (`NI_MAXHOST`).
const MAX_HOST: usize = 1025;

/// What one `permitopen=` or `permitlisten=` allows, as sshd compares it: byte by byte, with no name looked up
/// (`open_match` in channels.c).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Permit {
    /// The host without brackets; `*` is any.
    pub host: Vec<u8>,
    /// The port.
    pub port: PortMatch,
}

/// The port of a [`Permit`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PortMatch {
    /// `*`
    Any,
    /// This one.
    Is(u16),
}

/// One place that a forward can go to, printed `HOST:PORT` with brackets around an IPv6 address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostPort {
    host: String,
    port: u16,
}

impl Permit {
    /// Reads `host:port` (`handle_permit` in auth-options.c).
    pub(super) fn open(value: &[u8]) -> Result<Self, OptionsError> {
        let (host, port) = split(value).ok_or(OptionsError::PermitHost)?;
        if host.len() >= MAX_HOST {
            return Err(OptionsError::PermitHost);
        }
        let port = match port.ok_or(OptionsError::PermitPort)? {
            b"*" => PortMatch::Any,
            text => match number(text, 65535).and_then(|n| u16::try_from(n).ok()) {
                None | Some(0) => return Err(OptionsError::PermitPort),
                Some(port) => PortMatch::Is(port),
            },
        };
        let bare = host.strip_prefix(b"[").and_then(|h| h.strip_suffix(b"]")).unwrap_or(host);
        Ok(Permit { host: bare.to_vec(), port })
    }

    /// Reads `[host:]port`; without a host, any.
    pub(super) fn listen(value: &[u8]) -> Result<Self, OptionsError> {
        if value.contains(&b':') { Self::open(value) } else { Self::open(&[b"*:", value].concat()) }
    }

    /// Any host, at `port`.
    #[must_use]
    pub fn any_host(port: u16) -> Self {
        Permit { host: b"*".to_vec(), port: PortMatch::Is(port) }
    }

    /// What both this and `other` allow, if there is anything.
    #[must_use]
    pub fn both(&self, other: &Permit) -> Option<Permit> {
        let host = match (self.host.as_slice(), other.host.as_slice()) {
            (b"*", host) | (host, b"*") => host,
            (one, two) if one == two => one,
            _ => return None,
        };
        let port = match (self.port, other.port) {
            (PortMatch::Any, port) | (port, PortMatch::Any) => port,
            (one, two) if one == two => one,
            _ => return None,
        };
        Some(Permit { host: host.to_vec(), port })
    }

    /// As an option's value: `HOST:PORT`, with brackets around an IPv6 address.
    #[must_use]
    pub fn to_value(&self) -> Vec<u8> {
        let mut value = self.host.clone();
        if value.contains(&b':') {
            value = [b"[", value.as_slice(), b"]"].concat();
        }
        match self.port {
            PortMatch::Any => value.extend_from_slice(b":*"),
            PortMatch::Is(port) => value.extend_from_slice(format!(":{port}").as_bytes()),
        }
        value
    }

    /// Whether this allows `place`.
    #[must_use]
    pub fn allows(&self, place: &HostPort) -> bool {
        let host = self.host == b"*" || self.host == place.host.as_bytes();
        let port = match self.port {
            PortMatch::Any => true,
            PortMatch::Is(port) => port == place.port,
        };
        host && port
    }
}

impl HostPort {
    /// A place, or `None` when sshd could not be told of it: a port of 0, or a host with bytes that neither a name nor
    /// an address has.
    #[must_use]
    pub fn new(host: &str, port: u16) -> Option<Self> {
        let bytes = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_' | b':' | b'%');
        let valid = port != 0 && !host.is_empty() && host.len() < MAX_HOST && host.bytes().all(bytes);
        valid.then(|| HostPort { host: host.to_owned(), port })
    }

    /// As what one option allows.
    #[must_use]
    pub fn permit(&self) -> Permit {
        Permit { host: self.host.clone().into_bytes(), port: PortMatch::Is(self.port) }
    }

    /// The host, without brackets.
    #[must_use]
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The port.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }
}

impl fmt::Display for HostPort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

/// `hpdelim2` of misc.c: the host, in brackets or up to the first `:` or `/`, and what follows that. `None` when a
/// bracket stays open or something else follows it.
fn split(value: &[u8]) -> Option<(&[u8], Option<&[u8]>)> {
    let end = if value.starts_with(b"[") {
        value.iter().position(|b| *b == b']')? + 1
    } else {
        value.iter().position(|b| matches!(b, b':' | b'/')).unwrap_or(value.len())
    };
    let (host, rest) = value.split_at_checked(end)?;
    match rest {
        [] => Some((host, None)),
        [b':' | b'/', port @ ..] => Some((host, Some(port))),
        _ => None,
    }
}
