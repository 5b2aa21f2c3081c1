//! Where rows go: each is checked, staged, or reported and passed over.
//!
//! A bad row never takes others with it, and is never lost from the report.

use vestibule::authorized_keys;
use vestibule::policy::{self, Grant};
use vestibule::store::{Gone, NewKey, NewTarget, Owner, Scope, Stage, StagedOwner, StoreError};
use vestibule::target::{Driver, LoginUser, Policy};
use vestibule_names::login::{AccountName, TargetName};

use crate::progress::Progress;
use crate::report::Problems;
use crate::rows::{AccountRow, GoneRow, GrantRow, KeyRow, Row, TargetRow};
use crate::settings::Allow;
use crate::source::SourceFault;

/// Bytes that a text of a row may have: a list of keys, the settings of a target.
const MAX_TEXT: usize = 256 * 1024;
/// Bytes of a key's comment that are kept.
const MAX_COMMENT: usize = 256;

/// Takes a source's rows.
pub(crate) struct Sink<'a> {
    pub(crate) stage: &'a mut Stage,
    pub(crate) problems: &'a mut Problems,
    pub(crate) progress: &'a mut Progress,
    pub(crate) scope: &'a Scope,
    pub(crate) allow: &'a Allow,
    /// Rows that came, bad ones too, and how many may.
    pub(crate) rows: u64,
    pub(crate) max_rows: u64,
}

impl Sink<'_> {
    /// Takes one row. What is wrong with it is reported, and no error.
    ///
    /// # Errors
    /// The scratch file's; more rows than may come.
    pub(crate) fn row(&mut self, row: Row) -> Result<(), SourceFault> {
        self.progress.row();
        self.rows += 1;
        self.within()?;
        let taken = match row {
            Row::Account(row) => self.account(&row),
            Row::Key(row) => self.key(&row),
            Row::Target(row) => self.target(*row),
            Row::Grant(row) => self.grant(&row),
            Row::Gone(row) => self.gone(row),
        };
        Ok(taken?)
    }

    /// Whether more rows may come.
    ///
    /// # Errors
    /// They may not: whoever has no end does not fill the disk.
    pub(crate) fn within(&self) -> Result<(), SourceFault> {
        if self.rows <= self.max_rows {
            return Ok(());
        }
        Err(SourceFault::Source("it has more rows than 'max_rows' of this source allows".to_owned()))
    }

    /// Reports a row that the source itself could not make sense of.
    pub(crate) fn bad(&mut self, what: &str, why: impl std::fmt::Display) {
        self.rows += 1;
        self.problems.add(what, why);
    }

    /// The source begins its answer anew.
    ///
    /// # Errors
    /// The scratch file's.
    pub(crate) fn restart(&mut self) -> Result<(), StoreError> {
        self.rows = 0;
        self.problems.clear();
        self.stage.clear()
    }

    fn account(&mut self, row: &AccountRow) -> Result<(), StoreError> {
        let what = || format!("account '{}'", row.name);
        if !self.about(Some(&row.name), None) {
            return Ok(());
        }
        if let Err(why) = AccountName::try_from(row.name.as_str()) {
            self.problems.add(&what(), why);
            return Ok(());
        }
        if !self.stage.account(
            &row.name,
            row.active,
            row.default_target.as_deref().map(canonical).as_deref(),
        )? {
            self.problems.add(&what(), "it was said twice; the first counts");
        }
        Ok(())
    }

    fn key(&mut self, row: &KeyRow) -> Result<(), StoreError> {
        if !self.about(row.account.as_deref(), row.target.as_deref()) {
            return Ok(());
        }
        let owner = match (&row.account, &row.target) {
            (Some(account), None) => StagedOwner::Account(account.clone()),
            (None, Some(target)) => StagedOwner::Target(canonical(target)),
            _ => {
                self.problems.add("key", "want an account or a target that it belongs to, and not both");
                return Ok(());
            }
        };
        let of = match &owner {
            StagedOwner::Account(name) => format!("key of account '{name}'"),
            StagedOwner::Target(name) => format!("key of target '{name}'"),
        };
        if row.key.len() > MAX_TEXT {
            self.problems.add(&of, format_args!("larger than {MAX_TEXT} bytes"));
            return Ok(());
        }
        for line in authorized_keys::lines(row.key.as_bytes()) {
            let entry = match line {
                Ok(entry) => entry,
                Err(problem) => {
                    self.problems.add(&of, format_args!("line {}: {}", problem.line, problem.why));
                    continue;
                }
            };
            // Options may only narrow; what no login would accept is not taken in.
            let most = Grant { pty: true, command: true, ..Grant::default() };
            if let Err(why) = policy::narrow(&entry.options, &most) {
                self.problems.add(&of, format_args!("line {}: {why}", entry.line));
                continue;
            }
            let key = NewKey {
                fingerprint: entry.key.fingerprint(),
                key_type: entry.key.key_type().to_owned(),
                blob: entry.key.blob().to_vec(),
                options: entry.options_text.to_vec(),
                comment: entry.comment.get(..MAX_COMMENT).unwrap_or(entry.comment).to_vec(),
                owner: Owner::Account(0), // by name, until it is taken over
                expires: row.expires,
            };
            if !self.stage.key(&owner, &key)? {
                self.problems.add(&of, format_args!("{} was said twice; the first counts", key.fingerprint));
            }
        }
        Ok(())
    }

    fn target(&mut self, row: TargetRow) -> Result<(), StoreError> {
        if !self.about(None, Some(&row.name)) {
            return Ok(());
        }
        let what = format!("target '{}'", row.name);
        match checked(row, self.allow) {
            Err(why) => self.problems.add(&what, why),
            Ok(target) => {
                if !self.stage.target(&target)? {
                    self.problems.add(&what, "it was said twice; the first counts");
                }
            }
        }
        Ok(())
    }

    fn grant(&mut self, row: &GrantRow) -> Result<(), StoreError> {
        if self.about(Some(&row.account), Some(&row.target))
            && !self.stage.grant(&row.account, &canonical(&row.target), row.expires)?
        {
            let what = format!("grant of '{}' for '{}'", row.account, row.target);
            self.problems.add(&what, "it was said twice; the first counts");
        }
        Ok(())
    }

    fn gone(&mut self, row: GoneRow) -> Result<(), StoreError> {
        self.stage.gone(&match row {
            GoneRow::Account(name) => Gone::Account(name),
            GoneRow::Target(name) => Gone::Target(canonical(&name)),
            GoneRow::KeysOfAccount(name) => Gone::Keys(StagedOwner::Account(name)),
            GoneRow::KeysOfTarget(name) => Gone::Keys(StagedOwner::Target(canonical(&name))),
            GoneRow::Grant { account, target } => Gone::Grant(account, canonical(&target)),
        })
    }

    /// Whether the refresh is about a row of this account or target. A source that can't ask for less says more.
    fn about(&self, account: Option<&str>, target: Option<&str>) -> bool {
        match self.scope {
            Scope::All => true,
            Scope::Account(name) => account == Some(name),
            Scope::Target(name) => target.is_some_and(|target| canonical(target) == *name),
        }
    }
}

