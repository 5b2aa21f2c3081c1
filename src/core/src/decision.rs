//! What `keys-lookup --decide` tells `route-session`: one line of JSON.

use base64ct::{Base64, Encoding};
use serde::{Deserialize, Serialize};

use crate::decide::{Outcome, Reason};
use crate::messages::Refusal;
use crate::proof::Credential;
use crate::target::{Driver, LoginUser, TargetId};

/// The version of [`Decision`] that this program writes and reads.
pub const VERSION: u32 = 1;

/// A decision for a session that sshd has let in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Decision {
    /// [`VERSION`].
    pub version: u32,
    /// Whether the session may begin.
    pub granted: bool,
    /// Why not, in one word for programs: `Reason::as_str`, or `store`, `config`, `privileges`, `fingerprint`, `not-ours`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Why not, in words for the log.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
    /// Where a user starts a target that does not run.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub start_at: String,
    /// The target; absent when the login name means none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target_id: Option<TargetId>,
    /// The target's name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target: Option<String>,
    /// The account that enters, or that the login names.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub account: Option<String>,
    /// `account`, `target`, `managed` or `own`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
    /// What let it in: a [`Proof`](crate::proof::Proof).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub proof: Option<String>,
    /// What runs in the container in place of what the client asks for, in base64: it may be any bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub command: Option<String>,
    /// Whether the session may have a terminal.
    #[serde(default)]
    pub pty: bool,
    /// Whether the session may ask the client's agent.
    #[serde(default)]
    pub agent: bool,
    /// Whether the session may use the client's X display.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub x11: bool,
    /// How the target is entered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub driver: Option<Driver>,
    /// Who one is inside: a name or number, `{account}` resolved.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
}

impl Decision {
    /// Nothing, for this reason.
    #[must_use]
    pub fn denied(reason: &str, detail: String) -> Self {
        Decision {
            version: VERSION,
            granted: false,
            reason: Some(reason.to_owned()),
            detail: Some(detail),
            start_at: String::new(),
            target_id: None,
            target: None,
            account: None,
            source: None,
            proof: None,
            command: None,
            pty: false,
            agent: false,
            x11: false,
            driver: None,
            user: None,
        }
    }

    /// What an outcome says for who `shown` this. Of several lines the first counts: whoever asked for this had conditions judged.
    #[must_use]
    pub fn of(outcome: &Outcome, shown: Option<&Credential>) -> Self {
        match outcome {
            Outcome::NotOurs => Self::denied("not-ours", "the login name means nothing here".to_owned()),
            Outcome::Denied(denied) => Decision {
                target_id: Some(denied.target.id),
                target: Some(denied.target.name.to_string()),
                account: denied.account.clone(),
                ..Self::denied(denied.reason.as_str(), denied.reason.to_string())
            },
            Outcome::Closed(closed) => Decision {
                start_at: match &closed.reason {
                    Reason::NotRunning { start_at } => start_at.clone(),
                    _ => String::new(),
                },
                target_id: Some(closed.granted.target.id),
                target: Some(closed.granted.target.name.to_string()),
                account: closed.granted.lines.first().and_then(|line| line.account.clone()),
                ..Self::denied(closed.reason.as_str(), closed.reason.to_string())
            },
            Outcome::Granted(granted) => {
                let Some(line) = granted.lines.first() else {
                    return Self::denied("not-listed", "no line is left".to_owned());
                };
                let user = match &granted.target.login_user {
                    LoginUser::Fixed(user) => Some(user.clone()),
                    LoginUser::Account => line.account.clone(),
                };
                Decision {
                    version: VERSION,
                    granted: user.is_some(),
                    reason: None,
                    detail: None,
                    start_at: String::new(),
                    target_id: Some(granted.target.id),
                    target: Some(granted.target.name.to_string()),
                    account: line.account.clone(),
                    source: Some(line.source.source.as_str().to_owned()),
                    proof: shown.and_then(|shown| line.proof(shown)).map(|proof| proof.to_string()),
                    command: line.command.as_deref().map(Base64::encode_string),
                    pty: line.pty,
                    agent: line.agent,
                    x11: line.x11,
                    driver: Some(granted.target.driver.clone()),
                    user,
                }
            }
        }
    }

    /// What a user reads of a decision that lets them in to nothing because the target is closed to everybody.
    #[must_use]
    pub fn closed(&self) -> Option<Refusal> {
        let target = self.target.clone().unwrap_or_default();
        match self.reason.as_deref()? {
            "workspace" => Some(Refusal::WorkspaceClosed { target }),
            "not-running" if self.start_at.is_empty() => Some(Refusal::NotRunning { target }),
            "not-running" => Some(Refusal::NotStarted { target, start_at: self.start_at.clone() }),
            _ => None,
        }
    }

    /// The command, decoded.
    ///
    /// # Errors
    /// When it is not base64: whoever wrote this was not `keys-lookup`.
    pub fn command_bytes(&self) -> Result<Option<Vec<u8>>, base64ct::Error> {
        self.command.as_deref().map(Base64::decode_vec).transpose()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_again_and_nothing_else_is() {
        let denied = Decision::denied("store", "the store 'x' does not exist".to_owned());
        let json = serde_json::to_string(&denied).unwrap();
        assert_eq!(serde_json::from_str::<Decision>(&json).unwrap(), denied);
        assert!(!denied.granted);
        for wrong in ["{}", "{\"version\":1}", "{\"version\":1,\"granted\":true,\"more\":1}", "[]"] {
            assert!(serde_json::from_str::<Decision>(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_command_is_any_bytes() {
        let bytes = b"\xff\0\"\n".to_vec();
        let with = |command: &str| Decision {
            command: Some(command.to_owned()),
            ..Decision::denied("", String::new())
        };
        assert_eq!(with(&Base64::encode_string(&bytes)).command_bytes(), Ok(Some(bytes)));
        assert!(with("not base64").command_bytes().is_err());
    }
}
