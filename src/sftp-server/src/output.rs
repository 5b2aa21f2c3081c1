//! The wire, outwards: answers are gathered here and sent together.

use std::io::{self, Write};

use crate::attributes::{Attributes, flag};
use crate::status::Fault;

/// Packet types of answers: draft-ietf-secsh-filexfer-02, section 3.
pub(crate) mod kind {
    pub(crate) const VERSION: u8 = 2;
    pub(crate) const STATUS: u8 = 101;
    pub(crate) const HANDLE: u8 = 102;
    pub(crate) const DATA: u8 = 103;
    pub(crate) const NAME: u8 = 104;
    pub(crate) const ATTRS: u8 = 105;
    pub(crate) const EXTENDED_REPLY: u8 = 201;
}

/// Answers that have not been sent.
///
/// The buffer is as long as it ever was, so that a read lands in it without its bytes being set to zero before.
pub(crate) struct Output {
    buffer: Vec<u8>,
    end: usize,
}

impl Output {
    pub(crate) fn new() -> Self {
        Output { buffer: Vec::new(), end: 0 }
    }

    pub(crate) fn len(&self) -> usize {
        self.end
    }

    /// Sends everything.
    pub(crate) fn flush(&mut self, sink: &mut impl Write) -> io::Result<()> {
        let waiting = self.buffer.get(..self.end).unwrap_or_default();
        self.end = 0;
        if waiting.is_empty() { Ok(()) } else { sink.write_all(waiting) }
    }

    /// Begins a packet.
    pub(crate) fn packet(&mut self, kind: u8) -> Packet<'_> {
        let start = self.end;
        let mut packet = Packet { output: self, start };
        packet.put(&[0; 4]);
        packet.put(&[kind]);
        packet
    }

    /// Begins the answer to a request.
    pub(crate) fn answer(&mut self, kind: u8, id: u32) -> Packet<'_> {
        let mut packet = self.packet(kind);
        packet.u32(id);
        packet
    }

    /// Answers with a status. Versions before 3 have no words.
    pub(crate) fn status(&mut self, id: u32, fault: Fault, version: u32) {
        let mut packet = self.answer(kind::STATUS, id);
        packet.u32(fault.status.code());
        if version >= 3 {
            packet.string(fault.message.as_bytes());
            packet.string(b""); // the language of the message
        }
        packet.send();
    }

    /// Answers with data: as many of at most `length` bytes as `read` puts into its argument. Nothing is answered when it
    /// fails or puts none, unless none were asked for.
    pub(crate) fn data(
        &mut self,
        id: u32,
        length: usize,
        read: impl FnOnce(&mut [u8]) -> io::Result<usize>,
    ) -> io::Result<usize> {
        let start = self.end;
        let mut packet = self.answer(kind::DATA, id);
        packet.u32(0);
        let data = packet.output.end;
        match read(packet.output.space(length)) {
            Ok(got) if got > 0 || length == 0 => {
                packet.patch(data - 4, got);
                packet.output.end = data + got;
                packet.send();
                Ok(got)
            }
            nothing => {
                self.end = start;
                nothing
            }
        }
    }

    /// Free room for `length` bytes.
    fn space(&mut self, length: usize) -> &mut [u8] {
        let end = self.end + length;
        if self.buffer.len() < end {
            self.buffer.resize(end.next_power_of_two(), 0);
        }
        self.buffer.get_mut(self.end..end).unwrap_or_default()
    }
}

/// A packet under way. It counts once it is [sent](Packet::send) or [given up](Packet::forget).
#[must_use]
pub(crate) struct Packet<'a> {
    output: &'a mut Output,
    start: usize,
}

