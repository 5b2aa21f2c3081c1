//! `vestibulectl sessions`: what `enter` wrote of the sessions that live.
//!
//! A session's file is locked while the session lives; one that is not was left behind by a session that was killed.

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context, anyhow};
use nix::libc;
use serde::{Deserialize, Serialize};
use vestibule::paths;

use crate::output::{Output, Shown};
use crate::when;

/// Bytes of a session's file that are read.
const MAX_BYTES: u64 = 64 * 1024;

/// One file of the register. Fields that a newer `enter` adds are passed over.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Session {
    pub(crate) id: String,
    pub(crate) target: String,
    pub(crate) account: Option<String>,
    pub(crate) fingerprint: Option<String>,
    client: Option<String>,
    user: Option<String>,
    pid: i32,
    /// Seconds since 1970.
    started: i64,
}

pub(crate) fn run(json: bool) -> anyhow::Result<ExitCode> {
    let mut sessions = all()?;
    sessions.sort_by(|a, b| (a.started, &a.id).cmp(&(b.started, &b.id)));
    let mut out = Output::new();
    if !json {
        let _ = out.line(format_args!(
            "{:<20} {:<24} {:<24} {:<10} {:<8} {:<22} CLIENT",
            "SESSION", "TARGET", "ACCOUNT", "USER", "PID", "SINCE"
        ));
    }
    for session in &sessions {
        let shown = |text: &Option<String>| Shown(text.as_deref().unwrap_or_default().as_bytes()).to_string();
        let written = if json {
            out.element(session)
        } else {
            out.line(format_args!(
                "{:<20} {:<24} {:<24} {:<10} {:<8} {:<22} {}",
                Shown(session.id.as_bytes()),
                Shown(session.target.as_bytes()),
                shown(&session.account),
                shown(&session.user),
                session.pid,
                when::show(session.started),
                shown(&session.client)
            ))
        };
        if written.is_break() {
            break;
        }
    }
    if json {
        out.end_array();
    }
    out.finish()?;
    Ok(ExitCode::SUCCESS)
}

/// All that live, and connections that only forward.
pub(crate) fn all() -> anyhow::Result<Vec<Session>> {
    let mut sessions = read_all(Path::new(paths::SESSIONS_DIR))?;
    sessions.extend(only_forwarding(&sessions));
    Ok(sessions)
}

/// Connections that `pam_vestibule` let in and that have no session: they only forward.
fn only_forwarding(sessions: &[Session]) -> Vec<Session> {
    let directory = Path::new(paths::CONNECTIONS_DIR);
    // Only root may look; and there is no such directory where nothing is moved.
    let mut connections =
        if directory.exists() { read_all(directory).unwrap_or_default() } else { Vec::new() };
    connections.retain(|connection| !sessions.iter().any(|session| session.client == connection.client));
    connections
}

fn read_all(directory: &Path) -> anyhow::Result<Vec<Session>> {
    let entries = match std::fs::read_dir(directory) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Err(anyhow!("'{}' does not exist; run 'vestibulectl init'", directory.display()));
        }
        Err(error) => {
            return Err(error).with_context(|| format!("can't list sessions in '{}'", directory.display()));
        }
    };
    let mut sessions = Vec::new();
    for entry in entries {
        let path = entry.with_context(|| format!("can't list sessions in '{}'", directory.display()))?.path();
        // A session that ends meanwhile is none.
        match read(&path) {
            Ok(session) => sessions.extend(session),
            // The register belongs to the account of all logins: one bad file must not hide the others.
            Err(error) => crate::output::remark(format_args!("session file '{}': {error:#}", path.display())),
        }
    }
    Ok(sessions)
}

fn read(path: &Path) -> anyhow::Result<Option<Session>> {
    let file = File::options().read(true).custom_flags(libc::O_NONBLOCK | libc::O_NOFOLLOW).open(path);
    let file = match file {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    match file.try_lock_shared() {
        Ok(()) => return Ok(None),
        Err(std::fs::TryLockError::WouldBlock) => {}
        Err(std::fs::TryLockError::Error(error)) => return Err(error.into()),
    }
    let mut bytes = Vec::new();
    file.take(MAX_BYTES).read_to_end(&mut bytes)?;
    if bytes.is_empty() {
        // Locked, and not yet written.
        return Ok(None);
    }
    Ok(Some(serde_json::from_slice(&bytes)?))
}
