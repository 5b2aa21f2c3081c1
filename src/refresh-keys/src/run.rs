//! A run: each source is asked, and what it says taken over, whatever became of the others.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use nix::fcntl::{Flock, FlockArg};
use vestibule::config::Config;
use vestibule::paths;
use vestibule::store::{ChangeError, Counts, Refresh, Scope, SourceRow, SourceUpdate, Stage, Store, Writer};

use crate::args::Args;
use crate::clock;
use crate::follow;
use crate::identity;
use crate::progress::Progress;
use crate::report::{self, Problems, Report};
use crate::settings::{self, Source};
use crate::sink::{Sink, canonical};
use crate::source::{self, Answer, Ask, SourceFault};
use crate::{pin, trigger, wake};

/// How long a run waits for another one of the same source.
const PATIENCE: Duration = Duration::from_secs(120);

/// All sources are refreshed; some are not; one would have lost too much.
const FAILED: u8 = 1;
const SHRINKS: u8 = 3;

/// Where everything is.
pub(crate) struct Place {
    store: PathBuf,
    index: PathBuf,
    directory: PathBuf,
    prefix: Option<String>,
}

impl Place {
    pub(crate) fn store(&self) -> &Path {
        &self.store
    }
}

/// Refreshes what the command line says.
pub(crate) fn run(args: Args) -> anyhow::Result<ExitCode> {
    let config = match &args.config {
        Some(path) => Config::load(path),
        None => Config::load_trusted(Path::new(paths::CONFIG)),
    };
    let config = config.context("configuration")?;
    let store = args.store.clone().unwrap_or_else(|| paths::STORE.into());
    let file = |path: &str| store.with_file_name(Path::new(path).file_name().unwrap_or_default());
    let directory = store.parent().unwrap_or(Path::new(".")).to_owned();
    let place = Place { index: file(paths::INDEX), directory, prefix: config.target_prefix.clone(), store };
    identity::become_owner_of(&place.directory)?;
    if let Some(target) = &args.pin_host_key {
        return pin::run(|| open(&place), target);
    }
    let sources = settings::sources(&config, &args.source)?;
    if sources.is_empty() {
        bail!("there is no [source.NAME] in the configuration; see refresh-keys(8)");
    }
    if let Some(target) = &args.wake {
        let most = args.within.map_or(config.session.wake_seconds, |w| w.min(config.session.wake_seconds));
        let most = Duration::from_secs(most);
        return wake::run(&place.store, &sources, target, most);
    }
    if args.follow {
        return follow::run(args, place, sources);
    }
    let scope = match (&args.target, &args.account) {
        _ if args.trigger => trigger::scope()?,
        (Some(target), _) => Scope::Target(canonical(target)),
        (None, Some(account)) => Scope::Account(account.clone()),
        (None, None) => Scope::All,
    };
    let mut code = 0;
    for source in &sources {
        let report = refresh(&args, &place, source, &scope);
        code = code.max(match report.result {
            "failed" => FAILED,
            "shrinks" => SHRINKS,
            _ => 0,
        });
        report.tell(args.json).context("standard output")?;
    }
    let asked = |row: &SourceRow| args.source.is_empty() || args.source.contains(&row.name);
    for row in ages(&place).iter().filter(|row| asked(row)) {
        report::tell_age(row);
    }
    Ok(ExitCode::from(code))
}

/// What the store has of sources; nothing when it can't be asked, which was told before.
pub(crate) fn ages(place: &Place) -> Vec<SourceRow> {
    Store::open_read(&place.store).and_then(|store| store.sources()).unwrap_or_default()
}

/// Refreshes one source. Whatever fails, the store keeps the source's last good rows.
pub(crate) fn refresh<'a>(args: &Args, place: &Place, source: &'a Source, scope: &Scope) -> Report<'a> {
    let begun = Instant::now();
    let mut problems = Problems::default();
    let mut progress = Progress::new(&source.name, !args.json);
    let done = attempt(args, place, source, scope, &mut problems, &mut progress);
    drop(progress);
    let milliseconds = u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX);
    let (result, why, counts) = match done {
        Ok(Done::Unchanged) => ("unchanged", None, Counts::default()),
        Ok(Done::OthersTurn) => ("left-to-another", None, Counts::default()),
        Ok(Done::Changed(counts)) if args.dry_run && counts.any() => ("would-change", None, counts),
        Ok(Done::Changed(counts)) if counts.any() => ("refreshed", None, counts),
        Ok(Done::Changed(counts)) => ("unchanged", None, counts),
        Err(fault) => {
            let shrinks = matches!(fault.downcast_ref(), Some(ChangeError::Shrinks { .. }));
            let mut why = format!("{fault:#}").replace('\n', " ");
            if shrinks {
                why.push_str("; if that is right, run 'refresh-keys --accept-shrink'");
            }
            if !args.dry_run {
                why.push_str(&note_failure(place, source, &why));
            }
            (if shrinks { "shrinks" } else { "failed" }, Some(why), Counts::default())
        }
    };
    Report { source: &source.name, result, why, counts, problems, milliseconds }
}

