//! The grammar of login names: what stands before the last `@` of `ssh NAME@bastion`.
//!
//! | login name | is tried as |
//! |---|---|
//! | `ACCOUNT+TARGET` (exactly one `+`) | that account and that target: one of the [account's own](OwnName), or the target itself |
//! | anything else | a target; then an account, for its default target; then, when it holds `@`, `ACCOUNT@TARGET` split at the last `@` |
//!
//! [`parse`] says what a name may mean, in order; the first that exists in the store is what it means. A name with a
//! `:` is none: it would break scp, rsync and sshfs. A name of nothing but digits is none either, unless it is a UUID:
//! programs that take "a user's name or uid" would take a uid for the name (such a target is reached as
//! `ACCOUNT+TARGET` or with the configured prefix).

use std::array;
use std::iter::Flatten;

pub use crate::error::{Escaped, NameError};
pub use crate::name::{
    AccountName, MAX_NAME, MAX_PREFIX, TargetName, canonical_target, check_prefix, target_lookups,
};
use crate::name::{check_account, check_target, uuid_digits};
pub use crate::own::OwnName;

/// Bytes that a login name has at most. Longer ones are refused before they are looked at.
pub const MAX_LOGIN: usize = 200;

/// One thing that a login name may mean. The parts follow the grammar; targets are spelled as the user wrote them, so
/// ask the store through [`target_lookups`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Candidate<'a> {
    /// A target, and the account that wants to enter it if the name says which.
    Target {
        /// The account's name, when the login name has one.
        account: Option<&'a str>,
        /// The target's name.
        target: &'a str,
    },
    /// The default target of the account of this name.
    DefaultOf(&'a str),
}

/// A login name, and everything that it may mean: at least one thing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct LoginName<'a> {
    text: &'a str,
    means: [Option<Candidate<'a>>; 3],
}

impl<'a> LoginName<'a> {
    /// Reads a login name from any bytes.
    ///
    /// # Errors
    /// Says what is wrong with the first fault found.
    pub fn parse(login: &'a [u8]) -> Result<Self, NameError> {
        if login.is_empty() {
            return Err(NameError::Empty);
        }
        if login.len() > MAX_LOGIN {
            return Err(NameError::TooLong { len: login.len(), max: MAX_LOGIN });
        }
        let text = ascii(login)?;
        let means = match text.rsplit_once('+') {
            Some((account, target)) => [Some(joined(account, target)?), None, None],
            None => plain(text)?,
        };
        Ok(Self { text, means })
    }

    /// The name as it was written.
    pub fn as_str(&self) -> &'a str {
        self.text
    }

    /// What the name may mean, the first choice first.
    pub fn candidates(&self) -> Candidates<'a> {
        Candidates(self.means.into_iter().flatten())
    }
}

/// What a login name may mean, in the order in which the store is asked; never empty.
#[derive(Clone, Debug)]
pub struct Candidates<'a>(Flatten<array::IntoIter<Option<Candidate<'a>>, 3>>);

impl<'a> Iterator for Candidates<'a> {
    type Item = Candidate<'a>;

    fn next(&mut self) -> Option<Candidate<'a>> {
        self.0.next()
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        self.0.size_hint()
    }
}

/// Reads a login name and lists what it may mean, the first choice first.
///
/// # Errors
/// The bytes are not a login name: nothing of that name can exist.
pub fn parse(login: &[u8]) -> Result<Candidates<'_>, NameError> {
    LoginName::parse(login).map(|name| name.candidates())
}

/// The bytes as text, when all are printable ASCII without a space; the grammar proper is finer.
fn ascii(login: &[u8]) -> Result<&str, NameError> {
    if let Some(at) = login.iter().position(|byte| !byte.is_ascii_graphic()) {
        return Err(NameError::Byte { byte: login.get(at).copied().unwrap_or_default(), at });
    }
    str::from_utf8(login).map_err(|bad| {
        let at = bad.valid_up_to();
        NameError::Byte { byte: login.get(at).copied().unwrap_or_default(), at }
    })
}

/// `ACCOUNT+TARGET`.
fn joined<'a>(account: &'a str, target: &'a str) -> Result<Candidate<'a>, NameError> {
    if account.contains('+') {
        return Err(NameError::Pluses);
    }
    check_account(account.as_bytes())?;
    check_target(target.as_bytes()).map_err(|error| match error {
        NameError::Byte { byte, at } => NameError::Byte { byte, at: account.len() + 1 + at },
        other => other,
    })?;
    Ok(Candidate::Target { account: Some(account), target })
}

/// A name without `+`.
fn plain(text: &str) -> Result<[Option<Candidate<'_>>; 3], NameError> {
    let bytes = text.as_bytes();
    if bytes.iter().all(u8::is_ascii_digit) && uuid_digits(bytes).is_none() {
        return Err(NameError::Number);
    }
    // Every target name is an account name by its grammar, so what is wrong with the account name is what is wrong.
    let as_account = check_account(bytes);
    let target = check_target(bytes).is_ok().then_some(Candidate::Target { account: None, target: text });
    let default = as_account.is_ok().then_some(Candidate::DefaultOf(text));
    let split = text.rsplit_once('@').and_then(|(account, target)| joined(account, target).ok());
    match (as_account, split) {
        (Err(why), None) => Err(why),
        _ => Ok([target, default, split]),
    }
}
