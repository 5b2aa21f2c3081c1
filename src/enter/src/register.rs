//! The register of living sessions: one file each in `/run/vestibule/sessions`, locked while the session lives.

use std::fs::{self, File};
use std::io::{self, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use nix::fcntl::{Flock, FlockArg};
use serde::Serialize;
use vestibule::paths;
use vestibule::used::{self, Used};

use crate::args::Session;

/// What the register says of a session; `vestibulectl sessions` reads it.
#[derive(Serialize)]
pub(crate) struct Entry<'a> {
    pub(crate) id: &'a str,
    pub(crate) target: &'a str,
    pub(crate) account: Option<&'a str>,
    pub(crate) fingerprint: Option<String>,
    /// `SSH_CONNECTION`: client's address and port, the bastion's address and port.
    pub(crate) client: Option<String>,
    /// Who one is inside.
    pub(crate) user: &'a str,
    /// The session's process, or the relay's.
    pub(crate) pid: i32,
    /// Seconds since 1970.
    pub(crate) started: u64,
}

/// Enters a session.
///
/// # Errors
/// As open(2) and write(2).
pub(crate) fn enter(entry: &Entry<'_>) -> io::Result<Registered> {
    Registered::new(Path::new(paths::SESSIONS_DIR).join(entry.id), 0o640, entry)
}

/// Notes for the target's hub that it is in use, on a terminal or without. What fails is worth no session.
pub(crate) fn use_of(session: &Session) -> Option<Used> {
    let terminal = if session.pty { used::terminal_of(io::stdin().as_fd()) } else { None };
    used::begin(session.target, terminal).ok()
}

/// A place in a register, given up when this is dropped.
pub(crate) struct Registered {
    path: PathBuf,
    _lock: Flock<File>,
}

impl Registered {
    /// Makes the file `path`, locks it and writes `entry` into it.
    ///
    /// # Errors
    /// As open(2) and write(2).
    pub(crate) fn new(path: PathBuf, mode: u32, entry: &impl Serialize) -> io::Result<Self> {
        let file = File::options().write(true).create_new(true).mode(mode).open(&path)?;
        let mut lock =
            Flock::lock(file, FlockArg::LockExclusiveNonblock).map_err(|(_, e)| io::Error::from(e))?;
        let written =
            serde_json::to_vec(entry).map_err(io::Error::from).and_then(|json| lock.write_all(&json));
        if let Err(e) = written {
            let _ = fs::remove_file(&path);
            return Err(e);
        }
        Ok(Registered { path, _lock: lock })
    }
}

impl Drop for Registered {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.path);
    }
}
