//! Writing the store.
//!
//! One writer at a time, by the lock of the index of names. A change is one transaction: new names go into the index
//! and to the disk first, then the store commits, then names that are gone leave the index. Whatever instruction a
//! writer is killed at, the store is the old one or the new one, and the index holds every name of it (and perhaps
//! some that nothing answers to).
//!
//! At the end of each change the writer moves it from `-wal` into the store and empties `-wal`, so that the readers
//! that come when nobody writes have nothing to search; see `open.rs` for them.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags, Transaction, TransactionBehavior};
use vestibule_names::index::IndexWriter;

use super::beside;
use super::change::{ChangeError, Changes};
use super::error::StoreError;
use super::guard::Writing;
use super::names::{self, NamesReport};
use super::refresh::{Counts, Refresh, SourceUpdate, Staged};
use super::schema::{self, APPLICATION_ID, STEPS, VERSION};
use super::taken::{self, Taken};
use super::triggers;

/// How long a writer waits for another.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long the end of a change waits for readers, so that it can empty `-wal`.
const TIDY_PATIENCE: Duration = Duration::from_millis(200);

/// The store, open for writing, and the index of names beside it.
#[derive(Debug)]
pub struct Writer {
    conn: Connection,
    /// Behind `conn`, so that it is closed after it.
    writing: Writing,
    path: PathBuf,
    index: PathBuf,
    prefix: Option<String>,
}

impl Writer {
    /// Opens the store at `path` with its index of names, which is built for the target prefix `prefix`.
    ///
    /// # Errors
    /// [`StoreError`]; an older store is one ([`init`](Self::init) migrates).
    pub fn open(path: &Path, index: &Path, prefix: Option<&str>) -> Result<Writer, StoreError> {
        let writing = Writing::new(path)?;
        let conn = connect(path).map_err(|error| StoreError::of(path, error))?;
        let stamp = writing.waiting(|| schema::stamp(&conn)).map_err(|error| StoreError::of(path, error))?;
        check_stamp(path, stamp)?;
        if stamp.version < i64::from(VERSION) {
            return Err(StoreError::Older { path: path.to_owned(), found: stamp.version });
        }
        triggers::set(&conn).map_err(|error| StoreError::of(path, error))?;
        if let Err(error) = taken::make(path) {
            tracing::warn!(%error, "sessions will not be told at once of what is taken away");
        }
        let path = path.to_owned();
        Ok(Writer { conn, writing, path, index: index.to_owned(), prefix: prefix.map(str::to_owned) })
    }

    /// Makes what is missing: the store, its tables, its index of names; migrates a store of an older version. Does
    /// nothing to what is in order. Returns the version that was found, 0 for none.
    ///
    /// # Errors
    /// [`StoreError`]; a newer store is one, and is left alone.
    pub fn init(path: &Path, index: &Path, prefix: Option<&str>) -> Result<(Writer, i64), StoreError> {
        let mut found = 0;
        names::rebuild(index, prefix, || {
            let sqlite = |error| StoreError::of(path, error);
            if !path.try_exists().map_err(|source| StoreError::File { path: path.to_owned(), source })? {
                create(path)?;
            } else {
                let writing = Writing::new(path)?;
                let mut conn = connect(path).map_err(sqlite)?;
                check_stamp(path, writing.waiting(|| schema::stamp(&conn)).map_err(sqlite)?)?;
                found = schema::migrate(&mut conn, &STEPS).map_err(sqlite)?;
                tidy(&conn);
            }
            let _writing = Writing::new(path)?;
            let conn = connect(path).map_err(sqlite)?;
            // Makes -wal and -shm, which readers can't.
            conn.execute_batch("BEGIN IMMEDIATE; COMMIT").map_err(sqlite)?;
            names::all(&conn, path)
        })?;
        Ok((Self::open(path, index, prefix)?, found))
    }

