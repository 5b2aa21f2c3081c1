//! What `refresh-keys --wake` writes for `enter`, which shows it to who waits: a line each, among others that are for the
//! log.

use std::fmt;

use super::shown_within;

/// Characters of a hub's words that are passed on.
pub(super) const MAX: usize = 300;

/// A line about a hub that starts a target.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HubLine<'a> {
    /// What it is at.
    Tells(&'a str),
    /// Why it does not run.
    Refuses(&'a str),
}

const TELLS: &str = "hub: ";
const REFUSES: &str = "hub refuses: ";

impl<'a> HubLine<'a> {
    /// The meaning of a line; nothing if it is one for the log.
    #[must_use]
    pub fn read(line: &'a str) -> Option<Self> {
        let tells = line.strip_prefix(TELLS).map(HubLine::Tells);
        tells.or_else(|| line.strip_prefix(REFUSES).map(HubLine::Refuses))
    }
}

impl fmt::Display for HubLine<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (head, words) = match self {
            HubLine::Tells(words) => (TELLS, words),
            HubLine::Refuses(words) => (REFUSES, words),
        };
        write!(f, "{head}{}", shown_within(words, MAX))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_one_and_is_read_as_it_was_meant() {
        for line in [HubLine::Tells("pulling the image"), HubLine::Refuses("the hub says 'no'")] {
            assert_eq!(HubLine::read(&line.to_string()), Some(line));
        }
        let hostile = HubLine::Tells("a\nhub refuses: \u{1b}[31m").to_string();
        assert_eq!(hostile, "hub: a\\nhub refuses: \\u{1b}[31m");
        assert!(HubLine::Tells(&"x".repeat(9000)).to_string().len() < MAX + 16);
        assert_eq!(HubLine::read("refresh-keys: hub: x"), None);
    }
}
