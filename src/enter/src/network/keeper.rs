//! Staying with a connection to its end, with nothing left but the right to end processes.
//!
//! The network namespace of a container lives on while somebody is in it. So that a session, and what is forwarded
//! through it, ends with the container that it came for, and never meets another one in the same place, the connection
//! is ended when the container's first process has ended. It is also ended when what let it in is taken away: a connection
//! that only forwards has nobody else who would.

use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags};
use vestibule::messages::shown;
use vestibule::watch::{Ending, Watch};
use vestibule_sys::caps::{self, Cap, Caps};
use vestibule_sys::process::{self, Child};
use vestibule_sys::syslog::{Severity, Syslog};

use super::x11::Cookies;
use crate::register::Registered;
use crate::relay;
use crate::relay::libc_signal::{SIGKILL, SIGTERM};

/// For the session to say that its container was stopped, and for the client to read it.
const LAST_WORDS: Duration = Duration::from_secs(2);

/// A connection.
pub(crate) struct Kept {
    pub(crate) id: String,
    pub(crate) target: String,
    pub(crate) registered: Registered,
    /// Where the cookies of the client's X display are.
    pub(crate) display: Option<Cookies>,
    /// The container's first process, where forwards end in it, or at its address.
    pub(crate) container: Option<OwnedFd>,
    /// What stands in for the other machine, where they end on one, ends when this is closed.
    pub(crate) elsewhere: Option<OwnedFd>,
    /// Whether they end at an address, which another container may have as soon as this one has gone.
    pub(crate) by_address: bool,
    /// Says when what let it in was taken away.
    pub(crate) watch: Watch,
}

/// Why a connection ends.
enum Over {
    Client,
    Container,
    Revoked(Ending),
}

/// Stays until sshd's process has ended; returns the exit code.
pub(crate) fn keep(sshd: &Child, mut kept: Kept, log: &Syslog) -> i32 {
    let began = Instant::now();
    if let Err(e) = unprivileged() {
        log.line(Severity::Error, format_args!("connection={} error: giving up privileges: {e}", kept.id));
        end(sshd);
        return 1;
    }
    let over = stay(sshd, &mut kept);
    if let Over::Revoked(ending) = &over {
        log.line(
            Severity::Warning,
            format_args!(
                "connection={} event=revoked target={} reason={} cause={:?}",
                kept.id,
                shown(&kept.target),
                shown(&ending.reason),
                shown(&ending.cause)
            ),
        );
    }
    let (why, words) = match over {
        Over::Client => ("client", None),
        Over::Container if kept.by_address => ("container", Some(Duration::ZERO)),
        Over::Container => ("container", Some(LAST_WORDS)),
        // Nobody could say a word to a client that only forwards.
        Over::Revoked(_) if !has_session(sshd) => ("revocation", Some(Duration::ZERO)),
        Over::Revoked(_) => ("revocation", Some(LAST_WORDS)),
    };
    if words.is_some_and(|limit| !process::poll_readable(sshd.as_fd(), limit).unwrap_or(false)) {
        end(sshd);
    }
    log.line(
        Severity::Info,
        format_args!(
            "connection={} event=close target={} by={why} seconds={}",
            kept.id,
            shown(&kept.target),
            began.elapsed().as_secs()
        ),
    );
    drop(kept.elsewhere);
    drop(kept.display);
    drop(kept.registered);
    0
}

fn stay(sshd: &Child, kept: &mut Kept) -> Over {
    loop {
        // Where no container is waited for, sshd stands in its place.
        let container = kept.container.as_ref().map_or(sshd.as_fd(), AsFd::as_fd);
        let asked = [sshd.as_fd(), kept.watch.fd(), container];
        let Ok(answers) = relay::wait_all(asked.map(|fd| PollFd::new(fd, PollFlags::POLLIN)).into()) else {
            return Over::Client;
        };
        let ready = |n: usize| relay::is_in(&answers, n, PollFlags::POLLIN);
        if ready(0) {
            return Over::Client;
        }
        if ready(1)
            && let Some(ending) = kept.watch.serve()
        {
            return Over::Revoked(ending);
        }
        if ready(2) {
            return Over::Container;
        }
    }
}

/// Whether a session runs below sshd: below its user's process, that is.
fn has_session(sshd: &Child) -> bool {
    process::children_of(sshd.pid()).into_iter().any(|user| !process::children_of(user).is_empty())
}

/// Files of root's stay its own, for it must take its own out of the register.
fn unprivileged() -> std::io::Result<()> {
    caps::lower_bounding(0)?;
    caps::clear_ambient()?;
    caps::set(Caps { effective: Cap::Kill.bit(), permitted: Cap::Kill.bit(), inheritable: 0 })?;
    caps::no_new_privs()?;
    process::set_dumpable(false)
}

/// Ends a connection: the user's process first, in which its forwards are; sshd then closes what it opened. One that
/// does not is killed.
fn end(sshd: &Child) {
    for pid in process::children_of(sshd.pid()) {
        if let Ok(child) = Child::of(pid)
            && process::children_of(sshd.pid()).contains(&pid)
        {
            let _ = child.signal(SIGKILL);
        }
    }
    if !process::poll_readable(sshd.as_fd(), LAST_WORDS).unwrap_or(false) {
        let _ = sshd.signal(SIGTERM);
        if !process::poll_readable(sshd.as_fd(), LAST_WORDS).unwrap_or(false) {
            let _ = sshd.signal(SIGKILL);
        }
    }
}
