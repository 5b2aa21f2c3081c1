//! Starting a target that does not run, and waiting until it is ready: once, however many come at the same time.
//!
//! Whoever finds the target not running and nobody at it forks a process that starts it, the [`waker`]. That one belongs
//! to no session: it lives on when the client that caused it goes, until the target is ready or the time is over. All
//! others, the first one too, wait for it and share what came of it. What they know of each other is a lock and a few
//! words in [`paths::WAKE_DIR`], a directory of root's ([`place`]).

mod place;
mod plan;
mod probe;
mod start;
mod waker;

use std::os::fd::BorrowedFd;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use vestibule::config::Config;
use vestibule::messages::{Refusal, WakeStep};
use vestibule::names::login::AccountName;
use vestibule::paths;
use vestibule::target::{TargetId, WAKE_WITHIN, Wake};
use vestibule_sys::process;

use crate::parser::Facts;
use crate::refused::{OrRefuse, Refused};
use crate::transport::Journey;
use place::{Outcome, Place, State};
pub(crate) use plan::Plan;
pub(crate) use waker::resume;

/// How often those who wait look.
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// What the waker may take beyond its time, to end what it began.
const SLACK: Duration = Duration::from_secs(10);

/// For whom a target is wanted.
#[derive(Clone, Copy)]
pub(crate) struct Call<'a> {
    /// The session's number, for the log.
    pub(crate) session: &'a str,
    pub(crate) target: TargetId,
    pub(crate) account: Option<&'a AccountName>,
    pub(crate) facts: &'a Facts,
    pub(crate) config: &'a Config,
    /// The caller's ids, which the parser takes on.
    pub(crate) uid: u32,
    pub(crate) gid: u32,
}

/// What those who wait are told: the step, and the whole seconds since the wake began and until it is given up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct News {
    pub(crate) step: WakeStep,
    pub(crate) seconds: u64,
    pub(crate) left: u64,
    /// What a hub told last.
    pub(crate) words: String,
    /// Whether that was not told before.
    pub(crate) fresh: bool,
}

impl Call<'_> {
    /// The way there, for a target on another machine.
    pub(crate) fn journey(&self) -> Journey<'_> {
        Journey { session: self.session, account: self.account, facts: self.facts, config: self.config }
    }

    fn within(&self, plan: &Plan) -> Duration {
        Duration::from_secs(plan.within.unwrap_or(WAKE_WITHIN).min(self.config.session.wake_seconds).max(1))
    }
}

/// What `open` finds, after the target was started if it has to be. To be called as root, with one thread. `open` is
/// asked more than once; `news` is told what is waited for, and `None` when the waiting is over.
pub(crate) fn awake<T>(
    call: &Call<'_>,
    news: &mut dyn FnMut(Option<News>),
    open: &mut dyn FnMut() -> Result<T, Refused>,
) -> Result<T, Refused> {
    let Some(plan) = &call.facts.wake else { return open() };
    let place = Place::of(call.target).or_setup(format_args!("'{}'", paths::WAKE_DIR))?;
    // A few turns: the lock may be seen at a moment in which another one only looks around under it.
    for _ in 0..100 {
        let before = place.state();
        let held = place.is_held().or_setup("the lock of a wake")?;
        if !held {
            match open() {
                Err(refused) if plan.helps(&refused.refusal) => {}
                other => return other,
            }
            if let Some(lock) = place.take().or_setup("the lock of a wake")? {
                if let Some(outcome) = place.state().and_then(|state| fresh(state, before.as_ref())) {
                    share(call, outcome)?;
                    return open().map_err(|refused| stopped_again(call, plan, &place, refused));
                }
                match open() {
                    Err(refused) if plan.helps(&refused.refusal) => {}
                    other => return other,
                }
                waker::begin(call, plan, &place, lock)?;
            }
        }
        if follow(call, plan, &place, before.as_ref(), news)? {
            news(None);
            return open().map_err(|refused| stopped_again(call, plan, &place, refused));
        }
    }
    Err(Refused::setup("the lock of a wake is never free and never held"))
}

impl Plan {
    /// Whether a wake mends that. What a hub or a command starts may be a new container.
    fn helps(&self, refusal: &Refusal) -> bool {
        match refusal {
            Refusal::NotRunning { .. } => true,
            Refusal::Gone { .. } => self.how != Wake::Engine,
            _ => false,
        }
    }
}

/// What came of a wake, if it is another one than that of `before`.
fn fresh(state: State, before: Option<&State>) -> Option<Outcome> {
    let same = before.is_some_and(|b| b.attempt == state.attempt && b.outcome.is_some());
    state.outcome.filter(|_| !same)
}

fn share(call: &Call<'_>, outcome: Outcome) -> Result<(), Refused> {
    match outcome {
        Outcome::Ready => Ok(()),
        Outcome::Failed { step, seconds, cause, words } => Err(not_woken(call, step, seconds, &cause, words)),
    }
}

fn not_woken(call: &Call<'_>, step: WakeStep, seconds: u64, cause: &str, words: Option<String>) -> Refused {
    let target = call.facts.name.clone();
    let refusal = Refusal::NotWoken { target, step, seconds, words };
    Refused::new(refusal, format_args!("wake, {}: {cause}", step.word()))
}

