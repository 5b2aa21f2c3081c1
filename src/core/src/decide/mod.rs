//! Who may enter: the one decision of a login.
//!
//! `keys-lookup` asks it for the lines that sshd gets, `keys-lookup --decide` asks it again for `route-session`, and
//! `vestibulectl explain` asks it to show its steps. It is a function of a question and of what a [`World`] answers;
//! it opens, writes and logs nothing itself.
//!
//! The rules, in their order:
//!
//! 1. A login name that means nothing in the store is not ours.
//! 2. A revoked key, and a key that a disabled account owns, opens nothing, whoever lists it.
//! 3. A login that names an account (or is one, for its default target) is opened by the keys of that account alone, if
//!    it is active and has a grant that has not ended.
//! 4. Any other login is opened by keys of accounts through their grants, then by the target's keys in the store, then
//!    by those of its managed file, then by those of its own file.
//! 5. A target whose user is `{account}` is entered by one account: not by a key without one, not by a key of several.
//! 6. Keys and grants that have ended are as if they were not there. Options may only narrow ([`crate::policy`]).
//!
//! A certificate stands for accounts, by its principals, and not for the keys of any list: rule 2 holds of the key that it
//! is over, rule 3 of the accounts, and it opens nothing by rule 4 but what [`certified`] says.
//!
//! sshd takes the first line whose conditions hold, so lines are looked for until one has none.

mod certified;
mod closed;
mod outcome;
mod sources;
mod steps;

use vestibule_names::login::LoginName;

pub use certified::Offered;
pub use closed::Closed;
pub use outcome::{Denied, GrantLine, Granted, LineRef, Outcome, Reason, Source};
pub use steps::Step;

use crate::fingerprint::Fingerprint;
use crate::options::{ClientAddress, Clock, HostPort};
use crate::store::{Account, AccountFacts, KeyFacts, Resolved, Revocation, Store, StoreError};
use crate::target::{Target, TargetId};
use crate::tenant_file::KeyFileError;

/// What sshd asks.
#[derive(Debug)]
pub struct Question<'a> {
    /// The login name, any bytes.
    pub login: &'a [u8],
    /// The key that the client offers, or the one that its certificate is over.
    pub key: Fingerprint,
    /// The certificate that the client offers.
    pub certificate: Option<Offered<'a>>,
    /// Who judges the conditions of a line.
    pub judge: Judge,
    /// What time it is.
    pub clock: Clock,
    /// What a login name may put before a target's name.
    pub prefix: Option<&'a str>,
    /// Whether sessions are moved into their target's network namespace, so that forwards end there.
    pub moved: bool,
}

/// Who judges `from=`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Judge {
    /// sshd, which gets the lines with their conditions. Lines whose time is over are left out all the same.
    Sshd,
    /// We do, for a client at this address: sshd has taken one of the lines, and this finds out which. Without an
    /// address no `from=` holds.
    Here(Option<ClientAddress>),
    /// The sshd of the target itself, which gets the lines in a file: as [`Judge::Sshd`], but a command stands on its
    /// line, and what the target's policy says of forwards and agents counts whatever the driver.
    OwnSshd,
}

/// What a decision may ask. Every answer may be a fault; a decision that lacks an answer grants nothing on it.
pub struct World<'a> {
    /// The store.
    pub facts: &'a dyn Facts,
    /// The files.
    pub files: &'a dyn KeyFiles,
    /// The engines.
    pub addresses: &'a dyn Addresses,
}

