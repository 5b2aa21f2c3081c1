//! Exit codes of a session that vestibule itself ended. `route-session(8)` lists the same.
//!
//! Everything else that a client sees is the exit status of its own command. The codes stand above those that shells
//! use (126, 127, 128 + signal) and below 255, which `ssh` keeps for itself.

/// A reason for which vestibule ends a session, as its exit code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    /// The set-up of the bastion is at fault; the log says more.
    Setup = 200,
    /// This key may not enter this target (any more).
    Denied = 201,
    /// The target is known but not running.
    NotRunning = 202,
    /// The engine or the host knows no such container.
    Gone = 203,
    /// The target does not answer: paused, frozen, or too slow.
    NotAnswering = 204,
    /// The container's confinement can't be put on the session.
    CannotConfine = 205,
    /// The login user does not exist in the container.
    NoSuchUser = 206,
    /// Nothing in the container can be executed as the user's shell.
    NoShell = 207,
    /// The store can't be read.
    Store = 208,
    /// The target can't be reached over the network.
    Unreachable = 209,
    /// What was asked for is not possible with this target.
    Unsupported = 210,
    /// The container was stopped while the session lived.
    Stopped = 211,
    /// The target was not running, and starting it failed or took too long.
    NotWoken = 212,
    /// The session was ended: what let it in was taken away, or the operator ended it.
    Revoked = 213,
    /// The server of a target elsewhere is not the one that is known.
    NotKnown = 214,
    /// The server of a target elsewhere does not take the bastion's key.
    KeyRefused = 215,
}

impl Exit {
    /// Every code, in order, with the words that the man page uses.
    pub const ALL: [(Exit, &str); 16] = [
        (Exit::Setup, "the bastion's set-up is at fault"),
        (Exit::Denied, "this key may not enter this target"),
        (Exit::NotRunning, "the target is not running"),
        (Exit::Gone, "the target's container does not exist"),
        (Exit::NotAnswering, "the target does not answer"),
        (Exit::CannotConfine, "the container's confinement can't be put on the session"),
        (Exit::NoSuchUser, "the login user does not exist in the container"),
        (Exit::NoShell, "the user's shell can't be executed in the container"),
        (Exit::Store, "the store can't be read"),
        (Exit::Unreachable, "the target can't be reached over the network"),
        (Exit::Unsupported, "the target can't do what was asked for"),
        (Exit::Stopped, "the container was stopped, or the way to it was lost, during the session"),
        (Exit::NotWoken, "the target could not be started, or was not ready in time"),
        (Exit::Revoked, "the session was ended: access was taken away, or by the operator"),
        (Exit::NotKnown, "the target's SSH server is not the one that is known"),
        (Exit::KeyRefused, "the target's SSH server does not accept the bastion's key"),
    ];

    /// The number that the process exits with.
    #[must_use]
    pub fn code(self) -> u8 {
        self as u8
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_is_its_own_and_outside_what_shells_and_ssh_use() {
        let mut codes: Vec<u8> = Exit::ALL.iter().map(|(e, _)| e.code()).collect();
        assert!(codes.iter().all(|c| (200..255).contains(c)));
        codes.dedup();
        assert_eq!(codes.len(), Exit::ALL.len());
    }
}
