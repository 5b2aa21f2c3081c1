//! A container that is about to be entered: everything of it that is needed, open and read, before anything changes.

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::fcntl::OFlag;
use vestibule::messages::Refusal;
use vestibule_sys::beneath::{self, Resolve};
use vestibule_sys::cgroup::{self, Door, Hierarchies, Membership};
use vestibule_sys::lsm::{self, Label};
use vestibule_sys::namespaces::{self, Kind, Kinds};
use vestibule_sys::process;
use vestibule_sys::procfs::{ProcDir, Status};
use vestibule_sys::rlimits::{self, Limit};
use vestibule_sys::seccomp::{self, Filter};

use crate::refused::{OrRefuse, Refused};

/// How long the container's first process may take to stop for the moment in which its filters are read.
const STOP_WITHIN: Duration = Duration::from_secs(2);
/// A larger `/etc/passwd` or `/etc/group` is not read to its end.
const MAX_USER_FILE: u64 = 1 << 20;

/// A running container, held by its first process.
pub(crate) struct Container {
    pub(crate) pidfd: OwnedFd,
    /// The root directory of its first process.
    pub(crate) root: OwnedFd,
    /// In which of its namespaces we are not.
    pub(crate) kinds: Kinds,
    pub(crate) status: Status,
    pub(crate) filters: Vec<Filter>,
    /// The control groups to move into, each with its name for messages.
    pub(crate) doors: Vec<(String, Door)>,
    pub(crate) limits: Vec<Limit>,
    pub(crate) label: Label,
    pub(crate) oom_score_adj: Vec<u8>,
    pub(crate) personality: u64,
    /// Whether its user namespace lets processes choose supplementary groups.
    pub(crate) may_set_groups: bool,
    process: ProcDir,
}

/// The first process of a container, held and proven to be one.
pub(crate) struct Proven {
    pub(crate) pidfd: OwnedFd,
    pub(crate) process: ProcDir,
    own: ProcDir,
    /// In which of its namespaces we are not.
    pub(crate) kinds: Kinds,
    memberships: Vec<Membership>,
}

impl Proven {
    /// Takes hold of process `pid`, and makes sure that it is the first of a container.
    ///
    /// `id`, for an engine's container, must stand in the path of the process's control groups: that is the kernel's
    /// word that the process belongs to it. For any container, its mounts must be others than the bastion's.
    pub(crate) fn open(pid: i32, id: Option<&str>, target: &str) -> Result<Self, Refused> {
        let gone = |e: io::Error| not_running(pid, target, &e);
        let pidfd = namespaces::pidfd_open(pid).map_err(gone)?;
        let process = ProcDir::open(pid).map_err(gone)?;
        // The process behind the pidfd still lives, so /proc/PID was opened for that one.
        process::signal_pidfd(pidfd.as_fd(), 0).map_err(gone)?;

        let own = ProcDir::own().or_setup("'/proc/self'")?;
        let kinds = namespaces::differing(&process, &own).map_err(gone)?;
        if !kinds.has(Kind::Mnt) || (id.is_none() && !kinds.has(Kind::Pid)) {
            return Err(Refused::setup(format_args!("process {pid} is in the bastion's own namespaces")));
        }
        let memberships = cgroup::memberships(&process).map_err(gone)?;
        if let Some(id) = id
            && !(is_container_id(id) && memberships.iter().any(|m| is_named_by(&m.path, id)))
        {
            return Err(Refused::setup(format_args!(
                "process {pid} is in no control group of container '{id}'"
            )));
        }
        Ok(Proven { pidfd, process, own, kinds, memberships })
    }

    /// The directory of the control group that an engine's `id` names; what is below it is the container's too.
    pub(crate) fn group(&self, id: &str) -> Option<PathBuf> {
        let hierarchies = Hierarchies::here().ok()?;
        self.memberships.iter().find_map(|place| {
            let parts: Vec<&str> = place.path.split('/').collect();
            let last = parts.iter().position(|part| is_named_by(part, id))?;
            let path = parts.get(..=last)?.join("/");
            hierarchies.directory(&Membership { controllers: place.controllers.clone(), path })
        })
    }

    /// A file of the container's: read below its root, regular files only, and no more than `limit` bytes. `None` when
    /// there is none.
    pub(crate) fn file(&self, path: &str, limit: u64) -> io::Result<Option<Vec<u8>>> {
        let root = self.process.file("root", OFlag::O_PATH | OFlag::O_DIRECTORY)?;
        file_beneath(root.as_fd(), path, limit)
    }
}

fn not_running(pid: i32, target: &str, e: &io::Error) -> Refused {
    Refused::new(Refusal::NotRunning { target: target.to_owned() }, format_args!("process {pid}: {e}"))
}

/// Reads a regular file below a container's root.
fn file_beneath(root: BorrowedFd<'_>, path: &str, limit: u64) -> io::Result<Option<Vec<u8>>> {
    let file = match beneath::open_beneath(root, Path::new(path), Resolve::InRoot) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
        other => File::from(other?),
    };
    if !file.metadata()?.is_file() {
        return Err(io::Error::other("not a regular file"));
    }
    let mut bytes = Vec::new();
    file.take(limit).read_to_end(&mut bytes)?;
    Ok(Some(bytes))
}

