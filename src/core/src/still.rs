//! May a session that lives go on? The decision of a login, asked again for somebody who is inside.
//!
//! What is not known takes nothing away: a store or a file that can't be read, and a source that does not answer any
//! more, end no session. What the target's own file listed is not looked at again, as sshd does not either: who edits
//! that file is inside, and an editor may empty it for a moment.

use std::cell::Cell;
use std::path::Path;

use vestibule_names::login::AccountName;
use vestibule_sys::time;

use crate::authority::Authorities;
use crate::certificate::Certificate;
use crate::config::{Config, Revoked};
use crate::decide::{
    Addresses, Facts, Judge, KeyFiles, Offered, Outcome, Question, Reason, Source, World, for_target,
};
use crate::fingerprint::Fingerprint;
use crate::messages::{Loss, shown};
use crate::names::login::LoginName;
use crate::options::{ClientAddress, Clock, HostPort, Options};
use crate::proof::{Certified, Proof};
use crate::store::{Account, AccountFacts, KeyFacts, Resolved, Revocation, Store, StoreError, Taken};
use crate::target::{Target, TargetId};
use crate::tenant_file::{HostFiles, KeyFileError};

/// Who is inside, and by what.
#[derive(Debug, Clone)]
pub struct Case {
    /// The number of the session, or of the connection.
    pub id: String,
    /// Where.
    pub target: TargetId,
    /// As whom.
    pub account: Option<AccountName>,
    /// What let them in.
    pub proof: Proof,
    /// Which source listed it.
    pub source: Source,
    /// The client's address.
    pub client: Option<String>,
}

/// Whether somebody may stay.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// Yes, and nothing ends by time before this second (since 1970).
    Stays(Option<i64>),
    /// There is no knowing, for this reason; so yes.
    Unknown(String),
    /// No.
    Over {
        /// How the user lost it.
        loss: Loss,
        /// One word for the log: `Reason::as_str`, or `target-gone`, `account-gone`.
        reason: String,
        /// In words, for the log.
        cause: String,
    },
}

impl Case {
    /// What of the ledger is about this session: orders first.
    #[must_use]
    pub fn tokens(&self) -> Vec<Taken<'_>> {
        let key = self.proof.key();
        let mut all = vec![
            Taken::EndSession(&self.id),
            Taken::EndTarget(self.target),
            Taken::EndKey(key),
            Taken::Key(key),
            Taken::Target(self.target),
        ];
        if let Proof::Certificate(certified) = &self.proof {
            all.extend([Taken::EndKey(&certified.authority), Taken::Key(&certified.authority)]);
        }
        if let Some(account) = &self.account {
            let name = account.as_str();
            all.extend([Taken::EndAccount(name), Taken::Account(name), Taken::Grant(name, self.target)]);
        }
        all
    }

    /// Judges by the configuration and the store as they are now. For a process that has no privileges.
    #[must_use]
    pub fn judge(&self, config: &Path, store: &Path) -> Verdict {
        let config = match Config::load_trusted(config) {
            Ok(config) => config,
            Err(error) => return Verdict::Unknown(error.to_string()),
        };
        if config.session.revoked == Revoked::Keep {
            return Verdict::Stays(None);
        }
        let files = HostFiles::new(&config.keys);
        let clock = Clock { now: time::now(), from_local: time::from_local };
        match Store::open_read(store)
            .and_then(|store| self.by_store(&store, &files, &config.authority, clock))
        {
            Ok(verdict) => verdict,
            Err(error) => Verdict::Unknown(error.to_string()),
        }
    }

    fn by_store(
        &self,
        store: &Store,
        files: &HostFiles,
        authorities: &Authorities,
        clock: Clock,
    ) -> Result<Verdict, StoreError> {
        let over = |reason: &str, cause: String| {
            let loss = if reason == Reason::Ended.as_str() { Loss::Ended } else { Loss::Taken };
            Ok(Verdict::Over { loss, reason: reason.to_owned(), cause })
        };
        let Some(target) = store.target(self.target)? else {
            return over("target-gone", format!("there is no target {} any more", self.target.0));
        };
        if target.policy.revoked == Revoked::Keep {
            return Ok(Verdict::Stays(None));
        }
        let account = match &self.account {
            None => None,
            Some(name) => match store.account(name.as_str())? {
                Some((account, _)) => Some(account),
                None => {
                    return over("account-gone", format!("there is no account '{}' any more", name.as_str()));
                }
            },
        };
        let facts = store.key_facts_once_valid(self.proof.key(), self.target)?;
        if self.source == Source::Own {
            let reason = match (facts.revoked, facts.disabled_owner) {
                (Some(revoked), _) => Reason::Revoked(revoked),
                (None, Some(owner)) => Reason::OwnerDisabled(owner),
                (None, None) => return Ok(Verdict::Stays(None)),
            };
            return over(reason.as_str(), reason.to_string());
        }
        let until = match &self.proof {
            Proof::Key(_) => self.until(&facts, &clock),
            Proof::Certificate(certified) => self.until_certified(certified, store, clock.now)?,
        };
        match self.decide(Known(store, facts), files, authorities, clock, target, account)? {
            // Nothing is asked of the configuration here, so nothing is closed: what has begun goes on.
            (Outcome::Granted(_) | Outcome::Closed(_), _) => Ok(Verdict::Stays(until)),
            (_, Some(why)) => Ok(Verdict::Unknown(format!("the managed file: {why}"))),
            (Outcome::Denied(denied), None) => over(denied.reason.as_str(), denied.reason.to_string()),
            (Outcome::NotOurs, None) => Ok(Verdict::Unknown("no decision".to_owned())),
        }
    }

    /// Decides, and says whether a file that may count could not be read.
    fn decide(
        &self,
        known: Known<'_>,
        files: &HostFiles,
        authorities: &Authorities,
        clock: Clock,
        target: Target,
        account: Option<Account>,
    ) -> Result<(Outcome, Option<KeyFileError>), StoreError> {
        let client = self.client.as_deref().and_then(ClientAddress::parse);
        let judge = Judge::Here(client);
        let certificate = match &self.proof {
            Proof::Key(_) => None,
            Proof::Certificate(certified) => Some(Certificate::of_certified(certified)),
        };
        let question = Question {
            login: b"",
            key: *self.proof.key(),
            certificate: certificate.as_ref().map(|certificate| Offered { certificate, authorities }),
            judge,
            clock,
            prefix: None,
            moved: false,
        };
        let (files, nowhere) = (Managed { files, fault: Cell::new(None) }, Nowhere);
        let world = World { facts: &known, files: &files, addresses: &nowhere };
        let outcome = for_target(&question, &world, &mut |_| {}, target, account)?;
        Ok((outcome, files.fault.get()))
    }

    /// The second at which the certificate ends, or the account's grant.
    fn until_certified(
        &self,
        certified: &Certified,
        store: &Store,
        now: i64,
    ) -> Result<Option<i64>, StoreError> {
        let facts = match &self.account {
            Some(account) => store.account_facts(account.as_str(), self.target)?,
            None => None,
        };
        let grant = facts.and_then(|facts| facts.grant?.expires);
        Ok(certified.until.into_iter().chain(grant).filter(|end| *end > now).min())
    }

    /// The next second at which something of the key ends.
    fn until(&self, facts: &KeyFacts, clock: &Clock) -> Option<i64> {
        let named = |name: &str| self.account.as_ref().is_none_or(|account| account.as_str() == name);
        let accounts = facts.accounts.iter().filter(|key| named(&key.account));
        let times = accounts
            .map(|key| (key.expires, key.grant.and_then(|grant| grant.expires), &key.options))
            .chain(facts.target_keys.iter().map(|key| (key.expires, None, &key.options)));
        let all = times.flat_map(|(key, grant, options)| {
            let options = Options::parse(options).map(|options| options.expiry_times).unwrap_or_default();
            // A key and a grant have ended at their second, sshd's `expiry-time=` behind it.
            let of_options = options.into_iter().map(|time| time.second(clock).saturating_add(1));
            key.into_iter().chain(grant).chain(of_options).collect::<Vec<i64>>()
        });
        all.filter(|end| *end > clock.now).min()
    }
}

