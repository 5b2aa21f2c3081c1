//! Taking away what a source does not have any more, unless that is suspiciously much.
//!
//! A hub that answers with half of its rows, or with none, must not lock everybody out. One row of a kind, or the keys of
//! one owner, may always go: that is how people leave.

use super::super::change::{ChangeError, Changes};
use super::{Counts, Refresh, Scope};
use crate::target::TargetId;

/// Names that are removed at a time.
const CHUNK: i64 = 256;

/// Kinds of rows: the table, what tells one owner from another, how the scope restricts it to an account and to a
/// target, and the condition that the staged answer lacks the row.
pub(super) struct Kind {
    what: &'static str,
    table: &'static str,
    owner: &'static str,
    of_account: &'static str,
    of_target: &'static str,
    missing: &'static str,
}

const KEYS: Kind = Kind {
    what: "keys",
    table: "keys",
    owner: "ifnull(account_id, -target_id)",
    of_account: "account_id = ?2",
    of_target: "target_id = ?2",
    missing: "CASE WHEN account_id IS NOT NULL THEN NOT EXISTS(SELECT 1 FROM stage.keys s WHERE s.of_target = 0 AND \
              s.owner = (SELECT name FROM accounts WHERE id = account_id) AND s.fingerprint = keys.fingerprint) \
              ELSE NOT EXISTS(SELECT 1 FROM target_names n JOIN stage.keys s ON s.of_target = 1 AND s.owner = n.name \
              AND s.fingerprint = keys.fingerprint WHERE n.target_id = keys.target_id) END",
};
const GRANTS: Kind = Kind {
    what: "grants",
    table: "grants",
    owner: "account_id",
    of_account: "account_id = ?2",
    of_target: "target_id = ?2",
    missing: "NOT EXISTS(SELECT 1 FROM target_names n JOIN stage.grants s ON s.target = n.name AND \
              s.account = (SELECT name FROM accounts WHERE id = account_id) WHERE n.target_id = grants.target_id)",
};
const ACCOUNTS: Kind = Kind {
    what: "accounts",
    table: "accounts",
    owner: "id",
    of_account: "id = ?2",
    of_target: "0 AND ?2",
    missing: "NOT EXISTS(SELECT 1 FROM stage.accounts s WHERE s.name = accounts.name)",
};
const TARGETS: Kind = Kind {
    what: "targets",
    table: "targets",
    owner: "id",
    of_account: "0 AND ?2",
    of_target: "id = ?2",
    missing: "NOT EXISTS(SELECT 1 FROM stage.targets s WHERE s.name = targets.name)",
};

impl Kind {
    /// `WHERE` for the rows of the source (`?1`) within the scope, whose number is `?2`.
    fn within(&self, scope: &Scope) -> String {
        match scope {
            // The parameter has to stand in every statement.
            Scope::All => "source = ?1 AND ?2 IS NULL".to_owned(),
            Scope::Account(_) => format!("{} AND source = ?1", self.of_account),
            Scope::Target(_) => format!("{} AND source = ?1", self.of_target),
        }
    }
}

