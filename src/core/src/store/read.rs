//! What a login asks of the store.
//!
//! Each question is one or two statements of few pages each, whatever the number of rows; a test reads SQLite's plans.

use std::cell::RefCell;
use std::path::{Path, PathBuf};

use base64ct::{Base64, Encoding};
use rusqlite::{Connection, OptionalExtension, Params, Row};
use vestibule_names::login::{Candidate, OwnName, target_lookups};

use super::error::StoreError;
use super::open::{self, Opened};
use super::rows;
use crate::fingerprint::Fingerprint;
use crate::target::{Target, TargetId};

/// The store, open for reading. All its answers are of one moment: that of [`open_read`](Store::open_read).
///
/// (When the store lacks the files that SQLite keeps beside it and a writer makes them just then, the answers that follow
/// are of a later moment.)
#[derive(Debug)]
pub struct Store {
    opened: RefCell<Opened>,
    pub(super) path: PathBuf,
}

/// How often a question is asked again that a writer disturbed.
const TRIES: usize = 5;

/// What a login name turned out to mean.
#[derive(Debug, Clone, PartialEq)]
pub struct Resolved {
    /// The account that the login names, or whose default target it is.
    pub account: Option<Account>,
    /// Where it goes.
    pub target: Target,
}

/// A person or robot that owns keys.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Account {
    /// The store's number; not used again.
    pub id: i64,
    /// Its name.
    pub name: String,
    /// Not disabled.
    pub active: bool,
}

/// All that the store knows of one key, seen from one target.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct KeyFacts {
    /// The key is revoked, whoever lists it.
    pub revoked: Option<Revocation>,
    /// A disabled account that owns the key; the first by name.
    pub disabled_owner: Option<String>,
    /// The accounts that own the key, active and disabled, by name; with a grant or without.
    pub accounts: Vec<AccountKey>,
    /// The key as a key of this very target.
    pub target_keys: Vec<TargetKey>,
}

/// That a key opens nothing any more.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Revocation {
    /// Seconds since 1970.
    pub at: i64,
    /// The administrator's words; may be empty.
    pub reason: String,
}

/// A key of an account.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AccountKey {
    /// The account's name.
    pub account: String,
    /// Whether the account is not disabled.
    pub active: bool,
    /// `TYPE BASE64`.
    pub public_key: String,
    /// Options as in `authorized_keys`; any bytes, may be empty.
    pub options: Vec<u8>,
    /// When the key ends to count; seconds since 1970.
    pub expires: Option<i64>,
    /// The account's grant for the target that was asked for.
    pub grant: Option<GrantRow>,
}

/// That an account may enter a target.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GrantRow {
    /// When it ends; seconds since 1970.
    pub expires: Option<i64>,
}

/// What is known of an account, seen from one target.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AccountFacts {
    /// Not disabled.
    pub active: bool,
    /// Its grant for the target.
    pub grant: Option<GrantRow>,
}

/// A key of a target.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TargetKey {
    /// `TYPE BASE64`.
    pub public_key: String,
    /// Options as in `authorized_keys`; any bytes, may be empty.
    pub options: Vec<u8>,
    /// When the key ends to count; seconds since 1970.
    pub expires: Option<i64>,
}

const TARGET_BY_NAME: &str = "SELECT t.id, t.name, t.driver, t.login_user, t.home, t.policy \
     FROM target_names n JOIN targets t ON t.id = n.target_id WHERE n.name = ?1";
const TARGET_BY_ID: &str = "SELECT id, name, driver, login_user, home, policy FROM targets WHERE id = ?1";
const ACCOUNT_BY_NAME: &str = "SELECT id, name, active, default_target FROM accounts WHERE name = ?1";
const REVOKED: &str = "SELECT at, reason FROM revoked WHERE fingerprint = ?1";
const KEYS: &str = "SELECT k.key_type, k.blob, k.options, k.expires, k.target_id, a.name, a.active, \
       g.target_id IS NOT NULL, g.expires, k.source \
     FROM keys k LEFT JOIN accounts a ON a.id = k.account_id \
       LEFT JOIN grants g ON g.account_id = k.account_id AND g.target_id = ?2 \
     WHERE k.fingerprint = ?1 ORDER BY a.name, k.id";
const VALID_UNTIL: &str = "SELECT valid_until FROM sources WHERE name = ?1";
const ACCOUNT_FACTS: &str = "SELECT a.active, g.target_id IS NOT NULL, g.expires FROM accounts a \
     LEFT JOIN grants g ON g.account_id = a.id AND g.target_id = ?2 WHERE a.name = ?1";
