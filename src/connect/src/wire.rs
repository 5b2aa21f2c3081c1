//! The bytes below a WebSocket: TCP, with TLS over it or without.

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::os::fd::{AsFd, BorrowedFd};
use std::time::{Duration, Instant};

use rustls::{ClientConnection, StreamOwned};

/// A TCP connection whose reads and writes, as long as it waits at all, wait until a certain time.
pub(crate) struct Timed {
    tcp: TcpStream,
    until: Option<Instant>,
}

impl Timed {
    pub(crate) fn new(tcp: TcpStream, until: Instant) -> Self {
        Timed { tcp, until: Some(until) }
    }

    pub(crate) fn into_tcp(self) -> TcpStream {
        self.tcp
    }

    /// How long the next step may take; who sends a byte now and then gets no more time for it.
    fn left(&self) -> io::Result<Option<Duration>> {
        let Some(until) = self.until else { return Ok(None) };
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() { Err(io::ErrorKind::TimedOut.into()) } else { Ok(Some(left)) }
    }

    fn told(&self, e: io::Error) -> io::Error {
        let late = self.until.is_some() && e.kind() == io::ErrorKind::WouldBlock;
        if late { io::ErrorKind::TimedOut.into() } else { e }
    }
}

impl Read for Timed {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if let Some(left) = self.left()? {
            self.tcp.set_read_timeout(Some(left))?;
        }
        self.tcp.read(buffer).map_err(|e| self.told(e))
    }
}

impl Write for Timed {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        if let Some(left) = self.left()? {
            self.tcp.set_write_timeout(Some(left))?;
        }
        self.tcp.write(buffer).map_err(|e| self.told(e))
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// What a WebSocket speaks over.
pub(crate) enum Wire {
    /// TCP alone.
    Plain(Timed),
    /// TLS.
    Tls(Box<StreamOwned<ClientConnection, Timed>>),
}

impl Wire {
    fn timed(&mut self) -> &mut Timed {
        match self {
            Wire::Plain(timed) => timed,
            Wire::Tls(tls) => &mut tls.sock,
        }
    }

    /// From now on nothing waits.
    pub(crate) fn never_wait(&mut self) -> io::Result<()> {
        let timed = self.timed();
        timed.until = None;
        timed.tcp.set_nonblocking(true)
    }

    /// Reads and writes have this long, all of them together.
    pub(crate) fn wait_until(&mut self, until: Instant) {
        self.timed().until = Some(until);
    }
}

impl AsFd for Wire {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Wire::Plain(timed) => timed.tcp.as_fd(),
            Wire::Tls(tls) => tls.sock.tcp.as_fd(),
        }
    }
}

impl Read for Wire {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Wire::Plain(timed) => timed.read(buffer),
            Wire::Tls(tls) => tls.read(buffer),
        }
    }
}

impl Write for Wire {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        match self {
            Wire::Plain(timed) => timed.write(buffer),
            Wire::Tls(tls) => tls.write(buffer),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Wire::Plain(timed) => timed.flush(),
            Wire::Tls(tls) => tls.flush(),
        }
    }
}
