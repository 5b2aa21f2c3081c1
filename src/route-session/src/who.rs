//! Who came: what sshd says in the environment of a forced command, sshd(8) and `do_setup_env` in session.c.

use std::env;
use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::ffi::{OsStrExt, OsStringExt};

use vestibule::fingerprint::Fingerprint;
use vestibule::public_key::PublicKey;

use crate::Refused;

/// The file that `ExposeAuthInfo` makes has a line a method.
const MAX_AUTH_INFO: u64 = 256 << 10;

/// Somebody that sshd has let in.
pub(crate) struct Visitor {
    /// The name they logged in by.
    pub(crate) login: OsString,
    /// The key that sshd accepted.
    pub(crate) fingerprint: Fingerprint,
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
        let fingerprint = accepted_key(&info)
            .ok_or_else(|| Refused::setup(format_args!("'{}' names no public key", file.display())))?;
        Ok(Visitor {
            login,
            fingerprint,
            connection: env::var("SSH_CONNECTION").unwrap_or_default(),
            command: env::var_os("SSH_ORIGINAL_COMMAND"),
            pty: env::var_os("SSH_TTY").is_some(),
        })
    }

    /// The client's address.
    pub(crate) fn address(&self) -> Option<&str> {
        self.connection.split(' ').next().filter(|a| !a.is_empty())
    }

    /// The command's bytes.
    pub(crate) fn command_bytes(&self) -> Option<Vec<u8>> {
        self.command.as_ref().map(|c| c.as_bytes().to_vec())
    }
}

/// The first `publickey TYPE BASE64` of the methods that succeeded.
fn accepted_key(info: &[u8]) -> Option<Fingerprint> {
    info.split(|b| *b == b'\n').find_map(|line| {
        let (key, _) = PublicKey::read(line.strip_prefix(b"publickey ")?).ok()?;
        Some(key.fingerprint())
    })
}

/// A new number for a session: ten letters and digits, 50 random bits, easy to read out on the telephone.
///
/// # Errors
/// As read(2) of `/dev/urandom`.
pub(crate) fn session_number() -> io::Result<String> {
    const DIGITS: &[u8; 32] = b"abcdefghijkmnpqrstuvwxyz23456789";
    let mut random = [0_u8; 10];
    File::open("/dev/urandom")?.read_exact(&mut random)?;
    let digits = random.iter().filter_map(|b| DIGITS.get(usize::from(b & 31)).copied());
    Ok(String::from_utf8_lossy(&digits.collect::<Vec<u8>>()).into_owned())
}

/// An environment entry's bytes from bytes.
pub(crate) fn os(bytes: Vec<u8>) -> OsString {
    OsString::from_vec(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAABAgMEBQYHCAkKCwwNDg8QERITFBUWFxgZGhscHR4f";

    #[test]
    fn the_key_is_the_one_that_sshd_names() {
        let wanted = PublicKey::read(KEY.as_bytes()).unwrap().0.fingerprint();
        assert_eq!(accepted_key(format!("password\npublickey {KEY}\n").as_bytes()), Some(wanted));
        for info in [
            "",
            "password\n",
            "publickey\n",
            "publickey ssh-ed25519 !!!\n",
            "keyboard-interactive publickey x",
        ] {
            assert_eq!(accepted_key(info.as_bytes()), None, "{info}");
        }
    }

    #[test]
    fn session_numbers_differ() {
        let (one, other) = (session_number().unwrap(), session_number().unwrap());
        assert!(one.len() == 10 && one != other, "{one} {other}");
    }
}