    /// Makes changes, all or none. Whatever `make` returns as an error undoes them.
    ///
    /// # Errors
    /// What `make` returned, or [`StoreError`].
    pub fn change<T, E: From<StoreError>>(
        &mut self,
        make: impl FnOnce(&mut Changes<'_>) -> Result<T, E>,
    ) -> Result<T, E> {
        let index = self.open_index()?;
        let path = self.path.clone();
        let sqlite = |error| StoreError::of(&path, error);
        let begun = self.writing.waiting(|| Transaction::new(&mut self.conn, TransactionBehavior::Immediate));
        let tx = begun.map_err(sqlite)?;
        let mut changes = Changes::new(&tx, &path, index, now());
        let made = make(&mut changes).and_then(|made| changes.sync_names().map(|()| made).map_err(E::from));
        let pending = changes.finish();
        let committed = match made {
            Ok(made) => tx.commit().map(|()| made).map_err(|error| E::from(sqlite(error))),
            Err(error) => {
                drop(tx);
                Err(error)
            }
        };
        match committed {
            Ok(made) => {
                tell_sessions(&self.conn, &path);
                pending.remove_gone(&self.conn);
                tidy(&self.conn);
                Ok(made)
            }
            Err(error) => {
                pending.remove_fresh();
                Err(error)
            }
        }
    }

    /// Takes a source's staged answer over, all of it or nothing. With `dry`, nothing, but the counts are those of all.
    ///
    /// # Errors
    /// [`ChangeError`]; [`Shrinks`](ChangeError::Shrinks) when the answer lacks too much.
    pub fn refresh(
        &mut self,
        staged: &Staged,
        refresh: &Refresh<'_>,
        update: SourceUpdate<'_>,
        dry: bool,
        problems: &mut dyn FnMut(&str, String),
    ) -> Result<Counts, ChangeError> {
        /// Ends a transaction without a change.
        enum Stop {
            Dry(Counts),
            Fault(ChangeError),
        }
        impl From<StoreError> for Stop {
            fn from(error: StoreError) -> Self {
                Stop::Fault(error.into())
            }
        }
        let sqlite = |path: &Path| {
            let path = path.to_owned();
            move |error| StoreError::of(&path, error)
        };
        let stage = staged.path.to_string_lossy();
        self.conn.execute("ATTACH ?1 AS stage", [&stage]).map_err(sqlite(&staged.path))?;
        // Pages of an import: 32 MiB instead of 2.
        self.conn.execute_batch("PRAGMA main.cache_size = -32768").map_err(sqlite(&self.path))?;
        let done = self.change(|changes| {
            let counts = changes.refresh(refresh, problems).map_err(Stop::Fault)?;
            if dry {
                return Err(Stop::Dry(counts));
            }
            changes.note_source(refresh.source, update).map_err(Stop::Fault)?;
            Ok(counts)
        });
        self.conn.flush_prepared_statement_cache();
        self.conn.execute_batch("DETACH stage").map_err(sqlite(&staged.path))?;
        match done {
            Ok(counts) | Err(Stop::Dry(counts)) => Ok(counts),
            Err(Stop::Fault(fault)) => Err(fault),
        }
    }

    /// Tells sessions to end.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn order(&mut self, orders: &[Taken<'_>]) -> Result<(), StoreError> {
        let _lock = self.open_index()?;
        taken::announce(&self.path, orders)
            .map_err(|source| StoreError::File { path: taken::ledger_of(&self.path), source })
    }

    /// Compares the index of names with the store.
    ///
    /// # Errors
    /// [`StoreError`]; `Names` when the index is missing or damaged.
    pub fn check_names(&self) -> Result<NamesReport, StoreError> {
        let index = IndexWriter::open(&self.index).map_err(|source| self.names_fault(source))?;
        names::report(&self.conn, &self.path, &index, self.prefix.as_deref())
    }

    /// Makes the index of names anew.
    ///
    /// # Errors
    /// [`StoreError`]; the old index is then as it was.
    pub fn mend_names(&mut self) -> Result<(), StoreError> {
        self.rebuild_index().map(drop)
    }

    /// SQLite's own checks, of the file's pages and of references between rows: each fault is a line of its own.
    ///
    /// # Errors
    /// [`StoreError`], when even the checks can't be made.
    pub fn integrity(&self) -> Result<Vec<String>, StoreError> {
        let sqlite = |error| StoreError::of(&self.path, error);
        let mut faults = Vec::new();
        let mut query = self.conn.prepare("PRAGMA integrity_check(20)").map_err(sqlite)?;
        let mut rows = query.query([]).map_err(sqlite)?;
        while let Some(row) = rows.next().map_err(sqlite)? {
            let line: String = row.get(0).map_err(sqlite)?;
            if line != "ok" {
                faults.push(line);
            }
        }
        let mut query = self.conn.prepare("PRAGMA foreign_key_check").map_err(sqlite)?;
        let mut rows = query.query([]).map_err(sqlite)?;
        while let (Some(row), true) = (rows.next().map_err(sqlite)?, faults.len() < 40) {
            let (table, parent): (String, String) =
                (row.get(0).map_err(sqlite)?, row.get(2).map_err(sqlite)?);
            faults.push(format!("a row of '{table}' refers to a row of '{parent}' that does not exist"));
        }
        Ok(faults)
    }

    /// The index, and with it the writers' lock. One that is missing, damaged or of another prefix is made anew: a
    /// revocation must not fail for it.
    fn open_index(&self) -> Result<IndexWriter, StoreError> {
        match IndexWriter::open(&self.index) {
            Ok(index) if index.prefix() == self.prefix.as_deref() => return Ok(index),
            Ok(_) => tracing::warn!("the index of names was built for another prefix; making it anew"),
            Err(error) if is_locked(&error) => return Err(self.names_fault(error)),
            Err(error) => tracing::warn!(%error, "the index of names can't be used; making it anew"),
        }
        self.rebuild_index()
    }

