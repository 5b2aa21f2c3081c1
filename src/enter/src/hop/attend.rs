//! The worker's part of a second hop, as its user: it asks the client for the session and waits for its end.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout};
use nix::unistd::read;
use vestibule::exit::Exit;
use vestibule::messages::{Refusal, shown};
use vestibule::paths;
use vestibule_sys::process::{self, Ended};
use vestibule_sys::signals::SignalFd;
use vestibule_sys::syslog::{Severity, Syslog};
use vestibule_sys::{fds, pass, pty};

use super::Hop;
use super::client::Client;
use super::learn::Learner;
use super::mux::{Control, Request, Word};
use super::place::CONTROL;
use super::said::Said;
use crate::refused::{OrRefuse, Refused};
use crate::relay::libc_signal::{SIGHUP, SIGKILL, SIGTERM};
use crate::relay::{is_in, wait};
use crate::transport::Led;
use crate::worker;

/// From the start of the client to the session. The client itself gives a server 10 seconds to connect and exchange keys.
const BEGIN_WITHIN: Duration = Duration::from_secs(17);
/// The client's log wakes this process; this is for a line that will have other words one day.
const TICK: Duration = Duration::from_millis(50);
/// What a client whose connection broke may take to say so and end.
const LAST_WORDS: Duration = Duration::from_millis(500);

/// What leads there, where that is another process than the client, and how the client gets hold of it.
pub(super) struct Way {
    pub(super) led: Led,
    /// Where the client comes for the connection, and the connection, until it came.
    pub(super) waiting: Option<(UnixListener, UnixStream)>,
}

/// How far it is.
struct Stay<'a> {
    hop: &'a Hop<'a>,
    client: &'a Client,
    way: Option<Way>,
    /// Waits for the server's key, where it is to be learned.
    learner: Option<Learner>,
    control: Option<Control>,
    opened: bool,
    status: Option<u32>,
    modes: Option<pty::Modes>,
    /// The client's log, and what came on its standard error; each while it is open.
    said: (Said, bool),
    errors: (Said, bool),
}

/// What ended it.
enum Over {
    /// The session, or the client.
    Session,
    /// Our client went.
    HungUp,
}

/// Stays to the end of the session; the exit status.
pub(super) fn stay(
    hop: &Hop<'_>,
    client: &Client,
    way: Option<Way>,
    learner: Option<Learner>,
) -> Result<i32, Refused> {
    go_with(hop.monitor).or_setup("PR_SET_PDEATHSIG")?;
    let signals = SignalFd::new(&[SIGHUP, SIGTERM]).or_setup("signalfd")?;
    let mut stay = Stay {
        hop,
        client,
        way,
        learner,
        control: None,
        opened: false,
        status: None,
        modes: None,
        said: (Said::of_log(), true),
        errors: (Said::default(), true),
    };
    let over = stay.go(&signals);
    if let Some(modes) = &stay.modes {
        let _ = pty::restore(io::stderr().as_fd(), modes);
    }
    match over? {
        // The client does not outlive this process, and the kernel tells the server.
        Over::HungUp => Ok(128 + SIGHUP),
        Over::Session => stay.result(),
    }
}

/// Has this process, and the client with it, end with the monitor, without which nobody could take the session away.
pub(crate) fn go_with(monitor: &OwnedFd) -> io::Result<()> {
    process::signal_on_parent_death(SIGKILL, 0)?;
    // It says nothing on its end of the socket: what there is to read is that it was gone before that.
    if process::poll_readable(monitor.as_fd(), Duration::ZERO)? {
        return Err(io::ErrorKind::BrokenPipe.into());
    }
    Ok(())
}

