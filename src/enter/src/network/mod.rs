//! `enter --network`: for `pam_vestibule`, in sshd's privileged process, before it forks the user's.
//!
//! It is told who was let in, finds out where they go, and gives back the target's network namespace, open. It then
//! stays, as the connection's [`keeper`], until the connection or the container ends. What a client or a container
//! wrote is parsed by the `parser`, without privileges.
//!
//! The answer is a word, for which see the module: `into` (with the namespace, and before it perhaps `mounts`),
//! `nowhere`, `stay`, `refused`. While the target is being started there is a `wait` each second.

mod elsewhere;
mod keeper;
mod place;
mod resolver;
mod x11;

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::time::{Duration, SystemTime};

use vestibule::config::{Config, Forwarding};
use vestibule::exit::Exit;
use vestibule::messages::{Refusal, shown};
use vestibule::still::Case;
use vestibule::watch::{Standing, Watch};
use vestibule::{paths, visit};
use vestibule_sys::entry::ExitCode;
use vestibule_sys::namespaces;
use vestibule_sys::process::{self, Child};
use vestibule_sys::procfs::ProcDir;
use vestibule_sys::syslog::{Severity, Syslog};
use vestibule_sys::{fds, pass, pty, signals, wire};

use crate::connection::{self, Entry};
use crate::container::Proven;
use crate::parser::Parser;
use crate::refused::{OrRefuse, Refused};
use keeper::Kept;
use place::Place;

/// The module writes its question at once.
const ASK_WITHIN: Duration = Duration::from_secs(5);
/// A key's line is some hundred bytes; those of new algorithms, some thousand.
const MAX_QUESTION: usize = 160 << 10;

/// What the module says of a login.
struct Question {
    login: Vec<u8>,
    auth_info: Vec<u8>,
    client: String,
    tty: String,
}

/// Leaves a child that does it: sshd is to have no child that it does not know.
pub(crate) fn run() -> ExitCode {
    let parent = process::parent_pid();
    let started = (|| -> Result<(), Refused> {
        let sshd = Child::of(parent).or_setup("pidfd_open")?;
        let process = ProcDir::open(parent).or_setup("'/proc'")?;
        if process::parent_pid() != parent {
            return Err(Refused::setup("sshd went away"));
        }
        let socket = fds::duplicate(io::stdin().as_fd()).or_setup("dup")?;
        fds::std_to_null().or_setup("'/dev/null'")?;
        process::fork_child(|| serve(&sshd, &process, &socket)).or_setup("fork")?;
        Ok(())
    })();
    match started {
        Ok(()) => ExitCode::SUCCESS,
        Err(refused) => {
            Syslog::open("enter").line(
                Severity::Error,
                format_args!("network result=refused cause={:?}", shown(&refused.cause)),
            );
            ExitCode::from(Exit::Setup.code())
        }
    }
}

fn serve(sshd: &Child, process: &ProcDir, socket: &OwnedFd) -> i32 {
    let log = Syslog::open("enter");
    let id = visit::session_number().unwrap_or_default();
    let kept = pty::new_session().or_setup("setsid").and_then(|()| {
        let question = question(socket)?;
        begin(&id, sshd, process, socket, &question, &log).inspect_err(|refused| {
            let (code, login) = (refused.refusal.exit().code(), String::from_utf8_lossy(&question.login));
            let severity =
                if refused.refusal == Refusal::Setup { Severity::Error } else { Severity::Warning };
            log.line(
                severity,
                format_args!(
                    "connection={id} result=refused exit={code} login={:?} client={:?} cause={:?}",
                    shown(&login),
                    shown(&question.client),
                    shown(&refused.cause)
                ),
            );
        })
    });
    match kept {
        Ok(kept) => {
            // The parser, and what starts the target, end when they end; nobody waits for them.
            signals::forget_children();
            keeper::keep(sshd, kept, &log)
        }
        Err(refused) => {
            let line = refused.refusal.line(&id);
            tell(socket, &[b"refused", line.as_str().trim_end().as_bytes()], None);
            i32::from(refused.refusal.exit().code())
        }
    }
}

fn question(socket: &OwnedFd) -> Result<Question, Refused> {
    if !process::poll_readable(socket.as_fd(), ASK_WITHIN).or_setup("poll")? {
        return Err(Refused::setup("no question came"));
    }
    let message = pass::receive_at_most(socket.as_fd(), MAX_QUESTION).or_setup("recvmsg")?;
    let (bytes, _) = message.ok_or_else(|| Refused::setup("no question came"))?;
    let fields = wire::receive(&bytes[..]).or_setup("the question")?;
    let Ok([login, auth_info, client, tty]) = <[Vec<u8>; 4]>::try_from(fields) else {
        return Err(Refused::setup("the question: not understood"));
    };
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
    Ok(Question { login, auth_info, client: text(client), tty: text(tty) })
}

