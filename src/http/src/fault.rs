//! What can go wrong between a question and its answer, and whether it may pass.

use std::error::Error;
use std::io;
use std::path::PathBuf;
use std::time::Duration;

/// Why a hub gave no answer that counts. None of the texts holds a byte of the answer, or of the token.
#[derive(Debug, thiserror::Error)]
pub enum HttpFault {
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
    pub fn may_pass(&self) -> bool {
        match self {
            HttpFault::Connection(_) | HttpFault::TooSlow(_) | HttpFault::Cut => true,
            HttpFault::Status { status, .. } => matches!(status, 408 | 425 | 429 | 500 | 502 | 503 | 504),
            _ => false,
        }
    }

    /// When the other side asks to come again.
    pub fn after(&self) -> Option<Duration> {
        match self {
            HttpFault::Status { after, .. } => *after,
            _ => None,
        }
    }

    /// Whether what was asked for can't have been begun.
    pub fn was_not_heard(&self) -> bool {
        matches!(self, HttpFault::Connection(_) | HttpFault::Status { status: 429 | 503, .. })
    }
}

impl From<reqwest::Error> for HttpFault {
    /// Says the innermost cause, which has neither address nor token in it.
    fn from(error: reqwest::Error) -> Self {
        let gzip = error.is_decode();
        if error.is_timeout() {
            return HttpFault::TooSlow(
                if error.is_connect() { "the connection" } else { "the answer" }.to_owned(),
            );
        }
        if error.is_builder() {
            return HttpFault::Address("the address is not one");
        }
        let reached = !error.is_connect();
        let error = error.without_url();
        let mut cause: &(dyn Error + 'static) = &error;
        loop {
            if let Some(tls) = cause.downcast_ref::<rustls::Error>() {
                return HttpFault::Tls(tls.to_string());
            }
            let io = cause.downcast_ref::<io::Error>();
            if io.is_some_and(|io| io.kind() == io::ErrorKind::UnexpectedEof) {
                return HttpFault::Cut;
            }
            // An error that is made an `io::Error` is not its source.
            let inner = io.and_then(io::Error::get_ref).map(|inner| inner as &(dyn Error + 'static));
            match inner.or_else(|| cause.source()) {
                Some(inner) => cause = inner,
                None if io.is_some() || !reached => return HttpFault::Connection(cause.to_string()),
                None if gzip => return HttpFault::Protocol("its gzip is damaged".to_owned()),
                None if error.is_request() => return HttpFault::Connection(cause.to_string()),
                None => return HttpFault::Protocol(cause.to_string()),
            }
        }
    }
}
