//! The process that sshd waits for: it starts the worker, relays the terminal, and ends as the session ends.

use std::ffi::OsStr;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};
use vestibule_sys::entry::ExitCode;

use vestibule::config::Config;
use vestibule::exit::Exit;
use vestibule::messages::{Line, Refusal, say_by_sftp, shown};
use vestibule::paths;
use vestibule::watch::Watch;
use vestibule_sys::caps::{self, Cap, Caps};
use vestibule_sys::process::{self, Child, Ended};
use vestibule_sys::signals::{self, SignalFd};
use vestibule_sys::syslog::{Severity, Syslog};
use vestibule_sys::{fds, pass, pty};

use crate::agent_relay::Relay;
use crate::args::Session;
use crate::attend::{self, Terminal, give_back};
use crate::refused::{OrRefuse, Refused};
use crate::register::{self, Entry, Registered};
use crate::relay::Over;
use crate::relay::libc_signal::{SIGHUP, SIGKILL, SIGTERM, SIGWINCH};
use crate::waiting::{Look, Waiting};
use crate::{by_engine, hop, revoked, sftp, wire, worker};

/// From the fork to the first word of the session's process, less the time in which the target is started. An engine or a
/// container that takes longer is hung.
const ENTER_WITHIN: Duration = Duration::from_secs(20);

/// What the worker said.
enum Begun {
    /// The session's process runs in the container.
    Inside { child: Child, leader: Option<OwnedFd>, target: String, user: String },
    /// The worker relays for an engine.
    ByEngine { target: String, user: String, group: Group },
    /// The worker waits for the second hop's client.
    Hop { target: String, user: String },
    /// It won't be.
    Refused { code: u8, line: Line, cause: String },
    /// The client went while its target was being started.
    Left { target: String },
}

/// The control group of an engine's container, by which what runs in it can be ended; or why it is not known.
type Group = Result<PathBuf, String>;

/// What came of the agent's directory in the container.
#[derive(Default)]
struct NestEnds {
    listener: Option<OwnedFd>,
    /// When this is closed the directory goes.
    lifeline: Option<OwnedFd>,
}

impl NestEnds {
    /// What carries the agent's connections, where there is an agent.
    fn relay(&mut self, session: &Session) -> Option<Relay> {
        let agent = self.listener.take().zip(session.client.agent.clone());
        agent.map(|(listener, socket)| Relay::new(listener, socket))
    }
}

/// Runs a session to its end. The exit code is the session's, or one of [`Exit`].
pub(crate) fn run(session: &Session) -> ExitCode {
    let parent = process::parent_pid();
    let (uid, gid) = (nix::unistd::getuid().as_raw(), nix::unistd::getgid().as_raw());
    let started = start(session, uid, gid);
    // After the fork: the worker has no use for it, nor has the container.
    let log = Syslog::open("enter");
    let end = started.and_then(|(worker, socket)| {
        unprivileged(uid, gid).or_setup("giving up privileges")?;
        let parent_lives = process::signal_on_parent_death(SIGHUP, parent).or_setup("PR_SET_PDEATHSIG")?;
        if !parent_lives {
            return Err(Refused::setup("sshd went away"));
        }
        supervise(session, &worker, &socket, &log)
    });
    match end {
        Ok(Ended::Exited(status)) => ExitCode::from(u8::try_from(status & 0xff).unwrap_or(255)),
        Ok(Ended::Signalled(signal)) => signals::die_of(signal),
        Err(refused) => {
            // Whatever went wrong: nobody stays inside without somebody who watches.
            for pid in process::children() {
                let _ = Child::of(pid).and_then(|child| child.signal(SIGKILL));
            }
            revoked::end_connection_later(&refused.refusal);
            let line = refused.refusal.line(&session.id);
            let line =
                if session.pty && refused.refusal.is_in_mid_session() { line.on_its_own() } else { line };
            refuse(session, &log, refused.refusal.exit().code(), &line, &refused.cause)
        }
    }
}

fn refuse(session: &Session, log: &Syslog, code: u8, line: &Line, cause: &str) -> ExitCode {
    let severity = if code == Exit::Setup.code() { Severity::Error } else { Severity::Warning };
    let result = if code == Exit::Revoked.code() { "ended" } else { "refused" };
    log.line(
        severity,
        format_args!(
            "session={} result={result} exit={code} target={} cause={:?}",
            session.id,
            session.target.0,
            shown(cause)
        ),
    );
    line.say();
    let is_sftp = |config: &Config| sftp::wish(session.client.command.as_deref(), config) != sftp::Wish::None;
    if !session.pty && Config::load_trusted(Path::new(paths::CONFIG)).is_ok_and(|config| is_sftp(&config)) {
        say_by_sftp(line);
    }
    ExitCode::from(code)
}

