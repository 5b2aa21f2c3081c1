//! Who may enter servers besides their owners: the hub's admins, and members of groups, where root's configuration says so.

use std::collections::{BTreeMap, BTreeSet};

use super::api::User;
use super::wrong;
use crate::rows::{GrantRow, Row};
use crate::settings::jupyterhub::Jupyterhub as Settings;
use crate::sink::Sink;
use crate::source::SourceFault;

/// What was heard of users, until all are known. It grows only where such grants are configured.
pub(super) struct Further<'a> {
    settings: &'a Settings,
    admins: Vec<String>,
    /// Members of a group, and their servers.
    members: BTreeMap<String, Vec<String>>,
    servers: BTreeMap<String, Vec<String>>,
    all: Vec<String>,
    own: BTreeSet<(String, String)>,
}

impl<'a> Further<'a> {
    pub(super) fn new(settings: &'a Settings) -> Further<'a> {
        Further {
            settings,
            admins: Vec::new(),
            members: BTreeMap::new(),
            servers: BTreeMap::new(),
            all: Vec::new(),
            own: BTreeSet::new(),
        }
    }

    /// Whether nobody but owners is granted anything.
    pub(super) fn is_idle(&self) -> bool {
        !self.settings.admin_grants && self.settings.group_grants.is_empty()
    }

    /// Hears of a user and of its servers' targets.
    pub(super) fn note(&mut self, user: &User, targets: Vec<String>) -> Result<(), SourceFault> {
        if self.is_idle() {
            return Ok(());
        }
        if self.settings.admin_grants {
            let admin =
                user.admin.ok_or_else(|| wrong("it says of nobody 'admin': the token lacks 'read:users'"))?;
            if admin {
                self.admins.push(user.name.clone());
            }
            self.all.extend(targets.iter().cloned());
        }
        if !self.settings.group_grants.is_empty() {
            let groups = user.groups.as_ref();
            for group in
                groups.ok_or_else(|| wrong("it has no groups: the token lacks 'read:users:groups'"))?
            {
                self.members.entry(group.clone()).or_default().push(user.name.clone());
                self.servers.entry(group.clone()).or_default().extend(targets.iter().cloned());
            }
        }
        self.own.extend(targets.into_iter().map(|target| (user.name.clone(), target)));
        Ok(())
    }

    /// Says the grants, once all users are known.
    pub(super) fn say(mut self, sink: &mut Sink<'_>) -> Result<(), SourceFault> {
        let none = Vec::new();
        let mut say = |accounts: &[String], targets: &[String]| -> Result<(), SourceFault> {
            for account in accounts {
                for target in targets {
                    if self.own.insert((account.clone(), target.clone())) {
                        let row =
                            GrantRow { account: account.clone(), target: target.clone(), expires: None };
                        sink.row(Row::Grant(row))?;
                    }
                }
            }
            Ok(())
        };
        say(&self.admins, &self.all)?;
        for (group, entered) in &self.settings.group_grants {
            for other in entered {
                say(self.members.get(group).unwrap_or(&none), self.servers.get(other).unwrap_or(&none))?;
            }
        }
        Ok(())
    }
}