/// The spelling that the store has a target's name in; what is no name stays as it is, and is found to be none later.
pub(crate) fn canonical(name: &str) -> String {
    TargetName::try_from(name).map_or_else(|_| name.to_owned(), |name| name.as_str().to_owned())
}

fn checked(row: TargetRow, allow: &Allow) -> Result<NewTarget, String> {
    let name = |text: &str| TargetName::try_from(text).map_err(|why| format!("name '{text}': {why}"));
    let driver: Driver = serde_json::from_value(row.driver).map_err(|why| format!("driver: {why}"))?;
    let policy: Policy = match row.policy {
        None => Policy::default(),
        Some(policy) => serde_json::from_value(policy).map_err(|why| format!("policy: {why}"))?,
    };
    if row.user.is_empty() || row.user.contains('\0') {
        return Err("no user".to_owned());
    }
    if row.home.as_ref().is_some_and(|home| !home.starts_with('/') || home.contains('\0')) {
        return Err("the home is no absolute path".to_owned());
    }
    allow.check(&driver, &row.user, row.home.as_deref())?;
    allow.workspace(policy.workspace.as_ref())?;
    Ok(NewTarget {
        name: name(&row.name)?,
        aliases: row.aliases.iter().map(|alias| name(alias)).collect::<Result<_, _>>()?,
        driver,
        login_user: LoginUser::from(row.user.as_str()),
        home: row.home,
        policy,
    })
}
