//! The client's control socket, as PROTOCOL.mux of OpenSSH has it: how a session is asked for on a connection that stands.
//!
//! Version 4, which every OpenSSH since 5.4 speaks. What comes back is from a process that a server may have taken over, so
//! it is bounded, and can say no more than how the session ended.

use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::path::Path;

use nix::errno::Errno;
use vestibule_sys::pass;

const VERSION: u32 = 4;
const HELLO: u32 = 1;
const NEW_SESSION: u32 = 0x1000_0002;
const PERMISSION_DENIED: u32 = 0x8000_0002;
const FAILURE: u32 = 0x8000_0003;
const EXIT_MESSAGE: u32 = 0x8000_0004;
const SESSION_OPENED: u32 = 0x8000_0006;
const TTY_ALLOC_FAIL: u32 = 0x8000_0008;
/// No character escapes.
const NO_ESCAPE: u32 = u32::MAX;
/// No message to us is long.
const MAX_PACKET: usize = 64 << 10;

/// What is asked for.
pub(super) struct Request<'a> {
    pub(super) terminal: bool,
    pub(super) agent: bool,
    /// The command is the name of a subsystem.
    pub(super) subsystem: bool,
    /// `TERM`.
    pub(super) term: &'a [u8],
    /// A shell without one.
    pub(super) command: &'a [u8],
    /// `NAME=VALUE`.
    pub(super) env: Vec<Vec<u8>>,
}

/// What the client says.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Word {
    /// It listens.
    Hello,
    /// The session is open.
    Opened,
    /// There will be none.
    Refused(String),
    /// The server gives out no terminal.
    NoTerminal,
    /// The command's exit status.
    Exit(u32),
}

/// A connection to the socket.
pub(super) struct Control {
    stream: UnixStream,
    buffer: Vec<u8>,
    /// The client has closed it: the session is over.
    pub(super) ended: bool,
}

impl Control {
    /// Connects, if the client listens yet.
    pub(super) fn connect(path: &Path) -> io::Result<Option<Self>> {
        match UnixStream::connect(path) {
            Ok(stream) => {
                let mut control = Control { stream, buffer: Vec::new(), ended: false };
                control.send(&[HELLO.to_be_bytes(), VERSION.to_be_bytes()].concat())?;
                Ok(Some(control))
            }
            Err(e) if matches!(e.kind(), io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused) => {
                Ok(None)
            }
            Err(e) => Err(e),
        }
    }

    /// Asks for the session, which will have the three descriptors as 0, 1 and 2.
    pub(super) fn ask(&mut self, request: &Request<'_>, std: [BorrowedFd<'_>; 3]) -> io::Result<()> {
        let message = encode(request)?;
        self.send(&message)?;
        std.into_iter().try_for_each(|fd| pass::send(self.stream.as_fd(), &[0], Some(fd)))
    }

    /// Reads what is there. To be called when there is something: it waits otherwise.
    pub(super) fn receive(&mut self) -> io::Result<Vec<Word>> {
        let mut chunk = [0_u8; 4096];
        match self.stream.read(&mut chunk) {
            Ok(0) => self.ended = true,
            Ok(n) => self.buffer.extend_from_slice(chunk.get(..n).unwrap_or_default()),
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            // It closed with something unread.
            Err(e) if e.raw_os_error().map(Errno::from_raw) == Some(Errno::ECONNRESET) => self.ended = true,
            Err(e) => return Err(e),
        }
        let mut words = Vec::new();
        while let Some(packet) = take_packet(&mut self.buffer)? {
            words.extend(understand(&packet)?);
        }
        Ok(words)
    }

    fn send(&mut self, message: &[u8]) -> io::Result<()> {
        self.stream.write_all(&string(message)?)
    }
}

impl AsFd for Control {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.stream.as_fd()
    }
}

/// A length and that many bytes.
pub(crate) fn string(bytes: &[u8]) -> io::Result<Vec<u8>> {
    let length = u32::try_from(bytes.len()).map_err(io::Error::other)?;
    Ok([&length.to_be_bytes()[..], bytes].concat())
}

fn encode(request: &Request<'_>) -> io::Result<Vec<u8>> {
    let x11 = false;
    let mut message = [NEW_SESSION.to_be_bytes(), 0_u32.to_be_bytes()].concat();
    message.extend(string(b"")?); // reserved
    for flag in [request.terminal, x11, request.agent, request.subsystem] {
        message.extend(u32::from(flag).to_be_bytes());
    }
    message.extend(NO_ESCAPE.to_be_bytes());
    for text in [request.term, request.command].into_iter().chain(request.env.iter().map(Vec::as_slice)) {
        message.extend(string(text)?);
    }
    Ok(message)
}

