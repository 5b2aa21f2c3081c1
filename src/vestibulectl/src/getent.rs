//! Users and groups of this host, asked of `getent`: this program is static and can't ask NSS itself.

use std::io;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, bail};

const GETENT: &str = "/usr/bin/getent";

/// A line of `getent`, in its fields; nothing when there is no such entry.
fn ask(args: &[&str]) -> anyhow::Result<Option<Vec<String>>> {
    let asked = Command::new(GETENT).args(args).env_clear().stdin(Stdio::null()).output();
    let output = asked.with_context(|| format!("can't execute '{GETENT}'"))?;
    match output.status.code() {
        Some(0) => {
            let text = String::from_utf8_lossy(&output.stdout);
            Ok(text.lines().next().map(|line| line.split(':').map(str::to_owned).collect()))
        }
        Some(2) => Ok(None),
        _ => bail!("'{GETENT} {}' failed: {}", args.join(" "), output.status),
    }
}

/// Ids of a user of the host's files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct User {
    pub(crate) uid: u32,
    pub(crate) gid: u32,
}

/// A user that is in the host's own files (not one of ours, which NSS would find too).
pub(crate) fn user(name: &str) -> anyhow::Result<Option<User>> {
    let Some(fields) = ask(&["-s", "files", "passwd", name])? else { return Ok(None) };
    let number = |at: usize| fields.get(at).and_then(|field| field.parse().ok());
    match (number(2), number(3)) {
        (Some(uid), Some(gid)) => Ok(Some(User { uid, gid })),
        _ => bail!("user '{name}': '{GETENT}' gave no ids"),
    }
}

/// The uid of a user as the whole line of nsswitch.conf knows it: what sshd is told.
pub(crate) fn any_user(name: &str) -> anyhow::Result<Option<u32>> {
    Ok(ask(&["passwd", name])?.and_then(|fields| fields.get(2)?.parse().ok()))
}

/// The shell of a user of the host's own files.
pub(crate) fn shell(name: &str) -> anyhow::Result<Option<String>> {
    Ok(ask(&["-s", "files", "passwd", name])?.and_then(|fields| fields.into_iter().nth(6)))
}

/// The number and the members of a group of the host's own files.
pub(crate) fn group(name: &str) -> anyhow::Result<Option<(u32, Vec<String>)>> {
    let Some(fields) = ask(&["-s", "files", "group", name])? else { return Ok(None) };
    let members = fields.get(3).map(|list| list.split(',').map(str::to_owned).collect()).unwrap_or_default();
    match fields.get(2).and_then(|field| field.parse().ok()) {
        Some(gid) => Ok(Some((gid, members))),
        None => bail!("group '{name}': '{GETENT}' gave no id"),
    }
}

/// Refuses a login name that is a user of this host: sshd would ask that user's own keys, and vestibule never.
pub(crate) fn refuse_host_user(what: &str, name: &str) -> anyhow::Result<()> {
    match Path::new(GETENT).try_exists() {
        Ok(true) => {}
        Ok(false) | Err(_) => return Ok(()),
    }
    // A name that starts with a dash can't be one (see the grammar), so this is no option of getent.
    if user(name)?.is_some() {
        bail!(
            "{what} '{name}': is a user of this host, so the login name '{name}' would never lead to vestibule; choose another name"
        );
    }
    Ok(())
}

/// Runs a program that says on standard error why it fails.
pub(crate) fn run(program: &str, args: &[&str]) -> anyhow::Result<()> {
    let output = Command::new(program).args(args).stdin(Stdio::null()).output();
    let output = match output {
        Err(error) if error.kind() == io::ErrorKind::NotFound => bail!("'{program}' is not installed"),
        other => other.with_context(|| format!("can't execute '{program}'"))?,
    };
    if !output.status.success() {
        let why = String::from_utf8_lossy(&output.stderr);
        bail!("'{program} {}' failed: {}", args.join(" "), why.trim().replace('\n', " "));
    }
    Ok(())
}
