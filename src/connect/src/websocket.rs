//! A WebSocket as a stream of bytes: binary messages, as jupyter-server-proxy carries a raw socket.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::time::{Duration, Instant};

use bytes::Bytes;
use tungstenite::error::{Error, ProtocolError};
use tungstenite::protocol::frame::coding::CloseCode;
use tungstenite::protocol::{CloseFrame, Message, Role, WebSocket, WebSocketConfig};
use vestibule::messages::shown;

use crate::carry::{Link, Taken};
use crate::failure::Failure;
use crate::site::Site;
use crate::wire::Wire;
use crate::{dial, handshake};

/// A message is held whole. Servers cut a stream into pieces of some kilobytes.
const MAX_MESSAGE: usize = 16 << 20;
const BUFFER: usize = 128 << 10;
/// When nothing was heard for so long, the other side is asked whether it is there; proxies close what says nothing.
const PING_AFTER: Duration = Duration::from_secs(25);
/// And has so long to answer.
const PONG_WITHIN: Duration = Duration::from_secs(30);
/// For words that nobody waits for.
pub(crate) const MOMENT: Duration = Duration::from_secs(1);

/// One that is open.
pub(crate) struct Socket {
    inner: WebSocket<Wire>,
    /// Of the site.
    name: String,
    /// Some bytes came.
    fed: bool,
    heard: Instant,
    pinged: Option<Instant>,
    /// Nothing more is sent.
    finished: bool,
    /// The other side said that it ends.
    closed: bool,
}

/// Opens it.
pub(crate) fn open(site: &Site, path: &str, within: Duration) -> Result<Socket, Failure> {
    let mut wire = dial::dial(site, Instant::now() + within)?;
    let rest = handshake::open(&mut wire, site, path)?;
    wire.never_wait().map_err(|e| Failure::setup(format_args!("fcntl: {e}")))?;
    let config = WebSocketConfig::default()
        .read_buffer_size(BUFFER)
        .write_buffer_size(0)
        .max_message_size(Some(MAX_MESSAGE))
        .max_frame_size(Some(MAX_MESSAGE));
    Ok(Socket {
        inner: WebSocket::from_partially_read(wire, rest, Role::Client, Some(config)),
        name: shown(&site.name),
        fed: false,
        heard: Instant::now(),
        pinged: None,
        finished: false,
        closed: false,
    })
}

/// What a code means; RFC 6455, section 7.4.1, and the registry of IANA.
fn words_of(code: CloseCode) -> &'static str {
    match u16::from(code) {
        1001 => "it goes away",
        1002 => "it takes what it got for no WebSocket",
        1003 => "it does not take bytes",
        1007 => "it can't read what it got",
        1008 => "its policy is against it",
        1009 => "what it got was too big for it",
        1010 => "it wants an extension",
        1011 => "something went wrong there",
        1012 => "it restarts",
        1013 => "it has too much to do",
        1014 => "the server behind it gave no proper answer",
        _ => "for a reason of its own",
    }
}

impl Socket {
    /// The other side, or the way there, ended it in a way that is no end.
    fn lost(&self, words: &str, cause: impl std::fmt::Display) -> Failure {
        if self.fed {
            Failure::lost(format_args!("the site '{}' {words}", self.name), cause)
        } else {
            Failure::unreachable(format_args!("the site '{}' {words}, before a byte came", self.name), cause)
        }
    }

    fn closed_with(&mut self, frame: Option<&CloseFrame>) -> Result<Taken, Failure> {
        self.closed = true;
        // The answer, which is due, is sent before this is told.
        let _ = self.inner.flush();
        let code = frame.map(|frame| frame.code);
        if self.finished || matches!(code, None | Some(CloseCode::Normal | CloseCode::Status)) {
            return Ok(Taken::End);
        }
        let code = code.unwrap_or(CloseCode::Status);
        let reason = frame.map(|frame| frame.reason.as_str()).unwrap_or_default();
        let words = format!("ended the connection with code {}: {}", u16::from(code), words_of(code));
        Err(self.lost(&words, format_args!("close {} '{}'", u16::from(code), shown(reason))))
    }

    /// Says why nothing more is wanted, if that can be said at once.
    fn refuse(&mut self, code: CloseCode) {
        let _ = self.inner.close(Some(CloseFrame { code, reason: "".into() }));
        let _ = self.inner.flush();
    }

