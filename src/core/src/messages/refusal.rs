//! What ends a session, or keeps it from beginning.

use serde::{Deserialize, Serialize};
use std::fmt;
use std::io;

use super::{Line, WakeStep, shown, shown_within};
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
    /// Root's configuration does not let the target be entered.
    NotAllowed {
        /// The target's name.
        target: String,
    },
    /// The store can't be read.
    Store,
    /// The target is not running.
    NotRunning {
        /// The target's name.
        target: String,
    },
    /// The target is not running, and its hub says where it is started.
    NotStarted {
        /// The target's name.
        target: String,
        /// An address, or some words.
        start_at: String,
    },
    /// Root's configuration does not let targets of its workspace be entered.
    WorkspaceClosed {
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
    /// The session was not inside in time, and nobody says why.
    TooSlow {
        /// How long was waited.
        seconds: u64,
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
        /// Why.
        why: Why,
    },
    /// Our SFTP server can't be executed in the container.
    NoSftpServer {
        /// Why.
        why: Why,
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
        /// Why.
        why: Why,
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
    /// The connection to a target elsewhere broke during the session.
    Lost {
        /// The target's name.
        target: String,
    },
    /// What leads to a target elsewhere does not.
    NoWay {
        /// The target's name.
        target: String,
        /// Why, in words for the user, which may be partly another's.
        why: String,
    },
    /// What led to a target elsewhere does so no more.
    WayLost {
        /// The target's name.
        target: String,
        /// Why, in words for the user, which may be partly another's.
        why: String,
    },
    /// What answers for a target elsewhere has another host key than the one that is known.
    NotKnown {
        /// The target's name.
        target: String,
    },
    /// No host key of a target elsewhere is known yet.
    NothingKnown {
        /// The target's name.
        target: String,
    },
    /// The SSH server of a target elsewhere does not let the bastion in.
    KeyRefused {
        /// The target's name.
        target: String,
        /// The user there.
        user: String,
    },
    /// The target was not running and could not be woken.
    NotWoken {
        /// The target's name.
        target: String,
        /// What failed.
        step: WakeStep,
        /// After how many seconds.
        seconds: u64,
        /// What the hub says to that, or is known of it; of a target that no hub starts, nothing.
        words: Option<String>,
    },
    /// The session was ended from outside.
    Revoked {
        /// The target's name.
        target: String,
        /// Why.
        loss: Loss,
    },
}

/// Why a session that lived was ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Loss {
    /// The key, the account or the grant was taken away, or the target itself.
    Taken,
    /// The key or the grant was given until now.
    Ended,
    /// The operator ended this session.
    Ordered,
}

impl Refusal {
    /// The exit code of the session.
    #[must_use]
    pub fn exit(&self) -> Exit {
        match self {
            Refusal::Setup => Exit::Setup,
            Refusal::Denied
            | Refusal::AccountNeeded
            | Refusal::NotAllowed { .. }
            | Refusal::WorkspaceClosed { .. } => Exit::Denied,
            Refusal::Store => Exit::Store,
            Refusal::NotRunning { .. } | Refusal::NotStarted { .. } => Exit::NotRunning,
            Refusal::Gone { .. } => Exit::Gone,
            Refusal::Paused { .. }
            | Refusal::NotAnswering { .. }
            | Refusal::TooSlow { .. }
            | Refusal::Full => Exit::NotAnswering,
            Refusal::CannotConfine { .. } => Exit::CannotConfine,
            Refusal::NoSuchUser { .. } => Exit::NoSuchUser,
            Refusal::NoShell { .. } | Refusal::NoSftpServer { .. } => Exit::NoShell,
            Refusal::Unreachable { .. } | Refusal::NoWay { .. } => Exit::Unreachable,
            Refusal::NoTerminal
            | Refusal::TerminalRefused
            | Refusal::SftpRefused
            | Refusal::OnlyBytes
            | Refusal::NotText => Exit::Unsupported,
            Refusal::Stopped { .. } | Refusal::Lost { .. } | Refusal::WayLost { .. } => Exit::Stopped,
            Refusal::NotKnown { .. } | Refusal::NothingKnown { .. } => Exit::NotKnown,
            Refusal::KeyRefused { .. } => Exit::KeyRefused,
            Refusal::NotWoken { .. } => Exit::NotWoken,
            Refusal::Revoked { .. } => Exit::Revoked,
        }
    }

    /// Whether it ends a session that had begun, so that something may be on the terminal.
    #[must_use]
    pub fn is_in_mid_session(&self) -> bool {
        matches!(self.exit(), Exit::Stopped | Exit::Revoked)
    }

    /// The line for the user: `vestibule: WHAT HAPPENED; WHAT TO DO (session ID)`. What others wrote in it is escaped and
    /// bounded.
    #[must_use]
    pub fn line(&self, session: &str) -> Line {
        Line::of(self, session)
    }
}

/// Of words that are partly another's.
const MAX_WHY: usize = 320;

