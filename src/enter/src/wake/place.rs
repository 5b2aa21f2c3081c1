//! Where those who wake a target and those who wait for it meet: a lock, and what the holder writes down.
//!
//! The lock belongs to an open file (`F_OFD_SETLK` of fcntl(2)), so it passes to the waker by fork(2) and ends with it,
//! however it ends; and it can be asked for without being taken.

use std::fs::{self, DirBuilder, File};
use std::io;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, fcntl};
use nix::libc;
use nix::time::{ClockId, clock_gettime};
use serde::{Deserialize, Serialize};
use vestibule::messages::WakeStep;
use vestibule::paths;
use vestibule::target::TargetId;

/// One target's files.
pub(super) struct Place {
    lock: PathBuf,
    state: PathBuf,
}

/// The lock, held. Dropping it, or ending, gives it back, unless a child has it too.
pub(super) struct Lock(pub(super) File);

/// The last wake of a target: one that goes on, or one that is over.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct State {
    /// Its number among this target's.
    pub(super) attempt: u64,
    /// When it began, in seconds since boot.
    pub(super) began: u64,
    pub(super) step: WakeStep,
    pub(super) outcome: Option<Outcome>,
    /// What a hub told last, oldest first, fit for a terminal.
    #[serde(default)]
    pub(super) told: Vec<String>,
    /// How much it told in all.
    #[serde(default)]
    pub(super) tellings: u64,
}

/// How a wake ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Outcome {
    Ready,
    Failed {
        step: WakeStep,
        seconds: u64,
        cause: String,
        /// For who waits.
        #[serde(default)]
        words: Option<String>,
    },
}

/// Lines of a hub that are kept for who waits.
const KEPT: usize = 8;

impl State {
    /// One that begins.
    pub(super) fn new(attempt: u64) -> Self {
        let (began, step) = (since_boot(), WakeStep::Start);
        State { attempt, began, step, outcome: None, told: Vec::new(), tellings: 0 }
    }

    /// The hub tells something.
    pub(super) fn tell(&mut self, words: String) {
        if self.told.last() == Some(&words) {
            return;
        }
        self.tellings += 1;
        if self.told.len() == KEPT {
            self.told.remove(0);
        }
        self.told.push(words);
    }

    /// What it told after the first `known` things, as far as it is kept.
    pub(super) fn news(&self, known: u64) -> &[String] {
        let new = usize::try_from(self.tellings.saturating_sub(known)).unwrap_or(usize::MAX);
        self.told.get(self.told.len().saturating_sub(new)..).unwrap_or_default()
    }

    pub(super) fn seconds(&self) -> u64 {
        since_boot().saturating_sub(self.began)
    }
}

/// Seconds since boot: a clock that nobody sets.
pub(super) fn since_boot() -> u64 {
    clock_gettime(ClockId::CLOCK_BOOTTIME).map_or(0, |t| Duration::from(t).as_secs())
}

impl Place {
    /// The place of a target.
    ///
    /// # Errors
    /// As mkdir(2).
    pub(super) fn of(target: TargetId) -> io::Result<Place> {
        let directory = Path::new(paths::WAKE_DIR);
        match DirBuilder::new().mode(0o700).create(directory) {
            Err(e) if e.kind() != io::ErrorKind::AlreadyExists => return Err(e),
            _ => {}
        }
        let file = |suffix: &str| directory.join(format!("{}.{suffix}", target.0));
        Ok(Place { lock: file("lock"), state: file("json") })
    }

    /// What was last written; nothing when that can't be read.
    pub(super) fn state(&self) -> Option<State> {
        serde_json::from_slice(&fs::read(&self.state).ok()?).ok()
    }

    /// Writes what the others will read, as a whole. For the holder of the lock.
    ///
    /// # Errors
    /// As open(2), write(2) and rename(2).
    pub(super) fn write(&self, state: &State) -> io::Result<()> {
        let new = self.state.with_extension("new");
        fs::write(&new, serde_json::to_vec(state)?)?;
        fs::rename(&new, &self.state)
    }

    fn open(&self) -> io::Result<File> {
        let mut options = File::options();
        options.read(true).write(true).create(true).truncate(false).mode(0o600);
        options.custom_flags(libc::O_NOFOLLOW).open(&self.lock)
    }

    /// Whether somebody holds the lock.
    ///
    /// # Errors
    /// As fcntl(2).
    pub(super) fn is_held(&self) -> io::Result<bool> {
        let mut asked = whole_file();
        fcntl(&self.open()?, FcntlArg::F_OFD_GETLK(&mut asked))?;
        Ok(i32::from(asked.l_type) != libc::F_UNLCK)
    }

    /// Takes the lock, if nobody holds it.
    ///
    /// # Errors
    /// As fcntl(2).
    pub(super) fn take(&self) -> io::Result<Option<Lock>> {
        let file = self.open()?;
        match fcntl(&file, FcntlArg::F_OFD_SETLK(&whole_file())) {
            Ok(_) => Ok(Some(Lock(file))),
            Err(Errno::EAGAIN | Errno::EACCES) => Ok(None),
            Err(e) => Err(e.into()),
        }
    }
}

fn whole_file() -> libc::flock {
    #[expect(clippy::cast_possible_truncation, reason = "constants that fit")]
    libc::flock {
        l_type: libc::F_WRLCK as libc::c_short,
        l_whence: libc::SEEK_SET as libc::c_short,
        l_start: 0,
        l_len: 0,
        l_pid: 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(dir: &Path) -> Place {
        Place { lock: dir.join("1.lock"), state: dir.join("1.json") }
    }

    #[test]
    fn one_holds_the_lock_and_others_see_it_without_taking_it() {
        let dir = tempfile::tempdir().unwrap();
        let place = place(dir.path());
        assert!(!place.is_held().unwrap());
        let lock = place.take().unwrap().unwrap();
        assert!(place.is_held().unwrap() && place.take().unwrap().is_none());
        // As over a fork: the open file is the holder, not the process.
        let other = lock.0.try_clone().unwrap();
        drop(lock);
        assert!(place.is_held().unwrap());
        drop(other);
        assert!(!place.is_held().unwrap() && place.take().unwrap().is_some());
    }

    #[test]
    fn what_was_written_is_read_and_rubbish_is_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let place = place(dir.path());
        assert_eq!(place.state(), None);
        let cause = "x".to_owned();
        let outcome = Some(Outcome::Failed { step: WakeStep::Probe, seconds: 3, cause, words: None });
        let mut state = State { step: WakeStep::Probe, outcome, ..State::new(7) };
        state.tell("pulling".to_owned());
        place.write(&state).unwrap();
        assert_eq!(place.state(), Some(state.clone()));
        assert!(state.seconds() < 5);
        fs::write(&place.state, "{").unwrap();
        assert_eq!(place.state(), None);
    }

    #[test]
    fn of_what_a_hub_tells_the_last_lines_are_kept_and_each_is_news_once() {
        let mut state = State::new(1);
        assert!(state.news(0).is_empty());
        for n in 0..KEPT + 3 {
            state.tell(n.to_string());
            state.tell(n.to_string());
        }
        assert_eq!(state.news(0).len(), KEPT);
        assert_eq!(state.news(9), ["9", "10"]);
        assert!(state.news(state.tellings).is_empty());
    }
}
