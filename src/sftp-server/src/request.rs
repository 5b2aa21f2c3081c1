//! Requests: what a client asks for, read from a packet. Pure.

use std::path::Path;

use crate::attributes::Attributes;
use crate::operation::Operation;
use crate::wire::{Broken, Fields};

const INIT: u8 = 1;
const EXTENDED: u8 = 200;

/// A handle as a client gave it back, or bytes that never were one.
pub(crate) type HandleNumber = Option<u32>;

/// One packet of a client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Message<'a> {
    /// The client's version; its extensions are of no use here.
    Init { version: u32 },
    /// A request that there is.
    Request { id: u32, operation: Operation, fields: RequestFields<'a> },
    /// One that there is not.
    Unknown { id: u32 },
}

impl<'a> Message<'a> {
    /// Reads a packet's head. `agreed` says whether the version is.
    pub(crate) fn read(packet: &'a [u8], agreed: bool) -> Result<Self, Broken> {
        let mut fields = Fields(packet);
        let kind = fields.u8()?;
        if kind == INIT {
            return Ok(Message::Init { version: fields.u32()? });
        }
        if !agreed {
            return Err(Broken::Early);
        }
        let id = fields.u32()?;
        let operation = match kind {
            EXTENDED => Operation::of_extension(fields.string()?),
            kind => Operation::of_type(kind),
        };
        Ok(match operation {
            Some(operation) => Message::Request { id, operation, fields: RequestFields(fields.0) },
            None => Message::Unknown { id },
        })
    }
}

/// The fields of a request that have not been read, because a request that is refused isn't.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct RequestFields<'a>(&'a [u8]);

/// A request with its fields. Bytes after them are ignored, as OpenSSH's server does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Request<'a> {
    Open {
        path: &'a Path,
        flags: u32,
        attributes: Attributes,
    },
    Close {
        handle: HandleNumber,
    },
    Read {
        handle: HandleNumber,
        offset: u64,
        length: u32,
    },
    Write {
        handle: HandleNumber,
        offset: u64,
        data: &'a [u8],
    },
    Lstat {
        path: &'a Path,
    },
    Fstat {
        handle: HandleNumber,
    },
    Setstat {
        path: &'a Path,
        attributes: Attributes,
    },
    Fsetstat {
        handle: HandleNumber,
        attributes: Attributes,
    },
    Opendir {
        path: &'a Path,
    },
    Readdir {
        handle: HandleNumber,
    },
    Remove {
        path: &'a Path,
    },
    Mkdir {
        path: &'a Path,
        attributes: Attributes,
    },
    Rmdir {
        path: &'a Path,
    },
    Realpath {
        path: &'a Path,
    },
    Stat {
        path: &'a Path,
    },
    Rename {
        old: &'a Path,
        new: &'a Path,
    },
    Readlink {
        path: &'a Path,
    },
    /// In the order that OpenSSH has, which is not the draft's: what the link says, then where the link is.
    Symlink {
        target: &'a Path,
        link: &'a Path,
    },
    PosixRename {
        old: &'a Path,
        new: &'a Path,
    },
    Statvfs {
        path: &'a Path,
    },
    Fstatvfs {
        handle: HandleNumber,
    },
    Hardlink {
        old: &'a Path,
        new: &'a Path,
    },
    Fsync {
        handle: HandleNumber,
    },
    Lsetstat {
        path: &'a Path,
        attributes: Attributes,
    },
    Limits,
    ExpandPath {
        path: &'a Path,
    },
    /// `length` 0 is "to the end".
    CopyData {
        from: HandleNumber,
        from_offset: u64,
        length: u64,
        to: HandleNumber,
        to_offset: u64,
    },
    HomeDirectory {
        user: &'a [u8],
    },
    UsersGroupsById {
        users: Vec<u32>,
        groups: Vec<u32>,
    },
}

