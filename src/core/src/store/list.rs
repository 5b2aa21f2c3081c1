//! Lists of what is in the store, for the administrator.
//!
//! Rows are handed over one by one, in order of their names: a store may hold more than fits in memory twice.

use std::ops::ControlFlow;

use rusqlite::{Connection, Params, Row};

use super::error::StoreError;
use super::read::{Revocation, Store, public_key};
use super::rows::RawTarget;
use crate::fingerprint::Fingerprint;
use crate::target::{Target, TargetId};

/// An account.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AccountRow {
    /// Its name.
    pub name: String,
    /// Not disabled.
    pub active: bool,
    /// The name of its default target.
    pub default_target: Option<String>,
    /// Who keeps it.
    pub source: String,
    /// Seconds since 1970.
    pub created: i64,
    /// When the account itself (not its keys or grants) last changed; seconds since 1970.
    pub updated: i64,
}

/// A target.
#[derive(Debug, Clone, PartialEq)]
pub struct TargetRow {
    /// What a login gets to know of it.
    pub target: Target,
    /// Its further names.
    pub aliases: Vec<String>,
    /// Who keeps it.
    pub source: String,
    /// Seconds since 1970.
    pub created: i64,
    /// When its settings last changed; seconds since 1970.
    pub updated: i64,
}

/// Whose a listed key is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KeyOwner {
    /// An account, by name.
    Account(String),
    /// A target, by name.
    Target(String),
}

/// A key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyRow {
    /// Its number.
    pub id: i64,
    /// SHA-256 of the key.
    pub fingerprint: Fingerprint,
    /// `TYPE BASE64`.
    pub public_key: String,
    /// Options as in `authorized_keys`; any bytes.
    pub options: Vec<u8>,
    /// The comment; any bytes.
    pub comment: Vec<u8>,
    /// Whose it is.
    pub owner: KeyOwner,
    /// When it ends to count; seconds since 1970.
    pub expires: Option<i64>,
    /// Who keeps it.
    pub source: String,
    /// Seconds since 1970.
    pub added: i64,
    /// That it is revoked.
    pub revoked: Option<Revocation>,
}

/// A grant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GrantLine {
    /// The account's name.
    pub account: String,
    /// The target's name.
    pub target: String,
    /// When it ends; seconds since 1970.
    pub expires: Option<i64>,
    /// Who keeps it.
    pub source: String,
    /// Seconds since 1970.
    pub created: i64,
}

/// Which keys are listed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyFilter<'a> {
    /// Every key.
    All,
    /// Those of an account, by its name.
    Account(&'a str),
    /// Those of a target.
    Target(TargetId),
    /// Every row of one key.
    Fingerprint(Fingerprint),
    /// The row of this number.
    Id(i64),
}

const ACCOUNTS: &str = "SELECT a.name, a.active, t.name, a.source, a.created, a.updated \
     FROM accounts a LEFT JOIN targets t ON t.id = a.default_target";
const TARGETS: &str =
    "SELECT id, name, driver, login_user, home, policy, source, created, updated FROM targets";
const KEYS: &str = "SELECT k.key_type, k.blob, k.id, k.fingerprint, k.options, k.comment, a.name, t.name, k.expires, \
       k.source, k.added, r.at, r.reason \
     FROM keys k LEFT JOIN accounts a ON a.id = k.account_id LEFT JOIN targets t ON t.id = k.target_id \
       LEFT JOIN revoked r ON r.fingerprint = k.fingerprint";
const GRANTS: &str = "SELECT a.name, t.name, g.expires, g.source, g.created \
     FROM grants g JOIN accounts a ON a.id = g.account_id JOIN targets t ON t.id = g.target_id";

