//! A login that sshd has let in: which key or certificate it was, what number the session gets, and what `keys-lookup` decides.
//!
//! `route-session` asks for the forced command, `enter --network` before the first forward. Whoever asks has no
//! privileges: the key's line is the client's, and the answer is another program's.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Read};
use std::net::{IpAddr, SocketAddr};
use std::os::fd::AsFd;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use vestibule_sys::process::poll_readable;

use crate::certificate::Certificate;
use crate::decision::{self, Decision};
use crate::paths;
use crate::proof::Credential;
use crate::public_key::{PublicKey, PublicKeyError};

/// `keys-lookup` has a deadline of its own; this is for when it is broken.
const PATIENCE: Duration = Duration::from_secs(10);
/// For an answer from name servers.
const RESOLVE_WITHIN: Duration = Duration::from_secs(12);
/// A decision is some hundred bytes and a command.
const MAX_DECISION: usize = 1 << 20;

/// The key, or the certificate, of the first `publickey TYPE BASE64` among the methods that succeeded: what sshd writes to
/// the file of `ExposeAuthInfo`, and gives PAM as `SSH_AUTH_INFO_0` (`auth2_update_session_info` in auth2.c).
#[must_use]
pub fn accepted(info: &[u8]) -> Option<Credential> {
    info.split(|b| *b == b'\n').find_map(|line| {
        let shown = line.strip_prefix(b"publickey ")?;
        match PublicKey::read(shown) {
            Ok((key, _)) => Some(Credential::Key(key.fingerprint())),
            Err(PublicKeyError::Certificate) => {
                let base64 = shown.split(|b| *b == b' ').nth(1)?;
                Some(Credential::Certificate(Box::new(Certificate::read(base64).ok()?)))
            }
            Err(_) => None,
        }
    })
}

/// The client's address, of `SSH_CONNECTION` or alone.
#[must_use]
pub fn client_address(connection: &str) -> Option<&str> {
    connection.split(' ').next().filter(|a| !a.is_empty())
}

/// A new number for a session: ten letters and digits, 50 random bits, easy to read out on the telephone.
///
/// # Errors
/// As read(2) of `/dev/urandom`.
pub fn session_number() -> io::Result<String> {
    const DIGITS: &[u8; 32] = b"abcdefghijkmnpqrstuvwxyz23456789";
    let mut random = [0_u8; 10];
    File::open("/dev/urandom")?.read_exact(&mut random)?;
    let digits = random.iter().filter_map(|b| DIGITS.get(usize::from(b & 31)).copied());
    Ok(String::from_utf8_lossy(&digits.collect::<Vec<u8>>()).into_owned())
}

/// Asks `keys-lookup` whether who showed this may enter (still), and where that leads.
///
/// # Errors
/// Why there is no answer, for the log.
pub fn ask(login: &OsStr, shown: &Credential, client: Option<&str>) -> Result<Decision, String> {
    let program = paths::KEYS_LOOKUP;
    let mut command = Command::new(program);
    command.env_clear().stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
    if let Some(address) = client {
        command.args(["--client", address]);
    }
    command.arg("--decide").arg("--").arg(login).arg(shown.to_argument());
    let answer = output_of(command, PATIENCE).map_err(|e| format!("'{program}': {e}"))?;
    let decision: Decision =
        serde_json::from_slice(&answer).map_err(|e| format!("'{program}': its answer: {e}"))?;
    if decision.version == decision::VERSION {
        Ok(decision)
    } else {
        Err(format!("keys-lookup is of another version ({})", decision.version))
    }
}

/// Addresses of a host, given by a name or an address. Names are looked up by getent(1): programs are static, and the C
/// library's resolver is not.
///
/// # Errors
/// Why there is no answer, for the log.
pub fn addresses_of(host: &str, port: u16) -> Result<Vec<SocketAddr>, String> {
    if let Ok(address) = host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>() {
        return Ok(vec![SocketAddr::new(address, port)]);
    }
    let mut getent = Command::new("/usr/bin/getent");
    getent
        .env_clear()
        .args(["ahosts", "--", host])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null());
    let listed = output_of(getent, RESOLVE_WITHIN).map_err(|e| format!("getent ahosts '{host}': {e}"))?;
    let listed = String::from_utf8_lossy(&listed);
    let mut addresses: Vec<SocketAddr> = Vec::new();
    for address in listed.lines().filter_map(|l| l.split_ascii_whitespace().next()?.parse::<IpAddr>().ok()) {
        let address = SocketAddr::new(address, port);
        if !addresses.contains(&address) {
            addresses.push(address);
        }
    }
    Ok(addresses)
}

/// What a program prints, if it ends well and in time.
///
/// # Errors
/// As pipe(2), fork(2) and read(2); `TimedOut` when it took or printed too much.
pub fn output_of(mut command: Command, limit: Duration) -> io::Result<Vec<u8>> {
    let mut child = command.spawn()?;
    let mut printed = Vec::new();
    let end = Instant::now() + limit;
    if let Some(mut stdout) = child.stdout.take() {
        let mut chunk = [0_u8; 16 << 10];
        loop {
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() || printed.len() > MAX_DECISION {
                let _ = child.kill();
                let _ = child.wait();
                return Err(io::ErrorKind::TimedOut.into());
            }
            if poll_readable(stdout.as_fd(), left)? {
                match stdout.read(&mut chunk)? {
                    0 => break,
                    n => printed.extend_from_slice(chunk.get(..n).unwrap_or_default()),
                }
            }
        }
    }
    let status = child.wait()?;
    if status.success() { Ok(printed) } else { Err(io::Error::other(status.to_string())) }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAABAgMEBQYHCAkKCwwNDg8QERITFBUWFxgZGhscHR4f";

    #[test]
    fn the_key_is_the_one_that_sshd_names() {
        let wanted = PublicKey::read(KEY.as_bytes()).unwrap().0.fingerprint();
        assert_eq!(
            accepted(format!("password\npublickey {KEY}\n").as_bytes()),
            Some(Credential::Key(wanted))
        );
        for info in [
            "",
            "password\n",
            "publickey\n",
            "publickey ssh-ed25519 !!!\n",
            "keyboard-interactive publickey x",
        ] {
            assert_eq!(accepted(info.as_bytes()), None, "{info}");
        }
    }

    #[test]
    fn the_address_stands_first() {
        assert_eq!(client_address("192.0.2.1 4022 198.51.100.7 22"), Some("192.0.2.1"));
        assert_eq!(client_address("2001:db8::1"), Some("2001:db8::1"));
        assert_eq!(client_address(""), None);
    }

    #[test]
    fn session_numbers_differ() {
        let (one, other) = (session_number().unwrap(), session_number().unwrap());
        assert!(one.len() == 10 && one != other, "{one} {other}");
    }
}
