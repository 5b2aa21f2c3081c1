//! What a client gives a session to use inside: its agent, its X display. Made by the worker when it is in the container and
//! is its user. A session without one is better than none.

use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixListener;

use vestibule::messages::Notice;

use crate::args::Session;
use crate::nest::{AGENT, AUTHORITY, Nest};
use crate::users::User;
use crate::worker::notice;

/// What was made of it.
#[derive(Default)]
pub(crate) struct Gifts {
    nest: Option<Nest>,
    agent: Option<(UnixListener, Vec<u8>)>,
    /// The display's name, and the path of its cookie.
    display: Option<(Vec<u8>, Vec<u8>)>,
}

impl Gifts {
    /// Makes what the session's client offers.
    pub(crate) fn make(session: &Session, user: &User) -> Self {
        let client = &session.client;
        if client.agent.is_none() && client.display.is_none() {
            return Gifts::default();
        }
        let mut gifts = Gifts::default();
        let made = Nest::make(&session.id, &user.home);
        if client.agent.is_some() {
            let of = |nest: &Nest| nest.listen().map(|listener| (listener, nest.path_of(AGENT)));
            match made.as_ref().map_err(again).and_then(of) {
                Ok(agent) => gifts.agent = Some(agent),
                Err(e) => notice(session, &Notice::NoAgent { why: (&e).into() }),
            }
        }
        if let Some(display) = &client.display {
            match made.as_ref().map_err(again).and_then(|nest| put(nest, display)) {
                Ok(display) => gifts.display = Some(display),
                Err(e) => notice(session, &Notice::NoDisplay { why: (&e).into() }),
            }
        }
        gifts.nest = made.ok();
        gifts
    }

    /// The path of the agent's socket.
    pub(crate) fn agent(&self) -> Option<&[u8]> {
        self.agent.as_ref().map(|(_, path)| path.as_slice())
    }

    /// The display, and the path of its cookie.
    pub(crate) fn display(&self) -> Option<(&[u8], &[u8])> {
        self.display.as_ref().map(|(display, authority)| (display.as_slice(), authority.as_slice()))
    }

    /// For the monitor: the agent's socket, and what keeps all of it until it is closed.
    pub(crate) fn keep(self, session: &Session) -> (Option<UnixListener>, Option<OwnedFd>) {
        let Some(nest) = self.nest else { return (None, None) };
        match nest.keep() {
            Ok(lifeline) => (self.agent.map(|(listener, _)| listener), Some(lifeline)),
            Err(e) => {
                if self.agent.is_some() {
                    notice(session, &Notice::NoAgent { why: (&e).into() });
                }
                if self.display.is_some() {
                    notice(session, &Notice::NoDisplay { why: (&e).into() });
                }
                (None, None)
            }
        }
    }
}

/// Puts the cookie of a display into the nest; the display's name, and the cookie's path.
fn put(nest: &Nest, display: &[u8]) -> io::Result<(Vec<u8>, Vec<u8>)> {
    let (name, cookie) = understood(display).ok_or(io::ErrorKind::InvalidData)?;
    nest.write(AUTHORITY, &cookie)?;
    Ok((name, nest.path_of(AUTHORITY)))
}

/// A display, and the bytes of a file, as `route-session` passes them.
fn understood(text: &[u8]) -> Option<(Vec<u8>, Vec<u8>)> {
    let space = text.iter().position(|b| *b == b' ')?;
    let (name, digits) = (text.get(..space)?, text.get(space + 1..)?);
    let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    let byte = |pair: &[u8]| match pair {
        [high, low] => Some(digit(*high)? << 4 | digit(*low)?),
        _ => None,
    };
    Some((name.to_vec(), digits.chunks(2).map(byte).collect::<Option<_>>()?))
}

fn again(e: &io::Error) -> io::Error {
    e.raw_os_error().map_or_else(|| e.kind().into(), io::Error::from_raw_os_error)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_display_and_its_cookie_are_understood() {
        assert_eq!(
            understood(b"localhost:10.0 ffff00"),
            Some((b"localhost:10.0".to_vec(), vec![0xff, 0xff, 0]))
        );
        for wrong in [&b""[..], b"localhost:10.0", b"localhost:10.0 f", b"localhost:10.0 gg", b"x \xff\xff"] {
            assert_eq!(understood(wrong), None, "{wrong:?}");
        }
    }
}
