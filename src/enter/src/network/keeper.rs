//! Staying with a connection to its end, with nothing left but the right to end processes.
//!
//! The network namespace of a container lives on while somebody is in it. So that a session, and what is forwarded
//! through it, ends with the container that it came for, and never meets another one in the same place, the connection
//! is ended when the container's first process has ended.

use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout};
use vestibule::messages::shown;
use vestibule_sys::caps::{self, Cap, Caps};
use vestibule_sys::process::{self, Child};
use vestibule_sys::syslog::{Severity, Syslog};

use crate::connection::Registered;
use crate::relay;
use crate::relay::libc_signal::{SIGKILL, SIGTERM};

/// For the session to say that its container was stopped, and for the client to read it.
const LAST_WORDS: Duration = Duration::from_secs(2);

/// A connection.
pub(crate) struct Kept {
    pub(crate) id: String,
    pub(crate) target: String,
    pub(crate) registered: Registered,
    /// The container's first process, where forwards end in it.
    pub(crate) container: Option<OwnedFd>,
}

/// Stays until sshd's process has ended; returns the exit code.
pub(crate) fn keep(sshd: &Child, kept: Kept, log: &Syslog) -> i32 {
    let began = Instant::now();
    if let Err(e) = unprivileged() {
        log.line(Severity::Error, format_args!("connection={} error: giving up privileges: {e}", kept.id));
        end(sshd);
        return 1;
    }
    let stopped = loop {
        let mut polled = vec![PollFd::new(sshd.as_fd(), PollFlags::POLLIN)];
        polled.extend(kept.container.as_ref().map(|pidfd| PollFd::new(pidfd.as_fd(), PollFlags::POLLIN)));
        if relay::wait(&mut polled, PollTimeout::NONE).is_err() {
            break false;
        }
        let mut ready = polled.iter().map(|one| relay::is_ready(one, PollFlags::POLLIN));
        if ready.next() == Some(true) {
            break false;
        }
        if ready.next() == Some(true) {
            break true;
        }
    };
    if stopped && !process::poll_readable(sshd.as_fd(), LAST_WORDS).unwrap_or(false) {
        end(sshd);
    }
    let why = if stopped { "container" } else { "client" };
    log.line(
        Severity::Info,
        format_args!(
            "connection={} event=close target={} by={why} seconds={}",
            kept.id,
            shown(&kept.target),
            began.elapsed().as_secs()
        ),
    );
    drop(kept.registered);
    0
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
