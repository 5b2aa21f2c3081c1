//! What a source said, before any of it counts: a scratch file beside the store.
//!
//! Rows stream into it one by one, so a refresh takes the store's lock when the source has said its last word, and never
//! holds a million rows in memory. It is thrown away afterwards; one that a killed refresh left is overwritten.

use std::fs::OpenOptions;
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use rusqlite::{Connection, OpenFlags, Params};

use super::super::change::{NewKey, NewTarget};
use super::super::error::StoreError;

/// Whose a staged key is, by name: numbers are the store's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StagedOwner {
    /// An account.
    Account(String),
    /// A target, by its name or an alias.
    Target(String),
}

/// That something is not there any more; for answers that only say what changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Gone {
    /// An account, with its keys and grants.
    Account(String),
    /// A target, with its keys and grants.
    Target(String),
    /// All keys of an owner; those that the same answer brings stay.
    Keys(StagedOwner),
    /// A grant: the account and the target.
    Grant(String, String),
}

/// A scratch file that takes rows; removed when dropped. A method returns false for a row that is there already.
#[derive(Debug)]
pub struct Stage {
    /// Closed before the file goes.
    conn: Connection,
    file: Staged,
}

const TABLES: &str = "
PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF; PRAGMA locking_mode = EXCLUSIVE; PRAGMA cache_size = -16384;
CREATE TABLE accounts(n INTEGER PRIMARY KEY, name TEXT UNIQUE, active INTEGER, default_target TEXT) STRICT;
CREATE TABLE targets(n INTEGER PRIMARY KEY, name TEXT UNIQUE, aliases TEXT, driver TEXT, login_user TEXT, home TEXT,
  policy TEXT) STRICT;
CREATE TABLE keys(n INTEGER PRIMARY KEY, of_target INTEGER, owner TEXT, fingerprint BLOB, key_type TEXT, blob BLOB,
  options BLOB, comment BLOB, expires INTEGER, UNIQUE(of_target, owner, fingerprint)) STRICT;
CREATE TABLE grants(n INTEGER PRIMARY KEY, account TEXT, target TEXT, expires INTEGER, UNIQUE(account, target)) STRICT;
CREATE TABLE gone(n INTEGER PRIMARY KEY, what TEXT, name TEXT, target TEXT) STRICT;
BEGIN";

impl Stage {
    /// Makes an empty one at `path`; what is there is removed.
    ///
    /// # Errors
    /// [`StoreError`] of this file.
    pub fn create(path: &Path) -> Result<Stage, StoreError> {
        let file = |source| StoreError::File { path: path.to_owned(), source };
        remove(path).map_err(file)?;
        OpenOptions::new().write(true).create_new(true).mode(0o600).open(path).map_err(file)?;
        let staged = Staged { path: path.to_owned() };
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let made = Connection::open_with_flags(path, flags).and_then(|conn| {
            conn.execute_batch(TABLES)?;
            Ok(conn)
        });
        let conn = made.map_err(|error| StoreError::of(path, error))?;
        Ok(Stage { conn, file: staged })
    }

    /// Forgets all rows: the source begins anew.
    ///
    /// # Errors
    /// [`StoreError`] of this file.
    pub fn clear(&mut self) -> Result<(), StoreError> {
        self.conn
            .execute_batch(
                "DELETE FROM accounts; DELETE FROM targets; DELETE FROM keys; DELETE FROM grants; DELETE FROM gone",
            )
            .map_err(|error| StoreError::of(&self.file.path, error))
    }

    /// Takes an account.
    ///
    /// # Errors
    /// [`StoreError`] of this file.
    pub fn account(&mut self, name: &str, active: bool, default: Option<&str>) -> Result<bool, StoreError> {
        self.add(
            "INSERT OR IGNORE INTO accounts(name, active, default_target) VALUES(?1, ?2, ?3)",
            (name, active, default),
        )
    }