impl<'a> Request<'a> {
    pub(crate) fn read(operation: Operation, fields: RequestFields<'a>) -> Result<Self, Broken> {
        let mut f = Fields(fields.0);
        // The fields of a struct expression are evaluated in the order in which they are written: that of the wire.
        Ok(match operation {
            Operation::Open => {
                Request::Open { path: f.path()?, flags: f.u32()?, attributes: f.attributes()? }
            }
            Operation::Close => Request::Close { handle: f.handle()? },
            Operation::Read => Request::Read { handle: f.handle()?, offset: f.u64()?, length: f.u32()? },
            Operation::Write => Request::Write { handle: f.handle()?, offset: f.u64()?, data: f.string()? },
            Operation::Lstat => Request::Lstat { path: f.path()? },
            Operation::Fstat => Request::Fstat { handle: f.handle()? },
            Operation::Setstat => Request::Setstat { path: f.path()?, attributes: f.attributes()? },
            Operation::Fsetstat => Request::Fsetstat { handle: f.handle()?, attributes: f.attributes()? },
            Operation::Opendir => Request::Opendir { path: f.path()? },
            Operation::Readdir => Request::Readdir { handle: f.handle()? },
            Operation::Remove => Request::Remove { path: f.path()? },
            Operation::Mkdir => Request::Mkdir { path: f.path()?, attributes: f.attributes()? },
            Operation::Rmdir => Request::Rmdir { path: f.path()? },
            Operation::Realpath => Request::Realpath { path: f.path()? },
            Operation::Stat => Request::Stat { path: f.path()? },
            Operation::Rename => Request::Rename { old: f.path()?, new: f.path()? },
            Operation::Readlink => Request::Readlink { path: f.path()? },
            Operation::Symlink => Request::Symlink { target: f.path()?, link: f.path()? },
            Operation::PosixRename => Request::PosixRename { old: f.path()?, new: f.path()? },
            Operation::Statvfs => Request::Statvfs { path: f.path()? },
            Operation::Fstatvfs => Request::Fstatvfs { handle: f.handle()? },
            Operation::Hardlink => Request::Hardlink { old: f.path()?, new: f.path()? },
            Operation::Fsync => Request::Fsync { handle: f.handle()? },
            Operation::Lsetstat => Request::Lsetstat { path: f.path()?, attributes: f.attributes()? },
            Operation::Limits => Request::Limits,
            Operation::ExpandPath => Request::ExpandPath { path: f.path()? },
            Operation::CopyData => Request::CopyData {
                from: f.handle()?,
                from_offset: f.u64()?,
                length: f.u64()?,
                to: f.handle()?,
                to_offset: f.u64()?,
            },
            Operation::HomeDirectory => Request::HomeDirectory { user: f.string()? },
            Operation::UsersGroupsById => {
                Request::UsersGroupsById { users: numbers(f.string()?)?, groups: numbers(f.string()?)? }
            }
        })
    }

    /// Whether this may take long: what was answered before is sent first.
    pub(crate) fn may_take_long(&self) -> bool {
        matches!(self, Request::Open { .. } | Request::Fsync { .. } | Request::CopyData { .. })
    }
}

