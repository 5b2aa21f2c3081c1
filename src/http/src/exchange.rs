//! What goes to a hub and what comes back, once it has been made sure of.

use std::path::PathBuf;
use std::time::Duration;

use vestibule::secret::Secret;

/// How a hub is asked.
#[derive(Debug, Clone)]
pub struct Settings {
    /// `https://host[:port]/path`, for the host that everything is asked of.
    pub url: String,
    /// Sent as `Authorization: WORD TOKEN`.
    pub token: Option<(&'static str, Secret)>,
    /// Certificates of authorities to trust in place of the system's, in PEM.
    pub ca_file: Option<PathBuf>,
    /// Plain HTTP to another machine is allowed.
    pub allow_http: bool,
    /// Between this machine and others, in place of what the environment says.
    pub proxy: Option<String>,
    /// For a connection, TLS included.
    pub connect: Duration,
    /// Between two reads that bring something.
    pub read: Duration,
    /// For one answer, from the question to its last byte.
    pub whole: Duration,
    /// How often one question is asked again.
    pub retries: u32,
    /// Bytes of an answer, after gzip.
    pub max_body: usize,
}

/// One question.
#[derive(Debug, Clone, Copy, Default)]
pub struct Question<'a> {
    /// The `ETag` that the last answer had.
    pub etag: Option<&'a str>,
    /// The media type that is asked for.
    pub accept: &'a str,
    /// How long the hub may think before it answers: a long poll.
    pub wait: Option<Duration>,
    /// What is sent along, as JSON.
    pub json: Option<&'a str>,
    /// No redirect is followed.
    pub stay: bool,
}

/// How a hub answered that was to do something.
#[derive(Debug, Default)]
pub struct Told {
    /// Whatever it is.
    pub status: u16,
    /// The `message` of an answer in JSON; the hub's own words, bounded by the size of an answer only.
    pub words: Option<String>,
    /// When to come again, if the answer said so.
    pub after: Option<Duration>,
}

/// What a hub said.
#[derive(Debug)]
pub enum Reply {
    /// 304, or 204: nothing else than what is known.
    Unchanged,
    /// 404.
    NotFound,
    /// 410: what was asked by (a cursor, a page) is not known any more.
    Gone,
    /// 200.
    Page(Page),
}

/// A body, whole.
#[derive(Debug)]
pub struct Page {
    /// Its bytes, out of gzip.
    pub body: Vec<u8>,
    /// Its `ETag`, when it has one of a usable size.
    pub etag: Option<String>,
    /// Its media type without parameters, in lower case; empty when the hub names none.
    pub media_type: String,
}
