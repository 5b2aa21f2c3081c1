//! Safe wrappers over the system calls that vestibule needs.
//!
//! The only room, with the NSS and PAM modules, where `unsafe` may stand. What is here knows nothing of targets, keys
//! or configuration; it turns one kernel interface each into functions that can't be misused by their types, and gives
//! the kernel's error back as [`std::io::Error`].
//!
//! The programs that use this crate have a single thread. Functions that fork rely on it and check it.

#![expect(unsafe_code, reason = "the room of system calls")]

pub mod beneath;
pub mod caps;
pub mod catch_all;
pub mod cgroup;
pub mod dirents;
pub mod entry;
pub mod exec;
pub mod fds;
pub mod keyring;
pub mod lsm;
pub mod memfd;
pub mod namespaces;
pub mod netlink;
pub mod overlay;
pub mod pass;
pub mod process;
pub mod procfs;
pub mod pty;
pub mod rlimits;
pub mod sealed;
pub mod seccomp;
pub mod signals;
pub mod splice;
pub mod syslog;
pub mod time;
pub mod wire;

use std::io;

/// Turns the `-1 and errno` convention of a system call into a [`io::Result`].
fn cvt(returned: libc::c_long) -> io::Result<libc::c_long> {
    if returned == -1 { Err(io::Error::last_os_error()) } else { Ok(returned) }
}

/// As [`cvt`], for calls that return an `int`.
fn cvt_int(returned: libc::c_int) -> io::Result<libc::c_int> {
    if returned == -1 { Err(io::Error::last_os_error()) } else { Ok(returned) }
}
