//! What a session goes on in spite of.

use std::fmt;

use super::{Line, Why, shown};

/// Something that a session goes on without.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Notice {
    /// There is no place in the container for the socket that leads to the client's agent.
    NoAgent {
        /// Why not in the last place that was tried.
        why: Why,
    },
    /// There is no place in the container for the cookie of the client's X display.
    NoDisplay {
        /// Why not in the last place that was tried.
        why: Why,
    },
    /// The user's home can't be entered.
    NoHome {
        /// Its path, by the container's word.
        home: String,
        /// Why.
        why: Why,
    },
}

impl Notice {
    /// The line for standard error, as [`Refusal::line`](super::Refusal::line).
    #[must_use]
    pub fn line(&self, session: &str) -> Line {
        Line::of(self, session)
    }
}

impl fmt::Display for Notice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Notice::NoAgent { why } => write!(
                f,
                "your agent is not forwarded, for want of a place in the container: {why}; a /tmp that you can write \
                 would do"
            ),
            Notice::NoDisplay { why } => write!(
                f,
                "your X display is not forwarded, for want of a place in the container: {why}; a /tmp that you can \
                 write would do"
            ),
            Notice::NoHome { home, why } => {
                write!(f, "can't go to your home '{}': {why}; you are in '/' instead", shown(home))
            }
        }
    }
}
