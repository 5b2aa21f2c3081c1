//! What libpam calls, and what it is asked: pam_sm_open_session(3), pam_get_item(3), pam_getenv(3).
//!
//! No panic crosses: there is nothing here that should panic, and the catch is for what should not.

#![expect(unsafe_code, reason = "libpam hands over raw pointers and finds the functions by name")]

use std::ffi::{CStr, CString};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::ptr;

use libc::{c_char, c_int, c_void};

use crate::presence;
use crate::session::{self, Answer};

/// An opaque `pam_handle_t`.
#[repr(C)]
struct Handle {
    _private: [u8; 0],
}

// Values of <security/_pam_types.h>.
const SUCCESS: c_int = 0;
const SESSION_ERR: c_int = 14;
const IGNORE: c_int = 25;
const ITEM_USER: c_int = 2;
const ITEM_TTY: c_int = 3;
const ITEM_RHOST: c_int = 4;
const ERROR_MSG: c_int = 3;

/// Longer strings of libpam's are as good as none.
const MAX_TEXT: usize = 64 << 10;

unsafe extern "C" {
    fn pam_get_item(handle: *const Handle, item: c_int, value: *mut *const c_void) -> c_int;
    fn pam_getenv(handle: *mut Handle, name: *const c_char) -> *const c_char;
    fn pam_putenv(handle: *mut Handle, name_value: *const c_char) -> c_int;
    fn pam_prompt(
        handle: *mut Handle,
        style: c_int,
        response: *mut *mut c_char,
        format: *const c_char,
        ...
    ) -> c_int;
}

/// What libpam knows of the session.
#[derive(Debug, Default)]
pub(crate) struct Known {
    /// The login name.
    pub(crate) login: Vec<u8>,
    /// `SSH_CONNECTION`, or the client's address or name.
    pub(crate) client: Vec<u8>,
    pub(crate) tty: Vec<u8>,
    /// `SSH_AUTH_INFO_0`: a line for each method that succeeded (sshd's `expose_authinfo`).
    pub(crate) auth_info: Vec<u8>,
}

/// Run when the module is loaded.
// SAFETY: an initialiser of the ELF format: a function without arguments that returns.
#[used]
#[unsafe(link_section = ".init_array")]
static LOADED: extern "C" fn() = loaded;

extern "C" fn loaded() {
    // SAFETY: no argument, and it can't fail.
    if unsafe { libc::geteuid() } == 0 {
        let _ = catch_unwind(presence::announce);
    }
}

/// Opens the session.
///
/// # Safety
/// `handle` is libpam's.
#[unsafe(no_mangle)]
unsafe extern "C" fn pam_sm_open_session(
    handle: *mut Handle,
    _flags: c_int,
    _argc: c_int,
    _argv: *const *const c_char,
) -> c_int {
    let answered = catch_unwind(AssertUnwindSafe(|| {
        if let Some(fd) = presence::taken() {
            // SAFETY: nobody else knows this descriptor, and it was not closed before.
            unsafe { libc::close(fd) };
        }
        // SAFETY: the handle is libpam's, as promised by the caller.
        let known = unsafe { known(handle) };
        session::open(&known)
    }));
    match answered.unwrap_or_else(|_| session::closed("a panic")) {
        Answer::NotOurs => IGNORE,
        Answer::Done { authority } => {
            let variable = [b"XAUTHORITY=", authority.as_slice()].concat();
            if let Some(variable) = CString::new(variable).ok().filter(|_| !authority.is_empty()) {
                // SAFETY: the handle is libpam's, and the string ends in NUL; libpam copies it. Without it X clients of the
                // session find no cookie.
                unsafe { pam_putenv(handle, variable.as_ptr()) };
            }
            SUCCESS
        }
        Answer::Refused(line) => {
            if let Some(line) = line.and_then(|line| CString::new(line).ok()) {
                // SAFETY: the handle is libpam's, both strings end in NUL, and no response is asked for.
                unsafe { pam_prompt(handle, ERROR_MSG, ptr::null_mut(), c"%s".as_ptr(), line.as_ptr()) };
            }
            SESSION_ERR
        }
    }
}

/// Closes the session: whoever started with it notices the end of sshd's process.
#[unsafe(no_mangle)]
extern "C" fn pam_sm_close_session(
    _handle: *mut Handle,
    _flags: c_int,
    _argc: c_int,
    _argv: *const *const c_char,
) -> c_int {
    SUCCESS
}

/// # Safety
/// `handle` is libpam's.
unsafe fn known(handle: *mut Handle) -> Known {
    let item = |item| {
        let mut value = ptr::null();
        // SAFETY: the handle is libpam's, and value lives through the call.
        let got = unsafe { pam_get_item(handle, item, &raw mut value) };
        // SAFETY: these items are strings that end in NUL, and libpam keeps them until the item is set anew.
        if got == SUCCESS { unsafe { text(value.cast()) } } else { Vec::new() }
    };
    let variable = |name: &CStr| {
        // SAFETY: the handle is libpam's; the value is a string that libpam keeps.
        unsafe { text(pam_getenv(handle, name.as_ptr())) }
    };
    let connection = variable(c"SSH_CONNECTION");
    Known {
        login: item(ITEM_USER),
        client: if connection.is_empty() { item(ITEM_RHOST) } else { connection },
        tty: item(ITEM_TTY),
        auth_info: variable(c"SSH_AUTH_INFO_0"),
    }
}

/// A copy of a string; empty for none, or for one that is too long.
///
/// # Safety
/// `string` is null or a string that ends in NUL.
unsafe fn text(string: *const c_char) -> Vec<u8> {
    if string.is_null() {
        return Vec::new();
    }
    // SAFETY: promised by the caller.
    let bytes = unsafe { CStr::from_ptr(string) }.to_bytes();
    if bytes.len() <= MAX_TEXT { bytes.to_vec() } else { Vec::new() }
}

/// A user of this host: uid and home.
pub(crate) struct User {
    pub(crate) uid: u32,
    pub(crate) home: Vec<u8>,
}

/// Looks a user up: getpwnam_r(3).
pub(crate) fn user(name: &[u8]) -> Option<User> {
    let name = CString::new(name).ok()?;
    let mut buffer = vec![0_u8; 16 << 10];
    // SAFETY: passwd is plain data, for which all zero is a value.
    let mut entry: libc::passwd = unsafe { std::mem::zeroed() };
    let mut found = ptr::null_mut();
    // SAFETY: name ends in NUL; entry, buffer and found live through the call, and the buffer's length is given.
    let failed = unsafe {
        libc::getpwnam_r(
            name.as_ptr(),
            &raw mut entry,
            buffer.as_mut_ptr().cast(),
            buffer.len(),
            &raw mut found,
        )
    };
    if failed != 0 || found.is_null() {
        return None;
    }
    // SAFETY: a string in the buffer, which lives.
    Some(User { uid: entry.pw_uid, home: unsafe { text(entry.pw_dir) } })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn users_are_found_by_name() {
        let root = user(b"root").unwrap();
        assert_eq!((root.uid, root.home.as_slice()), (0, &b"/root"[..]));
        assert!(user(b"no such user").is_none() && user(b"a\0b").is_none());
    }
}
