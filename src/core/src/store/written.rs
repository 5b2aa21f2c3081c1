//! What `write-keys` asks: which targets have an sshd of their own, and which keys may open one of them.

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

/// Of the policies that may have it on; the policy itself says whether it does.
const TARGETS: &str = "SELECT id, name, driver, login_user, home, policy FROM targets \
     WHERE home IS NOT NULL AND policy LIKE '%\"write_keys\":true%' ORDER BY home, id";
const KEYS: &str = "SELECT k.fingerprint, k.expires, g.expires, s.valid_until, a.name, k.id \
     FROM grants g JOIN accounts a ON a.id = g.account_id AND a.active JOIN keys k ON k.account_id = a.id \
       LEFT JOIN sources s ON s.name = k.source WHERE g.target_id = ?1 \
     UNION ALL SELECT k.fingerprint, k.expires, NULL, s.valid_until, NULL, k.id \
     FROM keys k LEFT JOIN sources s ON s.name = k.source WHERE k.target_id = ?1 \
     ORDER BY 5 NULLS LAST, 6";

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
    /// once for each of its rows. Whether one opens anything is for [`crate::decide`] to say.
    ///
    /// # Errors
    /// `Corrupt`, `Sqlite`.
    pub fn candidates(&self, target: TargetId) -> Result<Vec<Candidate>, StoreError> {
        self.ask(|conn| {
            conn.prepare_cached(KEYS)?
                .query_map([target.0], |row| {
                    let ends: [Option<i64>; 3] = [row.get(1)?, row.get(2)?, row.get(3)?];
                    let ends = ends.into_iter().flatten().min();
                    Ok(Candidate { key: Fingerprint(row.get(0)?), ends })
                })?
                .collect()
        })
    }
}
