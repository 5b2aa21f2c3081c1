//! Targets that a key opens and nobody gets into now: sshd lets such a login in, so that it can be told why.
//!
//! Without that the client would say "Permission denied" for a key that is in order, and its owner would look for the
//! fault there. Nobody learns more by it than who may enter anyway.

use super::outcome::{GrantLine, Granted, Outcome, Reason};
use crate::authorized_keys;
use crate::may_enter::MayEnter;
use crate::options::Options;
use crate::policy::{self, Grant};
use crate::target::Policy;

/// A login that is let in to be told why it gets no further.
#[derive(Debug, Clone, PartialEq)]
pub struct Closed {
    /// What the key would open.
    pub granted: Granted,
    /// Why it does not.
    pub reason: Reason,
}

impl Closed {
    /// What of a grant is closed, if anything is.
    pub(super) fn of(granted: Box<Granted>, may: &MayEnter) -> Outcome {
        match why(&granted.target.policy, may) {
            None => Outcome::Granted(granted),
            Some(reason) => Outcome::Closed(Box::new(Closed { granted: *granted, reason })),
        }
    }

    /// The lines that sshd gets: as those of the grant, but nothing is forwarded. What can't be made so is left out.
    #[must_use]
    pub fn lines(&self) -> Vec<u8> {
        let grant = Grant { pty: true, command: true, ..Grant::default() };
        let bare = |line: &GrantLine| {
            if let Some(principal) = &line.principal {
                let principal = std::str::from_utf8(principal).ok()?;
                let options = line.text.strip_suffix(format!(" {principal}\n").as_bytes())?;
                return Some(policy::narrow(&Options::parse(options).ok()?, &grant).ok()?.line(&principal));
            }
            let entry = authorized_keys::lines(&line.text).next()?.ok()?;
            Some(policy::narrow(&entry.options, &grant).ok()?.line(&entry.key))
        };
        self.granted.lines.iter().filter_map(bare).flatten().collect()
    }
}

/// Why a target of this policy is closed to everybody.
fn why(policy: &Policy, may: &MayEnter) -> Option<Reason> {
    if let Err(no) = may.workspace(policy.workspace.as_ref()) {
        return Some(Reason::Workspace(no.to_string()));
    }
    // One that can be started on connect is, whatever its hub knew of it last.
    let stopped = !policy.running && policy.wake.is_none();
    stopped.then(|| Reason::NotRunning { start_at: policy.start_at.clone() })
}
