//! Capabilities of this thread: capabilities(7), capset(2), and the prctl(2) calls around them.

use std::io;

use crate::{cvt, cvt_int};

/// The capabilities that vestibule names, by their kernel numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
pub enum Cap {
    /// Read any file, search any directory.
    DacReadSearch = 2,
    /// Signal any process.
    Kill = 5,
    /// Load kernel modules.
    SysModule = 16,
    /// Reach I/O ports, `/dev/mem` and the like.
    SysRawio = 17,
    /// Load seccomp filters without no_new_privs, enter namespaces.
    SysAdmin = 21,
}

impl Cap {
    /// The capability's bit in a [`Set`].
    #[must_use]
    pub fn bit(self) -> u64 {
        1 << (self as u32)
    }
}

/// A set of capabilities, a bit each, as `/proc/PID/status` prints them.
pub type Set = u64;

/// The three sets that capget(2) knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Caps {
    /// What counts now.
    pub effective: Set,
    /// What may be made effective.
    pub permitted: Set,
    /// What an executed file may inherit.
    pub inheritable: Set,
}

#[repr(C)]
struct Header {
    version: u32,
    pid: i32,
}

/// `_LINUX_CAPABILITY_VERSION_3`: two words a set.
const VERSION_3: u32 = 0x2008_0522;

const fn low(set: Set) -> u32 {
    (set & 0xffff_ffff) as u32
}

const fn high(set: Set) -> u32 {
    (set >> 32) as u32
}

/// This thread's sets.
///
/// # Errors
/// As capget(2); `EPROTO` when the call claims success and wrote nothing, as a seccomp filter can make it do.
pub fn get() -> io::Result<Caps> {
    const UNTOUCHED: u32 = 0xdead_beef;
    let mut header = Header { version: VERSION_3, pid: 0 };
    let mut words = [[UNTOUCHED; 3]; 2];
    // SAFETY: header and words have the kernel's layout for version 3 and live through the call.
    cvt(unsafe { libc::syscall(libc::SYS_capget, &raw mut header, words.as_mut_ptr()) })?;
    let [low, high] = words;
    if low == [UNTOUCHED; 3] && high == [UNTOUCHED; 3] {
        return Err(io::Error::from_raw_os_error(libc::EPROTO));
    }
    let join = |i: usize| -> Set {
        u64::from(low.get(i).copied().unwrap_or(0)) | u64::from(high.get(i).copied().unwrap_or(0)) << 32
    };
    Ok(Caps { effective: join(0), permitted: join(1), inheritable: join(2) })
}

/// Sets this thread's sets.
///
/// # Errors
/// `EPERM` when a set would grow.
pub fn set(caps: Caps) -> io::Result<()> {
    let mut header = Header { version: VERSION_3, pid: 0 };
    let words = [
        [low(caps.effective), low(caps.permitted), low(caps.inheritable)],
        [high(caps.effective), high(caps.permitted), high(caps.inheritable)],
    ];
    // SAFETY: header and words have the kernel's layout for version 3 and live through the call.
    cvt(unsafe { libc::syscall(libc::SYS_capset, &raw mut header, words.as_ptr()) })?;
    Ok(())
}

/// Whether the program was executed with more privilege than its caller has (`AT_SECURE`, getauxval(3)): its
/// environment and arguments are then somebody else's.
#[must_use]
pub fn executed_with_privilege() -> bool {
    // SAFETY: getauxval reads the auxiliary vector and has no preconditions.
    unsafe { libc::getauxval(libc::AT_SECURE) != 0 }
}

/// Makes a permitted capability effective for the rest of this thread's life.
///
/// # Errors
/// `EPERM` when it is not permitted: the program's file lost its capability.
pub fn raise(cap: Cap) -> io::Result<()> {
    let mut caps = get()?;
    caps.effective |= cap.bit();
    set(caps)
}

/// Gives up every capability of this thread, also those it could have raised.
///
/// # Errors
/// As capset(2).
pub fn drop_all() -> io::Result<()> {
    set(Caps::default())
}

/// Lowers the bounding set to what is in `keep`.
///
/// # Errors
/// `EPERM` without `CAP_SETPCAP`.
pub fn lower_bounding(keep: Set) -> io::Result<()> {
    for number in 0..64_u32 {
        // SAFETY: integer arguments only.
        let present = unsafe { libc::prctl(libc::PR_CAPBSET_READ, libc::c_ulong::from(number), 0, 0, 0) };
        if present < 0 {
            break; // past the last capability of this kernel
        }
        if present == 1 && keep & (1 << number) == 0 {
            // SAFETY: integer arguments only.
            cvt_int(unsafe { libc::prctl(libc::PR_CAPBSET_DROP, libc::c_ulong::from(number), 0, 0, 0) })?;
        }
    }
    Ok(())
}

/// This thread's bounding set.
#[must_use]
pub fn bounding() -> Set {
    (0..64_u32)
        // SAFETY: integer arguments only.
        .filter(|n| unsafe { libc::prctl(libc::PR_CAPBSET_READ, libc::c_ulong::from(*n), 0, 0, 0) } == 1)
        .fold(0, |set, n| set | 1 << n)
}

/// Empties the ambient set.
///
/// # Errors
/// As prctl(2).
pub fn clear_ambient() -> io::Result<()> {
    // SAFETY: integer arguments only.
    cvt_int(unsafe { libc::prctl(libc::PR_CAP_AMBIENT, libc::PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0) })?;
    Ok(())
}

/// Keeps the permitted set over the next change from uid 0 to another (`PR_SET_KEEPCAPS`).
///
/// # Errors
/// As prctl(2).
pub fn keep_over_setuid(keep: bool) -> io::Result<()> {
    // SAFETY: integer arguments only.
    cvt_int(unsafe { libc::prctl(libc::PR_SET_KEEPCAPS, libc::c_ulong::from(keep), 0, 0, 0) })?;
    Ok(())
}

/// From now on, no execve gives privileges (`PR_SET_NO_NEW_PRIVS`).
///
/// # Errors
/// As prctl(2).
pub fn no_new_privs() -> io::Result<()> {
    // SAFETY: integer arguments only.
    cvt_int(unsafe { libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) })?;
    Ok(())
}
