//! What can go wrong between a question and its answer, and whether it may pass.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

/// Why a hub gave no answer that counts. None of the texts holds a byte of the answer, or of the token.
#[derive(Debug, thiserror::Error)]
pub(crate) enum HttpFault {
    /// The address in the configuration.
    #[error("{0}")]
    Address(&'static str),
    /// The file of certificates.
    #[error("can't read certificates from '{}': {why}", .path.display())]
    Certificates {
        /// Which file.
        path: PathBuf,
        /// Why.
        why: String,
    },
    /// No connection, or it broke.
    #[error("{0}")]
    Connection(String),
    /// TLS was refused.
    #[error("no trust: {0}")]
    Tls(String),
    /// Too slow.
    #[error("it takes too long ({0})")]
    TooSlow(String),
    /// Neither an answer nor an empty one.
    #[error("the answer is {status}{}", hint(*.status))]
    Status {
        /// The code.
        status: u16,
        /// When to come again, if the answer said so.
        after: Option<Duration>,
    },
    /// To another host, to nowhere, or in circles.
    #[error("the answer is a redirect that is not followed: to another host, or one too many")]
    Redirect,
    /// No HTTP.
    #[error("the answer is not HTTP as it should be: {0}")]
    Protocol(String),
    /// Compressed in a way that was not asked for.
    #[error("the answer is packed, and not by gzip")]
    Coding,
    /// More than is read.
    #[error("the answer has more than {max} bytes")]
    TooBig {
        /// The limit.
        max: usize,
    },
    /// It ended too soon.
    #[error("the answer was cut")]
    Cut,
}

fn hint(status: u16) -> &'static str {
    match status {
        401 | 403 => ": is the token right?",
        429 => ": too many questions",
        500..=599 => ": the fault is on the other side",
        _ => "",
    }
}

impl HttpFault {
    /// Whether the same question may be answered a little later.
    pub(super) fn may_pass(&self) -> bool {
        match self {
            HttpFault::Connection(_) | HttpFault::TooSlow(_) | HttpFault::Cut => true,
            HttpFault::Status { status, .. } => matches!(status, 408 | 425 | 429 | 500 | 502 | 503 | 504),
            _ => false,
        }
    }

    /// When the other side asks to come again.
    pub(crate) fn after(&self) -> Option<Duration> {
        match self {
            HttpFault::Status { after, .. } => *after,
            _ => None,
        }
    }

    pub(super) fn from_read(error: io::Error) -> HttpFault {
        match error.kind() {
            io::ErrorKind::UnexpectedEof => HttpFault::Cut,
            io::ErrorKind::TimedOut => HttpFault::TooSlow("its body".to_owned()),
            _ => from_io(error),
        }
    }
}

/// What an error of reading or writing holds inside.
fn from_io(error: io::Error) -> HttpFault {
    match error.downcast::<ureq::Error>() {
        Ok(inner) => inner.into(),
        Err(error) => match error.downcast::<rustls::Error>() {
            Ok(inner) => HttpFault::Tls(inner.to_string()),
            Err(error) => HttpFault::Connection(error.to_string()),
        },
    }
}

impl From<ureq::Error> for HttpFault {
    fn from(error: ureq::Error) -> Self {
        use ureq::Error;
        match error {
            Error::Timeout(which) => HttpFault::TooSlow(which.to_string()),
            Error::Io(error) if error.kind() == io::ErrorKind::UnexpectedEof => HttpFault::Cut,
            Error::Io(error) => from_io(error),
            Error::HostNotFound => HttpFault::Connection("the host's name is not known".to_owned()),
            Error::ConnectionFailed => HttpFault::Connection("no connection".to_owned()),
            Error::Rustls(error) => HttpFault::Tls(error.to_string()),
            Error::Tls(why) => HttpFault::Tls(why.to_owned()),
            Error::Decompress(_, error) if error.kind() == io::ErrorKind::UnexpectedEof => HttpFault::Cut,
            Error::Decompress(..) => HttpFault::Protocol("its gzip is damaged".to_owned()),
            Error::BadUri(_) => HttpFault::Address("the address is not one"),
            Error::Protocol(error) => HttpFault::Protocol(error.to_string()),
            Error::LargeResponseHeader(..) => HttpFault::Protocol("its headers are too long".to_owned()),
            other => HttpFault::Protocol(other.to_string()),
        }
    }
}
