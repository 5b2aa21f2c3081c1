//! Clocks that are set: what is noted of sources are times by the clock of the wall, and somebody may set it.
//!
//! A file beside the store has how far that clock was ahead of the one that nobody sets (`CLOCK_BOOTTIME`) when it was
//! last looked at, and in which boot. Where the difference is another one now, the clock was set meanwhile, and all times
//! that were noted before are moved with it. So a clock that was wrong for a while neither makes the keys of a source
//! cease that answered a minute ago, nor lets those of one count for years that does not answer any more.

use std::fs;
use std::io::Write;
use std::path::Path;

use anyhow::Context;
use nix::time::{ClockId, clock_gettime};
use vestibule::store::Changes;

const BOOT: &str = "/proc/sys/kernel/random/boot_id";
/// Seconds that clocks may go apart between two runs without having been set.
const SLACK: i64 = 30;

/// How the clocks stand, as the file has it.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Look {
    boot: String,
    ahead: i64,
}

impl Look {
    fn now() -> anyhow::Result<Look> {
        let seconds = |clock| clock_gettime(clock).map(|time| time.tv_sec()).context("clock");
        let ahead = seconds(ClockId::CLOCK_REALTIME)? - seconds(ClockId::CLOCK_BOOTTIME)?;
        let boot = fs::read_to_string(BOOT).with_context(|| format!("'{BOOT}'"))?;
        Ok(Look { boot: boot.trim().to_owned(), ahead })
    }

    fn parse(text: &str) -> Option<Look> {
        let (boot, ahead) = text.trim_end().split_once(' ')?;
        Some(Look { boot: boot.to_owned(), ahead: ahead.parse().ok()? })
    }

    /// By how much the clock was set since `before`; nothing is known over a boot.
    fn set_since(&self, before: Option<&Look>) -> i64 {
        match before {
            Some(before) if before.boot == self.boot => {
                let by = self.ahead.saturating_sub(before.ahead);
                if by.saturating_abs() > SLACK { by } else { 0 }
            }
            _ => 0,
        }
    }
}

/// Moves what is noted of sources by what the clock was set since the last time. To be called before anything new is
/// noted.
///
/// # Errors
/// The clocks, the file `clock`, or the store.
pub(crate) fn follow_clock(changes: &mut Changes<'_>, directory: &Path) -> anyhow::Result<()> {
    let path = directory.join("refresh.clock");
    let before = fs::read_to_string(&path).ok().and_then(|text| Look::parse(&text));
    let now = Look::now()?;
    let by = now.set_since(before.as_ref());
    if by != 0 {
        tracing::info!(by, "the clock was set; what is noted of sources moves with it");
    }
    // First the file: a run that is killed in between must not have its times moved twice.
    if before.as_ref() != Some(&now) {
        write(&path, &now).with_context(|| format!("'{}'", path.display()))?;
    }
    Ok(changes.move_sources(by)?)
}

/// As a whole, or not at all. One run at a time: the store's transaction is open.
fn write(path: &Path, look: &Look) -> std::io::Result<()> {
    let new = path.with_extension("clock-new");
    let mut file = fs::File::create(&new)?;
    writeln!(file, "{} {}", look.boot, look.ahead)?;
    drop(file);
    fs::rename(&new, path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_that_was_set_is_told_from_one_that_drifts_and_from_another_boot() {
        let look = |boot: &str, ahead| Look { boot: boot.to_owned(), ahead };
        let now = look("a", 1_000_000);
        for (before, by) in [
            (None, 0),
            (Some(look("a", 1_000_000)), 0),
            (Some(look("a", 999_980)), 0),
            (Some(look("a", 1_000_030)), 0),
            (Some(look("a", 900_000)), 100_000),
            (Some(look("a", 2_000_000)), -1_000_000),
            (Some(look("b", 2_000_000)), 0),
        ] {
            assert_eq!(now.set_since(before.as_ref()), by, "{before:?}");
        }
        assert_eq!(Look::parse("a 1000000\n"), Some(now));
        for wrong in ["", "a", "a b", "a 1 2"] {
            assert_eq!(Look::parse(wrong), None, "{wrong}");
        }
    }
}