    /// Takes a target.
    ///
    /// # Errors
    /// [`StoreError`] of this file.
    pub fn target(&mut self, new: &NewTarget) -> Result<bool, StoreError> {
        let mut aliases: Vec<&str> = new.aliases.iter().map(|alias| alias.as_str()).collect();
        aliases.sort_unstable();
        aliases.dedup();
        aliases.retain(|alias| *alias != new.name.as_str());
        let json = |settings: serde_json::Result<String>| settings.unwrap_or_default(); // plain data: it can't fail
        self.add(
            "INSERT OR IGNORE INTO targets(name, aliases, driver, login_user, home, policy) VALUES(?1, ?2, ?3, ?4, ?5, ?6)",
            (
                new.name.as_str(),
                json(serde_json::to_string(&aliases)),
                json(serde_json::to_string(&new.driver)),
                new.login_user.as_str(),
                &new.home,
                json(serde_json::to_string(&new.policy)),
            ),
        )
    }

    /// Takes a key. (`key.owner` does not count; `owner` does.)
    ///
    /// # Errors
    /// [`StoreError`] of this file.
    pub fn key(&mut self, owner: &StagedOwner, key: &NewKey) -> Result<bool, StoreError> {
        let (of_target, owner) = owner.columns();
        self.add(
            "INSERT OR IGNORE INTO keys(of_target, owner, fingerprint, key_type, blob, options, comment, expires) \
             VALUES(?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
            (
                of_target,
                owner,
                &key.fingerprint.0[..],
                &key.key_type,
                &key.blob,
                &key.options,
                &key.comment,
                key.expires,
            ),
        )
    }

    /// Takes a grant; `expires` in seconds since 1970.
    ///
    /// # Errors
    /// [`StoreError`] of this file.
    pub fn grant(&mut self, account: &str, target: &str, expires: Option<i64>) -> Result<bool, StoreError> {
        let sql = "INSERT OR IGNORE INTO grants(account, target, expires) VALUES(?1, ?2, ?3)";
        self.add(sql, (account, target, expires))
    }

    /// Takes word that something is gone.
    ///
    /// # Errors
    /// [`StoreError`] of this file.
    pub fn gone(&mut self, gone: &Gone) -> Result<(), StoreError> {
        let (what, name, target) = match gone {
            Gone::Account(name) => ("account", name, None),
            Gone::Target(name) => ("target", name, None),
            Gone::Keys(StagedOwner::Account(name)) => ("account-keys", name, None),
            Gone::Keys(StagedOwner::Target(name)) => ("target-keys", name, None),
            Gone::Grant(account, target) => ("grant", account, Some(target)),
        };
        self.add("INSERT INTO gone(what, name, target) VALUES(?1, ?2, ?3)", (what, name, target)).map(drop)
    }

    fn add(&self, sql: &str, row: impl Params) -> Result<bool, StoreError> {
        let added = self.conn.prepare_cached(sql).and_then(|mut statement| statement.execute(row));
        added.map(|rows| rows > 0).map_err(|error| StoreError::of(&self.file.path, error))
    }

    /// Ends taking rows. The file stays until the returned value is dropped.
    ///
    /// # Errors
    /// [`StoreError`] of this file.
    pub fn finish(self) -> Result<Staged, StoreError> {
        let Stage { conn, file: staged } = self;
        let ended = conn.execute_batch("COMMIT").and_then(|()| {
            conn.flush_prepared_statement_cache();
            conn.close().map_err(|(_, error)| error)
        });
        ended.map_err(|error| StoreError::of(&staged.path, error))?;
        Ok(staged)
    }
}

/// A scratch file that is whole. Removed when dropped.
#[derive(Debug)]
pub struct Staged {
    pub(in super::super) path: PathBuf,
}

impl Drop for Staged {
    fn drop(&mut self) {
        if let Err(error) = remove(&self.path) {
            tracing::warn!(%error, path = %self.path.display(), "a scratch file stays");
        }
    }
}

impl StagedOwner {
    pub(super) fn columns(&self) -> (bool, &str) {
        match self {
            StagedOwner::Account(name) => (false, name),
            StagedOwner::Target(name) => (true, name),
        }
    }
}

fn remove(path: &Path) -> io::Result<()> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}
