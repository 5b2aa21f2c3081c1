//! What can be changed in the store, one method for each change.
//!
//! A method says in its error what was wrong with the request; the caller's transaction then ends without a change.
//! Names are in the index before their rows are committed and leave it afterwards: see `write.rs`. Accounts and grants are in
//! `accounts.rs`, targets in `targets.rs`, keys and revocations in `keys.rs`.

use std::path::Path;

use rusqlite::types::FromSql;
use rusqlite::{Connection, OptionalExtension, Params, Transaction};
use vestibule_names::index::{IndexWriter, Kind};
use vestibule_names::login::TargetName;

use super::error::StoreError;
use crate::target::TargetId;

mod accounts;
mod keys;
mod targets;

pub use keys::{NewKey, Owner};
pub use targets::NewTarget;

/// Why a change can't be made.
#[derive(Debug, thiserror::Error)]
pub enum ChangeError {
    /// The store itself.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// There is one already.
    #[error("{what} '{name}' exists already")]
    Exists {
        /// `account`, `target`, `key`, ...
        what: &'static str,
        /// Which.
        name: String,
    },
    /// There is none.
    #[error("no {what} '{name}'")]
    Unknown {
        /// `account`, `target`, `key`, ...
        what: &'static str,
        /// Which.
        name: String,
    },
    /// A refresh would remove suspiciously much.
    #[error("{removed} of {of} {what} would be removed, which is more than may go at once")]
    Shrinks {
        /// `accounts`, `keys`, ...
        what: &'static str,
        /// How many would go.
        removed: u64,
        /// How many the source has.
        of: u64,
    },
    /// Another target has the name.
    #[error("the name '{name}' is target '{of}' already")]
    NameTaken {
        /// A name or an alias.
        name: String,
        /// The target that has it.
        of: String,
    },
}

/// An open transaction of a [`Writer`](super::Writer).
#[derive(Debug)]
pub struct Changes<'a> {
    pub(super) tx: &'a Transaction<'a>,
    path: &'a Path,
    now: i64,
    pending: Pending,
}

/// What is still to be done to the index when the transaction has ended.
#[derive(Debug)]
pub(super) struct Pending {
    index: IndexWriter,
    fresh: Vec<(Kind, String)>,
    gone: Vec<(Kind, String)>,
}

impl Pending {
    /// After the commit: names that no row has any more leave the index. A name that can't be removed stays as one too
    /// many, which `vestibulectl doctor` shows.
    pub(super) fn remove_gone(mut self, conn: &Connection) {
        for (kind, name) in &self.gone {
            let removed = match is_in_use(conn, *kind, name) {
                Ok(true) => continue,
                Ok(false) => self.index.remove(*kind, name).map_err(|error| error.to_string()),
                Err(error) => Err(error.to_string()),
            };
            if let Err(error) = removed {
                tracing::warn!(%error, name, "a name stays in the index");
            }
        }
    }

    /// After a rollback: names that this transaction brought leave the index.
    pub(super) fn remove_fresh(mut self) {
        for (kind, name) in &self.fresh {
            if let Err(error) = self.index.remove(*kind, name) {
                tracing::warn!(%error, name, "a name stays in the index");
            }
        }
    }
}

fn is_in_use(conn: &Connection, kind: Kind, name: &str) -> rusqlite::Result<bool> {
    let sql = match kind {
        Kind::Target => "SELECT 1 FROM target_names WHERE name = ?1",
        Kind::Account => "SELECT 1 FROM accounts WHERE name = ?1",
        Kind::Default => "SELECT 1 FROM accounts WHERE name = ?1 AND default_target IS NOT NULL",
    };
    Ok(conn.query_row(sql, [name], |_| Ok(())).optional()?.is_some())
}

impl<'a> Changes<'a> {
    pub(super) fn new(tx: &'a Transaction<'a>, path: &'a Path, index: IndexWriter, now: i64) -> Self {
        Changes { tx, path, now, pending: Pending { index, fresh: Vec::new(), gone: Vec::new() } }
    }

    pub(super) fn sync_names(&self) -> Result<(), StoreError> {
        if self.pending.fresh.is_empty() {
            return Ok(());
        }
        self.pending.index.sync().map_err(|source| StoreError::Names { source })
    }

    pub(super) fn finish(self) -> Pending {
        self.pending
    }

    /// When this transaction began; seconds since 1970.
    #[must_use]
    pub fn now(&self) -> i64 {
        self.now
    }

    /// The number of an account.
    ///
    /// # Errors
    /// [`ChangeError::Unknown`].
    pub fn account_id(&self, name: &str) -> Result<i64, ChangeError> {
        self.one("SELECT id FROM accounts WHERE name = ?1", [name])?.ok_or_else(|| unknown("account", name))
    }

    /// The target of this name or alias.
    ///
    /// # Errors
    /// [`ChangeError::Unknown`].
    pub fn target_id(&self, name: &TargetName) -> Result<TargetId, ChangeError> {
        let id = self.one("SELECT target_id FROM target_names WHERE name = ?1", [name.as_str()])?;
        id.map(TargetId).ok_or_else(|| unknown("target", name.as_str()))
    }

    pub(super) fn one<T: FromSql>(&self, sql: &str, params: impl Params) -> Result<Option<T>, StoreError> {
        let found = self
            .tx
            .prepare_cached(sql)
            .and_then(|mut query| query.query_row(params, |row| row.get(0)).optional());
        found.map_err(|error| self.sqlite(error))
    }

    /// The first column of every row.
    pub(super) fn column<T: FromSql>(&self, sql: &str, params: impl Params) -> Result<Vec<T>, StoreError> {
        let all = self.tx.prepare_cached(sql).and_then(|mut query| {
            let rows = query.query_map(params, |row| row.get(0))?;
            rows.collect()
        });
        all.map_err(|error| self.sqlite(error))
    }

    /// The number of rows that changed.
    pub(super) fn run(&self, sql: &str, params: impl Params) -> Result<usize, StoreError> {
        let done = self.tx.prepare_cached(sql).and_then(|mut statement| statement.execute(params));
        done.map_err(|error| self.sqlite(error))
    }

    pub(super) fn sqlite(&self, error: rusqlite::Error) -> StoreError {
        StoreError::of(self.path, error)
    }

    pub(super) fn name_comes(&mut self, kind: Kind, name: &str) -> Result<(), StoreError> {
        let fresh = self.pending.index.insert(kind, name).map_err(|source| StoreError::Names { source })?;
        if fresh {
            self.pending.fresh.push((kind, name.to_owned()));
        }
        Ok(())
    }

    pub(super) fn name_goes(&mut self, kind: Kind, name: &str) {
        self.pending.gone.push((kind, name.to_owned()));
    }
}

fn unknown(what: &'static str, name: &str) -> ChangeError {
    ChangeError::Unknown { what, name: name.to_owned() }
}
