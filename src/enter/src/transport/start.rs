//! Starting the process that leads there, and what its end means.

use std::ffi::CString;
use std::io::{self, Read};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::time::{Duration, Instant};

use nix::mount::{MsFlags, mount};
use nix::sys::resource::{Resource, setrlimit};
use vestibule::config::Config;
use vestibule::exit::Exit;
use vestibule::messages::{Refusal, shown};
use vestibule::names::login::AccountName;
use vestibule::paths;
use vestibule::target::Transport;
use vestibule_sys::namespaces::{self, Kind};
use vestibule_sys::process::{self, Child, Ended};
use vestibule_sys::{caps, exec, fds, pty, signals};

use crate::environment::DEFAULT_PATH;
use crate::hop;
use crate::parser::{Facts, Parser};
use crate::refused::{OrRefuse, Refused};
use crate::relay::libc_signal::{SIGKILL, SIGTERM};
use crate::users::User;

/// What the process says of a failure is two lines.
const MAX_SAID: u64 = 4 << 10;
/// For the process to take its leave of the other side.
const LEAVE: Duration = Duration::from_millis(1500);

/// A session that a transport is for.
#[derive(Clone, Copy)]
pub(crate) struct Journey<'a> {
    /// The session's number.
    pub(crate) session: &'a str,
    pub(crate) account: Option<&'a AccountName>,
    pub(crate) facts: &'a Facts,
    pub(crate) config: &'a Config,
}

/// What is executed, and as whom.
struct Program {
    args: Vec<CString>,
    env: Vec<CString>,
    user: User,
    /// It is `connect`, and no command of the configuration's.
    own: bool,
}

/// A process that leads there.
pub(crate) struct Led {
    pub(crate) process: Child,
    /// Its standard error.
    said: OwnedFd,
    /// Whose it is.
    pub(crate) user: User,
    own: bool,
    /// Closed with this process, which it does not survive.
    _alive: OwnedFd,
}

/// Starts it between `input` and `output`. To be called as root.
pub(crate) fn start(
    journey: Journey<'_>,
    over: &Transport,
    parser: &mut Parser,
    (input, output): (BorrowedFd<'_>, BorrowedFd<'_>),
) -> Result<Led, Refused> {
    let program = program(journey, over, parser)?;
    let path = program.args.first().cloned().unwrap_or_default();
    hop::bastions_network().or_setup("the bastion's network")?;
    let (said, says) = process::pipe().or_setup("pipe")?;
    let (parents, alive) = process::pipe().or_setup("pipe")?;
    if program.own {
        hide_keys().or_setup(format_args!("'{}'", paths::PROXY_KEYS))?;
        // It can't see the processes of other sessions, which have the same user.
        namespaces::leave_for_new(Kind::Pid).or_setup("a pid namespace")?;
    }
    let child = process::fork_child(|| {
        fds::close_in_child(alive.as_fd());
        let ready = prepare(&program, [input, output, says.as_fd()], &parents);
        let e = ready.map_or_else(|e| e, |()| exec::execute(&path, &program.args, &program.env));
        use io::Write;
        let _ = writeln!(io::stderr(), "the bastion is not set up right\n{}: {e}", path.to_string_lossy());
        i32::from(Exit::Setup.code())
    });
    let process = child.or_setup("fork")?;
    let Program { user, own, .. } = program;
    Ok(Led { process, said, user, own, _alive: alive })
}

fn program(journey: Journey<'_>, over: &Transport, parser: &mut Parser) -> Result<Program, Refused> {
    let target = journey.facts.name.as_str();
    let (words, user) = match over {
        Transport::Unix(path) => (own(&["--unix", path]), paths::USER_HOP),
        Transport::Websocket { site, path } => (own(&["--site", site, "--path", path]), paths::USER_HOP),
        Transport::Command(name) => {
            let command = journey.config.connect.get(name).ok_or_else(|| {
                Refused::setup(format_args!("command '{}': not in the configuration", shown(name)))
            })?;
            let account = journey.account.map_or("", AccountName::as_str);
            let filled = |word: &String| word.replace("{target}", target).replace("{account}", account);
            (command.command.iter().map(filled).collect(), command.user.as_str())
        }
        Transport::Tcp(_) => return Err(Refused::setup("nothing has to lead to an address")),
    };
    let user = hop::user_of_host(parser, user)?;
    let string = |bytes: Vec<u8>| CString::new(bytes).map_err(Refused::setup);
    let variable = |name: &str, value: &[u8]| string([name.as_bytes(), b"=", value].concat());
    let own = !matches!(over, Transport::Command(_));
    let mut env = vec![variable("PATH", DEFAULT_PATH.as_bytes())?, variable("HOME", &user.home)?];
    if !own {
        env.push(variable("USER", &user.name)?);
        env.push(variable("LOGNAME", &user.name)?);
        env.push(variable("VESTIBULE_TARGET", target.as_bytes())?);
        env.push(variable("VESTIBULE_SESSION", journey.session.as_bytes())?);
    }
    let args = words.into_iter().map(|word: String| string(word.into_bytes()));
    Ok(Program { args: args.collect::<Result<_, _>>()?, env, user, own })
}

fn own(options: &[&str]) -> Vec<String> {
    std::iter::once(paths::CONNECT).chain(options.iter().copied()).map(str::to_owned).collect()
}

