//! Whether a container that runs is ready. Each question is asked by a child that can be ended: what is inside may never
//! answer.

use std::ffi::OsStr;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use nix::fcntl::OFlag;
use vestibule::decide::Source;
use vestibule::messages::shown;
use vestibule::target::Ready;
use vestibule_sys::beneath::{self, Resolve};
use vestibule_sys::caps::{self, Cap, Caps};
use vestibule_sys::namespaces::{self, Kind};
use vestibule_sys::process::{self, Child, Ended};
use vestibule_sys::{fds, pass};

use super::bounded;
use super::waker::Going;
use crate::args::Session;
use crate::container::Proven;
use crate::engine::ending;
use crate::environment::Client;
use crate::relay::libc_signal::{SIGHUP, SIGKILL};
use crate::{wire, worker};

/// For one question of a port or a file.
const ANSWER_WITHIN: Duration = Duration::from_secs(3);
/// For one run of a program.
const RUN_WITHIN: Duration = Duration::from_secs(30);

impl Going<'_> {
    /// The time for one question: within the whole, but for the last one, which is asked in earnest too.
    fn question(&self, at_most: Duration) -> Duration {
        at_most.min(self.left()).max(Duration::from_secs(1))
    }
}

/// Asks once. Why it is not ready, for the log.
pub(super) fn ask(going: &Going<'_>, container: &Proven, ready: &Ready) -> Result<(), String> {
    match ready {
        Ready::Tcp(port) => tcp(going, container, *port),
        Ready::File(path) => file(going, container, path),
        Ready::Command(words) => command(going, words),
    }
}

/// Connects in the container's network, to its loopback addresses, and hangs up.
fn tcp(going: &Going<'_>, container: &Proven, port: u16) -> Result<(), String> {
    let (uid, gid) = (going.call.uid, going.call.gid);
    let answer = bounded(going.question(ANSWER_WITHIN), container.pidfd.as_fd(), || {
        let connects = |address: IpAddr| {
            TcpStream::connect_timeout(&SocketAddr::new(address, port), Duration::from_secs(1)).is_ok()
        };
        let entered = namespaces::enter(container.pidfd.as_fd(), container.kinds.only(Kind::Net))
            .and_then(|()| process::become_user(uid, gid, &[gid]))
            .and_then(|()| caps::drop_all());
        match entered {
            Ok(()) if connects(Ipv4Addr::LOCALHOST.into()) || connects(Ipv6Addr::LOCALHOST.into()) => 0,
            Ok(()) => 1,
            Err(_) => 2,
        }
    });
    match answer {
        Ok(0) => Ok(()),
        Ok(1) => Err(format!("no connection to port {port}")),
        Ok(_) => Err("can't enter its network".to_owned()),
        Err(e) => Err(format!("port {port}: {e}")),
    }
}

/// Looks for a file below the container's root, without opening it, and through no magic link.
fn file(going: &Going<'_>, container: &Proven, path: &str) -> Result<(), String> {
    let root = container.process.file("root", OFlag::O_PATH | OFlag::O_DIRECTORY);
    let root = root.map_err(|e| format!("its root: {e}"))?;
    let answer = bounded(going.question(ANSWER_WITHIN), root.as_fd(), || {
        let search = Cap::DacReadSearch.bit();
        let lowered = caps::set(Caps { effective: search, permitted: search, inheritable: 0 });
        let flags = OFlag::O_PATH.bits();
        let found =
            lowered.and_then(|()| beneath::open_with(root.as_fd(), Path::new(path), Resolve::InRoot, flags));
        i32::from(found.is_err())
    });
    match answer {
        Ok(0) => Ok(()),
        Ok(_) => Err(format!("no file '{}'", shown(path))),
        Err(e) => Err(format!("file '{}': {e}", shown(path))),
    }
}