    fn broken(&mut self, error: &Error) -> Result<Taken, Failure> {
        match error {
            Error::Io(e) if e.kind() == io::ErrorKind::WouldBlock => Ok(Taken::Nothing),
            Error::ConnectionClosed | Error::AlreadyClosed => Ok(Taken::End),
            // Who was told that it is over may just hang up.
            Error::Io(_) | Error::Protocol(ProtocolError::ResetWithoutClosingHandshake)
                if self.finished || self.closed =>
            {
                Ok(Taken::End)
            }
            Error::Io(_) | Error::Protocol(ProtocolError::ResetWithoutClosingHandshake) => {
                Err(self.lost("hung up in the middle", error))
            }
            Error::Capacity(_) => {
                self.refuse(CloseCode::Size);
                Err(self.lost("sends messages that are too big", error))
            }
            _ => {
                self.refuse(CloseCode::Protocol);
                Err(self.lost("does not speak WebSocket as it should", error))
            }
        }
    }
}

impl Link for Socket {
    fn fd(&self) -> BorrowedFd<'_> {
        self.inner.get_ref().as_fd()
    }

    fn take(&mut self) -> Result<Taken, Failure> {
        let message = match self.inner.read() {
            Ok(message) => message,
            Err(error) => return self.broken(&error),
        };
        (self.heard, self.pinged) = (Instant::now(), None);
        match message {
            Message::Binary(bytes) if bytes.is_empty() => Ok(Taken::Word),
            Message::Binary(bytes) => {
                self.fed = true;
                Ok(Taken::Bytes(bytes))
            }
            Message::Close(frame) => self.closed_with(frame.as_ref()),
            Message::Ping(_) | Message::Pong(_) | Message::Frame(_) => Ok(Taken::Word),
            Message::Text(_) => {
                self.refuse(CloseCode::Unsupported);
                Err(self.lost("sends text in the place of bytes", "a text message"))
            }
        }
    }

    fn give(&mut self, piece: &[u8]) -> Result<(), Failure> {
        self.send(Message::Binary(Bytes::copy_from_slice(piece)))
    }

    fn push(&mut self) -> Result<bool, Failure> {
        match self.inner.flush() {
            Ok(()) => Ok(true),
            Err(Error::Io(e)) if e.kind() == io::ErrorKind::WouldBlock => Ok(false),
            // What it said before that is still to be read, and says why.
            Err(_) => Ok(true),
        }
    }

    /// A WebSocket has no end of one direction: it is closed, and what still comes is taken.
    fn finish(&mut self) -> Result<bool, Failure> {
        self.finished = true;
        match self.inner.close(Some(CloseFrame { code: CloseCode::Normal, reason: "".into() })) {
            Ok(()) | Err(_) => Ok(true),
        }
    }

    fn tick(&mut self, listened: bool) -> Result<(Option<Duration>, bool), Failure> {
        let now = Instant::now();
        if !listened {
            // Nobody listens for an answer.
            (self.heard, self.pinged) = (now, None);
            return Ok((None, false));
        }
        if self.finished || self.closed {
            return Ok((None, false));
        }
        if let Some(pinged) = self.pinged {
            let left = (pinged + PONG_WITHIN).saturating_duration_since(now);
            if left.is_zero() {
                return Err(self.lost("does not answer any more", "no pong"));
            }
            return Ok((Some(left), false));
        }
        let left = (self.heard + PING_AFTER).saturating_duration_since(now);
        if !left.is_zero() {
            return Ok((Some(left), false));
        }
        self.pinged = Some(now);
        self.send(Message::Ping(Bytes::new()))?;
        Ok((Some(PONG_WITHIN), true))
    }

    fn abandon(&mut self) {
        if !self.finished && !self.closed {
            let _ = self.inner.close(Some(CloseFrame { code: CloseCode::Away, reason: "".into() }));
        }
        let wire = self.inner.get_mut();
        wire.wait_until(Instant::now() + MOMENT);
        let _ = self.inner.flush();
    }
}

impl Socket {
    /// Takes a message over; one that can't be sent now is sent by [`Link::push`].
    fn send(&mut self, message: Message) -> Result<(), Failure> {
        match self.inner.write(message) {
            Ok(()) => Ok(()),
            Err(Error::Io(e)) if e.kind() == io::ErrorKind::WouldBlock => Ok(()),
            // The other side has closed, or hung up: what it said before that is still to be read, and says why.
            Err(Error::ConnectionClosed | Error::AlreadyClosed | Error::Protocol(_) | Error::Io(_)) => Ok(()),
            Err(error) => Err(self.lost("can't be spoken to", error)),
        }
    }
}
