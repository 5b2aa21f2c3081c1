//! `kind = "feed"`: our own protocol, vestibule-feed(5).
//!
//! Pages of lines over HTTP. A page counts when its last line is there; a whole answer counts when its last page is.

use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use vestibule::store::Scope;

use super::{Answer, Ask, News, Source, SourceFault, Wakes};
use crate::rows::Row;
use crate::settings::network::Feed as Settings;
use crate::sink::Sink;
use vestibule::secret::Secret;
use vestibule_http::{Client, Page, Question, Reply, percent_encoded};

/// Rows that a page is asked for.
const LIMIT: usize = 5000;
/// Bytes of a page, out of gzip.
const MAX_PAGE: usize = 16 << 20;
/// Bytes of a line.
const MAX_LINE: usize = 1 << 18;
/// Pages of an answer: some 500 million rows.
const MAX_PAGES: usize = 100_000;
/// Bytes of a cursor or of a page's name.
const MAX_TOKEN: usize = 1024;
/// How long the hub may hold back an answer.
const LONG_POLL: Duration = Duration::from_secs(50);
/// Between two questions to a hub that does not hold back its answers.
const SHORT_POLL: Duration = Duration::from_secs(10);
/// Between two questions whether a target was started.
const WAKE_EVERY: Duration = Duration::from_secs(1);
const MEDIA_TYPE: &str = "application/x-ndjson";

/// A hub that speaks it.
#[derive(Debug)]
pub(crate) struct Feed {
    client: Client,
    url: String,
    wake_url: Option<String>,
}

/// What this source remembers: the hub's cursor, and the ETag of a whole answer.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Memory {
    #[serde(skip_serializing_if = "Option::is_none")]
    cursor: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    etag: Option<String>,
}

#[derive(Deserialize)]
struct First {
    feed: u32,
    kind: Kind,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Kind {
    Whole,
    Changes,
    One,
}

#[derive(Deserialize)]
#[serde(rename_all = "lowercase")]
enum Last {
    Next(String),
    End(End),
}

#[derive(Deserialize)]
struct End {
    cursor: Option<String>,
}

impl Feed {
    pub(crate) fn new(settings: &Settings) -> Result<Feed, SourceFault> {
        let url = settings.url.clone();
        let token = settings.token_file.as_deref().map(Secret::read).transpose()?;
        let client = Client::new(vestibule_http::Settings {
            url: url.clone(),
            token: token.map(|token| ("Bearer", token)),
            ca_file: settings.ca_file.clone(),
            allow_http: settings.allow_http,
            proxy: settings.proxy.clone(),
            connect: Duration::from_secs(10),
            read: Duration::from_secs(20),
            whole: Duration::from_secs(settings.timeout.into()),
            retries: 3,
            max_body: MAX_PAGE,
        })?;
        if let Some(wake) = &settings.wake_url
            && !(wake.contains("{target}") && client.is_own(&wake.replace("{target}", "x")))
        {
            let why = "wake_url: want '{target}' in it, and the host of 'url'";
            return Err(SourceFault::Source(why.to_owned()));
        }
        Ok(Feed { client, url, wake_url: settings.wake_url.clone() })
    }

    fn address(&self, query: &[(&str, &str)]) -> String {
        let mut url = self.url.clone();
        for (name, value) in query {
            url.push(if url.contains('?') { '&' } else { '?' });
            url.push_str(name);
            url.push('=');
            url.push_str(&percent_encoded(value));
        }
        url
    }

