//! The monitor's part of a session whose process is its child: it relays a terminal, waits for the end, and ends what the
//! session started when the client has gone.

use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags};
use vestibule::config::Config;
use vestibule::messages::Refusal;
use vestibule::paths;
use vestibule::watch::Watch;
use vestibule_sys::process::{self, Child, Ended};
use vestibule_sys::signals::SignalFd;
use vestibule_sys::{fds, pty};

use crate::agent_relay::Relay;
use crate::refused::{OrRefuse, Refused};
use crate::relay::libc_signal::{SIGHUP, SIGKILL, SIGTERM};
use crate::relay::{self, Over};

/// The client's terminal while it is raw.
pub(crate) struct Terminal {
    pub(crate) master: OwnedFd,
    pub(crate) modes: pty::Modes,
}

/// Gives the client's terminal its modes back.
pub(crate) fn give_back(terminal: Option<&Terminal>) {
    if let Some(terminal) = terminal {
        let _ = pty::restore(std::io::stdin().as_fd(), &terminal.modes);
    }
}

/// Stays with the session's process until it or the client goes, or is to go.
pub(crate) fn stay(
    child: &Child,
    terminal: Option<&Terminal>,
    watch: Option<&mut Watch>,
    mut agent: Option<Relay>,
    signals: &SignalFd,
) -> std::io::Result<Over> {
    match terminal {
        Some(terminal) => {
            let (client, master) = (std::io::stdin(), terminal.master.as_fd());
            relay::terminal(client.as_fd(), master, child, signals, watch, agent.as_mut())
        }
        None => without_terminal(child, signals, watch, agent.as_mut()),
    }
}

/// Brings the session to its end.
pub(crate) fn ended(
    child: &Child,
    over: Over,
    leader: Option<&OwnedFd>,
    target: &str,
) -> Result<Ended, Refused> {
    let ended = match over {
        Over::Ended => child.wait(),
        Over::HungUp | Over::Revoked(_) => end_session(child, grace()),
    };
    let ended = ended.or_setup("waitid")?;
    // The end of a pid namespace's first process kills all the others.
    let stopped = ended == Ended::Signalled(SIGKILL)
        && leader
            .is_some_and(|l| process::poll_readable(l.as_fd(), Duration::from_millis(500)).unwrap_or(false));
    if stopped {
        return Err(Refused::new(Refusal::Stopped { target: target.to_owned() }, "its first process ended"));
    }
    Ok(ended)
}

/// With no terminal the session's process has the client's descriptors; what is left is to wait. Standard error is kept,
/// to see the client go.
pub(crate) fn without_terminal(
    child: &Child,
    signals: &SignalFd,
    mut watch: Option<&mut Watch>,
    mut agent: Option<&mut Relay>,
) -> std::io::Result<Over> {
    let null = fds::null()?;
    for number in 0..2 {
        fds::become_std(null.as_fd(), number)?;
    }
    let stderr = std::io::stderr();
    loop {
        let mut polled = vec![
            PollFd::new(child.as_fd(), PollFlags::POLLIN),
            PollFd::new(signals.as_fd(), PollFlags::POLLIN),
            PollFd::new(stderr.as_fd(), PollFlags::empty()),
            relay::watched(watch.as_deref(), child.as_fd()),
        ];
        polled.extend(agent.iter().flat_map(|agent| agent.interest()));
        let answers = relay::wait_all(polled)?;
        let ready = |n: usize, flags| relay::is_in(&answers, n, flags);
        if ready(0, PollFlags::POLLIN) {
            return Ok(Over::Ended);
        }
        let hung_up = ready(1, PollFlags::POLLIN)
            && std::iter::from_fn(|| signals.next().ok().flatten()).any(|s| s == SIGHUP || s == SIGTERM);
        if hung_up || ready(2, PollFlags::empty()) {
            return Ok(Over::HungUp);
        }
        if ready(3, PollFlags::POLLIN)
            && let Some(ending) = watch.as_deref_mut().and_then(Watch::serve)
        {
            return Ok(Over::Revoked(ending));
        }
        if let Some(agent) = agent.as_mut() {
            agent.serve(answers.get(4..).unwrap_or_default());
        }
    }
}

/// How long what a session started may take to end by itself when its client has gone.
pub(crate) fn grace() -> Duration {
    let seconds = Config::load_trusted(Path::new(paths::CONFIG)).map_or(10, |c| c.session.grace_seconds);
    Duration::from_secs(seconds)
}

/// Ends what the session started: SIGHUP now, SIGKILL after `grace`. What made itself a session of its own stays.
///
/// The session's process is reaped last: as long as it is not, the kernel gives the session's number to nobody else.
pub(crate) fn end_session(child: &Child, grace: Duration) -> std::io::Result<Ended> {
    let end = Instant::now() + grace;
    // A look at every number there is would keep a processor busy.
    let pause = Duration::from_millis(if process::hides_processes() { 1000 } else { 100 });
    process::signal_session(child.pid(), SIGHUP);
    while Instant::now() < end {
        let others = process::of_session(child.pid()).iter().any(|pid| *pid != child.pid());
        if !others && child.has_ended()? {
            break;
        }
        std::thread::sleep(pause);
    }
    process::signal_session(child.pid(), SIGKILL);
    child.wait()
}
