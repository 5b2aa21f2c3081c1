//! Taking staged rows over into the store.

use rusqlite::{OptionalExtension, Row};
use vestibule_names::login::{AccountName, TargetName};

use super::super::change::{ChangeError, Changes, NewKey, NewTarget, Owner};
use super::{Counts, Refresh, StagedOwner};
use crate::fingerprint::Fingerprint;
use crate::target::{Driver, HostKeys, LoginUser, TargetId};

/// Rows that are read at a time: a statement can't walk a table that others change.
const CHUNK: i64 = 512;

/// Who is told of a row that was passed over: which, and why.
pub(super) type Problems<'a> = &'a mut dyn FnMut(&str, String);

impl Changes<'_> {
    /// Takes over what is staged (attached as `stage`), and removes what is gone.
    ///
    /// # Errors
    /// [`ChangeError::Shrinks`] when it would remove too much; [`ChangeError::Store`]. A row that can't be taken over is
    /// no error: it goes to `problems`.
    pub fn refresh(&mut self, refresh: &Refresh<'_>, problems: Problems<'_>) -> Result<Counts, ChangeError> {
        let mut counts = Counts::default();
        let had = if refresh.whole { self.had(refresh)? } else { Vec::new() };
        self.gone(refresh, &mut counts)?;
        self.each(
            "SELECT n, name, aliases, driver, login_user, home, policy FROM stage.targets",
            staged_target,
            |changes, row| changes.take_target(refresh, row, &mut counts, problems),
        )?;
        self.each(
            "SELECT n, name, active, default_target FROM stage.accounts",
            |row| Ok((row.get::<_, String>(1)?, row.get::<_, bool>(2)?, row.get::<_, Option<String>>(3)?)),
            |changes, row| changes.take_account(refresh, &row, &mut counts, problems),
        )?;
        self.each(
            "SELECT n, of_target, owner, fingerprint, key_type, blob, options, comment, expires FROM stage.keys",
            staged_key,
            |changes, (owner, key)| changes.take_key(refresh, &owner, key, &mut counts, problems),
        )?;
        self.each(
            "SELECT n, account, target, expires FROM stage.grants",
            |row| Ok((row.get::<_, String>(1)?, row.get::<_, String>(2)?, row.get::<_, Option<i64>>(3)?)),
            |changes, row| changes.take_grant(refresh, &row, &mut counts, problems),
        )?;
        if refresh.whole {
            self.remove_missing(refresh, &had, &mut counts)?;
        }
        Ok(counts)
    }

    /// Hands every row of a staged table to `take`.
    pub(super) fn each<T>(
        &mut self,
        select: &str,
        read: impl Fn(&Row<'_>) -> rusqlite::Result<T>,
        mut take: impl FnMut(&mut Self, T) -> Result<(), ChangeError>,
    ) -> Result<(), ChangeError> {
        let sql = format!("{select} WHERE n > ?1 ORDER BY n LIMIT ?2");
        let mut last = 0;
        loop {
            let rows: Vec<(i64, T)> = self.rows(&sql, (last, CHUNK), |row| Ok((row.get(0)?, read(row)?)))?;
            let Some((n, _)) = rows.last() else { return Ok(()) };
            last = *n;
            for (_, row) in rows {
                take(self, row)?;
            }
        }
    }

    fn take_target(
        &mut self,
        refresh: &Refresh<'_>,
        mut new: NewTarget,
        counts: &mut Counts,
        problems: Problems<'_>,
    ) -> Result<(), ChangeError> {
        let name = new.name.as_str().to_owned();
        let what = format!("target '{name}'");
        let mut wanted: Vec<&str> =
            std::iter::once(&new.name).chain(&new.aliases).map(TargetName::as_str).collect();
        wanted.sort_unstable();
        for wanted in &wanted {
            let sql = "SELECT t.name, t.source FROM target_names n JOIN targets t ON t.id = n.target_id WHERE n.name = ?1";
            let held: Option<(String, String)> =
                self.row(sql, [wanted], |row| Ok((row.get(0)?, row.get(1)?)))?;
            match held {
                Some((_, source)) if source != refresh.source => {
                    problems(&what, format!("the name '{wanted}' belongs to the source '{source}'"));
                    return Ok(());
                }
                // In a whole answer the old holder may be about to give the name up.
                Some((of, _)) if of != name && !self.gives_up(&of, wanted, refresh)? => {
                    problems(&what, format!("the name '{wanted}' is target '{of}' already"));
                    return Ok(());
                }
                _ => {}
            }
        }
        self.keep_learned(&name, &mut new.driver)?;
        let json = |settings: serde_json::Result<String>| settings.unwrap_or_default();
        let (driver, policy) =
            (json(serde_json::to_string(&new.driver)), json(serde_json::to_string(&new.policy)));
        let sql = "SELECT id, driver = ?2 AND login_user = ?3 AND home IS ?4 AND policy = ?5 FROM targets WHERE id = \
                   (SELECT target_id FROM target_names WHERE name = ?1)";
        let settings = (&name, driver, new.login_user.as_str(), &new.home, policy);
        let known: Option<(i64, bool)> = self.row(sql, settings, |row| Ok((row.get(0)?, row.get(1)?)))?;
        match known {
            None => {
                self.add_target(&new, refresh.source)?;
                counts.targets.added += 1;
            }
            Some((id, same)) => {
                let names: Vec<String> =
                    self.column("SELECT name FROM target_names WHERE target_id = ?1 ORDER BY name", [id])?;
                if !same || names != wanted {
                    self.set_target(TargetId(id), &new)?;
                    counts.targets.changed += 1;
                }
            }
        }
        Ok(())
    }

    /// A source that has host keys learned does not undo what was learned, as long as the same leads to the server.
    fn keep_learned(&mut self, name: &str, driver: &mut Driver) -> Result<(), ChangeError> {
        let Driver::Ssh { over, host_keys: host_keys @ HostKeys::Learn, .. } = driver else { return Ok(()) };
        let sql =
            "SELECT driver FROM targets WHERE id = (SELECT target_id FROM target_names WHERE name = ?1)";
        let known: Option<String> = self.one(sql, [name])?;
        match known.and_then(|json| serde_json::from_str(&json).ok()) {
            Some(Driver::Ssh { over: same, host_keys: HostKeys::Pinned(keys), .. }) if same == *over => {
                *host_keys = HostKeys::Pinned(keys);
            }
            _ => {}
        }
        Ok(())
    }

    /// Whether the target `of` of the same source loses `name` in this answer; then it loses it now.
    fn gives_up(&mut self, of: &str, name: &str, refresh: &Refresh<'_>) -> Result<bool, ChangeError> {
        let sql = "SELECT 1 FROM stage.targets WHERE name = ?1 AND (name = ?2 OR EXISTS \
                   (SELECT 1 FROM json_each(aliases) WHERE value = ?2))";
        let keeps = self.one::<i64>(sql, (of, name))?.is_some();
        let staged = self.one::<i64>("SELECT 1 FROM stage.targets WHERE name = ?1", [of])?.is_some();
        let loses = !keeps && of != name && (staged || refresh.whole);
        if loses {
            self.run("DELETE FROM target_names WHERE name = ?1", [name])?;
        }
        Ok(loses)
    }

    fn take_account(
        &mut self,
        refresh: &Refresh<'_>,
        (name, active, default): &(String, bool, Option<String>),
        counts: &mut Counts,
        problems: Problems<'_>,
    ) -> Result<(), ChangeError> {
        let what = format!("account '{name}'");
        let sql = "SELECT source, active, default_target FROM accounts WHERE name = ?1";
        let known: Option<(String, bool, Option<i64>)> =
            self.row(sql, [name], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?;
        let default = match default {
            None => None,
            Some(target) => match self.one::<i64>(TARGET_ID, [target])? {
                None => {
                    problems(&what, format!("its default target '{target}' does not exist"));
                    None
                }
                id => id,
            },
        };
        match known {
            Some((source, ..)) if source != refresh.source => {
                problems(&what, format!("it belongs to the source '{source}'"));
            }
            Some((_, was_active, was_default)) => {
                if was_active != *active {
                    self.set_active(name, *active)?;
                }
                if was_default != default {
                    self.set_default(name, default.map(TargetId))?;
                }
                counts.accounts.changed += u64::from(was_active != *active || was_default != default);
            }
            None => {
                let Ok(account) = AccountName::try_from(name.as_str()) else {
                    problems(&what, "it is no name of an account".to_owned());
                    return Ok(());
                };
                self.add_account(&account, refresh.source)?;
                if !active {
                    self.set_active(name, false)?;
                }
                if default.is_some() {
                    self.set_default(name, default.map(TargetId))?;
                }
                counts.accounts.added += 1;
            }
        }
        Ok(())
    }

    fn take_key(
        &mut self,
        refresh: &Refresh<'_>,
        owner: &StagedOwner,
        mut key: NewKey,
        counts: &mut Counts,
        problems: Problems<'_>,
    ) -> Result<(), ChangeError> {
        let owned = match owner {
            StagedOwner::Account(name) => {
                self.usable(ACCOUNT, name, refresh).map(|id| id.map(Owner::Account))
            }
            StagedOwner::Target(name) => {
                self.usable(TARGET, name, refresh).map(|id| id.map(|id| Owner::Target(TargetId(id))))
            }
        };
        key.owner = match owned? {
            Ok(owner) => owner,
            Err(why) => {
                problems(&format!("key {}", key.fingerprint), why);
                return Ok(());
            }
        };
        let (Owner::Account(number) | Owner::Target(TargetId(number))) = key.owner;
        let sql = format!(
            "SELECT id, options = ?4 AND comment = ?5 AND expires IS ?6 FROM keys WHERE {}",
            key.owner.condition()
        );
        let fingerprint = &key.fingerprint.0[..];
        let row = (fingerprint, number, refresh.source, &key.options, &key.comment, key.expires);
        match self.row(&sql, row, |row| Ok((row.get::<_, i64>(0)?, row.get::<_, bool>(1)?)))? {
            None => {
                self.add_key(&key, refresh.source)?;
                counts.keys.added += 1;
            }
            Some((_, true)) => {}
            Some((id, false)) => {
                let sql = "UPDATE keys SET options = ?2, comment = ?3, expires = ?4 WHERE id = ?1";
                self.run(sql, (id, &key.options, &key.comment, key.expires))?;
                counts.keys.changed += 1;
            }
        }
        Ok(())
    }

    fn take_grant(
        &mut self,
        refresh: &Refresh<'_>,
        (account, target, expires): &(String, String, Option<i64>),
        counts: &mut Counts,
        problems: Problems<'_>,
    ) -> Result<(), ChangeError> {
        let what = || format!("grant of '{account}' for '{target}'");
        let (account_id, target_id) =
            match (self.usable(ACCOUNT, account, refresh)?, self.usable(TARGET, target, refresh)?) {
                (Ok(account), Ok(target)) => (account, target),
                (Err(why), _) | (_, Err(why)) => {
                    problems(&what(), why);
                    return Ok(());
                }
            };
        let sql = "SELECT source, expires FROM grants WHERE account_id = ?1 AND target_id = ?2";
        let known: Option<(String, Option<i64>)> =
            self.row(sql, (account_id, target_id), |row| Ok((row.get(0)?, row.get(1)?)))?;
        match known {
            Some((source, _)) if source != refresh.source => {
                problems(&what(), format!("it belongs to the source '{source}'"));
                return Ok(());
            }
            Some((_, was)) if was == *expires => return Ok(()),
            Some(_) => counts.grants.changed += 1,
            None => counts.grants.added += 1,
        }
        self.grant(account_id, TargetId(target_id), *expires, refresh.source)?;
        Ok(())
    }

    /// The number of an account or target that rows of this source may be about, or why there is none.
    fn usable(
        &self,
        find: &str,
        name: &str,
        refresh: &Refresh<'_>,
    ) -> Result<Result<i64, String>, ChangeError> {
        let what = if find == ACCOUNT { "account" } else { "target" };
        let found: Option<(i64, String)> = self.row(find, [name], |row| Ok((row.get(0)?, row.get(1)?)))?;
        Ok(match found {
            None => Err(format!("there is no {what} '{name}'")),
            Some((_, source)) if source != refresh.source && !refresh.others => {
                Err(format!("the {what} '{name}' belongs to the source '{source}'"))
            }
            Some((id, _)) => Ok(id),
        })
    }

    pub(super) fn row<T>(
        &self,
        sql: &str,
        params: impl rusqlite::Params,
        read: impl FnOnce(&Row<'_>) -> rusqlite::Result<T>,
    ) -> Result<Option<T>, ChangeError> {
        let found =
            self.tx.prepare_cached(sql).and_then(|mut query| query.query_row(params, read).optional());
        found.map_err(|error| self.sqlite(error).into())
    }

    pub(super) fn rows<T>(
        &self,
        sql: &str,
        params: impl rusqlite::Params,
        read: impl FnMut(&Row<'_>) -> rusqlite::Result<T>,
    ) -> Result<Vec<T>, ChangeError> {
        let found =
            self.tx.prepare_cached(sql).and_then(|mut query| query.query_map(params, read)?.collect());
        found.map_err(|error| self.sqlite(error).into())
    }
}

const ACCOUNT: &str = "SELECT id, source FROM accounts WHERE name = ?1";
const TARGET: &str =
    "SELECT t.id, t.source FROM target_names n JOIN targets t ON t.id = n.target_id WHERE n.name = ?1";
const TARGET_ID: &str = "SELECT target_id FROM target_names WHERE name = ?1";

fn staged_key(row: &Row<'_>) -> rusqlite::Result<(StagedOwner, NewKey)> {
    let owner: String = row.get(2)?;
    let owner = if row.get(1)? { StagedOwner::Target(owner) } else { StagedOwner::Account(owner) };
    let key = NewKey {
        fingerprint: Fingerprint(row.get(3)?),
        key_type: row.get(4)?,
        blob: row.get(5)?,
        options: row.get(6)?,
        comment: row.get(7)?,
        owner: Owner::Account(0), // found in the store
        expires: row.get(8)?,
    };
    Ok((owner, key))
}

/// What `Stage::target` wrote: it can be read.
fn staged_target(row: &Row<'_>) -> rusqlite::Result<NewTarget> {
    fn parsed<T, E>(column: usize, value: Result<T, E>) -> rusqlite::Result<T>
    where
        E: std::error::Error + Send + Sync + 'static,
    {
        value.map_err(|error| {
            rusqlite::Error::FromSqlConversionFailure(column, rusqlite::types::Type::Text, Box::new(error))
        })
    }
    let name: String = row.get(1)?;
    let aliases: Vec<String> = parsed(2, serde_json::from_str(row.get_ref(2)?.as_str()?))?;
    Ok(NewTarget {
        name: parsed(1, TargetName::try_from(name.as_str()))?,
        aliases: aliases
            .iter()
            .map(|alias| parsed(2, TargetName::try_from(alias.as_str())))
            .collect::<rusqlite::Result<_>>()?,
        driver: parsed(3, serde_json::from_str(row.get_ref(3)?.as_str()?))?,
        login_user: LoginUser::from(row.get_ref(4)?.as_str()?),
        home: row.get(5)?,
        policy: parsed(6, serde_json::from_str(row.get_ref(6)?.as_str()?))?,
    })
}
