//! Opening the store to read it, by whoever may do no more than that.
//!
//! The store is in WAL mode: writers append to `-wal`, tell in `-shm` how far it goes, and move pages into the store
//! later; nobody waits for anybody. SQLite's own way for readers without write permission works well while a writer is
//! alive, and fails or dawdles when one was killed at the wrong moment. So there are three ways, and each sees all that
//! was committed when it began:
//!
//! 1. **Quiet.** `-wal` holds nothing, which is how our writers leave it. The store alone is read, without any of
//!    SQLite's locks, behind [`Guard::quiet`]. The usual way, and the fastest. (SQLite would look for a way through an
//!    `-wal` of nothing but a header for ten seconds: `walBeginShmUnreliable` and the salts of an empty index.)
//! 2. **As SQLite does it.** Somebody writes, or died of it and left `-wal` full.
//! 3. **Frozen.** A writer was killed while it updated `-shm`, and another process still has that open: then SQLite waits
//!    for somebody who can write to mend it (`SQLITE_READONLY_RECOVERY`, `SQLITE_READONLY_CANTINIT`), which nobody may do
//!    for a long time. Behind [`Guard::frozen`] nothing moves, and SQLite reads `-wal` as if it were alone
//!    (`locking_mode=EXCLUSIVE` on the VFS without locks).
//!
//! What fails in a way that can pass is tried again until [`PATIENCE`] ends.

use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use rusqlite::config::DbConfig;
use rusqlite::limits::Limit;
use rusqlite::{Connection, ErrorCode, OpenFlags, ffi};

use super::error::{StoreError, extended};
use super::guard::Guard;
use super::schema::{self, APPLICATION_ID, Stamp, VERSION};

/// How long a reader tries before it says that the store is locked.
const PATIENCE: Duration = Duration::from_secs(3);
/// How long a reader lets writers that wait go first.
const MANNERS: Duration = Duration::from_secs(1);
/// Between two tries.
const PAUSE: Duration = Duration::from_millis(1);

/// An open store with a read transaction, so that all answers are of one moment.
#[derive(Debug)]
pub(super) struct Opened {
    /// Closed before `guard` is.
    pub(super) conn: Connection,
    guard: Option<Guard>,
}

impl Opened {
    /// Whether no writer can disturb the reader. None can, unless `-shm` is missing.
    pub(super) fn is_safe(&self) -> bool {
        self.guard.as_ref().is_none_or(Guard::is_safe)
    }

    /// Whether what was read up to now was read undisturbed by writers.
    pub(super) fn holds(&self) -> bool {
        self.guard.as_ref().is_none_or(Guard::holds)
    }
}

/// Opens the store at `path` and begins to read.
pub(super) fn open(path: &Path) -> Result<Opened, StoreError> {
    let begun = Instant::now();
    loop {
        if let Some(opened) = guarded(path, Guard::quiet(path)?, immutable)? {
            return Ok(opened);
        }
        let error = match begin(Connection::open_with_flags(path, flags())) {
            Ok((conn, stamp)) => return check_stamp(path, stamp).map(|()| Opened { conn, guard: None }),
            Err(error) if may_pass(&error) => StoreError::of(path, error),
            Err(error) => return Err(StoreError::of(path, error)),
        };
        if let Some(opened) = guarded(path, Guard::frozen(path, begun.elapsed() < MANNERS)?, alone)? {
            return Ok(opened);
        }
        // Somebody is writing right now: whoever it is leaves the store in order, or dies.
        if begun.elapsed() >= PATIENCE {
            return Err(error);
        }
        thread::sleep(PAUSE);
    }
}

