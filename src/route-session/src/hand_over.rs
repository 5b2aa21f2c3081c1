//! Becoming `enter`. A command goes in the environment, which only its owner may read, not on the command line.

use std::env;
use std::os::unix::process::CommandExt;
use std::process::Command;

use vestibule::messages::Refusal;
use vestibule::paths;

use crate::Refused;
use crate::authorise::Authorised;
use crate::display;
use crate::who::{self, Visitor};

/// Executes `enter`; returns only if that fails or if the target gives out no terminal.
pub(crate) fn become_enter(session: &str, authorised: &Authorised, visitor: &Visitor) -> Refused {
    if visitor.pty && !authorised.pty {
        return Refused::new(Refusal::TerminalRefused, "a terminal that policy or the key's options refuse");
    }
    let mut enter = Command::new(paths::ENTER);
    enter.env_clear().args(["--session", session, "--target", &authorised.id.0.to_string()]);
    enter.args(["--proof", &authorised.proof]);
    if let Some(account) = &authorised.account {
        enter.args(["--account", account]);
    }
    enter.args(["--source", &authorised.source]);
    if visitor.pty {
        enter.arg("--pty");
    }
    // sshd made that socket because the key's line allowed it; the line may say otherwise by now.
    if let Some(socket) = env::var_os("SSH_AUTH_SOCK").filter(|_| authorised.agent) {
        enter.env("SSH_AUTH_SOCK", socket);
    }
    // And so with the display.
    if let Some(display) = Some(authorised.x11).filter(|x11| *x11).and_then(|_| display::of_session()) {
        enter.env("VESTIBULE_DISPLAY", display);
    }
    let from_client = env::vars_os().filter(|(name, _)| {
        let name = name.as_encoded_bytes();
        name.starts_with(b"LC_") || [&b"LANG"[..], b"TERM", b"SSH_CLIENT", b"SSH_CONNECTION"].contains(&name)
    });
    enter.envs(from_client);
    match (&authorised.command, visitor.command_bytes()) {
        // As sshd does for a key's command=: what was asked for is there to be looked at.
        (Some(forced), original) => {
            enter.env("VESTIBULE_COMMAND", who::os(forced.clone()));
            if let Some(original) = original {
                enter.env("SSH_ORIGINAL_COMMAND", who::os(original));
            }
        }
        (None, Some(command)) => {
            enter.env("VESTIBULE_COMMAND", who::os(command));
        }
        (None, None) => {}
    }
    let e = enter.exec();
    Refused::setup(format_args!("'{}': {e}", paths::ENTER))
}
