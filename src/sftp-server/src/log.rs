//! What is said beside the protocol. There is no syslog in a container: lines go to standard error, and only if `-e` asks
//! for them; what ends the session is said always.

use std::fmt;
use std::io::Write;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// How much is said.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Level {
    Quiet,
    Error,
    /// Requests that change or open something, and answers that are no success.
    Info,
    /// All requests.
    Debug,
}

impl Level {
    /// The level of one of OpenSSH's names (sshd_config(5), `LogLevel`).
    pub(crate) fn named(name: &str) -> Option<Level> {
        Some(match name.to_ascii_uppercase().as_str() {
            "QUIET" => Level::Quiet,
            "FATAL" | "ERROR" => Level::Error,
            "INFO" => Level::Info,
            "VERBOSE" | "DEBUG" | "DEBUG1" | "DEBUG2" | "DEBUG3" => Level::Debug,
            _ => return None,
        })
    }
}

/// Where lines go.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Log(pub(crate) Level);

impl Log {
    pub(crate) fn line(self, level: Level, what: fmt::Arguments<'_>) {
        if level <= self.0 {
            say(what);
        }
    }
}

/// Writes a line to standard error, where nobody may be reading.
pub(crate) fn say(what: fmt::Arguments<'_>) {
    let _ = std::io::stderr().lock().write_all(format!("sftp-server: {what}\n").as_bytes());
}

/// As much of an untrusted name as a line of the log has room for.
const SHOWN: usize = 256;

/// An untrusted name, for a line of the log.
pub(crate) fn shown(path: &Path) -> impl fmt::Display {
    let bytes = path.as_os_str().as_bytes();
    bytes.get(..SHOWN).unwrap_or(bytes).escape_ascii().to_string()
}
