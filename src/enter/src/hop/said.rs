//! What the client writes into its log, and what that means to the session's user.
//!
//! Every message ends with a carriage return and a newline. A server can put a newline, and with some trouble both, into
//! it (`do_log` in log.c leaves them as they are), and so make messages up: no more is taken from them than which
//! words to say. Whether and how a session ran is known from the control socket.

use std::collections::VecDeque;

use nix::errno::Errno;
use vestibule::messages::{Refusal, Why};

use crate::refused::Refused;

/// Of the last lines, as many are kept.
const KEPT: usize = 6;
/// Of each line, as many bytes.
const MAX_LINE: usize = 1024;

/// What was said so far.
#[derive(Default)]
pub(super) struct Said {
    partial: Vec<u8>,
    /// A newline ends a line only behind a carriage return.
    is_log: bool,
    /// The last byte.
    last: u8,
    /// Lines that are no debugging.
    lines: VecDeque<String>,
    /// The key, or the certificate, that the server came with.
    pub(super) offered: Option<String>,
    /// A signal ended the command.
    pub(super) signalled: bool,
    /// A proxy key is none, or has a passphrase.
    bad_key: Option<String>,
}

/// What says nothing of a fault.
const NO_FAULTS: [&str; 6] = [
    "Warning: Permanently added ",
    "Authenticated to ",
    "Transferred: ",
    "Bytes per second: ",
    "@",
    "Someone could be ",
];

impl Said {
    /// What is written into the log.
    pub(super) fn of_log() -> Self {
        Said { is_log: true, ..Said::default() }
    }

    /// Takes in what came.
    pub(super) fn take(&mut self, bytes: &[u8]) {
        for byte in bytes {
            let before = std::mem::replace(&mut self.last, *byte);
            match byte {
                b'\n' if !self.is_log || before == b'\r' => {
                    let line = String::from_utf8_lossy(&self.partial).trim_end().to_owned();
                    self.partial.clear();
                    self.line(line);
                }
                _ if self.partial.len() < MAX_LINE => self.partial.push(*byte),
                _ => {}
            }
        }
    }

    fn line(&mut self, line: String) {
        if let Some(text) = line.strip_prefix("debug1: ") {
            // `FILE:FUNCTION():LINE (pid=N): `, then the words.
            let key = text.split_once("Server host key: ");
            if let Some((_, key)) = key.or_else(|| text.split_once("Server host certificate: ")) {
                self.offered = Some(key.to_owned());
            }
            self.signalled |= text.starts_with("clientloop.c:client_input_channel_req()")
                && text.contains(" rtype exit-signal ");
        } else if line.starts_with("Load key ") {
            self.bad_key = Some(line);
        } else if !line.is_empty()
            && !line.starts_with("debug")
            && !NO_FAULTS.iter().any(|n| line.starts_with(n))
        {
            if self.lines.len() == KEPT {
                self.lines.pop_front();
            }
            self.lines.push_back(line);
        }
    }

    /// The last lines, for the log.
    pub(super) fn cause(&self) -> String {
        if self.lines.is_empty() {
            return "ssh said nothing".to_owned();
        }
        self.lines.iter().map(String::as_str).collect::<Vec<_>>().join("; ")
    }

    fn has(&self, words: &str) -> bool {
        self.lines.iter().any(|line| line.contains(words))
    }

    /// Why there is no connection.
    pub(super) fn no_connection(&self, target: &str, user: &str) -> Refused {
        let target = target.to_owned();
        let cause = self.cause();
        if let Some(line) = &self.bad_key {
            return Refused::setup(line);
        }
        if self.has("Host key verification failed") {
            let offered = self.offered.as_deref().unwrap_or("none");
            return Refused::new(
                Refusal::NotKnown { target },
                format_args!("host key verification failed; offered: {offered}"),
            );
        }
        if self.has("Permission denied (") || self.has("Too many authentication failures") {
            return Refused::new(Refusal::KeyRefused { target, user: user.to_owned() }, cause);
        }
        let slow = self.has("timed out during banner exchange")
            || (self.has("timed out") && !self.has("connect to "));
        if slow {
            return Refused::new(Refusal::NotAnswering { target }, cause);
        }
        let why = [
            ("Could not resolve hostname", Why::AddressUnknown),
            ("connect to host", Why::Silence),
            ("Connection refused", Why::Kernel(Errno::ECONNREFUSED)),
            ("No route to host", Why::Kernel(Errno::EHOSTUNREACH)),
            ("Network is unreachable", Why::Kernel(Errno::ENETUNREACH)),
        ];
        // The last that fits is the most exact.
        let why = why.into_iter().rev().find(|(words, _)| self.has(words)).map_or(Why::NoSsh, |(_, why)| why);
        Refused::new(Refusal::Unreachable { target, why }, cause)
    }

