//! Who came: what sshd says in the environment of a forced command, sshd(8) and `do_setup_env` in session.c.

use std::env;
use std::ffi::OsString;
use std::fs::File;
use std::io::Read;
use std::os::unix::ffi::{OsStrExt, OsStringExt};

use vestibule::proof::Credential;
use vestibule::visit;

use crate::Refused;

/// The file that `ExposeAuthInfo` makes has a line a method.
const MAX_AUTH_INFO: u64 = 256 << 10;

/// Somebody that sshd has let in.
pub(crate) struct Visitor {
    /// The name they logged in by.
    pub(crate) login: OsString,
    /// The key or certificate that sshd accepted.
    pub(crate) shown: Credential,
    /// `SSH_CONNECTION`: client's address and port, the bastion's address and port.
    pub(crate) connection: String,
    /// What they want run; a login shell without it.
    pub(crate) command: Option<OsString>,
    /// They have a terminal.
    pub(crate) pty: bool,
}

impl Visitor {
    /// Reads the environment.
    pub(crate) fn from_environment() -> Result<Self, Refused> {
        let login = env::var_os("LOGNAME").filter(|l| !l.is_empty());
        let login = login.ok_or_else(|| Refused::setup("no LOGNAME: not run by sshd"))?;
        let file = env::var_os("SSH_USER_AUTH").ok_or_else(|| {
            Refused::setup("no SSH_USER_AUTH: sshd wants 'ExposeAuthInfo yes' for these logins")
        })?;
        let mut info = Vec::new();
        File::open(&file)
            .and_then(|f| f.take(MAX_AUTH_INFO).read_to_end(&mut info))
            .map_err(|e| Refused::setup(format_args!("'{}': {e}", file.display())))?;
        let shown = visit::accepted(&info).ok_or_else(|| {
            Refused::setup(format_args!("'{}' names no public key and no certificate", file.display()))
        })?;
        Ok(Visitor {
            login,
            shown,
            connection: env::var("SSH_CONNECTION").unwrap_or_default(),
            command: env::var_os("SSH_ORIGINAL_COMMAND"),
            pty: env::var_os("SSH_TTY").is_some(),
        })
    }

    /// The client's address.
    pub(crate) fn address(&self) -> Option<&str> {
        visit::client_address(&self.connection)
    }

    /// The command's bytes.
    pub(crate) fn command_bytes(&self) -> Option<Vec<u8>> {
        self.command.as_ref().map(|c| c.as_bytes().to_vec())
    }
}

/// Whether they seem to want SFTP: sshd gives what stands behind `Subsystem sftp` for the command. Nothing but how they are
/// told of a refusal depends on it.
pub(crate) fn wants_sftp() -> bool {
    let no_terminal = env::var_os("SSH_TTY").is_none();
    env::var_os("SSH_ORIGINAL_COMMAND").filter(|_| no_terminal).is_some_and(|command| {
        let program = command.as_bytes().split(|byte| *byte == b' ').next().unwrap_or_default();
        program == b"internal-sftp" || program.ends_with(b"/sftp-server")
    })
}

/// An environment entry's bytes from bytes.
pub(crate) fn os(bytes: Vec<u8>) -> OsString {
    OsString::from_vec(bytes)
}
