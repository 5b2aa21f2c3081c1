//! The sources of keys, one after the other.

use std::fmt::Display;

use super::outcome::{Denied, GrantLine, Granted, LineRef, Outcome, Reason, Source};
use super::steps::Step;
use super::{Judge, Question, World};
use crate::authorized_keys::{self, LineError};
use crate::options::{HostPort, Options, Permit};
use crate::policy::{self, Dropped, Permits};
use crate::public_key::PublicKey;
use crate::store::{AccountKey, GrantRow, KeyFacts};
use crate::target::{Driver, ExecWay, LoginUser, Target, TcpAddress};
use crate::tenant_file::KeyFileError;

/// Asks every source that counts for a key that is in order.
pub(super) fn collect(
    question: &Question<'_>,
    world: &World<'_>,
    trace: &mut dyn FnMut(Step<'_>),
    target: Target,
    named: Option<String>,
    facts: &KeyFacts,
) -> Outcome {
    let mut search = Search::new(question, world, trace, &target);
    let found = search.accounts(named.as_deref(), facts);
    if found.is_ok() && !search.done() {
        search.others(named.is_some(), facts);
    }
    let found = search.found(found);
    found.outcome(target, named, trace)
}

/// What a search came to.
pub(super) struct Found {
    lines: Vec<GrantLine>,
    dropped: Vec<LineRef>,
    reason: Option<Reason>,
    broken_off: bool,
}

impl Found {
    /// The same as an outcome.
    pub(super) fn outcome(
        self,
        target: Target,
        named: Option<String>,
        trace: &mut dyn FnMut(Step<'_>),
    ) -> Outcome {
        let Found { lines, dropped, reason, broken_off } = self;
        if !broken_off && !lines.is_empty() {
            return Outcome::Granted(Box::new(Granted { target, lines, dropped }));
        }
        let reason = reason.unwrap_or(Reason::NotListed);
        trace(Step::Denied(&reason));
        Outcome::Denied(Box::new(Denied { target, account: named, reason, dropped }))
    }
}

pub(super) struct Search<'a, 'q> {
    pub(super) question: &'a Question<'q>,
    pub(super) world: &'a World<'a>,
    trace: &'a mut dyn FnMut(Step<'_>),
    pub(super) target: &'a Target,
    pub(super) lines: Vec<GrantLine>,
    dropped: Vec<LineRef>,
    /// The best reason so far for finding nothing.
    near: Option<Reason>,
    /// Where forwards may go, once that was asked.
    forwards: Option<Vec<HostPort>>,
    /// A line without conditions was found: no further one can count.
    last: bool,
}

impl<'a, 'q> Search<'a, 'q> {
    pub(super) fn new(
        question: &'a Question<'q>,
        world: &'a World<'a>,
        trace: &'a mut dyn FnMut(Step<'_>),
        target: &'a Target,
    ) -> Self {
        let (lines, dropped) = (Vec::new(), Vec::new());
        Search { question, world, trace, target, lines, dropped, near: None, forwards: None, last: false }
    }

    /// What it came to; `broken_off` says why it was not gone through with.
    pub(super) fn found(self, broken_off: Result<(), Reason>) -> Found {
        let Search { lines, dropped, near, .. } = self;
        let (broken_off, reason) = (broken_off.is_err(), broken_off.err().or(near));
        Found { lines, dropped, reason, broken_off }
    }
}

impl Search<'_, '_> {
    /// Keys of accounts. With `named`, of that one only.
    fn accounts(&mut self, named: Option<&str>, facts: &KeyFacts) -> Result<(), Reason> {
        let counts: Vec<&AccountKey> = facts
            .accounts
            .iter()
            .filter(|key| named.is_none_or(|name| name == key.account) && self.has_grant(key))
            .collect();
        if self.target.login_user == LoginUser::Account {
            let mut names: Vec<String> = counts.iter().map(|key| key.account.clone()).collect();
            names.dedup();
            if names.len() > 1 {
                return Err(Reason::Ambiguous(names));
            }
        }
        for key in counts {
            if self.done() {
                break;
            }
            self.row(Source::Account, Some(&key.account), &key.public_key, &key.options);
        }
        Ok(())
    }

    /// Whether a key of an account counts: neither it nor the account's grant has ended.
    fn has_grant(&mut self, key: &AccountKey) -> bool {
        let now = self.question.clock.now;
        self.grant_counts(&key.account, key.grant)
            && !self.key_ended(Source::Account, key.expires.filter(|end| *end <= now))
    }

