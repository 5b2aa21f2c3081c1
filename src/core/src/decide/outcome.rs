//! What comes out of a decision.

use std::fmt;

use super::closed::Closed;
use crate::may_enter::MayEnter;
use crate::proof::{Credential, Proof};
use crate::store::Revocation;
use crate::target::Target;

/// What comes out of a decision.
#[derive(Debug, Clone, PartialEq)]
pub enum Outcome {
    /// The login name means nothing here: somebody else may know it.
    NotOurs,
    /// Nothing is opened.
    Denied(Box<Denied>),
    /// One of the lines opens the target, the first whose conditions hold.
    Granted(Box<Granted>),
    /// The key opens the target, and nobody gets in now.
    Closed(Box<Closed>),
}

/// A refusal.
#[derive(Debug, Clone, PartialEq)]
pub struct Denied {
    /// Where the login wanted to go.
    pub target: Target,
    /// The account that the login names.
    pub account: Option<String>,
    /// Why not.
    pub reason: Reason,
    /// The lines that list the key and were not used because of what they say.
    pub dropped: Vec<LineRef>,
}

/// Lines for sshd.
#[derive(Debug, Clone, PartialEq)]
pub struct Granted {
    /// Where the login goes.
    pub target: Target,
    /// The lines, at least one, in the order in which they count.
    pub lines: Vec<GrantLine>,
    /// The lines that list the key and were not used because of what they say.
    pub dropped: Vec<LineRef>,
}

/// A line that opens a target for a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GrantLine {
    /// Which source it came from, and from which line of it.
    pub source: LineRef,
    /// The account that enters; keys of targets and of files have none.
    pub account: Option<String>,
    /// The principal of a certificate that opened it.
    pub principal: Option<Vec<u8>>,
    /// What sshd gets, with its line feed.
    pub text: Vec<u8>,
    /// What runs in the container in place of what the client asks for.
    pub command: Option<Vec<u8>>,
    /// Whether the session may have a terminal.
    pub pty: bool,
    /// Whether the session may ask the client's agent.
    pub agent: bool,
    /// Whether the session may use the client's X display.
    pub x11: bool,
}

/// Where keys come from, in the order in which they count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// A key of an account in the store.
    Account,
    /// A key of the target in the store.
    Target,
    /// The target's managed file.
    Managed,
    /// The target's own file.
    Own,
    /// A certificate, by what root's configuration says of its authority.
    Certificate,
}

/// A key's place: a source, and the line when the source is a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LineRef {
    /// Which source.
    pub source: Source,
    /// Counted from 1.
    pub line: Option<usize>,
}

/// Why nothing is opened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reason {
    /// The account that the login names is disabled.
    AccountDisabled(String),
    /// The key is revoked.
    Revoked(Revocation),
    /// The key belongs to this account, which is disabled.
    OwnerDisabled(String),
    /// Root's configuration does not name who signed the certificate.
    Authority,
    /// The key that signed the certificate is revoked.
    AuthorityRevoked(Revocation),
    /// No source that counts lists the key.
    NotListed,
    /// The key belongs to this account, which has no grant for the target.
    NoGrant(String),
    /// The key, or the grant of its account, has ended.
    Ended,
    /// The client's address is not one that `from=` allows.
    Elsewhere,
    /// Every line of the key has options that are at fault or not allowed.
    Options,
    /// The target wants one account, and the key belongs to several.
    Ambiguous(Vec<String>),
    /// The target wants an account, and the key has none.
    NeedsAccount,
    /// Root's configuration does not let the target be entered, for this reason.
    NotAllowed(String),
    /// Root's configuration does not let targets of its workspace be entered, in these words.
    Workspace(String),
    /// The target does not run, by its hub's word.
    NotRunning {
        /// Where a user starts it, if that is known.
        start_at: String,
    },
}

impl Outcome {
    /// The same, but for a target that root's configuration does not let be entered, whoever wrote its row, and for one
    /// that is closed to everybody.
    #[must_use]
    pub fn held_to(self, may: &MayEnter) -> Outcome {
        match self {
            Outcome::Granted(granted) => match may.target(&granted.target) {
                Ok(()) => Closed::of(granted, may),
                Err(no) => Outcome::Denied(Box::new(Denied {
                    account: granted.lines.into_iter().next().and_then(|line| line.account),
                    target: granted.target,
                    reason: Reason::NotAllowed(no.to_string()),
                    dropped: granted.dropped,
                })),
            },
            other => other,
        }
    }
}

