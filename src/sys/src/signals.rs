//! Signal dispositions and masks, set back to what a fresh process has, and signals as a descriptor.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, FromRawFd, OwnedFd};

use crate::cvt_int;

/// Every signal back to its default and none blocked.
///
/// Rust's runtime ignores SIGPIPE and execve(2) passes that on, so what is executed inside would see `EPIPE` where
/// every other program dies.
///
/// # Errors
/// As sigprocmask(2).
pub fn reset_all() -> io::Result<()> {
    for number in 1..=64 {
        if number == libc::SIGKILL || number == libc::SIGSTOP || number == 32 || number == 33 {
            continue; // 32 and 33 belong to glibc
        }
        // SAFETY: SIG_DFL runs no code of ours.
        unsafe { libc::signal(number, libc::SIG_DFL) };
    }
    // SAFETY: sigset_t is a plain structure; sigemptyset initialises it before it is read.
    unsafe {
        let mut none: libc::sigset_t = std::mem::zeroed();
        libc::sigemptyset(&raw mut none);
        cvt_int(libc::sigprocmask(libc::SIG_SETMASK, &raw const none, std::ptr::null_mut()))?;
    }
    Ok(())
}

/// Children that end are gone at once, those that have ended already too: for a process that waits for none of its own.
pub fn forget_children() {
    // SAFETY: SIG_IGN runs no code of ours.
    unsafe { libc::signal(libc::SIGCHLD, libc::SIG_IGN) };
    // SAFETY: takes no status; reaps children of this process only.
    while unsafe { libc::waitpid(-1, std::ptr::null_mut(), libc::WNOHANG) } > 0 {}
}

/// Signals that arrive as bytes to read: signalfd(2). They are blocked from now on.
#[derive(Debug)]
pub struct SignalFd(OwnedFd);

impl SignalFd {
    /// Blocks `signals` and opens a descriptor on which they arrive.
    ///
    /// # Errors
    /// As sigprocmask(2) and signalfd(2).
    pub fn new(signals: &[i32]) -> io::Result<Self> {
        // SAFETY: the set is initialised by sigemptyset before use; all calls take it by reference.
        unsafe {
            let mut set: libc::sigset_t = std::mem::zeroed();
            libc::sigemptyset(&raw mut set);
            for signal in signals {
                cvt_int(libc::sigaddset(&raw mut set, *signal))?;
            }
            cvt_int(libc::sigprocmask(libc::SIG_BLOCK, &raw const set, std::ptr::null_mut()))?;
            let fd = cvt_int(libc::signalfd(-1, &raw const set, libc::SFD_CLOEXEC | libc::SFD_NONBLOCK))?;
            Ok(SignalFd(OwnedFd::from_raw_fd(fd)))
        }
    }

    /// The next signal that has arrived, if there is one.
    ///
    /// # Errors
    /// As read(2).
    pub fn next(&self) -> io::Result<Option<i32>> {
        let mut info = [0_u8; size_of::<libc::signalfd_siginfo>()];
        match nix::unistd::read(&self.0, &mut info) {
            Ok(_) => {
                let [a, b, c, d, ..] = info;
                Ok(i32::try_from(u32::from_ne_bytes([a, b, c, d])).ok())
            }
            Err(nix::errno::Errno::EAGAIN | nix::errno::Errno::EINTR) => Ok(None),
            Err(e) => Err(e.into()),
        }
    }
}

impl AsFd for SignalFd {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// Ends this process as `signal` ends one, leaving no core file.
pub fn die_of(signal: i32) -> ! {
    let _ = crate::process::set_dumpable(false);
    // SAFETY: restores a default disposition, unblocks and raises; abort if the signal's default is not to end.
    unsafe {
        libc::signal(signal, libc::SIG_DFL);
        let mut set: libc::sigset_t = std::mem::zeroed();
        libc::sigemptyset(&raw mut set);
        libc::sigaddset(&raw mut set, signal);
        libc::sigprocmask(libc::SIG_UNBLOCK, &raw const set, std::ptr::null_mut());
        libc::kill(libc::getpid(), signal);
        libc::_exit(128 + signal)
    }
}
