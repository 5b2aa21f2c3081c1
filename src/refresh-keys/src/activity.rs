//! `--follow` tells a hub which of its targets are used over SSH, so that it does not stop them as idle.
//!
//! A thread for each source that wants to know looks at what [`vestibule::used`] has, every few seconds, and has told of
//! each target at most so long ago as the source says. Sessions wait for none of it, and a hub that is away is told
//! later.

use std::collections::HashMap;
use std::path::Path;
use std::time::Duration;

use vestibule::messages::shown_within;
use vestibule::target::TargetId;
use vestibule::used::{self, Use};

use crate::report;
use crate::settings::Source;
use crate::source::{self, Reports, SourceFault};
use crate::wake;

/// Between two looks.
const LOOK_EVERY: Duration = Duration::from_secs(10);
/// The longest pause after faults of the hub.
const LONGEST: Duration = Duration::from_secs(300);
/// Characters of a fault.
const MAX_FAULT: usize = 400;

/// Which uses count.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Counts {
    /// A session with a terminal when bytes go through that, and any other.
    #[default]
    Used,
    /// Every session, as long as it is open.
    Sessions,
    /// None.
    Off,
}

/// What a source wants to be told.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Wanted {
    pub(crate) counts: Counts,
    /// Seconds between two reports about one target.
    pub(crate) every: u32,
}

/// Tells, for ever.
pub(crate) fn tell(source: &Source, wanted: Wanted, store: &Path) {
    let mut told: HashMap<TargetId, i64> = HashMap::new();
    let mut reports: Option<Box<dyn Reports + '_>> = None;
    let look_every = LOOK_EVERY.min(Duration::from_secs(wanted.every.into()));
    let (mut pause, mut last_fault) = (look_every, String::new());
    loop {
        std::thread::sleep(pause);
        // Without sessions there may not even be the directory.
        let now = vestibule_sys::time::now();
        let uses = used::all().unwrap_or_default();
        let due = due(&uses, wanted, now, &told, Use::last);
        match report(source, &mut reports, store, &due, &mut told) {
            Ok(()) => (pause, last_fault) = (look_every, String::new()),
            Err(fault) => {
                let fault = shown_within(&format!("{fault:#}").replace('\n', " "), MAX_FAULT);
                if fault != last_fault {
                    report::log_fault(&format!("source={}: no activity told: {fault}", source.name));
                    last_fault = fault;
                }
                reports = None;
                pause = pause.saturating_mul(2).min(LONGEST);
            }
        }
        told.retain(|target, at| {
            *at + i64::from(wanted.every) > now || uses.iter().any(|this| this.target == *target)
        });
    }
}

/// Of which targets the hub is to be told, and when each was used last.
fn due(
    uses: &[Use],
    wanted: Wanted,
    now: i64,
    told: &HashMap<TargetId, i64>,
    last: impl Fn(&Use) -> Option<i64>,
) -> HashMap<TargetId, i64> {
    let mut due = HashMap::new();
    for this in uses {
        let at = match (wanted.counts, this.terminal) {
            (Counts::Off, _) => continue,
            (Counts::Used, Some(_)) => last(this).unwrap_or(now).min(now),
            (Counts::Sessions, _) | (Counts::Used, None) => now,
        };
        let latest = due.entry(this.target).or_insert(at);
        *latest = at.max(*latest);
    }
    due.retain(|target, at| told.get(target).is_none_or(|told| *told + i64::from(wanted.every) <= *at));
    due
}

fn report<'a>(
    source: &'a Source,
    reports: &mut Option<Box<dyn Reports + 'a>>,
    store: &Path,
    due: &HashMap<TargetId, i64>,
    told: &mut HashMap<TargetId, i64>,
) -> anyhow::Result<()> {
    for (target, at) in due {
        // One that is gone meanwhile is used by nobody soon.
        let Some(known) = wake::known_by_id(store, *target)? else { continue };
        if known.source == source.name {
            let hub = match reports {
                Some(hub) => hub,
                None => reports.insert(source::reports(source)?),
            };
            hub.report(&known.target, &known.accounts, *at).map_err(SourceFault::into_error)?;
        }
        told.insert(*target, *at);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(target: i64, terminal: Option<u64>) -> Use {
        Use { target: TargetId(target), terminal }
    }

    #[test]
    fn what_is_used_is_told_once_in_a_while_and_what_is_only_open_where_that_counts() {
        let uses = [of(1, None), of(2, Some(7)), of(3, Some(8)), of(3, Some(9))];
        // Terminal 7 is silent for long, 8 too, 9 was just used.
        let last = |u: &Use| Some(if u.terminal == Some(9) { 990 } else { 100 });
        let ask = |counts, told: &[(i64, i64)]| {
            let told = told.iter().map(|(target, at)| (TargetId(*target), *at)).collect();
            let due = due(&uses, Wanted { counts, every: 300 }, 1000, &told, last);
            let mut due: Vec<(i64, i64)> = due.into_iter().map(|(target, at)| (target.0, at)).collect();
            due.sort_unstable();
            due
        };
        assert_eq!(ask(Counts::Off, &[]), []);
        assert_eq!(ask(Counts::Used, &[]), [(1, 1000), (2, 100), (3, 990)]);
        assert_eq!(ask(Counts::Used, &[(1, 800), (2, 100), (3, 690)]), [(3, 990)]);
        assert_eq!(ask(Counts::Sessions, &[]), [(1, 1000), (2, 1000), (3, 1000)]);
        assert_eq!(ask(Counts::Sessions, &[(1, 700), (2, 701), (3, 1000)]), [(1, 1000)]);
    }
}