    /// All pages, from the one that `query` asks for. `None`: unchanged.
    fn pages(
        &self,
        query: &[(&str, &str)],
        etag: Option<&str>,
        sink: &mut Sink<'_>,
    ) -> Result<Result<Option<(Kind, Memory)>, Gone>, SourceFault> {
        let limit = LIMIT.to_string();
        let mut query: Vec<(&str, &str)> = query.to_vec();
        query.push(("limit", &limit));
        let first = self
            .client
            .get(&self.address(&query), Question { etag, accept: MEDIA_TYPE, ..Question::default() })?;
        let mut page = match first {
            Reply::Page(page) => page,
            Reply::Unchanged => return Ok(Ok(None)),
            Reply::Gone => return Ok(Err(Gone)),
            Reply::NotFound => return Err(wrong("there is no feed at this address (404)")),
        };
        let etag = page.etag.clone();
        let mut kind = None;
        for _ in 0..MAX_PAGES {
            let Frame { kind: this, last, rows } = frame(&page)?;
            if *kind.get_or_insert(this) != this {
                return Err(wrong("its pages are of different kinds"));
            }
            let next = match last {
                Last::End(End { cursor }) => {
                    take(rows, sink)?;
                    let cursor = cursor.map(|cursor| token(cursor, "cursor")).transpose()?;
                    return Ok(Ok(Some((this, Memory { cursor, etag }))));
                }
                Last::Next(next) => token(next, "next")?,
            };
            let url = self.address(&[("page", &next), ("limit", &limit)]);
            // The hub makes the next page while this one is taken in.
            let next = std::thread::scope(|scope| {
                let next = scope
                    .spawn(|| self.client.get(&url, Question { accept: MEDIA_TYPE, ..Question::default() }));
                take(rows, sink)?;
                next.join()
                    .map_err(|_| wrong("the thread that asked for it ended early"))?
                    .map_err(SourceFault::from)
            });
            page = match next? {
                Reply::Page(page) => page,
                Reply::Gone => return Ok(Err(Gone)),
                Reply::Unchanged => return Err(wrong("a page of it is said to be unchanged")),
                Reply::NotFound => return Err(wrong("there is no feed at this address (404)")),
            };
        }
        Err(wrong("it has no end"))
    }
}

/// The hub does not know the cursor any more.
struct Gone;

impl Source for Feed {
    fn fetch(&mut self, ask: &Ask<'_>, sink: &mut Sink<'_>) -> Result<Answer, SourceFault> {
        let one = match ask.scope {
            Scope::All => None,
            Scope::Target(name) => Some(("target", name.as_str())),
            Scope::Account(name) => Some(("account", name.as_str())),
        };
        if let Some(one) = one {
            return match self.pages(&[one], None, sink)? {
                Ok(Some((Kind::One, _))) => Ok(Answer::Whole { cursor: None }),
                _ => Err(wrong("it is not about the one that was asked for")),
            };
        }
        // A memory of another version is none.
        let memory: Memory = ask.cursor.and_then(|text| serde_json::from_str(text).ok()).unwrap_or_default();
        if let Some(cursor) = &memory.cursor {
            match self.pages(&[("cursor", cursor.as_str())], None, sink)? {
                Ok(None) => return Ok(Answer::Unchanged),
                Ok(Some((Kind::Changes, memory))) if memory.cursor.is_some() => {
                    return Ok(Answer::Changes { cursor: Some(remember(&memory)) });
                }
                Ok(Some((Kind::Whole, memory))) => {
                    return Ok(Answer::Whole { cursor: Some(remember(&memory)) });
                }
                Ok(Some(_)) => return Err(wrong("it is neither everything nor what changed")),
                Err(Gone) => {
                    sink.restart()?;
                    tracing::debug!("the hub does not know the cursor any more; asking for everything");
                }
            }
        }
        match self.pages(&[], memory.etag.as_deref().filter(|_| memory.cursor.is_none()), sink)? {
            Ok(None) => Ok(Answer::Unchanged),
            Ok(Some((Kind::Whole, memory))) => Ok(Answer::Whole { cursor: Some(remember(&memory)) }),
            Ok(Some(_)) => Err(wrong("everything was asked for, and it is not that")),
            Err(Gone) => Err(wrong("everything was asked for, and it is gone (410)")),
        }
    }
}

impl News for Feed {
    /// By a long poll of the first row of what is new; what it says is asked for again, in its turn.
    fn wait(&mut self, cursor: Option<&str>, most: Duration) -> Result<Vec<Scope>, SourceFault> {
        let end = Instant::now() + most;
        let memory: Memory = cursor.and_then(|text| serde_json::from_str(text).ok()).unwrap_or_default();
        let Some(cursor) = memory.cursor else {
            std::thread::sleep(most);
            return Ok(vec![Scope::All]);
        };
        loop {
            let left = end.saturating_duration_since(Instant::now()).min(LONG_POLL);
            if left < Duration::from_secs(1) {
                return Ok(vec![Scope::All]);
            }
            let begun = Instant::now();
            let url =
                self.address(&[("cursor", &cursor), ("wait", &left.as_secs().to_string()), ("limit", "1")]);
            match self.client.get(
                &url,
                Question { etag: None, accept: MEDIA_TYPE, wait: Some(left), ..Question::default() },
            )? {
                Reply::Unchanged if begun.elapsed() < Duration::from_secs(1) => {
                    // The hub knows no long poll: it is asked in peace.
                    std::thread::sleep(left.min(SHORT_POLL));
                }
                Reply::Unchanged => {}
                _ => return Ok(vec![Scope::All]),
            }
        }
    }
}

impl Wakes for Feed {
    fn wake(
        &self,
        target: &str,
        _: &[String],
        _: Option<&str>,
        end: Instant,
        say: &mut dyn FnMut(&str),
    ) -> Result<(), SourceFault> {
        let fault = |why: String| Err(SourceFault::Source(why));
        let url = self.wake_url.as_deref().unwrap_or_default().replace("{target}", &percent_encoded(target));
        loop {
            match self.client.post(&url)? {
                202 => say("the hub starts it"),
                200..=299 => return Ok(()),
                404 | 410 => return fault("the hub has no such target".to_owned()),
                status => return fault(format!("the hub refuses to start it ({status})")),
            }
            if Instant::now() + WAKE_EVERY > end {
                return fault("it was not started in time".to_owned());
            }
            std::thread::sleep(WAKE_EVERY);
        }
    }
}

fn remember(memory: &Memory) -> String {
    serde_json::to_string(memory).unwrap_or_default()
}

fn wrong(why: &str) -> SourceFault {
    SourceFault::Source(format!("the answer is not to be used: {why}"))
}

fn token(text: String, what: &str) -> Result<String, SourceFault> {
    if text.is_empty() || text.len() > MAX_TOKEN {
        return Err(wrong(&format!("its '{what}' is empty or has more than {MAX_TOKEN} bytes")));
    }
    Ok(text)
}

fn row(line: &[u8]) -> Result<Row, String> {
    let text = std::str::from_utf8(line).map_err(|_| "it is not UTF-8".to_owned())?;
    serde_json::from_str(text).map_err(|why| why.to_string())
}

/// A page: its first line and its last are its own, what stands between them are rows.
struct Frame<'a> {
    kind: Kind,
    last: Last,
    rows: Vec<&'a [u8]>,
}

