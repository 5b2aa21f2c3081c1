//! Names that are looked up on the other machine.
//!
//! sshd looks the host of a forward up itself, with the C library, and connects to what it is told. So every name gets an
//! address here, of the network that is for measurements (RFC 2544) and nobody's host; a connection to that address is one
//! to the name. Questions come as RFC 1035 has them, from sshd's process, with a name that a client chose.

use std::collections::VecDeque;
use std::net::{IpAddr, Ipv4Addr};

use vestibule_sys::netlink::{OWN_V4, OWN_V6};

/// What `/etc/hosts` says for `localhost`, so that it is the other machine's `localhost`, whatever addresses that has.
pub(super) const LOCALHOST: Ipv4Addr = Ipv4Addr::new(198, 18, 0, 1);
/// The first and the number of those for other names.
const FIRST: u32 = 0xc612_0002;
const ADDRESSES: u32 = 0x1_fffc;
/// A connection follows the look-up at once; of so many names the oldest are forgotten.
const MAX_NAMES: usize = 1024;
const MAX_NAME: usize = 253;

const HEADER: usize = 12;
const TYPE_A: u16 = 1;
const CLASS_IN: u16 = 1;
const NO_ERROR: u8 = 0;
const FORMAT_ERROR: u8 = 1;
const NO_SUCH_NAME: u8 = 3;
const NOT_IMPLEMENTED: u8 = 4;

/// The names that were asked for.
#[derive(Default)]
pub(super) struct Names {
    given: VecDeque<(Ipv4Addr, String)>,
    count: u32,
}

impl Names {
    /// The answer to a question, if it deserves one.
    pub(super) fn answer(&mut self, question: &[u8]) -> Option<Vec<u8>> {
        let header = question.get(..HEADER)?;
        let [id_high, id_low, flags, _, _, questions, ..] = *header else { return None };
        if flags & 0x80 != 0 {
            return None; // an answer itself
        }
        let asked = question.get(HEADER..).and_then(Asked::read).filter(|_| questions == 1);
        let (code, address) = match &asked {
            _ if flags & 0x78 != 0 => (NOT_IMPLEMENTED, None),
            None => (FORMAT_ERROR, None),
            Some(Asked { name: None, .. }) => (NO_SUCH_NAME, None),
            Some(Asked { name: Some(name), kind: TYPE_A, class: CLASS_IN, .. }) => {
                (NO_ERROR, Some(self.address(name)))
            }
            Some(_) => (NO_ERROR, None),
        };
        let asked = asked.map(|asked| asked.bytes).unwrap_or_default();
        // An answer, recursion as asked for and available.
        let mut answer = vec![id_high, id_low, 0x80 | flags & 0x79, 0x80 | code];
        for count in [!asked.is_empty(), address.is_some(), false, false] {
            answer.extend([0, u8::from(count)]);
        }
        answer.extend(asked);
        if let Some(address) = address {
            // The name as above, type A, class IN, kept for no time, four bytes.
            answer.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 0, 0, 4]);
            answer.extend(address.octets());
        }
        Some(answer)
    }

    /// The host that a connection to this address is for.
    pub(super) fn host(&self, address: IpAddr) -> String {
        let own = address == IpAddr::V4(OWN_V4) || address == IpAddr::V6(OWN_V6);
        if own || address == IpAddr::V4(LOCALHOST) {
            return "localhost".to_owned();
        }
        let known = self.given.iter().rev().find(|(given, _)| IpAddr::V4(*given) == address);
        known.map_or_else(|| address.to_string(), |(_, name)| name.clone())
    }

    fn address(&mut self, name: &str) -> Ipv4Addr {
        if name.eq_ignore_ascii_case("localhost") {
            return LOCALHOST;
        }
        if let Some((address, _)) = self.given.iter().find(|(_, known)| known == name) {
            return *address;
        }
        let address = Ipv4Addr::from(FIRST + self.count % ADDRESSES);
        self.count = self.count.wrapping_add(1);
        if self.given.len() == MAX_NAMES {
            self.given.pop_front();
        }
        self.given.push_back((address, name.to_owned()));
        address
    }
}

/// The section of a message that says what is asked.
struct Asked {
    /// The name; `None` for one that no host has.
    name: Option<String>,
    kind: u16,
    class: u16,
    bytes: Vec<u8>,
}

impl Asked {
    fn read(from: &[u8]) -> Option<Self> {
        let mut labels: Vec<&[u8]> = Vec::new();
        let mut at = 0;
        loop {
            let length = usize::from(*from.get(at)?);
            // Longer ones are pointers, and there is nothing before this to point to.
            if length > 63 || at > MAX_NAME + 1 {
                return None;
            }
            at += 1;
            if length == 0 {
                break;
            }
            labels.push(from.get(at..at + length)?);
            at += length;
        }
        let word = |at: usize| Some(u16::from_be_bytes(from.get(at..at + 2)?.try_into().ok()?));
        let (kind, class) = (word(at)?, word(at + 2)?);
        Some(Asked { name: host_name(&labels.join(&b'.')), kind, class, bytes: from.get(..at + 4)?.to_vec() })
    }
}