pub(crate) fn take_packet(buffer: &mut Vec<u8>) -> io::Result<Option<Vec<u8>>> {
    let Some(length) = number(buffer, 0) else { return Ok(None) };
    let length = usize::try_from(length).map_err(io::Error::other)?;
    if length > MAX_PACKET {
        return Err(io::ErrorKind::InvalidData.into());
    }
    let Some(packet) = buffer.get(4..4 + length).map(<[u8]>::to_vec) else { return Ok(None) };
    buffer.drain(..4 + length);
    Ok(Some(packet))
}

pub(crate) fn number(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_be_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

/// `None` for what says nothing to us.
fn understand(packet: &[u8]) -> io::Result<Option<Word>> {
    let short = || io::Error::from(io::ErrorKind::InvalidData);
    Ok(match number(packet, 0).ok_or_else(short)? {
        HELLO if number(packet, 4) == Some(VERSION) => Some(Word::Hello),
        HELLO => return Err(io::ErrorKind::Unsupported.into()),
        SESSION_OPENED => Some(Word::Opened),
        TTY_ALLOC_FAIL => Some(Word::NoTerminal),
        EXIT_MESSAGE => Some(Word::Exit(number(packet, 8).ok_or_else(short)?)),
        PERMISSION_DENIED | FAILURE => {
            Some(Word::Refused(String::from_utf8_lossy(packet.get(12..).unwrap_or_default()).into_owned()))
        }
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packet(numbers: &[u32], text: &[u8]) -> Vec<u8> {
        let body: Vec<u8> =
            numbers.iter().flat_map(|n| n.to_be_bytes()).chain(text.iter().copied()).collect();
        string(&body).unwrap()
    }

    fn control() -> (Control, UnixStream) {
        let (ours, theirs) = UnixStream::pair().unwrap();
        (Control { stream: ours, buffer: Vec::new(), ended: false }, theirs)
    }

    #[test]
    fn what_the_client_says_is_understood_however_it_is_cut() {
        let (mut control, mut client) = control();
        let all = [
            packet(&[HELLO, VERSION], b""),
            packet(&[SESSION_OPENED, 0, 2], b""),
            packet(&[0x8000_0099, 1], b"of another version"),
            packet(&[TTY_ALLOC_FAIL, 2], b""),
            packet(&[EXIT_MESSAGE, 2, 255], b""),
            packet(&[FAILURE, 0, 2], b"no"),
        ]
        .concat();
        let mut words = Vec::new();
        for piece in all.chunks(5) {
            client.write_all(piece).unwrap();
            words.extend(control.receive().unwrap());
        }
        let no = Word::Refused("no".to_owned());
        assert_eq!(words, [Word::Hello, Word::Opened, Word::NoTerminal, Word::Exit(255), no]);
        drop(client);
        assert!(control.receive().unwrap().is_empty() && control.ended);
    }

    #[test]
    fn nonsense_is_an_error_and_no_memory() {
        for nonsense in [
            packet(&[], b"abc"),
            u32::MAX.to_be_bytes().to_vec(),
            packet(&[HELLO, 3], b""),
            packet(&[EXIT_MESSAGE, 2], b""),
        ] {
            let (mut control, mut client) = control();
            client.write_all(&nonsense).unwrap();
            assert!(control.receive().is_err(), "{nonsense:?}");
        }
    }

    #[test]
    fn a_command_arrives_as_it_is_and_the_descriptors_behind_it() {
        let (mut control, client) = control();
        let command = b"echo \xff\n'x'";
        let env = vec![b"LANG=C".to_vec()];
        let request =
            Request { terminal: true, agent: false, subsystem: false, term: b"xterm", command, env };
        let null = vestibule_sys::fds::null().unwrap();
        control.ask(&request, [null.as_fd(), null.as_fd(), null.as_fd()]).unwrap();
        let sent = string(&encode(&request).unwrap()).unwrap();
        assert!(sent.windows(command.len()).any(|w| w == command));
        let mut read = vec![0; sent.len()];
        (&client).read_exact(&mut read).unwrap();
        assert_eq!(read, sent);
        for _ in 0..3 {
            let (byte, fd) = pass::receive_at_most(client.as_fd(), 1).unwrap().unwrap();
            assert!(byte == [0] && fd.is_some());
        }
    }
}
