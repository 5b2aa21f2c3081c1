//! Where rows come from. Each kind is a file of its own and says all it knows to a [`Sink`], row by row.

mod directory;
mod feed;
mod jupyterhub;
mod parallel;
mod postgres;
mod sqlite;
mod tabular;
mod url;

use std::path::Path;
use std::time::{Duration, Instant};

use vestibule::store::{Scope, StoreError};

use crate::activity::{Counts, Wanted};
use crate::settings::{self, Kind};
use crate::sink::Sink;
pub(crate) use jupyterhub::Names;
use vestibule::secret::SecretError;
use vestibule_http::HttpFault;

/// What a source is asked.
#[derive(Debug)]
pub(crate) struct Ask<'a> {
    /// What for. A source may say more; the sink passes it over.
    pub(crate) scope: &'a Scope,
    /// What it gave with its last whole answer, to be asked for changes only; never with a scope.
    pub(crate) cursor: Option<&'a str>,
    /// Whether everything is to be asked for, whatever is known.
    pub(crate) full: bool,
    /// Whether nothing is to be changed.
    pub(crate) dry_run: bool,
    /// The store, for sources that ask about what others brought.
    pub(crate) store: &'a Path,
    /// A file of the source's own, for what it wants to know the next time.
    pub(crate) memory: &'a Path,
}

/// How it answered.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    /// As the last time; nothing was said.
    Unchanged,
    /// With everything there is within the scope: what was not said is gone.
    Whole {
        /// For the next time.
        cursor: Option<String>,
    },
    /// With what changed since the cursor, what is gone included.
    Changes {
        /// For the next time.
        cursor: Option<String>,
    },
}

/// Why there is no answer. What was said up to then is thrown away.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SourceFault {
    /// The scratch file.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The source, in one line without secrets.
    #[error("{0}")]
    Source(String),
    /// The hub's own words, and the status that they came with.
    #[error("the hub says '{words}'{}", of(*.status))]
    Words {
        /// Bounded, and fit for a terminal.
        words: String,
        /// 0 where they came with none.
        status: u16,
    },
    /// HTTP or TLS.
    #[error(transparent)]
    Http(#[from] HttpFault),
    /// The token or the password.
    #[error(transparent)]
    Secret(#[from] SecretError),
}

fn of(status: u16) -> String {
    if status == 0 { String::new() } else { format!(" ({status})") }
}

impl SourceFault {
    /// For whoever waits for a target that is not started: what the hub says, or in whose hands it is. Nothing of the
    /// bastion's own set-up.
    pub(crate) fn for_who_waits(&self) -> Option<String> {
        Some(match self {
            SourceFault::Store(_) | SourceFault::Secret(_) => return None,
            SourceFault::Source(why) => why.clone(),
            SourceFault::Words { .. } => self.to_string(),
            SourceFault::Http(fault) => match fault {
                HttpFault::Address(_) | HttpFault::Certificates { .. } => return None,
                HttpFault::Connection(_) | HttpFault::TooSlow(_) | HttpFault::Cut => {
                    "the hub does not answer".to_owned()
                }
                HttpFault::Tls(_) => "the hub does not prove that it is the hub".to_owned(),
                HttpFault::Status { status: 401 | 403, .. } => {
                    "the hub does not let the bastion start it".to_owned()
                }
                HttpFault::Status { status: 429, .. } => "the hub has too much to do".to_owned(),
                HttpFault::Status { status: 500..=599, .. } => "the hub has a fault".to_owned(),
                _ => "what answers is not the hub".to_owned(),
            },
        })
    }

    pub(crate) fn into_error(self) -> anyhow::Error {
        self.into()
    }
}

/// Where rows come from.
pub(crate) trait Source {
    /// Says rows to `sink`.
    ///
    /// # Errors
    /// When the answer is not complete.
    fn fetch(&mut self, ask: &Ask<'_>, sink: &mut Sink<'_>) -> Result<Answer, SourceFault>;
}

/// A source as it is configured.
pub(crate) fn open(source: &settings::Source) -> anyhow::Result<Box<dyn Source + '_>> {
    Ok(match &source.kind {
        Kind::Directory { path } => Box::new(directory::Directory::new(path)),
        Kind::Sqlite(settings) => Box::new(sqlite::Sqlite::open(settings)?),
        Kind::Feed(settings) => Box::new(feed::Feed::new(settings)?),
        Kind::Postgres(settings) => Box::new(postgres::Postgres::new(settings)?),
        Kind::Jupyterhub(settings) => Box::new(jupyterhub::Jupyterhub::new(settings)?),
        Kind::Url(settings) => Box::new(url::Url::new(settings, &source.name)?),
    })
}

