//! Every word that a user may read from vestibule.
//!
//! A [`Refusal`] is a situation, its text says what happened and what to do, and its exit code is one of
//! [`Exit`]. Programs print it with [`Refusal::line`], so that each carries the session id that an
//! operator can search the log for. Causes (paths, errno) go to the log, not to the user.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::exit::Exit;

/// A reason for which a session can't begin, or ended before its command did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refusal {
    /// Something on the bastion is wrong; only its operator can mend it.
    Setup,
    /// The key may not enter (any more).
    Denied,
    /// The target wants an account, and the login named none.
    AccountNeeded,
    /// The store can't be read.
    Store,
    /// The target is not running.
    NotRunning {
        /// The target's name.
        target: String,
    },
    /// The container does not exist.
    Gone {
        /// The target's name.
        target: String,
    },
    /// The container is paused.
    Paused {
        /// The target's name.
        target: String,
    },
    /// Nothing came back in time.
    NotAnswering {
        /// The target's name.
        target: String,
    },
    /// A part of the container's confinement can't be put on the session.
    CannotConfine {
        /// Which part: `seccomp filter`, `cgroup memory`.
        what: String,
    },
    /// The container has no such user.
    NoSuchUser {
        /// The user's name.
        user: String,
    },
    /// The user's shell can't be executed.
    NoShell {
        /// The shell's path.
        shell: String,
        /// Why, in the kernel's words.
        why: String,
    },
    /// Our SFTP server can't be executed in the container.
    NoSftpServer {
        /// Why, in the kernel's words.
        why: String,
    },
    /// The target's policy has no SFTP.
    SftpRefused,
    /// The container gives out no terminal.
    NoTerminal,
    /// The target's policy gives out no terminal.
    TerminalRefused,
    /// The container can have no more processes.
    Full,
    /// The target's address does not answer.
    Unreachable {
        /// The target's name.
        target: String,
        /// Why, in the kernel's words.
        why: String,
    },
    /// A TCP target was asked for a command or a terminal.
    OnlyBytes,
    /// The command has bytes that the target's engine can't be told.
    NotText,
    /// The container was stopped during the session.
    Stopped {
        /// The target's name.
        target: String,
    },
    /// The target was not running and could not be woken.
    NotWoken {
        /// The target's name.
        target: String,
        /// What failed.
        step: WakeStep,
        /// After how many seconds.
        seconds: u64,
    },
}

/// A step of waking a target.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum WakeStep {
    /// Asking the engine, the command or the hub to start it.
    Start,
    /// From there until its first process runs.
    Running,
    /// From there until what its policy names says that it is ready.
    Probe,
}

impl WakeStep {
    /// Every step, in order.
    pub const ALL: [WakeStep; 3] = [WakeStep::Start, WakeStep::Running, WakeStep::Probe];

    /// Its word in the log.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            WakeStep::Start => "start",
            WakeStep::Running => "running",
            WakeStep::Probe => "probe",
        }
    }
}

/// The line that is drawn on a terminal while a target wakes; without its end, for it is written over.
#[must_use]
pub fn waking(target: &str, step: WakeStep, seconds: u64) -> String {
    let what = match step {
        WakeStep::Start => "starting",
        WakeStep::Running => "waiting for the first process of",
        WakeStep::Probe => "waiting for the services of",
    };
    format!("vestibule: {what} '{}' ({seconds} s)", shown(target))
}

/// Something that a session goes on without.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Notice {
    /// There is no place in the container for the socket that leads to the client's agent.
    NoAgent {
        /// Why, in the kernel's words.
        why: String,
    },
}

impl Notice {
    /// The line for standard error, with its end, as [`Refusal::line`].
    #[must_use]
    pub fn line(&self, session: &str) -> String {
        format!("vestibule: {self} (session {session})\n")
    }
}

impl fmt::Display for Notice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Notice::NoAgent { why } => {
                write!(f, "your agent is not forwarded, for want of a place in the container: {}", shown(why))
            }
        }
    }
}

impl Refusal {
    /// The exit code of the session.
    #[must_use]
    pub fn exit(&self) -> Exit {
        match self {
            Refusal::Setup => Exit::Setup,
            Refusal::Denied | Refusal::AccountNeeded => Exit::Denied,
            Refusal::Store => Exit::Store,
            Refusal::NotRunning { .. } => Exit::NotRunning,
            Refusal::Gone { .. } => Exit::Gone,
            Refusal::Paused { .. } | Refusal::NotAnswering { .. } | Refusal::Full => Exit::NotAnswering,
            Refusal::CannotConfine { .. } => Exit::CannotConfine,
            Refusal::NoSuchUser { .. } => Exit::NoSuchUser,
            Refusal::NoShell { .. } | Refusal::NoSftpServer { .. } => Exit::NoShell,
            Refusal::Unreachable { .. } => Exit::Unreachable,
            Refusal::NoTerminal
            | Refusal::TerminalRefused
            | Refusal::SftpRefused
            | Refusal::OnlyBytes
            | Refusal::NotText => Exit::Unsupported,
            Refusal::Stopped { .. } => Exit::Stopped,
            Refusal::NotWoken { .. } => Exit::NotWoken,
        }
    }