fn start(session: &Session, uid: u32, gid: u32) -> Result<(Child, OwnedFd), Refused> {
    let (ours, theirs) = pass::socket_pair().or_setup("socketpair")?;
    let worker = process::fork_child(|| {
        fds::close_in_child(ours.as_fd());
        worker::run(session, &theirs, uid, gid)
    })
    .or_setup("fork")?;
    Ok((worker, ours))
}

/// Becomes the caller again, keeping only what is needed to end processes of other users.
fn unprivileged(uid: u32, gid: u32) -> std::io::Result<()> {
    caps::keep_over_setuid(true)?;
    process::become_ids(uid, gid)?;
    caps::set(Caps { effective: Cap::Kill.bit(), permitted: Cap::Kill.bit(), inheritable: 0 })?;
    caps::no_new_privs()?;
    process::set_dumpable(false)
}

fn supervise(session: &Session, worker: &Child, socket: &OwnedFd, log: &Syslog) -> Result<Ended, Refused> {
    // Before the first word: a signal that arrives from now on is kept for the relay.
    let signals = SignalFd::new(&[SIGHUP, SIGTERM, SIGWINCH]).or_setup("signalfd")?;
    let (mut terminal, mut nest) = (None, NestEnds::default());
    let mut watch = revoked::watch(session, log);
    let begun = begin(session, worker, socket, (&mut terminal, &mut nest), &signals, (watch.as_mut(), log))?;
    let (target, user) = match &begun {
        Begun::Refused { code, line, cause } => {
            give_back(terminal.as_ref());
            refuse(session, log, *code, line, cause);
            return Ok(Ended::Exited(i32::from(*code)));
        }
        Begun::Left { target } => {
            log.line(
                Severity::Info,
                format_args!(
                    "session={} event=left target={} while it was started",
                    session.id,
                    shown(target)
                ),
            );
            return Ok(Ended::Signalled(SIGHUP));
        }
        Begun::Inside { target, user, .. }
        | Begun::ByEngine { target, user, .. }
        | Begun::Hop { target, user } => (target, user),
    };
    let pid = if let Begun::Inside { child, .. } = &begun { child.pid() } else { worker.pid() };
    let _registered = register(session, target, user, pid, log);
    let _used = register::use_of(session);
    let began = Instant::now();
    let ended = match &begun {
        Begun::Inside { child, leader, target, .. } => {
            let _ = worker.wait();
            let agent = nest.relay(session);
            let over = attend::stay(child, terminal.as_ref(), watch.as_mut(), agent, &signals);
            give_back(terminal.as_ref());
            drop(terminal); // hangs up the container's side
            match over {
                Ok(Over::Revoked(ending)) => {
                    let refused = revoked::note(session, target, &ending, log);
                    let grace = attend::grace().min(revoked::GRACE);
                    attend::end_session(child, grace).or_setup("waitid").and(Err(refused))
                }
                other => other
                    .or_setup("poll")
                    .and_then(|over| attend::ended(child, over, leader.as_ref(), target)),
            }
        }
        Begun::ByEngine { .. } | Begun::Hop { .. } => {
            let over = match &begun {
                Begun::ByEngine { group, .. } => {
                    by_engine::attend(worker, socket, group, watch.as_mut(), &signals)
                }
                _ => hop::watch(worker, socket, watch.as_mut(), nest.relay(session), &signals),
            };
            let over = over.or_setup("poll")?;
            if let Some(why) = over.abandoned {
                log.line(
                    Severity::Warning,
                    format_args!(
                        "session={} event=abandoned target={} cause={:?}",
                        session.id,
                        shown(target),
                        shown(&why)
                    ),
                );
            }
            if let Some((code, line, cause)) = over.refused {
                let line = if session.pty { line.on_its_own() } else { line };
                refuse(session, log, code, &line, &cause);
            }
            match over.revoked {
                Some(ending) => Err(revoked::note(session, target, &ending, log)),
                None => Ok(over.ended),
            }
        }
        _ => worker.wait().or_setup("waitid"),
    };
    let how = match &ended {
        Ok(Ended::Exited(status)) => format!("exit={status}"),
        Ok(Ended::Signalled(signal)) => format!("signal={signal}"),
        Err(_) => "stopped".to_owned(),
    };
    log.line(
        Severity::Info,
        format_args!(
            "session={} event=end target={} {how} seconds={}",
            session.id,
            shown(target),
            began.elapsed().as_secs()
        ),
    );
    ended
}

