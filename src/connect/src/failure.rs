//! Why there is no way to a target, or no longer: for `enter`, which tells the session's user and the log.

use std::fmt;

use vestibule::exit::Exit;

/// What went wrong. Printed it is two lines: words for the session's user, and the cause for the log. Neither has a byte
/// of a token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Failure {
    /// [`Exit::Setup`], [`Exit::Unreachable`], or [`Exit::Stopped`] when it had worked.
    pub(crate) exit: Exit,
    words: String,
    cause: String,
}

impl Failure {
    /// The bastion is at fault; what exactly is for its operator.
    pub(crate) fn setup(cause: impl fmt::Display) -> Self {
        Failure::new(Exit::Setup, "the bastion is not set up right", cause)
    }

    /// There is no way to it.
    pub(crate) fn unreachable(words: impl fmt::Display, cause: impl fmt::Display) -> Self {
        Failure::new(Exit::Unreachable, words, cause)
    }

    /// There was, and is no more.
    pub(crate) fn lost(words: impl fmt::Display, cause: impl fmt::Display) -> Self {
        Failure::new(Exit::Stopped, words, cause)
    }

    fn new(exit: Exit, words: impl fmt::Display, cause: impl fmt::Display) -> Self {
        let line = |text: String| text.replace(['\n', '\r'], " ");
        Failure { exit, words: line(words.to_string()), cause: line(cause.to_string()) }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}\n{}", self.words, self.cause)
    }
}