const GRANT: &str = "SELECT g.expires FROM accounts a JOIN grants g ON g.account_id = a.id AND g.target_id = ?2 \
     WHERE a.name = ?1 AND a.active = 1";

impl Store {
    /// Opens the store for reading, which needs no more than the permission to read its three files.
    ///
    /// # Errors
    /// Every variant of [`StoreError`] but `Row` and `Full`. A store that somebody is writing is not one of them.
    pub fn open_read(path: &Path) -> Result<Store, StoreError> {
        Ok(Store { opened: RefCell::new(open::open(path)?), path: path.to_owned() })
    }

    /// The first of `candidates` that exists.
    ///
    /// # Errors
    /// `Corrupt`, `Row`, `Sqlite`.
    pub fn resolve<'a>(
        &self,
        candidates: impl IntoIterator<Item = Candidate<'a>>,
        prefix: Option<&str>,
    ) -> Result<Option<Resolved>, StoreError> {
        for candidate in candidates {
            let found = match candidate {
                Candidate::Target { account, target } => self.named(account, target, prefix)?,
                Candidate::DefaultOf(account) => self.default_of(account)?,
            };
            if found.is_some() {
                return Ok(found);
            }
        }
        Ok(None)
    }

    fn named(
        &self,
        account: Option<&str>,
        target: &str,
        prefix: Option<&str>,
    ) -> Result<Option<Resolved>, StoreError> {
        let Some(account) = account else {
            let target = self.target_named(target, prefix)?;
            return Ok(target.map(|target| Resolved { account: None, target }));
        };
        // The account's own goes first, so that nobody can put another target in its place.
        let own = OwnName::new(account, target);
        let own = own.map(|own| self.target_named(own.as_str(), None)).transpose()?.flatten();
        let Some(target) = own.map_or_else(|| self.target_named(target, prefix), |own| Ok(Some(own)))? else {
            return Ok(None);
        };
        let account = self.account(account)?;
        Ok(account.map(|(account, _)| Resolved { account: Some(account), target }))
    }

    fn default_of(&self, account: &str) -> Result<Option<Resolved>, StoreError> {
        let Some((account, Some(target))) = self.account(account)? else { return Ok(None) };
        Ok(self.target(target)?.map(|target| Resolved { account: Some(account), target }))
    }

    /// The target that has this name or alias, as a login name may spell it.
    ///
    /// # Errors
    /// `Corrupt`, `Row`, `Sqlite`.
    pub fn target_named(&self, name: &str, prefix: Option<&str>) -> Result<Option<Target>, StoreError> {
        for key in target_lookups(name, prefix) {
            let row = self.one(TARGET_BY_NAME, [key.as_ref()], rows::RawTarget::read)?;
            if let Some(raw) = row {
                return raw.parse(&self.path).map(Some);
            }
        }
        Ok(None)
    }

    /// The target of this number.
    ///
    /// # Errors
    /// `Corrupt`, `Row`, `Sqlite`.
    pub fn target(&self, id: TargetId) -> Result<Option<Target>, StoreError> {
        let row = self.one(TARGET_BY_ID, [id.0], rows::RawTarget::read)?;
        row.map(|raw| raw.parse(&self.path)).transpose()
    }

    /// The account of this name, and its default target.
    ///
    /// # Errors
    /// `Corrupt`, `Sqlite`.
    pub fn account(&self, name: &str) -> Result<Option<(Account, Option<TargetId>)>, StoreError> {
        self.one(ACCOUNT_BY_NAME, [name], |row| {
            let account = Account { id: row.get(0)?, name: row.get(1)?, active: row.get(2)? };
            Ok((account, row.get::<_, Option<i64>>(3)?.map(TargetId)))
        })
    }

    /// What is known of a key when it knocks at a target.
    ///
    /// # Errors
    /// `Corrupt`, `Sqlite`.
    pub fn key_facts(&self, key: &Fingerprint, target: TargetId) -> Result<KeyFacts, StoreError> {
        self.facts(key, target, true)
    }

    /// As [`key_facts`](Self::key_facts), but the keys of a source that does not answer any more count: for a session that
    /// such a key let in when they did.
    ///
    /// # Errors
    /// `Corrupt`, `Sqlite`.
    pub fn key_facts_once_valid(&self, key: &Fingerprint, target: TargetId) -> Result<KeyFacts, StoreError> {
        self.facts(key, target, false)
    }

    fn facts(&self, key: &Fingerprint, target: TargetId, stale: bool) -> Result<KeyFacts, StoreError> {
        let revoked = self.revocation(key)?;
        self.ask(|conn| {
            let mut facts = KeyFacts { revoked: revoked.clone(), ..KeyFacts::default() };
            let mut query = conn.prepare(KEYS)?;
            let mut rows = query.query((&key.0[..], target.0))?;
            while let Some(row) = rows.next()? {
                let until = if stale { valid_until(conn, row.get_ref(9)?.as_str()?)? } else { None };
                facts.add(row, target, until)?;
            }
            Ok(facts)
        })
    }

    /// Whether, and why, a key is revoked.
    ///
    /// # Errors
    /// `Corrupt`, `Sqlite`.
    pub fn revocation(&self, key: &Fingerprint) -> Result<Option<Revocation>, StoreError> {
        self.one(REVOKED, [&key.0[..]], |row| Ok(Revocation { at: row.get(0)?, reason: row.get(1)? }))
    }

    /// What is known of an account when it knocks at a target.
    ///
    /// # Errors
    /// `Corrupt`, `Sqlite`.
    pub fn account_facts(&self, name: &str, target: TargetId) -> Result<Option<AccountFacts>, StoreError> {
        self.one(ACCOUNT_FACTS, (name, target.0), |row| {
            let grant = if row.get(1)? { Some(GrantRow { expires: row.get(2)? }) } else { None };
            Ok(AccountFacts { active: row.get(0)?, grant })
        })
    }

    /// Whether an active account of this name has a grant for the target that has not ended at `now` (seconds since
    /// 1970).
    ///
    /// # Errors
    /// `Corrupt`, `Sqlite`.
    pub fn grant_alive(&self, account: &str, target: TargetId, now: i64) -> Result<bool, StoreError> {
        let expires = self.one(GRANT, (account, target.0), |row| row.get::<_, Option<i64>>(0))?;
        Ok(expires.is_some_and(|expires| expires.is_none_or(|end| now < end)))
    }

    /// At most one row.
    fn one<T>(
        &self,
        sql: &str,
        params: impl Params + Copy,
        read: impl Fn(&Row<'_>) -> rusqlite::Result<T>,
    ) -> Result<Option<T>, StoreError> {
        self.ask(|conn| conn.prepare(sql)?.query_row(params, &read).optional())
    }

    /// Asks, and asks again when a writer may have torn the answer.
    pub(super) fn ask<T>(
        &self,
        mut question: impl FnMut(&Connection) -> rusqlite::Result<T>,
    ) -> Result<T, StoreError> {
        for _ in 0..TRIES {
            let answer = {
                let opened = self.opened.borrow();
                let answer = question(&opened.conn);
                opened.holds().then_some(answer)
            };
            if let Some(answer) = answer {
                return answer.map_err(|error| StoreError::of(&self.path, error));
            }
            let Ok(mut opened) = self.opened.try_borrow_mut() else { break };
            *opened = open::open(&self.path)?;
        }
        Err(StoreError::Locked { path: self.path.clone() })
    }

    /// Whether a question need not be asked twice.
    pub(super) fn is_safe(&self) -> bool {
        self.opened.borrow().is_safe()
    }
}

