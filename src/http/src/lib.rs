//! The HTTP client of the programs that ask a hub: without trust in whoever answers. Its callers wait for it; they are
//! threads, and so is what is asynchronous in it.
//!
//! An answer is read whole, to a limit that counts what comes out of gzip, before a byte of it means anything; so a page
//! that was cut, or came too slowly, is asked for again as a whole (`retry.rs`). A redirect is followed on the same host
//! only: the token goes nowhere else. A host is asked by `https`, unless it is this one or root's configuration says
//! otherwise. TLS trusts the system's certificates, or the ones of a file alone (`trust.rs`).

#![forbid(unsafe_code)]

mod exchange;
mod fault;
mod origin;
mod retry;
mod trust;

use std::future::Future;
use std::ops::ControlFlow;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use reqwest::{Method, Response, StatusCode, header};
use tokio::runtime::{Handle, Runtime};
use tokio::time::timeout;

pub use exchange::{Page, Question, Reply, Settings, Told};
pub use fault::HttpFault;
use origin::Origin;
pub use origin::percent_encoded;
pub use retry::chance;
pub use trust::client_config;

/// Redirects that one question follows.
const MAX_REDIRECTS: usize = 4;
/// Bytes of a line of a stream of events.
const MAX_EVENT: usize = 64 * 1024;
/// Bytes of an answer that may have words for a user.
const MAX_WORDS: usize = 64 * 1024;
/// Bytes of a header that is kept: a cursor, an ETag, a link.
const MAX_HEADER: usize = 1024;

/// Connections to one hub, kept alive between questions.
#[derive(Debug)]
pub struct Client {
    inner: reqwest::Client,
    runtime: Background,
    origin: Origin,
    settings: Settings,
    /// The hub wants to be left alone until then, by all who ask.
    quiet_until: Mutex<Option<Instant>>,
}

impl Client {
    /// # Errors
    /// An address that can't be asked, or certificates that can't be read.
    pub fn new(settings: Settings) -> Result<Client, HttpFault> {
        let origin = Origin::parse(&settings.url, settings.allow_http)?;
        let runtime = Background::start()
            .map_err(|error| HttpFault::Connection(format!("no thread for it: {error}")))?;
        let mut builder = reqwest::Client::builder()
            .tls_backend_preconfigured(client_config(settings.ca_file.as_deref())?)
            .redirect(reqwest::redirect::Policy::none())
            .retry(reqwest::retry::never())
            .connect_timeout(settings.connect)
            .user_agent(concat!("vestibule/", env!("CARGO_PKG_VERSION")));
        if origin.is_loopback() {
            // Nobody between a program and its own machine.
            builder = builder.no_proxy();
        } else if let Some(proxy) = &settings.proxy {
            if !proxy.starts_with("http://") && !proxy.starts_with("https://") || proxy.contains('@') {
                return Err(HttpFault::Address("the proxy: want http://host:port, without a user"));
            }
            let proxy = reqwest::Proxy::all(proxy.as_str())?.no_proxy(reqwest::NoProxy::from_env());
            builder = builder.proxy(proxy);
        }
        let inner = builder.build()?;
        Ok(Client { inner, runtime, origin, settings, quiet_until: Mutex::new(None) })
    }

    /// Whether `url` is on the host that this client asks; another gets neither question nor token.
    pub fn is_own(&self, url: &str) -> bool {
        Origin::parse(url, self.settings.allow_http).is_ok_and(|other| other == self.origin)
    }

    /// Asks, and asks again when the fault may pass.
    ///
    /// # Errors
    /// The last fault.
    pub fn get(&self, url: &str, question: Question<'_>) -> Result<Reply, HttpFault> {
        let whole = self.settings.whole + question.wait.unwrap_or_default();
        self.patiently(HttpFault::may_pass, || self.within(whole, self.once(url, question)))
    }

    /// Has the hub do something that does no harm if it is done twice, and returns the status: 2xx, or one that says that
    /// it can't be.
    ///
    /// # Errors
    /// The last fault.
    pub fn post(&self, url: &str) -> Result<u16, HttpFault> {
        self.patiently(HttpFault::was_not_heard, || {
            self.within(self.settings.whole, async {
                let response = self.send(Method::POST, url, Question::default()).await?;
                match response.status().as_u16() {
                    status @ (200..=299 | 400 | 404 | 409 | 410) => Ok(status),
                    _ => Err(status_fault(&response)),
                }
            })
        })
    }