/// A wake for a connection that failed: the answer to the session that the connection was opened for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Failed {
    step: WakeStep,
    seconds: u64,
    cause: String,
    #[serde(default)]
    words: Option<String>,
    /// When it was over, in seconds since boot.
    at: u64,
}

/// Seconds in which a connection comes to its first session.
const JUST: u64 = 10;

impl Failed {
    /// What `refused` says, if it is that.
    pub(crate) fn of(refused: &Refused) -> Option<Failed> {
        match &refused.refusal {
            Refusal::NotWoken { step, seconds, words, .. } => {
                let (step, seconds, cause) = (*step, *seconds, refused.cause.clone());
                Some(Failed { step, seconds, cause, words: words.clone(), at: place::since_boot() })
            }
            _ => None,
        }
    }

    /// The refusal for `target`, unless it is some time ago: then it is worth another try.
    pub(crate) fn again(self, target: &str) -> Option<Refused> {
        let Failed { step, seconds, words, .. } = self;
        let refusal = Refusal::NotWoken { target: target.to_owned(), step, seconds, words };
        (self.at.saturating_add(JUST) >= place::since_boot()).then(|| Refused::new(refusal, self.cause))
    }
}

/// What does not run any more a moment after it was started.
fn stopped_again(call: &Call<'_>, plan: &Plan, place: &Place, refused: Refused) -> Refused {
    if !plan.helps(&refused.refusal) {
        return refused;
    }
    let seconds = place.state().map_or(0, |state| state.seconds());
    not_woken(call, WakeStep::Running, seconds, &format!("it stopped: {}", refused.cause), None)
}

/// Waits for the one who holds the lock. Says whether a wake came to a good end; `false` when nobody was at it.
fn follow(
    call: &Call<'_>,
    plan: &Plan,
    place: &Place,
    before: Option<&State>,
    news: &mut dyn FnMut(Option<News>),
) -> Result<bool, Refused> {
    let (began, within) = (Instant::now(), call.within(plan));
    let (mut told, mut heard) = (None, 0);
    loop {
        // In this order: what is written when the lock is free is the last word.
        let held = place.is_held().or_setup("the lock of a wake")?;
        let state = place.state();
        if let Some(outcome) = state.clone().and_then(|state| fresh(state, before)) {
            return share(call, outcome).map(|()| true);
        }
        let at_work = state.filter(|state| state.outcome.is_none());
        // Those who come later hear what was told before them too.
        let (step, seconds) =
            at_work.as_ref().map_or((WakeStep::Start, 0), |state| (state.step, state.seconds()));
        if !held {
            return match at_work {
                Some(state) if before != Some(&state) => {
                    Err(not_woken(call, state.step, seconds, "the process that woke it was ended", None))
                }
                _ => Ok(false),
            };
        }
        if began.elapsed() > within + SLACK {
            return Err(not_woken(call, step, began.elapsed().as_secs(), "no end of it", None));
        }
        let left = within.as_secs().saturating_sub(seconds);
        let tell = |words: &str, fresh| News { step, seconds, left, words: words.to_owned(), fresh };
        if let Some(state) = &at_work {
            for words in state.news(heard) {
                news(Some(tell(words, true)));
            }
            heard = state.tellings;
        }
        let words = at_work.as_ref().and_then(|state| state.told.last()).map_or("", String::as_str);
        let now = tell(words, false);
        if told.as_ref() != Some(&now) {
            news(Some(now.clone()));
            told = Some(now);
        }
        std::thread::sleep(LOOK_EVERY);
    }
}

/// Runs `body` in a child that has nothing open but 0, 1, 2 and is ended when `limit` is over. Its exit status, or why
/// there is none.
fn bounded(limit: Duration, keep: BorrowedFd<'_>, body: impl FnOnce() -> i32) -> Result<i32, String> {
    let child = process::fork_child(|| {
        if vestibule_sys::fds::close_others_in_child(keep).is_err() {
            return 101;
        }
        body()
    })
    .map_err(|e| format!("fork: {e}"))?;
    match child.wait_at_most(limit) {
        Ok(Some(process::Ended::Exited(status))) => Ok(status),
        Ok(Some(process::Ended::Signalled(signal))) => Err(format!("signal {signal}")),
        Ok(None) => {
            let _ = child.signal(crate::relay::libc_signal::SIGKILL);
            let _ = child.wait_at_most(Duration::from_secs(1));
            Err("no answer".to_owned())
        }
        Err(e) => Err(format!("waitid: {e}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_is_the_answer_for_a_moment_only() {
        let (target, words) = ("lab".to_owned(), Some("the hub says 'no'".to_owned()));
        let refused = Refused::new(
            Refusal::NotWoken { target, step: WakeStep::Probe, seconds: 3, words },
            "wake, probe: no",
        );
        let failed = Failed::of(&refused).unwrap();
        let read: Failed = serde_json::from_slice(&serde_json::to_vec(&failed).unwrap()).unwrap();
        let again = read.again("lab").unwrap();
        assert!(again.refusal == refused.refusal && again.cause == refused.cause);
        assert!(Failed { at: 0, ..failed }.again("lab").is_none() || place::since_boot() <= JUST);
        assert_eq!(Failed::of(&Refused::setup("no")), None);
    }
}
