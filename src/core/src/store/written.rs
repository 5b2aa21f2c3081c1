//! What `write-keys` asks: which targets have an sshd of their own, and which keys may open one of them.

use std::hash::{Hash, Hasher};

use rusqlite::types::ValueRef;

use super::error::StoreError;
use super::read::Store;
use super::rows::RawTarget;
use crate::fingerprint::Fingerprint;
use crate::target::{Target, TargetId};

/// A key that may open a target, and when that changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Candidate {
    /// Which.
    pub key: Fingerprint,
    /// When the key, the grant that it counts by or the answer of its source ends; seconds since 1970.
    pub ends: Option<i64>,
}

/// The columns of [`KEYS`] that are of one candidate.
const COLUMNS: usize = 9;

/// Of the policies that may have it on; the policy itself says whether it does.
const TARGETS: &str = "SELECT id, name, driver, login_user, home, policy FROM targets \
     WHERE home IS NOT NULL AND policy LIKE '%\"write_keys\":true%' ORDER BY home, id";
const KEYS: &str = "SELECT k.fingerprint, k.expires, k.g, s.valid_until, k.name, k.id, k.options, \
       EXISTS(SELECT 1 FROM revoked r WHERE r.fingerprint = k.fingerprint), \
       EXISTS(SELECT 1 FROM keys o JOIN accounts d ON d.id = o.account_id AND NOT d.active \
         WHERE o.fingerprint = k.fingerprint) \
     FROM (SELECT k.*, g.expires AS g, a.name FROM grants g JOIN accounts a ON a.id = g.account_id AND a.active \
         JOIN keys k ON k.account_id = a.id WHERE g.target_id = ?1 \
       UNION ALL SELECT k.*, NULL, NULL FROM keys k WHERE k.target_id = ?1) k \
       LEFT JOIN sources s ON s.name = k.source \
     ORDER BY k.name NULLS LAST, k.id";

impl Store {
    /// The targets whose policy says `write_keys` and that have a home, in the order of their homes. A row that can't be
    /// used goes to `bad`.
    ///
    /// # Errors
    /// `Corrupt`, `Sqlite`.
    pub fn written_targets(&self, mut bad: impl FnMut(StoreError)) -> Result<Vec<Target>, StoreError> {
        let rows: Vec<RawTarget> =
            self.ask(|conn| conn.prepare(TARGETS)?.query_map([], RawTarget::read)?.collect())?;
        let mut targets = Vec::with_capacity(rows.len());
        for row in rows {
            match row.parse(&self.path) {
                Ok(target) if target.policy.write_keys => targets.push(target),
                Ok(_) => {}
                Err(error) => bad(error),
            }
        }
        Ok(targets)
    }

    /// The keys of a target and of the active accounts that have a grant for it, in the order in which they count, each
    /// once for each of its rows. Whether one opens anything is for [`crate::decide`] to say; `state` takes in all that
    /// it may say it by, but for the target and the time.
    ///
    /// # Errors
    /// `Corrupt`, `Sqlite`.
    pub fn candidates(
        &self,
        target: TargetId,
        state: &mut (impl Hasher + Clone),
    ) -> Result<Vec<Candidate>, StoreError> {
        let before = state.clone();
        self.ask(|conn| {
            // The question may be asked twice.
            *state = before.clone();
            conn.prepare_cached(KEYS)?
                .query_map([target.0], |row| {
                    for column in 0..COLUMNS {
                        match row.get_ref(column)? {
                            ValueRef::Integer(number) => number.hash(state),
                            ValueRef::Text(bytes) | ValueRef::Blob(bytes) => bytes.hash(state),
                            ValueRef::Null | ValueRef::Real(_) => 0_u8.hash(state),
                        }
                    }
                    let ends: [Option<i64>; 3] = [row.get(1)?, row.get(2)?, row.get(3)?];
                    let ends = ends.into_iter().flatten().min();
                    Ok(Candidate { key: Fingerprint(row.get(0)?), ends })
                })?
                .collect()
        })
    }
}