impl Store {
    /// Every account, or the one of that name.
    ///
    /// # Errors
    /// `Corrupt`, `Sqlite`.
    pub fn accounts(
        &self,
        name: Option<&str>,
        take: impl FnMut(AccountRow) -> ControlFlow<()>,
    ) -> Result<(), StoreError> {
        let read = |row: &Row<'_>| {
            Ok(AccountRow {
                name: row.get(0)?,
                active: row.get(1)?,
                default_target: row.get(2)?,
                source: row.get(3)?,
                created: row.get(4)?,
                updated: row.get(5)?,
            })
        };
        match name {
            None => self.list(&format!("{ACCOUNTS} ORDER BY a.name"), [], read, take),
            Some(name) => self.list(&format!("{ACCOUNTS} WHERE a.name = ?1"), [name], read, take),
        }
    }

    /// Every target, or the one of that number. A row that can't be used is handed over as the error that a login
    /// would end with.
    ///
    /// # Errors
    /// `Corrupt`, `Sqlite`.
    pub fn targets(
        &self,
        id: Option<TargetId>,
        mut take: impl FnMut(Result<TargetRow, StoreError>) -> ControlFlow<()>,
    ) -> Result<(), StoreError> {
        let read = |row: &Row<'_>| Ok((RawTarget::read(row)?, row.get(6)?, row.get(7)?, row.get(8)?));
        let take = |(raw, source, created, updated): (RawTarget, String, i64, i64)| {
            let id = raw.id();
            let row = raw.parse(&self.path).and_then(|target| {
                let aliases = self.aliases(id, target.name.as_str())?;
                Ok(TargetRow { target, aliases, source, created, updated })
            });
            take(row)
        };
        match id {
            None => self.list(&format!("{TARGETS} ORDER BY name"), [], read, take),
            Some(id) => self.list(&format!("{TARGETS} WHERE id = ?1"), [id.0], read, take),
        }
    }

    fn aliases(&self, id: i64, name: &str) -> Result<Vec<String>, StoreError> {
        let mut aliases = Vec::new();
        let sql = "SELECT name FROM target_names WHERE target_id = ?1 AND name <> ?2 ORDER BY name";
        let read = |row: &Row<'_>| row.get(0);
        self.list(sql, (id, name), read, |alias| {
            aliases.push(alias);
            ControlFlow::Continue(())
        })?;
        Ok(aliases)
    }

    /// The keys that `filter` lets through.
    ///
    /// # Errors
    /// `Corrupt`, `Sqlite`.
    pub fn keys(
        &self,
        filter: KeyFilter<'_>,
        take: impl FnMut(KeyRow) -> ControlFlow<()>,
    ) -> Result<(), StoreError> {
        match filter {
            KeyFilter::All => self.list(&format!("{KEYS} ORDER BY k.id"), [], key_row, take),
            KeyFilter::Account(name) => {
                let sql = format!(
                    "{KEYS} WHERE k.account_id = (SELECT id FROM accounts WHERE name = ?1) ORDER BY k.id"
                );
                self.list(&sql, [name], key_row, take)
            }
            KeyFilter::Target(id) => {
                self.list(&format!("{KEYS} WHERE k.target_id = ?1 ORDER BY k.id"), [id.0], key_row, take)
            }
            KeyFilter::Fingerprint(key) => {
                let sql = format!("{KEYS} WHERE k.fingerprint = ?1 ORDER BY k.id");
                self.list(&sql, [&key.0[..]], key_row, take)
            }
            KeyFilter::Id(id) => self.list(&format!("{KEYS} WHERE k.id = ?1"), [id], key_row, take),
        }
    }

    /// Every revocation, also of keys that nobody has (any more).
    ///
    /// # Errors
    /// `Corrupt`, `Sqlite`.
    pub fn revocations(
        &self,
        mut take: impl FnMut(Fingerprint, Revocation) -> ControlFlow<()>,
    ) -> Result<(), StoreError> {
        self.list(
            "SELECT fingerprint, at, reason FROM revoked ORDER BY at",
            [],
            |row| Ok((Fingerprint(row.get(0)?), Revocation { at: row.get(1)?, reason: row.get(2)? })),
            |(key, revocation)| take(key, revocation),
        )
    }

    /// The grants, all or those of an account, of a target, or of both.
    ///
    /// # Errors
    /// `Corrupt`, `Sqlite`.
    pub fn grants(
        &self,
        account: Option<&str>,
        target: Option<TargetId>,
        take: impl FnMut(GrantLine) -> ControlFlow<()>,
    ) -> Result<(), StoreError> {
        let read = |row: &Row<'_>| {
            Ok(GrantLine {
                account: row.get(0)?,
                target: row.get(1)?,
                expires: row.get(2)?,
                source: row.get(3)?,
                created: row.get(4)?,
            })
        };
        let order = "ORDER BY a.name, t.name";
        match (account, target) {
            (None, None) => self.list(&format!("{GRANTS} {order}"), [], read, take),
            (Some(account), None) => {
                self.list(&format!("{GRANTS} WHERE a.name = ?1 {order}"), [account], read, take)
            }
            (None, Some(target)) => {
                self.list(&format!("{GRANTS} WHERE g.target_id = ?1 {order}"), [target.0], read, take)
            }
            (Some(account), Some(target)) => {
                let sql = format!("{GRANTS} WHERE a.name = ?1 AND g.target_id = ?2");
                self.list(&sql, (account, target.0), read, take)
            }
        }
    }

    fn list<T>(
        &self,
        sql: &str,
        params: impl Params + Copy,
        read: impl Fn(&Row<'_>) -> rusqlite::Result<T>,
        mut take: impl FnMut(T) -> ControlFlow<()>,
    ) -> Result<(), StoreError> {
        let each = |conn: &Connection, take: &mut dyn FnMut(T) -> ControlFlow<()>| {
            let mut query = conn.prepare(sql)?;
            let mut rows = query.query(params)?;
            while let Some(row) = rows.next()? {
                if take(read(row)?).is_break() {
                    break;
                }
            }
            Ok(())
        };
        if self.is_safe() {
            return self.ask(|conn| each(conn, &mut take));
        }
        // A list that is half told can't be told again.
        let rows = self.ask(|conn| {
            let mut rows = Vec::new();
            each(conn, &mut |row| {
                rows.push(row);
                ControlFlow::Continue(())
            })?;
            Ok(rows)
        })?;
        let _stopped_early = rows.into_iter().try_for_each(take);
        Ok(())
    }
}

fn key_row(row: &Row<'_>) -> rusqlite::Result<KeyRow> {
    let revoked_at: Option<i64> = row.get(11)?;
    let owner = match row.get(6)? {
        Some(account) => KeyOwner::Account(account),
        None => KeyOwner::Target(row.get(7)?),
    };
    Ok(KeyRow {
        public_key: public_key(row)?,
        id: row.get(2)?,
        fingerprint: Fingerprint(row.get(3)?),
        options: row.get(4)?,
        comment: row.get(5)?,
        owner,
        expires: row.get(8)?,
        source: row.get(9)?,
        added: row.get(10)?,
        revoked: match revoked_at {
            Some(at) => Some(Revocation { at, reason: row.get(12)? }),
            None => None,
        },
    })
}
