//! What the process that reads the store tells the one that is root: bytes with their lengths before them, which need no
//! parser.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use vestibule_sys::process;

/// Bytes of a home's path, and of a file.
pub(crate) const MAX_HOME: usize = 4096;
pub(crate) const MAX_CONTENT: usize = 1 << 20;
/// Targets of one home that are told.
const MAX_TARGETS: usize = 4096;

/// One thing that is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Frame {
    /// What is to stand in the file of a home.
    File(Content),
    /// A home, with its targets, for which nothing in the store is other than before.
    Same(String, Vec<i64>),
    /// That was all; the next second (since 1970) at which something ends.
    End(Option<i64>),
    /// There is no answer, and why.
    Fault(String),
}

/// What is to stand in the file of a home.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Content {
    pub(crate) home: String,
    /// The store's numbers of the targets that have this home.
    pub(crate) targets: Vec<i64>,
    /// What in the store it was made of, as a number.
    pub(crate) state: u64,
    pub(crate) bytes: Vec<u8>,
    /// Whether there is a key in it.
    pub(crate) keys: bool,
}

impl Frame {
    pub(crate) fn write(&self, out: &mut impl Write) -> io::Result<()> {
        match self {
            Frame::File(Content { home, targets, state, bytes, keys }) => {
                out.write_all(&[1, u8::from(*keys)])?;
                put_home(out, home, targets)?;
                out.write_all(&state.to_be_bytes())?;
                put(out, bytes)
            }
            Frame::Same(home, targets) => {
                out.write_all(&[4, 0])?;
                put_home(out, home, targets)
            }
            Frame::End(next) => {
                out.write_all(&[2, u8::from(next.is_some())])?;
                out.write_all(&next.unwrap_or(0).to_be_bytes())
            }
            Frame::Fault(why) => {
                out.write_all(&[3, 0])?;
                put(out, why.get(..MAX_HOME).unwrap_or(why).as_bytes())
            }
        }
    }

    pub(crate) fn read(from: &mut impl Read) -> io::Result<Frame> {
        let mut head = [0; 2];
        from.read_exact(&mut head)?;
        match head {
            [1, keys @ (0 | 1)] => {
                let (home, targets) = take_home(from)?;
                let mut state = [0; 8];
                from.read_exact(&mut state)?;
                let (state, bytes) = (u64::from_be_bytes(state), take(from, MAX_CONTENT)?);
                Ok(Frame::File(Content { home, targets, state, bytes, keys: keys == 1 }))
            }
            [4, 0] => take_home(from).map(|(home, targets)| Frame::Same(home, targets)),
            [2, some @ (0 | 1)] => {
                let mut next = [0; 8];
                from.read_exact(&mut next)?;
                Ok(Frame::End((some == 1).then(|| i64::from_be_bytes(next))))
            }
            [3, 0] => text(take(from, MAX_HOME)?).map(Frame::Fault),
            _ => Err(io::ErrorKind::InvalidData.into()),
        }
    }
}

fn put(out: &mut impl Write, bytes: &[u8]) -> io::Result<()> {
    let length = u32::try_from(bytes.len()).map_err(io::Error::other)?;
    out.write_all(&length.to_be_bytes())?;
    out.write_all(bytes)
}

fn take(from: &mut impl Read, most: usize) -> io::Result<Vec<u8>> {
    let mut length = [0; 4];
    from.read_exact(&mut length)?;
    let length = usize::try_from(u32::from_be_bytes(length)).map_err(io::Error::other)?;
    if length > most {
        return Err(io::ErrorKind::InvalidData.into());
    }
    let mut bytes = vec![0; length];
    from.read_exact(&mut bytes)?;
    Ok(bytes)
}

fn put_home(out: &mut impl Write, home: &str, targets: &[i64]) -> io::Result<()> {
    put(out, home.as_bytes())?;
    let targets = targets.get(..MAX_TARGETS).unwrap_or(targets);
    put(out, &targets.iter().flat_map(|id| id.to_be_bytes()).collect::<Vec<u8>>())
}

fn take_home(from: &mut impl Read) -> io::Result<(String, Vec<i64>)> {
    let home = text(take(from, MAX_HOME)?)?;
    let targets = take(from, MAX_TARGETS * 8)?;
    let (targets, rest) = targets.as_chunks::<8>();
    if !rest.is_empty() {
        return Err(io::ErrorKind::InvalidData.into());
    }
    Ok((home, targets.iter().map(|id| i64::from_be_bytes(*id)).collect()))
}

fn text(bytes: Vec<u8>) -> io::Result<String> {
    String::from_utf8(bytes).map_err(|_| io::ErrorKind::InvalidData.into())
}

/// A pipe that is read until a time, and no longer.
pub(crate) struct Timed {
    pub(crate) pipe: File,
    pub(crate) end: Instant,
}

impl Read for Timed {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            let left = self.end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(io::ErrorKind::TimedOut.into());
            }
            if process::poll_readable(self.pipe.as_fd(), left + Duration::from_millis(1))? {
                return self.pipe.read(buffer);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_told_is_heard_and_nothing_else() {
        let file = Content {
            home: "/srv/a".to_owned(),
            targets: vec![1, 1 << 40],
            state: 1 << 60,
            bytes: b"ssh-x AAAA\n".to_vec(),
            keys: true,
        };
        let same = Frame::Same("/srv/b".to_owned(), vec![-1]);
        let all =
            [Frame::File(file), same, Frame::End(Some(7)), Frame::End(None), Frame::Fault("no".to_owned())];
        let mut told = Vec::new();
        for frame in &all {
            frame.write(&mut told).unwrap();
        }
        let mut rest = told.as_slice();
        for frame in &all {
            assert_eq!(Frame::read(&mut rest).unwrap(), *frame);
        }
        for wrong in [
            &b""[..],
            b"\x01",
            b"\x04\0",
            b"\x01\x01\0\x01\0\0",
            b"\x01\x01\xff\xff\xff\xff",
            b"\x02\x01abc",
            b"\x01\x01\0\0\0\x01\xff",
        ] {
            assert!(Frame::read(&mut &*wrong).is_err(), "{wrong:?}");
        }
    }
}