fn numbers(bytes: &[u8]) -> Result<Vec<u32>, Broken> {
    let mut fields = Fields(bytes);
    let mut numbers = Vec::with_capacity(bytes.len() / 4);
    while !fields.is_empty() {
        numbers.push(fields.u32()?);
    }
    Ok(numbers)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::operation::TABLE;

    fn string(bytes: &[u8]) -> Vec<u8> {
        [&u32::try_from(bytes.len()).unwrap().to_be_bytes(), bytes].concat()
    }

    fn read(packet: &[u8]) -> Result<Request<'_>, Broken> {
        match Message::read(packet, true)? {
            Message::Request { operation, fields, .. } => Request::read(operation, fields),
            other => panic!("no request: {other:?}"),
        }
    }

    #[test]
    fn numbers_are_big_endian_and_strings_are_bytes() {
        let packet = [
            &[6, 0, 0, 0, 9][..],
            &string(&[0, 0, 1, 2]),
            &[0, 0, 0, 1, 0, 0, 0, 2],
            &string(b"\xff\x00data"),
            b"ignored",
        ]
        .concat();
        let expected = Request::Write { handle: Some(0x102), offset: 0x1_0000_0002, data: b"\xff\x00data" };
        assert_eq!(read(&packet), Ok(expected));
    }

    #[test]
    fn names_keep_their_bytes_and_lose_one_nul() {
        use std::os::unix::ffi::OsStrExt;
        for (sent, expected) in
            [(&b"\xc3\x28 \n"[..], &b"\xc3\x28 \n"[..]), (b"x\0", b"x"), (b"x\0\0", b"x\0"), (b"", b"")]
        {
            let packet = [&[7, 0, 0, 0, 1][..], &string(sent)].concat();
            let path = Path::new(std::ffi::OsStr::from_bytes(expected));
            assert_eq!(read(&packet), Ok(Request::Lstat { path }));
        }
    }

    #[test]
    fn links_are_in_the_order_of_openssh() {
        let packet = [&[20, 0, 0, 0, 1][..], &string(b"says"), &string(b"stands")].concat();
        let expected = Request::Symlink { target: Path::new("says"), link: Path::new("stands") };
        assert_eq!(read(&packet), Ok(expected));
    }

    #[test]
    fn handles_of_other_lengths_are_none() {
        for handle in [&b""[..], b"123", b"12345", &[0; 300]] {
            let packet = [&[4, 0, 0, 0, 1][..], &string(handle)].concat();
            assert_eq!(read(&packet), Ok(Request::Close { handle: None }));
        }
    }

    #[test]
    fn nothing_comes_before_the_version() {
        assert_eq!(Message::read(&[17, 0, 0, 0, 1, 0, 0, 0, 0], false), Err(Broken::Early));
        assert_eq!(Message::read(&[1, 0, 0, 0, 3], false), Ok(Message::Init { version: 3 }));
        assert_eq!(Message::read(&[1, 0, 0], false), Err(Broken::Truncated));
        assert_eq!(Message::read(&[99, 0, 0, 0, 5], true), Ok(Message::Unknown { id: 5 }));
    }

    #[test]
    fn lists_of_numbers_are_whole() {
        let packet = |users: &[u8]| {
            [&[200, 0, 0, 0, 1][..], &string(b"users-groups-by-id@openssh.com"), &string(users), &string(&[])]
                .concat()
        };
        let expected = Request::UsersGroupsById { users: vec![5, 6], groups: vec![] };
        assert_eq!(read(&packet(&[0, 0, 0, 5, 0, 0, 0, 6])), Ok(expected));
        assert_eq!(read(&packet(&[0, 0, 0, 5, 0])), Err(Broken::Truncated));
    }

    proptest! {
        #[test]
        fn any_bytes_are_a_message_or_a_fault(packet: Vec<u8>, agreed: bool) {
            if let Ok(Message::Request { operation, fields, .. }) = Message::read(&packet, agreed) {
                let _ = Request::read(operation, fields);
            }
        }

        #[test]
        fn any_fields_are_a_request_or_a_fault(entry in 0..TABLE.len(), fields: Vec<u8>) {
            let _ = Request::read(TABLE[entry].operation, RequestFields(&fields));
        }

        /// Strings whose lengths fit, so that what comes after them is reached.
        #[test]
        fn any_strings_are_a_request_or_a_fault(
            entry in 0..TABLE.len(),
            parts in prop::collection::vec(prop_oneof![
                prop::collection::vec(any::<u8>(), 0..9).prop_map(|b| string(&b)),
                prop::collection::vec(any::<u8>(), 4..=8),
            ], 0..8),
        ) {
            let _ = Request::read(TABLE[entry].operation, RequestFields(&parts.concat()));
        }
    }
}
