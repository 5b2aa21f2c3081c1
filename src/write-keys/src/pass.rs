//! A pass: what is to stand in each file is compared with what was last put there, and what differs is put there.

use std::collections::{HashMap, HashSet};
use std::path::{Component, Path};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use vestibule::config::Config;
use vestibule::paths;

use crate::compose::{self, Asked};
use crate::crew::Crew;
use crate::frames::Content;
use crate::memory::Memory;
use crate::place::{Fault, Job, Placed};
use crate::report::{self, Counts};

/// Between two tries of a home that is not there or does not take its file: at first, and at last.
const FIRST: Duration = Duration::from_secs(2);
const LONGEST: Duration = Duration::from_secs(300);
/// More files than these are not named in the log, but counted.
const NAMED: usize = 10;

/// What a pass is about.
pub(crate) struct Wanted<'a> {
    /// Only the home of this target.
    pub(crate) target: Option<&'a str>,
    /// Files are looked at that should be as they were put there.
    pub(crate) look_again: bool,
}

/// What came of a pass.
pub(crate) struct Done {
    pub(crate) counts: Counts,
    /// The next second (since 1970) at which a key or a grant ends.
    pub(crate) ends: Option<i64>,
}

/// What is known of the files, from pass to pass.
#[derive(Default)]
pub(crate) struct Files {
    crew: Crew,
    homes: HashMap<String, Known>,
    /// The home of each target, by the store's number.
    targets: HashMap<i64, String>,
    /// Homes that were refused, and told.
    refused: HashSet<String>,
}

/// What is known of one file.
#[derive(Default)]
struct Known {
    /// What it was made of, when it was put there.
    put: Option<u64>,
    /// What came of the last try, when it was not put there.
    trouble: Option<Trouble>,
}

struct Trouble {
    wanted: u64,
    fault: Option<Fault>,
    pause: Duration,
    until: Instant,
}

impl Files {
    /// When a home that is not there, or that failed, is tried again.
    pub(crate) fn try_again(&self) -> Option<Instant> {
        self.homes.values().filter_map(|known| known.trouble.as_ref()).map(|trouble| trouble.until).min()
    }

    /// The target of this number was woken: its home may be there now, or be another one.
    pub(crate) fn was_woken(&mut self, target: i64) {
        if let Some(home) = self.targets.get(&target) {
            self.homes.remove(home);
        }
    }

