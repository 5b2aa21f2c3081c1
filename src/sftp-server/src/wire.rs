//! The wire, inwards: packets, and the fields of one packet.
//!
//! Written here and not taken from a crate. Of those there are, `russh-sftp` brings an async runtime and holds names as
//! UTF-8 text, which file names are not, and `openssh-sftp-protocol` is the client's half. The format is a length, a
//! type and big-endian numbers and strings (draft-ietf-secsh-filexfer-02); reading it in place means that what a client
//! uploads goes from the buffer it arrived in to the file without being copied again.

use std::ffi::OsStr;
use std::io::{self, Read};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use crate::attributes::{Attributes, flag};

/// As many bytes as a packet may have after its length: OpenSSH's `SFTP_MAX_MSG_LENGTH`.
pub(crate) const MAX_PACKET: usize = 256 * 1024;

/// Room for one packet of any size and the beginning of the next.
const BUFFER: usize = 2 * (4 + MAX_PACKET);

/// The client does not speak the protocol. After this nothing that it sends can be trusted to begin where it should.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Broken {
    #[error("a packet of {0} bytes")]
    Length(usize),
    #[error("a packet ends within a field")]
    Truncated,
    #[error("a request before the version was agreed")]
    Early,
}

/// What arrived and has not been worked on.
pub(crate) struct Input {
    buffer: Box<[u8]>,
    start: usize,
    end: usize,
}

impl Input {
    pub(crate) fn new() -> Self {
        Input { buffer: vec![0; BUFFER].into_boxed_slice(), start: 0, end: 0 }
    }

    /// The next packet, without its length, if all of it is here.
    pub(crate) fn next_packet(&mut self) -> Result<Option<&[u8]>, Broken> {
        let waiting = self.buffer.get(self.start..self.end).unwrap_or_default();
        let Some((length, rest)) = waiting.split_first_chunk() else { return Ok(None) };
        let length = usize::try_from(u32::from_be_bytes(*length)).unwrap_or(usize::MAX);
        if length == 0 || length > MAX_PACKET {
            return Err(Broken::Length(length));
        }
        let packet = rest.get(..length);
        if packet.is_some() {
            self.start += 4 + length;
        }
        Ok(packet)
    }

    /// Reads once. To be called when no whole packet is waiting. Returns how many bytes came; 0 at the end.
    pub(crate) fn fill(&mut self, source: &mut impl Read) -> io::Result<usize> {
        if self.start > 0 && (self.start == self.end || self.buffer.len() - self.start < 4 + MAX_PACKET) {
            self.buffer.copy_within(self.start..self.end, 0);
            self.end -= self.start;
            self.start = 0;
        }
        let got = source.read(self.buffer.get_mut(self.end..).unwrap_or_default())?;
        self.end += got;
        Ok(got)
    }
}

/// A packet's fields, from the front.
#[derive(Debug, Clone)]
pub(crate) struct Fields<'a>(pub(crate) &'a [u8]);

impl<'a> Fields<'a> {
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    fn chunk<const N: usize>(&mut self) -> Result<[u8; N], Broken> {
        let (chunk, rest) = self.0.split_first_chunk().ok_or(Broken::Truncated)?;
        self.0 = rest;
        Ok(*chunk)
    }

    pub(crate) fn u8(&mut self) -> Result<u8, Broken> {
        self.chunk().map(u8::from_be_bytes)
    }

    pub(crate) fn u32(&mut self) -> Result<u32, Broken> {
        self.chunk().map(u32::from_be_bytes)
    }

    pub(crate) fn u64(&mut self) -> Result<u64, Broken> {
        self.chunk().map(u64::from_be_bytes)
    }