    /// Has the hub do something, once, and returns what it says to that.
    ///
    /// # Errors
    /// There is no answer.
    pub fn tell(&self, url: &str, json: Option<&str>) -> Result<Told, HttpFault> {
        self.within(self.settings.whole, async {
            let question = Question { json, ..Question::default() };
            let mut response = match self.send(Method::POST, url, question).await {
                // The hub may just have closed the connection that was kept from the last answer.
                Err(HttpFault::Connection(_)) => self.send(Method::POST, url, question).await?,
                answer => answer?,
            };
            let mut told = Told { status: response.status().as_u16(), ..Told::default() };
            if let HttpFault::Status { after, .. } = status_fault(&response) {
                told.after = after;
            }
            let is_json = text(&response, header::CONTENT_TYPE)
                .is_some_and(|kind| kind.to_ascii_lowercase().starts_with("application/json"));
            let mut body = Vec::new();
            // Words are worth no fault: an answer that is cut has none.
            while let Ok(Some(chunk)) = silence(self.settings.read, response.chunk()).await {
                if !is_json || body.len() + chunk.len() > MAX_WORDS {
                    return Ok(told);
                }
                body.extend_from_slice(&chunk);
            }
            told.words = serde_json::from_slice::<serde_json::Value>(&body)
                .ok()
                .and_then(|body| Some(body.get("message")?.as_str()?.trim().to_owned()))
                .filter(|words| !words.is_empty());
            Ok(told)
        })
    }

    /// Hands the lines of an answer over as they come, until the hub, `take` or the time `end` ends it. Returns whether
    /// there was such an answer.
    ///
    /// # Errors
    /// The fault.
    pub fn lines(
        &self,
        url: &str,
        accept: &str,
        end: Instant,
        take: &mut dyn FnMut(&[u8]) -> ControlFlow<()>,
    ) -> Result<bool, HttpFault> {
        let question = Question { accept, ..Question::default() };
        self.within(end.saturating_duration_since(Instant::now()), async {
            let mut response = match self.send(Method::GET, url, question).await {
                // The hub may just have closed the connection that was kept from the last answer.
                Err(HttpFault::Connection(_)) => self.send(Method::GET, url, question).await?,
                answer => answer?,
            };
            if response.status() != StatusCode::OK {
                return match response.status().as_u16() {
                    400 | 404 => Ok(false),
                    _ => Err(status_fault(&response)),
                };
            }
            let mut line = Vec::new();
            while let Some(chunk) = silence(self.settings.read, response.chunk()).await? {
                for byte in chunk {
                    if byte != b'\n' {
                        line.push(byte);
                    } else if take(&line).is_break() {
                        return Ok(true);
                    } else {
                        line.clear();
                    }
                    if line.len() > MAX_EVENT {
                        return Err(HttpFault::TooBig { max: MAX_EVENT });
                    }
                }
            }
            Ok(true)
        })
    }

    /// Tries, and again while the fault is one that `passes`.
    fn patiently<T>(
        &self,
        passes: fn(&HttpFault) -> bool,
        once: impl Fn() -> Result<T, HttpFault>,
    ) -> Result<T, HttpFault> {
        let mut tried = 0;
        loop {
            let quiet = self.quiet_until.lock().map_or(None, |until| *until);
            if let Some(left) = quiet.and_then(|until| until.checked_duration_since(Instant::now())) {
                std::thread::sleep(left);
            }
            let fault = match once() {
                Ok(done) => return Ok(done),
                Err(fault) => fault,
            };
            let retries = if passes(&fault) { self.settings.retries } else { 0 };
            let Some(pause) = retry::pause(&fault, tried, retries, chance()) else { return Err(fault) };
            tracing::debug!(%fault, ?pause, "asking again");
            if let (Some(after), Ok(mut until)) = (fault.after(), self.quiet_until.lock()) {
                *until = Some(Instant::now() + after.max(pause));
            } else {
                std::thread::sleep(pause);
            }
            tried += 1;
        }
    }

