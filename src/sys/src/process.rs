//! Processes: fork, wait with a deadline, and what others may do to this one.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::time::{Duration, Instant};

use crate::{cvt, cvt_int};

/// A child of this process, held by a pidfd: its number can't be used for another one while we hold it.
#[derive(Debug)]
pub struct Child {
    pid: i32,
    pidfd: OwnedFd,
}

/// How a child ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// It exited with this status.
    Exited(i32),
    /// This signal ended it.
    Signalled(i32),
}

/// Forks and runs `body` in the child, which exits with what it returns. Nothing that `body` leaves behind runs:
/// no destructors of the parent's values, no exit handlers.
///
/// # Errors
/// As fork(2); `EINVAL` when this process has more than one thread.
pub fn fork_child(body: impl FnOnce() -> i32) -> io::Result<Child> {
    if !single_threaded() {
        return Err(io::Error::from_raw_os_error(libc::EINVAL));
    }
    Child::of(raw_fork(0, body)?)
}

#[cfg(test)]
pub(crate) fn fork_for_test(body: impl FnOnce() -> i32) -> Child {
    Child::of(raw_fork(0, body).unwrap()).unwrap()
}

/// As [`fork_child`], but the child's parent is this process's own parent (`CLONE_PARENT`), which will wait for it.
/// Returns the new process's number as seen from here. For a process that [`fork_child`] made: it asks no `/proc`, which
/// by then may be a container's.
///
/// # Errors
/// As clone(2).
pub fn fork_sibling(body: impl FnOnce() -> i32) -> io::Result<i32> {
    raw_fork(libc::CLONE_PARENT, body)
}

/// As [`fork_sibling`], and the child is born in a control group of version 2: `CLONE_INTO_CGROUP` of clone(2), Linux 5.7.
///
/// # Errors
/// As clone3(2); `EBUSY` for a group that has children with controllers, `ENODEV` for one that was removed.
pub fn fork_sibling_into(group: BorrowedFd<'_>, body: impl FnOnce() -> i32) -> io::Result<i32> {
    const CLONE_INTO_CGROUP: u64 = 0x2_0000_0000;
    // SAFETY: clone_args is a plain structure of integers; all zero asks for a fork(2).
    let mut args: libc::clone_args = unsafe { std::mem::zeroed() };
    // The exit signal is that of this process: clone(2) wants none with CLONE_PARENT.
    args.flags = CLONE_INTO_CGROUP | u64::from(libc::CLONE_PARENT.cast_unsigned());
    args.cgroup = u64::from(group.as_raw_fd().cast_unsigned());
    // SAFETY: no new stack and no shared memory, so this is fork(2) with another parent and group; one thread, as in
    // `raw_fork`.
    let pid = cvt(unsafe { libc::syscall(libc::SYS_clone3, &raw const args, size_of_val(&args)) })?;
    if pid == 0 { run_and_exit(body) } else { i32::try_from(pid).map_err(io::Error::other) }
}

/// What a forked child does.
fn run_and_exit(body: impl FnOnce() -> i32) -> ! {
    let status = std::panic::catch_unwind(std::panic::AssertUnwindSafe(body)).unwrap_or(101);
    exit_now(status)
}

fn raw_fork(flags: libc::c_int, body: impl FnOnce() -> i32) -> io::Result<i32> {
    let flags = libc::c_long::from(flags | libc::SIGCHLD);
    let flags = flags | libc::c_long::from(libc::CLONE_CHILD_SETTID);
    let mut own_number: libc::pid_t = 0;
    let slot = &raw mut own_number;
    // SAFETY: no new stack and no shared memory, so this is fork(2) with another parent at most; the kernel writes the
    // slot in the child only. The callers see to it that there is a single thread, so that no lock is held by a thread
    // that the child lacks.
    #[cfg(target_arch = "x86_64")]
    let pid = cvt(unsafe { libc::syscall(libc::SYS_clone, flags, 0_u64, 0_u64, slot, 0_u64) })?;
    // SAFETY: as above; here the last two arguments stand the other way round (clone(2)).
    #[cfg(target_arch = "aarch64")]
    let pid = cvt(unsafe { libc::syscall(libc::SYS_clone, flags, 0_u64, 0_u64, 0_u64, slot) })?;
    if pid == 0 {
        // A seccomp filter of a container can answer 0 without making a child. Only the kernel can have written this.
        // SAFETY: the slot is ours and lives.
        if unsafe { slot.read_volatile() } == 0 {
            exit_now(101);
        }
        run_and_exit(body);
    }
    i32::try_from(pid).map_err(io::Error::other)
}

