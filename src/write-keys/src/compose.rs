//! What stands in the files: made of the store by a process that may read the store, and do nothing else.
//!
//! Hubs write the store, so what is in it is somebody else's: names, paths, options of keys. The same decision is asked
//! that a login asks, for each key that may open a target.

use std::collections::HashSet;
use std::fs::{self, File};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::{self, BufWriter, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, anyhow, bail};
use nix::libc::SIGKILL;
use vestibule::decide::{self, Addresses, Judge, KeyFiles, Outcome, Question, Reason, Source, World};
use vestibule::may_enter::MayEnter;
use vestibule::messages::shown;
use vestibule::options::{Clock, HostPort};
use vestibule::paths;
use vestibule::store::{Candidate, Store};
use vestibule::target::{LoginUser, Target, TargetId};
use vestibule::tenant_file::KeyFileError;
use vestibule_sys::{caps, fds, process, time};

use crate::frames::{Content, Frame, MAX_CONTENT, MAX_HOME, Timed};
use crate::report;

/// How long the store may take.
const PATIENCE: Duration = Duration::from_secs(120);
const HEAD: &[u8] =
    b"# vestibule writes this file for this target's own sshd; what is changed here is lost.\n";

/// Which files are asked for.
pub(crate) struct Asked<'a> {
    /// Only that of this target's home.
    pub(crate) target: Option<&'a str>,
    /// What root's configuration lets anybody enter at all.
    pub(crate) may_enter: &'a MayEnter,
    /// Whether the file of a home was made of just this, and is not needed again. It is asked in the child.
    pub(crate) has: &'a dyn Fn(&str, u64) -> bool,
}

/// What is told of one home: its path and its targets, and what is to stand in the file, unless that is not needed.
pub(crate) type Told = (String, Vec<i64>, Option<Content>);

/// Hands what is to stand in each file to `take`, and returns the next second at which something ends.
///
/// # Errors
/// When not all of it is known: what was handed over before may be taken, but nothing that was not is gone.
pub(crate) fn contents(asked: &Asked<'_>, mut take: impl FnMut(Told)) -> anyhow::Result<Option<i64>> {
    let (uid, gid) = reader()?;
    let (from, to) = process::pipe().context("pipe")?;
    let root = std::process::id();
    let child = process::fork_child(|| tell(uid, gid, root, asked, &to)).context("fork")?;
    drop(to);
    let mut from = io::BufReader::new(Timed { pipe: from.into(), end: Instant::now() + PATIENCE });
    let told = loop {
        match Frame::read(&mut from) {
            Ok(Frame::File(content)) => {
                take((content.home.clone(), content.targets.clone(), Some(content)));
            }
            Ok(Frame::Same(home, targets)) => take((home, targets, None)),
            Ok(Frame::End(next)) => break Ok(next),
            Ok(Frame::Fault(why)) => break Err(anyhow!("{}", shown(&why))),
            Err(error) => break Err(anyhow!("what the store has is not known: {error}")),
        }
    };
    let _ = child.signal(SIGKILL);
    let _ = child.wait_at_most(Duration::from_secs(1));
    told
}

/// The ids of who may read the store.
fn reader() -> anyhow::Result<(u32, u32)> {
    let store = Path::new(paths::STORE);
    let gid = store.metadata().with_context(|| format!("'{}'", store.display()))?.gid();
    let passwd = fs::read_to_string("/etc/passwd").context("'/etc/passwd'")?;
    let uid = passwd.lines().find_map(|line| {
        let mut fields = line.split(':');
        (fields.next() == Some(paths::USER_KEYS)).then(|| fields.nth(1)?.parse::<u32>().ok())?
    });
    match uid {
        Some(uid) if uid != 0 => Ok((uid, gid)),
        _ => bail!("there is no user '{}'; run 'vestibulectl init'", paths::USER_KEYS),
    }
}

/// What the child does.
fn tell(uid: u32, gid: u32, root: u32, asked: &Asked<'_>, to: &OwnedFd) -> i32 {
    let shed = fds::close_others_in_child(to.as_fd())
        .and_then(|()| process::become_user(uid, gid, &[]))
        .and_then(|()| caps::drop_all())
        .and_then(|()| caps::no_new_privs())
        .and_then(|()| process::set_dumpable(false))
        .and_then(|()| process::signal_on_parent_death(SIGKILL, i32::try_from(root).unwrap_or(0)));
    let Ok(pipe) = to.try_clone() else { return 1 };
    let mut out = BufWriter::new(File::from(pipe));
    let told = match shed {
        Ok(true) => all(asked, &mut out),
        Ok(false) => return 1,
        Err(error) => Err(anyhow!("can't give up root's rights: {error}")),
    };
    let last = told.map_or_else(|error| Frame::Fault(format!("{error:#}")), Frame::End);
    i32::from(last.write(&mut out).and_then(|()| out.flush()).is_err())
}