    fn within<T>(
        &self,
        whole: Duration,
        work: impl Future<Output = Result<T, HttpFault>>,
    ) -> Result<T, HttpFault> {
        self.runtime.handle.block_on(async {
            timeout(whole, work)
                .await
                .unwrap_or_else(|_| Err(HttpFault::TooSlow("the whole of it".to_owned())))
        })
    }

    async fn once(&self, url: &str, question: Question<'_>) -> Result<Reply, HttpFault> {
        let mut at = url.to_owned();
        let redirects = if question.stay { 0 } else { MAX_REDIRECTS };
        for _ in 0..=redirects {
            let response = self.send(Method::GET, &at, question).await?;
            let status = response.status();
            match status {
                StatusCode::OK => return self.page(response).await.map(Reply::Page),
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
                _ => return Err(status_fault(&response)),
            }
        }
        Err(HttpFault::Redirect)
    }

    async fn send(&self, method: Method, url: &str, question: Question<'_>) -> Result<Response, HttpFault> {
        // As it will be understood, whatever is in it.
        let url = reqwest::Url::parse(url).map_err(|_| HttpFault::Address("the address is not one"))?;
        if !self.is_own(url.as_str()) {
            return Err(HttpFault::Redirect);
        }
        let mut request = self.inner.request(method, url);
        if !question.accept.is_empty() {
            request = request.header(header::ACCEPT, question.accept);
        }
        if let Some(etag) = question.etag {
            request = request.header(header::IF_NONE_MATCH, etag);
        }
        if let Some(json) = question.json {
            request = request.header(header::CONTENT_TYPE, "application/json").body(json.to_owned());
        }
        if let Some((word, token)) = &self.settings.token {
            let mut value = header::HeaderValue::try_from(format!("{word} {}", token.expose()))
                .map_err(|_| HttpFault::Address("the token has bytes that no header has"))?;
            value.set_sensitive(true);
            request = request.header(header::AUTHORIZATION, value);
        }
        silence(self.settings.read + question.wait.unwrap_or_default(), request.send()).await
    }

    async fn page(&self, mut response: Response) -> Result<Page, HttpFault> {
        let max = self.settings.max_body;
        let etag = text(&response, header::ETAG);
        let media_type = text(&response, header::CONTENT_TYPE).unwrap_or_default();
        let media_type = media_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
        // Of one that was packed by gzip this header is gone.
        let coding = text(&response, header::CONTENT_ENCODING);
        if !matches!(coding.as_deref().map(str::trim), None | Some("" | "identity")) {
            return Err(HttpFault::Coding);
        }
        let mut body = Vec::new();
        while let Some(chunk) = silence(self.settings.read, response.chunk()).await? {
            if chunk.len() > max.saturating_sub(body.len()) {
                return Err(HttpFault::TooBig { max });
            }
            body.extend_from_slice(&chunk);
        }
        Ok(Page { body, etag, media_type })
    }
}

/// The thread that does the work. Whoever asks is a thread of its own, and waits.
#[derive(Debug)]
struct Background {
    handle: Handle,
    runtime: Option<Runtime>,
}

impl Background {
    fn start() -> std::io::Result<Background> {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
        Ok(Background { handle: runtime.handle().clone(), runtime: Some(runtime) })
    }
}

impl Drop for Background {
    /// A name server that does not answer is not waited for.
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

/// A step that must bring something in time.
async fn silence<T>(most: Duration, step: impl Future<Output = reqwest::Result<T>>) -> Result<T, HttpFault> {
    match timeout(most, step).await {
        Ok(done) => Ok(done?),
        Err(_) => Err(HttpFault::TooSlow("nothing comes".to_owned())),
    }
}

fn status_fault(response: &Response) -> HttpFault {
    let after = text(response, header::RETRY_AFTER).and_then(|value| retry::after(&value));
    HttpFault::Status { status: response.status().as_u16(), after }
}

/// A header of one printable line and a usable size.
fn text(response: &Response, name: header::HeaderName) -> Option<String> {
    let value = response.headers().get(name)?.to_str().ok()?;
    (value.len() <= MAX_HEADER).then(|| value.to_owned())
}
