//! The register of connections that `pam_vestibule` let in: one file each in `/run/vestibule/connections`, which is
//! root's, locked while the connection lives.
//!
//! It binds what sshd authenticated to what may be entered: the uid that asks for a session is that of all login names,
//! but the processes above it are not its own to choose. A session is of the connection whose sshd is above it.
//!
//! What a program must believe stands in the file's name, `PID.START.TARGET.ACCOUNT` (sshd's process, when it started,
//! the target's number, the account or `-`), so that nothing is parsed for that. What it holds is
//! for people, but for why a target could not be started, which the session says.

use std::fs;
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use vestibule::names::login::AccountName;
use vestibule::paths;
use vestibule::target::TargetId;
use vestibule_sys::procfs::ProcDir;

use crate::register::Registered;
use crate::wake::Failed;

/// sshd's process is one or two above; nobody's shell stands between.
const MAX_ABOVE: usize = 8;

/// What the register says of a connection; `vestibulectl sessions` reads it.
#[derive(Serialize)]
pub(crate) struct Entry<'a> {
    pub(crate) id: &'a str,
    pub(crate) target: &'a str,
    pub(crate) account: Option<&'a str>,
    pub(crate) fingerprint: Option<String>,
    pub(crate) client: Option<&'a str>,
    /// Where its forwards end.
    pub(crate) network: &'a str,
    /// Its target could not be started.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) not_woken: Option<&'a Failed>,
    /// sshd's privileged process.
    pub(crate) pid: i32,
    /// Seconds since 1970.
    pub(crate) started: u64,
}

/// Enters a connection of sshd's process `sshd`.
///
/// # Errors
/// As open(2), write(2), and mkdir(2) where the directory was not there.
pub(crate) fn enter(
    sshd: &ProcDir,
    target: TargetId,
    account: Option<&AccountName>,
    entry: &Entry<'_>,
) -> io::Result<Registered> {
    match fs::DirBuilder::new().mode(0o700).create(paths::CONNECTIONS_DIR) {
        Err(e) if e.kind() != io::ErrorKind::AlreadyExists => return Err(e),
        _ => {}
    }
    Registered::new(path(sshd, sshd.start_time()?, target, account), 0o600, entry)
}

fn path(process: &ProcDir, started: u64, target: TargetId, account: Option<&AccountName>) -> PathBuf {
    let account = account.map_or("-", AccountName::as_str);
    Path::new(paths::CONNECTIONS_DIR).join(format!("{}.{started}.{}.{account}", process.pid(), target.0))
}

/// What a session has to know of the connection that it belongs to.
#[derive(Deserialize, Default)]
pub(crate) struct Above {
    /// Its target could not be started.
    pub(crate) not_woken: Option<Failed>,
}

/// The connection that this process is below: of an sshd that `pam_vestibule` let in to this target as this account.
/// `None` if there is none such above.
///
/// # Errors
/// As read(2) of `/proc`.
pub(crate) fn above(target: TargetId, account: Option<&AccountName>) -> io::Result<Option<Above>> {
    let above = processes_above()?;
    let paths = above.iter().map(|(process, started)| path(process, *started, target, account));
    let found = paths.filter_map(|path| fs::read(path).ok()).next();
    // A process above that ended meanwhile, and another one with its number, would show here.
    let numbers = |above: &[(ProcDir, u64)]| above.iter().map(|(p, s)| (p.pid(), *s)).collect::<Vec<_>>();
    let still = numbers(&above) == numbers(&processes_above()?);
    Ok(found.filter(|_| still).map(|entry| serde_json::from_slice(&entry).unwrap_or_default()))
}

/// The processes above this one, and when each started.
fn processes_above() -> io::Result<Vec<(ProcDir, u64)>> {
    let mut above = Vec::new();
    let mut parent = ProcDir::own()?.parent()?;
    while parent > 1 && above.len() < MAX_ABOVE {
        let process = ProcDir::open(parent)?;
        parent = process.parent()?;
        let started = process.start_time()?;
        above.push((process, started));
    }
    Ok(above)
}