/// Listens to the worker until the session's process runs or it is known that it won't.
fn begin(
    session: &Session,
    worker: &Child,
    socket: &OwnedFd,
    (terminal, nest): (&mut Option<Terminal>, &mut NestEnds),
    signals: &SignalFd,
    (mut watch, log): (Option<&mut Watch>, &Syslog),
) -> Result<Begun, Refused> {
    let mut end = Instant::now() + ENTER_WITHIN;
    let (mut begun, mut place) = (None, None);
    let mut group = Err("the worker did not say".to_owned());
    let mut waiting = Waiting::new(session.pty, &session.id);
    loop {
        let left = end.saturating_duration_since(Instant::now());
        if left.is_zero() {
            let _ = worker.signal(SIGKILL);
            if let Some(Begun::Inside { child, .. }) = &begun {
                let _ = child.signal(SIGKILL);
            }
            waiting.over();
            give_back(terminal.as_ref());
            let seconds = ENTER_WITHIN.as_secs();
            return Err(Refused::new(Refusal::TooSlow { seconds }, "the worker says nothing"));
        }
        match waiting.look(socket.as_fd(), signals, watch.as_deref_mut(), left).or_setup("poll")? {
            Look::Word => {}
            Look::Nothing => continue,
            Look::Left(target) => {
                let _ = worker.signal(SIGKILL); // and not who starts the target
                return Ok(Begun::Left { target });
            }
            Look::Revoked(target, ending) => {
                let _ = worker.signal(SIGKILL);
                waiting.over();
                return Err(revoked::note(session, &target, &ending, log));
            }
        }
        let Some((message, fd)) = pass::receive(socket.as_fd()).or_setup("recvmsg")? else {
            // Everybody with the other end is gone: the worker has ended and the session's process was executed.
            return begun.ok_or_else(|| Refused::setup("the worker ended without a word"));
        };
        let fields = wire::receive(&message[..]).or_setup("the worker's message")?;
        let text =
            |n: usize| fields.get(n).map(|f| String::from_utf8_lossy(f).into_owned()).unwrap_or_default();
        let word = text(0);
        if word == "waking" {
            let left = waiting.take_news(&fields).ok_or_else(|| Refused::setup("the worker's news"))?;
            end = Instant::now() + left + ENTER_WITHIN;
            continue;
        }
        waiting.over();
        match word.as_str() {
            "awake" => end = Instant::now() + ENTER_WITHIN,
            "terminal" => {
                let master =
                    fd.ok_or_else(|| Refused::setup("no terminal came with the worker's message"))?;
                let modes = pty::hand_over_modes(std::io::stdin().as_fd(), master.as_fd());
                *terminal = Some(Terminal { master, modes: modes.or_setup("the client's terminal")? });
            }
            "agent" => nest.listener = fd,
            "lifeline" => nest.lifeline = fd,
            "inside" => place = Some((fd, text(1), text(2))),
            "started" => {
                let pid = fields.get(1).and_then(|f| f.as_slice().try_into().ok()).map(i32::from_ne_bytes);
                let pid = pid.ok_or_else(|| Refused::setup("no pid came with the worker's message"))?;
                let child = Child::of(pid).or_setup("pidfd_open")?;
                // Only a child of ours is a session that we may end.
                child.has_ended().or_setup("the session's process")?;
                let (leader, target, user) = place.take().unwrap_or_default();
                // A refusal of the session's process itself may have come before this.
                if !matches!(begun, Some(Begun::Refused { .. })) {
                    begun = Some(Begun::Inside { child, leader, target, user });
                }
            }
            "group" => {
                let path = fields.get(1).filter(|path| !path.is_empty());
                group = path.map(|path| PathBuf::from(OsStr::from_bytes(path))).ok_or_else(|| text(2));
            }
            "engine" => return Ok(Begun::ByEngine { target: text(1), user: text(2), group }),
            "hop" => return Ok(Begun::Hop { target: text(1), user: text(2) }),
            "refused" => {
                let (code, line, cause) = refused_of(&fields);
                begun = Some(Begun::Refused { code, line, cause });
            }
            other => return Err(Refused::setup(format_args!("the worker said '{}'", shown(other)))),
        }
    }
}

/// What stands behind the word `refused`: the exit code, the line for the user, the cause for the log.
pub(crate) fn refused_of(fields: &[Vec<u8>]) -> (u8, Line, String) {
    let text = |n: usize| fields.get(n).map(|f| String::from_utf8_lossy(f).into_owned()).unwrap_or_default();
    let code = fields.get(1).and_then(|f| f.first()).copied().unwrap_or(Exit::Setup.code());
    (code, Line::relayed(text(2)), text(3))
}

fn register(session: &Session, target: &str, user: &str, pid: i32, log: &Syslog) -> Option<Registered> {
    let started = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |d| d.as_secs());
    let client = session.client.text("SSH_CONNECTION");
    let account = session.account.as_ref().map(|a| a.as_str());
    log.line(
        Severity::Info,
        format_args!(
            "session={} event=start target={} account={} user={:?} pid={pid} client={:?}",
            session.id,
            shown(target),
            account.unwrap_or("-"),
            shown(user),
            shown(client.as_deref().unwrap_or("-")),
        ),
    );
    let fingerprint = session.proof.as_ref().map(|proof| proof.key().to_string());
    let entry = Entry { id: &session.id, target, account, fingerprint, client, user, pid, started };
    match register::enter(&entry) {
        Ok(registered) => Some(registered),
        Err(e) => {
            log.line(
                Severity::Error,
                format_args!("session={} can't be registered in {}: {e}", session.id, paths::SESSIONS_DIR),
            );
            None
        }
    }
}