/// What the store said of the key already.
struct Known<'a>(&'a Store, KeyFacts);

impl Facts for Known<'_> {
    fn resolve(&self, _: &LoginName<'_>, _: Option<&str>) -> Result<Option<Resolved>, StoreError> {
        Ok(None)
    }

    fn key_facts(&self, _: &Fingerprint, _: TargetId) -> Result<KeyFacts, StoreError> {
        Ok(self.1.clone())
    }

    fn account_facts(&self, name: &str, target: TargetId) -> Result<Option<AccountFacts>, StoreError> {
        self.0.account_facts(name, target)
    }

    fn revoked(&self, key: &Fingerprint) -> Result<Option<Revocation>, StoreError> {
        self.0.revocation(key)
    }
}

/// Managed files alone.
struct Managed<'a> {
    files: &'a HostFiles,
    fault: Cell<Option<KeyFileError>>,
}

impl KeyFiles for Managed<'_> {
    fn managed(&self, target: &Target) -> Result<Option<Vec<u8>>, KeyFileError> {
        self.files.managed(target).inspect_err(|why| self.fault.set(Some(*why)))
    }

    fn own(&self, _: &str) -> Result<Option<Vec<u8>>, KeyFileError> {
        Ok(None)
    }
}

struct Nowhere;

impl Addresses for Nowhere {
    fn container(&self, _: TargetId) -> Result<HostPort, String> {
        Err("nobody asks".to_owned())
    }
}

impl Verdict {
    /// As fields of a message between our own processes.
    #[must_use]
    pub fn to_fields(&self) -> Vec<Vec<u8>> {
        match self {
            Verdict::Stays(None) => vec![b"stays".to_vec()],
            Verdict::Stays(Some(until)) => vec![b"stays".to_vec(), until.to_ne_bytes().to_vec()],
            Verdict::Unknown(why) => vec![b"unknown".to_vec(), shown(why).into_bytes()],
            Verdict::Over { loss, reason, cause } => {
                let word: &[u8] = if *loss == Loss::Ended { b"ended" } else { b"over" };
                vec![word.to_vec(), shown(reason).into_bytes(), shown(cause).into_bytes()]
            }
        }
    }

    /// Of such fields. What makes no sense is no knowledge.
    #[must_use]
    pub fn of_fields(fields: &[Vec<u8>]) -> Verdict {
        let text = |bytes: &Vec<u8>| String::from_utf8_lossy(bytes).into_owned();
        match fields {
            [word] if word == b"stays" => Verdict::Stays(None),
            [word, until] if word == b"stays" => {
                Verdict::Stays(until.as_slice().try_into().ok().map(i64::from_ne_bytes))
            }
            [word, why] if word == b"unknown" => Verdict::Unknown(text(why)),
            [word, reason, cause] if word == b"over" || word == b"ended" => {
                let loss = if word == b"ended" { Loss::Ended } else { Loss::Taken };
                Verdict::Over { loss, reason: text(reason), cause: text(cause) }
            }
            _ => Verdict::Unknown("an answer that makes no sense".to_owned()),
        }
    }
}

#[cfg(test)]
mod tests;
