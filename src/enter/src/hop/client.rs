//! The client program: `ssh`, as a user that is nobody else, with nothing of root's and nothing of other sessions'.

use std::ffi::CString;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use nix::fcntl::OFlag;
use nix::mount::{MsFlags, mount};
use nix::sys::resource::{Resource, setrlimit};
use vestibule::paths;
use vestibule_sys::namespaces::{self, Kind};
use vestibule_sys::process::{self, Child, Ended};
use vestibule_sys::procfs::ProcDir;
use vestibule_sys::{caps, exec, fds, signals};

use super::place::LOG;
use crate::environment::DEFAULT_PATH;
use crate::refused::{OrRefuse, Refused};
use crate::relay::libc_signal::SIGKILL;
use crate::users::User;

/// A client that runs, and what it says.
pub(super) struct Client {
    pub(super) process: Child,
    /// Its log.
    pub(super) log: OwnedFd,
    /// Its standard error: that of what leads to the server, and a server's banner.
    pub(super) errors: OwnedFd,
    /// Closed with this process, which the client does not survive.
    _alive: OwnedFd,
}

/// Starts it. To be called as root.
pub(super) fn start(user: &User, log: OwnedFd) -> Result<Client, Refused> {
    let words = |all: &[&str]| all.iter().map(|word| CString::new(*word)).collect::<Result<Vec<_>, _>>();
    let (config, log_file) = (format!("{}/config", paths::HOP_DIR), format!("{}/{LOG}", paths::HOP_DIR));
    let args = words(&["ssh", "-F", &config, "-E", &log_file, "-N", "target"]).map_err(Refused::setup)?;
    let path = format!("PATH={DEFAULT_PATH}");
    let env = words(&[&path, "HOME=/", "SHELL=/bin/sh"]).map_err(Refused::setup)?;
    let program = CString::new(paths::SSH).map_err(Refused::setup)?;
    let (errors, said) = process::pipe().or_setup("pipe")?;
    let (parents, alive) = process::pipe().or_setup("pipe")?;
    fds::set_nonblocking(errors.as_fd(), true).or_setup("fcntl")?;
    // What leads there may have been started in a pid namespace of its own.
    let own = ProcDir::own().and_then(|own| own.file("ns/pid", OFlag::O_RDONLY));
    let back = own.and_then(|own| namespaces::move_into(own.as_fd(), Kind::Pid));
    back.or_setup("the pid namespace")?;
    // Its processes, and `connect`'s, are in a pid namespace of their own: they can't see those of other sessions, which
    // have the same user, and the end of the first ends all.
    namespaces::leave_for_new(Kind::Pid).or_setup("a pid namespace")?;
    let process = process::fork_child(|| {
        fds::close_in_child(alive.as_fd());
        let client = || match signals::reset_all() {
            Ok(()) => not_executed(&exec::execute(&program, &args, &env)),
            Err(e) => not_executed(&e),
        };
        prepare(user, &said, &parents).and_then(|()| first(client)).unwrap_or_else(|e| not_executed(&e))
    })
    .or_setup("fork")?;
    Ok(Client { process, log, errors, _alive: alive })
}

/// Says so where the client would have said what is wrong; the exit status.
pub(super) fn not_executed(e: &io::Error) -> i32 {
    use io::Write;
    let _ = writeln!(io::stderr(), "'{}' can't be executed: {e}", paths::SSH);
    Client::NOT_EXECUTED
}

/// What the namespace's first process does: it stays with `client`, and ends as that ends; the exit status.
///
/// It is ours, and not the client itself, for a client that a server has taken over: that could wish to outlive its parent,
/// and could have ended it, being of the same user and process group. This process it can't trace, signal or talk to.
fn first(client: impl FnOnce() -> i32) -> io::Result<i32> {
    Ok(match process::fork_child(client)?.wait()? {
        Ended::Exited(status) => status,
        Ended::Signalled(signal) => 128 + signal,
    })
}

fn prepare(user: &User, said: &OwnedFd, parent: &OwnedFd) -> io::Result<()> {
    let null = fds::null()?;
    for (number, fd) in [(0, null.as_fd()), (1, null.as_fd()), (2, said.as_fd())] {
        fds::become_std(fd, number)?;
    }
    let harmless = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
    namespaces::leave_for_new(Kind::Mnt)?; // `/proc` stays what it is for the parent
    mount(Some("proc"), "/proc", Some("proc"), harmless, None::<&str>)?;
    become_hop(user)?;
    setrlimit(Resource::RLIMIT_CORE, 0, 0)?;
    process::signal_on_parent_death(SIGKILL, 0)?;
    // A parent that was gone before that is seen by the pipe, of which it had the only other end.
    if process::poll_readable(parent.as_fd(), Duration::ZERO)? {
        return Err(io::ErrorKind::BrokenPipe.into());
    }
    fds::close_others_in_child(parent.as_fd())?;
    fds::close_on_exec_from(3)
}

/// Becomes the user of the second hop for good.
pub(crate) fn become_hop(user: &User) -> io::Result<()> {
    caps::no_new_privs()?;
    process::become_user(user.uid, user.gid, &[user.gid])?;
    caps::drop_all()?;
    process::set_dumpable(false)
}

impl Client {
    /// Why it could not even be executed, by its exit status.
    pub(super) const NOT_EXECUTED: i32 = 127;
}
