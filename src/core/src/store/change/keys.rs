//! Changes of keys and revocations.

use super::{ChangeError, Changes, unknown};
use crate::fingerprint::Fingerprint;
use crate::target::TargetId;

/// A key to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewKey {
    /// SHA-256 of `blob`.
    pub fingerprint: Fingerprint,
    /// `ssh-ed25519`, ...
    pub key_type: String,
    /// The key's wire form.
    pub blob: Vec<u8>,
    /// Options as in `authorized_keys`; any bytes.
    pub options: Vec<u8>,
    /// The key's comment; any bytes.
    pub comment: Vec<u8>,
    /// Whose it is.
    pub owner: Owner,
    /// When it ends to count; seconds since 1970.
    pub expires: Option<i64>,
}

/// Who has a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Owner {
    /// An account, by its number.
    Account(i64),
    /// A target.
    Target(TargetId),
}

impl Owner {
    /// `WHERE` for the row of a fingerprint (`?1`), of the owner with a number (`?2`), from a source (`?3`). By the owner
    /// and not by the fingerprint (the `+`): an owner has few keys, and one key may have a million owners.
    pub(in super::super) fn condition(self) -> &'static str {
        match self {
            Owner::Account(_) => "account_id = ?2 AND +fingerprint = ?1 AND source = ?3",
            Owner::Target(_) => "target_id = ?2 AND +fingerprint = ?1 AND source = ?3",
        }
    }
}

impl Changes<'_> {
    /// Adds a key and returns its number.
    ///
    /// # Errors
    /// [`ChangeError::Exists`] when its owner has it already, from the same source.
    pub fn add_key(&mut self, key: &NewKey, source: &str) -> Result<i64, ChangeError> {
        let (account, target) = match key.owner {
            Owner::Account(id) => (Some(id), None),
            Owner::Target(id) => (None, Some(id.0)),
        };
        let fingerprint = &key.fingerprint.0[..];
        let same = format!("SELECT id FROM keys WHERE {}", key.owner.condition());
        if self.one::<i64>(&same, (fingerprint, account.or(target), source))?.is_some() {
            return Err(ChangeError::Exists { what: "key", name: key.fingerprint.to_string() });
        }
        self.run(
            "INSERT INTO keys(fingerprint, key_type, blob, options, comment, account_id, target_id, expires, source, added) \
             VALUES(?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)",
            (
                fingerprint,
                &key.key_type,
                &key.blob,
                &key.options,
                &key.comment,
                account,
                target,
                key.expires,
                source,
                self.now,
            ),
        )?;
        Ok(self.tx.last_insert_rowid())
    }

    /// Removes a key by its number. A revocation of it stays.
    ///
    /// # Errors
    /// [`ChangeError::Unknown`].
    pub fn remove_key(&mut self, id: i64) -> Result<(), ChangeError> {
        match self.run("DELETE FROM keys WHERE id = ?1", [id])? {
            0 => Err(unknown("key", &id.to_string())),
            _ => Ok(()),
        }
    }

    /// The numbers of a key's rows, all or those of one owner.
    ///
    /// # Errors
    /// [`ChangeError::Store`].
    pub fn keys_of(&self, key: &Fingerprint, owner: Option<Owner>) -> Result<Vec<i64>, ChangeError> {
        let key = &key.0[..];
        let found = match owner {
            None => self.column("SELECT id FROM keys WHERE fingerprint = ?1", [key]),
            Some(Owner::Account(id)) => {
                self.column("SELECT id FROM keys WHERE fingerprint = ?1 AND account_id = ?2", (key, id))
            }
            Some(Owner::Target(id)) => {
                self.column("SELECT id FROM keys WHERE fingerprint = ?1 AND target_id = ?2", (key, id.0))
            }
        };
        Ok(found?)
    }

    /// Whether a key is revoked.
    ///
    /// # Errors
    /// [`ChangeError::Store`].
    pub fn is_revoked(&self, key: &Fingerprint) -> Result<bool, ChangeError> {
        Ok(self.one::<i64>("SELECT at FROM revoked WHERE fingerprint = ?1", [&key.0[..]])?.is_some())
    }

    /// The fingerprint of a key's row.
    ///
    /// # Errors
    /// [`ChangeError::Unknown`].
    pub fn key_fingerprint(&self, id: i64) -> Result<Fingerprint, ChangeError> {
        let bytes: Option<[u8; 32]> = self.one("SELECT fingerprint FROM keys WHERE id = ?1", [id])?;
        bytes.map(Fingerprint).ok_or_else(|| unknown("key", &id.to_string()))
    }

    /// Revokes a key, known to the store or not: it opens nothing until it is unrevoked, whoever lists it. A key that
    /// is revoked already keeps its time and reason; then false is returned.
    ///
    /// # Errors
    /// [`ChangeError::Store`].
    pub fn revoke(&mut self, key: &Fingerprint, reason: &str) -> Result<bool, ChangeError> {
        let sql = "INSERT INTO revoked(fingerprint, at, reason) VALUES(?1, ?2, ?3) ON CONFLICT DO NOTHING";
        Ok(self.run(sql, (&key.0[..], self.now, reason))? > 0)
    }

    /// Takes a revocation back.
    ///
    /// # Errors
    /// [`ChangeError::Unknown`].
    pub fn unrevoke(&mut self, key: &Fingerprint) -> Result<(), ChangeError> {
        match self.run("DELETE FROM revoked WHERE fingerprint = ?1", [&key.0[..]])? {
            0 => Err(unknown("revoked key", &key.to_string())),
            _ => Ok(()),
        }
    }
}
