//! Why a token lets nobody in.

use std::fmt::Display;

/// A word for the log, and the cause in words. Neither has a byte of the token.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Refused {
    /// As check-token(8) lists them.
    pub(crate) reason: &'static str,
    pub(crate) cause: String,
}

impl Refused {
    pub(crate) fn new(reason: &'static str, cause: impl Display) -> Refused {
        Refused { reason, cause: cause.to_string() }
    }
}

/// An error and its causes on one line.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}