/// Whether this process has one thread: the link count of `/proc/self/task`, proc_pid_task(5).
fn single_threaded() -> bool {
    use std::os::unix::fs::MetadataExt;
    std::fs::metadata("/proc/self/task").is_ok_and(|m| m.nlink() == 3)
}

impl Child {
    /// Takes hold of a child by its number.
    ///
    /// # Errors
    /// As pidfd_open(2).
    pub fn of(pid: i32) -> io::Result<Self> {
        Ok(Child { pid, pidfd: crate::namespaces::pidfd_open(pid)? })
    }

    /// Its number here.
    #[must_use]
    pub fn pid(&self) -> i32 {
        self.pid
    }

    /// Waits until it has ended, and reaps it.
    ///
    /// # Errors
    /// As waitid(2).
    pub fn wait(&self) -> io::Result<Ended> {
        loop {
            if let Some(ended) = self.reap(0)? {
                return Ok(ended);
            }
        }
    }

    /// Whether it has ended; it is not reaped, so that its number stays its own.
    ///
    /// # Errors
    /// `ECHILD` when it is somebody else's child.
    pub fn has_ended(&self) -> io::Result<bool> {
        // SAFETY: siginfo_t is plain data; the kernel fills it in.
        let mut info: libc::siginfo_t = unsafe { std::mem::zeroed() };
        let id = self.pidfd.as_raw_fd().cast_unsigned();
        // SAFETY: info lives through the call and the descriptor is ours.
        cvt_int(unsafe {
            libc::waitid(libc::P_PIDFD, id, &raw mut info, libc::WEXITED | libc::WNOHANG | libc::WNOWAIT)
        })?;
        // SAFETY: waitid has filled in the fields of a SIGCHLD, or left zeroes.
        Ok(unsafe { info.si_pid() } != 0)
    }

    /// Reaps it if it has ended.
    ///
    /// # Errors
    /// As waitid(2).
    pub fn try_wait(&self) -> io::Result<Option<Ended>> {
        self.reap(libc::WNOHANG)
    }

    /// Waits at most `limit`; `None` when it lives on.
    ///
    /// # Errors
    /// As poll(2) and waitid(2).
    pub fn wait_at_most(&self, limit: Duration) -> io::Result<Option<Ended>> {
        let end = Instant::now() + limit;
        loop {
            if let Some(ended) = self.try_wait()? {
                return Ok(Some(ended));
            }
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(None);
            }
            poll_readable(self.pidfd.as_fd(), left)?;
        }
    }

    fn reap(&self, flags: libc::c_int) -> io::Result<Option<Ended>> {
        // SAFETY: siginfo_t is plain data; the kernel fills it in.
        let mut info: libc::siginfo_t = unsafe { std::mem::zeroed() };
        let id = self.pidfd.as_raw_fd().cast_unsigned();
        // SAFETY: info lives through the call and the descriptor is ours.
        let done = cvt_int(unsafe { libc::waitid(libc::P_PIDFD, id, &raw mut info, libc::WEXITED | flags) });
        match done {
            Err(e) if e.kind() == io::ErrorKind::Interrupted => return Ok(None),
            other => other?,
        };
        // SAFETY: waitid has filled in the fields of a SIGCHLD, or left zeroes.
        let (pid, status) = unsafe { (info.si_pid(), info.si_status()) };
        if pid == 0 {
            return Ok(None);
        }
        Ok(Some(if info.si_code == libc::CLD_EXITED {
            Ended::Exited(status)
        } else {
            Ended::Signalled(status)
        }))
    }

    /// Sends it a signal.
    ///
    /// # Errors
    /// As pidfd_send_signal(2); `ESRCH` when it has ended.
    pub fn signal(&self, signal: i32) -> io::Result<()> {
        signal_pidfd(self.pidfd.as_fd(), signal)
    }
}

