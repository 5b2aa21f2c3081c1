//! The monitor's part of a session that an engine's exec runs: it waits for the worker, which relays, and ends what is left
//! when the client has gone. The worker has no right to that.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout};
use vestibule::messages::Line;
use vestibule::watch::{self, Watch};
use vestibule_sys::pass;
use vestibule_sys::process::{Child, Ended};
use vestibule_sys::signals::SignalFd;

use crate::attend::grace;
use crate::engine::ending;
use crate::monitor::refused_of;
use crate::relay::libc_signal::{SIGHUP, SIGKILL, SIGTERM};
use crate::revoked::GRACE;
use crate::{relay, wire};

/// In which the worker must have said what it leaves behind: it asks an engine, which has ten seconds for an answer.
const SAID_WITHIN: Duration = Duration::from_secs(12);

/// What came of it.
pub(crate) struct Ending {
    pub(crate) ended: Ended,
    /// Why what it ran may live on.
    pub(crate) abandoned: Option<String>,
    /// Why it may go on no longer.
    pub(crate) revoked: Option<watch::Ending>,
    /// Why it could not go on: the exit code, the line for the user, the cause for the log.
    pub(crate) refused: Option<(u8, Line, String)>,
}

/// Stays with the worker to its end.
pub(crate) fn attend(
    worker: &Child,
    socket: &OwnedFd,
    group: &Result<PathBuf, String>,
    mut watch: Option<&mut Watch>,
    signals: &SignalFd,
) -> io::Result<Ending> {
    let (mut left, mut refused, mut listening) = (None, None, true);
    let (mut revoked, mut end) = (None, None::<Instant>);
    loop {
        let mut polled = vec![
            PollFd::new(worker.as_fd(), PollFlags::POLLIN),
            PollFd::new(signals.as_fd(), PollFlags::POLLIN),
        ];
        polled.push(relay::watched(watch.as_deref().filter(|_| revoked.is_none()), worker.as_fd()));
        polled.extend(listening.then(|| PollFd::new(socket.as_fd(), PollFlags::POLLIN)));
        let left_of_it = end.map(|end| end.saturating_duration_since(Instant::now()));
        let limit =
            left_of_it.map_or(PollTimeout::NONE, |l| PollTimeout::try_from(l).unwrap_or(PollTimeout::MAX));
        relay::wait(&mut polled, limit)?;
        let answers: Vec<_> = polled.iter().map(|p| p.revents().unwrap_or(PollFlags::empty())).collect();
        let ready = |n: usize| relay::is_in(&answers, n, PollFlags::POLLIN);
        if left_of_it.is_some_and(|left| left.is_zero()) {
            let _ = worker.signal(SIGKILL);
            end = None;
        }
        // sshd may tell this process alone that it is over.
        let mut over = ready(1)
            && std::iter::from_fn(|| signals.next().ok().flatten()).any(|s| s == SIGHUP || s == SIGTERM);
        if revoked.is_none() && ready(2) {
            revoked = watch.as_deref_mut().and_then(Watch::serve);
            over |= revoked.is_some();
        }
        if over {
            let _ = worker.signal(SIGHUP);
            end = Some(Instant::now() + SAID_WITHIN);
        }
        if ready(3) {
            match pass::receive(socket.as_fd())? {
                Some((message, _)) => {
                    let fields = wire::receive(&message[..]).unwrap_or_default();
                    match fields.first().map(Vec::as_slice) {
                        Some(b"left") => left = fields.get(1).and_then(|f| f.as_slice().try_into().ok()),
                        Some(b"refused") => refused = Some(refused_of(&fields)),
                        _ => {}
                    }
                }
                None => listening = false,
            }
        } else if ready(0) {
            // What it had to say was said before it ended.
            break;
        }
    }
    let ended = worker.wait()?;
    let Some(pid) = left.map(i32::from_ne_bytes) else {
        let killed = ended == Ended::Signalled(SIGKILL);
        let abandoned = killed.then(|| "the engine does not say which process it is".to_owned());
        return Ok(Ending { ended, abandoned, revoked, refused });
    };
    let grace = if revoked.is_some() { grace().min(GRACE) } else { grace() };
    let done = group
        .clone()
        .and_then(|group| ending::end(&group, pid, grace).map_err(|e| format!("process {pid}: {e}")));
    Ok(Ending { ended: Ended::Signalled(SIGHUP), abandoned: done.err(), revoked, refused })
}