impl GrantLine {
    /// What of a credential let somebody in by this line.
    #[must_use]
    pub fn proof(&self, shown: &Credential) -> Option<Proof> {
        match (shown, &self.principal) {
            (Credential::Key(key), None) => Some(Proof::Key(*key)),
            (Credential::Certificate(certificate), Some(principal)) => {
                Some(Proof::Certificate(Box::new(certificate.certified(principal))))
            }
            _ => None,
        }
    }
}

impl Source {
    /// Every source, in the order in which they count.
    pub const ALL: [Source; 5] =
        [Source::Account, Source::Target, Source::Managed, Source::Own, Source::Certificate];

    /// The source of this word ([`as_str`](Self::as_str)).
    #[must_use]
    pub fn of_word(word: &str) -> Option<Source> {
        Self::ALL.into_iter().find(|source| source.as_str() == word)
    }

    /// One word, as the audit log and `--decide` have it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Source::Account => "account",
            Source::Target => "target",
            Source::Managed => "managed",
            Source::Own => "own",
            Source::Certificate => "certificate",
        }
    }
}

impl Reason {
    /// One word, as the audit log and `--decide` have it.
    #[must_use]
    pub fn as_str(&self) -> &'static str {
        match self {
            Reason::AccountDisabled(_) => "account-disabled",
            Reason::Revoked(_) => "key-revoked",
            Reason::OwnerDisabled(_) => "owner-disabled",
            Reason::Authority => "authority",
            Reason::AuthorityRevoked(_) => "authority-revoked",
            Reason::NotListed => "key-not-listed",
            Reason::NoGrant(_) => "no-grant",
            Reason::Ended => "ended",
            Reason::Elsewhere => "from",
            Reason::Options => "options",
            Reason::Ambiguous(_) => "ambiguous-account",
            Reason::NeedsAccount => "account-needed",
            Reason::NotAllowed(_) => "not-allowed",
            Reason::Workspace(_) => "workspace",
            Reason::NotRunning { .. } => "not-running",
        }
    }
}

impl fmt::Display for LineRef {
    /// `account`, `own:3`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.source.as_str())?;
        match self.line {
            Some(line) => write!(f, ":{line}"),
            None => Ok(()),
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Reason::AccountDisabled(name) => write!(f, "the account '{name}' is disabled"),
            Reason::Revoked(Revocation { reason, .. }) if reason.is_empty() => {
                f.write_str("the key is revoked")
            }
            Reason::Revoked(Revocation { reason, .. }) => write!(f, "the key is revoked: {reason}"),
            Reason::OwnerDisabled(name) => {
                write!(f, "the key belongs to the account '{name}', which is disabled")
            }
            Reason::Authority => f.write_str(
                "the certificate is of an authority that no '[authority.NAME]' of the configuration has",
            ),
            Reason::AuthorityRevoked(_) => f.write_str("the key that signed the certificate is revoked"),
            Reason::NotListed => f.write_str("no source that counts for this login lists the key"),
            Reason::NoGrant(name) => write!(f, "the account '{name}' has no grant for this target"),
            Reason::Ended => f.write_str("the key, or its account's grant, has ended"),
            Reason::Elsewhere => f.write_str("the client is not where 'from=' wants it"),
            Reason::Options => {
                f.write_str("every line of the key has options that are at fault or not allowed")
            }
            Reason::Ambiguous(names) => {
                write!(
                    f,
                    "the target wants one account, and the key belongs to several: {}",
                    names.join(", ")
                )
            }
            Reason::NotAllowed(why) | Reason::Workspace(why) => f.write_str(why),
            Reason::NotRunning { .. } => f.write_str("the target does not run, by its hub's word"),
            Reason::NeedsAccount => {
                f.write_str("the target wants an account, and the key belongs to none that has a grant")
            }
        }
    }
}
