//! Changes of accounts and their grants.

use vestibule_names::index::Kind;
use vestibule_names::login::AccountName;

use super::{ChangeError, Changes, unknown};
use crate::target::TargetId;

impl Changes<'_> {
    /// Adds an account and returns its number.
    ///
    /// # Errors
    /// [`ChangeError::Exists`].
    pub fn add_account(&mut self, name: &AccountName, source: &str) -> Result<i64, ChangeError> {
        let name = name.as_str();
        if self.one::<i64>("SELECT id FROM accounts WHERE name = ?1", [name])?.is_some() {
            return Err(ChangeError::Exists { what: "account", name: name.to_owned() });
        }
        self.name_comes(Kind::Account, name)?;
        self.run(
            "INSERT INTO accounts(name, active, source, created, updated) VALUES(?1, 1, ?2, ?3, ?3)",
            (name, source, self.now),
        )?;
        Ok(self.tx.last_insert_rowid())
    }

    /// Removes an account with its keys and grants.
    ///
    /// # Errors
    /// [`ChangeError::Unknown`].
    pub fn remove_account(&mut self, name: &str) -> Result<(), ChangeError> {
        if self.run("DELETE FROM accounts WHERE name = ?1", [name])? == 0 {
            return Err(unknown("account", name));
        }
        self.name_goes(Kind::Account, name);
        self.name_goes(Kind::Default, name);
        Ok(())
    }

    /// Disables or enables an account. Returns whether that changed anything.
    ///
    /// # Errors
    /// [`ChangeError::Unknown`].
    pub fn set_active(&mut self, name: &str, active: bool) -> Result<bool, ChangeError> {
        self.account_id(name)?;
        let sql = "UPDATE accounts SET active = ?2, updated = ?3 WHERE name = ?1 AND active <> ?2";
        Ok(self.run(sql, (name, active, self.now))? > 0)
    }

    /// Gives an account a default target, or takes it away.
    ///
    /// # Errors
    /// [`ChangeError::Unknown`].
    pub fn set_default(&mut self, name: &str, target: Option<TargetId>) -> Result<(), ChangeError> {
        match target {
            Some(_) => self.name_comes(Kind::Default, name)?,
            None => self.name_goes(Kind::Default, name),
        }
        let sql = "UPDATE accounts SET default_target = ?2, updated = ?3 WHERE name = ?1";
        match self.run(sql, (name, target.map(|target| target.0), self.now))? {
            0 => Err(unknown("account", name)),
            _ => Ok(()),
        }
    }

    /// Lets an account into a target, until `expires` (seconds since 1970). Returns whether the grant is new; one that
    /// is there gets the new end.
    ///
    /// # Errors
    /// [`ChangeError::Store`].
    pub fn grant(
        &mut self,
        account: i64,
        target: TargetId,
        expires: Option<i64>,
        source: &str,
    ) -> Result<bool, ChangeError> {
        let known = "SELECT 1 FROM grants WHERE account_id = ?1 AND target_id = ?2";
        let new = self.one::<i64>(known, (account, target.0))?.is_none();
        self.run(
            "INSERT INTO grants(account_id, target_id, expires, source, created) VALUES(?1, ?2, ?3, ?4, ?5) \
             ON CONFLICT DO UPDATE SET expires = excluded.expires, source = excluded.source",
            (account, target.0, expires, source, self.now),
        )?;
        Ok(new)
    }

    /// Takes a grant away. Returns whether there was one.
    ///
    /// # Errors
    /// [`ChangeError::Store`].
    pub fn ungrant(&mut self, account: i64, target: TargetId) -> Result<bool, ChangeError> {
        let sql = "DELETE FROM grants WHERE account_id = ?1 AND target_id = ?2";
        Ok(self.run(sql, (account, target.0))? > 0)
    }
}
