//! Target and account names: what one is, and the one spelling that a target's name is stored and asked for by.

use std::borrow::Cow;
use std::fmt::{self, Display, Formatter};

use crate::error::NameError;

/// Bytes that a target's or an account's name has at most.
pub const MAX_NAME: usize = 96;

/// Bytes that the configured target prefix has at most.
pub const MAX_PREFIX: usize = 32;

/// The name (id or alias) of a target: 1 to [`MAX_NAME`] bytes of `[A-Za-z0-9._-]`, the first a letter, a digit or `_`.
///
/// A name in the shape of a UUID is held in its [canonical](canonical_target) spelling, so two `TargetName`s are equal
/// when they name the same target. Letters are otherwise told apart by case.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TargetName(String);

/// The name of an account: as a [`TargetName`], and `@` may stand in it too, but neither first nor last.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AccountName(String);

macro_rules! name_type {
    ($name:ident, $check:path, $hold:expr) => {
        impl $name {
            /// The name as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl TryFrom<&str> for $name {
            type Error = NameError;

            fn try_from(text: &str) -> Result<Self, NameError> {
                $check(text.as_bytes())?;
                Ok(Self($hold(text)))
            }
        }

        impl AsRef<str> for $name {
            fn as_ref(&self) -> &str {
                &self.0
            }
        }

        impl Display for $name {
            fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
                f.pad(&self.0)
            }
        }
    };
}

name_type!(TargetName, check_target, |text| canonical_target(text).into_owned());
name_type!(AccountName, check_account, str::to_owned);

/// Whether `name` follows the grammar of [`TargetName`].
pub(crate) fn check_target(name: &[u8]) -> Result<(), NameError> {
    check(name, false)
}

/// Whether `name` follows the grammar of [`AccountName`].
pub(crate) fn check_account(name: &[u8]) -> Result<(), NameError> {
    check(name, true)
}

fn check(name: &[u8], at_sign: bool) -> Result<(), NameError> {
    let (Some(&first), Some(&last)) = (name.first(), name.last()) else {
        return Err(NameError::Empty);
    };
    if name.len() > MAX_NAME {
        return Err(NameError::TooLong { len: name.len(), max: MAX_NAME });
    }
    let wrong = name.iter().position(|&byte| !(is_name_byte(byte) || at_sign && byte == b'@'));
    if let Some((at, &byte)) = wrong.and_then(|at| Some((at, name.get(at)?))) {
        return Err(NameError::Byte { byte, at });
    }
    if !(first.is_ascii_alphanumeric() || first == b'_') {
        return Err(NameError::Start(first));
    }
    if last == b'@' {
        return Err(NameError::End(last));
    }
    Ok(())
}

fn is_name_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-')
}

/// Whether `prefix` can be the prefix that target names may carry (`project-`): the start of a target name, and no
/// longer than [`MAX_PREFIX`].
pub fn check_prefix(prefix: &str) -> Result<(), NameError> {
    if prefix.len() > MAX_PREFIX {
        return Err(NameError::TooLong { len: prefix.len(), max: MAX_PREFIX });
    }
    check_target(prefix.as_bytes())
}

/// The spelling that a target's name is stored under and asked for by: a UUID, with its dashes (8-4-4-4-12) or without,
/// becomes 32 lower-case hexadecimal digits; any other name stays as it is. Doing it twice changes nothing.
pub fn canonical_target(name: &str) -> Cow<'_, str> {
    match uuid_digits(name.as_bytes()) {
        Some(digits) => Cow::Owned(digits.iter().copied().map(char::from).collect()),
        None => Cow::Borrowed(name),
    }
}

/// The 32 lower-case digits of a UUID, or nothing when `name` has not the shape of one. No allocation: the NSS module
/// comes by here, and an allocation that fails would end its host.
pub(crate) fn uuid_digits(name: &[u8]) -> Option<[u8; 32]> {
    let dashed = match name.len() {
        32 => false,
        36 => true,
        _ => return None,
    };
    let mut digits = [0; 32];
    let mut free = digits.iter_mut();
    for (at, byte) in name.iter().enumerate() {
        if dashed && matches!(at, 8 | 13 | 18 | 23) {
            if *byte != b'-' {
                return None;
            }
        } else if byte.is_ascii_hexdigit() {
            *free.next()? = byte.to_ascii_lowercase();
        } else {
            return None;
        }
    }
    Some(digits)
}

/// The names to ask the store for, in order, when a login says `name` and `prefix` is the configured one: `name` as it
/// stands, then, when it starts with the prefix and a target name is left, what is left. Each in its canonical spelling.
pub fn target_lookups<'a>(
    name: &'a str,
    prefix: Option<&str>,
) -> impl Iterator<Item = Cow<'a, str>> + use<'a> {
    spellings(name, prefix).map(canonical_target)
}

/// [`target_lookups`] before canonicalisation (so without allocation).
pub(crate) fn spellings<'a>(name: &'a str, prefix: Option<&str>) -> impl Iterator<Item = &'a str> + use<'a> {
    let stripped = prefix
        .filter(|prefix| !prefix.is_empty())
        .and_then(|prefix| name.strip_prefix(prefix))
        .filter(|rest| check_target(rest.as_bytes()).is_ok());
    [Some(name), stripped].into_iter().flatten()
}
