//! Ending what an engine's exec runs, when its client has gone: the engine's API has no call for that.
//!
//! The engine says which process it is, and its word is taken only where whoever serves its socket is root on this host.
//! Then too no process is sent a signal but those that the kernel lists in the container's control group, and of these
//! only the ones of the exec's own session (setsid(2), which runtimes call for an exec): what made itself a session of its
//! own stays, as with any session.

use std::io;
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use nix::sys::socket::{getsockopt, sockopt::PeerCredentials};
use vestibule::config::Config;
use vestibule_sys::{cgroup, namespaces, process};

use crate::container::Proven;
use crate::parser::Parser;
use crate::relay::libc_signal::{SIGHUP, SIGKILL};

/// Between two looks at what is still there.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// An engine's container as far as its processes can be known and ended: its id, and the directory of its control group.
pub(crate) struct Hold {
    pub(crate) id: String,
    pub(crate) group: PathBuf,
}

impl Hold {
    /// Takes hold of a container. To be called as root. Why there is none, for the log.
    pub(crate) fn of(
        config: &Config,
        engine: &str,
        container: &str,
        socket: &UnixStream,
        parser: &mut Parser,
    ) -> Result<Self, String> {
        let peer = getsockopt(socket, PeerCredentials).map_err(|e| format!("SO_PEERCRED: {e}"))?;
        if peer.uid() != 0 {
            return Err(format!("its engine runs as uid {}, not as root", peer.uid()));
        }
        let found = super::inspect(config, engine, container, container, parser).map_err(|r| r.cause)?;
        if found.pid <= 1 {
            return Err("the engine says that the container is not running".to_owned());
        }
        let first = Proven::open(found.pid, Some(&found.id), container).map_err(|r| r.cause)?;
        let group = first.group(&found.id).ok_or("its control group is not mounted here")?;
        Ok(Hold { id: found.id, group })
    }
}

/// Ends the session of process `leader`, the exec's first, in a container's control group: SIGHUP now, SIGKILL after
/// `grace`. To be called with `CAP_KILL`.
///
/// # Errors
/// When the process lives, but elsewhere; as read(2) of the group.
pub(crate) fn end(group: &Path, leader: i32, grace: Duration) -> io::Result<()> {
    if leader <= 1 {
        return Err(io::Error::other("no container's"));
    }
    let session = |pid: i32| process::session_of(pid) == Some(leader);
    // Not all runtimes make a session of an exec; then it is the one process.
    let alone = process::session_of(leader).is_some_and(|of| of != leader);
    let ours = |pid: i32| if alone { pid == leader } else { session(pid) };
    let members = || -> io::Result<Vec<i32>> {
        Ok(cgroup::processes(group)?.into_iter().filter(|pid| ours(*pid)).collect())
    };
    let signal = |signal: i32| -> io::Result<bool> {
        let found = members()?;
        for pid in &found {
            let Ok(held) = namespaces::pidfd_open(*pid) else { continue };
            // The number may be another process's by now: only one that is held is asked where it is.
            if members()?.contains(pid) {
                let _ = process::signal_pidfd(held.as_fd(), signal); // it may have ended by itself
            }
        }
        Ok(!found.is_empty())
    };
    if !signal(SIGHUP)? {
        let lives = process::session_of(leader).is_some();
        return if lives { Err(io::Error::other("not in the container's control group")) } else { Ok(()) };
    }
    let end = Instant::now() + grace;
    while Instant::now() < end && !members()?.is_empty() {
        std::thread::sleep(LOOK_EVERY);
    }
    // More than once: what is being ended may be forking.
    for _ in 0..10 {
        if !signal(SIGKILL)? {
            break;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    Ok(())
}
