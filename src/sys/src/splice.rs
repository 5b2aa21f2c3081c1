//! Bytes from a pipe to a socket, and back, that pass through no memory of this process: splice(2).

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

use crate::cvt;

/// As much as is asked for at once; a pipe has less.
const MOST: usize = 1 << 20;

/// Moves what is there from one descriptor to the other, of which one is a pipe; never waits. 0 at the end.
///
/// # Errors
/// As splice(2); `EAGAIN` when there is nothing, or no room for it.
pub fn splice(from: BorrowedFd<'_>, to: BorrowedFd<'_>) -> io::Result<usize> {
    let none = std::ptr::null_mut::<libc::loff_t>();
    let flags = libc::SPLICE_F_NONBLOCK | libc::SPLICE_F_MOVE;
    // SAFETY: no offsets; both descriptors are borrowed and open.
    let moved = cvt(unsafe {
        libc::syscall(libc::SYS_splice, from.as_raw_fd(), none, to.as_raw_fd(), none, MOST, flags)
    })?;
    usize::try_from(moved).map_err(io::Error::other)
}

/// Has `socket` end its connection with a reset as soon as nobody holds it: `SO_LINGER` of socket(7), of no time.
///
/// # Errors
/// As setsockopt(2).
pub fn reset_when_closed(socket: BorrowedFd<'_>) -> io::Result<()> {
    let linger = libc::linger { l_onoff: 1, l_linger: 0 };
    nix::sys::socket::setsockopt(&socket, nix::sys::socket::sockopt::Linger, &linger)?;
    Ok(())
}
