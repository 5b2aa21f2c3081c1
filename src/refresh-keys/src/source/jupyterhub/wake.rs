//! `--wake`: a server is started by the hub, and waited for until the hub calls it ready.

use std::ops::ControlFlow;
use std::time::{Duration, Instant};

use serde::Deserialize;
use vestibule::messages::shown;
use vestibule::names::login::TargetName;

use super::{Jupyterhub, wrong};
use crate::http::percent_encoded;
use crate::source::{SourceFault, Wakes};

/// Between two looks at a server that is about to start or to stop.
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// How often a hub may refuse to start a server that is neither starting nor stopping.
const REFUSALS: u32 = 3;

/// What the hub tells while a server starts, by server-sent events.
#[derive(Debug, Deserialize)]
struct Event {
    message: Option<String>,
    #[serde(default)]
    ready: bool,
    #[serde(default)]
    failed: bool,
}

impl Jupyterhub<'_> {
    /// The server that is the target: its user and its name. Only the owner's servers can be, and the owner has a grant.
    fn server_of(&self, target: &str, accounts: &[String]) -> Result<Option<(String, String)>, SourceFault> {
        let is_it = |user: &str, server: &str| {
            let row = self.row(user, server).ok();
            row.and_then(|row| TargetName::try_from(row.name.as_str()).ok())
                .is_some_and(|n| n.as_str() == target)
        };
        if let Some(user) = accounts.iter().find(|user| is_it(user, "")) {
            return Ok(Some((user.clone(), String::new())));
        }
        for user in accounts {
            let Some(about) = self.user(user)? else { continue };
            for server in about.servers.unwrap_or_default().into_keys() {
                // A path of dots would lead to another address.
                if !matches!(server.as_str(), "" | "." | "..") && is_it(user, &server) {
                    return Ok(Some((user.clone(), server)));
                }
            }
        }
        Ok(None)
    }

    /// Tells what the hub tells. Whether the server is ready, if that was the end of it.
    fn follow(
        &self,
        path: &str,
        end: Instant,
        say: &mut dyn FnMut(&str),
    ) -> Result<Option<bool>, SourceFault> {
        let mut outcome = None;
        self.client.lines(&format!("{path}/progress"), "text/event-stream", end, &mut |line| {
            let data = line.strip_prefix(b"data:").map(<[u8]>::trim_ascii);
            let Some(Ok(event)) = data.map(serde_json::from_slice::<Event>) else {
                return ControlFlow::Continue(());
            };
            if let Some(message) = &event.message {
                say(&shown(message));
            }
            if event.ready || event.failed {
                outcome = Some(event.ready);
                return ControlFlow::Break(());
            }
            ControlFlow::Continue(())
        })?;
        Ok(outcome)
    }
}

impl Wakes for Jupyterhub<'_> {
    fn wake(
        &self,
        target: &str,
        accounts: &[String],
        end: Instant,
        say: &mut dyn FnMut(&str),
    ) -> Result<(), SourceFault> {
        let fault = |why: &str| Err(SourceFault::Source(why.to_owned()));
        let Some((user, server)) = self.server_of(target, accounts)? else {
            return fault("the hub has no such server");
        };
        let base = format!("{}/users/{}", self.base, percent_encoded(&user));
        let path = match server.as_str() {
            "" => format!("{base}/server"),
            name => format!("{base}/servers/{}", percent_encoded(name)),
        };
        let (mut begun, mut refusals) = (false, 0);
        loop {
            if !begun {
                match self.client.post(&path)? {
                    202 => begun = true,
                    200..=299 => return Ok(()),
                    404 => return fault("the hub knows no such user"),
                    // It runs already, or is about to stop, or may not be started: the hub says so in words only.
                    _ => {}
                }
            }
            if begun {
                match self.follow(&path, end, say)? {
                    Some(true) => return Ok(()),
                    Some(false) => return fault("the hub could not start it"),
                    None => {}
                }
            }
            let about = self.user(&user)?.ok_or_else(|| wrong("the user is gone"))?;
            let state = about.servers.unwrap_or_default().remove(&server);
            match state.map(|state| (state.ready, state.pending.is_some())) {
                Some((true, false)) => return Ok(()),
                Some((_, true)) => {}
                _ if begun => return fault("it ended before it was ready"),
                _ => refusals += 1,
            }
            if refusals > REFUSALS {
                return fault("the hub refuses to start it");
            }
            if Instant::now() + LOOK_EVERY > end {
                return fault("it was not ready in time");
            }
            std::thread::sleep(LOOK_EVERY);
        }
    }
}
