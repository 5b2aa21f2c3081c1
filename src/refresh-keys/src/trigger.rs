//! `--trigger`: the forced command of a hub's key.
//!
//! Whoever holds the key chooses SSH_ORIGINAL_COMMAND. No shell sees it and nothing is run by it: it is empty, or one
//! word with one name. Triggers that come while a run is at work wait as one for each thing that they are about: who holds
//! its place in the file `next` has not asked yet, so what it will hear is newer than what any trigger was about that finds
//! the place taken. One that is about everything is about each thing.

use std::env::VarError;
use std::fs::{File, OpenOptions};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use anyhow::{Context, bail};
use nix::errno::Errno;
use nix::fcntl::{FcntlArg, fcntl};
use nix::libc;
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

/// A place, as long as this lives: a byte of the file, locked.
#[derive(Debug)]
pub(crate) struct Next(#[expect(dead_code, reason = "held, and closed")] File);

/// The place of the one that waits for its turn at a source, to ask about `scope`; nothing when it is taken.
///
/// # Errors
/// The lock's file.
pub(crate) fn next(directory: &Path, source: &str, scope: &Scope) -> anyhow::Result<Option<Next>> {
    let path = directory.join(format!("refresh-{source}.next"));
    let name = || format!("'{}'", path.display());
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false).mode(0o600).custom_flags(libc::O_NOFOLLOW);
    let file = options.open(&path).with_context(name)?;
    if *scope != Scope::All {
        let mut everything = place(&Scope::All);
        fcntl(&file, FcntlArg::F_OFD_GETLK(&mut everything)).with_context(name)?;
        if i32::from(everything.l_type) != libc::F_UNLCK {
            return Ok(None);
        }
    }
    match fcntl(&file, FcntlArg::F_OFD_SETLK(&place(scope))) {
        Ok(_) => Ok(Some(Next(file))),
        Err(Errno::EAGAIN | Errno::EACCES) => Ok(None),
        Err(error) => Err(error).with_context(name),
    }
}

/// The byte for a scope: the first for everything, and one of 2^62 for a name.
fn place(scope: &Scope) -> libc::flock {
    let offset = match scope {
        Scope::All => 0,
        Scope::Account(name) => offset_of("account", name),
        Scope::Target(name) => offset_of("target", name),
    };
    libc::flock {
        // F_WRLCK is 1 and SEEK_SET is 0 on every Linux.
        l_type: 1,
        l_whence: 0,
        l_start: offset,
        l_len: 1,
        l_pid: 0,
    }
}

fn offset_of(what: &str, name: &str) -> i64 {
    let mut hasher = DefaultHasher::new();
    (what, name).hash(&mut hasher);
    i64::try_from(hasher.finish() >> 2).map_or(1, |offset| offset.saturating_add(1))
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
        let waits = |source: &str, scope: &Scope| next(dir.path(), source, scope).unwrap();
        let (ada, bob) = (Scope::Account("ada".to_owned()), Scope::Account("bob".to_owned()));
        let first = waits("hub", &ada);
        assert!(first.is_some());
        assert!(waits("hub", &ada).is_none(), "the same thing");
        assert!(waits("hub", &bob).is_some(), "another one");
        assert!(waits("hub", &Scope::Target("ada".to_owned())).is_some(), "a target is no account");
        assert!(waits("other", &ada).is_some(), "another source");
        let all = waits("hub", &Scope::All);
        assert!(all.is_some(), "one thing is not everything");
        assert!(waits("hub", &Scope::All).is_none());
        assert!(waits("hub", &bob).is_none(), "everything is each thing");
        drop(all);
        assert!(waits("hub", &bob).is_some());
        drop(first);
        assert!(waits("hub", &ada).is_some());
    }
}
