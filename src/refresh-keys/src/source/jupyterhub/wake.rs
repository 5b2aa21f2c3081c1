//! `--wake`: a server is started by the hub, and waited for until the hub calls it ready.
//!
//! What the hub tells meanwhile, and why it did not, are its own words: whoever waits reads them, so they are bounded and
//! escaped here already.

use std::ops::ControlFlow;
use std::time::{Duration, Instant};

use serde::Deserialize;
use vestibule::messages::{shown, shown_within};
use vestibule::names::login::TargetName;

use super::{Jupyterhub, wrong};
use crate::source::{SourceFault, Wakes};
use vestibule_http::{HttpFault, Told, percent_encoded};

/// Between two looks at a server that is about to start or to stop.
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// Before a hub that does not answer, or wants to be left alone without saying how long, is asked again.
const PAUSE: Duration = Duration::from_secs(2);
/// How often a hub may refuse to start a server that is neither starting nor stopping.
const REFUSALS: u32 = 3;
/// How often it may not be there.
const ABSENCES: u32 = 2;
/// Characters of the hub's words.
const MAX_WORDS: usize = 250;

/// What the hub tells while a server starts, by server-sent events.
#[derive(Debug, Deserialize)]
struct Event {
    message: Option<String>,
    #[serde(default)]
    ready: bool,
    #[serde(default)]
    failed: bool,
}

/// The last event, if it was one.
#[derive(Debug, PartialEq, Eq)]
enum Outcome {
    Ready,
    Failed(Option<String>),
}

/// What came of the question to start it.
enum Asked {
    /// It is about to run.
    Begun,
    Runs,
    /// It may be running, starting or stopping, or it may not be started; the hub's words.
    Perhaps(Option<String>),
    /// The hub wants to be left alone for a while.
    Later(Duration),
}

impl Jupyterhub<'_> {
    /// The server that is the target: its user and its name. Only the owner's servers can be, and the owner has a grant.
    pub(super) fn server_of(
        &self,
        target: &str,
        accounts: &[String],
    ) -> Result<Option<(String, String)>, SourceFault> {
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

    /// Asks the hub to start the server at `path`, once.
    fn ask_to_start(&self, path: &str, body: Option<&str>) -> Result<Asked, SourceFault> {
        let Told { status, words, after } = self.client.tell(path, body)?;
        let words = words.map(|words| shown_within(&words, MAX_WORDS));
        let refused = match &words {
            Some(words) => SourceFault::Words { words: words.clone(), status },
            None => SourceFault::Http(HttpFault::Status { status, after }),
        };
        match status {
            202 => Ok(Asked::Begun),
            201 | 204 => Ok(Asked::Runs),
            // No hub answers so; what runs is asked for then.
            200 => Ok(Asked::Perhaps(None)),
            400 | 409 => Ok(Asked::Perhaps(words)),
            404 => Err(SourceFault::Source("the hub knows no such user".to_owned())),
            429 | 503 => Ok(Asked::Later(after.unwrap_or(PAUSE))),
            // A spawn that failed at once. Why, the hub tells who asks for its events.
            500 => match self.follow(path, Instant::now() + PAUSE, &mut |_| {}) {
                Ok(Some(Outcome::Failed(Some(words)))) => Err(SourceFault::Words { words, status: 0 }),
                _ => Err(refused),
            },
            _ => Err(refused),
        }
    }

    /// Tells what the hub tells, and how that ended, if it did.
    fn follow(
        &self,
        path: &str,
        end: Instant,
        say: &mut dyn FnMut(&str),
    ) -> Result<Option<Outcome>, SourceFault> {
        let mut outcome = None;
        self.client.lines(&format!("{path}/progress"), "text/event-stream", end, &mut |line| {
            let data = line.strip_prefix(b"data:").map(<[u8]>::trim_ascii);
            let Some(Ok(event)) = data.map(serde_json::from_slice::<Event>) else {
                return ControlFlow::Continue(());
            };
            let words = event.message.map(|words| shown_within(words.trim(), MAX_WORDS));
            let words = words.filter(|words| !words.is_empty());
            if event.failed {
                outcome = Some(Outcome::Failed(words));
                return ControlFlow::Break(());
            }
            if let Some(words) = words {
                say(&words);
            }
            if event.ready {
                outcome = Some(Outcome::Ready);
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
        options: Option<&str>,
        end: Instant,
        say: &mut dyn FnMut(&str),
    ) -> Result<(), SourceFault> {
        let fault = |why: &str| Err(SourceFault::Source(why.to_owned()));
        let left = || end.saturating_duration_since(Instant::now());
        let Some((user, server)) = self.server_of(target, accounts)? else {
            return fault("the hub has no such server");
        };
        let base = format!("{}/users/{}", self.base, percent_encoded(&user));
        let path = match server.as_str() {
            "" => format!("{base}/server"),
            name => format!("{base}/servers/{}", percent_encoded(name)),
        };
        // The body as it is: hubs before 6.0 know no other way to give them, and later ones take it too.
        let (mut begun, mut absences, mut refusals, mut refusal) = (false, 0, 0, None);
        loop {
            if !begun {
                match self.ask_to_start(&path, options) {
                    Ok(Asked::Begun) => begun = true,
                    Ok(Asked::Runs) => return Ok(()),
                    Ok(Asked::Perhaps(words)) => refusal = words,
                    Ok(Asked::Later(after)) if after >= left() => {
                        return Err(SourceFault::Source(format!(
                            "the hub has too much to do, and wants to be asked again in {} s",
                            after.as_secs()
                        )));
                    }
                    Ok(Asked::Later(after)) => {
                        say(&format!(
                            "the hub has too much to do; it is asked again in {} s",
                            after.as_secs()
                        ));
                        std::thread::sleep(after);
                        continue;
                    }
                    Err(SourceFault::Http(fault)) if fault.was_not_heard() && absences < ABSENCES => {
                        absences += 1;
                        std::thread::sleep(LOOK_EVERY.min(left()));
                        continue;
                    }
                    Err(fault) => return Err(fault),
                }
            }
            if begun {
                match self.follow(&path, end, say) {
                    Ok(Some(Outcome::Ready)) => return Ok(()),
                    Ok(Some(Outcome::Failed(Some(words)))) => {
                        return Err(SourceFault::Words { words, status: 0 });
                    }
                    Ok(Some(Outcome::Failed(None))) => return fault("the hub could not start it"),
                    Ok(None) => {}
                    Err(_) if left().is_zero() => return fault("it was not ready in time"),
                    // Something between here and the hub that passes no streams on: then it is looked at in turns.
                    Err(SourceFault::Http(fault)) if fault.may_pass() => {}
                    Err(fault) => return Err(fault),
                }
            }
            let about = self.user(&user)?.ok_or_else(|| wrong("the user is gone"))?;
            let state = about.servers.unwrap_or_default().remove(&server);
            match state.map(|state| (state.ready, state.pending)) {
                Some((true, None)) => return Ok(()),
                Some((_, Some(pending))) => {
                    if !begun {
                        say(&format!("it is pending: {}", shown(&pending)));
                    }
                }
                _ if begun => return fault("it ended before it was ready"),
                _ => refusals += 1,
            }
            if refusals > REFUSALS {
                return match refusal {
                    Some(words) => Err(SourceFault::Words { words, status: 400 }),
                    None => fault("the hub refuses to start it"),
                };
            }
            if LOOK_EVERY > left() {
                return fault("it was not ready in time");
            }
            std::thread::sleep(LOOK_EVERY);
        }
    }
}
