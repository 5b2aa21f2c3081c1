//! The audit log: one datagram to `/dev/log` for each line, facility AUTHPRIV, in the form of RFC 3164.
//!
//! syslog(3) is not used: it waits when the log daemon does not read, and a login must not.

use std::fmt;
use std::io;
use std::os::unix::net::UnixDatagram;

/// How much a line matters, as syslog(3) numbers it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Severity {
    /// Something is broken and somebody should mend it.
    Error = 3,
    /// Something was passed over.
    Warning = 4,
    /// A decision, as every login makes.
    Info = 6,
}

/// `LOG_AUTHPRIV`.
const FACILITY: u8 = 10;
/// Longer lines are cut: old daemons take 1024 bytes, and what is untrusted was bounded before.
const MAX_LINE: usize = 1000;

/// A connection to the log daemon. Without one, lines are lost; a login does not depend on them.
#[derive(Debug)]
pub struct Syslog {
    socket: Option<UnixDatagram>,
    program: &'static str,
}

impl Syslog {
    /// Opens the log for `program`.
    #[must_use]
    pub fn open(program: &'static str) -> Self {
        let connect = || -> io::Result<UnixDatagram> {
            let socket = UnixDatagram::unbound()?;
            socket.set_nonblocking(true)?;
            socket.connect("/dev/log")?;
            Ok(socket)
        };
        Syslog { socket: connect().ok(), program }
    }

    /// Sends one line; control characters are escaped and the end of a long line is cut. The time is the log daemon's.
    pub fn line(&self, severity: Severity, text: fmt::Arguments<'_>) {
        let Some(socket) = &self.socket else { return };
        let head = format!("<{}>{}[{}]: ", FACILITY * 8 + severity as u8, self.program, std::process::id());
        let mut line = head + &escape(&text.to_string());
        if line.len() > MAX_LINE {
            let end = (0..=MAX_LINE - 3).rev().find(|&i| line.is_char_boundary(i)).unwrap_or(0);
            line.truncate(end);
            line.push_str("...");
        }
        // A full queue or a daemon that went away must not hold up a login.
        let _ = socket.send(line.as_bytes());
    }
}

/// Text with control characters as `\n`, `\t`, `\u{..}`, so that a line stays one line.
fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        if c.is_control() { out.extend(c.escape_default()) } else { out.push(c) }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_line_stays_one_line() {
        assert_eq!(escape("a\nb\u{1b}[2J é"), "a\\nb\\u{1b}[2J é");
    }
}
