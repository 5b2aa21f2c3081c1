//! Tells `keys-lookup` that sshd's process has the module in its stack.
//!
//! libpam loads the modules of a stack when a process first asks for it, which sshd does before it looks for keys. From
//! then on this process listens at an abstract socket named by its number; nobody is ever answered. `keys-lookup` asks
//! the kernel who listens there, and grants forwards that end in the target only if it is its parent, as root. The
//! socket ends with the process, and leaves nothing behind.

use std::os::fd::IntoRawFd;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixListener};
use std::sync::atomic::{AtomicI32, Ordering};

static LISTENER: AtomicI32 = AtomicI32::new(-1);

/// Begins to listen. Without it no forwards are granted; there is nobody to tell.
pub(crate) fn announce() {
    let name = format!("vestibule/pam/{}", std::process::id());
    let listener = SocketAddr::from_abstract_name(name).and_then(|at| UnixListener::bind_addr(&at));
    if let Ok(listener) = listener {
        LISTENER.store(listener.into_raw_fd(), Ordering::Relaxed);
    }
}

/// The descriptor, to be closed when the keys were looked up: the user's process has no use for it.
pub(crate) fn taken() -> Option<i32> {
    Some(LISTENER.swap(-1, Ordering::Relaxed)).filter(|fd| *fd >= 0)
}
