//! What can be wrong with an index beyond what the operating system says.

use std::error::Error;
use std::fmt::{self, Display, Formatter};
use std::io::{self, ErrorKind};

/// What is wrong with an index file. It travels inside an [`io::Error`]; [`Fault::of`] finds it there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// A directory, a FIFO, a device: anything but a regular file.
    NotRegular,
    /// Its group or others may write it.
    Writable,
    /// It doesn't start like an index.
    Foreign,
    /// It has a format version that this program doesn't know.
    Version(u32),
    /// It has another length than its header says, or is too short to have a header.
    Length {
        /// Bytes that the header asks for, or that the header has.
        expected: u64,
        /// Bytes that are there.
        found: u64,
    },
    /// Its header is damaged.
    Header,
    /// Too many names have their home in the same place. Chance doesn't do that: a rebuild from the names, with its
    /// new key, mends it.
    Crowded,
    /// More names than an index takes.
    TooMany,
    /// Another writer has held the lock for too long.
    Locked,
}

impl Fault {
    /// The fault that `error` carries, if it is one of an index.
    pub fn of(error: &io::Error) -> Option<Self> {
        error.get_ref().and_then(|inner| inner.downcast_ref::<Self>()).copied()
    }
}

impl Display for Fault {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match *self {
            Self::NotRegular => f.write_str("is not a regular file"),
            Self::Writable => f.write_str("may be written by others than its owner"),
            Self::Foreign => f.write_str("is not a name index"),
            Self::Version(version) => {
                write!(f, "is a name index of version {version}, unknown to this program")
            }
            Self::Length { expected, found } => {
                write!(f, "is a damaged name index: {found} bytes long where {expected} should be")
            }
            Self::Header => f.write_str("is a damaged name index: its header is wrong"),
            Self::Crowded => f.write_str("is crowded in one place; rebuild it from the names"),
            Self::TooMany => f.write_str("would hold more names than a name index takes"),
            Self::Locked => f.write_str("is being written by another process, for too long"),
        }
    }
}

impl Error for Fault {}

impl From<Fault> for io::Error {
    fn from(fault: Fault) -> Self {
        let kind = match fault {
            Fault::Version(_) => ErrorKind::Unsupported,
            Fault::Crowded | Fault::TooMany => ErrorKind::QuotaExceeded,
            Fault::Locked => ErrorKind::TimedOut,
            _ => ErrorKind::InvalidData,
        };
        Self::new(kind, fault)
    }
}