enum Done {
    Unchanged,
    /// Another run waits for its turn already, and will ask for the same.
    OthersTurn,
    Changed(Counts),
}

fn attempt(
    args: &Args,
    place: &Place,
    source: &Source,
    scope: &Scope,
    problems: &mut Problems,
    progress: &mut Progress,
) -> anyhow::Result<Done> {
    let next = if args.trigger {
        let next = trigger::next(&place.directory, &source.name, scope)?;
        let Some(next) = next else { return Ok(Done::OthersTurn) };
        Some(next)
    } else {
        None
    };
    let _lock = lock(&place.directory.join(format!("refresh-{}.lock", source.name)))?;
    drop(next);
    let mut writer = open(place)?;
    let known = writer.change(|changes| {
        if !args.dry_run {
            clock::follow_clock(changes, &place.directory)?;
        }
        anyhow::Ok(changes.source(&source.name)?)
    })?;
    let cursor = known.and_then(|row: SourceRow| row.cursor).filter(|_| !args.full && *scope == Scope::All);
    let mut stage = Stage::create(&place.directory.join(format!("refresh-{}.stage", source.name)))?;
    let mut sink = Sink {
        stage: &mut stage,
        problems,
        progress,
        scope,
        allow: &source.common.allow,
        rows: 0,
        max_rows: source.common.max_rows,
    };
    let memory = place.directory.join(format!("refresh-{}.known", source.name));
    let ask = Ask {
        scope,
        cursor: cursor.as_deref(),
        full: args.full,
        dry_run: args.dry_run,
        store: &place.store,
        memory: &memory,
    };
    let answer = source::open(source)?.fetch(&ask, &mut sink).map_err(SourceFault::into_error)?;
    progress.step("storing");
    let staged = stage.finish()?;
    let keep = *scope != Scope::All;
    let max_stale = source.common.max_stale;
    let update = |cursor| SourceUpdate::Answered { cursor, keep, max_stale };
    let (whole, cursor) = match &answer {
        Answer::Unchanged if args.dry_run => return Ok(Done::Unchanged),
        Answer::Unchanged => {
            let same = SourceUpdate::Answered { cursor: None, keep: true, max_stale };
            writer.change(|changes| changes.note_source(&source.name, same))?;
            return Ok(Done::Unchanged);
        }
        Answer::Whole { cursor } => (true, cursor.as_deref()),
        Answer::Changes { cursor } => (false, cursor.as_deref()),
    };
    let how = Refresh {
        source: &source.name,
        whole,
        scope: scope.clone(),
        max_shrink: (!args.accept_shrink).then_some(source.common.max_shrink),
        others: source.common.others,
    };
    let counts = writer.refresh(&staged, &how, update(cursor), args.dry_run, &mut |what, why| {
        problems.add(what, why);
    })?;
    Ok(Done::Changed(counts))
}

/// How far a source was read.
pub(crate) fn cursor(place: &Place, source: &Source) -> anyhow::Result<Option<String>> {
    let known = open(place)?.change(|changes| changes.source(&source.name))?;
    Ok(known.and_then(|row: SourceRow| row.cursor))
}

fn open(place: &Place) -> anyhow::Result<Writer> {
    Ok(Writer::open(&place.store, &place.index, place.prefix.as_deref())?)
}

/// Notes that a source did not answer, and says until when its keys count.
fn note_failure(place: &Place, source: &Source, why: &str) -> String {
    let noted = open(place).and_then(|mut writer| {
        let why = vestibule::messages::shown(why);
        let row = writer.change(|changes| {
            changes.note_source(&source.name, SourceUpdate::Failed(&why))?;
            changes.source(&source.name).map(|row| (row, changes.now()))
        })?;
        Ok(row)
    });
    match noted {
        Ok((Some(SourceRow { valid_until: Some(end), .. }), now)) if end <= now => {
            "; its keys have ceased to count".to_owned()
        }
        Ok((Some(SourceRow { valid_until: Some(end), .. }), now)) => {
            format!("; its keys count for {} more seconds", end - now)
        }
        Ok(_) => String::new(),
        Err(error) => format!("; and that could not be noted: {error:#}"),
    }
}

/// One run at a time for each source, so that the one that asked last is taken over last.
fn lock(path: &Path) -> anyhow::Result<Flock<File>> {
    let name = || format!("'{}'", path.display());
    let opened = OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(path);
    let mut file = opened.with_context(name)?;
    let end = Instant::now() + PATIENCE;
    loop {
        match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
            Ok(lock) => return Ok(lock),
            Err((_, error)) if error != nix::Error::EWOULDBLOCK => return Err(error).with_context(name),
            Err(_) if Instant::now() >= end => bail!("another run of this source does not end"),
            Err((back, _)) => file = back,
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}
