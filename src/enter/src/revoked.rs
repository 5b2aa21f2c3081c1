//! Ending a session because what let it in was taken away, or because the operator says so.
//!
//! [`vestibule::watch`] says when. The session's processes get SIGHUP and soon SIGKILL; the user reads why. What can't
//! be ended from here is something that made itself a session of its own and still has the client's descriptors, or a
//! forward of sshd's: so, when access was taken away, the connection is given a moment to end, and then ended.

use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use vestibule::messages::{Loss, Refusal, shown};
use vestibule::still::Case;
use vestibule::visit;
use vestibule::watch::{Ending, Watch};
use vestibule_sys::namespaces::pidfd_open;
use vestibule_sys::process;
use vestibule_sys::procfs::ProcDir;
use vestibule_sys::syslog::{Severity, Syslog};
use vestibule_sys::{caps, fds};

use crate::args::Session;
use crate::refused::Refused;
use crate::relay::libc_signal::SIGKILL;

/// Between SIGHUP and SIGKILL; less when the configuration's `grace_seconds` is.
pub(crate) const GRACE: Duration = Duration::from_secs(1);
/// For sshd to give the client the last words and the exit status, and for the client to hang up.
const LAST_WORDS: Duration = Duration::from_secs(2);
/// As many processes stand between a session and sshd's privileged one, at most.
const MAX_ABOVE: usize = 4;

/// Begins to watch. A session that can't be watched goes on.
pub(crate) fn watch(session: &Session, log: &Syslog) -> Option<Watch> {
    let proof = session.proof.clone()?;
    let client = session.client.text("SSH_CONNECTION");
    let case = Case {
        id: session.id.clone(),
        target: session.target,
        account: session.account.clone(),
        proof,
        source: session.source,
        client: client.as_deref().and_then(visit::client_address).map(str::to_owned),
    };
    let watch = Watch::new(case, None);
    watch
        .inspect_err(|e| {
            let id = &session.id;
            log.line(
                Severity::Error,
                format_args!("session={id} error: it won't end when access is taken away: {e}"),
            );
        })
        .ok()
}

/// Says in the log that a session ends, and why; the words for the user.
pub(crate) fn note(session: &Session, target: &str, ending: &Ending, log: &Syslog) -> Refused {
    let Ending { loss, reason, cause } = ending;
    log.line(
        Severity::Warning,
        format_args!(
            "session={} event=revoked target={} account={} reason={} cause={:?}",
            session.id,
            shown(target),
            session.account.as_ref().map_or("-", |a| a.as_str()),
            shown(reason),
            shown(cause)
        ),
    );
    Refused::new(
        Refusal::Revoked { target: target.to_owned(), loss: *loss },
        format_args!("{reason}: {cause}"),
    )
}

/// When access was taken away, leaves a process that ends the client's connection if it is still there after a moment. All
/// sessions on it came by the same key, and lose what this one lost.
pub(crate) fn end_connection_later(refusal: &Refusal) {
    let above = match refusal {
        Refusal::Revoked { loss: Loss::Taken | Loss::Ended, .. } => above(),
        _ => return,
    };
    let _ = process::fork_child(|| {
        let done = fds::std_to_null()
            .and_then(|()| vestibule_sys::pty::new_session())
            .and_then(|()| caps::drop_all());
        let Some(sshd) = above.last().filter(|_| done.is_ok()) else { return 1 };
        if !process::poll_readable(sshd.as_fd(), LAST_WORDS).unwrap_or(false) {
            for process in &above {
                let _ = process::signal_pidfd(process.as_fd(), SIGKILL);
            }
        }
        0
    });
}

/// The processes above this one that are of its user, up to sshd's unprivileged one.
fn above() -> Vec<OwnedFd> {
    let own = nix::unistd::getuid().as_raw();
    let mut above = Vec::new();
    let mut parent = process::parent_pid();
    while parent > 1 && above.len() < MAX_ABOVE {
        let found = pidfd_open(parent).and_then(|pidfd| {
            let process = ProcDir::open(parent)?;
            let uid = process.real_uid()?;
            // The process behind the pidfd still lives, so /proc/PID was opened for that one.
            process::signal_pidfd(pidfd.as_fd(), 0)?;
            Ok((pidfd, uid, process.parent()?))
        });
        match found {
            Ok((pidfd, uid, next)) if uid == own => {
                above.push(pidfd);
                parent = next;
            }
            _ => break,
        }
    }
    if above.is_empty() && parent > 1 {
        // Where /proc shows nothing (hidepid) it is the next one alone. It is ended without any capability, so one of
        // another user is left alone.
        let held = pidfd_open(parent).ok().filter(|_| process::parent_pid() == parent);
        above.extend(held);
    }
    above
}