fn begin(
    id: &str,
    sshd: &Child,
    process: &ProcDir,
    socket: &OwnedFd,
    question: &Question,
    log: &Syslog,
) -> Result<Kept, Refused> {
    let config = Config::load_trusted(Path::new(paths::CONFIG)).map_err(Refused::setup)?;
    if config.forwarding != Forwarding::Pam {
        return Err(Refused::setup(
            "pam_vestibule is in sshd's stack, and the configuration lacks 'forwarding'",
        ));
    }
    let (uid, gid) = crate::args::shared_ids().map_err(Refused::setup)?;
    let mut parser = Parser::start(uid, gid, Some(socket.as_fd()))?;
    let who = parser.login(&question.login, &question.auth_info, question.client.as_bytes())?;
    let come = place::Come { connection: id, who: &who, config: &config, sshd: process, uid, gid };
    let place = place::find(&come, &mut parser, &mut || tell(socket, &[b"wait"], None))?;
    parser.end();
    let network = match &place {
        Place::Target(_) => "target",
        Place::Elsewhere(_) => "elsewhere",
        Place::Nowhere(..) => "none",
        Place::Bastion(_) => "bastion",
    };
    let account = who.account.as_ref();
    let name = who.facts.name.as_str();
    let started = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |d| d.as_secs());
    let entry = Entry {
        id,
        target: name,
        account: account.map(|a| a.as_str()),
        fingerprint: Some(who.proof.key().to_string()),
        client: Some(&question.client).filter(|c| !c.is_empty()).map(String::as_str),
        network,
        not_woken: if let Place::Nowhere(_, failed) = &place { failed.as_ref() } else { None },
        pid: sshd.pid(),
        started,
    };
    let registered =
        connection::enter(process, who.target, account, &entry).or_setup(paths::CONNECTIONS_DIR)?;
    let cause = if let Place::Nowhere(cause, _) = &place {
        format!(" cause={:?}", shown(cause))
    } else {
        String::new()
    };
    log.line(
        if cause.is_empty() { Severity::Info } else { Severity::Warning },
        format_args!(
            "connection={id} event=open login={:?} target={} account={} fingerprint={} client={:?} tty={:?} pid={} \
             network={network}{cause}",
            shown(&String::from_utf8_lossy(&question.login)),
            shown(name),
            account.map_or("-", |a| a.as_str()),
            who.proof.key(),
            shown(&question.client),
            shown(&question.tty),
            sshd.pid(),
        ),
    );
    let (mut display, mut alive) = (None, None);
    let by_address = matches!(place, Place::Bastion(_));
    let container = match place {
        Place::Target(container) => {
            if who.facts.x11 {
                display = Some(x11::Cookies::new(id, gid).or_setup(paths::X11_DIR)?);
            }
            give(socket, &container, display.as_ref(), log, id)?;
            Some(container.pidfd)
        }
        Place::Nowhere(..) => {
            tell(socket, &[b"nowhere"], None);
            None
        }
        Place::Elsewhere(ready) => {
            let made = elsewhere::make(id, name, &ready)?;
            if let Some(mounts) = &made.mounts {
                tell(socket, &[b"mounts"], Some(mounts));
            }
            tell(socket, &[b"into", b""], Some(&made.network));
            alive = Some(made.alive);
            None
        }
        Place::Bastion(container) => {
            tell(socket, &[b"stay"], None);
            container
        }
    };
    let case = Case {
        id: id.to_owned(),
        target: who.target,
        account: who.account.clone(),
        proof: who.proof.clone(),
        source: who.source,
        client: visit::client_address(&question.client).map(str::to_owned),
    };
    // Once this process has given up its privileges it can't make one that is nobody.
    let judge = Standing::start(&case, || process::become_user(uid, gid, &[gid]));
    let watch = judge.and_then(|judge| Watch::new(case, Some(judge))).or_setup("watching for revocations")?;
    Ok(Kept {
        id: id.to_owned(),
        target: name.to_owned(),
        registered,
        display,
        container,
        elsewhere: alive,
        by_address,
        watch,
    })
}

/// Sends the container's network namespace, and the mounts in which names are looked up as it does.
fn give(
    socket: &OwnedFd,
    container: &Proven,
    display: Option<&x11::Cookies>,
    log: &Syslog,
    id: &str,
) -> Result<(), Refused> {
    let network = namespaces::network_of(&container.process).or_setup("the container's network namespace")?;
    match resolver::mounts(container) {
        Ok(Some(mounts)) => tell(socket, &[b"mounts"], Some(&mounts)),
        Ok(None) => {}
        Err(e) => log.line(
            Severity::Warning,
            format_args!("connection={id} note=\"names are looked up as the bastion does: {e}\""),
        ),
    }
    // The process behind the pidfd still lives, so what was opened of /proc/PID is that one's.
    process::signal_pidfd(container.pidfd.as_fd(), 0).or_setup("the container's first process")?;
    if display.is_some()
        && let Err(e) = x11::give_loopback(&network)
    {
        log.line(
            Severity::Warning,
            format_args!(
                "connection={id} note=\"no X displays: the container's loopback has no '::1': {e}\""
            ),
        );
    }
    let authority = display.map(x11::Cookies::file).unwrap_or_default();
    tell(socket, &[b"into", authority.as_os_str().as_bytes()], Some(&network));
    Ok(())
}

fn tell(socket: &OwnedFd, fields: &[&[u8]], fd: Option<&OwnedFd>) {
    let mut message = Vec::new();
    let _ = wire::send(&mut message, fields);
    // A module that is gone has ended the connection.
    let _ = pass::send(socket.as_fd(), &message, fd.map(AsFd::as_fd));
}