/// Starts targets.
pub(crate) trait Wakes {
    /// Starts `target`, which `accounts` are granted, with `options` (JSON) where the hub has such, and waits until it is
    /// ready. What happens meanwhile is told to `say`.
    ///
    /// # Errors
    /// It does not run.
    fn wake(
        &self,
        target: &str,
        accounts: &[String],
        options: Option<&str>,
        end: Instant,
        say: &mut dyn FnMut(&str),
    ) -> Result<(), SourceFault>;
}

/// A source as a hub that starts targets; nothing if it is none.
///
/// # Errors
/// As [`open`].
pub(crate) fn wakes(source: &settings::Source) -> anyhow::Result<Option<Box<dyn Wakes + '_>>> {
    Ok(match &source.kind {
        Kind::Jupyterhub(settings) => Some(Box::new(jupyterhub::Jupyterhub::new(settings)?)),
        Kind::Feed(settings) if settings.wake_url.is_some() => Some(Box::new(feed::Feed::new(settings)?)),
        _ => None,
    })
}

/// Wants to know which of its targets are used.
pub(crate) trait Reports {
    /// Tells that `target`, which `accounts` are granted, was used last `at`, in seconds since 1970.
    ///
    /// # Errors
    /// It was not told.
    fn report(&mut self, target: &str, accounts: &[String], at: i64) -> Result<(), SourceFault>;
}

/// What a source wants to be told; nothing if it wants nothing.
pub(crate) fn wanted(source: &settings::Source) -> Option<Wanted> {
    match &source.kind {
        Kind::Jupyterhub(settings) if settings.activity != Counts::Off => {
            Some(Wanted { counts: settings.activity, every: settings.activity_every })
        }
        _ => None,
    }
}

/// A source as a hub that is told.
///
/// # Errors
/// As [`open`]; one that wants nothing.
pub(crate) fn reports(source: &settings::Source) -> anyhow::Result<Box<dyn Reports + '_>> {
    match &source.kind {
        Kind::Jupyterhub(settings) => {
            Ok(Box::new(jupyterhub::Telling::new(jupyterhub::Jupyterhub::new(settings)?)))
        }
        _ => anyhow::bail!("it wants to be told nothing"),
    }
}

/// Whether a source starts targets.
pub(crate) fn can_wake(source: &settings::Source) -> bool {
    match &source.kind {
        Kind::Jupyterhub(_) => true,
        Kind::Feed(settings) => settings.wake_url.is_some(),
        _ => false,
    }
}

/// Hears of news.
pub(crate) trait News {
    /// Waits until something changed since `cursor`, or `most` is over. Returns what to refresh.
    ///
    /// # Errors
    /// The hub is not there, so whatever changes is not heard of.
    fn wait(&mut self, cursor: Option<&str>, most: Duration) -> Result<Vec<Scope>, SourceFault>;
}

/// Says nothing but that it is time.
struct Clock;

impl News for Clock {
    fn wait(&mut self, _: Option<&str>, most: Duration) -> Result<Vec<Scope>, SourceFault> {
        std::thread::sleep(most);
        Ok(vec![Scope::All])
    }
}

/// How a source tells its news.
///
/// # Errors
/// As [`open`].
pub(crate) fn news(source: &settings::Source) -> anyhow::Result<Box<dyn News>> {
    Ok(match &source.kind {
        Kind::Feed(settings) => Box::new(feed::Feed::new(settings)?),
        Kind::Postgres(settings) if settings.listen.is_some() => Box::new(postgres::Listener::new(settings)?),
        _ => Box::new(Clock),
    })
}
