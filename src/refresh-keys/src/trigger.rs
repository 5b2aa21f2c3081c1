//! `--trigger`: the forced command of a hub's key.
//!
//! Whoever holds the key chooses SSH_ORIGINAL_COMMAND. No shell sees it and nothing is run by it: it is empty, or one
//! word with one name. Triggers that come while a run is at work wait as one: who holds the lock `next` has not asked
//! yet, so what it will hear is newer than what any trigger was about that finds it held.

use std::env::VarError;
use std::fs::{File, OpenOptions};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use anyhow::{Context, bail};
use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};
use vestibule::store::Scope;
use vestibule_names::login::{AccountName, TargetName};

const WORDS: &str = "want nothing, 'target NAME' or 'account NAME'";

/// What the hub asks for.
///
/// # Errors
/// A command that is none of ours.
pub(crate) fn scope() -> anyhow::Result<Scope> {
    let command = match std::env::var("SSH_ORIGINAL_COMMAND") {
        Ok(command) => command,
        Err(VarError::NotPresent) => String::new(),
        Err(VarError::NotUnicode(_)) => bail!("trigger: the command is not UTF-8; {WORDS}"),
    };
    parse(&command).with_context(|| format!("trigger: {WORDS}"))
}

fn parse(command: &str) -> Option<Scope> {
    // The client takes a word with dashes for an option of its own, unless `--` stands before it.
    let mut words = command.split(' ').filter(|word| !word.is_empty());
    let scope = match (words.next(), words.next()) {
        (None, _) => Scope::All,
        (Some("target" | "--target"), Some(name)) => {
            Scope::Target(TargetName::try_from(name).ok()?.as_str().to_owned())
        }
        (Some("account" | "--account"), Some(name)) => {
            Scope::Account(AccountName::try_from(name).ok()?.as_str().to_owned())
        }
        _ => return None,
    };
    words.next().is_none().then_some(scope)
}

/// The place of the one that waits for its turn at a source; nothing when it is taken.
///
/// # Errors
/// The lock's file.
pub(crate) fn next(directory: &Path, source: &str) -> anyhow::Result<Option<Flock<File>>> {
    let path = directory.join(format!("refresh-{source}.next"));
    let name = || format!("'{}'", path.display());
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(false).mode(0o600).custom_flags(nix::libc::O_NOFOLLOW);
    let file = options.open(&path).with_context(name)?;
    match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
        Ok(next) => Ok(Some(next)),
        Err((_, Errno::EWOULDBLOCK)) => Ok(None),
        Err((_, error)) => Err(error).with_context(name),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_trigger_names_one_thing_or_nothing() {
        assert_eq!(parse(""), Some(Scope::All));
        assert_eq!(parse("target lab"), Some(Scope::Target("lab".to_owned())));
        assert_eq!(parse("--target lab"), Some(Scope::Target("lab".to_owned())));
        assert_eq!(parse("  --account  a@b "), Some(Scope::Account("a@b".to_owned())));
        for wrong in [
            "--target",
            "lab",
            "--target lab --account a",
            "--target a b",
            "--accept-shrink",
            "--target\tlab",
            "sh",
            "--target ../x",
            "--target --full",
            "--target $(id)",
            "--target a;id",
            "--source x",
        ] {
            assert_eq!(parse(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn the_second_that_would_wait_need_not() {
        let dir = tempfile::tempdir().unwrap();
        let first = next(dir.path(), "hub").unwrap();
        assert!(first.is_some());
        assert!(next(dir.path(), "hub").unwrap().is_none());
        assert!(next(dir.path(), "other").unwrap().is_some());
        drop(first);
        assert!(next(dir.path(), "hub").unwrap().is_some());
    }
}
