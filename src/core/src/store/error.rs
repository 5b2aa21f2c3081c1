//! Why the store gives no answer, in words for whoever can mend it.

use std::io;
use std::path::{Path, PathBuf};

use rusqlite::{ErrorCode, ffi};

use super::schema::VERSION;

/// Why the store can't be read or written. Each names the file and, where there is one, the mend.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// There is no such file.
    #[error("the store '{}' does not exist; run 'vestibulectl init'", .path.display())]
    Missing {
        /// The store.
        path: PathBuf,
    },
    /// The caller may not open it.
    #[error(
        "the store '{}' may not be opened by this user; members of its group may, and 'vestibulectl doctor' shows what is wrong",
        .path.display()
    )]
    Denied {
        /// The store.
        path: PathBuf,
    },
    /// The file is damaged, or not a store at all.
    #[error(
        "the store '{}' is damaged ({detail}); move it away with its -wal and -shm, and restore it or run 'vestibulectl init'",
        .path.display()
    )]
    Corrupt {
        /// The store.
        path: PathBuf,
        /// What was found.
        detail: String,
    },
    /// Somebody else kept it locked longer than we wait.
    #[error("the store '{}' is locked by another program; try again, or see who has it with 'fuser'", .path.display())]
    Locked {
        /// The store, or its lock file.
        path: PathBuf,
    },
    /// It was made by a newer program.
    #[error(
        "the store '{}' has version {found}, and this program knows {known} at most; install the newer vestibule everywhere",
        .path.display()
    )]
    Newer {
        /// The store.
        path: PathBuf,
        /// Its version.
        found: i64,
        /// Ours.
        known: u32,
    },
    /// It was made by an older program.
    #[error("the store '{}' has version {found}, and this program wants {}; run 'vestibulectl init'", .path.display(), VERSION)]
    Older {
        /// The store.
        path: PathBuf,
        /// Its version.
        found: i64,
    },
    /// No room (or quota) for what was to be written. Nothing of it was.
    #[error("no room on the disk for the store '{}'; nothing was changed", .path.display())]
    Full {
        /// The store.
        path: PathBuf,
    },
    /// A row that this program can't make sense of.
    #[error("the store '{}' has a row that can't be used: {what}: {why}", .path.display())]
    Row {
        /// The store.
        path: PathBuf,
        /// Which row.
        what: String,
        /// What is wrong.
        why: String,
    },
    /// A file beside the store (its lock, the index of names) can't be used.
    #[error("can't use '{}'", .path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The index of login names can't be kept in step.
    #[error("the index of login names can't be written; run 'vestibulectl init'")]
    Names {
        /// Why, with the file's name.
        source: io::Error,
    },
    /// Anything else that SQLite says.
    #[error("the store '{}' can't be used", .path.display())]
    Sqlite {
        /// The store.
        path: PathBuf,
        /// SQLite's words.
        source: rusqlite::Error,
    },
}

impl StoreError {
    /// What the operating system says when the store can't be opened.
    pub(super) fn unopened(path: &Path, source: io::Error) -> StoreError {
        let path = path.to_owned();
        match source.kind() {
            io::ErrorKind::NotFound => StoreError::Missing { path },
            io::ErrorKind::PermissionDenied => StoreError::Denied { path },
            _ => StoreError::File { path, source },
        }
    }

    /// What SQLite says, as one of our situations.
    pub(super) fn of(path: &Path, error: rusqlite::Error) -> StoreError {
        let path = path.to_owned();
        match error.sqlite_error_code() {
            Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase | ErrorCode::TooBig) => {
                StoreError::Corrupt { path, detail: words(&error) }
            }
            Some(
                ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked | ErrorCode::FileLockingProtocolFailed,
            ) => StoreError::Locked { path },
            Some(ErrorCode::DiskFull) => StoreError::Full { path },
            // The -shm file could not grow; on a full disk that is said before anything is written.
            Some(ErrorCode::SystemIoFailure) if extended(&error) == Some(ffi::SQLITE_IOERR_SHMSIZE) => {
                StoreError::Full { path }
            }
            Some(ErrorCode::ReadOnly) => StoreError::Denied { path },
            Some(ErrorCode::CannotOpen) => match std::fs::File::open(&path) {
                Err(source) => StoreError::unopened(&path, source),
                Ok(_) => StoreError::Sqlite { path, source: error },
            },
            // Parsing a damaged schema ends as a plain error.
            Some(ErrorCode::Unknown) if words(&error).starts_with("no such ") => {
                StoreError::Corrupt { path, detail: words(&error) }
            }
            // Wrong types where the tables are STRICT: not written through SQLite.
            None if matches!(
                error,
                rusqlite::Error::InvalidColumnType(..)
                    | rusqlite::Error::FromSqlConversionFailure(..)
                    | rusqlite::Error::IntegralValueOutOfRange(..)
                    | rusqlite::Error::Utf8Error(..)
            ) =>
            {
                StoreError::Corrupt { path, detail: words(&error) }
            }
            _ => StoreError::Sqlite { path, source: error },
        }
    }
}

/// SQLite's extended result code.
pub(super) fn extended(error: &rusqlite::Error) -> Option<i32> {
    error.sqlite_error().map(|error| error.extended_code)
}

fn words(error: &rusqlite::Error) -> String {
    match error {
        rusqlite::Error::SqliteFailure(_, Some(message)) => message.clone(),
        other => other.to_string(),
    }
}