impl Packet<'_> {
    fn put(&mut self, bytes: &[u8]) {
        self.output.space(bytes.len()).copy_from_slice(bytes);
        self.output.end += bytes.len();
    }

    /// Where the next field will stand, for [`Packet::patch`] and [`Packet::len`].
    pub(crate) fn len(&self) -> usize {
        self.output.end - self.start
    }

    /// Sets the number at an offset of the buffer to one that was not known before.
    fn patch(&mut self, at: usize, number: usize) {
        let number = u32::try_from(number).unwrap_or(u32::MAX).to_be_bytes();
        if let Some(place) = self.output.buffer.get_mut(at..at + 4) {
            place.copy_from_slice(&number);
        }
    }

    pub(crate) fn u32(&mut self, number: u32) {
        self.put(&number.to_be_bytes());
    }

    pub(crate) fn u64(&mut self, number: u64) {
        self.put(&number.to_be_bytes());
    }

    pub(crate) fn string(&mut self, bytes: &[u8]) {
        self.u32(u32::try_from(bytes.len()).unwrap_or(u32::MAX));
        self.put(bytes);
    }

    /// A number that is set later, by the returned offset.
    pub(crate) fn later(&mut self) -> Later {
        let at = self.output.end;
        self.u32(0);
        Later { at }
    }

    /// Sets a number that was left for later.
    pub(crate) fn now(&mut self, later: &Later, number: usize) {
        self.patch(later.at, number);
    }

    /// Sets a string's length that was left for later: what was put since is the string.
    pub(crate) fn string_since(&mut self, later: &Later) {
        let length = self.output.end - later.at - 4;
        self.patch(later.at, length);
    }

    pub(crate) fn attributes(&mut self, attributes: &Attributes) {
        let flags = [
            (attributes.size.is_some(), flag::SIZE),
            (attributes.owner.is_some(), flag::OWNER),
            (attributes.permissions.is_some(), flag::PERMISSIONS),
            (attributes.times.is_some(), flag::TIMES),
        ];
        self.u32(flags.iter().filter(|(is_there, _)| *is_there).map(|(_, flag)| flag).sum());
        if let Some(size) = attributes.size {
            self.u64(size);
        }
        for (first, second) in [attributes.owner].into_iter().flatten() {
            self.u32(first);
            self.u32(second);
        }
        if let Some(permissions) = attributes.permissions {
            self.u32(permissions);
        }
        if let Some((accessed, modified)) = attributes.times {
            self.u32(accessed);
            self.u32(modified);
        }
    }

    /// The packet is whole.
    pub(crate) fn send(mut self) {
        let (start, length) = (self.start, self.len() - 4);
        self.patch(start, length);
    }

    /// The packet never was.
    pub(crate) fn forget(self) {
        self.output.end = self.start;
    }
}

/// The place of a number that is set later.
pub(crate) struct Later {
    at: usize,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sent(output: &mut Output) -> Vec<u8> {
        let mut sink = Vec::new();
        output.flush(&mut sink).unwrap();
        assert_eq!(output.len(), 0);
        sink
    }

    #[test]
    fn answers_are_sent_once_and_in_order() {
        let mut output = Output::new();
        let mut packet = output.answer(kind::HANDLE, 7);
        packet.string(b"abcd");
        packet.send();
        output.answer(kind::NAME, 8).forget();
        let got = output.data(9, 100, |space| {
            space[..3].copy_from_slice(b"xyz");
            Ok(3)
        });
        assert_eq!(got.unwrap(), 3);
        let expected = [
            &[0, 0, 0, 13, 102, 0, 0, 0, 7, 0, 0, 0, 4][..],
            b"abcd",
            &[0, 0, 0, 12, 103, 0, 0, 0, 9, 0, 0, 0, 3],
            b"xyz",
        ];
        assert_eq!(sent(&mut output), expected.concat());
        assert_eq!(sent(&mut output), b"");
    }

    #[test]
    fn nothing_read_is_no_answer_unless_nothing_was_wanted() {
        let mut output = Output::new();
        assert_eq!(output.data(1, 5, |_| Ok(0)).unwrap(), 0);
        assert!(output.data(1, 5, |_| Err(io::ErrorKind::Other.into())).is_err());
        assert_eq!(output.len(), 0);
        assert_eq!(output.data(1, 0, |_| Ok(0)).unwrap(), 0);
        assert_eq!(sent(&mut output), [0, 0, 0, 9, 103, 0, 0, 0, 1, 0, 0, 0, 0]);
    }
}