/// What is put on after everything else.
pub(crate) struct LastStep {
    pub(crate) status: Status,
    pub(crate) filters: Vec<Filter>,
}

impl Container {
    /// Opens the container whose first process is `pid`, proven as [`Proven::open`] does.
    pub(crate) fn open(pid: i32, id: Option<&str>, target: &str) -> Result<Self, Refused> {
        let name = || target.to_owned();
        let gone = |e: io::Error| not_running(pid, target, &e);
        let Proven { pidfd, process, own, kinds, memberships } = Proven::open(pid, id, target)?;
        let status = process.status().map_err(gone)?;
        let own_groups = cgroup::memberships(&own).or_setup("'/proc/self/cgroup'")?;
        let hierarchies = Hierarchies::here().or_setup("'/proc/self/mountinfo'")?;
        let mut doors = Vec::new();
        for place in memberships.iter().filter(|m| !own_groups.contains(m)) {
            let what =
                format!("cgroup {}", if place.controllers.is_empty() { "v2" } else { &place.controllers });
            let Some(directory) = hierarchies.directory(place) else {
                return Err(cannot(what, format_args!("'{}' is not mounted here", place.path)));
            };
            if cgroup::is_frozen(&directory) {
                return Err(Refused::new(
                    Refusal::Paused { target: name() },
                    format_args!("'{}' is frozen", directory.display()),
                ));
            }
            doors.push((what.clone(), Door::open(place, &directory).or_unconfined(&what)?));
        }
        let filters = filters(&process, &status, target)?;
        let text = |file: &str| process.text(file).map_err(gone);
        let persona = text("personality")?;
        Ok(Container {
            root: process.file("root", OFlag::O_PATH | OFlag::O_DIRECTORY).map_err(gone)?,
            kinds,
            filters,
            doors,
            limits: rlimits::of(&process).map_err(gone)?,
            label: lsm::label(&process).map_err(gone)?,
            oom_score_adj: process.read("oom_score_adj").map_err(gone)?,
            personality: u64::from_str_radix(persona.trim(), 16)
                .map_err(|_| cannot("personality".to_owned(), "unreadable"))?,
            may_set_groups: text("setgroups").is_ok_and(|t| t.trim() == "allow"),
            pidfd,
            status,
            process,
        })
    }

    /// The version 2 control group that it is in, where we are in another one.
    pub(crate) fn unified_group(&self) -> Option<BorrowedFd<'_>> {
        self.doors.iter().find_map(|(_, door)| door.unified())
    }

    /// Lets go of every descriptor. What is left is what [`crate::confine::load_filters`] needs.
    pub(crate) fn into_last_step(self) -> LastStep {
        let Container { status, filters, .. } = self;
        LastStep { status, filters }
    }

    /// Its namespaces that are not the bastion's. (This process may have been moved into one of the container's own.)
    pub(crate) fn apart(&self) -> io::Result<Kinds> {
        namespaces::differing(&self.process, &ProcDir::open(1)?)
    }

    /// The environment that its first process was started with.
    pub(crate) fn environ(&self) -> Vec<u8> {
        self.process.read("environ").unwrap_or_default()
    }

    /// A file of the container's for the parser, empty if there is none: read below its root, regular files only.
    pub(crate) fn user_file(&self, path: &str) -> io::Result<Vec<u8>> {
        Ok(file_beneath(self.root.as_fd(), path, MAX_USER_FILE)?.unwrap_or_default())
    }
}

/// Whoever gave the id may be lying: engines' ids are 64 hexadecimal digits.
fn is_container_id(id: &str) -> bool {
    id.len() == 64 && id.bytes().all(|b| b.is_ascii_hexdigit())
}

/// Whether a control group is named by an id, alone or as systemd names it (`docker-ID.scope`).
fn is_named_by(path: &str, id: &str) -> bool {
    path.split(['/', '-', '.']).any(|word| word == id)
}

fn filters(process: &ProcDir, status: &Status, target: &str) -> Result<Vec<Filter>, Refused> {
    match status.seccomp {
        0 => return Ok(Vec::new()),
        2 => {}
        other => return Err(cannot("seccomp".to_owned(), format_args!("the container is in mode {other}"))),
    }
    let filters = seccomp::filters_of(process.pid(), STOP_WITHIN).map_err(|e| {
        if e.kind() == io::ErrorKind::TimedOut {
            Refused::new(
                Refusal::NotAnswering { target: target.to_owned() },
                "its first process does not stop",
            )
        } else {
            cannot("seccomp filter".to_owned(), format_args!("PTRACE_SECCOMP_GET_FILTER: {e}"))
        }
    })?;
    if status.seccomp_filters.is_some_and(|count| usize::try_from(count) != Ok(filters.len())) {
        return Err(cannot("seccomp filter".to_owned(), "the container changed its filters meanwhile"));
    }
    if filters.iter().any(Filter::notifies) {
        return Err(cannot(
            "seccomp filter with a supervisor".to_owned(),
            "SECCOMP_RET_USER_NOTIF can't be copied",
        ));
    }
    Ok(filters)
}

fn cannot(what: String, cause: impl std::fmt::Display) -> Refused {
    let cause = format!("{what}: {cause}");
    Refused::new(Refusal::CannotConfine { what }, cause)
}
