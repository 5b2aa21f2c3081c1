//! The process that goes from root on the bastion to the container's user in the container, and can't come back.

use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use nix::fcntl::OFlag;
use vestibule::config::{Config, Forwarding};
use vestibule::messages::{Notice, Refusal, Why};
use vestibule::paths;
use vestibule::target::Sftp;
use vestibule_sys::beneath::{self, Resolve};
use vestibule_sys::{fds, pass, process, pty};

use crate::args::Session;
use crate::container::Container;
use crate::engine::ending::Hold;
use crate::engine::{self, exec};
use crate::environment::Made;
use crate::gifts::Gifts;
use crate::hop::{self, Hop};
use crate::parser::{Facts, Parser, Way};
use crate::refused::{OrRefuse, Refused};
use crate::relay::libc_signal::SIGHUP;
use crate::session::{self, Program};
use crate::sftp::{self, Ready, Server};
use crate::users::User;
use crate::{confine, connection, environment, leader, may, terminfo, transport, wake, welcome, wire};

/// As many bytes of a cause are told; the log has fewer.
const MAX_CAUSE: usize = pass::MAX_MESSAGE / 4;

/// Does the work and reports to the monitor; returns the exit code.
pub(crate) fn run(session: &Session, monitor: &OwnedFd, uid: u32, gid: u32) -> i32 {
    match go(session, monitor, uid, gid) {
        Ok(code) => code,
        Err(refused) => {
            tell_refused(monitor.as_fd(), &session.id, &refused);
            i32::from(refused.refusal.exit().code())
        }
    }
}

/// Tells the monitor that it won't be: the exit code, the line for the user, and the cause for the log.
pub(crate) fn tell_refused(monitor: BorrowedFd<'_>, session: &str, refused: &Refused) {
    let line = refused.refusal.line(session);
    let code = [refused.refusal.exit().code()];
    // A cause may have much in it of what somebody else said, and a message that is cut says nothing.
    let cause = refused.cause.as_bytes();
    let cause = cause.get(..MAX_CAUSE).unwrap_or(cause);
    tell(monitor, &[b"refused", &code, line.as_str().as_bytes(), cause], None);
}

pub(crate) fn tell(monitor: BorrowedFd<'_>, fields: &[&[u8]], fd: Option<BorrowedFd<'_>>) {
    let mut message = Vec::new();
    let _ = wire::send(&mut message, fields);
    let _ = pass::send(monitor, &message, fd); // a monitor that is gone has ended the session
}