    /// The line for the user's terminal, with its end: `vestibule: TEXT (session ID)`. What others wrote in it is
    /// escaped and bounded.
    #[must_use]
    pub fn line(&self, session: &str) -> String {
        format!("vestibule: {self} (session {session})\n")
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let operator = "tell the operator this session's number";
        match self {
            Refusal::Setup => write!(f, "the bastion is not set up right; {operator}"),
            Refusal::Denied => f.write_str("this key may not enter here any more; ask the owner for access"),
            Refusal::AccountNeeded => f.write_str(
                "this target gives everybody a user of their own; log in as ACCOUNT+TARGET to say who you are",
            ),
            Refusal::Store => write!(f, "the bastion can't read who may enter; {operator}"),
            Refusal::NotRunning { target } => {
                write!(f, "'{}' is not running; start it and connect again", shown(target))
            }
            Refusal::Gone { target } => {
                write!(f, "the container of '{}' does not exist (any more); {operator}", shown(target))
            }
            Refusal::Paused { target } => write!(f, "'{}' is paused; resume it and connect again", shown(target)),
            Refusal::NotAnswering { target } => {
                write!(f, "'{}' does not answer; try again later, or {operator}", shown(target))
            }
            Refusal::CannotConfine { what } => {
                write!(f, "the session can't be confined as its container is ({}); {operator}", shown(what))
            }
            Refusal::NoSuchUser { user } => {
                write!(f, "the container has no user '{}' in its /etc/passwd; {operator}", shown(user))
            }
            Refusal::NoShell { shell, why } => {
                write!(f, "the shell '{}' can't be executed in the container: {}", shown(shell), shown(why))
            }
            Refusal::NoSftpServer { why } => {
                write!(f, "the SFTP server can't be executed in the container: {}; {operator}", shown(why))
            }
            Refusal::SftpRefused => f.write_str("this target has no SFTP, by its owner's wish"),
            Refusal::NoTerminal => f.write_str(
                "the container gives out no terminal (no usable devpts at /dev/pts); 'ssh -T' works without one",
            ),
            Refusal::TerminalRefused => f.write_str("this target gives out no terminals; use 'ssh -T'"),
            Refusal::Full => f.write_str("the container can have no more processes; end some and connect again"),
            Refusal::Unreachable { target, why } => {
                write!(f, "'{}' can't be reached: {}", shown(target), shown(why))
            }
            Refusal::OnlyBytes => f.write_str(
                "this target is a network service: use it with ProxyCommand or 'ssh -J', with no command or terminal",
            ),
            Refusal::NotText => f.write_str("this target takes commands in UTF-8 only"),
            Refusal::Stopped { target } => write!(f, "the container of '{}' was stopped", shown(target)),
            Refusal::NotWoken { target, step, seconds } => {
                let target = shown(target);
                match step {
                    WakeStep::Start => write!(f, "'{target}' could not be started")?,
                    WakeStep::Running => write!(f, "'{target}' was started but does not run")?,
                    WakeStep::Probe => write!(f, "'{target}' was started but is not ready")?,
                }
                write!(f, ", after {seconds} s; try again later, or {operator}")
            }
        }
    }
}

/// Text of somebody else, fit for a terminal and a log: control characters escaped, at most 128 characters.
#[must_use]
pub fn shown(text: &str) -> String {
    let mut out = String::with_capacity(text.len().min(160));
    for (n, c) in text.chars().enumerate() {
        if n == 128 {
            out.push_str("...");
            break;
        }
        if c.is_control() { out.extend(c.escape_default()) } else { out.push(c) }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all() -> Vec<Refusal> {
        let target = || "lab".to_owned();
        vec![
            Refusal::Setup,
            Refusal::Denied,
            Refusal::AccountNeeded,
            Refusal::Store,
            Refusal::NotRunning { target: target() },
            Refusal::Gone { target: target() },
            Refusal::Paused { target: target() },
            Refusal::NotAnswering { target: target() },
            Refusal::CannotConfine { what: "seccomp filter".to_owned() },
            Refusal::NoSuchUser { user: "bob".to_owned() },
            Refusal::NoShell { shell: "/bin/zsh".to_owned(), why: "No such file or directory".to_owned() },
            Refusal::NoSftpServer { why: "Operation not permitted".to_owned() },
            Refusal::SftpRefused,
            Refusal::NoTerminal,
            Refusal::TerminalRefused,
            Refusal::Full,
            Refusal::Unreachable { target: target(), why: "Connection refused".to_owned() },
            Refusal::OnlyBytes,
            Refusal::NotText,
            Refusal::Stopped { target: target() },
            Refusal::NotWoken { target: target(), step: WakeStep::Start, seconds: 0 },
            Refusal::NotWoken { target: target(), step: WakeStep::Running, seconds: 7 },
            Refusal::NotWoken { target: target(), step: WakeStep::Probe, seconds: 300 },
        ]
    }

    #[test]
    fn every_refusal_is_one_line_with_the_session_in_it() {
        for refusal in all() {
            let line = refusal.line("k3jd92");
            assert!(line.starts_with("vestibule: ") && line.ends_with(" (session k3jd92)\n"), "{line}");
            assert_eq!(line.matches('\n').count(), 1, "{line}");
            assert!(line.len() < 220, "{line}");
        }
    }

    #[test]
    fn what_a_container_says_can_not_drive_the_terminal() {
        let line = Refusal::NoSuchUser { user: "\u{1b}]0;x\u{7}\n".repeat(100) }.line("s");
        assert!(!line.contains('\u{1b}') && line.len() < 1500, "{line}");
    }
}
