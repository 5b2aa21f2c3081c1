//! What glibc calls: the entry points of an NSS module for passwd (glibc manual, "Extending NSS").
//!
//! Each answers with a status and, when it is not success, an errno in `*errnop` (which is the thread's errno as a
//! rule); errno is otherwise left as it was. No panic crosses: there is nothing here that should panic, and the catch
//! is for what should not.

#![expect(unsafe_code, reason = "glibc hands over raw pointers and finds the functions by name")]

use std::ffi::CStr;
use std::mem::MaybeUninit;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::ptr;
use std::slice;

use libc::{c_char, c_int, passwd, size_t, uid_t};
use vestibule_names::login::MAX_LOGIN;
use vestibule_names::shared::Identity;

use crate::entry::lay_out;
use crate::lookup::{Miss, PATHS, SHARED_NAME};

/// `enum nss_status` of <nss.h>.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Status {
    /// Ask again, with a bigger buffer if errno is ERANGE.
    TryAgain = -2,
    /// This service can't say.
    Unavailable = -1,
    /// There is no such entry.
    NotFound = 0,
    /// The entry was filled in.
    Success = 1,
}

/// Where an entry goes: what glibc passes to both look-ups.
struct Answer {
    entry: *mut passwd,
    buffer: *mut c_char,
    len: size_t,
    errno: *mut c_int,
}

impl Answer {
    /// Runs a look-up, fills in what it finds, and reports. `name` is what a hit is called.
    ///
    /// # Safety
    /// The pointers are as glibc promises them: `entry` is writable, `buffer` is writable for `len` bytes, `errno` is
    /// writable; all for the time of the call and by nobody else.
    unsafe fn give(&self, name: &CStr, find: impl FnOnce() -> Result<Identity, Miss>) -> Status {
        // SAFETY: always a valid pointer to this thread's own errno (errno(3)).
        let thread_errno = unsafe { libc::__errno_location() };
        // SAFETY: as above.
        let saved = unsafe { *thread_errno };
        let (status, errno) = catch_unwind(AssertUnwindSafe(|| match find() {
            // SAFETY: passed on from the caller.
            Ok(identity) => match unsafe { self.fill(name, identity) } {
                true => (Status::Success, None),
                false => (Status::TryAgain, Some(libc::ERANGE)),
            },
            Err(Miss::NotFound) => (Status::NotFound, Some(libc::ENOENT)),
            Err(Miss::Unavailable) => (Status::Unavailable, Some(libc::ENOENT)),
        }))
        .unwrap_or((Status::Unavailable, Some(libc::ENOENT)));
        // SAFETY: as above.
        unsafe { *thread_errno = saved };
        if let Some(errno) = errno
            && !self.errno.is_null()
        {
            // SAFETY: promised by the caller.
            unsafe { *self.errno = errno };
        }
        status
    }

    /// Fills the entry in; false when the buffer is too small. Nothing is written then but perhaps the buffer.
    ///
    /// # Safety
    /// As for [`give`](Self::give).
    unsafe fn fill(&self, name: &CStr, identity: Identity) -> bool {
        if self.buffer.is_null() || self.entry.is_null() {
            return false;
        }
        // No object is longer than isize::MAX, whatever a caller claims.
        let len = self.len.min(isize::MAX.cast_unsigned());
        // SAFETY: not null, writable for `len` bytes as the caller promised, bytes have no alignment, and MaybeUninit
        // asks nothing of what they hold.
        let buffer = unsafe { slice::from_raw_parts_mut(self.buffer.cast::<MaybeUninit<u8>>(), len) };
        let Some(layout) = lay_out(name, buffer) else {
            return false;
        };
        let start = self.buffer;
        let entry = passwd {
            pw_name: start.wrapping_add(layout.name),
            pw_passwd: start.wrapping_add(layout.password),
            pw_uid: identity.uid,
            pw_gid: identity.gid,
            pw_gecos: start.wrapping_add(layout.gecos),
            pw_dir: start.wrapping_add(layout.home),
            pw_shell: start.wrapping_add(layout.shell),
        };
        // SAFETY: not null and writable, as the caller promised; `write` reads nothing that was there.
        unsafe { ptr::write(self.entry, entry) };
        true
    }
}

/// Looks a name up: `getpwnam_r(3)`.
///
/// # Safety
/// `name` is a string that ends in NUL; the others are as for getpwnam_r.
#[unsafe(no_mangle)]
unsafe extern "C" fn _nss_vestibule_getpwnam_r(
    name: *const c_char,
    entry: *mut passwd,
    buffer: *mut c_char,
    len: size_t,
    errno: *mut c_int,
) -> Status {
    // SAFETY: passed on from the caller.
    let copy = unsafe { copy_name(name) };
    let name = CStr::from_bytes_until_nul(&copy).unwrap_or_default();
    // SAFETY: passed on from the caller.
    unsafe { Answer { entry, buffer, len, errno }.give(name, || PATHS.by_name(name)) }
}

/// A copy of a name, which may stand in the very buffer that the answer goes to. What is longer than a login name can
/// be is as good as empty: neither is one. No more of it is read than that takes.
///
/// # Safety
/// `name` is null or a string that ends in NUL.
unsafe fn copy_name(name: *const c_char) -> [u8; MAX_LOGIN + 1] {
    let mut copy = [0; MAX_LOGIN + 1];
    if name.is_null() {
        return copy;
    }
    for (at, to) in copy.iter_mut().enumerate() {
        // SAFETY: no byte before this one was the NUL, so this one belongs to the string too.
        *to = unsafe { name.cast::<u8>().add(at).read() };
        if *to == 0 {
            return copy;
        }
    }
    [0; MAX_LOGIN + 1]
}

/// Looks a uid up: `getpwuid_r(3)`.
///
/// # Safety
/// As for getpwuid_r.
#[unsafe(no_mangle)]
unsafe extern "C" fn _nss_vestibule_getpwuid_r(
    uid: uid_t,
    entry: *mut passwd,
    buffer: *mut c_char,
    len: size_t,
    errno: *mut c_int,
) -> Status {
    // SAFETY: passed on from the caller.
    unsafe { Answer { entry, buffer, len, errno }.give(SHARED_NAME, || PATHS.by_uid(uid)) }
}

/// Starts a listing of all users: there is nothing to list.
#[unsafe(no_mangle)]
extern "C" fn _nss_vestibule_setpwent(_stay_open: c_int) -> Status {
    Status::Success
}

/// The next user of a listing: there is none.
///
/// # Safety
/// `errno` is writable, or null.
#[unsafe(no_mangle)]
unsafe extern "C" fn _nss_vestibule_getpwent_r(
    _entry: *mut passwd,
    _buffer: *mut c_char,
    _len: size_t,
    errno: *mut c_int,
) -> Status {
    if !errno.is_null() {
        // SAFETY: promised by the caller.
        unsafe { *errno = libc::ENOENT };
    }
    Status::NotFound
}

/// Ends a listing.
#[unsafe(no_mangle)]
extern "C" fn _nss_vestibule_endpwent() -> Status {
    Status::Success
}