fn go(session: &Session, monitor: &OwnedFd, uid: u32, gid: u32) -> Result<i32, Refused> {
    let mut parser = Parser::start(uid, gid, Some(monitor.as_fd()))?;
    // Root in full: with the caller's real uid, another process of that uid could stop this one halfway.
    process::become_ids(0, 0).or_setup("setresuid")?;
    process::set_dumpable(false).or_setup("PR_SET_DUMPABLE")?;
    let facts = parser.target(session.target, session.account.as_ref())?;
    let config = Config::load_trusted(Path::new(paths::CONFIG)).map_err(Refused::setup)?;
    may::enter(&config, &facts)?;
    // What a wake asks inside is asked for no connection.
    if config.forwarding == Forwarding::Pam && session.probe.is_none() {
        let above = connection::above(session.target, session.account.as_ref()).or_setup("'/proc'")?;
        let no = || Refused::setup("no sshd above this process was let in to this target by pam_vestibule");
        if let Some(refused) = above.ok_or_else(no)?.not_woken.and_then(|failed| failed.again(&facts.name)) {
            return Err(refused);
        }
    }
    let call = wake::Call {
        session: &session.id,
        target: session.target,
        account: session.account.as_ref(),
        facts: &facts,
        config: &config,
        uid,
        gid,
    };
    // An engine's exec can run only what is in the image, and another machine's server has its own.
    let whose = match (&facts.way, facts.sftp) {
        (Way::DockerExec { .. } | Way::Ssh { .. }, Sftp::Own) => Sftp::Image,
        (_, whose) => whose,
    };
    let sftp = sftp::prepare(session.client.command.as_deref(), &config, whose)?;
    let (container, env) = match (open(session, monitor, &call, &mut parser)?, &facts.way) {
        (Some(opened), _) => opened,
        (None, Way::DockerExec { engine, container, shell }) => {
            let control = engine::connect(&config, engine)?;
            let stream = engine::connect(&config, engine)?;
            let hold = Hold::of(&config, engine, container, &control, &mut parser);
            let (group, why) = match &hold {
                Ok(hold) => (hold.group.as_os_str().as_bytes(), ""),
                Err(why) => (&b""[..], why.as_str()),
            };
            tell(monitor.as_fd(), &[b"group", group, why.as_bytes()], None);
            process::become_user(uid, gid, &[gid]).or_setup("setresuid")?;
            process::set_dumpable(false).or_setup("PR_SET_DUMPABLE")?;
            drop(parser);
            let id = hold.ok().map(|hold| hold.id);
            let request = exec::Request::of(session, &facts, container, id, (shell, sftp.as_ref()))?;
            let running = exec::start(control, stream, &request, &facts.name)?;
            tell(monitor.as_fd(), &[b"engine", facts.name.as_bytes(), &facts.login_user], None);
            return Ok(match running.relay(session.pty)? {
                exec::Over::Ended(code) => code,
                exec::Over::Stopped => {
                    let refusal = Refusal::Stopped { target: facts.name.clone() };
                    return Err(Refused::new(refusal, "the engine says that it does not run any more"));
                }
                exec::Over::Left { pid } => {
                    tell(monitor.as_fd(), &[b"left", &pid.to_ne_bytes()], None);
                    128 + SIGHUP
                }
            });
        }
        (None, Way::Ssh { .. }) => {
            let hop = Hop { session, monitor, facts: &facts, config: &config, sftp: sftp.is_some() };
            return hop::run(&hop, parser);
        }
        (None, Way::Stream(over)) => {
            return transport::run((session, monitor), &facts, &config, over, parser);
        }
        (None, _) => return Err(Refused::setup("a tcp target has no namespaces to enter")),
    };
    let Some(group) = container.unified_group().map(fds::duplicate).transpose().or_setup("dup")? else {
        return settle(session, monitor, &facts, container, parser, &env, sftp).map(|()| 0);
    };
    // What this process holds is the child's too, and this process ends.
    let body = || {
        fds::close_in_child(group.as_fd());
        match settle(session, monitor, &facts, container, parser, &env, sftp) {
            Ok(()) => 0,
            Err(refused) => {
                tell_refused(monitor.as_fd(), &session.id, &refused);
                i32::from(refused.refusal.exit().code())
            }
        }
    };
    process::fork_sibling_into(group.as_fd(), body).or_unconfined("cgroup v2").map(|_| 0)
}

/// Opens the container, which is started first where its policy says so. `None` where an engine's exec or nothing enters.
fn open(
    session: &Session,
    monitor: &OwnedFd,
    call: &wake::Call<'_>,
    parser: &mut Parser,
) -> Result<Option<(Container, Vec<u8>)>, Refused> {
    let facts = call.facts;
    let mut open = || find(call, parser);
    if session.probe.is_some() {
        return open(); // asked by a wake
    }
    let mut news = |news: Option<wake::News>| match news {
        Some(news) => {
            let (seconds, left) = (news.seconds.to_ne_bytes(), news.left.to_ne_bytes());
            let step = news.step.word().as_bytes();
            let words = news.words.as_bytes();
            let fresh: &[u8] = if news.fresh { b"new" } else { b"" };
            let name = facts.name.as_bytes();
            tell(monitor.as_fd(), &[b"waking", name, step, &seconds, &left, words, fresh], None);
        }
        None => tell(monitor.as_fd(), &[b"awake"], None),
    };
    wake::awake(call, &mut news, &mut open)
}