impl Changes<'_> {
    /// Before a whole answer is taken over: the kinds that the source has rows of. Of the others none can be missing
    /// afterwards, and a first import needs not look for a million of them.
    pub(super) fn had(&self, refresh: &Refresh<'_>) -> Result<Vec<&'static Kind>, ChangeError> {
        let mut had = Vec::new();
        for kind in [&KEYS, &GRANTS, &ACCOUNTS, &TARGETS] {
            let sql = format!("SELECT 1 FROM {} WHERE source = ?1 LIMIT 1", kind.table);
            if self.one::<i64>(&sql, [refresh.source])?.is_some() {
                had.push(kind);
            }
        }
        Ok(had)
    }

    /// After a whole answer: rows of its scope that it does not have, of the kinds that it `had`.
    pub(super) fn remove_missing(
        &mut self,
        refresh: &Refresh<'_>,
        had: &[&'static Kind],
        counts: &mut Counts,
    ) -> Result<(), ChangeError> {
        let number = match &refresh.scope {
            Scope::All => None,
            Scope::Account(name) => {
                Some(self.one::<i64>("SELECT id FROM accounts WHERE name = ?1", [name])?.unwrap_or(-1))
            }
            Scope::Target(name) => Some(
                self.one::<i64>("SELECT target_id FROM target_names WHERE name = ?1", [name])?.unwrap_or(-1),
            ),
        };
        for kind in had {
            self.guard(kind, refresh, number)?;
        }
        let has = |kind: &Kind| had.iter().any(|one| one.table == kind.table);
        for (kind, count) in [(&KEYS, &mut counts.keys), (&GRANTS, &mut counts.grants)] {
            if !has(kind) {
                continue;
            }
            let sql = format!(
                "DELETE FROM {} WHERE {} AND {}",
                kind.table,
                kind.within(&refresh.scope),
                kind.missing
            );
            count.removed += self.run(&sql, (refresh.source, number))? as u64;
        }
        let names = |kind: &Kind, column: &str| {
            let (table, within) = (kind.table, kind.within(&refresh.scope));
            format!("SELECT {column} FROM {table} WHERE {within} AND {} LIMIT {CHUNK}", kind.missing)
        };
        while has(&ACCOUNTS) {
            let gone: Vec<String> = self.column(&names(&ACCOUNTS, "name"), (refresh.source, number))?;
            for name in &gone {
                self.remove_account(name)?;
                counts.accounts.removed += 1;
            }
            if gone.is_empty() {
                break;
            }
        }
        while has(&TARGETS) {
            let gone: Vec<i64> = self.column(&names(&TARGETS, "id"), (refresh.source, number))?;
            for id in &gone {
                self.remove_target(TargetId(*id))?;
                counts.targets.removed += 1;
            }
            if gone.is_empty() {
                break;
            }
        }
        Ok(())
    }

    /// Refuses to remove too large a share of what the source has of a kind.
    fn guard(&self, kind: &Kind, refresh: &Refresh<'_>, number: Option<i64>) -> Result<(), ChangeError> {
        let (Some(share), Scope::All) = (refresh.max_shrink, &refresh.scope) else { return Ok(()) };
        let Kind { what, table, owner, missing, .. } = kind;
        let within = kind.within(&refresh.scope);
        let sql =
            format!("SELECT count(*), count(DISTINCT {owner}) FROM {table} WHERE {within} AND {missing}");
        let gone: Option<(u64, u64)> =
            self.row(&sql, (refresh.source, number), |row| Ok((row.get(0)?, row.get(1)?)))?;
        let (removed, owners) = gone.unwrap_or_default();
        if owners <= 1 {
            return Ok(());
        }
        let sql = format!("SELECT count(*) FROM {table} WHERE {within}");
        let of = self.one::<u64>(&sql, (refresh.source, number))?.unwrap_or_default();
        check_share(what, removed, of, share)
    }

    /// What an answer that only has changes says to be gone. Only rows of the source go.
    pub(super) fn gone(&mut self, refresh: &Refresh<'_>, counts: &mut Counts) -> Result<(), ChangeError> {
        for (what, table) in [("account", "accounts"), ("target", "targets")] {
            let sql = "SELECT count(*) FROM stage.gone WHERE what = ?1";
            let removed = self.one::<u64>(sql, [what])?.unwrap_or_default();
            // To count what there is takes a walk through it, which a few don't deserve.
            if let (Some(share), true) = (refresh.max_shrink, removed > 4) {
                let sql = format!("SELECT count(*) FROM {table} WHERE source = ?1");
                let of = self.one::<u64>(&sql, [refresh.source])?.unwrap_or_default();
                check_share(if what == "account" { "accounts" } else { "targets" }, removed, of, share)?;
            }
        }
        let source = refresh.source.to_owned();
        self.each(
            "SELECT n, what, name, target FROM stage.gone",
            |row| Ok((row.get::<_, String>(1)?, row.get::<_, String>(2)?, row.get::<_, Option<String>>(3)?)),
            |changes, (what, name, target)| {
                changes.gone_row(&source, &what, &name, target.as_deref(), counts)
            },
        )
    }

    fn gone_row(
        &mut self,
        source: &str,
        what: &str,
        name: &str,
        target: Option<&str>,
        counts: &mut Counts,
    ) -> Result<(), ChangeError> {
        const ACCOUNT: &str = "SELECT id FROM accounts WHERE name = ?1 AND source = ?2";
        const TARGET: &str = "SELECT t.id FROM target_names n JOIN targets t ON t.id = n.target_id \
                              WHERE n.name = ?1 AND t.source = ?2";
        match what {
            "account" if self.one::<i64>(ACCOUNT, (name, source))?.is_some() => {
                self.remove_account(name)?;
                counts.accounts.removed += 1;
            }
            "target" => {
                if let Some(id) = self.one::<i64>(TARGET, (name, source))? {
                    self.remove_target(TargetId(id))?;
                    counts.targets.removed += 1;
                }
            }
            "account-keys" => {
                let sql = "DELETE FROM keys WHERE account_id = (SELECT id FROM accounts WHERE name = ?1) AND source = ?2 \
                           AND fingerprint NOT IN (SELECT fingerprint FROM stage.keys WHERE of_target = 0 AND owner = ?1)";
                counts.keys.removed += self.run(sql, (name, source))? as u64;
            }
            "target-keys" => {
                let sql = "DELETE FROM keys WHERE target_id = (SELECT target_id FROM target_names WHERE name = ?1) \
                           AND source = ?2 AND fingerprint NOT IN \
                           (SELECT fingerprint FROM stage.keys WHERE of_target = 1 AND owner = ?1)";
                counts.keys.removed += self.run(sql, (name, source))? as u64;
            }
            "grant" => {
                let sql = "DELETE FROM grants WHERE account_id = (SELECT id FROM accounts WHERE name = ?1) \
                           AND target_id = (SELECT target_id FROM target_names WHERE name = ?2) AND source = ?3";
                counts.grants.removed += self.run(sql, (name, target, source))? as u64;
            }
            _ => {}
        }
        Ok(())
    }
}

#[expect(clippy::cast_precision_loss, reason = "a share, of counts far below 2^52")]
fn check_share(what: &'static str, removed: u64, of: u64, share: f64) -> Result<(), ChangeError> {
    if removed as f64 > share * of as f64 {
        return Err(ChangeError::Shrinks { what, removed, of });
    }
    Ok(())
}
