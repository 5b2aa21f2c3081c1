//! What is said while a target is started.

use serde::{Deserialize, Serialize};

use super::{Line, shown};

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

/// The line that is drawn on a terminal while a target wakes; without its end, for it is written over.
#[must_use]
pub fn waking(target: &str, step: WakeStep, seconds: u64) -> Line {
    let what = match step {
        WakeStep::Start => "starting",
        WakeStep::Running => "waiting for the first process of",
        WakeStep::Probe => "waiting for the services of",
    };
    Line::to_be_drawn(format_args!("{what} '{}' ({seconds} s)", shown(target)))
}
