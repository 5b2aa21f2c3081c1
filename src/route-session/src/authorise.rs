//! May they enter (still), and where does that lead? `keys-lookup` decides; this asks it.

use std::io::Read;
use std::os::fd::AsFd;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use vestibule::decision::{self, Decision};
use vestibule::messages::Refusal;
use vestibule::paths;
use vestibule::target::{Driver, TargetId};
use vestibule_sys::process::poll_readable;

use crate::Refused;
use crate::who::Visitor;

/// `keys-lookup` has a deadline of its own; this is for when it is broken.
const PATIENCE: Duration = Duration::from_secs(10);
/// A decision is some hundred bytes and a command.
const MAX_DECISION: usize = 1 << 20;

/// A decision that lets a session in.
pub(crate) struct Authorised {
    pub(crate) id: TargetId,
    pub(crate) target: String,
    pub(crate) account: Option<String>,
    pub(crate) source: String,
    /// What runs in place of what they want, by the key's `command=`.
    pub(crate) command: Option<Vec<u8>>,
    pub(crate) pty: bool,
    pub(crate) agent: bool,
    pub(crate) driver: Driver,
}

/// Asks for the decision.
pub(crate) fn ask(visitor: &Visitor) -> Result<Authorised, Refused> {
    let program = paths::KEYS_LOOKUP;
    let mut command = Command::new(program);
    command.env_clear().stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
    if let Some(address) = visitor.address() {
        command.args(["--client", address]);
    }
    command.arg("--decide").arg("--").arg(&visitor.login).arg(visitor.fingerprint.to_string());
    let answer =
        output_of(command, PATIENCE).map_err(|e| Refused::setup(format_args!("'{program}': {e}")))?;
    let decision: Decision = serde_json::from_slice(&answer)
        .map_err(|e| Refused::setup(format_args!("'{program}': its answer: {e}")))?;
    authorised(decision)
}

fn authorised(decision: Decision) -> Result<Authorised, Refused> {
    if decision.version != decision::VERSION {
        return Err(Refused::setup(format_args!("keys-lookup is of another version ({})", decision.version)));
    }
    if !decision.granted {
        let reason = decision.reason.as_deref().unwrap_or("no reason given");
        let refusal = match reason {
            "store" => Refusal::Store,
            "config" | "fingerprint" | "client" | "privileges" => Refusal::Setup,
            "account-needed" | "ambiguous-account" => Refusal::AccountNeeded,
            _ => Refusal::Denied,
        };
        let detail = decision.detail.as_deref().unwrap_or_default();
        return Err(Refused::new(refusal, format_args!("{reason}: {detail}")));
    }
    let command =
        decision.command_bytes().map_err(|_| Refused::setup("keys-lookup's answer: the command"))?;
    let (Some(id), Some(target), Some(driver)) = (decision.target_id, decision.target, decision.driver)
    else {
        return Err(Refused::setup("keys-lookup's answer names no target"));
    };
    let source = decision.source.unwrap_or_default();
    let (account, pty, agent) = (decision.account, decision.pty, decision.agent);
    Ok(Authorised { id, target, account, source, command, pty, agent, driver })
}

/// What a program prints, if it ends well and in time.
pub(crate) fn output_of(mut command: Command, limit: Duration) -> std::io::Result<Vec<u8>> {
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
                return Err(std::io::ErrorKind::TimedOut.into());
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
    if status.success() { Ok(printed) } else { Err(std::io::Error::other(status.to_string())) }
}
