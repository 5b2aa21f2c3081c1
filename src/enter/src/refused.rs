//! What stops an entry: words for the user and a cause for the log.

use std::fmt;
use std::io;

use vestibule::messages::Refusal;

/// A refusal and why it came about.
#[derive(Debug)]
pub(crate) struct Refused {
    pub(crate) refusal: Refusal,
    /// For the log: what was tried and the kernel's answer.
    pub(crate) cause: String,
}

impl Refused {
    pub(crate) fn new(refusal: Refusal, cause: impl fmt::Display) -> Self {
        Refused { refusal, cause: cause.to_string() }
    }

    /// The set-up of the bastion is at fault.
    pub(crate) fn setup(cause: impl fmt::Display) -> Self {
        Refused::new(Refusal::Setup, cause)
    }
}

/// Gives an I/O error a place in the log and a refusal for the user.
pub(crate) trait OrRefuse<T> {
    /// `what` says what was tried.
    fn or_refuse(self, refusal: impl FnOnce() -> Refusal, what: impl fmt::Display) -> Result<T, Refused>;

    /// As `or_refuse`, blaming the bastion's set-up.
    fn or_setup(self, what: impl fmt::Display) -> Result<T, Refused>;

    /// As `or_refuse`, for a part of the confinement.
    fn or_unconfined(self, what: &str) -> Result<T, Refused>;
}

impl<T> OrRefuse<T> for io::Result<T> {
    fn or_refuse(self, refusal: impl FnOnce() -> Refusal, what: impl fmt::Display) -> Result<T, Refused> {
        self.map_err(|e| Refused::new(refusal(), format_args!("{what}: {e}")))
    }

    fn or_setup(self, what: impl fmt::Display) -> Result<T, Refused> {
        self.or_refuse(|| Refusal::Setup, what)
    }

    fn or_unconfined(self, what: &str) -> Result<T, Refused> {
        self.or_refuse(|| Refusal::CannotConfine { what: what.to_owned() }, what)
    }
}
