//! Executing a program from sealed memory, so that no file of this host stands behind `/proc/PID/exe`.
//!
//! A container that makes the entering program execute itself (`#!/proc/self/exe`), or that catches it in its `/proc`,
//! could otherwise open the host's file for writing: CVE-2019-5736.

use std::ffi::{CStr, CString};
use std::fs::File;
use std::io::{self, Read, Seek};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

use crate::{cvt_int, fds};

const SEALS: i32 = libc::F_SEAL_SEAL | libc::F_SEAL_SHRINK | libc::F_SEAL_GROW | libc::F_SEAL_WRITE;
/// Not yet in every libc: allow execution where `vm.memfd_noexec` asks to be told (memfd_create(2), Linux 6.3).
const MFD_EXEC: u32 = 0x10;

/// Whether this process was executed from sealed memory.
///
/// # Errors
/// As open(2) of `/proc/self/exe`.
pub fn running_sealed() -> io::Result<bool> {
    let exe = File::open("/proc/self/exe")?;
    // SAFETY: takes no argument; the descriptor is open.
    match cvt_int(unsafe { libc::fcntl(exe.as_raw_fd(), libc::F_GET_SEALS) }) {
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

/// Executes this program again from a sealed copy of itself. Returns only if that fails.
///
/// # Errors
/// As memfd_create(2) and execveat(2), for one `EACCES` where `vm.memfd_noexec` is 2.
pub fn execute_self_sealed(args: &[CString], env: &[CString]) -> io::Error {
    let copy = match File::open("/proc/self/exe").and_then(|exe| sealed_copy(c"enter", exe)) {
        Ok(copy) => copy,
        Err(e) => return e,
    };
    if let Err(e) = fds::close_on_exec_from(3) {
        return e;
    }
    crate::exec::execute_open(&copy, args, env)
}
