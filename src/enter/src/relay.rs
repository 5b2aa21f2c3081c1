//! Carrying bytes between descriptors that may each be slow: nothing here waits for one of them alone.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::unistd::{read, write};
use vestibule::watch::{Ending, Watch};
use vestibule_sys::process::Child;
use vestibule_sys::signals::SignalFd;
use vestibule_sys::{fds, pty};

use crate::agent_relay::Relay;

/// As much as is read at once.
const CHUNK: usize = 32 << 10;

/// One direction: what was read and not yet written.
#[derive(Debug, Default)]
pub(crate) struct Flow {
    pub(crate) buffer: Vec<u8>,
    /// The source has no more.
    pub(crate) ended: bool,
    /// The sink takes no more; what comes is thrown away.
    pub(crate) broken: bool,
}

impl Flow {
    pub(crate) fn wants_input(&self) -> bool {
        !self.ended && self.buffer.len() < CHUNK
    }

    pub(crate) fn wants_output(&self) -> bool {
        !self.broken && !self.buffer.is_empty()
    }

    /// Reads once. A source that is gone (`EIO` of a terminal without the other side) has ended.
    pub(crate) fn fill(&mut self, from: BorrowedFd<'_>) {
        let mut chunk = [0_u8; CHUNK];
        match read(from, &mut chunk) {
            Ok(0) => self.ended = true,
            Ok(n) => self.buffer.extend_from_slice(chunk.get(..n).unwrap_or_default()),
            Err(Errno::EAGAIN | Errno::EINTR) => {}
            Err(_) => self.ended = true,
        }
    }

    /// Writes once.
    pub(crate) fn drain(&mut self, to: BorrowedFd<'_>) {
        match write(to, &self.buffer) {
            Ok(n) => {
                self.buffer.drain(..n);
            }
            Err(Errno::EAGAIN | Errno::EINTR) => {}
            Err(_) => {
                self.broken = true;
                self.buffer.clear();
            }
        }
    }
}

/// Whether an answer of poll(2) has any of `flags`, or that the other side is gone.
pub(crate) fn is_ready(answer: &PollFd<'_>, flags: PollFlags) -> bool {
    answer.revents().is_some_and(|r| r.intersects(flags | PollFlags::POLLHUP | PollFlags::POLLERR))
}

/// poll(2), with no answers when a signal came.
pub(crate) fn wait(polled: &mut [PollFd<'_>], limit: PollTimeout) -> io::Result<()> {
    match poll(polled, limit) {
        Ok(_) | Err(Errno::EINTR) => Ok(()),
        Err(e) => Err(e.into()),
    }
}

/// As [`wait`], without a limit; what came, in the order of what was asked.
pub(crate) fn wait_all(mut polled: Vec<PollFd<'_>>) -> io::Result<Vec<PollFlags>> {
    wait(&mut polled, PollTimeout::NONE)?;
    Ok(polled.iter().map(|p| p.revents().unwrap_or(PollFlags::empty())).collect())
}

/// As [`is_ready`], of the answers of [`wait_all`].
pub(crate) fn is_in(answers: &[PollFlags], n: usize, flags: PollFlags) -> bool {
    answers.get(n).is_some_and(|a| a.intersects(flags | PollFlags::POLLHUP | PollFlags::POLLERR))
}

/// Why a relay ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Over {
    /// The session's process ended.
    Ended,
    /// The client went away, or somebody ended the session.
    HungUp,
    /// What let it in was taken away.
    Revoked(Ending),
}