impl KeyFacts {
    /// Takes in a row of [`KEYS`].
    fn add(&mut self, row: &Row<'_>, target: TargetId, valid: Option<i64>) -> rusqlite::Result<()> {
        let public_key = public_key(row)?;
        let (options, expires) = (row.get(2)?, earlier(row.get(3)?, valid));
        let Some(account) = row.get::<_, Option<String>>(5)? else {
            if row.get::<_, Option<i64>>(4)? == Some(target.0) {
                self.target_keys.push(TargetKey { public_key, options, expires });
            }
            return Ok(());
        };
        let active: bool = row.get(6)?;
        if !active && self.disabled_owner.is_none() {
            self.disabled_owner = Some(account.clone());
        }
        let grant = if row.get(7)? { Some(GrantRow { expires: row.get(8)? }) } else { None };
        self.accounts.push(AccountKey { account, active, public_key, options, expires, grant });
        Ok(())
    }
}

/// Until when the keys of a source count; for ever those of the administrator.
fn valid_until(conn: &Connection, source: &str) -> rusqlite::Result<Option<i64>> {
    if source == "local" {
        return Ok(None);
    }
    let found = conn.prepare(VALID_UNTIL)?.query_row([source], |row| row.get(0)).optional()?;
    Ok(found.flatten())
}

fn earlier(a: Option<i64>, b: Option<i64>) -> Option<i64> {
    a.into_iter().chain(b).min()
}

/// `TYPE BASE64` of a row's first two columns.
pub(super) fn public_key(row: &Row<'_>) -> rusqlite::Result<String> {
    let key_type = row.get_ref(0)?.as_str()?;
    let blob = row.get_ref(1)?.as_blob()?;
    Ok(format!("{key_type} {}", Base64::encode_string(blob)))
}
