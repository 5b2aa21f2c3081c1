//! `--follow`: the service. It writes when the store changes, when a key or a grant ends, when a target is woken, when a
//! home that was not there is tried again, and looks now and then whether all is as it was.

use std::io::Write;
use std::os::fd::AsFd;
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify, WatchDescriptor};
use vestibule::paths;
use vestibule_sys::{process, time};

use crate::pass::{Files, Wanted};
use crate::report;

/// A writer of the store that is at work goes on within this time; then it is waited for no longer.
const QUIET: Duration = Duration::from_millis(20);
const BUSY: Duration = Duration::from_millis(500);
/// After a pass that failed.
const PAUSE: Duration = Duration::from_secs(5);
/// What clocks say is looked at so often: they may be set.
const LOOK: Duration = Duration::from_secs(30);
/// A home may be there only some time after its target was woken.
const AFTER_WAKE: [Duration; 3] =
    [Duration::from_millis(200), Duration::from_secs(2), Duration::from_secs(10)];

/// What is watched.
struct Watch {
    inotify: Inotify,
    store: WatchDescriptor,
    wake: WatchDescriptor,
}

/// What was seen.
#[derive(Default)]
struct Seen {
    store: bool,
    woken: Vec<i64>,
}

/// Follows until it is ended.
pub(crate) fn run(every: u32) -> anyhow::Result<ExitCode> {
    let every = Duration::from_secs(every.into());
    let watch = Watch::begin()?;
    let mut files = Files::default();
    let mut woken: Vec<(Instant, i64)> = Vec::new();
    let mut looked = Instant::now();
    let mut look_again = true;
    loop {
        let now = Instant::now();
        for (_, target) in woken.extract_if(.., |(at, _)| *at <= now) {
            files.was_woken(target);
        }
        if look_again {
            looked = now;
        }
        let (ends, failed) = match files.pass(&Wanted { target: None, look_again }) {
            Ok(done) => (done.ends, false),
            Err(error) => {
                let line = format!("{error:#}").replace('\n', " ");
                report::log_fault(&line);
                let _ = writeln!(std::io::stderr(), "write-keys: {line}");
                (None, true)
            }
        };
        if failed {
            std::thread::sleep(PAUSE);
            continue;
        }
        loop {
            let next = [Some(looked + every), files.try_again(), woken.iter().map(|(at, _)| *at).min()];
            let next = next.into_iter().flatten().min().unwrap_or(looked + every);
            let left = next.saturating_duration_since(Instant::now());
            let left = ends.map_or(left, |end| {
                left.min(LOOK).min(Duration::from_secs(u64::try_from(end - time::now()).unwrap_or(0)))
            });
            let seen = watch.wait(left)?;
            let begun = Instant::now();
            woken.extend(seen.woken.iter().flat_map(|id| AFTER_WAKE.map(|after| (begun + after, *id))));
            look_again = looked.elapsed() >= every;
            if seen.store || Instant::now() >= next || ends.is_some_and(|end| end <= time::now()) {
                break;
            }
        }
    }
}

impl Watch {
    fn begin() -> anyhow::Result<Watch> {
        let wake = Path::new(paths::WAKE_DIR);
        match std::fs::DirBuilder::new().mode(0o700).create(wake) {
            Err(error) if error.kind() != std::io::ErrorKind::AlreadyExists => {
                return Err(error).with_context(|| format!("'{}'", wake.display()));
            }
            _ => {}
        }
        let inotify = Inotify::init(InitFlags::IN_CLOEXEC | InitFlags::IN_NONBLOCK).context("inotify")?;
        let add = |path: &str, flags| inotify.add_watch(path, flags).with_context(|| format!("'{path}'"));
        let changes = AddWatchFlags::IN_MODIFY | AddWatchFlags::IN_MOVED_TO | AddWatchFlags::IN_CREATE;
        let store = add(paths::STATE_DIR, changes | AddWatchFlags::IN_ONLYDIR)?;
        let wake = add(paths::WAKE_DIR, AddWatchFlags::IN_MOVED_TO | AddWatchFlags::IN_ONLYDIR)?;
        Ok(Watch { inotify, store, wake })
    }

    /// Waits until something is seen, and then until it is quiet again.
    fn wait(&self, most: Duration) -> anyhow::Result<Seen> {
        let mut seen = Seen::default();
        let end = Instant::now() + most;
        let mut busy = None;
        loop {
            let left = match busy {
                None => end.saturating_duration_since(Instant::now()),
                Some(busy) => QUIET.min(Instant::saturating_duration_since(&busy, Instant::now())),
            };
            // Rounded up, so that the last wait is not a busy one.
            let ready = process::poll_readable(self.inotify.as_fd(), left + Duration::from_millis(1))?;
            if ready && self.read(&mut seen)? {
                busy.get_or_insert(Instant::now() + BUSY);
            }
            let over = busy.map_or(end, |busy| if ready { busy } else { Instant::now() });
            if Instant::now() >= over {
                return Ok(seen);
            }
        }
    }

    /// Whether there was something that matters.
    fn read(&self, seen: &mut Seen) -> anyhow::Result<bool> {
        let store = Path::new(paths::STORE).file_name().unwrap_or_default().to_string_lossy().into_owned();
        let mut matters = false;
        for event in self.inotify.read_events().context("inotify")? {
            if event.mask.contains(AddWatchFlags::IN_IGNORED) {
                bail!("a directory that is watched is another one now");
            }
            let name = event.name.as_ref().map(|name| name.to_string_lossy()).unwrap_or_default();
            let overflow = event.mask.contains(AddWatchFlags::IN_Q_OVERFLOW);
            // The store, or what SQLite keeps beside it; and not what `refresh-keys` keeps there.
            if overflow || (event.wd == self.store && name.starts_with(&store) && !name.ends_with("-shm")) {
                seen.store = true;
                matters = true;
            }
            if event.wd == self.wake
                && let Some(id) = name.strip_suffix(".json").and_then(|id| id.parse().ok())
            {
                if !seen.woken.contains(&id) {
                    seen.woken.push(id);
                }
                matters = true;
            }
        }
        Ok(matters)
    }
}