/// Opens the container as it is now.
fn find(call: &wake::Call<'_>, parser: &mut Parser) -> Result<Option<(Container, Vec<u8>)>, Refused> {
    let (facts, config) = (call.facts, call.config);
    let mut running = |engine, container| {
        let found = engine::inspect(config, engine, container, &facts.name, parser)?;
        let target = || facts.name.clone();
        if found.paused {
            return Err(Refused::new(Refusal::Paused { target: target() }, "the engine says it is paused"));
        }
        if found.pid <= 1 {
            let cause = "the engine says it is not running";
            return Err(Refused::new(Refusal::NotRunning { target: target() }, cause));
        }
        Ok(found)
    };
    match &facts.way {
        Way::Namespace(leader) => {
            let container = Container::open(leader::find(leader, &facts.name)?, None, &facts.name)?;
            may::container(config, facts, &container)?;
            let env = container.environ();
            Ok(Some((container, env)))
        }
        Way::Docker { engine, container } => {
            let found = running(engine, container)?;
            let opened = Container::open(found.pid, Some(&found.id), &facts.name)?;
            may::container(config, facts, &opened)?;
            Ok(Some((opened, found.env)))
        }
        // The kernel can't be asked about what an engine enters; it may be elsewhere.
        Way::DockerExec { engine, container, .. } => {
            let found = running(engine, container)?;
            may::privileged(config, facts, found.power.as_deref()).map(|()| None)
        }
        // One that nobody starts is not looked for: the session says what is wrong.
        Way::Stream(over) | Way::Ssh { over, .. } if facts.wake.is_some() => {
            transport::reach(call.journey(), over, parser).map(|()| None)
        }
        Way::TcpContainer { .. } | Way::TcpFixed | Way::Stream(_) | Way::Ssh { .. } => Ok(None),
    }
}

/// From the container's control groups on.
fn settle(
    session: &Session,
    monitor: &OwnedFd,
    facts: &Facts,
    container: Container,
    mut parser: Parser,
    env: &[u8],
    sftp: Option<Server>,
) -> Result<(), Refused> {
    // From here on what it costs to look at the container's files is charged to the container.
    confine::join_groups(&container)?;
    let user = find_user(&container, facts, &mut parser)?;
    parser.end();
    let sftp = sftp.map(Server::seal).transpose()?;
    enter(session, monitor, facts, container, &user, env, sftp)
}

fn find_user(container: &Container, facts: &Facts, parser: &mut Parser) -> Result<User, Refused> {
    let unknown = || Refusal::NoSuchUser { user: String::from_utf8_lossy(&facts.login_user).into_owned() };
    let passwd = container.user_file("etc/passwd").or_refuse(unknown, "the container's /etc/passwd")?;
    let group = container.user_file("etc/group").or_refuse(unknown, "the container's /etc/group")?;
    parser
        .user(facts, &passwd, &group)?
        .ok_or_else(|| Refused::new(unknown(), "not in the container's /etc/passwd"))
}

