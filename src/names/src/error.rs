//! Why some bytes are not a name, and how bytes that nobody has checked yet are shown.

use std::error::Error;
use std::fmt::{self, Display, Formatter, Write as _};

/// Why something is not a name. Its text is the "why" of a message `program: what 'thing': why`; it never holds a raw
/// control byte and is never longer than a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NameError {
    /// There is nothing there.
    Empty,
    /// More bytes than such a name may have.
    TooLong {
        /// Bytes found.
        len: usize,
        /// Bytes allowed.
        max: usize,
    },
    /// A byte that such a name may not hold.
    Byte {
        /// The byte.
        byte: u8,
        /// Where it stands, counted from 0.
        at: usize,
    },
    /// A first byte that is neither a letter, a digit nor `_`.
    Start(u8),
    /// A last byte that no name ends with (an account's `@`).
    End(u8),
    /// More than one `+`: it would be a guess where the account ends.
    Pluses,
    /// Nothing but digits. `chown 1000 FILE` asks for the *name* `1000` first (POSIX), so a login name like that would
    /// turn uids that people and package scripts write into vestibule's own.
    Number,
}

impl Display for NameError {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Empty => f.write_str("is empty"),
            Self::TooLong { len, max } => write!(f, "has {len} bytes, and {max} are the most"),
            Self::Byte { byte, at } => {
                write!(f, "has '{}' at byte {at}, which may not stand there", Escaped::new(&[byte]))
            }
            Self::Start(byte) => {
                write!(f, "starts with '{}', not with a letter, a digit or '_'", Escaped::new(&[byte]))
            }
            Self::End(byte) => write!(f, "ends with '{}'", Escaped::new(&[byte])),
            Self::Pluses => f.write_str("has more than one '+'"),
            Self::Number => f.write_str("is all digits, which programs would take for a uid"),
        }
    }
}

impl Error for NameError {}

/// Bytes from outside, made fit to be shown in a message or a log: what is not printable ASCII (and `'`, `"`, `\`) is
/// escaped as in a Rust byte string, and what comes after [`Escaped::MAX`] bytes is cut and marked with `...`.
#[derive(Clone, Copy, Debug)]
pub struct Escaped<'a>(&'a [u8]);

impl<'a> Escaped<'a> {
    /// How many of the bytes are shown at most.
    pub const MAX: usize = 64;

    /// Wraps `bytes` for showing.
    pub const fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }
}

impl Display for Escaped<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        for &byte in self.0.iter().take(Self::MAX) {
            for escaped in byte.escape_ascii() {
                f.write_char(char::from(escaped))?;
            }
        }
        if self.0.len() > Self::MAX { f.write_str("...") } else { Ok(()) }
    }
}