/// What to do where nothing but a look at the log helps.
const TELL: &str = "tell the operator this session's number";

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Refusal::Setup => write!(f, "the bastion is not set up right; {TELL}"),
            Refusal::Denied => f.write_str("this key may not enter here any more; ask the owner for access"),
            Refusal::AccountNeeded => f.write_str(
                "this target gives everybody a user of their own; log in as ACCOUNT+TARGET to say who you are",
            ),
            Refusal::NotAllowed { target } => {
                write!(f, "this bastion's configuration lets nobody enter '{}'; {TELL}", shown(target))
            }
            Refusal::Store => write!(f, "the bastion can't read who may enter; {TELL}"),
            Refusal::NotRunning { target } => {
                write!(f, "'{}' is not running; start it and connect again", shown(target))
            }
            Refusal::NotStarted { target, start_at } => {
                let (target, start_at) = (shown(target), shown(start_at));
                write!(f, "'{target}' is not running; start it at {start_at} and connect again")
            }
            Refusal::WorkspaceClosed { target } => write!(
                f,
                "this bastion is closed to the workspace of '{}'; ask its operator to open it",
                shown(target)
            ),
            Refusal::Gone { target } => {
                write!(f, "the container of '{}' does not exist (any more); {TELL}", shown(target))
            }
            Refusal::Paused { target } => {
                write!(f, "'{}' is paused; resume it and connect again", shown(target))
            }
            Refusal::NotAnswering { target } => {
                write!(f, "'{}' does not answer; try again later, or {TELL}", shown(target))
            }
            Refusal::TooSlow { seconds } => {
                write!(f, "the session was not inside after {seconds} s; try again later, or {TELL}")
            }
            Refusal::CannotConfine { what } => {
                write!(f, "the session can't be confined as its container is ({}); {TELL}", shown(what))
            }
            Refusal::NoSuchUser { user } => {
                write!(f, "the container has no user '{}' in its /etc/passwd; {TELL}", shown(user))
            }
            Refusal::NoShell { shell, why } => write!(
                f,
                "the shell '{}' can't be executed in the container: {why}; scp and sftp may do, or {TELL}",
                shown(shell)
            ),
            Refusal::NoSftpServer { why } => {
                write!(f, "the SFTP server can't be executed in the container: {why}; {TELL}")
            }
            Refusal::SftpRefused => {
                f.write_str("this target has no SFTP, by its owner's wish; ask the owner, or use commands")
            }
            Refusal::NoTerminal => f.write_str(
                "the container gives out no terminal (no usable devpts at /dev/pts); 'ssh -T' works without one",
            ),
            Refusal::TerminalRefused => f.write_str("this target gives out no terminals; use 'ssh -T'"),
            Refusal::Full => f.write_str("the container can have no more processes; end some and connect again"),
            Refusal::Unreachable { target, why } => {
                write!(f, "'{}' can't be reached: {why}; try again later, or {TELL}", shown(target))
            }
            Refusal::OnlyBytes => f.write_str(
                "this target is a network service, without commands and terminals; use it with ProxyCommand or 'ssh -J'",
            ),
            Refusal::NotText => {
                f.write_str("this target takes commands in UTF-8 only; put other bytes on standard input")
            }
            Refusal::Stopped { target } => {
                write!(f, "the container of '{}' was stopped; start it and connect again", shown(target))
            }
            Refusal::Lost { target } => {
                write!(f, "the connection to '{}' was lost; connect again, or {TELL}", shown(target))
            }
            Refusal::NoWay { target, why } => {
                let (target, why) = (shown(target), shown_within(why, MAX_WHY));
                write!(f, "'{target}' can't be reached: {why}; try again later, or {TELL}")
            }
            Refusal::WayLost { target, why } => {
                let (target, why) = (shown(target), shown_within(why, MAX_WHY));
                write!(f, "the connection to '{target}' was lost: {why}; connect again, or {TELL}")
            }
            Refusal::NotKnown { target } => write!(
                f,
                "what answers for '{}' has another host key than the one that is known here, and may be somebody else; {TELL}",
                shown(target)
            ),
            Refusal::NothingKnown { target } => {
                write!(f, "no host key of '{}' is known here yet; {TELL}", shown(target))
            }
            Refusal::KeyRefused { target, user } => write!(
                f,
                "'{}' does not accept the bastion's key for its user '{}'; {TELL}",
                shown(target),
                shown(user)
            ),
            Refusal::NotWoken { target, step, seconds, words } => {
                let target = shown(target);
                match step {
                    WakeStep::Start => write!(f, "'{target}' could not be started")?,
                    WakeStep::Running => write!(f, "'{target}' was started but does not run")?,
                    WakeStep::Probe => write!(f, "'{target}' was started but is not ready")?,
                }
                write!(f, ", after {seconds} s")?;
                if let Some(words) = words {
                    write!(f, ": {}", shown_within(words, super::hub::MAX))?;
                }
                write!(f, "; try again later, or {TELL}")
            }
            Refusal::Revoked { target, loss } => {
                let target = shown(target);
                match loss {
                    Loss::Taken => {
                        write!(f, "your access to '{target}' was taken away; ask the owner for access")
                    }
                    Loss::Ended => {
                        write!(f, "the time for which you had access to '{target}' is over; ask the owner for more")
                    }
                    Loss::Ordered => write!(
                        f,
                        "the operator ended this session in '{target}'; ask why before you connect again"
                    ),
                }
            }
        }
    }
}

/// A reason in a few words, in the middle of a line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Why {
    /// The kernel's.
    Kernel(nix::errno::Errno),
    /// An error that is not the kernel's.
    NotPermitted,
    /// A path that leads out of the container.
    Outside,
    /// The engine would not start it.
    Engine,
    /// A name for which there is no address.
    AddressUnknown,
    /// There was none to try.
    NoAddress,
    /// Nobody at the address says a word.
    Silence,
    /// What answers hung up, or is no SSH server.
    NoSsh,
}

impl From<&io::Error> for Why {
    fn from(e: &io::Error) -> Self {
        e.raw_os_error().map_or(Why::NotPermitted, |number| Why::Kernel(nix::errno::Errno::from_raw(number)))
    }
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Why::Kernel(errno) => errno.desc(),
            Why::NotPermitted => "not permitted",
            Why::Outside => "not in the container",
            Why::Engine => "the engine would not",
            Why::AddressUnknown => "its address is not known",
            Why::NoAddress => "it has no address",
            Why::Silence => "it does not answer",
            Why::NoSsh => "what answers hung up, or is no SSH server",
        })
    }
}
