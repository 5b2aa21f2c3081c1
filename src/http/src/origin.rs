//! Which host is asked, and that no other gets the question.

use std::net::IpAddr;

use http::Uri;

use super::HttpFault;

/// Scheme, host and port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Origin {
    tls: bool,
    host: String,
    port: u16,
}

impl Origin {
    /// The origin of a full address.
    ///
    /// # Errors
    /// What keeps the address from being asked.
    pub(crate) fn parse(url: &str, allow_http: bool) -> Result<Origin, HttpFault> {
        const NONE: HttpFault = HttpFault::Address("the address is not one: want https://host/path");
        let uri: Uri = url.parse().map_err(|_| NONE)?;
        let (Some(scheme), Some(authority)) = (uri.scheme_str(), uri.authority()) else { return Err(NONE) };
        if authority.as_str().contains('@') {
            return Err(HttpFault::Address("the address has a user in it: give the token by its file"));
        }
        let tls = match scheme {
            "https" => true,
            "http" => false,
            _ => return Err(NONE),
        };
        if authority.host().is_empty() {
            return Err(NONE);
        }
        let port = authority.port_u16().unwrap_or(if tls { 443 } else { 80 });
        let origin = Origin { tls, host: authority.host().to_ascii_lowercase(), port };
        if !tls && !allow_http && !origin.is_loopback() {
            return Err(HttpFault::Address(
                "the address is plain http to another machine: use https, or set allow_http",
            ));
        }
        Ok(origin)
    }

    /// This machine.
    pub(crate) fn is_loopback(&self) -> bool {
        let bare = self.host.trim_start_matches('[').trim_end_matches(']');
        bare == "localhost" || bare.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
    }

    /// The full address that a `Location` header means, when it is on this origin.
    pub(super) fn redirected(&self, location: &str, allow_http: bool) -> Option<String> {
        if location.starts_with('/') && !location.starts_with("//") {
            let scheme = if self.tls { "https" } else { "http" };
            return Some(format!("{scheme}://{}:{}{location}", self.host, self.port));
        }
        let other = Origin::parse(location, allow_http).ok()?;
        (other == *self).then(|| location.to_owned())
    }
}

/// `text` as one piece of a path or of a query: everything but letters, digits and `-._~` is written as `%XX`.
pub fn percent_encoded(text: &str) -> String {
    const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
    let digit = |four: u8| DIGITS.get(usize::from(four)).copied().map_or('0', char::from);
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~') {
            out.push(char::from(byte));
        } else {
            out.extend(['%', digit(byte >> 4), digit(byte & 15)]);
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_host_scheme_or_port_is_another_origin() {
        let hub = Origin::parse("https://hub.example/feed", false).unwrap();
        for (location, same) in [
            ("/else", true),
            ("https://hub.example/else", true),
            ("https://HUB.example:443/else", true),
            ("https://hub.example:444/", false),
            ("http://hub.example/", false),
            ("//evil.example/", false),
            ("https://hub.example@evil.example/", false),
            ("https://hub.example.evil.example/", false),
            ("else", false),
            ("", false),
            ("file:///etc/shadow", false),
        ] {
            assert_eq!(hub.redirected(location, false).is_some(), same, "{location}");
        }
    }

    #[test]
    fn plain_http_is_for_this_machine() {
        for (url, allowed, good) in [
            ("http://127.0.0.1:8081/hub", false, true),
            ("http://[::1]:8081/hub", false, true),
            ("http://localhost/", false, true),
            ("http://10.0.0.1/", false, false),
            ("http://10.0.0.1/", true, true),
            ("http://localhost.evil.example/", false, false),
            ("https://user:word@hub.example/", false, false),
            ("hub.example/feed", false, false),
            ("ftp://hub.example/", true, false),
            ("https:///feed", false, false),
        ] {
            assert_eq!(Origin::parse(url, allowed).is_ok(), good, "{url}");
        }
    }

    #[test]
    fn a_name_stays_one_piece_of_a_path() {
        assert_eq!(percent_encoded("alice"), "alice");
        assert_eq!(percent_encoded("a/../b?c#d%e f@g"), "a%2F..%2Fb%3Fc%23d%25e%20f%40g");
    }
}
