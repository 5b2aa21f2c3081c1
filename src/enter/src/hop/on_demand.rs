//! Clients for the forwards of a connection, which are started when there is something to forward.
//!
//! What a client needs is put in its place when the connection begins, by root. What then waits for a request is nobody
//! but the user of the second hop: the first process of a pid namespace in which clients live and die, with their files
//! in a mount namespace that nobody else is in.

use std::ffi::CString;
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;

use nix::mount::{MsFlags, mount};
use nix::poll::{PollFd, PollFlags};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use vestibule::config::Config;
use vestibule::paths;
use vestibule::target::{HostKeys, TcpAddress, Transport};
use vestibule_sys::namespaces::{self, Kind};
use vestibule_sys::process::{self, Child};
use vestibule_sys::{exec, fds, pass, pty, signals};

use super::config::{Lead, Wanted};
use super::place::CONTROL;
use super::{client, keys, place};
use crate::address;
use crate::environment::DEFAULT_PATH;
use crate::parser::{Facts, Parser, Way};
use crate::refused::{OrRefuse, Refused};
use crate::relay::{self, libc_signal::SIGTERM};
use crate::users::User;

/// What is kept of what a client said.
const MAX_SAID: usize = 512;
/// Three for each forwarded connection of a client's.
const DESCRIPTORS: u64 = 4096;

/// What clients need.
pub(crate) struct Ready {
    files: Vec<(String, Vec<u8>)>,
    user: User,
    /// The tokens of sites, which their user could read, and which are none of theirs.
    hidden: Vec<PathBuf>,
}

/// Reads what clients for this target need. To be called as root.
pub(crate) fn ready(config: &Config, facts: &Facts, parser: &mut Parser) -> Result<Ready, Refused> {
    let Way::Ssh { over, key, host_keys: HostKeys::Pinned(known) } = &facts.way else {
        return Err(Refused::setup("no host key of the target is known yet"));
    };
    let user = super::user_of_host(parser, paths::USER_HOP)?;
    let (host, port) = match over {
        Transport::Tcp(TcpAddress::Fixed { host, port }) => (host.clone(), *port),
        Transport::Tcp(TcpAddress::Container { engine, container, port, published }) => {
            let of = address::Of { engine, container, port: *port, published: *published };
            address::of_container(config, &of, &facts.name, parser)?
        }
        _ => return Err(Refused::setup("forwards go to another machine by TCP only")),
    };
    let identities = keys::read(key, user.uid)?;
    let names: Vec<&str> = identities.iter().map(|(name, _)| name.as_str()).collect();
    let wanted = Wanted {
        target: &facts.name,
        user: &facts.login_user,
        way: &Lead::Address { host, port },
        identities: &names,
        agent: false,
        proven: false,
    };
    let mut files = vec![
        ("config".to_owned(), super::config::text(&wanted).map_err(Refused::setup)?.into_bytes()),
        ("known_hosts".to_owned(), super::config::known_hosts(&facts.name, known).into_bytes()),
    ];
    files.extend(identities);
    let hidden = config.site.values().filter_map(|site| site.token_file.clone()).collect();
    Ok(Ready { files, user, hidden })
}

impl Ready {
    /// Who clients are.
    pub(crate) fn user(&self) -> &User {
        &self.user
    }

    /// Moves this process to where clients find their files, on the bastion's own network.
    pub(crate) fn place(&self) -> Result<(), Refused> {
        place::make(&self.files, &self.user, false)?;
        place::hide(self.hidden.iter().map(PathBuf::as_path))
    }

    /// Leaves a child that starts clients as `requests` asks for them, until its other end is closed. This process's further
    /// children are that one's to see and to end.
    pub(crate) fn leave_starter(&self, requests: &OwnedFd) -> Result<(), Refused> {
        namespaces::leave_for_new(Kind::Pid).or_setup("a pid namespace")?;
        process::fork_child(|| {
            let served = prepare(&self.user, requests).and_then(|()| serve(requests));
            i32::from(served.is_err())
        })
        .or_setup("fork")?;
        Ok(())
    }

    /// The control socket of a client, for who is where clients are.
    pub(crate) fn control() -> String {
        format!("{}/{CONTROL}", paths::HOP_DIR)
    }
}

