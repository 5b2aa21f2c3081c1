//! Programs in sealed memory, to be executed with no file of this host behind `/proc/PID/exe`.

use std::ffi::CStr;
use std::fs::File;
use std::io::{self, Read, Seek};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

use crate::cvt_int;

const SEALS: i32 = libc::F_SEAL_SEAL | libc::F_SEAL_SHRINK | libc::F_SEAL_GROW | libc::F_SEAL_WRITE;
/// Not yet in every libc: allow execution where `vm.memfd_noexec` asks to be told (memfd_create(2), Linux 6.3).
const MFD_EXEC: u32 = 0x10;

/// Whether `file` is memory that nobody can change any more.
///
/// # Errors
/// As fcntl(2).
pub fn is_sealed(file: &File) -> io::Result<bool> {
    // SAFETY: takes no argument; the descriptor is open.
    match cvt_int(unsafe { libc::fcntl(file.as_raw_fd(), libc::F_GET_SEALS) }) {
        Ok(seals) => Ok(seals & SEALS == SEALS),
        Err(e) if e.raw_os_error() == Some(libc::EINVAL) => Ok(false), // no memory file
        Err(e) => Err(e),
    }
}

/// A sealed copy of an open file, close-on-exec.
///
/// # Errors
/// As memfd_create(2) and read(2).
pub fn sealed_copy(name: &CStr, mut source: File) -> io::Result<OwnedFd> {
    let flags = libc::MFD_CLOEXEC | libc::MFD_ALLOW_SEALING;
    // SAFETY: name is NUL-terminated; the descriptor returned is new and ours.
    let create = |flags| cvt_int(unsafe { libc::memfd_create(name.as_ptr(), flags) });
    let fd = create(flags | MFD_EXEC).or_else(|e| match e.raw_os_error() {
        Some(libc::EINVAL) => create(flags), // before Linux 6.3
        _ => Err(e),
    })?;
    // SAFETY: as above.
    let mut copy = File::from(unsafe { OwnedFd::from_raw_fd(fd) });
    source.rewind()?;
    io::copy(&mut source.by_ref(), &mut copy)?;
    // SAFETY: takes an int; the descriptor is open.
    cvt_int(unsafe { libc::fcntl(copy.as_raw_fd(), libc::F_ADD_SEALS, SEALS) })?;
    Ok(copy.into())
}
