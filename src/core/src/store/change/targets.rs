//! Changes of targets and their names.

use vestibule_names::index::Kind;
use vestibule_names::login::TargetName;

use super::{ChangeError, Changes, unknown};
use crate::target::{Driver, HostKey, HostKeys, LoginUser, Policy, TargetId};

/// A target to be.
#[derive(Debug, Clone, PartialEq)]
pub struct NewTarget {
    /// The name it is listed under.
    pub name: TargetName,
    /// Further names.
    pub aliases: Vec<TargetName>,
    /// How it is entered.
    pub driver: Driver,
    /// Who one is inside.
    pub login_user: LoginUser,
    /// The home of that user as the bastion sees it; absolute.
    pub home: Option<String>,
    /// What a session may do.
    pub policy: Policy,
}

impl Changes<'_> {
    /// Adds a target.
    ///
    /// # Errors
    /// [`ChangeError::NameTaken`].
    pub fn add_target(&mut self, new: &NewTarget, source: &str) -> Result<TargetId, ChangeError> {
        self.run(
            "INSERT INTO targets(name, driver, login_user, home, policy, source, created, updated) \
             VALUES(?1, ?2, ?3, ?4, ?5, ?6, ?7, ?7)",
            (
                new.name.as_str(),
                json(&new.driver),
                new.login_user.as_str(),
                &new.home,
                json(&new.policy),
                source,
                self.now,
            ),
        )?;
        let id = TargetId(self.tx.last_insert_rowid());
        self.give_names(id, new)?;
        Ok(id)
    }

    /// Changes all of a target's settings, its names too. Sessions that live are not touched.
    ///
    /// # Errors
    /// [`ChangeError::Unknown`], [`ChangeError::NameTaken`].
    pub fn set_target(&mut self, id: TargetId, new: &NewTarget) -> Result<(), ChangeError> {
        let changed = self.run(
            "UPDATE targets SET name = ?2, driver = ?3, login_user = ?4, home = ?5, policy = ?6, updated = ?7 \
             WHERE id = ?1",
            (
                id.0,
                new.name.as_str(),
                json(&new.driver),
                new.login_user.as_str(),
                &new.home,
                json(&new.policy),
                self.now,
            ),
        )?;
        if changed == 0 {
            return Err(unknown("target", new.name.as_str()));
        }
        self.take_names(id)?;
        self.give_names(id, new)
    }

    /// Makes `key` the one host key of a target whose keys are to be learned. `false` if they are not (any more).
    ///
    /// # Errors
    /// [`ChangeError::Unknown`].
    pub fn pin_host_key(&mut self, name: &TargetName, key: &HostKey) -> Result<bool, ChangeError> {
        let sql =
            "SELECT driver FROM targets WHERE id = (SELECT target_id FROM target_names WHERE name = ?1)";
        let known: String =
            self.one(sql, [name.as_str()])?.ok_or_else(|| unknown("target", name.as_str()))?;
        let Ok(Driver::Ssh { over, key: proxy_key, host_keys: HostKeys::Learn }) =
            serde_json::from_str(&known)
        else {
            return Ok(false);
        };
        let host_keys = HostKeys::Pinned(vec![key.clone()]);
        let pinned = Driver::Ssh { over, key: proxy_key, host_keys };
        let sql = "UPDATE targets SET driver = ?2, updated = ?3 \
                   WHERE id = (SELECT target_id FROM target_names WHERE name = ?1)";
        self.run(sql, (name.as_str(), json(&pinned), self.now))?;
        Ok(true)
    }

    /// Removes a target with its keys and grants. Accounts whose default it was have none then.
    ///
    /// # Errors
    /// [`ChangeError::Unknown`].
    pub fn remove_target(&mut self, id: TargetId) -> Result<(), ChangeError> {
        for account in self.column::<String>("SELECT name FROM accounts WHERE default_target = ?1", [id.0])? {
            self.name_goes(Kind::Default, &account);
        }
        self.take_names(id)?;
        match self.run("DELETE FROM targets WHERE id = ?1", [id.0])? {
            0 => Err(unknown("target", &id.0.to_string())),
            _ => Ok(()),
        }
    }

    fn give_names(&mut self, id: TargetId, new: &NewTarget) -> Result<(), ChangeError> {
        let mut names: Vec<&str> =
            [&new.name].into_iter().chain(&new.aliases).map(TargetName::as_str).collect();
        names.sort_unstable();
        names.dedup();
        for name in names {
            let taken =
                "SELECT t.name FROM target_names n JOIN targets t ON t.id = n.target_id WHERE n.name = ?1";
            if let Some(of) = self.one::<String>(taken, [name])? {
                return Err(ChangeError::NameTaken { name: name.to_owned(), of });
            }
            self.name_comes(Kind::Target, name)?;
            self.run("INSERT INTO target_names(name, target_id) VALUES(?1, ?2)", (name, id.0))?;
        }
        Ok(())
    }

    fn take_names(&mut self, id: TargetId) -> Result<(), ChangeError> {
        for name in self.column::<String>("SELECT name FROM target_names WHERE target_id = ?1", [id.0])? {
            self.name_goes(Kind::Target, &name);
        }
        self.run("DELETE FROM target_names WHERE target_id = ?1", [id.0])?;
        Ok(())
    }
}

/// Settings as the store has them. Both are plain data, for which JSON can't fail.
fn json(settings: &impl serde::Serialize) -> String {
    serde_json::to_string(settings).unwrap_or_default()
}
