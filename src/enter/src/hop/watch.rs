//! The monitor's part of a second hop: it waits for the worker, carries the agent's connections, and ends the worker, and the
//! client with it, when ours has gone or may be here no longer.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use vestibule::watch::Watch;
use vestibule_sys::pass;
use vestibule_sys::process::{Child, Ended};
use vestibule_sys::signals::SignalFd;

use crate::agent_relay::Relay;
use crate::by_engine::Ending;
use crate::monitor::refused_of;
use crate::relay::Over;
use crate::relay::libc_signal::{SIGHUP, SIGKILL};
use crate::{attend, wire};

/// In which the worker must have ended.
const WITHIN: Duration = Duration::from_secs(2);

/// Stays with the worker to its end.
pub(crate) fn watch(
    worker: &Child,
    socket: &OwnedFd,
    watch: Option<&mut Watch>,
    mut agent: Option<Relay>,
    signals: &SignalFd,
) -> io::Result<Ending> {
    let mut ending =
        Ending { ended: Ended::Signalled(SIGHUP), abandoned: None, revoked: None, refused: None };
    match attend::without_terminal(worker, signals, watch, agent.as_mut())? {
        Over::Ended => ending.ended = worker.wait()?,
        Over::HungUp => {
            end(worker);
            return Ok(ending);
        }
        Over::Revoked(why) => {
            end(worker);
            ending.revoked = Some(why);
            return Ok(ending);
        }
    }
    while let Some((message, _)) = pass::receive(socket.as_fd())? {
        let fields = wire::receive(&message[..]).unwrap_or_default();
        if fields.first().is_some_and(|word| word == b"refused") {
            ending.refused = Some(refused_of(&fields));
        }
    }
    Ok(ending)
}

/// Ends the worker: as it would itself, then at once.
fn end(worker: &Child) {
    let _ = worker.signal(SIGHUP);
    if !matches!(worker.wait_at_most(WITHIN), Ok(Some(_))) {
        let _ = worker.signal(SIGKILL);
        let _ = worker.wait_at_most(WITHIN);
    }
}