    fn rebuild_index(&self) -> Result<IndexWriter, StoreError> {
        names::rebuild(&self.index, self.prefix.as_deref(), || names::all(&self.conn, &self.path))
    }

    fn names_fault(&self, source: io::Error) -> StoreError {
        if is_locked(&source) {
            StoreError::Locked { path: self.index.clone() }
        } else {
            StoreError::Names { source }
        }
    }
}

/// Tells sessions what a change that was committed took away. They also look by themselves now and then, so a fault here
/// undoes nothing.
fn tell_sessions(conn: &Connection, path: &Path) {
    let told = triggers::take(conn).map_err(io::Error::other).and_then(|notes| {
        let taken: Vec<Taken<'_>> = notes.iter().map(triggers::Note::as_taken).collect();
        taken::announce(path, &taken)
    });
    if let Err(error) = told {
        tracing::warn!(%error, "sessions are not told at once of what was taken away");
    }
}

fn is_locked(error: &io::Error) -> bool {
    error.get_ref().and_then(|inner| inner.downcast_ref()) == Some(&vestibule_names::index::Fault::Locked)
}

fn check_stamp(path: &Path, stamp: schema::Stamp) -> Result<(), StoreError> {
    let path = path.to_owned();
    if stamp.application_id != APPLICATION_ID {
        return Err(StoreError::Corrupt {
            path,
            detail: "it is an SQLite file, but no store of vestibule".into(),
        });
    }
    if stamp.version > i64::from(VERSION) {
        return Err(StoreError::Newer { path, found: stamp.version, known: VERSION });
    }
    Ok(())
}

fn connect(path: &Path) -> rusqlite::Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let conn = Connection::open_with_flags(path, flags)?;
    conn.busy_timeout(PATIENCE)?;
    conn.set_db_config(DbConfig::SQLITE_DBCONFIG_DEFENSIVE, true)?;
    conn.set_db_config(DbConfig::SQLITE_DBCONFIG_TRUSTED_SCHEMA, false)?;
    conn.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_TRIGGER, false)?;
    conn.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_VIEW, false)?;
    // The last to close would otherwise remove -wal, and readers could not make it again.
    conn.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
    conn.execute_batch("PRAGMA foreign_keys = ON; PRAGMA synchronous = FULL; PRAGMA cell_size_check = ON")?;
    Ok(conn)
}

/// A new store, there as a whole or not at all. The caller has the writers' lock.
fn create(path: &Path) -> Result<(), StoreError> {
    let new = beside(path, ".new");
    let file = |source| StoreError::File { path: new.clone(), source };
    for left_over in [new.clone(), beside(&new, "-wal"), beside(&new, "-shm"), beside(&new, "-journal")] {
        match std::fs::remove_file(&left_over) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(file(error)),
            _ => {}
        }
    }
    OpenOptions::new().write(true).create_new(true).mode(0o640).open(&new).map_err(file)?;
    let made = (|| {
        let mut conn = Connection::open_with_flags(&new, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
        schema::migrate(&mut conn, &STEPS)?;
        let mode: String = conn.query_row("PRAGMA journal_mode = WAL", [], |row| row.get(0))?;
        if mode != "wal" {
            let why = "this file system can't hold a store (no shared memory between processes)";
            return Err(rusqlite::Error::ToSqlConversionFailure(why.into()));
        }
        conn.close().map_err(|(_, error)| error)
    })();
    made.map_err(|error| StoreError::of(&new, error))?;
    File::open(&new).and_then(|new| new.sync_all()).map_err(file)?;
    std::fs::rename(&new, path).map_err(file)?;
    let dir = path.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."));
    File::open(dir).and_then(|dir| dir.sync_all()).map_err(file)
}

/// Moves what was committed from `-wal` into the store and empties `-wal`. When readers don't allow it in time, or the
/// disk is full, the change stays in `-wal`, where it is as safe, and the next writer does it.
fn tidy(conn: &Connection) {
    let tidied = conn
        .busy_timeout(TIDY_PATIENCE)
        .and_then(|()| conn.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| row.get::<_, i64>(0)));
    match tidied {
        Ok(0) => {}
        Ok(_) => tracing::debug!("readers are at work; the change stays in -wal for now"),
        Err(error) => tracing::warn!(%error, "the change is stored, but stays in -wal for now"),
    }
    if let Err(error) = conn.busy_timeout(PATIENCE) {
        tracing::debug!(%error, "can't set the busy timeout");
    }
}

/// Seconds since 1970.
fn now() -> i64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(now.as_secs()).unwrap_or(i64::MAX)
}
