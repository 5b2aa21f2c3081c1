//! What is said while a target is started.

use serde::{Deserialize, Serialize};

use super::hub::MAX;
use super::{Line, shown, shown_within};

/// A step of waking a target.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum WakeStep {
    /// Asking the engine, the command or the hub to start it.
    Start,
    /// From there until its first process runs.
    Running,
    /// From there until what its policy names says that it is ready.
    Probe,
}

impl WakeStep {
    /// Every step, in order.
    pub const ALL: [WakeStep; 3] = [WakeStep::Start, WakeStep::Running, WakeStep::Probe];

    /// Its word in the log.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            WakeStep::Start => "start",
            WakeStep::Running => "running",
            WakeStep::Probe => "probe",
        }
    }
}

/// The line that is drawn on a terminal while a target wakes, with what a hub tells meanwhile; without its end, for it is
/// written over.
#[must_use]
pub fn waking(target: &str, step: WakeStep, seconds: u64, words: &str) -> Line {
    let what = match step {
        WakeStep::Start => "starting",
        WakeStep::Running => "waiting for the first process of",
        WakeStep::Probe => "waiting for the services of",
    };
    let words = shown_within(words, MAX);
    let colon = if words.is_empty() { "" } else { ": " };
    Line::to_be_drawn(format_args!("{what} '{}' ({seconds} s){colon}{words}", shown(target)))
}

/// The line that says what a hub tells meanwhile, where nothing is drawn.
#[must_use]
pub fn told(target: &str, words: &str, session: &str) -> Line {
    Line::of(format_args!("starting '{}': {}", shown(target), shown_within(words, MAX)), session)
}
