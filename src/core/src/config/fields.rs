//! What a configuration file may say, and what its values may be.

use std::collections::BTreeMap;
use std::path::{Component, Path, PathBuf};

use serde::{Deserialize, Deserializer, de};

use crate::authority::Authorities;

use super::{ConfigError, Engine, Forwarding, HostCommand, Revoked, Site};
use crate::workspace::Workspaces;

/// What one file says; everything may be missing.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct FileConfig {
    #[serde(default, deserialize_with = "prefix")]
    pub(super) target_prefix: Option<String>,
    pub(super) forwarding: Option<Forwarding>,
    pub(super) keys: Option<FileKeys>,
    pub(super) written: Option<FileWritten>,
    pub(super) may_enter: Option<FileMayEnter>,
    pub(super) session: Option<FileSession>,
    pub(super) engine: Option<BTreeMap<String, Engine>>,
    pub(super) authority: Option<Authorities>,
    pub(super) source: Option<BTreeMap<String, toml::Table>>,
    pub(super) wake: Option<BTreeMap<String, HostCommand>>,
    pub(super) connect: Option<BTreeMap<String, HostCommand>>,
    pub(super) site: Option<BTreeMap<String, Site>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct FileKeys {
    #[serde(default, deserialize_with = "some_absolute")]
    pub(super) managed: Option<PathBuf>,
    #[serde(default, deserialize_with = "below_home")]
    pub(super) own_file: Option<String>,
    #[serde(default, deserialize_with = "deadline")]
    pub(super) deadline_ms: Option<u64>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct FileWritten {
    #[serde(default, deserialize_with = "below_home")]
    pub(super) file: Option<String>,
    #[serde(default, deserialize_with = "directories")]
    pub(super) homes: Option<Vec<PathBuf>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct FileMayEnter {
    pub(super) containers: Option<Vec<String>>,
    pub(super) leaders: Option<Vec<String>>,
    pub(super) addresses: Option<Vec<String>>,
    pub(super) sockets: Option<Vec<String>>,
    pub(super) websockets: Option<Vec<String>>,
    pub(super) users: Option<Vec<String>>,
    #[serde(default, deserialize_with = "roots")]
    pub(super) homes: Option<Vec<PathBuf>>,
    pub(super) privileged: Option<Vec<String>>,
    pub(super) workspaces: Option<Workspaces>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct FileSession {
    #[serde(default, deserialize_with = "grace")]
    pub(super) grace_seconds: Option<u64>,
    #[serde(default, deserialize_with = "commands")]
    pub(super) sftp_commands: Option<Vec<String>>,
    #[serde(default, deserialize_with = "wake_seconds")]
    pub(super) wake_seconds: Option<u64>,
    pub(super) revoked: Option<Revoked>,
}

fn prefix<'de, D: Deserializer<'de>>(value: D) -> Result<Option<String>, D::Error> {
    let text = String::deserialize(value)?;
    vestibule_names::login::check_prefix(&text)
        .map_err(|why| de::Error::custom(format!("a prefix of target names that {why}")))?;
    Ok(Some(text))
}

pub(super) fn absolute<'de, D: Deserializer<'de>>(value: D) -> Result<PathBuf, D::Error> {
    let path = PathBuf::deserialize(value)?;
    if path.is_absolute() { Ok(path) } else { Err(de::Error::custom("want an absolute path")) }
}

pub(super) fn some_absolute<'de, D: Deserializer<'de>>(value: D) -> Result<Option<PathBuf>, D::Error> {
    absolute(value).map(Some)
}

/// Scheme, host and port, and nothing behind them: where a token goes must be plain to see.
pub(super) fn origin<'de, D: Deserializer<'de>>(value: D) -> Result<String, D::Error> {
    let url = String::deserialize(value)?;
    let place = url.strip_prefix("https://").or_else(|| url.strip_prefix("http://"));
    let place = place.map(|place| place.strip_suffix('/').unwrap_or(place));
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b':' | b'[' | b']');
    match place {
        Some(place) if !place.is_empty() && place.bytes().all(plain) => {
            Ok(url.strip_suffix('/').unwrap_or(&url).to_owned())
        }
        _ => Err(de::Error::custom("want https://HOST or https://HOST:PORT, without a path")),
    }
}

pub(super) fn some_origin<'de, D: Deserializer<'de>>(value: D) -> Result<Option<String>, D::Error> {
    origin(value).map(Some)
}

fn below_home<'de, D: Deserializer<'de>>(value: D) -> Result<Option<String>, D::Error> {
    let text = String::deserialize(value)?;
    let below =
        Path::new(&text).components().all(|part| matches!(part, Component::Normal(_) | Component::CurDir));
    if text.is_empty() || !below || text.contains('\0') {
        return Err(de::Error::custom("want a path below the home: relative, and without '..'"));
    }
    Ok(Some(text))
}

/// As [`directories`], and `/` is one: any.
fn roots<'de, D: Deserializer<'de>>(value: D) -> Result<Option<Vec<PathBuf>>, D::Error> {
    let roots = Vec::<PathBuf>::deserialize(value)?;
    let straight =
        |path: &PathBuf| path.is_absolute() && path.components().all(|part| part != Component::ParentDir);
    if roots.iter().all(straight) {
        Ok(Some(roots))
    } else {
        Err(de::Error::custom("want directories by absolute paths, without '..'"))
    }
}

/// Absolute, straight, and not the root: below that would be everywhere.
fn directories<'de, D: Deserializer<'de>>(value: D) -> Result<Option<Vec<PathBuf>>, D::Error> {
    let all = Vec::<PathBuf>::deserialize(value)?;
    let well = |path: &PathBuf| {
        let straight =
            path.components().all(|part| matches!(part, Component::Normal(_) | Component::RootDir));
        path.is_absolute() && straight && path != Path::new("/")
    };
    if !all.iter().all(well) {
        return Err(de::Error::custom("want directories by absolute paths, without '..', and not '/'"));
    }
    Ok(Some(all))
}

fn commands<'de, D: Deserializer<'de>>(value: D) -> Result<Option<Vec<String>>, D::Error> {
    let all = Vec::<String>::deserialize(value)?;
    // A command of blanks alone would have no first word, and one with a NUL can't come from a client.
    if all.iter().any(|command| command.trim().is_empty() || command.contains('\0')) {
        return Err(de::Error::custom("want commands as sshd has them behind 'Subsystem sftp'"));
    }
    Ok(Some(all))
}

fn deadline<'de, D: Deserializer<'de>>(value: D) -> Result<Option<u64>, D::Error> {
    between(value, 1, 30_000, "milliseconds")
}

fn grace<'de, D: Deserializer<'de>>(value: D) -> Result<Option<u64>, D::Error> {
    between(value, 0, 86_400, "seconds")
}

fn wake_seconds<'de, D: Deserializer<'de>>(value: D) -> Result<Option<u64>, D::Error> {
    between(value, 1, 3600, "seconds")
}

pub(super) fn command<'de, D: Deserializer<'de>>(value: D) -> Result<Vec<String>, D::Error> {
    let words = Vec::<String>::deserialize(value)?;
    let whole = words.first().is_some_and(|program| program.starts_with('/'))
        && words.iter().all(|word| !word.contains('\0'));
    if whole {
        Ok(words)
    } else {
        Err(de::Error::custom("want a program's absolute path, then its arguments"))
    }
}

pub(super) fn user<'de, D: Deserializer<'de>>(value: D) -> Result<String, D::Error> {
    let user = String::deserialize(value)?;
    let plain = user.bytes().all(|byte| byte.is_ascii_graphic() && !matches!(byte, b':' | b'/'));
    if plain && !user.is_empty() { Ok(user) } else { Err(de::Error::custom("want a user's name")) }
}

fn between<'de, D: Deserializer<'de>>(
    value: D,
    least: u64,
    most: u64,
    unit: &str,
) -> Result<Option<u64>, D::Error> {
    match i64::deserialize(value)?.try_into() {
        Ok(number) if (least..=most).contains(&number) => Ok(Some(number)),
        _ => Err(de::Error::custom(format!("want {least} to {most} {unit}"))),
    }
}

pub(super) fn parse(path: &Path, text: &str) -> Result<FileConfig, ConfigError> {
    toml::from_str(text).map_err(|error: toml::de::Error| {
        let before = text.get(..error.span().map_or(0, |span| span.start)).unwrap_or(text);
        let line_start = before.rfind('\n').map_or(0, |at| at + 1);
        ConfigError::Fault {
            path: path.to_owned(),
            line: before.matches('\n').count() + 1,
            column: before.get(line_start..).unwrap_or_default().chars().count() + 1,
            message: error.message().replace('\n', ", "),
        }
    })
}