/// What the store answers.
pub trait Facts {
    /// What a login name means.
    ///
    /// # Errors
    /// The store's.
    fn resolve(&self, login: &LoginName<'_>, prefix: Option<&str>) -> Result<Option<Resolved>, StoreError>;

    /// What is known of a key when it knocks at a target.
    ///
    /// # Errors
    /// The store's.
    fn key_facts(&self, key: &Fingerprint, target: TargetId) -> Result<KeyFacts, StoreError>;

    /// What is known of an account that a certificate names, when it knocks at a target.
    ///
    /// # Errors
    /// The store's.
    fn account_facts(&self, name: &str, target: TargetId) -> Result<Option<AccountFacts>, StoreError>;

    /// Whether a key is revoked.
    ///
    /// # Errors
    /// The store's.
    fn revoked(&self, key: &Fingerprint) -> Result<Option<Revocation>, StoreError>;
}

/// Files of authorized_keys. One that does not exist is `None`.
pub trait KeyFiles {
    /// The managed file of a target.
    ///
    /// # Errors
    /// Why it is not used.
    fn managed(&self, target: &Target) -> Result<Option<Vec<u8>>, KeyFileError>;

    /// The file below the home of a target's user; only asked for a target that has a home.
    ///
    /// # Errors
    /// Why it is not used.
    fn own(&self, home: &str) -> Result<Option<Vec<u8>>, KeyFileError>;
}

/// Where containers are.
pub trait Addresses {
    /// The address and port of a TCP target that is a container.
    ///
    /// # Errors
    /// Why that is not known, in one line.
    fn container(&self, target: TargetId) -> Result<HostPort, String>;
}

impl Facts for Store {
    fn resolve(&self, login: &LoginName<'_>, prefix: Option<&str>) -> Result<Option<Resolved>, StoreError> {
        self.resolve(login.candidates(), prefix)
    }

    fn key_facts(&self, key: &Fingerprint, target: TargetId) -> Result<KeyFacts, StoreError> {
        self.key_facts(key, target)
    }

    fn account_facts(&self, name: &str, target: TargetId) -> Result<Option<AccountFacts>, StoreError> {
        self.account_facts(name, target)
    }

    fn revoked(&self, key: &Fingerprint) -> Result<Option<Revocation>, StoreError> {
        self.revocation(key)
    }
}

/// Decides. Each step is told to `trace` as it is taken.
///
/// # Errors
/// The store's, and nothing is granted then. A file that can't be read is a step, and no error: the other sources
/// answer.
pub fn decide(
    question: &Question<'_>,
    world: &World<'_>,
    trace: &mut dyn FnMut(Step<'_>),
) -> Result<Outcome, StoreError> {
    let login = match LoginName::parse(question.login) {
        Ok(login) => login,
        Err(why) => {
            trace(Step::NoName(&why));
            return Ok(Outcome::NotOurs);
        }
    };
    let Some(Resolved { account, target }) = world.facts.resolve(&login, question.prefix)? else {
        trace(Step::Unknown);
        return Ok(Outcome::NotOurs);
    };
    trace(Step::Means { target: &target, account: account.as_ref() });
    for_target(question, world, trace, target, account)
}

/// As [`decide`], for a login name that is known to mean this target, and this account where it names one.
///
/// # Errors
/// As [`decide`].
pub fn for_target(
    question: &Question<'_>,
    world: &World<'_>,
    trace: &mut dyn FnMut(Step<'_>),
    target: Target,
    account: Option<Account>,
) -> Result<Outcome, StoreError> {
    let denied =
        |reason: Reason, target: Target, account: Option<String>, trace: &mut dyn FnMut(Step<'_>)| {
            trace(Step::Denied(&reason));
            Ok(Outcome::Denied(Box::new(Denied { target, account, reason, dropped: Vec::new() })))
        };
    let named = account.as_ref().map(|a| a.name.clone());
    if let Some(account) = account.filter(|a| !a.active) {
        return denied(Reason::AccountDisabled(account.name), target, named, trace);
    }
    let facts = world.facts.key_facts(&question.key, target.id)?;
    if let Some(revoked) = facts.revoked {
        return denied(Reason::Revoked(revoked), target, named, trace);
    }
    if let Some(owner) = facts.disabled_owner {
        return denied(Reason::OwnerDisabled(owner), target, named, trace);
    }
    trace(Step::KeyInOrder);
    if let Some(offered) = question.certificate {
        return certified::collect(question, offered, world, trace, target, named);
    }
    Ok(sources::collect(question, world, trace, target, named, &facts))
}

#[cfg(test)]
mod tests;
