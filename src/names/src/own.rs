//! Targets of one account's own: what `ACCOUNT+NAME` may mean besides the target `NAME`.
//!
//! A hub that gives each user servers of the user's own naming calls them so that no two are one: `alice--lab` and
//! `bob--lab`. Then `alice+lab` is the first and `bob+lab` the second, whoever else has a `lab`. Both parts are written as
//! DockerSpawner writes them, letters and digits as they are (the name's in lower case) and every other byte as `-` and two
//! hexadecimal digits, so that `--` divides them in one way only.

use crate::name::{MAX_NAME, check_target};

/// The name of such a target. It is on the stack: the NSS module comes by here.
#[derive(Clone, Copy, Debug)]
pub struct OwnName {
    bytes: [u8; MAX_NAME],
    len: usize,
}

impl OwnName {
    /// What the target `name` of `account`'s own is called; nothing where that can't be a target's name.
    #[must_use]
    pub fn new(account: &str, name: &str) -> Option<OwnName> {
        let mut own = OwnName { bytes: [0; MAX_NAME], len: 0 };
        account.bytes().try_for_each(|byte| own.escaped(byte))?;
        own.push(b'-')?;
        own.push(b'-')?;
        name.bytes().try_for_each(|byte| own.escaped(byte.to_ascii_lowercase()))?;
        check_target(own.as_str().as_bytes()).ok()?;
        Some(own)
    }

    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        // ASCII, all of it.
        self.bytes.get(..self.len).and_then(|bytes| str::from_utf8(bytes).ok()).unwrap_or_default()
    }

    fn escaped(&mut self, byte: u8) -> Option<()> {
        const DIGITS: &[u8; 16] = b"0123456789abcdef";
        if byte.is_ascii_lowercase() || byte.is_ascii_digit() {
            return self.push(byte);
        }
        self.push(b'-')?;
        self.push(*DIGITS.get(usize::from(byte >> 4))?)?;
        self.push(*DIGITS.get(usize::from(byte & 15))?)
    }

    fn push(&mut self, byte: u8) -> Option<()> {
        *self.bytes.get_mut(self.len)? = byte;
        self.len += 1;
        Some(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_parts_are_written_as_dockerspawner_writes_them() {
        let long = "x".repeat(60);
        for (account, name, want) in [
            ("alice", "lab", Some("alice--lab")),
            ("alice", "My-Lab", Some("alice--my-2dlab")),
            ("alice-b", "lab", Some("alice-2db--lab")),
            ("a@example.org", "lab.2", Some("a-40example-2eorg--lab-2e2")),
            ("a--b", "c", Some("a-2d-2db--c")),
            ("a", "b--c", Some("a--b-2d-2dc")),
            ("_a", "lab", None),
            ("Alice", "lab", None),
            (long.as_str(), long.as_str(), None),
        ] {
            let own = OwnName::new(account, name);
            assert_eq!(own.as_ref().map(OwnName::as_str), want, "{account}+{name}");
        }
    }
}