/// Runs a program as a session of the login user would: confined as the container, with nothing to read and nobody who
/// reads.
fn command(going: &Going<'_>, words: &[String]) -> Result<(), String> {
    let call = going.call;
    let session = Session {
        id: call.session.to_owned(),
        target: call.target,
        account: call.account.cloned(),
        proof: None,
        source: Source::Target,
        pty: false,
        client: Client::default(),
        probe: Some(words.to_vec()),
    };
    let (ours, theirs) = pass::socket_pair().map_err(|e| format!("socketpair: {e}"))?;
    let worker = process::fork_child(|| {
        fds::close_in_child(ours.as_fd());
        fds::close_in_child(going.lock.0.as_fd());
        worker::run(&session, &theirs, call.uid, call.gid)
    })
    .map_err(|e| format!("fork: {e}"))?;
    drop(theirs);
    let end = Instant::now() + going.question(RUN_WITHIN);
    let (mut inside, mut refused): (Option<Child>, _) = (None, None);
    let left = || end.saturating_duration_since(Instant::now());
    let (mut by_engine, mut group) = (false, PathBuf::new());
    while !left().is_zero() {
        if !process::poll_readable(ours.as_fd(), left()).unwrap_or(false) {
            continue;
        }
        let Ok(Some((message, _))) = pass::receive(ours.as_fd()) else { break };
        let fields = wire::receive(&message[..]).unwrap_or_default();
        match fields.first().map(Vec::as_slice) {
            Some(b"started") => {
                let pid = fields.get(1).and_then(|f| f.as_slice().try_into().ok()).map(i32::from_ne_bytes);
                inside = pid.and_then(|pid| Child::of(pid).ok());
            }
            Some(b"refused") => {
                refused = fields.get(3).map(|cause| String::from_utf8_lossy(cause).into_owned());
            }
            Some(b"group") => group = fields.get(1).map(|f| OsStr::from_bytes(f).into()).unwrap_or_default(),
            Some(b"engine") => {
                by_engine = true;
                break; // nothing more comes before its end
            }
            _ => {}
        }
    }
    let program = shown(words.first().map(String::as_str).unwrap_or_default());
    let whom = if by_engine { Some(&worker) } else { inside.as_ref() };
    let ended = whom.and_then(|child| child.wait_at_most(left()).ok().flatten());
    if ended.is_none() {
        if let Some(child) = &inside {
            process::signal_session(child.pid(), SIGKILL);
            let _ = child.wait_at_most(ANSWER_WITHIN);
        }
        if by_engine {
            end_by_engine(&worker, ours.as_fd(), &group);
        }
        let _ = worker.signal(SIGKILL);
    }
    if !by_engine {
        let _ = worker.wait_at_most(ANSWER_WITHIN);
    }
    match (refused, ended) {
        (Some(cause), _) => Err(format!("'{program}': {}", shown(&cause))),
        (None, Some(Ended::Exited(0))) => Ok(()),
        (None, Some(Ended::Exited(status))) => Err(format!("'{program}' exited with {status}")),
        (None, Some(Ended::Signalled(signal))) => Err(format!("'{program}' died of signal {signal}")),
        (None, None) => Err(format!("'{program}' did not end in time")),
    }
}

/// Ends a program that an engine's exec runs: the worker says which process it is when it is told to leave.
fn end_by_engine(worker: &Child, socket: BorrowedFd<'_>, group: &Path) {
    let _ = worker.signal(SIGHUP);
    while process::poll_readable(socket, ANSWER_WITHIN).unwrap_or(false) {
        let Ok(Some((message, _))) = pass::receive(socket) else { return };
        let fields = wire::receive(&message[..]).unwrap_or_default();
        let [word, pid] = &fields[..] else { continue };
        if let (b"left", Ok(pid)) = (word.as_slice(), pid.as_slice().try_into()) {
            let _ = ending::end(group, i32::from_ne_bytes(pid), Duration::ZERO); // what can't be ended, can't
            return;
        }
    }
}