/// What is looked up elsewhere is a name, not an option of a program, and nothing that a log or a shell could take for
/// something else.
fn host_name(bytes: &[u8]) -> Option<String> {
    let fine = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_');
    let is_one = !bytes.is_empty()
        && bytes.len() <= MAX_NAME
        && bytes.iter().all(fine)
        && !bytes.starts_with(b"-")
        && !bytes.starts_with(b".");
    let text = || String::from_utf8(bytes.to_vec()).ok();
    if is_one { text() } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn question(labels: &[&[u8]], kind: u16) -> Vec<u8> {
        let mut question = vec![0x12, 0x34, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
        for label in labels {
            question.push(u8::try_from(label.len()).unwrap());
            question.extend(*label);
        }
        question.push(0);
        question.extend(kind.to_be_bytes());
        question.extend([0, 1]);
        question
    }

    fn address(answer: &[u8]) -> IpAddr {
        let at = answer.len() - 4;
        IpAddr::from(<[u8; 4]>::try_from(&answer[at..]).unwrap())
    }

    #[test]
    fn a_name_has_an_address_and_the_address_is_the_name() {
        let mut names = Names::default();
        let one = names.answer(&question(&[b"db", b"internal"], 1)).unwrap();
        assert_eq!(one[..12], [0x12, 0x34, 0x81, 0x80, 0, 1, 0, 1, 0, 0, 0, 0]);
        let two = names.answer(&question(&[b"web"], 1)).unwrap();
        assert_ne!(address(&one), address(&two));
        assert_eq!(names.host(address(&one)), "db.internal");
        assert_eq!(names.host(address(&two)), "web");
        assert_eq!(names.answer(&question(&[b"web"], 1)).unwrap(), two);
        for (literal, host) in [
            ("10.0.0.7", "10.0.0.7"),
            ("198.19.255.1", "198.19.255.1"),
            ("127.0.0.1", "127.0.0.1"),
            ("::1", "::1"),
            ("192.0.0.8", "localhost"),
            ("198.18.0.1", "localhost"),
        ] {
            assert_eq!(names.host(literal.parse().unwrap()), host);
        }
    }

    #[test]
    fn other_types_have_no_address_and_what_is_no_name_is_none() {
        let mut names = Names::default();
        let codes = |answer: Vec<u8>| (answer[3] & 15, answer[7]);
        assert_eq!(codes(names.answer(&question(&[b"db"], 28)).unwrap()), (0, 0));
        let long = [b'a'; 63];
        let wrong: [&[&[u8]]; 8] = [
            &[],
            &[b"-oProxyCommand=x"],
            &[b"a\nb"],
            &[b"a\0b"],
            &[b"a b"],
            &[b"", b"a"],
            &[b"caf\xc3\xa9"],
            &[&long, &long, &long, &long[..62]],
        ];
        for labels in wrong {
            let answer = names.answer(&question(labels, 1)).unwrap();
            assert_ne!(codes(answer), (0, 1), "{labels:?}");
        }
        let longest: &[&[u8]] = &[&long, &long, &long, &long[..61]];
        assert_eq!(codes(names.answer(&question(longest, 1)).unwrap()), (0, 1));
        // An answer, and a question that is cut.
        assert_eq!(names.answer(&[0, 0, 0x80, 0, 0, 1, 0, 0, 0, 0, 0, 0]), None);
        assert_eq!(names.answer(b"short"), None);
        assert_eq!(codes(names.answer(&question(&[b"db"], 1)[..15]).unwrap()), (1, 0));
    }

    #[test]
    fn a_flood_of_names_forgets_the_oldest() {
        let mut names = Names::default();
        let of = |n: usize| format!("n{n}");
        let mut first = None;
        for n in 0..5000 {
            let answer = names.answer(&question(&[of(n).as_bytes()], 1)).unwrap();
            assert_eq!(names.host(address(&answer)), of(n));
            first.get_or_insert(address(&answer));
        }
        assert_eq!(names.given.len(), MAX_NAMES);
        assert_eq!(names.host(first.unwrap()), first.unwrap().to_string());
    }

    proptest! {
        #[test]
        fn any_bytes_are_survived(bytes in proptest::collection::vec(any::<u8>(), 0..600)) {
            let mut names = Names::default();
            if let Some(answer) = names.answer(&bytes) {
                prop_assert!(answer.len() <= bytes.len().max(HEADER) + 16);
            }
            for (_, name) in &names.given {
                prop_assert!(host_name(name.as_bytes()).is_some());
            }
        }
    }
}
