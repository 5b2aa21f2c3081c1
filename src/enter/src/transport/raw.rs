//! A session of bytes alone: for clients that use the bastion as ProxyCommand. The client's descriptors are those of what
//! leads there; the worker, by then the same user, waits.

use std::io;
use std::os::fd::{AsFd, OwnedFd};

use nix::poll::{PollFd, PollFlags, PollTimeout};
use vestibule::messages::Refusal;
use vestibule::target::Transport;
use vestibule_sys::signals::SignalFd;
use vestibule_sys::{caps, fds, process};

use super::start::{Journey, start};
use crate::args::Session;
use crate::hop;
use crate::parser::{Facts, Parser};
use crate::refused::{OrRefuse, Refused};
use crate::relay::libc_signal::{SIGHUP, SIGTERM};
use crate::relay::{is_in, wait};
use crate::worker;

/// Carries the session to its end. The exit status.
pub(crate) fn run(
    (session, monitor): (&Session, &OwnedFd),
    facts: &Facts,
    config: &vestibule::config::Config,
    over: &Transport,
    mut parser: Parser,
) -> Result<i32, Refused> {
    if session.pty || session.client.command.is_some() {
        return Err(Refused::new(Refusal::OnlyBytes, "a command or a terminal for a stream"));
    }
    let account = session.account.as_ref();
    let journey = Journey { session: &session.id, account, facts, config };
    let (input, output) = (io::stdin(), io::stdout());
    let led = start(journey, over, &mut parser, (input.as_fd(), output.as_fd()))?;
    parser.end();
    // From here on the process that leads there can be ended by its user, and nothing needs more.
    let user = &led.user;
    let below = process::become_user(user.uid, user.gid, &[user.gid])
        .and_then(|()| caps::drop_all())
        .and_then(|()| caps::no_new_privs())
        .and_then(|()| process::set_dumpable(false));
    below.or_setup("becoming the user of what leads there")?;
    hop::go_with(monitor).or_setup("PR_SET_PDEATHSIG")?;
    // The session's ends are seen by sshd, and by the client, only if nobody else holds them.
    let null = fds::null().or_setup("'/dev/null'")?;
    for number in 0..2 {
        fds::become_std(null.as_fd(), number).or_setup("dup2")?;
    }
    let signals = SignalFd::new(&[SIGHUP, SIGTERM]).or_setup("signalfd")?;
    worker::tell(monitor.as_fd(), &[b"hop", facts.name.as_bytes(), &facts.login_user], None);
    loop {
        let mut polled = [
            PollFd::new(led.process.as_fd(), PollFlags::POLLIN),
            PollFd::new(signals.as_fd(), PollFlags::POLLIN),
        ];
        wait(&mut polled, PollTimeout::NONE).or_setup("poll")?;
        let answers = polled.map(|p| p.revents().unwrap_or(PollFlags::empty()));
        if is_in(&answers, 0, PollFlags::POLLIN) {
            break;
        }
        if is_in(&answers, 1, PollFlags::POLLIN) {
            led.end();
            return Ok(128 + SIGHUP);
        }
    }
    led.sweep();
    let ended = led.process.wait().or_setup("waitid")?;
    led.failure(ended, &facts.name).map_or(Ok(0), Err)
}