    /// Whether an account has a grant, and it has not ended.
    pub(super) fn grant_counts(&mut self, account: &str, grant: Option<GrantRow>) -> bool {
        let Some(grant) = grant else {
            (self.trace)(Step::NoGrant(account));
            self.near(Reason::NoGrant(account.to_owned()));
            return false;
        };
        if let Some(end) = grant.expires.filter(|end| *end <= self.question.clock.now) {
            (self.trace)(Step::GrantEnded(account, end));
            self.near(Reason::Ended);
            return false;
        }
        true
    }

    fn key_ended(&mut self, source: Source, ended: Option<i64>) -> bool {
        if let Some(end) = ended {
            (self.trace)(Step::KeyEnded(LineRef { source, line: None }, end));
            self.near(Reason::Ended);
        }
        ended.is_some()
    }

    /// The sources that know no account.
    fn others(&mut self, named: bool, facts: &KeyFacts) {
        let why = if named {
            "the login names an account"
        } else if self.target.login_user == LoginUser::Account {
            // A key without an account would have to be somebody.
            self.near(Reason::NeedsAccount);
            "the target's user is the account, and such keys have none"
        } else {
            return self.without_account(facts);
        };
        for source in [Source::Target, Source::Managed, Source::Own] {
            (self.trace)(Step::NotAsked(source, why));
        }
    }

    fn without_account(&mut self, facts: &KeyFacts) {
        for key in &facts.target_keys {
            let ended = key.expires.filter(|end| *end <= self.question.clock.now);
            if !self.done() && !self.key_ended(Source::Target, ended) {
                self.row(Source::Target, None, &key.public_key, &key.options);
            }
        }
        if self.done() {
            return;
        }
        let managed = self.world.files.managed(self.target);
        self.file(Source::Managed, managed);
        if self.done() {
            return;
        }
        let why = match (&self.target.home, self.target.policy.own_keys) {
            (Some(home), true) => {
                let own = self.world.files.own(home);
                return self.file(Source::Own, own);
            }
            (None, true) => "the target has no home on this host",
            (_, false) => "the target's policy does not take its own keys",
        };
        (self.trace)(Step::NotAsked(Source::Own, why));
    }

    /// A key of the store.
    fn row(&mut self, source: Source, account: Option<&str>, public_key: &str, options: &[u8]) {
        let line = LineRef { source, line: None };
        match public_key.parse::<PublicKey>() {
            Ok(key) if key.fingerprint() == self.question.key => match Options::parse(options) {
                Ok(options) => self.line(line, account, &key, &options),
                Err(why) => self.bad_line(line, why.into()),
            },
            _ => (self.trace)(Step::BadRow(source)),
        }
    }

    /// The lines of a file that list the key.
    fn file(&mut self, source: Source, file: Result<Option<Vec<u8>>, KeyFileError>) {
        let file = match file {
            Ok(Some(file)) => file,
            Ok(None) => return (self.trace)(Step::NoFile(source)),
            Err(why) => return (self.trace)(Step::BadFile(source, &why)),
        };
        let mut listed = 0;
        for found in authorized_keys::lines(&file) {
            if self.done() {
                break;
            }
            match found {
                Ok(entry) if entry.key.fingerprint() == self.question.key => {
                    listed += 1;
                    let line = LineRef { source, line: Some(entry.line) };
                    self.line(line, None, &entry.key, &entry.options);
                }
                Ok(_) => {}
                Err(problem) => {
                    let line = LineRef { source, line: Some(problem.line) };
                    if problem.key.is_some_and(|key| key.fingerprint() == self.question.key) {
                        listed += 1;
                        self.bad_line(line, problem.why);
                    } else {
                        (self.trace)(Step::BadLine { line, why: problem.why, ours: false });
                    }
                }
            }
        }
        (self.trace)(Step::Read(source, listed));
    }

    /// A line that lists the key and can't be read.
    fn bad_line(&mut self, line: LineRef, why: LineError) {
        (self.trace)(Step::BadLine { line, why, ours: true });
        self.dropped.push(line);
        self.near(Reason::Options);
    }

    /// A line for the key, or for a principal, `of` which it is.
    pub(super) fn line(
        &mut self,
        source: LineRef,
        account: Option<&str>,
        of: &dyn Display,
        options: &Options,
    ) {
        if options.expiry_times.iter().any(|time| time.is_past(&self.question.clock)) {
            (self.trace)(Step::Expired(source));
            return self.near(Reason::Ended);
        }
        if let (Judge::Here(client), Some(from)) = (&self.question.judge, &options.from)
            && !client.as_ref().is_some_and(|client| from.matches(client))
        {
            (self.trace)(Step::Elsewhere(source));
            return self.near(Reason::Elsewhere);
        }
        match self.narrow(options) {
            Ok(narrowed) => {
                let for_sshd = matches!(self.question.judge, Judge::Sshd | Judge::OwnSshd);
                let conditional = for_sshd && options.is_conditional();
                (self.trace)(Step::Line { line: source, account, conditional });
                self.lines.push(GrantLine {
                    source,
                    account: account.map(str::to_owned),
                    principal: None,
                    text: narrowed.line(of),
                    command: narrowed.command,
                    pty: narrowed.pty,
                    agent: narrowed.agent,
                    x11: narrowed.x11,
                });
                self.last = !conditional;
            }
            Err(why) => {
                (self.trace)(Step::Dropped(source, why));
                self.dropped.push(source);
                self.near(Reason::Options);
            }
        }
    }

