//! Certificates: which of their principals opens a target, and for which account.
//!
//! That sshd trusts the authority is not enough: what it may say stands in root's configuration. A principal that is an
//! account opens what the account has grants for, as a key of the account would; one that names a target opens that
//! target alone, and only where the operator lets the authority say so. Lists of keys, in the store and in files, say
//! nothing of certificates.

use super::outcome::{LineRef, Outcome, Reason, Source};
use super::sources::Search;
use super::steps::Step;
use super::{Judge, Question, World};
use crate::authority::{self, Authorities, Authority};
use crate::certificate::Certificate;
use crate::store::StoreError;
use crate::target::{LoginUser, Target};

/// A certificate that a client offers, and who may sign some.
#[derive(Debug, Clone, Copy)]
pub struct Offered<'a> {
    /// What is offered.
    pub certificate: &'a Certificate,
    /// Root's configuration.
    pub authorities: &'a Authorities,
}

const SOURCE: LineRef = LineRef { source: Source::Certificate, line: None };

/// Asks what a certificate opens, whose key is in order.
pub(super) fn collect(
    question: &Question<'_>,
    offered: Offered<'_>,
    world: &World<'_>,
    trace: &mut dyn FnMut(Step<'_>),
    target: Target,
    named: Option<String>,
) -> Result<Outcome, StoreError> {
    let mut search = Search::new(question, world, trace, &target);
    let found = match search.authority(offered)? {
        Ok(authority) => search.principals(offered.certificate, authority, named.as_deref())?,
        Err(reason) => Err(reason),
    };
    let found = search.found(found);
    Ok(found.outcome(target, named, trace))
}

impl Search<'_, '_> {
    /// Who signed it, if that counts and the certificate's time is now.
    fn authority<'o>(&mut self, offered: Offered<'o>) -> Result<Result<&'o Authority, Reason>, StoreError> {
        let Offered { certificate, authorities } = offered;
        let Some(authority) = authority::of_key(authorities, certificate.authority) else {
            return Ok(Err(Reason::Authority));
        };
        if let Some(revoked) = self.world.facts.revoked(&certificate.authority)? {
            return Ok(Err(Reason::AuthorityRevoked(revoked)));
        }
        let now = self.question.clock.now;
        if now < certificate.from || certificate.until.is_some_and(|end| end <= now) {
            return Ok(Err(Reason::Ended));
        }
        Ok(Ok(authority))
    }

    fn principals(
        &mut self,
        certificate: &Certificate,
        authority: &Authority,
        named: Option<&str>,
    ) -> Result<Result<(), Reason>, StoreError> {
        let texts = || certificate.principals.iter().filter_map(|bytes| std::str::from_utf8(bytes).ok());
        let mut opens: Vec<(&str, String)> = Vec::new();
        for principal in texts() {
            for account in authority.accounts(principal) {
                let account = account.as_str();
                if named.is_none_or(|name| name == account) && self.account_may_enter(account)? {
                    opens.push((principal, account.to_owned()));
                }
            }
        }
        let by_account = self.target.login_user == LoginUser::Account;
        if by_account {
            let mut names: Vec<String> = opens.iter().map(|(_, account)| account.clone()).collect();
            names.sort();
            names.dedup();
            if names.len() > 1 {
                return Ok(Err(Reason::Ambiguous(names)));
            }
        }
        for (principal, account) in opens {
            if !self.done() {
                self.certified(certificate, principal, Some(&account));
            }
        }
        if self.done() || named.is_some() {
            return Ok(Ok(()));
        }
        if by_account {
            self.near(Reason::NeedsAccount);
            return Ok(Ok(()));
        }
        if let Some(principal) = texts().find(|principal| authority.opens(principal, &self.target.name)) {
            self.certified(certificate, principal, None);
        }
        Ok(Ok(()))
    }

    /// Whether an account that a principal names is there, active, and has a grant that has not ended.
    fn account_may_enter(&mut self, account: &str) -> Result<bool, StoreError> {
        let Some(facts) = self.world.facts.account_facts(account, self.target.id)? else { return Ok(false) };
        if !facts.active {
            self.near(Reason::AccountDisabled(account.to_owned()));
            return Ok(false);
        }
        Ok(self.grant_counts(account, facts.grant))
    }

    /// A line for sshd, which judges the certificate's conditions itself: they need not stand on it.
    fn certified(&mut self, certificate: &Certificate, principal: &str, account: Option<&str>) {
        let mut options = certificate.options.clone();
        if self.question.judge == Judge::Sshd {
            options.from = None;
        }
        self.line(SOURCE, account, &principal, &options);
        if let Some(line) = self.lines.last_mut() {
            line.principal = Some(principal.as_bytes().to_vec());
        }
    }
}
