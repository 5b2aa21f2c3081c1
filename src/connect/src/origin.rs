//! A site's address: scheme, host and port.

use std::net::IpAddr;

/// Where a site, or a proxy, is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Origin {
    pub(crate) tls: bool,
    /// A name or an address, without the brackets of an IPv6 address.
    pub(crate) host: String,
    pub(crate) port: u16,
}

impl Origin {
    /// Of `https://HOST[:PORT]` or `http://HOST[:PORT]`, as root's configuration has it.
    pub(crate) fn parse(url: &str) -> Option<Origin> {
        let (scheme, place) = url.split_once("://")?;
        let tls = match scheme {
            "https" => true,
            "http" => false,
            _ => return None,
        };
        let (host, port) = match place.strip_prefix('[') {
            Some(rest) => {
                let (host, rest) = rest.split_once(']')?;
                host.parse::<std::net::Ipv6Addr>().ok()?;
                (host, if rest.is_empty() { None } else { Some(rest.strip_prefix(':')?) })
            }
            None => match place.split_once(':') {
                Some((host, port)) => (host, Some(port)),
                None => (place, None),
            },
        };
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b':');
        if host.is_empty() || host.starts_with('-') || !host.bytes().all(plain) {
            return None;
        }
        let port = match port {
            Some(port) if port.bytes().all(|b| b.is_ascii_digit()) => {
                port.parse().ok().filter(|p| *p != 0)?
            }
            Some(_) => return None,
            None if tls => 443,
            None => 80,
        };
        Some(Origin { tls, host: host.to_ascii_lowercase(), port })
    }

    /// Whether it is this machine.
    pub(crate) fn is_loopback(&self) -> bool {
        self.host == "localhost" || self.host.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
    }

    /// `HOST:PORT`, as a proxy is asked for it.
    pub(crate) fn with_port(&self) -> String {
        if self.host.contains(':') {
            format!("[{}]:{}", self.host, self.port)
        } else {
            format!("{}:{}", self.host, self.port)
        }
    }

    /// The value of a `Host` header: without the port where it is the scheme's own.
    pub(crate) fn host_header(&self) -> String {
        let whole = self.with_port();
        let own = if self.tls { ":443" } else { ":80" };
        whole.strip_suffix(own).map_or(whole.clone(), str::to_owned)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_site_is_a_scheme_a_host_and_a_port() {
        for (url, wanted) in [
            ("https://hub.example.org", Some((true, "hub.example.org", 443, "hub.example.org"))),
            ("https://HUB.example.org:8443", Some((true, "hub.example.org", 8443, "hub.example.org:8443"))),
            ("http://127.0.0.1:8000", Some((false, "127.0.0.1", 8000, "127.0.0.1:8000"))),
            ("http://[2001:db8::7]", Some((false, "2001:db8::7", 80, "[2001:db8::7]"))),
            ("https://[2001:db8::7]:80", Some((true, "2001:db8::7", 80, "[2001:db8::7]:80"))),
            ("https://", None),
            ("https://-oProxyCommand", None),
            ("https://h:", None),
            ("https://h:0", None),
            ("https://h:70000", None),
            ("https://h:+1", None),
            ("https://[h]", None),
            ("https://h/path", None),
            ("https://user@h", None),
            ("wss://h", None),
            ("h", None),
        ] {
            let found = Origin::parse(url);
            let header = found.as_ref().map(Origin::host_header).unwrap_or_default();
            let found = found.as_ref().map(|o| (o.tls, o.host.as_str(), o.port, header.as_str()));
            assert_eq!(found, wanted, "{url}");
        }
    }

    #[test]
    fn this_machine_is_no_name_that_sounds_like_it() {
        for (url, here) in [
            ("http://localhost", true),
            ("http://127.9.9.9:1", true),
            ("http://[::1]:1", true),
            ("http://localhost.example", false),
            ("http://127.0.0.1.example", false),
            ("http://10.0.0.1", false),
        ] {
            assert_eq!(Origin::parse(url).is_some_and(|o| o.is_loopback()), here, "{url}");
        }
    }
}