    /// Why a session ended without an exit status; nothing where the server gave none, as for a death by signal. The end of a
    /// connection is said on standard `errors`, behind what the server may have said there (`quit_message` in clientloop.c).
    pub(super) fn no_status(&self, target: &str, errors: &Self) -> Option<Refused> {
        let target = target.to_owned();
        let ends = ["closed by remote host", "Read from remote host"];
        if let Some(end) = errors.lines.iter().rev().find(|line| ends.iter().any(|end| line.contains(end))) {
            return Some(Refused::new(Refusal::Lost { target }, end));
        }
        let cause = self.cause();
        if self.has("subsystem request failed") {
            return Some(Refused::new(Refusal::NoSftpServer { why: Why::NotPermitted }, cause));
        }
        if self.has("request failed on channel") {
            let shell = "login shell".to_owned();
            return Some(Refused::new(Refusal::NoShell { shell, why: Why::NotPermitted }, cause));
        }
        (!self.lines.is_empty()).then(|| Refused::new(Refusal::Lost { target }, cause))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(text: &str) -> Said {
        said_by(Said::default(), text)
    }

    fn said_by(mut said: Said, text: &str) -> Said {
        text.as_bytes().chunks(7).for_each(|piece| said.take(piece));
        said
    }

    #[test]
    fn each_fault_has_its_words() {
        let target = || "lab".to_owned();
        let unreachable = |why| Refusal::Unreachable { target: target(), why };
        for (text, wanted) in [
            (
                "ssh: connect to host h port 22: Connection refused\r\n",
                unreachable(Why::Kernel(Errno::ECONNREFUSED)),
            ),
            ("ssh: connect to host h port 22: Connection timed out\r\n", unreachable(Why::Silence)),
            (
                "ssh: Could not resolve hostname h: Name or service not known\r\n",
                unreachable(Why::AddressUnknown),
            ),
            ("kex_exchange_identification: Connection closed by remote host\r\n", unreachable(Why::NoSsh)),
            ("", unreachable(Why::NoSsh)),
            ("Connection timed out during banner exchange\r\n", Refusal::NotAnswering { target: target() }),
            ("Connection to h port 22 timed out\r\n", Refusal::NotAnswering { target: target() }),
            (
                "debug1: Remote: Permission denied (x)\r\nada@h: Permission denied (publickey).\r\n",
                Refusal::KeyRefused { target: target(), user: "ada".to_owned() },
            ),
            ("Load key \"/k\": invalid format\r\nada@h: Permission denied (publickey).\r\n", Refusal::Setup),
            (
                "@@@@\r\n@ WARNING @\r\nHost key verification failed.\r\n",
                Refusal::NotKnown { target: target() },
            ),
        ] {
            let refused = said(text).no_connection("lab", "ada");
            assert_eq!(refused.refusal, wanted, "{text}");
        }
    }

    #[test]
    fn the_key_that_came_instead_is_in_the_log() {
        let refused =
            said("debug1: sshconnect.c:verify_host_key():1 (pid=1): Server host key: ssh-ed25519 SHA256:x\r\nHost key verification failed.\r\n")
                .no_connection("lab", "ada");
        assert!(refused.cause.contains("offered: ssh-ed25519 SHA256:x"), "{}", refused.cause);
    }

    #[test]
    fn a_session_without_a_status_was_lost_only_if_the_client_says_so() {
        let none = "Authenticated to h ([h]:22) using \"publickey\".\r\ndebug1: clientloop.c:client_input_channel_req():441 (pid=1): channel 2 rtype exit-signal reply 0\r\n";
        let banner = said("a banner\r\n");
        assert!(said(none).no_status("lab", &banner).is_none());
        let end = said("a banner\r\nConnection to h closed by remote host.\r\n");
        let silence = said(&format!("{none}Timeout, server h not responding.\r\n"));
        for lost in [said(none).no_status("lab", &end), silence.no_status("lab", &banner)] {
            assert_eq!(lost.unwrap().refusal, Refusal::Lost { target: "lab".to_owned() });
        }
        let sftp = said("subsystem request failed on channel 2\r\n").no_status("lab", &banner).unwrap();
        assert!(matches!(sftp.refusal, Refusal::NoSftpServer { .. }));
    }

    #[test]
    fn a_newline_of_the_servers_ends_no_line_of_the_log() {
        let log = "Received disconnect from h port 22:2: no\nLoad key \"/k\": invalid format\r\n";
        let refused = said_by(Said::of_log(), log).no_connection("lab", "ada");
        assert_eq!(refused.refusal, Refusal::Unreachable { target: "lab".to_owned(), why: Why::NoSsh });
    }

    #[test]
    fn a_server_that_talks_without_end_is_not_kept() {
        let mut said = Said::default();
        for _ in 0..1000 {
            said.take(&[b'x'; 4096]);
            said.take(b"\ny\n");
        }
        assert!(said.lines.len() <= KEPT && said.lines.iter().all(|line| line.len() <= MAX_LINE));
    }
}
