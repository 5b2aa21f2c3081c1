//! A line as it is printed, and what makes text of others fit for one.

use std::fmt;
use std::io::{self, Write};

/// A line for a user's standard error, its end included.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line(String);

impl Line {
    /// `vestibule: WORDS (session ID)`.
    pub(super) fn of(words: impl fmt::Display, session: &str) -> Self {
        Line(format!("vestibule: {words} (session {session})\n"))
    }

    /// A line without its end, to be drawn over.
    pub(super) fn to_be_drawn(words: impl fmt::Display) -> Self {
        Line(format!("vestibule: {words}"))
    }

    /// One that another process of ours made and sent here.
    #[must_use]
    pub fn relayed(text: String) -> Self {
        Line(text)
    }

    /// The same for a terminal that is raw by now, where a line feed alone is no new line.
    #[must_use]
    pub fn for_terminal(&self) -> Self {
        Line(self.0.replace('\n', "\r\n"))
    }

    /// The same for a terminal, on a line of its own wherever the cursor was.
    #[must_use]
    pub fn on_its_own(&self) -> Self {
        Line(format!("\r\n{}", self.for_terminal().0))
    }

    /// The same, drawn on a terminal over what holds `before` columns, with at most `room` of its own; and how many it
    /// then holds.
    #[must_use]
    pub fn drawn_over(&self, before: usize, room: usize) -> (Self, usize) {
        let text: String = self.0.chars().take(room).collect();
        let width = text.chars().count();
        let rest = " ".repeat(before.saturating_sub(width));
        (Line(format!("\r{text}{rest}\r")), width)
    }

    /// Nothing in the place of what holds `before` columns.
    #[must_use]
    pub fn erasing(before: usize) -> Self {
        Line(format!("\r{}\r", " ".repeat(before)))
    }

    /// Its text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Writes it to standard error, where nobody may be reading.
    pub fn say(&self) {
        let mut stderr = io::stderr().lock();
        let _ = stderr.write_all(self.0.as_bytes()).and_then(|()| stderr.flush());
    }
}

/// Whether a character does something to a terminal, or to how the text around it is read, rather than being seen:
/// control characters of both sets (ISO 6429), and what changes the direction of text or is not seen at all.
#[must_use]
pub fn drives_terminal(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}')
}

/// Whether a character may stand in a target's words of welcome: what is seen, line feeds and tabs, and the joiners that some
/// scripts are not written without.
#[must_use]
pub fn may_welcome(c: char) -> bool {
    !drives_terminal(c) || matches!(c, '\n' | '\t' | '\u{200c}' | '\u{200d}')
}

/// Text of somebody else, fit for a terminal and a log: control characters escaped, at most 128 characters.
#[must_use]
pub fn shown(text: &str) -> String {
    shown_within(text, 128)
}

/// The same with at most `most` characters.
#[must_use]
pub fn shown_within(text: &str, most: usize) -> String {
    let mut out = String::with_capacity(text.len().min(160));
    for (n, c) in text.chars().enumerate() {
        if n == most {
            out.push_str("...");
            break;
        }
        if drives_terminal(c) { out.extend(c.escape_default()) } else { out.push(c) }
    }
    out
}