    /// Does one.
    ///
    /// # Errors
    /// The configuration, the store, or what is remembered: no file is known to be as it is to be.
    pub(crate) fn pass(&mut self, wanted: &Wanted<'_>) -> anyhow::Result<Done> {
        let config = Config::load_trusted(Path::new(paths::CONFIG)).context("configuration")?;
        let file = config.written.file.as_str();
        if file == config.keys.own_file {
            bail!(
                "configuration: written.file is keys.own_file: what was written would open the target by itself"
            );
        }
        let mut memory = Memory::open()?;
        if config.written.homes.is_empty() && memory.is_empty() {
            tracing::debug!("[written] homes is empty: nothing is written anywhere");
            return Ok(Done { counts: Counts::default(), ends: None });
        }
        let mut jobs = Vec::new();
        let mut seen = HashSet::new();
        let mut counts = Counts::default();
        let mut targets = HashMap::new();
        let has = |home: &str, state: u64| !self.is_due(home, state, wanted.look_again);
        let asked = Asked { target: wanted.target, may_enter: &config.may_enter, has: &has };
        let mut told = Vec::new();
        let ends = compose::contents(&asked, |(home, ids, content)| {
            targets.extend(ids.into_iter().map(|id| (id, home.clone())));
            seen.insert(home);
            told.extend(content);
        })?;
        for content in told {
            if !is_below(&content.home, &config) {
                counts.failed += 1;
                if self.refused.insert(content.home.clone()) {
                    report::log_refused(&content.home);
                }
                continue;
            }
            if content.keys {
                memory.add(&content.home, file);
            }
            let Content { home, state, bytes, keys, .. } = content;
            jobs.push(Job { home, file: file.to_owned(), state, bytes, keys });
        }
        if wanted.target.is_none() {
            self.targets = targets;
            self.homes.retain(|home, _| seen.contains(home));
            for (home, at) in memory.files() {
                if !(seen.contains(home) && at == file) {
                    if is_below(home, &config) {
                        jobs.push(Job {
                            home: home.clone(),
                            file: at.clone(),
                            state: 0,
                            bytes: Vec::new(),
                            keys: false,
                        });
                    } else if self.refused.insert(home.clone()) {
                        report::log_refused(home);
                    }
                }
            }
        }
        memory.save()?;
        let mut named = Vec::new();
        let Files { crew, homes, .. } = self;
        crew.run(jobs, |job, placed| {
            // The file of a target that is gone.
            let gone = job.bytes.is_empty();
            match placed {
                Ok(Placed::Written) => {
                    counts.written += 1;
                    if named.len() <= NAMED {
                        named.push((job.home.clone(), lines(&job.bytes)));
                    }
                }
                Ok(Placed::Same) => counts.same += 1,
                Ok(Placed::Absent) => counts.absent += usize::from(!gone),
                Err(_) => counts.failed += 1,
            }
            if gone && placed.is_ok_and(|placed| placed != Placed::Absent) {
                memory.forget(&job.home, &job.file);
            }
            if !gone {
                homes.entry(job.home.clone()).or_default().note(&job, placed);
            } else if let Err(fault) = placed {
                report::log_failed(&job.home, fault);
            }
        });
        memory.save()?;
        if named.len() <= NAMED {
            named.iter().for_each(|(home, keys)| report::log_written(home, *keys));
        }
        report::log_counts(&counts);
        Ok(Done { counts, ends })
    }

    /// Whether a file has to be looked at.
    fn is_due(&self, home: &str, wanted: u64, look_again: bool) -> bool {
        let Some(known) = self.homes.get(home) else { return true };
        match &known.trouble {
            Some(trouble) => Instant::now() >= trouble.until || trouble.wanted != wanted,
            None => look_again || known.put != Some(wanted),
        }
    }
}

impl Known {
    fn note(&mut self, job: &Job, placed: Result<Placed, Fault>) {
        let fault = match placed {
            Ok(Placed::Written | Placed::Same) => {
                *self = Known { put: Some(job.state), trouble: None };
                return;
            }
            Ok(Placed::Absent) => None,
            Err(fault) => Some(fault),
        };
        let before = self.trouble.take();
        if let Some(fault) = fault
            && before.as_ref().and_then(|trouble| trouble.fault) != Some(fault)
        {
            report::log_failed(&job.home, fault);
        }
        let pause = before.map_or(FIRST, |trouble| (trouble.pause * 2).min(LONGEST));
        self.put = None;
        self.trouble = Some(Trouble { wanted: job.state, fault, pause, until: Instant::now() + pause });
    }
}

/// Whether root's configuration lets a home be written to.
fn is_below(home: &str, config: &Config) -> bool {
    let home = Path::new(home);
    let straight = home.components().all(|part| matches!(part, Component::Normal(_) | Component::RootDir));
    straight && config.written.homes.iter().any(|root| home.starts_with(root) && home != root)
}

/// The keys of a file.
fn lines(bytes: &[u8]) -> usize {
    bytes.split(|byte| *byte == b'\n').filter(|line| !line.is_empty() && !line.starts_with(b"#")).count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_root_names_is_written_to() {
        let mut config = Config::default();
        assert!(!is_below("/srv/homes/a", &config));
        config.written.homes = vec!["/srv/homes".into()];
        for (home, below) in [
            ("/srv/homes/a", true),
            ("/srv/homes/a/b", true),
            ("/srv/homes", false),
            ("/srv/homes/", false),
            ("/srv/homesick/a", false),
            ("/srv/homes/../../etc", false),
            ("srv/homes/a", false),
            ("", false),
        ] {
            assert_eq!(is_below(home, &config), below, "{home}");
        }
    }
}
