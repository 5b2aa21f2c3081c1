//! Namespaces of other processes: namespaces(7), pidfd_open(2), setns(2).

use std::fmt;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::os::unix::fs::MetadataExt;

use crate::procfs::ProcDir;
use crate::{cvt, cvt_int};

/// A kind of namespace, by its file below `/proc/PID/ns` and its flag for setns(2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Control groups.
    Cgroup,
    /// System V IPC and POSIX message queues.
    Ipc,
    /// Mounts.
    Mnt,
    /// The network.
    Net,
    /// Processes; children enter, the caller does not.
    Pid,
    /// Monotonic and boot clocks; children enter, the caller does not.
    Time,
    /// Users and capabilities.
    User,
    /// Host name and domain name.
    Uts,
}

impl Kind {
    /// Every kind.
    pub const ALL: [Kind; 8] =
        [Kind::Cgroup, Kind::Ipc, Kind::Mnt, Kind::Net, Kind::Pid, Kind::Time, Kind::User, Kind::Uts];

    /// Its file's name below `ns/`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Kind::Cgroup => "cgroup",
            Kind::Ipc => "ipc",
            Kind::Mnt => "mnt",
            Kind::Net => "net",
            Kind::Pid => "pid",
            Kind::Time => "time",
            Kind::User => "user",
            Kind::Uts => "uts",
        }
    }

    fn flag(self) -> i32 {
        match self {
            Kind::Cgroup => libc::CLONE_NEWCGROUP,
            Kind::Ipc => libc::CLONE_NEWIPC,
            Kind::Mnt => libc::CLONE_NEWNS,
            Kind::Net => libc::CLONE_NEWNET,
            Kind::Pid => libc::CLONE_NEWPID,
            Kind::Time => libc::CLONE_NEWTIME,
            Kind::User => libc::CLONE_NEWUSER,
            Kind::Uts => libc::CLONE_NEWUTS,
        }
    }
}

/// A set of kinds, as setns(2) takes it.
#[derive(Clone, Copy, PartialEq, Eq, Default)]
pub struct Kinds(i32);

impl Kinds {
    /// Whether `kind` is among them.
    #[must_use]
    pub fn has(self, kind: Kind) -> bool {
        self.0 & kind.flag() != 0
    }

    /// These without `kind`.
    #[must_use]
    pub fn without(self, kind: Kind) -> Kinds {
        Kinds(self.0 & !kind.flag())
    }

    /// Only `kind`, if it is among them.
    #[must_use]
    pub fn only(self, kind: Kind) -> Kinds {
        Kinds(self.0 & kind.flag())
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }
}

impl fmt::Debug for Kinds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(Kind::ALL.iter().filter(|k| self.has(**k)).map(|k| k.name())).finish()
    }
}

/// Takes hold of a process: pidfd_open(2). While the descriptor is open, a check on it can't be fooled by another
/// process that got the same number later.
///
/// # Errors
/// `ESRCH` when there is no such process.
pub fn pidfd_open(pid: i32) -> io::Result<OwnedFd> {
    // SAFETY: integer arguments; the returned descriptor is new and ours.
    let fd = cvt(unsafe { libc::syscall(libc::SYS_pidfd_open, pid, 0) })?;
    let fd = i32::try_from(fd).map_err(io::Error::other)?;
    // SAFETY: as above.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// The kinds in which the two processes are in different namespaces. A kind that this kernel does not have is in
/// neither and so not among them.
///
/// # Errors
/// As stat(2); a process that has ended gives `ENOENT` or `ESRCH`.
pub fn differing(one: &ProcDir, other: &ProcDir) -> io::Result<Kinds> {
    let mut kinds = Kinds::default();
    for kind in Kind::ALL {
        let identity = |dir: &ProcDir| match dir.metadata(&format!("ns/{}", kind.name())) {
            Ok(m) => Ok(Some((m.dev(), m.ino()))),
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(e) => Err(e),
        };
        if identity(one)? != identity(other)? {
            kinds.0 |= kind.flag();
        }
    }
    Ok(kinds)
}

/// Enters namespaces of the process behind `pidfd`: setns(2). Pid and time namespaces count for children only; a user
/// namespace gives its capabilities and takes those of the one before; a mount namespace sets root and working directory.
///
/// # Errors
/// As setns(2).
pub fn enter(pidfd: BorrowedFd<'_>, kinds: Kinds) -> io::Result<()> {
    if kinds.is_empty() {
        return Ok(());
    }
    // SAFETY: integer arguments; the descriptor is borrowed and open.
    cvt_int(unsafe { libc::setns(pidfd.as_raw_fd(), kinds.0) })?;
    Ok(())
}

/// `NSFS_MAGIC` of linux/magic.h.
const NSFS_MAGIC: libc::c_long = 0x6e73_6673;

/// The network namespace of the process behind `process`, held open.
///
/// # Errors
/// As openat(2); `ESRCH` when the process has ended.
pub fn network_of(process: &ProcDir) -> io::Result<OwnedFd> {
    process.file("ns/net", nix::fcntl::OFlag::O_RDONLY)
}

/// The mount namespace of the process behind `process`, held open.
///
/// # Errors
/// As openat(2); `ESRCH` when the process has ended.
pub fn mounts_of(process: &ProcDir) -> io::Result<OwnedFd> {
    process.file("ns/mnt", nix::fcntl::OFlag::O_RDONLY)
}

/// Whether `fd` is a namespace of the kind, and another one than this process is in.
///
/// # Errors
/// As fstat(2) and ioctl_ns(2).
pub fn is_another(fd: BorrowedFd<'_>, kind: Kind) -> io::Result<bool> {
    /// `NS_GET_NSTYPE` of linux/nsfs.h.
    const NS_GET_NSTYPE: libc::c_ulong = 0xb703;
    let file = std::fs::File::from(fd.try_clone_to_owned()?);
    if nix::sys::statfs::fstatfs(&file)?.filesystem_type().0 != NSFS_MAGIC {
        return Ok(false);
    }
    // SAFETY: the request takes no argument and only answers for namespaces, of which the descriptor is one.
    let found = cvt_int(unsafe { libc::ioctl(fd.as_raw_fd(), NS_GET_NSTYPE) })?;
    let (theirs, own) = (file.metadata()?, ProcDir::own()?.metadata(&format!("ns/{}", kind.name()))?);
    Ok(found == kind.flag() && (theirs.dev(), theirs.ino()) != (own.dev(), own.ino()))
}

/// Moves this thread into the namespace behind `fd`, which must be of the kind: setns(2).
///
/// # Errors
/// As setns(2).
pub fn move_into(fd: BorrowedFd<'_>, kind: Kind) -> io::Result<()> {
    // SAFETY: integer arguments; the descriptor is borrowed and open.
    cvt_int(unsafe { libc::setns(fd.as_raw_fd(), kind.flag()) })?;
    Ok(())
}

/// Moves this thread into a new namespace of the kind: unshare(2).
///
/// # Errors
/// As unshare(2).
pub fn leave_for_new(kind: Kind) -> io::Result<()> {
    // SAFETY: an integer argument only.
    cvt_int(unsafe { libc::unshare(kind.flag()) })?;
    Ok(())
}

/// Makes `root` the root and working directory: fchdir(2) and chroot(2).
///
/// # Errors
/// As chroot(2).
pub fn chroot_into(root: BorrowedFd<'_>) -> io::Result<()> {
    nix::unistd::fchdir(root)?;
    nix::unistd::chroot(".")?;
    Ok(())
}
