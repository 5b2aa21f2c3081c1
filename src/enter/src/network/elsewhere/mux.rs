//! Asking a master of ssh(1) for connections through it: PROTOCOL.mux of OpenSSH.
//!
//! One connection to its control socket is one forward, and holds it open. A request is written whole when the control
//! socket has been connected to, with the descriptors behind it; what comes back is read as it comes.

use std::io::{self, Read};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::os::unix::net::UnixStream;

use nix::sys::socket::{AddressFamily, SockFlag, SockType, UnixAddr, connect, socket};
use vestibule_sys::pass;

use crate::hop::mux::{number, string, take_packet};

const HELLO: u32 = 1;
const VERSION: u32 = 4;
const NEW_STDIO_FORWARD: u32 = 0x1000_0008;
const SESSION_OPENED: u32 = 0x8000_0006;

/// What the master said.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Said {
    /// Nothing that matters yet.
    Nothing,
    /// The connection stands.
    Opened,
    /// It does not.
    Refused,
    /// The forward is over.
    Ended,
}

/// A connection to the control socket.
pub(super) struct Mux {
    stream: UnixStream,
    read: Vec<u8>,
}

impl Mux {
    /// Connects to the socket at `path`, without waiting.
    ///
    /// # Errors
    /// As connect(2): `ENOENT` and `ECONNREFUSED` when there is no master, `EAGAIN` when it is asked too much.
    pub(super) fn connect(path: &str) -> io::Result<Self> {
        let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
        let made = socket(AddressFamily::Unix, SockType::Stream, flags, None)?;
        connect(made.as_raw_fd(), &UnixAddr::new(path)?)?;
        Ok(Mux { stream: UnixStream::from(made), read: Vec::new() })
    }

    /// Has the master connect to `host` and `port` as seen from the other machine: what it reads from `from` goes there,
    /// and what comes from there is written to `to`.
    ///
    /// # Errors
    /// As sendmsg(2).
    pub(super) fn forward(
        &self,
        host: &str,
        port: u16,
        from: BorrowedFd<'_>,
        to: BorrowedFd<'_>,
    ) -> io::Result<()> {
        let hello = [HELLO.to_be_bytes(), VERSION.to_be_bytes()].concat();
        let mut request = [NEW_STDIO_FORWARD.to_be_bytes(), 0_u32.to_be_bytes()].concat();
        for text in ["", host] {
            request.extend(string(text.as_bytes())?);
        }
        request.extend(u32::from(port).to_be_bytes());
        let request = [string(&hello)?, string(&request)?].concat();
        // A new socket has room for this.
        pass::send_whole(self.stream.as_fd(), &request)?;
        for fd in [from, to] {
            pass::send(self.stream.as_fd(), &[0], Some(fd))?;
        }
        Ok(())
    }

    /// Reads what the master said.
    pub(super) fn hear(&mut self) -> Said {
        let mut chunk = [0_u8; 1024];
        let mut ended = false;
        match self.stream.read(&mut chunk) {
            Ok(0) => ended = true,
            Ok(length) => self.read.extend_from_slice(chunk.get(..length).unwrap_or_default()),
            Err(e) if matches!(e.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => {}
            Err(_) => ended = true,
        }
        loop {
            match take_packet(&mut self.read).map(|packet| packet.map(|packet| number(&packet, 0))) {
                Ok(Some(Some(HELLO))) => {}
                Ok(Some(Some(SESSION_OPENED))) => return Said::Opened,
                Ok(Some(_)) => return Said::Refused,
                Ok(None) if !ended => return Said::Nothing,
                Ok(None) | Err(_) => return Said::Ended,
            }
        }
    }
}

impl AsFd for Mux {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.stream.as_fd()
    }
}

#[cfg(test)]
impl From<std::os::fd::OwnedFd> for Mux {
    fn from(fd: std::os::fd::OwnedFd) -> Self {
        Mux { stream: UnixStream::from(fd), read: Vec::new() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;
    use std::os::fd::OwnedFd;

    fn said(bytes: &[u8], close: bool) -> Said {
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        ours.set_nonblocking(true).unwrap();
        theirs.write_all(bytes).unwrap();
        if close {
            drop(theirs);
            let mut mux = Mux::from(OwnedFd::from(ours));
            match mux.hear() {
                Said::Nothing => mux.hear(),
                other => other,
            }
        } else {
            Mux::from(OwnedFd::from(ours)).hear()
        }
    }

    #[test]
    fn a_master_says_hello_and_how_it_went() {
        let hello = [0, 0, 0, 8, 0, 0, 0, 1, 0, 0, 0, 4];
        let opened = [0, 0, 0, 12, 0x80, 0, 0, 6, 0, 0, 0, 0, 0, 0, 0, 1];
        let failure = [0, 0, 0, 12, 0x80, 0, 0, 3, 0, 0, 0, 0, 0, 0, 0, 0];
        assert_eq!(said(&hello, false), Said::Nothing);
        assert_eq!(said(&[&hello[..], &opened].concat(), false), Said::Opened);
        assert_eq!(said(&[&hello[..], &failure].concat(), false), Said::Refused);
        assert_eq!(said(&opened[..9], false), Said::Nothing);
        assert_eq!(said(&opened[..9], true), Said::Ended);
        assert_eq!(said(&[0, 0, 0, 0], false), Said::Refused);
        assert_eq!(said(&[255; 16], true), Said::Ended);
    }
}
