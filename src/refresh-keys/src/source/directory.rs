//! A tree of files that configuration management writes.
//!
//! `accounts/NAME.keys` and `targets/NAME.keys` are lines of authorized_keys, and with one of the former there is an
//! account; `accounts/NAME.toml` and `targets/NAME.toml` say what else there is to say; `targets/NAME.grants` names
//! the accounts that may enter, one a line.

use std::fs::OpenOptions;
use std::io::{self, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde_json::{Map, Value};

use super::{Answer, Ask, Source, SourceFault};
use crate::rows::{AccountRow, GrantRow, KeyRow, Row, TargetRow};
use crate::sink::Sink;

/// Bytes that a file may have.
const MAX_BYTES: u64 = 1 << 20;

/// A directory.
pub(super) struct Directory<'a> {
    path: &'a Path,
}

/// `accounts/NAME.toml`.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct AccountFile {
    disabled: bool,
    default_target: Option<String>,
}

impl<'a> Directory<'a> {
    pub(super) fn new(path: &'a Path) -> Self {
        Directory { path }
    }

    /// The files of a directory below: name without its ending, the ending, and the path; in the order of their names.
    fn files(&self, below: &str) -> Result<Vec<(String, String, PathBuf)>, SourceFault> {
        let directory = self.path.join(below);
        let fault = |error: io::Error| SourceFault::Source(format!("'{}': {error}", directory.display()));
        let entries = match std::fs::read_dir(&directory) {
            Ok(entries) => entries,
            // One that is not there says nothing, as long as the whole is there.
            Err(error) if error.kind() == io::ErrorKind::NotFound && self.path.is_dir() => {
                return Ok(Vec::new());
            }
            Err(error) => return Err(fault(error)),
        };
        let mut files = Vec::new();
        for entry in entries {
            let path = entry.map_err(fault)?.path();
            let text =
                |part: Option<&std::ffi::OsStr>| part.and_then(|part| part.to_str()).map(str::to_owned);
            if let (Some(stem), Some(ending)) = (text(path.file_stem()), text(path.extension()))
                && !stem.starts_with('.')
            {
                files.push((stem, ending, path));
            }
        }
        files.sort();
        Ok(files)
    }

    fn account(&self, name: &str, toml: Option<&Path>, sink: &mut Sink<'_>) -> Result<(), SourceFault> {
        let what = format!("account '{name}'");
        let said = match toml {
            None => AccountFile::default(),
            Some(path) => match parse(path, &what, sink)? {
                Some(said) => said,
                None => return Ok(()),
            },
        };
        let row =
            AccountRow { name: name.to_owned(), active: !said.disabled, default_target: said.default_target };
        sink.row(Row::Account(row))
    }

    fn target(&self, name: &str, path: &Path, sink: &mut Sink<'_>) -> Result<(), SourceFault> {
        let what = format!("target '{name}'");
        let Some(mut said) = parse::<Map<String, Value>>(path, &what, sink)? else { return Ok(()) };
        said.insert("name".to_owned(), name.into());
        match serde_json::from_value::<TargetRow>(Value::Object(said)) {
            Ok(row) => sink.row(Row::Target(Box::new(row))),
            Err(why) => {
                sink.bad(&what, why);
                Ok(())
            }
        }
    }
}

impl Source for Directory<'_> {
    fn fetch(&mut self, _: &Ask<'_>, sink: &mut Sink<'_>) -> Result<Answer, SourceFault> {
        let mut last = None;
        let accounts = self.files("accounts")?;
        for (name, ending, path) in &accounts {
            match ending.as_str() {
                "toml" | "keys" if last != Some(name) => {
                    let toml = accounts.iter().find(|(n, e, _)| n == name && e == "toml");
                    self.account(name, toml.map(|(_, _, path)| path.as_path()), sink)?;
                    last = Some(name);
                }
                _ => {}
            }
            if ending == "keys"
                && let Some(key) = read(path, &format!("account '{name}'"), sink)?
            {
                let row = KeyRow { account: Some(name.clone()), target: None, key, expires: None };
                sink.row(Row::Key(row))?;
            }
        }
        for (name, ending, path) in self.files("targets")? {
            let what = format!("target '{name}'");
            match ending.as_str() {
                "toml" => self.target(&name, &path, sink)?,
                "keys" => {
                    if let Some(key) = read(&path, &what, sink)? {
                        sink.row(Row::Key(KeyRow { account: None, target: Some(name), key, expires: None }))?;
                    }
                }
                "grants" => {
                    let text = read(&path, &what, sink)?.unwrap_or_default();
                    for account in
                        text.lines().map(str::trim).filter(|l| !l.is_empty() && !l.starts_with('#'))
                    {
                        let row =
                            GrantRow { account: account.to_owned(), target: name.clone(), expires: None };
                        sink.row(Row::Grant(row))?;
                    }
                }
                _ => {}
            }
        }
        Ok(Answer::Whole { cursor: None })
    }
}

/// The text of a file. One that can't be read is a fault: to pass it over would take keys away. What is no text is
/// reported, and passed over.
fn read(path: &Path, what: &str, sink: &mut Sink<'_>) -> Result<Option<String>, SourceFault> {
    let fault = |error: io::Error| SourceFault::Source(format!("'{}': {error}", path.display()));
    // Non-blocking, so that a FIFO can't hang a run.
    let file = OpenOptions::new().read(true).custom_flags(nix::libc::O_NONBLOCK).open(path).map_err(fault)?;
    if !file.metadata().map_err(fault)?.is_file() {
        sink.bad(what, format_args!("'{}' is not a regular file", path.display()));
        return Ok(None);
    }
    let mut bytes = Vec::new();
    file.take(MAX_BYTES + 1).read_to_end(&mut bytes).map_err(fault)?;
    let why = if bytes.len() as u64 > MAX_BYTES { "is larger than 1 MiB" } else { "is not UTF-8 text" };
    match String::from_utf8(bytes) {
        Ok(text) if text.len() as u64 <= MAX_BYTES => Ok(Some(text)),
        _ => {
            sink.bad(what, format_args!("'{}' {why}", path.display()));
            Ok(None)
        }
    }
}

fn parse<T: serde::de::DeserializeOwned>(
    path: &Path,
    what: &str,
    sink: &mut Sink<'_>,
) -> Result<Option<T>, SourceFault> {
    let Some(text) = read(path, what, sink)? else { return Ok(None) };
    Ok(toml::from_str(&text).map_err(|error| sink.bad(what, error.message())).ok())
}