/// Opens the store behind a guard; nothing when there is none, or it did not hold.
fn guarded(
    path: &Path,
    guard: Option<Guard>,
    connect: impl FnOnce(&Path) -> rusqlite::Result<Connection>,
) -> Result<Option<Opened>, StoreError> {
    let Some(guard) = guard else { return Ok(None) };
    let begun = begin(connect(path));
    if !guard.holds() {
        return Ok(None);
    }
    match begun {
        Ok((conn, stamp)) => {
            check_stamp(path, stamp)?;
            Ok(Some(Opened { conn, guard: Some(guard) }))
        }
        Err(error) if may_pass(&error) => {
            tracing::debug!(%error, "the store can't be read behind a guard");
            Ok(None)
        }
        Err(error) => Err(StoreError::of(path, error)),
    }
}

/// The store, and nothing beside it.
fn immutable(path: &Path) -> rusqlite::Result<Connection> {
    let text = path.to_str().ok_or_else(|| rusqlite::Error::InvalidPath(path.to_owned()))?;
    let escaped = text.replace('%', "%25").replace('?', "%3f").replace('#', "%23");
    let uri = format!("file:{escaped}?immutable=1");
    Connection::open_with_flags(uri, flags() | OpenFlags::SQLITE_OPEN_URI)
}

/// The store and its `-wal`, with the index of `-wal` in memory.
fn alone(path: &Path) -> rusqlite::Result<Connection> {
    let conn = Connection::open_with_flags_and_vfs(path, flags(), c"unix-none")?;
    conn.execute_batch("PRAGMA locking_mode = EXCLUSIVE")?;
    Ok(conn)
}

fn flags() -> OpenFlags {
    // No mutex: a connection is used by one thread at a time (`Connection` is not `Sync`).
    OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX
}

fn check_stamp(path: &Path, stamp: Stamp) -> Result<(), StoreError> {
    let path = path.to_owned();
    if stamp.application_id != APPLICATION_ID {
        return Err(StoreError::Corrupt {
            path,
            detail: "it is an SQLite file, but no store of vestibule".into(),
        });
    }
    match stamp.version {
        found if found > i64::from(VERSION) => Err(StoreError::Newer { path, found, known: VERSION }),
        found if found < i64::from(VERSION) => Err(StoreError::Older { path, found }),
        _ => Ok(()),
    }
}

/// Whether the same call may succeed a moment later, or behind a guard.
fn may_pass(error: &rusqlite::Error) -> bool {
    match error.sqlite_error_code() {
        Some(
            ErrorCode::DatabaseBusy
            | ErrorCode::FileLockingProtocolFailed
            | ErrorCode::CannotOpen
            | ErrorCode::ReadOnly,
        ) => true,
        // A file that shrinks while it is read: a writer emptied -wal.
        Some(ErrorCode::SystemIoFailure) => extended(error) == Some(ffi::SQLITE_IOERR_SHORT_READ),
        _ => false,
    }
}

/// Makes a connection fit for a file that a less trusted user writes, and takes its snapshot.
fn begin(conn: rusqlite::Result<Connection>) -> rusqlite::Result<(Connection, Stamp)> {
    let conn = conn?;
    conn.busy_timeout(Duration::from_millis(50))?;
    conn.set_db_config(DbConfig::SQLITE_DBCONFIG_DEFENSIVE, true)?;
    conn.set_db_config(DbConfig::SQLITE_DBCONFIG_TRUSTED_SCHEMA, false)?;
    conn.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_TRIGGER, false)?;
    conn.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_VIEW, false)?;
    // Plans by the statement alone, so that none is made again when it is given its values.
    conn.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true)?;
    // A reader has nothing to tidy up: it would only try, and may not.
    conn.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
    // Bytes of a value or a row; the largest true one is a key with its options.
    conn.set_limit(Limit::SQLITE_LIMIT_LENGTH, 1 << 20)?;
    conn.set_limit(Limit::SQLITE_LIMIT_ATTACHED, 0)?;
    conn.execute_batch("PRAGMA query_only = ON; PRAGMA cell_size_check = ON; BEGIN")?;
    let stamp = schema::stamp(&conn)?;
    Ok((conn, stamp))
}
