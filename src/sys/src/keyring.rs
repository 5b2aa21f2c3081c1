//! The session keyring: session-keyring(7).

use std::io;

use crate::cvt;

/// `KEYCTL_JOIN_SESSION_KEYRING` of keyctl(2).
const JOIN_SESSION_KEYRING: libc::c_long = 1;

/// Leaves the session keyring that came from the bastion for a new, empty one. A kernel or container that has no
/// keyrings is fine.
///
/// # Errors
/// As keyctl(2), for one `EDQUOT`.
pub fn leave_session_keyring() -> io::Result<()> {
    // SAFETY: a null name asks for an anonymous keyring; no memory is passed.
    let joined =
        unsafe { libc::syscall(libc::SYS_keyctl, JOIN_SESSION_KEYRING, std::ptr::null::<libc::c_char>()) };
    match cvt(joined) {
        Err(e) if !matches!(e.raw_os_error(), Some(libc::ENOSYS | libc::EPERM)) => Err(e),
        _ => Ok(()),
    }
}
