//! `from=`: where a client must be.
//!
//! sshd judges this when it takes the key. vestibule judges it once more when it decides which of several lines of a
//! key sshd took (`keys-lookup --decide`), and there a client is its address: sshd's default, `UseDNS no`, makes
//! the address its name too. Written after `match_host_and_ip` in match.c and `addr_match_list` in addrmatch.c.

use std::net::IpAddr;

/// Longer patterns match nothing (`match_pattern_list`).
const MAX_PATTERN: usize = 1023;

/// The patterns of a `from=`, quotes resolved, separated by commas.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FromList(Vec<u8>);

/// The address of a client as sshd writes it: the first word of `SSH_CONNECTION`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientAddress {
    text: String,
    ip: IpAddr,
}

impl ClientAddress {
    /// Takes an IPv4 or IPv6 address, the latter with or without a zone.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let bare = text.split_once('%').map_or(text, |(address, _zone)| address);
        let ip = bare.parse().ok()?;
        Some(ClientAddress { text: text.to_ascii_lowercase(), ip })
    }
}

impl FromList {
    pub(super) fn new(patterns: Vec<u8>) -> Self {
        FromList(patterns)
    }

    /// A certificate's `source-address`: addresses and networks, and nothing else (`addr_match_cidr_list`).
    #[must_use]
    pub(crate) fn of_addresses(list: &[u8]) -> Option<Self> {
        let plain = |part: &[u8]| Network::parse(part).is_ok();
        list.split(|b| *b == b',').all(plain).then(|| FromList(list.to_vec()))
    }

    /// The patterns as one text.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// Whether a client at this address may use the key.
    #[must_use]
    pub fn matches(&self, client: &ClientAddress) -> bool {
        let as_address = self.match_addresses(client);
        let as_name = self.match_names(&client.text);
        // A pattern with `!` that matches refuses, wherever it stands; so does a list that is broken.
        match (as_address, as_name) {
            (Some(address), Some(name)) => address || name,
            _ => false,
        }
    }

    /// `addr_match_list`: `None` is a refusal.
    fn match_addresses(&self, client: &ClientAddress) -> Option<bool> {
        let mut found = false;
        for pattern in self.0.split(|b| *b == b',') {
            let (negated, pattern) = negation(pattern);
            if pattern.is_empty() {
                return None;
            }
            let hit = match Network::parse(pattern) {
                Ok(network) => network.holds(client.ip),
                Err(NoNetwork::Inconsistent) => return None,
                Err(NoNetwork::Text) => glob(client.text.as_bytes(), pattern),
            };
            if hit && negated {
                return None;
            }
            found |= hit;
        }
        Some(found)
    }

    /// `match_hostname`: `None` is a refusal.
    fn match_names(&self, name: &str) -> Option<bool> {
        let mut found = false;
        for pattern in self.0.split(|b| *b == b',') {
            let (negated, pattern) = negation(pattern);
            if pattern.len() >= MAX_PATTERN {
                return Some(false);
            }
            let hit = glob(name.as_bytes(), &pattern.to_ascii_lowercase());
            if hit && negated {
                return None;
            }
            found |= hit;
        }
        Some(found)
    }
}

fn negation(pattern: &[u8]) -> (bool, &[u8]) {
    pattern.strip_prefix(b"!").map_or((false, pattern), |rest| (true, rest))
}

/// `ADDRESS[/BITS]`.
struct Network {
    address: IpAddr,
    bits: u32,
}

enum NoNetwork {
    /// It is something else.
    Text,
    /// It has more bits than its kind has, or bits of the host: an error in sshd.
    Inconsistent,
}

impl Network {
    fn parse(pattern: &[u8]) -> Result<Self, NoNetwork> {
        let text = std::str::from_utf8(pattern).map_err(|_| NoNetwork::Text)?;
        let (address, bits) = match text.split_once('/') {
            Some((address, bits)) => (address, Some(bits.parse::<u32>().map_err(|_| NoNetwork::Text)?)),
            None => (text, None),
        };
        let address: IpAddr = address.parse().map_err(|_| NoNetwork::Text)?;
        let width = width(address);
        let bits = bits.unwrap_or(width);
        if bits > 128 {
            return Err(NoNetwork::Text);
        }
        if bits > width || number(address) & !mask(bits, width) & mask(width, width) != 0 {
            return Err(NoNetwork::Inconsistent);
        }
        Ok(Network { address, bits })
    }

    fn holds(&self, ip: IpAddr) -> bool {
        let width = width(ip);
        let mask = mask(self.bits, width);
        ip.is_ipv4() == self.address.is_ipv4() && number(ip) & mask == number(self.address) & mask
    }
}

fn width(address: IpAddr) -> u32 {
    if address.is_ipv4() { 32 } else { 128 }
}