    /// Bytes with their length before them.
    pub(crate) fn string(&mut self) -> Result<&'a [u8], Broken> {
        let length = usize::try_from(self.u32()?).map_err(|_| Broken::Truncated)?;
        let (string, rest) = self.0.split_at_checked(length).ok_or(Broken::Truncated)?;
        self.0 = rest;
        Ok(string)
    }

    /// The name of a file: any bytes. One NUL at its end, which some clients send, is no part of it.
    pub(crate) fn path(&mut self) -> Result<&'a Path, Broken> {
        let string = self.string()?;
        Ok(Path::new(OsStr::from_bytes(string.strip_suffix(&[0]).unwrap_or(string))))
    }

    /// A handle that this server gave out. `None` for other bytes.
    pub(crate) fn handle(&mut self) -> Result<Option<u32>, Broken> {
        Ok(self.string()?.try_into().ok().map(u32::from_be_bytes))
    }

    /// Attributes. Extended ones are passed over.
    pub(crate) fn attributes(&mut self) -> Result<Attributes, Broken> {
        let flags = self.u32()?;
        let mut attributes = Attributes::default();
        if flags & flag::SIZE != 0 {
            attributes.size = Some(self.u64()?);
        }
        if flags & flag::OWNER != 0 {
            attributes.owner = Some((self.u32()?, self.u32()?));
        }
        if flags & flag::PERMISSIONS != 0 {
            attributes.permissions = Some(self.u32()?);
        }
        if flags & flag::TIMES != 0 {
            attributes.times = Some((self.u32()?, self.u32()?));
        }
        if flags & flag::EXTENDED != 0 {
            for _ in 0..self.u32()? {
                self.string()?;
                self.string()?;
            }
        }
        Ok(attributes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packets_come_out_as_they_went_in_however_they_arrive() {
        let sizes = [1, 5, MAX_PACKET, 7, MAX_PACKET - 1, 3000, MAX_PACKET];
        let mut stream = Vec::new();
        for size in sizes {
            stream.extend(u32::try_from(size).unwrap().to_be_bytes());
            stream.extend((0..size).map(|i| u8::try_from(i % 251).unwrap()));
        }
        for piece in [1_usize, 1000, 65_536, usize::MAX] {
            let (mut input, mut source, mut got) = (Input::new(), stream.as_slice(), Vec::new());
            loop {
                while let Some(packet) = input.next_packet().unwrap() {
                    assert!(packet.iter().enumerate().all(|(i, b)| usize::from(*b) == i % 251));
                    got.push(packet.len());
                }
                let limit = u64::try_from(piece).unwrap();
                let came = input.fill(&mut source.by_ref().take(limit)).unwrap();
                if came == 0 {
                    break;
                }
            }
            assert_eq!(got, sizes, "pieces of {piece}");
        }
    }

    #[test]
    fn a_length_of_nothing_or_too_much_is_refused() {
        for length in [0, 262_145, u32::MAX] {
            let mut input = Input::new();
            input.fill(&mut length.to_be_bytes().as_slice()).unwrap();
            let expected = Broken::Length(usize::try_from(length).unwrap());
            assert_eq!(input.next_packet().unwrap_err(), expected);
        }
    }

    #[test]
    fn attributes_are_read_by_their_flags() {
        let bytes = [
            &[0x80, 0, 0, 0x0f][..],
            &[0, 0, 0, 1, 0, 0, 0, 2],
            &[0, 0, 0, 3, 0, 0, 0, 4],
            &[0, 0, 1, 0xa4],
            &[0, 0, 0, 5, 0, 0, 0, 6],
            &[0, 0, 0, 1, 0, 0, 0, 1, b'x', 0, 0, 0, 2, b'y', b'z'],
            b"rest",
        ]
        .concat();
        let mut fields = Fields(&bytes);
        let expected = Attributes {
            size: Some(0x1_0000_0002),
            owner: Some((3, 4)),
            permissions: Some(0o644),
            times: Some((5, 6)),
        };
        assert_eq!(fields.attributes(), Ok(expected));
        assert_eq!(fields.0, b"rest");
        for end in 0..bytes.len() - 4 {
            assert_eq!(Fields(&bytes[..end]).attributes(), Err(Broken::Truncated), "cut at {end}");
        }
    }
}