/// Becomes the user of the second hop, first process of a new pid namespace.
fn prepare(user: &User, requests: &OwnedFd) -> io::Result<()> {
    pty::new_session()?;
    fds::std_to_null()?;
    fds::close_others_in_child(requests.as_fd())?;
    // The same files, and a `/proc` that is nobody else's.
    namespaces::leave_for_new(Kind::Mnt)?;
    let harmless = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
    mount(Some("proc"), "/proc", Some("proc"), harmless, None::<&str>)?;
    setrlimit(Resource::RLIMIT_CORE, 0, 0)?;
    let (_, most) = getrlimit(Resource::RLIMIT_NOFILE)?;
    setrlimit(Resource::RLIMIT_NOFILE, most.min(DESCRIPTORS), most)?;
    // A client that has ended is gone at once, and what it started and left too.
    signals::forget_children();
    super::become_hop(user)
}

/// A client that runs.
struct Running {
    process: Child,
    said: File,
    last: Vec<u8>,
}

/// Stays until nobody can ask any more. The end of this process is the end of its clients.
fn serve(requests: &OwnedFd) -> io::Result<()> {
    let mut running: Option<Running> = None;
    let mut again = false;
    loop {
        let client = running.as_ref().map_or(requests.as_fd(), |client| client.process.as_fd());
        let said = running.as_ref().map_or(requests.as_fd(), |client| client.said.as_fd());
        let asked = [requests.as_fd(), client, said].map(|fd| PollFd::new(fd, PollFlags::POLLIN));
        let answers = relay::wait_all(asked.into())?;
        let ready = |n: usize| relay::is_in(&answers, n, PollFlags::POLLIN);
        if let Some(client) = &mut running {
            let ended = ready(1);
            if ready(2) || ended {
                client.hear();
            }
            if ended {
                let last = client.last_line();
                running = None;
                if again {
                    running = Some(start()?);
                    again = false;
                } else {
                    pass::send(requests.as_fd(), format!("{last} ").as_bytes(), None)?;
                }
                continue;
            }
        }
        if ready(0) {
            match (pass::receive(requests.as_fd())?, &running) {
                (None, Some(client)) => {
                    let _ = client.process.signal(SIGTERM);
                    return Ok(());
                }
                (None, None) => return Ok(()),
                (Some(_), None) => running = Some(start()?),
                (Some(_), Some(_)) => again = true,
            }
        }
    }
}

impl Running {
    /// Keeps the end of what it said.
    fn hear(&mut self) {
        let mut chunk = [0_u8; 4096];
        // Bounded, also for one that never stops to talk.
        for _ in 0..64 {
            match self.said.read(&mut chunk) {
                Ok(length @ 1..) => self.last.extend_from_slice(chunk.get(..length).unwrap_or_default()),
                _ => break,
            }
            self.last.drain(..self.last.len().saturating_sub(MAX_SAID));
        }
    }

    /// The last line of it.
    fn last_line(&self) -> String {
        let text = String::from_utf8_lossy(&self.last);
        text.lines().rfind(|line| !line.trim().is_empty()).unwrap_or_default().trim().to_owned()
    }
}

fn start() -> io::Result<Running> {
    let words = |all: &[&str]| all.iter().map(|word| CString::new(*word)).collect::<Result<Vec<_>, _>>();
    let config = format!("{}/config", paths::HOP_DIR);
    // What is said is for the log, so the reason alone.
    let args = words(&["ssh", "-F", &config, "-o", "LogLevel=ERROR", "-N", "target"])?;
    let env = words(&[&format!("PATH={DEFAULT_PATH}"), "HOME=/", "SHELL=/bin/sh"])?;
    let program = CString::new(paths::SSH)?;
    let (said, writer) = process::pipe()?;
    fds::set_nonblocking(said.as_fd(), true)?;
    let process = process::fork_child(|| {
        let prepared = fds::become_std(writer.as_fd(), 2)
            .and_then(|()| fds::close_on_exec_from(3))
            .and_then(|()| signals::reset_all());
        let e = match prepared {
            Ok(()) => exec::execute(&program, &args, &env),
            Err(e) => e,
        };
        client::not_executed(&e)
    })?;
    Ok(Running { process, said: File::from(said), last: Vec::new() })
}

/// Says that a client is wanted.
pub(crate) fn ask(requests: &OwnedFd) -> io::Result<()> {
    pass::send(requests.as_fd(), b"start", None)
}

/// Waits for nothing; what a client that has ended said last. `None` when there is nobody who could start another.
pub(crate) fn last_words(requests: &OwnedFd) -> Option<String> {
    let (words, _) = pass::receive(requests.as_fd()).ok()??;
    Some(String::from_utf8_lossy(&words).trim().to_owned())
}