impl Stay<'_> {
    fn go(&mut self, signals: &SignalFd) -> Result<Over, Refused> {
        let deadline = Instant::now() + BEGIN_WITHIN;
        loop {
            let stderr = io::stderr();
            let asked =
                |fd, on: bool| PollFd::new(fd, if on { PollFlags::POLLIN } else { PollFlags::empty() });
            let none = self.client.process.as_fd();
            let open = |fd, on: bool| if on { asked(fd, true) } else { asked(none, false) };
            let control = self.control.as_ref().map_or(asked(none, false), |c| asked(c.as_fd(), true));
            let waiting = self.way.as_ref().and_then(|way| way.waiting.as_ref());
            let mut polled = [
                asked(self.client.process.as_fd(), true),
                asked(signals.as_fd(), true),
                asked(stderr.as_fd(), false),
                open(self.client.log.as_fd(), self.said.1),
                open(self.client.errors.as_fd(), self.errors.1),
                control,
                waiting.map_or(asked(none, false), |(listener, _)| asked(listener.as_fd(), true)),
            ];
            let limit = if self.opened {
                PollTimeout::NONE
            } else {
                let left = deadline.saturating_duration_since(Instant::now());
                if left.is_zero() {
                    return Err(self.too_slow());
                }
                PollTimeout::try_from(left.min(TICK)).unwrap_or(PollTimeout::ZERO)
            };
            wait(&mut polled, limit).or_setup("poll")?;
            let answers = polled.map(|p| p.revents().unwrap_or(PollFlags::empty()));
            let ready = |n: usize| is_in(&answers, n, PollFlags::POLLIN);
            if ready(1) || is_in(&answers, 2, PollFlags::empty()) {
                return Ok(Over::HungUp);
            }
            if ready(3) {
                take(&self.client.log, &mut self.said);
            }
            if ready(4) {
                take(&self.client.errors, &mut self.errors);
            }
            if ready(6) {
                self.hand_over()?;
            }
            if ready(5) {
                self.listen()?;
            } else if self.control.is_none() {
                let path = Path::new(paths::HOP_DIR).join(CONTROL);
                self.control = Control::connect(&path).or_setup("ssh's control socket")?;
            }
            let over = self.control.as_ref().is_some_and(|control| control.ended);
            // What is on the socket is read before the client's end counts.
            if over || (ready(0) && !ready(5)) {
                return Ok(Over::Session);
            }
        }
    }

    /// Gives the client the connection that it came for, and keeps nothing of it.
    fn hand_over(&mut self) -> Result<(), Refused> {
        let Some((listener, connection)) = self.way.as_mut().and_then(|way| way.waiting.take()) else {
            return Ok(());
        };
        let given =
            listener.accept().and_then(|(to, _)| pass::send(to.as_fd(), &[0], Some(connection.as_fd())));
        given.or_setup("handing the connection over")
    }

    fn listen(&mut self) -> Result<(), Refused> {
        let Some(control) = &mut self.control else { return Ok(()) };
        for word in control.receive().or_setup("ssh's control socket")? {
            match word {
                Word::Hello if !self.opened => {
                    let Some(control) = &mut self.control else { return Ok(()) };
                    let std =
                        [io::stdin().as_fd(), io::stdout().as_fd(), io::stderr().as_fd()].map(duplicated);
                    let [Ok(zero), Ok(one), Ok(two)] = &std else { return Err(Refused::setup("dup")) };
                    control
                        .ask(&request(self.hop), [zero.as_fd(), one.as_fd(), two.as_fd()])
                        .or_setup("ssh")?;
                }
                Word::Opened if !self.opened => {
                    self.opened = true;
                    self.begun()?;
                }
                Word::Exit(status) => self.status = Some(status),
                Word::NoTerminal => {
                    return Err(Refused::new(Refusal::TerminalRefused, "the server gives out no terminal"));
                }
                Word::Refused(why) => {
                    let target = self.hop.facts.name.clone();
                    return Err(Refused::new(
                        Refusal::NotAnswering { target },
                        format_args!("the server opens no session: {why}"),
                    ));
                }
                Word::Hello | Word::Opened => {}
            }
        }
        Ok(())
    }

    /// The session runs.
    fn begun(&mut self) -> Result<(), Refused> {
        if self.hop.session.pty {
            self.modes = pty::make_raw(io::stderr().as_fd()).ok();
        } else {
            // The session's ends are seen by sshd only if nobody else holds them.
            let null = fds::null().or_setup("'/dev/null'")?;
            for number in 0..2 {
                fds::become_std(null.as_fd(), number).or_setup("dup2")?;
            }
        }
        let facts = self.hop.facts;
        if let Some(learner) = self.learner.take() {
            self.learn(learner);
        }
        worker::tell(self.hop.monitor.as_fd(), &[b"hop", facts.name.as_bytes(), &facts.login_user], None);
        Ok(())
    }

    /// The server let the bastion in, over a way that proves itself: from now on it has this key.
    fn learn(&self, learner: Learner) {
        let (session, target) = (&self.hop.session.id, shown(&self.hop.facts.name));
        let key = shown(self.said.0.offered.as_deref().unwrap_or_default());
        let log = Syslog::open("enter");
        log.line(
            Severity::Info,
            format_args!("session={session} event=host-key target={target} key={key:?}"),
        );
        if let Err(e) = learner.tell() {
            log.line(Severity::Error, format_args!("session={session} error: the host key is not kept: {e}"));
        }
    }

    fn too_slow(&self) -> Refused {
        let target = self.hop.facts.name.clone();
        Refused::new(Refusal::NotAnswering { target }, "no session after 17 s")
    }

    /// What came of it, when the session or the client has ended.
    fn result(mut self) -> Result<i32, Refused> {
        let facts = self.hop.facts;
        let client = &self.client.process;
        if let Some(status) = self.status {
            return Ok(i32::try_from(status & 0xff).unwrap_or(255));
        }
        take(&self.client.log, &mut self.said);
        // As ssh(1) has it for a command that a signal ended: which one it was, the client tells nobody.
        if self.opened && self.said.0.signalled {
            return Ok(255);
        }
        // A client whose connection broke ends by itself, a moment after its sessions.
        let ended = client.wait_at_most(LAST_WORDS).or_setup("waitid")?;
        take(&self.client.log, &mut self.said);
        take(&self.client.errors, &mut self.errors);
        if !self.opened {
            if ended == Some(Ended::Exited(Client::NOT_EXECUTED)) {
                return Err(Refused::setup(self.errors.0.cause()));
            }
            let user = String::from_utf8_lossy(&facts.login_user);
            let refused = self.said.0.no_connection(&facts.name, &user);
            // What the client saw of what leads there is its end.
            let silent = [Exit::Unreachable, Exit::NotAnswering].contains(&refused.refusal.exit());
            let other = if silent { self.no_way()? } else { None };
            if other.is_none() && self.way.as_ref().is_some_and(|way| way.waiting.is_some()) {
                // Who was to fetch the connection did not come.
                return Err(Refused::setup(format_args!("{}; {}", self.errors.0.cause(), refused.cause)));
            }
            return Err(other.unwrap_or(refused));
        }
        if let Some(refused) = self.no_way()? {
            return Err(refused);
        }
        self.said.0.no_status(&facts.name, &self.errors.0).map_or(Ok(255), Err)
    }

    /// Why what leads there did so no longer, if it was that.
    fn no_way(&self) -> Result<Option<Refused>, Refused> {
        let Some(way) = &self.way else { return Ok(None) };
        let ended = way.led.process.wait_at_most(LAST_WORDS).or_setup("waitid")?;
        Ok(ended.and_then(|ended| way.led.failure(ended, &self.hop.facts.name)))
    }
}

