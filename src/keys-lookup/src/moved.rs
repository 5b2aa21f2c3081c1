//! Whether the sshd that asks will move the session into its target before the first forward.
//!
//! A line that grants forwards is only safe where `pam_vestibule` opens the session. That the configuration says so is
//! not enough: `UsePAM no`, a stack without the module or a module that is not there would make the forwards end on the
//! bastion. So both are looked at anew for each key: the stack must come to the module last, whatever is before it, and the process that asks must
//! have loaded it, which it says at an abstract socket named by its number. What stands behind the socket is the
//! kernel's word: the process that listens there, and its uid.

use std::io;
use std::os::fd::AsRawFd;

use nix::sys::socket::sockopt::PeerCredentials;
use nix::sys::socket::{AddressFamily, SockFlag, SockType, UnixAddr, connect, getsockopt, socket};
use vestibule::pam_stack;
use vestibule::paths;

/// Whether sessions are moved.
///
/// # Errors
/// Why they are not, for the log.
pub(crate) fn by_caller() -> Result<(), String> {
    pam_stack::judge_host().map_err(|why| format!("'{}': {why}", paths::PAM_STACK))?;
    let caller = nix::unistd::getppid().as_raw();
    match listens(caller) {
        Ok(true) => Ok(()),
        Ok(false) => Err(format!("process {caller} has not loaded pam_vestibule as root")),
        Err(e) => Err(format!("process {caller} has not loaded pam_vestibule (is UsePAM yes?): {e}")),
    }
}

/// Whether process `pid`, as root, listens at the module's socket.
fn listens(pid: i32) -> io::Result<bool> {
    let address = UnixAddr::new_abstract(format!("vestibule/pam/{pid}").as_bytes())?;
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let socket = socket(AddressFamily::Unix, SockType::Stream, flags, None)?;
    connect(socket.as_raw_fd(), &address)?;
    let peer = getsockopt(&socket, PeerCredentials)?;
    Ok(peer.uid() == 0 && peer.pid() == pid)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::linux::net::SocketAddrExt;
    use std::os::unix::net::{SocketAddr, UnixListener};

    #[test]
    fn only_the_process_itself_can_say_it() {
        let own = nix::unistd::getpid().as_raw();
        assert!(listens(own).is_err());
        let bind = |pid: i32| {
            let address = SocketAddr::from_abstract_name(format!("vestibule/pam/{pid}")).unwrap();
            UnixListener::bind_addr(&address).unwrap()
        };
        let _own = bind(own);
        assert_eq!(listens(own).unwrap(), nix::unistd::getuid().is_root());
        // Somebody else who took the name.
        let _other = bind(own + 100_000_000);
        assert!(!listens(own + 100_000_000).unwrap());
    }
}
