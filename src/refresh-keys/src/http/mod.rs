//! The HTTP client of the sources that ask a hub: small, blocking, and without trust in whoever answers.
//!
//! An answer is read whole, to a limit that counts what comes out of gzip, before a byte of it means anything; so a page
//! that was cut, or came too slowly, is asked for again as a whole (`retry.rs`). A redirect is followed on the same host
//! only: the token goes nowhere else. A host is asked by `https`, unless it is this one or root's configuration says
//! otherwise. TLS trusts the system's certificates, or the ones of a file alone (`trust.rs`).

mod fault;
mod origin;
mod retry;
mod trust;

use std::io::Read;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use ureq::http::{Response, StatusCode, header};
use ureq::{Agent, Body, Proxy};

pub(crate) use fault::HttpFault;
use origin::Origin;
pub(crate) use origin::percent_encoded;
pub(crate) use retry::chance;
pub(crate) use trust::client_config;

use crate::secret::Secret;

/// Redirects that one question follows.
const MAX_REDIRECTS: usize = 4;
/// Bytes of all headers of an answer.
const MAX_HEADERS: usize = 32 * 1024;
/// Bytes of a header that is kept: a cursor, an ETag, a link.
const MAX_HEADER: usize = 1024;

/// How a hub is asked.
#[derive(Debug, Clone)]
pub(crate) struct Settings {
    /// `https://host[:port]/path`, for the host that everything is asked of.
    pub(crate) url: String,
    /// Sent as `Authorization: WORD TOKEN`.
    pub(crate) token: Option<(&'static str, Secret)>,
    /// Certificates of authorities to trust in place of the system's, in PEM.
    pub(crate) ca_file: Option<PathBuf>,
    /// Plain HTTP to another machine is allowed.
    pub(crate) allow_http: bool,
    /// For a connection, TLS included.
    pub(crate) connect: Duration,
    /// Between two reads that bring something.
    pub(crate) read: Duration,
    /// For one answer, from the question to its last byte.
    pub(crate) whole: Duration,
    /// How often one question is asked again.
    pub(crate) retries: u32,
    /// Bytes of an answer, after gzip.
    pub(crate) max_body: usize,
}

/// A connection to one hub, kept alive between questions.
#[derive(Debug)]
pub(crate) struct Client {
    agent: Agent,
    origin: Origin,
    settings: Settings,
}

/// One question.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Question<'a> {
    /// The `ETag` that the last answer had.
    pub(crate) etag: Option<&'a str>,
    /// The media type that is asked for.
    pub(crate) accept: &'a str,
    /// How long the hub may think before it answers: a long poll.
    pub(crate) wait: Option<Duration>,
}

/// What a hub said.
#[derive(Debug)]
pub(crate) enum Reply {
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
pub(crate) struct Page {
    /// Its bytes, out of gzip.
    pub(crate) body: Vec<u8>,
    /// Its `ETag`, when it has one of a usable size.
    pub(crate) etag: Option<String>,
    /// Its media type without parameters, in lower case; empty when the hub names none.
    pub(crate) media_type: String,
}

impl Client {
    /// # Errors
    /// An address that can't be asked, or certificates that can't be read.
    pub(crate) fn new(settings: Settings) -> Result<Client, HttpFault> {
        let origin = Origin::parse(&settings.url, settings.allow_http)?;
        // Nobody between a program and its own machine.
        let proxy = if origin.is_loopback() { None } else { Proxy::try_from_env() };
        let config = Agent::config_builder()
            .http_status_as_error(false)
            .max_redirects(0)
            .max_redirects_will_error(false)
            .max_response_header_size(MAX_HEADERS)
            .tls_config(trust::tls(settings.ca_file.as_deref())?)
            .proxy(proxy)
            .user_agent(concat!("vestibule/", env!("CARGO_PKG_VERSION")))
            .timeout_resolve(Some(settings.connect))
            .timeout_connect(Some(settings.connect))
            .timeout_per_write(Some(settings.read))
            .build();
        Ok(Client { agent: Agent::new_with_config(config), origin, settings })
    }

    /// Whether `url` is on the host that this client asks; another gets neither question nor token.
    pub(crate) fn is_own(&self, url: &str) -> bool {
        Origin::parse(url, self.settings.allow_http).is_ok_and(|other| other == self.origin)
    }

