//! Completion in shells: what may stand at the cursor, names of the store included.
//!
//! The scripts of `packaging/completions` ask this program at each press of the key: [`VARIABLE`] is the number of the
//! word at the cursor, the line's words stand behind `--`. The answer is `WORD TAB WHAT IT IS`, one a line; none means that
//! the shell may offer files. Nothing is written, and what can't be read offers no names: a shell's line is no place for
//! errors.

use std::env;
use std::ffi::{OsStr, OsString};
use std::ops::ControlFlow;
use std::path::PathBuf;

use anyhow::Context;
use clap::CommandFactory;
use clap_complete::engine::{ArgValueCompleter, CompletionCandidate, complete};
use vestibule::names::login::AccountName;

use crate::args::Args;
use crate::output::{Output, Shown};
use crate::place::{Place, Ready};

/// What says that a shell asks, and about which word.
const VARIABLE: &str = "VESTIBULECTL_COMPLETE";
/// More names than anybody reads; a store may have a hundred thousand.
const MOST: usize = 500;

/// Answers a shell, if one asks.
///
/// # Errors
/// A variable that is no number of a word, and what could not be written.
pub(crate) fn answered() -> anyhow::Result<bool> {
    let Some(at) = env::var_os(VARIABLE) else { return Ok(false) };
    let at: usize = at.to_str().and_then(|at| at.parse::<usize>().ok()).with_context(|| {
        format!("{VARIABLE} is for shells that complete a line, and is to be the number of a word")
    })?;
    let words = line();
    // Options are offered where one was begun: beside names they are in the way.
    let option = words.get(at).is_some_and(|word| word.as_encoded_bytes().starts_with(b"-"));
    let mut out = Output::new();
    for found in complete(&mut Args::command(), words, at, None)? {
        let what = found.get_help().map(ToString::to_string).unwrap_or_default();
        let what = what.lines().next().unwrap_or_default();
        let word = found.get_value().as_encoded_bytes();
        if !option && word.starts_with(b"-") {
            continue;
        }
        if out.line(format_args!("{}\t{what}", Shown(word))).is_break() {
            break;
        }
    }
    out.finish().map(|()| true)
}

/// The words of the line that is being typed.
fn line() -> Vec<OsString> {
    env::args_os().skip_while(|word| word != "--").skip(1).collect()
}

/// Leaves files to the shell, which knows about `~` and quotes.
pub(crate) fn files() -> ArgValueCompleter {
    ArgValueCompleter::new(|_: &OsStr| Vec::new())
}

/// Completes accounts.
pub(crate) fn accounts() -> ArgValueCompleter {
    ArgValueCompleter::new(|start: &OsStr| {
        named(start, |ready, offer| {
            // A name that can't be one is not put on anybody's command line.
            ready.read()?.accounts(None, |row| match AccountName::try_from(row.name.as_str()) {
                Ok(name) => offer(name.as_str()),
                Err(_) => ControlFlow::Continue(()),
            })?;
            Ok(())
        })
    })
}

/// Completes targets, by their own names.
pub(crate) fn targets() -> ArgValueCompleter {
    ArgValueCompleter::new(|start: &OsStr| {
        named(start, |ready, offer| {
            ready.read()?.targets(None, |row| match row {
                Ok(row) => offer(row.target.name.as_str()),
                Err(_) => ControlFlow::Continue(()),
            })?;
            Ok(())
        })
    })
}

/// Completes the engines of the configuration.
pub(crate) fn engines() -> ArgValueCompleter {
    ArgValueCompleter::new(|start: &OsStr| {
        named(start, |ready, offer| {
            let _ = ready.config.engine.keys().try_for_each(|name| offer(name));
            Ok(())
        })
    })
}

/// The names that begin with `start`, of those that `list` hands over.
fn named(
    start: &OsStr,
    list: impl FnOnce(&Ready, &mut dyn FnMut(&str) -> ControlFlow<()>) -> anyhow::Result<()>,
) -> Vec<CompletionCandidate> {
    let mut found = Vec::new();
    let Some(start) = start.to_str() else { return found };
    let Ok(ready) = place(&line()).ready() else { return found };
    // What came before a fault is offered all the same.
    let _ = list(&ready, &mut |name| {
        if name.starts_with(start) {
            found.push(CompletionCandidate::new(name));
        }
        if found.len() < MOST { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
    });
    found
}

/// Where the files are that the line speaks of.
fn place(words: &[OsString]) -> Place {
    let path = |option: &str| -> Option<PathBuf> {
        let at = words.iter().rposition(|word| word == option)?;
        words.get(at + 1).map(PathBuf::from)
    };
    Place::new(path("--config"), path("--store"), path("--index"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_store_that_the_line_names_is_asked() {
        let words: Vec<OsString> =
            ["vestibulectl", "--store", "/a/s.db", "target", "show", ""].map(OsString::from).into();
        assert_eq!(place(&words).store, PathBuf::from("/a/s.db"));
        assert!(place(&[]).is_real);
        assert!(place(&["--store".into()]).is_real, "nothing behind it yet");
    }
}