    fn narrow(&mut self, options: &Options) -> Result<policy::Narrowed, Dropped> {
        if self.question.judge == Judge::OwnSshd {
            let (open, listen) = self.in_the_target();
            let policy = &self.target.policy;
            let (pty, agent, x11) = (policy.pty, policy.agent_forwarding, policy.x11);
            let grant = policy::Grant { pty, agent, x11, command: true, open, listen };
            return policy::narrow(options, &grant)?.with_command();
        }
        let bytes = self.target.driver.is_bytes();
        let elsewhere = matches!(self.target.driver, Driver::Ssh { .. });
        let (open, listen) = if bytes {
            // An engine is asked only if the answer counts.
            let places = if options.port_forwarding { self.forwards() } else { Vec::new() };
            (Permits::Only(places.iter().map(HostPort::permit).collect()), Permits::Nowhere)
        } else if self.question.moved {
            let (open, listen) = self.in_the_target();
            (open, if elsewhere { Permits::Nowhere } else { listen })
        } else {
            (Permits::Nowhere, Permits::Nowhere)
        };
        // Only a container whose namespaces are entered can be given a socket.
        let by_engine = matches!(self.target.driver, Driver::Docker { exec: ExecWay::Engine, .. });
        let agent = self.target.policy.agent_forwarding && !bytes && !by_engine;
        // sshd listens for X clients where forwards of the session end; that it does so is settled when a session asks.
        let moved = self.question.moved || matches!(self.question.judge, Judge::Here(_));
        let x11 = self.target.policy.x11 && moved && !bytes && !elsewhere && !by_engine;
        let grant = policy::Grant { pty: self.target.policy.pty, agent, x11, command: !bytes, open, listen };
        policy::narrow(options, &grant)
    }

    /// What the target's policy says of forwards that end in it.
    fn in_the_target(&self) -> (Permits, Permits) {
        let policy = &self.target.policy;
        let own = |port: &u16| ["localhost", "127.0.0.1", "::1"].map(|host| HostPort::new(host, *port));
        let open = match policy.open_ports.as_slice() {
            _ if !policy.forward.local() => Permits::Nowhere,
            [] => Permits::Anywhere,
            ports => {
                Permits::Only(ports.iter().flat_map(own).flatten().map(|place| place.permit()).collect())
            }
        };
        let listen = match policy.listen_ports.as_slice() {
            _ if !policy.forward.remote() => Permits::Nowhere,
            [] => Permits::Anywhere,
            ports => Permits::Only(ports.iter().map(|port| Permit::any_host(*port)).collect()),
        };
        (open, listen)
    }

    /// Where forwards of a TCP target may go: to the target, so that `ssh -J` works.
    fn forwards(&mut self) -> Vec<HostPort> {
        if let Some(forwards) = &self.forwards {
            return forwards.clone();
        }
        let place = match (&self.target.driver, &self.question.judge) {
            (Driver::Tcp { address: TcpAddress::Fixed { host, port } }, _) => {
                HostPort::new(host, *port).ok_or_else(|| "the target's host or port is none".to_owned())
            }
            (Driver::Tcp { .. }, Judge::Sshd) => self.world.addresses.container(self.target.id),
            // sshd has had its line; nobody looks at this one.
            _ => return Vec::new(),
        };
        let forwards = match place {
            Ok(place) => vec![place],
            Err(why) => {
                (self.trace)(Step::NoForward(&why));
                Vec::new()
            }
        };
        self.forwards.insert(forwards).clone()
    }

    /// Whether no further line can count.
    pub(super) fn done(&self) -> bool {
        self.last
    }

    /// Keeps the reason that says most: of several, the one that was nearest to opening.
    pub(super) fn near(&mut self, reason: Reason) {
        let rank = |reason: &Reason| match reason {
            Reason::Options => 5,
            Reason::Elsewhere => 4,
            Reason::Ended => 3,
            Reason::NoGrant(_) | Reason::AccountDisabled(_) => 2,
            Reason::NeedsAccount => 1,
            _ => 0,
        };
        if self.near.as_ref().is_none_or(|old| rank(old) < rank(&reason)) {
            self.near = Some(reason);
        }
    }
}
