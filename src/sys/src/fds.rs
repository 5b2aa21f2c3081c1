//! Descriptors: which are open, and which cross an execve.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::{FileTypeExt, MetadataExt};

use crate::{cvt, cvt_int};

/// Marks every descriptor from `first` on close-on-exec: close_range(2) with `CLOSE_RANGE_CLOEXEC`.
///
/// # Errors
/// As close_range(2).
pub fn close_on_exec_from(first: u32) -> io::Result<()> {
    // SAFETY: sets a flag on descriptors; closes none, so no owner loses its descriptor.
    cvt(unsafe { libc::syscall(libc::SYS_close_range, first, u32::MAX, libc::CLOSE_RANGE_CLOEXEC) })?;
    Ok(())
}

/// Closes every descriptor from `first` on that the caller left open. To be called before this process opened any.
///
/// # Errors
/// As close_range(2).
pub fn close_inherited_from(first: u32) -> io::Result<()> {
    // SAFETY: by contract nothing in this process owns a descriptor from `first` on yet.
    cvt(unsafe { libc::syscall(libc::SYS_close_range, first, u32::MAX, 0) })?;
    Ok(())
}

/// Closes, in a forked child, a descriptor that only its parent has a use for. A child of [`crate::process::fork_child`]
/// ends without running destructors, so the owner that it has a copy of never closes the number again.
pub fn close_in_child(fd: BorrowedFd<'_>) {
    // SAFETY: by contract this process is such a child, and nothing in it uses the descriptor from here on.
    unsafe { libc::close(fd.as_raw_fd()) };
}

/// Closes, in a forked child, everything from 3 on but `keep`: as [`close_in_child`], for what its parent had open.
///
/// # Errors
/// As close_range(2).
pub fn close_others_in_child(keep: BorrowedFd<'_>) -> io::Result<()> {
    let keep = keep.as_raw_fd().cast_unsigned();
    for (first, last) in [(3, keep.saturating_sub(1)), (keep + 1, u32::MAX)] {
        if first <= last {
            // SAFETY: by contract this process is such a child, and what is closed has no owner in it that will act.
            cvt(unsafe { libc::syscall(libc::SYS_close_range, first, last, 0) })?;
        }
    }
    Ok(())
}

/// Closes, in a forked child, everything but `keep`, standard descriptors too: as [`close_in_child`].
///
/// # Errors
/// As close_range(2).
pub fn close_all_in_child_but<const N: usize>(keep: [BorrowedFd<'_>; N]) -> io::Result<()> {
    let mut keep = keep.map(|fd| fd.as_raw_fd().cast_unsigned());
    keep.sort_unstable();
    let mut first = 0;
    for kept in keep.into_iter().chain([u32::MAX]) {
        if first < kept {
            // SAFETY: by contract this process is such a child, and what is closed has no owner in it that will act.
            cvt(unsafe { libc::syscall(libc::SYS_close_range, first, kept - 1, 0) })?;
        }
        first = kept.saturating_add(1);
    }
    Ok(())
}

/// Makes `fd` also known as `number` (0, 1 or 2), which stays open over execve: dup2(2).
///
/// # Errors
/// As dup2(2).
pub fn become_std(fd: BorrowedFd<'_>, number: i32) -> io::Result<()> {
    // SAFETY: replaces a standard descriptor, which std never closes on its own.
    cvt_int(unsafe { libc::dup2(fd.as_raw_fd(), number) })?;
    Ok(())
}

/// Replaces 0, 1 and 2 by `/dev/null`.
///
/// # Errors
/// As open(2) and dup2(2).
pub fn std_to_null() -> io::Result<()> {
    let null = null()?;
    for number in 0..3 {
        become_std(std::os::fd::AsFd::as_fd(&null), number)?;
    }
    Ok(())
}

/// `/dev/null`, for reading and writing.
///
/// # Errors
/// As open(2).
pub fn null() -> io::Result<File> {
    OpenOptions::new().read(true).write(true).open("/dev/null")
}

/// Duplicates a borrowed descriptor, close-on-exec.
///
/// # Errors
/// As fcntl(2).
pub fn duplicate(fd: BorrowedFd<'_>) -> io::Result<OwnedFd> {
    fd.try_clone_to_owned()
}

/// Turns `O_NONBLOCK` of the open file on or off.
///
/// # Errors
/// As fcntl(2).
pub fn set_nonblocking(fd: BorrowedFd<'_>, on: bool) -> io::Result<()> {
    // SAFETY: F_GETFL takes no argument; the descriptor is borrowed and open.
    let flags = cvt_int(unsafe { libc::fcntl(fd.as_raw_fd(), libc::F_GETFL) })?;
    let flags = if on { flags | libc::O_NONBLOCK } else { flags & !libc::O_NONBLOCK };
    // SAFETY: F_SETFL takes an int; the descriptor is borrowed and open.
    cvt_int(unsafe { libc::fcntl(fd.as_raw_fd(), libc::F_SETFL, flags) })?;
    Ok(())
}

/// `PIPEFS_MAGIC` of linux/magic.h.
const PIPEFS_MAGIC: libc::c_long = 0x5049_5045;

/// Whether standard descriptor `number` is fit for somebody who does not wish us well: a pipe without a name, or
/// `/dev/null`; where a `terminal` is asked for, a pseudoterminal instead.
///
/// # Errors
/// As fstat(2).
pub fn crosses(number: i32, terminal: bool) -> io::Result<bool> {
    // SAFETY: std keeps 0, 1 and 2 open for the whole of a program's life.
    let fd = unsafe { BorrowedFd::borrow_raw(number) };
    let file = File::from(fd.try_clone_to_owned()?);
    let meta = file.metadata()?;
    let (kind, device) = (meta.file_type(), meta.rdev());
    let device = (nix::sys::stat::major(device), nix::sys::stat::minor(device));
    if terminal {
        // Unix98 slaves: majors 136 to 143 (devices.txt of the kernel).
        return Ok(kind.is_char_device() && (136..144).contains(&device.0));
    }
    let nameless = nix::sys::statfs::fstatfs(&file)?.filesystem_type().0 == PIPEFS_MAGIC;
    Ok((kind.is_fifo() && nameless) || (kind.is_char_device() && device == (1, 3)))
}
