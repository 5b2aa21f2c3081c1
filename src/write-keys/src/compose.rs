//! What stands in the files: made of the store by a process that may read the store, and do nothing else.
//!
//! Hubs write the store, so what is in it is somebody else's: names, paths, options of keys. The same decision is asked
//! that a login asks, for each key that may open a target.

use std::collections::HashSet;
use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, anyhow, bail};
use nix::libc::SIGKILL;
use vestibule::decide::{self, Addresses, Judge, KeyFiles, Outcome, Question, Source, World};
use vestibule::messages::shown;
use vestibule::options::{Clock, HostPort};
use vestibule::paths;
use vestibule::store::Store;
use vestibule::target::{LoginUser, Target, TargetId};
use vestibule::tenant_file::KeyFileError;
use vestibule_sys::{caps, fds, process, time};

use crate::frames::{Content, Frame, MAX_CONTENT, MAX_HOME, Timed};
use crate::report;

/// How long the store may take.
const PATIENCE: Duration = Duration::from_secs(120);
const HEAD: &[u8] =
    b"# vestibule writes this file for this target's own sshd; what is changed here is lost.\n";

/// Hands what is to stand in each file to `take`, and returns the next second at which something ends.
///
/// # Errors
/// When not all of it is known: what was handed over before may be taken, but nothing that was not is gone.
pub(crate) fn contents(target: Option<&str>, mut take: impl FnMut(Content)) -> anyhow::Result<Option<i64>> {
    let (uid, gid) = reader()?;
    let (from, to) = process::pipe().context("pipe")?;
    let root = std::process::id();
    let child = process::fork_child(|| tell(uid, gid, root, target, &to)).context("fork")?;
    drop(to);
    let mut from = io::BufReader::new(Timed { pipe: from.into(), end: Instant::now() + PATIENCE });
    let told = loop {
        match Frame::read(&mut from) {
            Ok(Frame::File(content)) => take(content),
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
fn tell(uid: u32, gid: u32, root: u32, target: Option<&str>, to: &OwnedFd) -> i32 {
    let shed = fds::close_others_in_child(to.as_fd())
        .and_then(|()| process::become_user(uid, gid, &[]))
        .and_then(|()| caps::drop_all())
        .and_then(|()| caps::no_new_privs())
        .and_then(|()| process::set_dumpable(false))
        .and_then(|()| process::signal_on_parent_death(SIGKILL, i32::try_from(root).unwrap_or(0)));
    let Ok(pipe) = to.try_clone() else { return 1 };
    let mut out = BufWriter::new(File::from(pipe));
    let told = match shed {
        Ok(true) => all(target, &mut out),
        Ok(false) => return 1,
        Err(error) => Err(anyhow!("can't give up root's rights: {error}")),
    };
    let last = told.map_or_else(|error| Frame::Fault(format!("{error:#}")), Frame::End);
    i32::from(last.write(&mut out).and_then(|()| out.flush()).is_err())
}

fn all(only: Option<&str>, out: &mut impl Write) -> anyhow::Result<Option<i64>> {
    let store = Store::open_read(Path::new(paths::STORE))?;
    let clock = Clock { now: time::now(), from_local: time::from_local };
    let only = match only {
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
        if let Some(content) =
            of_home.then(|| content(&store, group, clock, &mut next)).transpose()?.flatten()
        {
            Frame::File(content).write(out)?;
        }
    }
    Ok(next)
}

/// The file of a home. Several targets may share it: whoever may enter one of them reaches the home, and with it what
/// opens the others.
fn content(
    store: &Store,
    targets: &[Target],
    clock: Clock,
    next: &mut Option<i64>,
) -> anyhow::Result<Option<Content>> {
    let Some(home) = targets.first().and_then(|target| target.home.clone()) else { return Ok(None) };
    if home.len() > MAX_HOME || home.chars().any(char::is_control) {
        report::warn(&format!("home={:?} problem=\"it is no path that is written to\"", shown(&home)));
        return Ok(None);
    }
    let mut file = Content {
        home,
        targets: targets.iter().map(|target| target.id.0).collect(),
        bytes: HEAD.to_vec(),
        keys: false,
    };
    let mut lines = HashSet::new();
    for target in targets {
        if target.login_user == LoginUser::Account {
            // Whoever has a key would enter as the home's owner, whoever that is.
            report::warn(&format!(
                "target={} problem=\"its user is the account: no keys are written\"",
                target.name
            ));
            continue;
        }
        let mut asked = HashSet::new();
        for candidate in store.candidates(target.id)? {
            *next = next.iter().copied().chain(candidate.ends.filter(|end| *end > clock.now)).min();
            if !asked.insert(candidate.key) {
                continue;
            }
            let question = Question {
                login: target.name.as_str().as_bytes(),
                key: candidate.key,
                judge: Judge::OwnSshd,
                clock,
                prefix: None,
                moved: true,
            };
            let world = World { facts: store, files: &Nothing, addresses: &Nothing };
            let outcome = decide::for_target(&question, &world, &mut |_| {}, target.clone(), None)?;
            let Outcome::Granted(granted) = outcome else { continue };
            for line in
                granted.lines.iter().filter(|l| matches!(l.source.source, Source::Account | Source::Target))
            {
                if file.bytes.len() + line.text.len() > MAX_CONTENT {
                    report::warn(&format!("target={} problem=\"more keys than a file takes\"", target.name));
                    return Ok(Some(file));
                }
                if lines.insert(line.text.clone()) {
                    file.bytes.extend_from_slice(&line.text);
                    file.keys = true;
                }
            }
        }
    }
    Ok(Some(file))
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