fn all(asked: &Asked<'_>, out: &mut impl Write) -> anyhow::Result<Option<i64>> {
    let store = Store::open_read(Path::new(paths::STORE))?;
    let clock = Clock { now: time::now(), from_local: time::from_local };
    let only = match asked.target {
        None => None,
        Some(name) => Some(store.target_named(name, None)?.ok_or_else(|| anyhow!("no target '{name}'"))?.id),
    };
    let targets =
        store.written_targets(|error| report::warn(&format!("{:#}", anyhow::Error::from(error))))?;
    if let Some(id) = only
        && !targets.iter().any(|target| target.id == id)
    {
        bail!("the policy of this target does not say that keys are written, or it has no home");
    }
    let mut next = None;
    for group in targets.chunk_by(|a, b| a.home == b.home) {
        let of_home = group.iter().any(|target| only.is_none_or(|id| id == target.id));
        let Some(home) = group.first().and_then(|target| target.home.as_deref()).filter(|_| of_home) else {
            continue;
        };
        if home.len() > MAX_HOME || home.chars().any(char::is_control) {
            report::warn(&format!("home={:?} problem=\"it is no path that is written to\"", shown(home)));
            continue;
        }
        let (candidates, state) = candidates(&store, group, clock.now, asked.may_enter)?;
        let ends = candidates.iter().flatten().filter_map(|candidate| candidate.ends);
        next = next.into_iter().chain(ends.filter(|end| *end > clock.now)).min();
        if (asked.has)(home, state) {
            Frame::Same(home.to_owned(), numbers(group)).write(out)?;
        } else {
            let (bytes, keys) = content(&store, group, &candidates, clock, asked.may_enter)?;
            let (home, targets) = (home.to_owned(), numbers(group));
            Frame::File(Content { home, targets, state, bytes, keys }).write(out)?;
        }
    }
    Ok(next)
}

fn numbers(targets: &[Target]) -> Vec<i64> {
    targets.iter().map(|target| target.id.0).collect()
}

/// The keys that may open each of the targets, and a number for all that the file of their home is made of.
fn candidates(
    store: &Store,
    targets: &[Target],
    now: i64,
    may_enter: &MayEnter,
) -> anyhow::Result<(Vec<Vec<Candidate>>, u64)> {
    let mut state = DefaultHasher::new();
    format!("{may_enter:?}").hash(&mut state);
    let mut all = Vec::with_capacity(targets.len());
    for target in targets {
        format!("{target:?}").hash(&mut state);
        let of_target = store.candidates(target.id, &mut state)?;
        of_target.iter().for_each(|key| key.ends.is_some_and(|end| end <= now).hash(&mut state));
        all.push(of_target);
    }
    Ok((all, state.finish()))
}

/// The file of a home, and whether there is a key in it. Several targets may share it: whoever may enter one of them
/// reaches the home, and with it what opens the others.
fn content(
    store: &Store,
    targets: &[Target],
    candidates: &[Vec<Candidate>],
    clock: Clock,
    may_enter: &MayEnter,
) -> anyhow::Result<(Vec<u8>, bool)> {
    let mut file = HEAD.to_vec();
    let mut lines = HashSet::new();
    for (target, candidates) in targets.iter().zip(candidates) {
        if target.login_user == LoginUser::Account {
            // Whoever has a key would enter as the home's owner, whoever that is.
            report::warn(&format!(
                "target={} problem=\"its user is the account: no keys are written\"",
                target.name
            ));
            continue;
        }
        let mut asked = HashSet::new();
        for candidate in candidates.iter().filter(|candidate| asked.insert(candidate.key)) {
            let question = Question {
                login: target.name.as_str().as_bytes(),
                key: candidate.key,
                certificate: None,
                judge: Judge::OwnSshd,
                clock,
                prefix: None,
                moved: true,
            };
            let world = World { facts: store, files: &Nothing, addresses: &Nothing };
            let outcome = decide::for_target(&question, &world, &mut |_| {}, target.clone(), None)?;
            let granted = match outcome.held_to(may_enter) {
                Outcome::Granted(granted) => *granted,
                // It needs them when it is started.
                Outcome::Closed(closed) if matches!(closed.reason, Reason::NotRunning { .. }) => {
                    closed.granted
                }
                _ => continue,
            };
            let of_store = granted
                .lines
                .iter()
                .filter(|line| matches!(line.source.source, Source::Account | Source::Target));
            for line in of_store {
                if file.len() + line.text.len() > MAX_CONTENT {
                    report::warn(&format!("target={} problem=\"more keys than a file takes\"", target.name));
                    return Ok((file, !lines.is_empty()));
                }
                if lines.insert(line.text.clone()) {
                    file.extend_from_slice(&line.text);
                }
            }
        }
    }
    Ok((file, !lines.is_empty()))
}

/// Files are not asked: the target's sshd reads the target's own itself.
struct Nothing;

impl KeyFiles for Nothing {
    fn managed(&self, _: &Target) -> Result<Option<Vec<u8>>, KeyFileError> {
        Ok(None)
    }

    fn own(&self, _: &str) -> Result<Option<Vec<u8>>, KeyFileError> {
        Ok(None)
    }
}

impl Addresses for Nothing {
    fn container(&self, _: TargetId) -> Result<HostPort, String> {
        Err("not asked".to_owned())
    }
}