fn duplicated(fd: BorrowedFd<'_>) -> io::Result<OwnedFd> {
    fds::duplicate(fd)
}

fn request<'a>(hop: &'a Hop<'_>) -> Request<'a> {
    let client = &hop.session.client;
    let term = client.variables.get(&b"TERM"[..]).map_or(&b"dumb"[..], Vec::as_slice);
    let crosses = |name: &[u8]| name == b"LANG" || name.starts_with(b"LC_");
    let env = client.variables.iter().filter(|(name, _)| crosses(name));
    let command = client.command.as_deref().unwrap_or_default();
    Request {
        terminal: hop.session.pty,
        agent: client.agent.is_some(),
        subsystem: hop.sftp,
        term,
        command: if hop.sftp { b"sftp" } else { command },
        env: env.map(|(name, value)| [name, &b"="[..], value].concat()).collect(),
    }
}

/// Reads all that is there.
fn take(from: &OwnedFd, (said, open): &mut (Said, bool)) {
    let mut chunk = [0_u8; 4096];
    // Bounded, also for a server that has the client talk without end.
    for _ in 0..64 {
        match read(from, &mut chunk) {
            Ok(0) => return *open = false,
            Ok(n) => said.take(chunk.get(..n).unwrap_or_default()),
            Err(nix::errno::Errno::EINTR) => {}
            Err(_) => return,
        }
    }
}
