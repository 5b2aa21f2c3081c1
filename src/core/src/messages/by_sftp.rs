//! Telling a client of SFTP why there will be none.
//!
//! sshd throws away what a subsystem says on standard error, so `sftp` would show no more than a closed connection. What
//! it does show is the message of an answer in its own protocol (draft-ietf-secsh-filexfer-02, 3 and 7): so each request
//! is answered with the refusal, until the client has enough. (`scp` of OpenSSH 9.2 shows the status, not the message.)

use std::io::{self, Read, Write};
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use vestibule_sys::process::poll_readable;

use super::Line;

/// How long a client is listened to.
const PATIENCE: Duration = Duration::from_secs(5);
/// Clients ask a few times before they give up.
const MAX_REQUESTS: usize = 32;
/// More than any request that a client begins with.
const MAX_PACKET: u32 = 64 << 10;

const INIT: u8 = 1;
const VERSION: [u8; 9] = [0, 0, 0, 5, 2, 0, 0, 0, 3];
const STATUS: u8 = 101;
const FAILURE: u32 = 4;

/// Says a line to a client of SFTP: answers with it what comes on standard input, on standard output, for some seconds at
/// most. A client that does not speak the protocol gets nothing.
pub fn say_by_sftp(line: &Line) {
    let mut input = Bounded { from: io::stdin().lock(), end: Instant::now() + PATIENCE };
    let _ = answer(&mut input, &mut io::stdout().lock(), line.as_str().trim_end()); // nobody is left to be told
}

fn answer(input: &mut impl Read, output: &mut impl Write, message: &str) -> io::Result<()> {
    if packet(input)?.first() != Some(&INIT) {
        return Ok(());
    }
    output.write_all(&VERSION)?;
    output.flush()?;
    for _ in 0..MAX_REQUESTS {
        let request = packet(input)?;
        let Some(id) = request.get(1..5) else { return Ok(()) };
        let mut status = vec![STATUS];
        status.extend_from_slice(id);
        status.extend(FAILURE.to_be_bytes());
        put(&mut status, message.as_bytes())?;
        put(&mut status, b"")?; // the language
        let mut packet = Vec::new();
        put(&mut packet, &status)?;
        output.write_all(&packet)?;
        output.flush()?;
    }
    Ok(())
}

/// Adds a length and that many bytes.
fn put(to: &mut Vec<u8>, bytes: &[u8]) -> io::Result<()> {
    to.extend(u32::try_from(bytes.len()).map_err(io::Error::other)?.to_be_bytes());
    to.extend_from_slice(bytes);
    Ok(())
}

fn packet(input: &mut impl Read) -> io::Result<Vec<u8>> {
    let mut length = [0_u8; 4];
    input.read_exact(&mut length)?;
    let length = u32::from_be_bytes(length);
    if length > MAX_PACKET {
        return Err(io::ErrorKind::InvalidData.into());
    }
    let mut bytes = vec![0_u8; length as usize];
    input.read_exact(&mut bytes)?;
    Ok(bytes)
}

/// A reader that does not wait for ever.
struct Bounded<R> {
    from: R,
    end: Instant,
}

impl<R: Read + AsFd> Read for Bounded<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let left = self.end.saturating_duration_since(Instant::now());
        if left.is_zero() || !poll_readable(self.from.as_fd(), left)? {
            return Err(io::ErrorKind::TimedOut.into());
        }
        // Not through a buffer, in which bytes would be waiting that poll(2) does not see.
        nix::unistd::read(self.from.as_fd(), buffer).map_err(io::Error::from)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HELLO: &[u8] = b"\0\0\0\x05\x01\0\0\0\x03";

    fn answers(input: &[u8]) -> Vec<u8> {
        let mut output = Vec::new();
        let _ = answer(&mut &*input, &mut output, "no");
        output
    }

    #[test]
    fn each_request_is_answered_with_the_refusal() {
        let realpath = b"\0\0\0\x0a\x10\0\0\0\x07\0\0\0\x01.";
        let status = b"\0\0\0\x13\x65\0\0\0\x07\0\0\0\x04\0\0\0\x02no\0\0\0\0";
        let wanted = [&VERSION[..], status, status].concat();
        assert_eq!(answers(&[HELLO, realpath, realpath].concat()), wanted);
    }

    #[test]
    fn who_does_not_speak_the_protocol_is_told_nothing() {
        for other in
            [&b""[..], b"hello, world", b"\0\0\0\0", b"\0\0\0\x05\x02\0\0\0\x03", b"\xff\xff\xff\xff\x01"]
        {
            assert_eq!(answers(other), b"", "{other:?}");
        }
        assert_eq!(answers(&[HELLO, b"\0\0\0\x01\x10"].concat()), VERSION);
    }

    #[test]
    fn any_bytes_are_read_without_a_fault() {
        proptest::proptest!(|(bytes: Vec<u8>)| {
            answers(&bytes);
            answers(&[HELLO, &bytes].concat());
        });
    }
}