/// Relays between the client's terminal and the container's until the session is over.
///
/// # Errors
/// As poll(2).
pub(crate) fn terminal(
    client: BorrowedFd<'_>,
    master: BorrowedFd<'_>,
    child: &Child,
    signals: &SignalFd,
    mut watch: Option<&mut Watch>,
    mut agent: Option<&mut Relay>,
) -> io::Result<Over> {
    fds::set_nonblocking(client, true)?;
    fds::set_nonblocking(master, true)?;
    let (mut typed, mut shown) = (Flow::default(), Flow::default());
    loop {
        let client_flags = flags(typed.wants_input(), shown.wants_output());
        let master_flags = flags(shown.wants_input(), typed.wants_output());
        // A terminal whose other side was closed polls as hung up for ever; ask only what is of use.
        let master_asked = (!shown.ended).then_some(PollFd::new(master, master_flags));
        let mut polled = vec![
            PollFd::new(client, client_flags),
            PollFd::new(signals.as_fd(), PollFlags::POLLIN),
            PollFd::new(child.as_fd(), PollFlags::POLLIN),
        ];
        let own = polled.len() + 2;
        // Where the terminal is not asked, the client stands in its place, so that the agent's are found again.
        polled.push(master_asked.unwrap_or(PollFd::new(client, PollFlags::empty())));
        polled.push(watched(watch.as_deref(), client));
        polled.extend(agent.iter().flat_map(|agent| agent.interest()));
        let answers = wait_all(polled)?;
        let ready = |n: usize, flags| is_in(&answers, n, flags);
        if let Some(agent) = agent.as_mut() {
            agent.serve(answers.get(own..).unwrap_or_default());
        }

        if ready(4, PollFlags::POLLIN)
            && let Some(ending) = watch.as_deref_mut().and_then(Watch::serve)
        {
            return Ok(Over::Revoked(ending));
        }
        if ready(1, PollFlags::POLLIN) {
            while let Some(signal) = signals.next()? {
                match signal {
                    libc_signal::SIGWINCH => {
                        let _ = pty::size(client).and_then(|size| pty::set_size(master, &size));
                    }
                    libc_signal::SIGHUP | libc_signal::SIGTERM => return Ok(Over::HungUp),
                    _ => {}
                }
            }
        }
        if ready(0, PollFlags::POLLIN) && typed.wants_input() {
            typed.fill(client);
        }
        if shown.wants_output() {
            shown.drain(client);
        }
        if ready(3, PollFlags::POLLIN) && shown.wants_input() {
            shown.fill(master);
        }
        if typed.wants_output() {
            typed.drain(master);
        }
        if typed.ended || shown.broken {
            return Ok(Over::HungUp);
        }
        if ready(2, PollFlags::POLLIN) {
            finish(client, master, &mut shown);
            return Ok(Over::Ended);
        }
    }
}

/// What to poll for the end of access; `other`, of which nothing is asked, where nobody watches.
pub(crate) fn watched<'a>(watch: Option<&'a Watch>, other: BorrowedFd<'a>) -> PollFd<'a> {
    watch.map_or(PollFd::new(other, PollFlags::empty()), |watch| PollFd::new(watch.fd(), PollFlags::POLLIN))
}

/// Shows what the last process had still written, to a client that takes it within a few seconds.
fn finish(client: BorrowedFd<'_>, master: BorrowedFd<'_>, shown: &mut Flow) {
    for _ in 0..2000 {
        while !shown.ended && shown.buffer.len() < 64 * CHUNK {
            let before = shown.buffer.len();
            shown.fill(master);
            if shown.buffer.len() == before {
                break;
            }
        }
        if !shown.wants_output() {
            return;
        }
        let mut polled = [PollFd::new(client, PollFlags::POLLOUT)];
        if wait(&mut polled, PollTimeout::from(100_u8)).is_err() || !is_ready(&polled[0], PollFlags::POLLOUT)
        {
            return;
        }
        shown.drain(client);
    }
}

pub(crate) fn flags(input: bool, output: bool) -> PollFlags {
    let mut flags = PollFlags::empty();
    flags.set(PollFlags::POLLIN, input);
    flags.set(PollFlags::POLLOUT, output);
    flags
}

/// The numbers of the signals that a session is told things by.
pub(crate) mod libc_signal {
    use nix::sys::signal::Signal;
    pub(crate) const SIGWINCH: i32 = Signal::SIGWINCH as i32;
    pub(crate) const SIGHUP: i32 = Signal::SIGHUP as i32;
    pub(crate) const SIGTERM: i32 = Signal::SIGTERM as i32;
    pub(crate) const SIGKILL: i32 = Signal::SIGKILL as i32;
}
