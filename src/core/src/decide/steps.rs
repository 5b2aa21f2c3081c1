//! The steps of a decision, in words.

use std::fmt;

use vestibule_names::login::NameError;

use super::outcome::{LineRef, Reason, Source};
use crate::authorized_keys::LineError;
use crate::policy::Dropped;
use crate::store::Account;
use crate::target::Target;
use crate::tenant_file::KeyFileError;

/// One step of a decision. Its text is one line for whoever set vestibule up.
#[derive(Debug)]
pub enum Step<'a> {
    /// The bytes are no login name of ours.
    NoName(&'a NameError),
    /// Nothing in the store has this name.
    Unknown,
    /// What the login name means.
    Means {
        /// Where it goes.
        target: &'a Target,
        /// The account that it names.
        account: Option<&'a Account>,
    },
    /// The key is not revoked and no disabled account owns it.
    KeyInOrder,
    /// An account owns the key and has no grant.
    NoGrant(&'a str),
    /// An account's grant has ended at this second since 1970.
    GrantEnded(&'a str, i64),
    /// A key of this source has ended at this second since 1970.
    KeyEnded(LineRef, i64),
    /// A source is not asked, for this reason.
    NotAsked(Source, &'static str),
    /// A file does not exist.
    NoFile(Source),
    /// A file is not used.
    BadFile(Source, &'a KeyFileError),
    /// A file was read and has this many lines with keys.
    Read(Source, usize),
    /// A line can't be read. Whether it is the key's is said.
    BadLine {
        /// Which.
        line: LineRef,
        /// What is wrong.
        why: LineError,
        /// It lists the key that was asked for.
        ours: bool,
    },
    /// The store lists a key under this fingerprint that has another, or can't be read.
    BadRow(Source),
    /// A line of the key has options that are not allowed.
    Dropped(LineRef, Dropped),
    /// A line's `expiry-time=` has passed.
    Expired(LineRef),
    /// A line's `from=` does not hold.
    Elsewhere(LineRef),
    /// No forward is granted, though the target would allow one.
    NoForward(&'a str),
    /// A line that opens the target.
    Line {
        /// Where it came from.
        line: LineRef,
        /// The account that enters.
        account: Option<&'a str>,
        /// `from=` or `expiry-time=` is for sshd to judge, so that more lines may count.
        conditional: bool,
    },
    /// Nothing is opened.
    Denied(&'a Reason),
}

impl fmt::Display for Step<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Step::NoName(why) => write!(f, "this is no login name of vestibule: {why}"),
            Step::Unknown => f.write_str(
                "the store has neither a target nor an account with a default target of this name",
            ),
            Step::Means { target, account: None } => {
                write!(
                    f,
                    "the login goes to the target '{}' (id {}) and names no account",
                    target.name, target.id.0
                )
            }
            Step::Means { target, account: Some(account) } => {
                let state = if account.active { "active" } else { "disabled" };
                let (target, id) = (&target.name, target.id.0);
                write!(
                    f,
                    "the login goes to the target '{target}' (id {id}) as the account '{}' ({state})",
                    account.name
                )
            }
            Step::KeyInOrder => f.write_str("the key is not revoked, and no disabled account owns it"),
            Step::NoGrant(name) => {
                write!(f, "the account '{name}' owns the key and has no grant for the target")
            }
            Step::GrantEnded(name, at) => {
                write!(f, "the grant of the account '{name}' has ended ({at} s since 1970)")
            }
            Step::KeyEnded(line, at) => write!(f, "{line}: the key has ended ({at} s since 1970)"),
            Step::NotAsked(source, why) => write!(f, "{}: not asked: {why}", source.as_str()),
            Step::NoFile(source) => write!(f, "{}: there is no such file", source.as_str()),
            Step::BadFile(source, why) => write!(f, "{}: not used: {why}", source.as_str()),
            Step::Read(source, 1) => write!(f, "{}: the file lists the key on 1 line", source.as_str()),
            Step::Read(source, n) => write!(f, "{}: the file lists the key on {n} lines", source.as_str()),
            Step::BadLine { line, why, ours: true } => write!(f, "{line}: lists the key, but: {why}"),
            Step::BadLine { line, why, ours: false } => write!(f, "{line}: can't be read: {why}"),
            Step::BadRow(source) => write!(
                f,
                "{}: the store's row for this fingerprint holds another key or none; remove the key and add it again",
                source.as_str()
            ),
            Step::Dropped(line, why) => write!(f, "{line}: lists the key, but is not used: {why}"),
            Step::Expired(line) => write!(f, "{line}: lists the key, but its expiry-time has passed"),
            Step::Elsewhere(line) => write!(f, "{line}: lists the key, but its from= does not hold"),
            Step::NoForward(why) => write!(f, "no forward is granted: {why}"),
            Step::Line { line, account, conditional } => {
                write!(f, "{line}: opens the target")?;
                if let Some(account) = account {
                    write!(f, " for the account '{account}'")?;
                }
                if *conditional { f.write_str(", if sshd finds that its conditions hold") } else { Ok(()) }
            }
            Step::Denied(reason) => write!(f, "denied: {reason}"),
        }
    }
}
