//! May they enter (still), and where does that lead? `keys-lookup` decides; this asks it.

use vestibule::decision::Decision;
use vestibule::messages::Refusal;
use vestibule::target::{Driver, TargetId};
use vestibule::visit;

use crate::Refused;
use crate::who::Visitor;

/// A decision that lets a session in.
pub(crate) struct Authorised {
    pub(crate) id: TargetId,
    pub(crate) target: String,
    pub(crate) account: Option<String>,
    pub(crate) source: String,
    /// What let it in, in the words that `enter` takes.
    pub(crate) proof: String,
    /// What runs in place of what they want, by the key's `command=`.
    pub(crate) command: Option<Vec<u8>>,
    pub(crate) pty: bool,
    pub(crate) agent: bool,
    pub(crate) x11: bool,
    pub(crate) driver: Driver,
}

/// Asks for the decision.
pub(crate) fn ask(visitor: &Visitor) -> Result<Authorised, Refused> {
    let decision = visit::ask(&visitor.login, &visitor.shown, visitor.address());
    authorised(decision.map_err(Refused::setup)?)
}

fn authorised(decision: Decision) -> Result<Authorised, Refused> {
    if !decision.granted {
        let reason = decision.reason.as_deref().unwrap_or("no reason given");
        let refusal = decision.closed().unwrap_or_else(|| match reason {
            "store" => Refusal::Store,
            "config" | "fingerprint" | "client" | "privileges" => Refusal::Setup,
            "not-allowed" => Refusal::NotAllowed { target: decision.target.clone().unwrap_or_default() },
            "account-needed" | "ambiguous-account" => Refusal::AccountNeeded,
            _ => Refusal::Denied,
        });
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
    let proof = decision.proof.ok_or_else(|| Refused::setup("keys-lookup's answer names no proof"))?;
    let (account, pty, agent, x11) = (decision.account, decision.pty, decision.agent, decision.x11);
    Ok(Authorised { id, target, account, source, proof, command, pty, agent, x11, driver })
}
