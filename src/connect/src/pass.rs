//! Handing over a connection that stands: `ssh` asks for one with `ProxyCommand` and `ProxyUseFdpass`, ssh_config(5), and the
//! second hop of `enter` has it ready behind a unix socket. No byte of the session goes through this program.

use std::io;
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::path::Path;

use vestibule_sys::pass;

use crate::failure::Failure;

/// Takes a descriptor from `path` and gives it to standard output.
pub(crate) fn pass(path: &Path) -> Result<(), Failure> {
    let hand_over = || -> io::Result<()> {
        let socket = UnixStream::connect(path)?;
        let (_, connection) = pass::receive(socket.as_fd())?.ok_or(io::ErrorKind::UnexpectedEof)?;
        let connection = connection.ok_or(io::ErrorKind::InvalidData)?;
        pass::send(io::stdout().as_fd(), &[0], Some(connection.as_fd()))
    };
    hand_over().map_err(|e| Failure::setup(format_args!("'{}': {e}", path.display())))
}
