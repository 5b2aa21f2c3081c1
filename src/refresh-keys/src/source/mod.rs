//! Where rows come from. Each kind is a file of its own and says all it knows to a [`Sink`], row by row.

mod directory;
mod sqlite;
mod tabular;

use vestibule::store::{Scope, StoreError};

use crate::settings::{self, Kind};
use crate::sink::Sink;

/// What a source is asked.
#[derive(Debug)]
#[expect(dead_code, reason = "for sources that can be asked for less than all")]
pub(crate) struct Ask<'a> {
    /// What for. A source may say more; the sink passes it over.
    pub(crate) scope: &'a Scope,
    /// What it gave with its last whole answer, to be asked for changes only; never with a scope.
    pub(crate) cursor: Option<&'a str>,
}

/// How it answered.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    /// As the last time; nothing was said.
    #[expect(dead_code, reason = "for sources with a cursor")]
    Unchanged,
    /// With everything there is within the scope: what was not said is gone.
    Whole {
        /// For the next time.
        cursor: Option<String>,
    },
    /// With what changed since the cursor, what is gone included.
    #[expect(dead_code, reason = "for sources with a cursor")]
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
}

impl SourceFault {
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
        Kind::Sqlite { path, queries } => Box::new(sqlite::Sqlite::open(path, queries)?),
    })
}
