//! A unix socket of this host, by a path without a link in it: what `may_enter.sockets` named is what is connected to.

use std::io::{self, Read, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::os::unix::fs::FileTypeExt;
use std::os::unix::net::UnixStream;
use std::path::{Component, Path};
use std::time::Duration;

use bytes::Bytes;
use nix::fcntl::OFlag;
use vestibule::messages::shown;
use vestibule_sys::beneath::{self, Resolve};

use crate::carry::{Link, Taken};
use crate::failure::Failure;

const PIECE: usize = 64 << 10;

/// A connection.
pub(crate) struct Socket {
    stream: UnixStream,
    unsent: Vec<u8>,
    sent: usize,
    finished: bool,
    piece: Vec<u8>,
}

/// Connects.
pub(crate) fn connect(path: &Path) -> Result<Socket, Failure> {
    let open = || -> io::Result<UnixStream> {
        let below = path.strip_prefix("/").map_err(|_| io::Error::other("want an absolute path"))?;
        if below.components().any(|part| !matches!(part, Component::Normal(_))) {
            return Err(io::Error::other("'..' is in the path"));
        }
        let root = std::fs::File::open("/")?;
        let found = beneath::open_with(root.as_fd(), below, Resolve::NoLinks, OFlag::O_PATH.bits())?;
        let found = std::fs::File::from(found);
        if !found.metadata()?.file_type().is_socket() {
            return Err(io::Error::other("it is no socket"));
        }
        // The one that was looked at, whatever stands at the path by now.
        let stream = UnixStream::connect(format!("/proc/self/fd/{}", found.as_raw_fd()))?;
        stream.set_nonblocking(true)?;
        Ok(stream)
    };
    let stream = open().map_err(|e| {
        let words = match e.kind() {
            io::ErrorKind::NotFound => "its socket does not exist",
            io::ErrorKind::ConnectionRefused => "nobody listens at its socket",
            io::ErrorKind::PermissionDenied => "its socket is not for the bastion",
            _ => "its socket can't be connected to",
        };
        Failure::unreachable(words, format_args!("unix socket '{}': {e}", shown(&path.to_string_lossy())))
    })?;
    Ok(Socket { stream, unsent: Vec::new(), sent: 0, finished: false, piece: vec![0; PIECE] })
}

fn lost(e: &io::Error) -> Failure {
    Failure::lost("the connection broke", format_args!("unix socket: {e}"))
}

impl Link for Socket {
    fn fd(&self) -> BorrowedFd<'_> {
        self.stream.as_fd()
    }

    fn take(&mut self) -> Result<Taken, Failure> {
        match self.stream.read(&mut self.piece) {
            Ok(0) => Ok(Taken::End),
            Ok(n) => Ok(Taken::Bytes(Bytes::copy_from_slice(self.piece.get(..n).unwrap_or_default()))),
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => Ok(Taken::Nothing),
            Err(e) if e.kind() == io::ErrorKind::Interrupted => Ok(Taken::Word),
            Err(e) => Err(lost(&e)),
        }
    }

    fn give(&mut self, piece: &[u8]) -> Result<(), Failure> {
        self.unsent.clear();
        self.unsent.extend_from_slice(piece);
        self.sent = 0;
        Ok(())
    }

    fn push(&mut self) -> Result<bool, Failure> {
        while let Some(rest) = self.unsent.get(self.sent..).filter(|rest| !rest.is_empty()) {
            match self.stream.write(rest) {
                Ok(n) => self.sent += n,
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => return Ok(false),
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                // It may have said something before it closed.
                Err(e) if e.kind() == io::ErrorKind::BrokenPipe => break,
                Err(e) => return Err(lost(&e)),
            }
        }
        self.unsent.clear();
        if self.finished {
            let _ = self.stream.shutdown(std::net::Shutdown::Write);
        }
        Ok(true)
    }

    /// The end is passed on, and the other side may go on as long as it likes.
    fn finish(&mut self) -> Result<bool, Failure> {
        self.finished = true;
        Ok(false)
    }

    fn tick(&mut self, _listened: bool) -> Result<(Option<Duration>, bool), Failure> {
        Ok((None, false))
    }

    fn abandon(&mut self) {}
}