    /// Asks, and asks again when the fault may pass.
    ///
    /// # Errors
    /// The last fault.
    pub(crate) fn get(&self, url: &str, question: Question<'_>) -> Result<Reply, HttpFault> {
        let mut tried = 0;
        loop {
            let fault = match self.once(url, question) {
                Ok(reply) => return Ok(reply),
                Err(fault) => fault,
            };
            let Some(pause) = retry::pause(&fault, tried, self.settings.retries, chance()) else {
                return Err(fault);
            };
            tracing::debug!(%fault, ?pause, "asking again");
            std::thread::sleep(pause);
            tried += 1;
        }
    }

    fn once(&self, url: &str, question: Question<'_>) -> Result<Reply, HttpFault> {
        let end = Instant::now() + self.settings.whole + question.wait.unwrap_or_default();
        let mut at = url.to_owned();
        for _ in 0..=MAX_REDIRECTS {
            let response = self.send(&at, question, end)?;
            let status = response.status();
            match status {
                StatusCode::OK => return self.page(response).map(Reply::Page),
                StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED => return Ok(Reply::Unchanged),
                StatusCode::NOT_FOUND => return Ok(Reply::NotFound),
                StatusCode::GONE => return Ok(Reply::Gone),
                StatusCode::MOVED_PERMANENTLY
                | StatusCode::FOUND
                | StatusCode::SEE_OTHER
                | StatusCode::TEMPORARY_REDIRECT
                | StatusCode::PERMANENT_REDIRECT => {
                    let to = text(&response, header::LOCATION).ok_or(HttpFault::Redirect)?;
                    at = self.origin.redirected(&to, self.settings.allow_http).ok_or(HttpFault::Redirect)?;
                }
                _ => {
                    let after = text(&response, header::RETRY_AFTER).and_then(|value| retry::after(&value));
                    return Err(HttpFault::Status { status: status.as_u16(), after });
                }
            }
        }
        Err(HttpFault::Redirect)
    }

    fn send(&self, url: &str, question: Question<'_>, end: Instant) -> Result<Response<Body>, HttpFault> {
        if !self.is_own(url) {
            return Err(HttpFault::Redirect);
        }
        let left = end.saturating_duration_since(Instant::now());
        // ureq takes a limit of nothing for none.
        let left = left.max(Duration::from_millis(1));
        let mut request = self.agent.get(url).header(header::ACCEPT, question.accept);
        if let Some(etag) = question.etag {
            request = request.header(header::IF_NONE_MATCH, etag);
        }
        if let Some((word, token)) = &self.settings.token {
            request = request.header(header::AUTHORIZATION, format!("{word} {}", token.expose()));
        }
        let silence = self.settings.read + question.wait.unwrap_or_default();
        let request = request.config().timeout_global(Some(left)).timeout_per_read(Some(silence)).build();
        request.call().map_err(HttpFault::from)
    }

    fn page(&self, response: Response<Body>) -> Result<Page, HttpFault> {
        let max = self.settings.max_body;
        let etag = text(&response, header::ETAG);
        let media_type = text(&response, header::CONTENT_TYPE).unwrap_or_default();
        let media_type = media_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
        let coding = text(&response, header::CONTENT_ENCODING);
        if !matches!(coding.as_deref().map(str::trim), None | Some("" | "gzip" | "identity")) {
            return Err(HttpFault::Coding);
        }
        let limit = u64::try_from(max).unwrap_or(u64::MAX).saturating_add(1);
        let mut body = Vec::new();
        let reader = response.into_body().into_with_config().limit(u64::MAX).reader();
        reader.take(limit).read_to_end(&mut body).map_err(HttpFault::from_read)?;
        if body.len() > max {
            return Err(HttpFault::TooBig { max });
        }
        Ok(Page { body, etag, media_type })
    }
}

/// A header of one printable line and a usable size.
fn text(response: &Response<Body>, name: header::HeaderName) -> Option<String> {
    let value = response.headers().get(name)?.to_str().ok()?;
    (value.len() <= MAX_HEADER).then(|| value.to_owned())
}