fn number(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(v4) => u128::from(v4.to_bits()),
        IpAddr::V6(v6) => v6.to_bits(),
    }
}

/// The upper `bits` of `width` bits.
fn mask(bits: u32, width: u32) -> u128 {
    let ones = |n: u32| u128::MAX.checked_shr(128 - n).unwrap_or(0);
    ones(width) & !ones(width.saturating_sub(bits))
}

/// `match_pattern` of match.c: `*` is any text, `?` any byte. Linear in what it reads but for the last `*`, to which it
/// goes back; sshd's recursion can be made to take for ever.
fn glob(text: &[u8], pattern: &[u8]) -> bool {
    let (mut text, mut pattern) = (text, pattern);
    let mut last_star: Option<(&[u8], &[u8])> = None;
    loop {
        match (text.split_first(), pattern.split_first()) {
            (_, Some((b'*', after))) => {
                last_star = Some((text, after));
                pattern = after;
            }
            (Some((t, text_after)), Some((p, after))) if *p == b'?' || p == t => {
                text = text_after;
                pattern = after;
            }
            (None, None) => return true,
            _ => match last_star {
                Some(([_, text_after @ ..], after)) => {
                    last_star = Some((text_after, after));
                    text = text_after;
                    pattern = after;
                }
                _ => return false,
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_is_where_the_list_says() {
        let table = [
            ("192.0.2.1", "192.0.2.1", true),
            ("192.0.2.1", "192.0.2.2", false),
            ("192.0.2.*", "192.0.2.77", true),
            ("192.0.2.?", "192.0.2.77", false),
            ("192.0.2.??", "192.0.2.77", true),
            ("192.0.2.0/24", "192.0.2.77", true),
            ("192.0.2.0/24", "192.0.3.77", false),
            ("0.0.0.0/0", "192.0.3.77", true),
            ("0.0.0.0/0", "2001:db8::1", false),
            ("::/0", "2001:db8::1", true),
            ("2001:DB8::/32", "2001:db8::1", true),
            ("2001:db8::/32", "2001:db9::1", false),
            ("2001:db8:*", "2001:db8::1", true),
            ("FE80::1*", "fe80::1%eth0", true),
            ("*", "192.0.2.1", true),
            ("10.0.0.0/8,192.0.2.0/24", "192.0.2.1", true),
            ("192.0.2.0/24,!192.0.2.1", "192.0.2.1", false),
            ("!192.0.2.1,192.0.2.0/24", "192.0.2.1", false),
            ("!192.0.2.1,192.0.2.0/24", "192.0.2.2", true),
            ("!192.0.2.0/24,*", "192.0.2.1", false),
            ("!192.0.2.1", "192.0.2.2", false),
            // Broken lists match nobody.
            ("192.0.2.1/24", "192.0.2.1", false),
            ("192.0.2.0/33,*", "192.0.2.1", false),
            ("*,", "192.0.2.1", false),
            ("", "192.0.2.1", false),
            ("!", "192.0.2.1", false),
            ("192.0.2.0/x", "192.0.2.1", false),
            ("host.example", "192.0.2.1", false),
            ("*.example,192.0.2.1", "192.0.2.1", true),
        ];
        for (list, client, want) in table {
            let client_address = ClientAddress::parse(client).unwrap();
            assert_eq!(FromList::new(list.into()).matches(&client_address), want, "{list} {client}");
        }
    }

    #[test]
    fn a_pattern_that_is_too_long_ends_the_search_by_name() {
        let long = "x".repeat(MAX_PATTERN);
        let client = ClientAddress::parse("192.0.2.1").unwrap();
        assert!(!FromList::new(format!("{long},192.0.2.9").into()).matches(&client));
        assert!(FromList::new(format!("{long},192.0.2.1").into()).matches(&client), "found by address");
    }

    #[test]
    fn what_is_no_address_is_no_client() {
        for text in ["", "UNKNOWN", "192.0.2", "192.0.2.1 ", "localhost", "%eth0"] {
            assert_eq!(ClientAddress::parse(text), None, "{text}");
        }
    }

    #[test]
    fn many_stars_take_no_time() {
        let pattern = b"*a".repeat(500);
        assert!(!glob(&[b'a'; 400], &[&pattern[..], b"b"].concat()));
    }

    proptest::proptest! {
        #[test]
        fn any_list_is_matched_without_a_panic(list: Vec<u8>, v4: [u8; 4], v6: [u8; 16]) {
            let list = FromList::new(list);
            for ip in [IpAddr::from(v4), IpAddr::from(v6)] {
                let client = ClientAddress::parse(&ip.to_string()).unwrap();
                let _ = list.matches(&client);
            }
        }
    }
}
