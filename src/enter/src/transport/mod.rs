//! What leads to a target on another machine without an address of its own: `connect`, for a unix socket or a WebSocket, or
//! a command of root's configuration.
//!
//! Either is a process with its standard input and output where the bytes come from and go to ([`start`]). `connect` runs
//! as [`paths::USER_HOP`], without a capability, as the first process of a pid namespace and where the proxy keys can't be
//! seen; a command runs as the configuration says. A session of bytes alone has the client's own descriptors there
//! ([`raw`]), so that nothing of this program copies.

mod raw;
mod reach;
mod start;

pub(crate) use raw::run;
pub(crate) use reach::reach;
pub(crate) use start::{Journey, Led, start};