fn frame(page: &Page) -> Result<Frame<'_>, SourceFault> {
    if page.media_type != MEDIA_TYPE {
        return Err(wrong(&format!("it is '{}', and not '{MEDIA_TYPE}'", page.media_type.escape_debug())));
    }
    let body = page.body.strip_suffix(b"\n").ok_or_else(|| wrong("it was cut: its last line has no end"))?;
    let mut lines = body.split(|byte| *byte == b'\n');
    let first = lines.next().unwrap_or_default();
    let First { feed, kind } =
        serde_json::from_slice(first).map_err(|_| wrong("its first line is not that of a feed"))?;
    if feed != 1 {
        return Err(wrong("it is of another version of the protocol"));
    }
    let last = lines.next_back().ok_or_else(|| wrong("it was cut: there is no last line"))?;
    let last = serde_json::from_slice(last)
        .map_err(|_| wrong("it was cut: its last line is neither 'next' nor 'end'"))?;
    Ok(Frame { kind, last, rows: lines.collect() })
}

fn take(rows: Vec<&[u8]>, sink: &mut Sink<'_>) -> Result<(), SourceFault> {
    for line in rows {
        if line.len() > MAX_LINE {
            return Err(wrong("it has a line of more than 256 KiB"));
        }
        match row(line) {
            Ok(row) => sink.row(row)?,
            Err(why) => sink.bad("a line", why),
        }
    }
    sink.within()
}