fn enter(
    session: &Session,
    monitor: &OwnedFd,
    facts: &Facts,
    container: Container,
    user: &User,
    env: &[u8],
    sftp: Option<Ready>,
) -> Result<(), Refused> {
    confine::move_in(&container, &facts.name)?;
    confine::become_user(&container, user)?;
    let who = [b"inside", facts.name.as_bytes(), &user.name];
    tell(monitor.as_fd(), &who, Some(container.pidfd.as_fd()));
    // Not for SFTP, which asks for none.
    let gifts = if sftp.is_none() { Gifts::make(session, user) } else { Gifts::default() };
    let (slave, terminal) = if session.pty {
        let pty = pty::open().or_refuse(|| Refusal::NoTerminal, "/dev/pts/ptmx in the container")?;
        tell(monitor.as_fd(), &[b"terminal"], Some(pty.master.as_fd()));
        let number = pty.number().ok();
        (Some(pty.slave), number)
    } else {
        (None, None)
    };
    let settings = String::from_utf8_lossy(&facts.env);
    let settings =
        settings.split('\0').filter_map(|v| v.split_once('=')).map(|(n, v)| (n.to_owned(), v.to_owned()));
    let mut variables = environment::of_session(
        environment::from_block(env),
        &settings.collect(),
        user,
        &session.client,
        Made { terminal, agent: gifts.agent(), display: gifts.display() },
    );
    if terminal.is_some() {
        terminfo::settle(&mut variables);
    }
    let env = environment::strings(variables);
    let mut program = match (&session.probe, sftp) {
        (Some(words), _) => Program::exact(words, env)?,
        (None, Some(server)) => Program::sftp(server, env),
        (None, None) => Program::of(user, session.client.command.as_deref(), env)?,
    };
    if slave.is_some() && session.client.command.is_none() && session.probe.is_none() {
        program.welcome = welcome::words(&facts.welcome, &facts.name, user);
    }
    // The session's process will be seen in the container before it is the shell, and a container that may trace could
    // take its descriptors: from here on there are none but 0, 1, 2, the terminal, the monitor's socket, the sealed copy
    // of the SFTP server, and the directory and socket for what the client gives, which are the container's.
    let last_step = container.into_last_step();
    if let Err(why) = go_home(user) {
        let home = String::from_utf8_lossy(&user.home).into_owned();
        notice(session, &Notice::NoHome { home, why });
    }
    confine::load_filters(&last_step, user)?;
    let (listener, lifeline) = gifts.keep(session);
    for (word, fd) in [(&b"agent"[..], listener.map(OwnedFd::from)), (b"lifeline", lifeline)] {
        if let Some(fd) = fd {
            tell(monitor.as_fd(), &[word], Some(fd.as_fd()));
        }
    }

    let body = || session::run(&program, slave.as_ref(), &session.id, monitor.as_fd());
    let pid = process::fork_sibling(body).map_err(|e| {
        let refusal = match e.raw_os_error().map(nix::errno::Errno::from_raw) {
            Some(nix::errno::Errno::EAGAIN) => Refusal::Full,
            // A pid namespace whose first process is gone takes no more: ENOMEM, pid_namespaces(7).
            _ => Refusal::Stopped { target: facts.name.clone() },
        };
        Refused::new(refusal, format_args!("fork in the container: {e}"))
    })?;
    tell(monitor.as_fd(), &[b"started", &pid.to_ne_bytes()], None);
    Ok(())
}

/// Says it to the session's user.
pub(crate) fn notice(session: &Session, notice: &Notice) {
    let line = notice.line(&session.id);
    // The client's terminal is raw as soon as the container's is there.
    if session.pty { line.for_terminal().say() } else { line.say() }
}

/// Goes to the user's home, as sshd does, or says why it can't and goes to `/`.
///
/// The home's path is the container's word. It is walked below the container's root and through no magic link, with no
/// descriptor of the bastion left open that such a link could lead to; what is still outside is left again.
fn go_home(user: &User) -> Result<(), Why> {
    let enter = || -> Result<(), Why> {
        let kernel = |e: io::Error| Why::from(&e);
        let root = File::open("/").map_err(kernel)?;
        let path = Path::new(OsStr::from_bytes(&user.home));
        let flags = (OFlag::O_PATH | OFlag::O_DIRECTORY).bits();
        let home = beneath::open_with(root.as_fd(), path, Resolve::InRoot, flags).map_err(kernel)?;
        nix::unistd::fchdir(&home).map_err(Why::Kernel)?;
        let inside = std::env::current_dir().map_err(kernel)?.is_absolute();
        if inside { Ok(()) } else { Err(Why::Outside) }
    };
    enter().inspect_err(|_| {
        let _ = std::env::set_current_dir("/");
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_arrives_however_much_its_cause_says() {
        let (ours, theirs) = pass::socket_pair().unwrap();
        let refusal = Refusal::NotAnswering { target: "lab".to_owned() };
        tell_refused(theirs.as_fd(), "s", &Refused::new(refusal, "\u{fffd}".repeat(10_000)));
        let (message, _) = pass::receive(ours.as_fd()).unwrap().unwrap();
        let (code, line, cause) = crate::monitor::refused_of(&wire::receive(&message[..]).unwrap());
        assert_eq!(code, vestibule::exit::Exit::NotAnswering.code());
        assert!(line.as_str().contains("lab") && cause.len() > 500);
    }
}