impl AsFd for Child {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.pidfd.as_fd()
    }
}

/// Sends a signal to the process behind a pidfd.
///
/// # Errors
/// As pidfd_send_signal(2).
pub fn signal_pidfd(pidfd: BorrowedFd<'_>, signal: i32) -> io::Result<()> {
    // SAFETY: no siginfo is passed; the descriptor is borrowed and open.
    cvt(unsafe {
        libc::syscall(
            libc::SYS_pidfd_send_signal,
            pidfd.as_raw_fd(),
            signal,
            std::ptr::null::<libc::siginfo_t>(),
            0,
        )
    })?;
    Ok(())
}

/// Waits until `fd` can be read or `limit` has passed; says whether it can.
///
/// # Errors
/// As poll(2), without `EINTR`.
pub fn poll_readable(fd: BorrowedFd<'_>, limit: Duration) -> io::Result<bool> {
    use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
    let limit = PollTimeout::try_from(limit).unwrap_or(PollTimeout::MAX);
    match poll(&mut [PollFd::new(fd, PollFlags::POLLIN)], limit) {
        Ok(n) => Ok(n > 0),
        Err(nix::errno::Errno::EINTR) => Ok(false),
        Err(e) => Err(e.into()),
    }
}

/// Whether others of the same uid may trace this process, read its `/proc` files and have its core: prctl(2)
/// `PR_SET_DUMPABLE`. An execve sets it back.
///
/// # Errors
/// As prctl(2).
pub fn set_dumpable(dumpable: bool) -> io::Result<()> {
    // SAFETY: integer arguments only.
    cvt_int(unsafe { libc::prctl(libc::PR_SET_DUMPABLE, libc::c_ulong::from(dumpable), 0, 0, 0) })?;
    Ok(())
}

/// Has the kernel send `signal` when the parent ends (`PR_SET_PDEATHSIG`), and says whether the parent, known to be
/// `parent`, is still there. A change of uid and the execve of a privileged file forget it.
///
/// # Errors
/// As prctl(2).
pub fn signal_on_parent_death(signal: i32, parent: i32) -> io::Result<bool> {
    // SAFETY: integer arguments only.
    cvt_int(unsafe {
        libc::prctl(libc::PR_SET_PDEATHSIG, libc::c_ulong::from(signal.cast_unsigned()), 0, 0, 0)
    })?;
    Ok(nix::unistd::getppid().as_raw() == parent)
}

/// The parent's number.
#[must_use]
pub fn parent_pid() -> i32 {
    nix::unistd::getppid().as_raw()
}

/// Changes real, effective and saved uid and gid and the supplementary groups for good.
///
/// # Errors
/// `EPERM` without the privilege, `EINVAL` for ids that the user namespace does not map.
pub fn become_user(uid: u32, gid: u32, groups: &[u32]) -> io::Result<()> {
    set_groups(groups)?;
    become_ids(uid, gid)
}

/// Changes the supplementary groups of this thread.
///
/// # Errors
/// As setgroups(2).
pub fn set_groups(groups: &[u32]) -> io::Result<()> {
    // SAFETY: groups is a slice of gid_t (u32) and its length is given; the raw call changes this thread, and by contract
    // there is no other.
    cvt(unsafe { libc::syscall(libc::SYS_setgroups, groups.len(), groups.as_ptr()) })?;
    Ok(())
}

/// As [`become_user`], leaving the supplementary groups: in a user namespace that denies setgroups(2).
///
/// # Errors
/// As [`become_user`].
pub fn become_ids(uid: u32, gid: u32) -> io::Result<()> {
    // SAFETY: integer arguments; the raw calls change this thread, and by contract there is no other.
    cvt(unsafe { libc::syscall(libc::SYS_setresgid, gid, gid, gid) })?;
    // SAFETY: as above.
    cvt(unsafe { libc::syscall(libc::SYS_setresuid, uid, uid, uid) })?;
    let (uids, gids) = (nix::unistd::getresuid()?, nix::unistd::getresgid()?);
    let all = [uids.real, uids.effective, uids.saved].iter().all(|u| u.as_raw() == uid)
        && [gids.real, gids.effective, gids.saved].iter().all(|g| g.as_raw() == gid);
    if all { Ok(()) } else { Err(io::Error::from_raw_os_error(libc::EPERM)) }
}

