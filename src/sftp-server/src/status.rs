//! How a request ended: the protocol's status codes, and which of them an error of the kernel is.

use std::io;

use nix::errno::Errno;

/// Status codes: draft-ietf-secsh-filexfer-02, section 7.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
pub(crate) enum Status {
    Ok = 0,
    Eof = 1,
    NoSuchFile = 2,
    PermissionDenied = 3,
    Failure = 4,
    BadMessage = 5,
    Unsupported = 8,
}

impl Status {
    pub(crate) fn code(self) -> u32 {
        self as u32
    }

    /// The words that OpenSSH's server has for it; clients show them.
    pub(crate) fn message(self) -> &'static str {
        match self {
            Status::Ok => "Success",
            Status::Eof => "End of file",
            Status::NoSuchFile => "No such file",
            Status::PermissionDenied => "Permission denied",
            Status::Failure => "Failure",
            Status::BadMessage => "Bad message",
            Status::Unsupported => "Operation unsupported",
        }
    }
}

/// Why there is no other answer than a status.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Fault {
    pub(crate) status: Status,
    pub(crate) message: &'static str,
}

impl From<Status> for Fault {
    fn from(status: Status) -> Self {
        Fault { status, message: status.message() }
    }
}

impl From<Errno> for Fault {
    fn from(errno: Errno) -> Self {
        let status = match errno {
            Errno::ENOENT | Errno::ENOTDIR | Errno::EBADF | Errno::ELOOP => Status::NoSuchFile,
            Errno::EPERM | Errno::EACCES | Errno::EFAULT => Status::PermissionDenied,
            Errno::ENAMETOOLONG | Errno::EINVAL => Status::BadMessage,
            Errno::ENOSYS => Status::Unsupported,
            _ => Status::Failure,
        };
        status.into()
    }
}

impl From<io::Error> for Fault {
    fn from(error: io::Error) -> Self {
        match (error.raw_os_error(), error.kind()) {
            (Some(number), _) => Errno::from_raw(number).into(),
            // The standard library's word for a NUL within a name.
            (None, io::ErrorKind::InvalidInput) => Status::BadMessage.into(),
            (None, _) => Status::Failure.into(),
        }
    }
}
