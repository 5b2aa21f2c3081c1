//! `vestibulectl proxy-key`: the keys by which the bastion logs in to targets on other machines.
//!
//! A key is `NAME` and `NAME.pub` in [`paths::PROXY_KEYS`]. They are root's: `enter` reads the private one before it gives
//! up its privileges, and shows it to that session's client alone. While a key is rotated the one before it is `NAME.old`,
//! and the second hop offers both.

use std::fs::{self, Permissions};
use std::io::ErrorKind;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};

use anyhow::{Context, bail};
use clap::Subcommand;
use nix::unistd::geteuid;
use serde::Serialize;
use vestibule::paths;
use vestibule::public_key::PublicKey;
use vestibule::target::{Forward, Policy};

use crate::complete::targets;
use crate::grants::find_target;
use crate::output::Output;
use crate::place::Place;

const KEYGEN: &str = "/usr/bin/ssh-keygen";

#[derive(Debug, Subcommand)]
pub(crate) enum ProxyKeyCommand {
    /// Make a key
    Create {
        /// The key; a target's driver names it, 'bastion' unless it says otherwise
        #[arg(default_value = DEFAULT)]
        name: String,
    },
    /// Show a key's fingerprint, and the line for the authorized_keys of the other side
    Show {
        /// The key
        #[arg(default_value = DEFAULT)]
        name: String,
        /// Let the line allow what this target's policy grants, and no more
        #[arg(long, add = targets())]
        target: Option<String>,
        /// Let the line hold only for a bastion at these addresses, as in sshd(8)
        #[arg(long, value_name = "PATTERNS")]
        from: Option<String>,
        /// Print the line alone
        #[arg(long, conflicts_with = "json")]
        line: bool,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Make a new key in a key's place; the old one is offered too until --finish
    Rotate {
        /// The key
        #[arg(default_value = DEFAULT)]
        name: String,
        /// Remove the old key
        #[arg(long)]
        finish: bool,
    },
    /// List the keys
    List {
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Remove a key
    Rm {
        /// The key
        name: String,
    },
}

const DEFAULT: &str = "bastion";

#[derive(Debug, Serialize)]
struct Shown {
    name: String,
    #[serde(rename = "type")]
    kind: String,
    fingerprint: String,
    /// While the key is rotated.
    #[serde(skip_serializing_if = "Option::is_none")]
    old: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    lines: Vec<String>,
}

pub(crate) fn run(place: Place, command: ProxyKeyCommand) -> anyhow::Result<ExitCode> {
    match command {
        ProxyKeyCommand::Create { name } => create(&name),
        ProxyKeyCommand::Show { name, target, from, line, json } => {
            show(place, &name, target.as_deref(), from.as_deref(), (line, json))
        }
        ProxyKeyCommand::Rotate { name, finish: false } => rotate(&name),
        ProxyKeyCommand::Rotate { name, finish: true } => finish(&name),
        ProxyKeyCommand::List { json } => list(json),
        ProxyKeyCommand::Rm { name } => remove(&name),
    }
}

fn create(name: &str) -> anyhow::Result<ExitCode> {
    let key = path_of(name)?;
    if key.symlink_metadata().is_ok() {
        bail!("proxy key '{name}' exists already; 'proxy-key rotate {name}' makes another one in its place");
    }
    let new = generate(name)?;
    put(&new, &key)?;
    tell(format_args!("made proxy key '{name}'"))?;
    show_lines(name)
}

fn rotate(name: &str) -> anyhow::Result<ExitCode> {
    let key = existing(name)?;
    let old = beside(&key, ".old");
    if old.symlink_metadata().is_ok() {
        bail!("proxy key '{name}' is being rotated already; 'proxy-key rotate {name} --finish' ends that");
    }
    let new = generate(name)?;
    // In this order: at every moment there is a key, and the one that is accepted everywhere is among those offered.
    for suffix in ["", ".pub"] {
        fs::hard_link(beside(&key, suffix), beside(&old, suffix)).context("can't keep the old key")?;
    }
    let certificate = beside(&key, "-cert.pub");
    if certificate.symlink_metadata().is_ok() {
        fs::rename(&certificate, beside(&old, "-cert.pub")).context("can't keep the old certificate")?;
    }
    put(&new, &key)?;
    tell(format_args!(
        "made a new proxy key '{name}'; the old one is offered too, until 'proxy-key rotate {name} --finish'"
    ))?;
    show_lines(name)
}

fn finish(name: &str) -> anyhow::Result<ExitCode> {
    let old = beside(&existing(name)?, ".old");
    if old.symlink_metadata().is_err() {
        bail!("proxy key '{name}' is not being rotated");
    }
    unlink(&old)?;
    tell(format_args!("removed the old proxy key '{name}'"))?;
    Ok(ExitCode::SUCCESS)
}

fn remove(name: &str) -> anyhow::Result<ExitCode> {
    let key = existing(name)?;
    unlink(&key)?;
    unlink(&beside(&key, ".old"))?;
    tell(format_args!("removed proxy key '{name}'"))?;
    Ok(ExitCode::SUCCESS)
}

fn list(json: bool) -> anyhow::Result<ExitCode> {
    let entries = fs::read_dir(paths::PROXY_KEYS);
    let entries = entries.with_context(|| format!("can't list '{}'", paths::PROXY_KEYS))?;
    let mut names: Vec<String> = entries
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.strip_suffix(".pub").map(str::to_owned))
        .filter(|name| is_name(name))
        .collect();
    names.sort();
    let mut out = Output::new();
    for name in names {
        let key = look(&name)?;
        if json {
            let _ = out.element(&key);
        } else {
            let old = key.old.map(|old| format!("  old {old}")).unwrap_or_default();
            let _ = out.line(format_args!("{}  {} {}{old}", key.name, key.kind, key.fingerprint));
        }
    }
    if json {
        out.end_array();
    }
    out.finish()?;
    Ok(ExitCode::SUCCESS)
}

fn show(
    place: Place,
    name: &str,
    target: Option<&str>,
    from: Option<&str>,
    (line, json): (bool, bool),
) -> anyhow::Result<ExitCode> {
    existing(name)?;
    let mut key = look(name)?;
    let policy = match target {
        Some(target) => {
            let ready = place.ready()?;
            let store = ready.read()?;
            find_target(&ready, &store, target)?.policy
        }
        None => Policy { forward: Forward::None, ..Policy::default() },
    };
    let options = options(&policy, from)?;
    key.lines = key.lines.iter().map(|key| format!("{options} {key}")).collect();
    let mut out = Output::new();
    if json {
        out.json(&key);
    } else {
        if !line {
            let _ = out.line(format_args!("key        {}", key.name));
            let _ = out.line(format_args!("new        {} {}", key.kind, key.fingerprint));
            if let Some(old) = &key.old {
                let _ = out.line(format_args!("old        {old}"));
            }
            let _ = out.line(format_args!("authorized_keys on the other side:"));
        }
        for line in &key.lines {
            let _ = out.line(format_args!("{line}"));
        }
    }
    out.finish()?;
    Ok(ExitCode::SUCCESS)
}

/// What the other side has to allow: nothing that the policy does not.
fn options(policy: &Policy, from: Option<&str>) -> anyhow::Result<String> {
    let mut options = vec!["restrict".to_owned()];
    if let Some(from) = from {
        let plain = |byte: u8| byte.is_ascii_graphic() && !matches!(byte, b'"' | b'\\');
        if from.is_empty() || !from.bytes().all(plain) {
            bail!("--from '{}': want patterns or networks, with commas between them", from.escape_debug());
        }
        options.push(format!("from=\"{from}\""));
    }
    for (granted, word) in [
        (policy.pty, "pty"),
        (policy.agent_forwarding, "agent-forwarding"),
        (policy.forward != Forward::None, "port-forwarding"),
    ] {
        if granted {
            options.push(word.to_owned());
        }
    }
    Ok(options.join(","))
}

fn show_lines(name: &str) -> anyhow::Result<ExitCode> {
    let key = look(name)?;
    let mut out = Output::new();
    let _ = out.line(format_args!("fingerprint {}", key.fingerprint));
    if let Some(line) = key.lines.first() {
        let _ = out.line(format_args!(
            "on the other side, 'vestibulectl proxy-key show {name}' says it for a target's policy:"
        ));
        let _ = out.line(format_args!("restrict,pty {line}"));
    }
    out.finish()?;
    Ok(ExitCode::SUCCESS)
}

/// The key as its public half says it; the lines are without options.
fn look(name: &str) -> anyhow::Result<Shown> {
    let key = path_of(name)?;
    let (new, line) = public(&beside(&key, ".pub"))?;
    let mut lines = vec![line];
    let old = beside(&key, ".old.pub");
    let old = match old.symlink_metadata() {
        Ok(_) => {
            let (old, line) = public(&old)?;
            lines.push(line);
            Some(format!("{} {}", old.key_type(), old.fingerprint()))
        }
        Err(_) => None,
    };
    let (kind, fingerprint) = (new.key_type().to_owned(), new.fingerprint().to_string());
    Ok(Shown { name: name.to_owned(), kind, fingerprint, old, lines })
}

fn public(path: &Path) -> anyhow::Result<(PublicKey, String)> {
    let about = || format!("'{}'", path.display());
    let text = fs::read(path).with_context(about)?;
    let (key, _) = PublicKey::read(text.trim_ascii()).with_context(about)?;
    let name = path.file_stem().and_then(|stem| stem.to_str()).unwrap_or_default();
    let line = format!("{key} vestibule-{}", name.trim_end_matches(".old"));
    Ok((key, line))
}

/// `NAME-cert.pub` is the certificate of key NAME.
fn is_name(name: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
    (1..=64).contains(&name.len())
        && name.bytes().all(plain)
        && !name.starts_with('-')
        && !name.ends_with("-cert")
}

fn path_of(name: &str) -> anyhow::Result<PathBuf> {
    if !is_name(name) {
        bail!(
            "proxy key '{}': want letters, digits, '-' and '_', and no '-cert' at its end",
            name.escape_debug()
        );
    }
    let directory = Path::new(paths::PROXY_KEYS);
    let about = fs::symlink_metadata(directory)
        .with_context(|| format!("'{}': run 'vestibulectl init'", directory.display()))?;
    if !about.is_dir() || about.uid() != 0 || about.mode() & 0o022 != 0 {
        bail!("'{}' must be a directory of root's that nobody else may write", directory.display());
    }
    Ok(directory.join(name))
}

fn existing(name: &str) -> anyhow::Result<PathBuf> {
    let key = path_of(name)?;
    match key.symlink_metadata() {
        Ok(_) => Ok(key),
        Err(e) if e.kind() == ErrorKind::NotFound => {
            bail!("no proxy key '{name}'; 'vestibulectl proxy-key create {name}' makes it")
        }
        Err(e) => Err(e).with_context(|| format!("'{}'", key.display())),
    }
}

fn beside(key: &Path, suffix: &str) -> PathBuf {
    let mut path = key.as_os_str().to_owned();
    path.push(suffix);
    path.into()
}

/// A new key, under a name that nobody looks for.
fn generate(name: &str) -> anyhow::Result<PathBuf> {
    if !geteuid().is_root() {
        bail!("only root can make proxy keys");
    }
    let new = Path::new(paths::PROXY_KEYS).join(format!(".{name}.new"));
    unlink(&new)?;
    let mut keygen = Command::new(KEYGEN);
    keygen
        .env_clear()
        .args(["-q", "-t", "ed25519", "-N", "", "-C", &format!("vestibule-{name}"), "-f"])
        .arg(&new);
    let made = keygen.stdin(Stdio::null()).stdout(Stdio::null()).output();
    let made = made.with_context(|| format!("can't execute '{KEYGEN}'"))?;
    if !made.status.success() {
        bail!("'{KEYGEN}' failed: {}", String::from_utf8_lossy(&made.stderr).trim().escape_debug());
    }
    fs::set_permissions(&new, Permissions::from_mode(0o400)).context("the new key")?;
    fs::set_permissions(beside(&new, ".pub"), Permissions::from_mode(0o444)).context("the new key")?;
    Ok(new)
}

/// Moves a new key to its place, its public half first: who sees the private one finds both.
fn put(new: &Path, key: &Path) -> anyhow::Result<()> {
    for suffix in [".pub", ""] {
        let to = beside(key, suffix);
        fs::rename(beside(new, suffix), &to).with_context(|| format!("can't write '{}'", to.display()))?;
    }
    Ok(())
}

fn unlink(key: &Path) -> anyhow::Result<()> {
    for suffix in ["", ".pub", "-cert.pub"] {
        let path = beside(key, suffix);
        match fs::remove_file(&path) {
            Err(e) if e.kind() != ErrorKind::NotFound => {
                return Err(e).with_context(|| format!("can't remove '{}'", path.display()));
            }
            _ => {}
        }
    }
    Ok(())
}

fn tell(line: std::fmt::Arguments<'_>) -> anyhow::Result<()> {
    let mut out = Output::new();
    let _ = out.line(line);
    out.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_other_side_allows_what_the_policy_grants() {
        let policy = |json: &str| serde_json::from_str::<Policy>(json).unwrap();
        for (json, from, wanted) in [
            (r#"{"forward":"none"}"#, None, "restrict,pty"),
            (r#"{"pty":false,"forward":"none"}"#, None, "restrict"),
            (
                r#"{"agent_forwarding":true,"forward":"none"}"#,
                Some("10.0.0.0/8,192.0.2.1"),
                r#"restrict,from="10.0.0.0/8,192.0.2.1",pty,agent-forwarding"#,
            ),
        ] {
            assert_eq!(options(&policy(json), from).unwrap(), wanted, "{json}");
        }
        for from in ["", "a b", "a\"b", "a\\"] {
            assert!(options(&Policy::default(), Some(from)).is_err(), "{from:?}");
        }
    }

    #[test]
    fn a_name_is_no_path() {
        for name in ["", ".", "..", "a/b", "-k", "a.old", "a b", "a-cert", &"x".repeat(65)] {
            assert!(!is_name(name), "{name:?}");
        }
        assert!(is_name("bastion") && is_name("lab_2-x"));
    }
}