/// Sets the execution domain: personality(2).
///
/// # Errors
/// As personality(2).
pub fn set_personality(persona: u64) -> io::Result<()> {
    // SAFETY: an integer argument only.
    cvt_int(unsafe { libc::personality(persona) })?;
    Ok(())
}

/// A pipe whose ends are close-on-exec: (reader, writer).
///
/// # Errors
/// As pipe2(2).
pub fn pipe() -> io::Result<(OwnedFd, OwnedFd)> {
    let mut ends = [-1; 2];
    // SAFETY: ends has room for two descriptors.
    cvt_int(unsafe { libc::pipe2(ends.as_mut_ptr(), libc::O_CLOEXEC) })?;
    let [reader, writer] = ends;
    // SAFETY: the kernel just made these for us.
    Ok(unsafe { (OwnedFd::from_raw_fd(reader), OwnedFd::from_raw_fd(writer)) })
}

/// Writes to a closed pipe give `EPIPE` and no signal: for a process that relays. [`crate::signals::reset_all`] undoes it.
pub fn ignore_sigpipe() {
    // SAFETY: SIG_IGN runs no code of ours.
    unsafe { libc::signal(libc::SIGPIPE, libc::SIG_IGN) };
}

/// The processes of session `sid` (setsid(2)).
///
/// Where `/proc` hides other users' processes (`hidepid`, proc(5)) every number that a process can have is tried, which
/// takes some tenths of a second: getsid(2) hides nothing.
#[must_use]
pub fn of_session(sid: i32) -> Vec<i32> {
    let is_of = |pid: &i32| session_of(*pid) == Some(sid);
    if hides_processes() {
        let most = std::fs::read_to_string("/proc/sys/kernel/pid_max").ok();
        let most = most.and_then(|text| text.trim().parse().ok()).unwrap_or(PID_MAX);
        return (1..most).filter(is_of).collect();
    }
    let Ok(entries) = std::fs::read_dir("/proc") else { return Vec::new() };
    entries.flatten().filter_map(|e| e.file_name().to_str()?.parse::<i32>().ok()).filter(is_of).collect()
}

/// The session that a process is in: getsid(2). `None` when there is no such process.
#[must_use]
pub fn session_of(pid: i32) -> Option<i32> {
    nix::unistd::getsid(Some(nix::unistd::Pid::from_raw(pid))).ok().map(nix::unistd::Pid::as_raw)
}

/// `PID_MAX_LIMIT` of 64-bit machines (proc(5), `/proc/sys/kernel/pid_max`).
const PID_MAX: i32 = 1 << 22;

/// Whether `/proc` shows this process no processes of other users.
#[must_use]
pub fn hides_processes() -> bool {
    !std::path::Path::new("/proc/1").exists()
}

/// The children of this process, as the kernel lists them in `/proc/self/task/TID/children` (proc(5)).
#[must_use]
pub fn children() -> Vec<i32> {
    children_of(nix::unistd::getpid().as_raw())
}

/// The children of process `pid`, which has one thread.
#[must_use]
pub fn children_of(pid: i32) -> Vec<i32> {
    let listed = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
    listed.split_ascii_whitespace().filter_map(|pid| pid.parse().ok()).collect()
}

/// Sends `signal` to every process of session `sid`; says whether there was one.
pub fn signal_session(sid: i32, signal: i32) -> bool {
    let mut found = false;
    for pid in of_session(sid) {
        let Ok(pidfd) = crate::namespaces::pidfd_open(pid) else { continue };
        // The number may have been used again since the listing.
        let still = session_of(pid) == Some(sid);
        found |= still && signal_pidfd(pidfd.as_fd(), signal).is_ok();
    }
    found
}

/// Ends this process at once with `status`, whatever its other threads do: _exit(2).
pub fn exit_now(status: i32) -> ! {
    // SAFETY: ends the process; nothing runs after it.
    unsafe { libc::_exit(status) }
}
