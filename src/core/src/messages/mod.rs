//! Every word that a user may read from vestibule.
//!
//! A [`Refusal`] is a situation that ends a session, a [`Notice`] one that it goes on in. Each says what happened and
//! what to do; a refusal's exit code is one of [`Exit`](crate::exit::Exit). What programs print is a [`Line`], which has
//! the session's number for an operator to search the log for and which nothing outside of this module can make up.
//! Causes (paths, errno) go to the log, not to the user.

mod by_sftp;
mod hub;
mod line;
mod notice;
mod refusal;
#[cfg(test)]
mod tests;
mod waking;

pub use by_sftp::say_by_sftp;
pub use hub::HubLine;
pub use line::{Line, drives_terminal, may_welcome, shown, shown_within};
pub use notice::Notice;
pub use refusal::{Loss, Refusal, Why};
pub use waking::{WakeStep, told, waking};
