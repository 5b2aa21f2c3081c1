//! A directory in the container for what a session is given by its client: the socket of its agent, the cookie of its X
//! display. It goes when the session goes.
//!
//! The [`Nest`] is made by the worker when it is in the container and is its user, with no more rights than that user
//! has there. What removes it when the session is over is a process of its own: it is in the container as the user, holds
//! the directories themselves, and so nobody walks a path that the container could bend.
//!
//! Every connection to the agent's socket is carried to the socket that sshd made by the monitor, which is on the bastion
//! and has the rights of the caller ([`crate::agent_relay`]).

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::time::Duration;

use nix::fcntl::{OFlag, openat};
use nix::sys::signal::SigSet;
use nix::sys::stat::{Mode, fstat, mkdirat, umask};
use nix::unistd::{UnlinkatFlags, fchdir, geteuid, unlinkat};
use vestibule_sys::beneath::{self, Resolve};
use vestibule_sys::{fds, process, pty};

/// Where the directory is made, the first that will do; the user's home after these. `/tmp` may be read-only.
const PLACES: [&str; 3] = ["/tmp", "/var/tmp", "/dev/shm"];
/// The name in it of the agent's socket.
pub(crate) const AGENT: &str = "agent";
/// And of the file with the display's cookie.
pub(crate) const AUTHORITY: &str = "xauthority";
/// Bytes that a socket's path has room for, with its NUL.
const MAX_PATH: usize = 108;

/// A directory of mode 0700 in the container. It and what is in it go when this is dropped.
pub(crate) struct Nest {
    /// The directory above it.
    above: OwnedFd,
    name: OsString,
    directory: OwnedFd,
    path: Vec<u8>,
    kept: bool,
}

impl Nest {
    /// Makes it, named by the session. To be called in the container, as the user.
    ///
    /// # Errors
    /// Why the last place would not do.
    pub(crate) fn make(session: &str, home: &[u8]) -> io::Result<Self> {
        let places = PLACES.iter().map(|p| p.as_bytes()).chain([home]);
        let mut why = io::ErrorKind::NotFound.into();
        for place in places {
            match Self::make_in(place, session) {
                Ok(made) => return Ok(made),
                Err(e) => why = e,
            }
        }
        Err(why)
    }

    fn make_in(place: &[u8], session: &str) -> io::Result<Self> {
        let root = File::open("/")?;
        let flags = (OFlag::O_PATH | OFlag::O_DIRECTORY).bits();
        let place = Path::new(OsStr::from_bytes(place));
        let above = beneath::open_with(root.as_fd(), place, Resolve::InRoot, flags)?;
        if !keeps_names(fstat(&above)?.st_mode) {
            return Err(io::ErrorKind::PermissionDenied.into());
        }
        let name = OsString::from(format!("ssh-{session}"));
        mkdirat(&above, name.as_os_str(), Mode::S_IRWXU)?;
        let mut nest =
            Nest { directory: fds::duplicate(above.as_fd())?, above, name, path: Vec::new(), kept: false };
        let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        nest.directory = openat(&nest.above, nest.name.as_os_str(), flags, Mode::empty())?;
        let made = fstat(&nest.directory)?;
        if made.st_uid != geteuid().as_raw() || made.st_mode & 0o777 != 0o700 {
            return Err(io::ErrorKind::PermissionDenied.into());
        }
        nest.path = [place.as_os_str().as_bytes(), nest.name.as_bytes()].join(&b'/');
        // unix(7): a longer one can't be connected to.
        if nest.path_of(AGENT).len() >= MAX_PATH {
            return Err(io::Error::from_raw_os_error(nix::libc::ENAMETOOLONG));
        }
        Ok(nest)
    }

    /// The path of what is called `name` in it.
    pub(crate) fn path_of(&self, name: &str) -> Vec<u8> {
        [self.path.as_slice(), name.as_bytes()].join(&b'/')
    }

    /// Listens at the agent's socket. Changes the working directory.
    ///
    /// # Errors
    /// As bind(2).
    pub(crate) fn listen(&self) -> io::Result<UnixListener> {
        // By a path of one part, below the directory itself: bind(2) takes no descriptor.
        fchdir(&self.directory)?;
        let before = umask(Mode::S_IRWXG | Mode::S_IRWXO);
        let listener = UnixListener::bind(AGENT);
        umask(before);
        let listener = listener?;
        listener.set_nonblocking(true)?;
        Ok(listener)
    }

    /// Writes a file that is its user's alone.
    ///
    /// # Errors
    /// As open(2) and write(2).
    pub(crate) fn write(&self, name: &str, bytes: &[u8]) -> io::Result<()> {
        let flags = OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        let file = openat(&self.directory, name, flags, Mode::S_IRUSR | Mode::S_IWUSR)?;
        File::from(file).write_all(bytes)
    }

    /// Starts the process that removes the nest once the other end of the returned socket is closed. It is a child of
    /// this process's parent.
    ///
    /// # Errors
    /// As clone(2) and socketpair(2); the nest is gone then.
    pub(crate) fn keep(mut self) -> io::Result<OwnedFd> {
        let (ours, theirs) = UnixStream::pair()?;
        process::fork_sibling(|| self.watch(&theirs))?;
        self.kept = true;
        Ok(ours.into())
    }

    /// What that process does. It holds nothing but the two directories and its end of the socket, and no signal that
    /// can be held off ends it before its work is done.
    fn watch(&self, session: &UnixStream) -> i32 {
        let _ = SigSet::all().thread_block();
        let keep = [session.as_fd(), self.above.as_fd(), self.directory.as_fd()];
        // Standard descriptors too: sshd waits until nobody has them any more.
        if fds::close_all_in_child_but(keep).is_err() || pty::new_session().is_err() {
            return 1;
        }
        while !process::poll_readable(session.as_fd(), Duration::from_secs(3600)).unwrap_or(true) {}
        self.remove();
        0
    }

    fn remove(&self) {
        // xauth(1) of the user's own may have left its lock.
        for name in [AGENT, AUTHORITY, "xauthority-c", "xauthority-l", "xauthority-n"] {
            let _ = unlinkat(&self.directory, name, UnlinkatFlags::NoRemoveDir);
        }
        // Not what stands behind a link in its place: unlinkat(2) with AT_REMOVEDIR follows none.
        let _ = unlinkat(&self.above, self.name.as_os_str(), UnlinkatFlags::RemoveDir);
    }
}

impl Drop for Nest {
    fn drop(&mut self) {
        if !self.kept {
            self.remove();
        }
    }
}

/// Whether a name in a directory of this mode stays with who made it.
fn keeps_names(mode: u32) -> bool {
    let sticky = nix::libc::S_ISVTX;
    mode & 0o022 == 0 || mode & sticky != 0
}