/// What leads there, and what it talks to, has no business with keys.
fn hide_keys() -> io::Result<()> {
    const NONE: Option<&str> = None;
    let harmless = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC | MsFlags::MS_RDONLY;
    namespaces::leave_for_new(Kind::Mnt)?;
    // What the bastion unmounts later is not held here.
    mount(NONE, "/", NONE, MsFlags::MS_REC | MsFlags::MS_SLAVE, NONE)?;
    if Path::new(paths::PROXY_KEYS).is_dir() {
        let nothing = Some("size=4k,nr_inodes=1,mode=0");
        mount(Some("vestibule"), paths::PROXY_KEYS, Some("tmpfs"), harmless, nothing)?;
    }
    Ok(())
}

fn prepare(program: &Program, ends: [BorrowedFd<'_>; 3], parent: &OwnedFd) -> io::Result<()> {
    for (number, fd) in (0..).zip(ends) {
        fds::become_std(fd, number)?;
    }
    // A session of its own, by which what a command has started is found.
    pty::new_session()?;
    if program.own {
        let harmless = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
        namespaces::leave_for_new(Kind::Mnt)?; // `/proc` stays what it is for the parent
        mount(Some("proc"), "/proc", Some("proc"), harmless, None::<&str>)?;
        hop::become_hop(&program.user)?;
    } else {
        process::become_user(program.user.uid, program.user.gid, &program.user.groups)?;
        caps::drop_all()?;
    }
    setrlimit(Resource::RLIMIT_CORE, 0, 0)?;
    process::signal_on_parent_death(SIGKILL, 0)?;
    // A parent that was gone before that is seen by the pipe, of which it had the only other end.
    if process::poll_readable(parent.as_fd(), Duration::ZERO)? {
        return Err(io::ErrorKind::BrokenPipe.into());
    }
    fds::close_on_exec_from(3)?;
    signals::reset_all()
}

impl Led {
    /// Ends it, and what it started.
    pub(crate) fn end(&self) {
        if self.own {
            let _ = self.process.signal(SIGTERM);
        } else {
            process::signal_session(self.process.pid(), SIGTERM);
        }
        if !matches!(self.process.wait_at_most(LEAVE), Ok(Some(_))) {
            let _ = self.process.signal(SIGKILL);
        }
        if !self.own {
            process::signal_session(self.process.pid(), SIGKILL);
        }
        let _ = self.process.wait_at_most(LEAVE);
    }

    /// Ends what a command that has ended left behind, which would hold the client's descriptors. To be called before its
    /// number is free again.
    pub(crate) fn sweep(&self) {
        let sid = self.process.pid();
        let others = || process::of_session(sid).iter().any(|pid| *pid != sid);
        if self.own || !others() {
            return;
        }
        process::signal_session(sid, SIGTERM);
        let end = Instant::now() + LEAVE;
        while others() && Instant::now() < end {
            std::thread::sleep(Duration::from_millis(20));
        }
        process::signal_session(sid, SIGKILL);
    }

    /// What its end means: nothing where it was no failure.
    pub(crate) fn failure(&self, ended: Ended, target: &str) -> Option<Refused> {
        let Ended::Exited(status) = ended else {
            let cause = format!("what leads there ended: {ended:?}");
            return Some(Refused::new(Refusal::Lost { target: target.to_owned() }, cause));
        };
        if status == 0 {
            return None;
        }
        let mut said = Vec::new();
        // Whoever it left behind may still have the other end, and say nothing.
        let _ = fds::set_nonblocking(self.said.as_fd(), true);
        if let Ok(from) = fds::duplicate(self.said.as_fd()) {
            let _ = std::fs::File::from(from).take(MAX_SAID).read_to_end(&mut said);
        }
        Some(meaning(self.own, status, &String::from_utf8_lossy(&said), target))
    }
}

/// What a status and some words mean: `connect`'s are words for the user and a cause, a command's are for the log.
fn meaning(own: bool, status: i32, said: &str, target: &str) -> Refused {
    let target = target.to_owned();
    if !own {
        let last = said.lines().rev().find(|line| !line.trim().is_empty()).unwrap_or("nothing");
        let why = format!("the command that leads there ended with status {status}");
        return Refused::new(
            Refusal::NoWay { target, why },
            format_args!("status {status}, and said '{}'", shown(last)),
        );
    }
    let mut lines = said.lines();
    let words = lines.next().unwrap_or("what leads there failed").to_owned();
    let cause = lines.next().unwrap_or_default();
    let is = |exit: Exit| status == i32::from(exit.code());
    if is(Exit::Unreachable) {
        return Refused::new(Refusal::NoWay { target, why: words }, cause);
    }
    if is(Exit::Stopped) {
        return Refused::new(Refusal::WayLost { target, why: words }, cause);
    }
    Refused::setup(format_args!(
        "connect: status {status}: {}",
        if cause.is_empty() { &words } else { cause }
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_connect_says_is_for_the_user_and_what_a_command_says_is_not() {
        let of = |own, status, said| meaning(own, status, said, "lab");
        let target = || "lab".to_owned();
        let refused = of(true, 209, "the site 'hub' answers 403\nstatus 403, ''\n");
        assert_eq!(
            refused.refusal,
            Refusal::NoWay { target: target(), why: "the site 'hub' answers 403".to_owned() }
        );
        assert_eq!(refused.cause, "status 403, ''");
        let refused = of(true, 211, "it hung up\nEOF\n");
        assert_eq!(refused.refusal, Refusal::WayLost { target: target(), why: "it hung up".to_owned() });
        for (status, said) in [(200, "the bastion is not set up right\nsite 'hub'\n"), (1, ""), (101, "x")] {
            assert_eq!(of(true, status, said).refusal, Refusal::Setup, "{status}");
        }
        let refused = of(false, 1, "secret of the operator\nlast words\n\n");
        assert!(!refused.refusal.line("x").as_str().contains("words"), "{}", refused.refusal);
        assert!(refused.cause.contains("last words"), "{}", refused.cause);
    }
}
