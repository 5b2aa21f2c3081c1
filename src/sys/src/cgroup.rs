//! Control groups, version 1 and 2: where a process is, and how another one joins it. cgroups(7), proc(5).

use std::collections::HashSet;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::path::{Component, Path, PathBuf};

use crate::procfs::ProcDir;

/// Where the hierarchies are mounted here.
#[derive(Debug, Default)]
pub struct Hierarchies(Vec<Mount>);

#[derive(Debug)]
struct Mount {
    /// Controllers of a version 1 hierarchy; for version 2, nothing.
    controllers: HashSet<String>,
    /// The path inside the hierarchy that is mounted.
    root: PathBuf,
    at: PathBuf,
}

/// A process's place in one hierarchy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Membership {
    /// `memory`, `cpu,cpuacct`, `name=systemd`; empty for version 2.
    pub controllers: String,
    /// The path from the hierarchy's root.
    pub path: String,
}

impl Hierarchies {
    /// Reads the mounts of this process.
    ///
    /// # Errors
    /// As read(2).
    pub fn here() -> io::Result<Self> {
        Ok(Self::parse(&ProcDir::own()?.text("mountinfo")?))
    }

    /// `mountinfo`: `36 35 98:0 ROOT MOUNTPOINT options [fields] - cgroup SOURCE rw,memory` (proc_pid_mountinfo(5)).
    fn parse(mountinfo: &str) -> Self {
        let mounts = mountinfo.lines().filter_map(|line| {
            let (left, right) = line.split_once(" - ")?;
            let mut left = left.split(' ').skip(3);
            let (root, at) = (unescape(left.next()?), unescape(left.next()?));
            let mut right = right.split(' ');
            let controllers = match right.next()? {
                "cgroup2" => HashSet::new(),
                "cgroup" => {
                    right.nth(1)?.split(',').filter(|o| *o != "rw" && *o != "ro").map(str::to_owned).collect()
                }
                _ => return None,
            };
            Some(Mount { controllers, root, at })
        });
        Hierarchies(mounts.collect())
    }

    /// The directory of a place, if its hierarchy is mounted here and shows it.
    #[must_use]
    pub fn directory(&self, place: &Membership) -> Option<PathBuf> {
        let path = Path::new(&place.path);
        if path.components().any(|c| c == Component::ParentDir) {
            return None; // outside of what our own cgroup namespace shows
        }
        self.0.iter().filter(|m| m.holds(&place.controllers)).find_map(|m| {
            let below = path.strip_prefix(&m.root).ok()?;
            let directory = m.at.join(below);
            directory.is_dir().then_some(directory)
        })
    }

    /// Directories that `path`, taken from the root of each hierarchy, names.
    pub fn directories_named<'a>(&'a self, path: &'a Path) -> impl Iterator<Item = PathBuf> + 'a {
        let path = path.strip_prefix("/").unwrap_or(path);
        let stays = path.components().all(|c| matches!(c, Component::Normal(_)));
        self.0.iter().filter(move |_| stays).map(move |m| m.at.join(path)).filter(|d| d.is_dir())
    }
}

impl Mount {
    fn holds(&self, controllers: &str) -> bool {
        if controllers.is_empty() {
            return self.controllers.is_empty();
        }
        controllers.split(',').all(|c| self.controllers.contains(c))
    }
}

/// Octal escapes of mountinfo: `\040` for a blank.
fn unescape(field: &str) -> PathBuf {
    PathBuf::from(
        field.replace("\\040", " ").replace("\\011", "\t").replace("\\012", "\n").replace("\\134", "\\"),
    )
}

/// Where a process is, in every hierarchy: its `cgroup` file.
///
/// # Errors
/// As read(2).
pub fn memberships(process: &ProcDir) -> io::Result<Vec<Membership>> {
    let text = process.text("cgroup")?;
    Ok(text
        .lines()
        .filter_map(|line| {
            let mut fields = line.splitn(3, ':');
            let (_number, controllers, path) = (fields.next()?, fields.next()?, fields.next()?);
            Some(Membership { controllers: controllers.to_owned(), path: path.to_owned() })
        })
        .collect())
}

/// A group's door, open, to go through later.
///
/// Moving a process by `cgroup.procs` waits for every other process that forks or ends, some 10 ms on an idle host. A
/// process with one thread gets into a version 1 group by `tasks` without that, and a new process is born in a version 2
/// group (`CLONE_INTO_CGROUP` of clone(2)).
#[derive(Debug)]
pub enum Door {
    /// The `tasks` file of a version 1 group.
    Tasks(File),
    /// The directory of a version 2 group.
    Unified(File),
}

impl Door {
    /// Opens the door of the directory that belongs to `place`.
    ///
    /// # Errors
    /// As open(2).
    pub fn open(place: &Membership, directory: &Path) -> io::Result<Self> {
        if place.controllers.is_empty() {
            return Ok(Door::Unified(File::open(directory)?));
        }
        Ok(Door::Tasks(OpenOptions::new().write(true).open(directory.join("tasks"))?))
    }

    /// Moves the calling thread, which by contract is the whole process, into a version 1 group; does nothing for version
    /// 2, into which [`crate::process::fork_sibling_into`] goes.
    ///
    /// # Errors
    /// As write(2); `ENODEV` when the group was removed.
    pub fn enter(&self) -> io::Result<()> {
        match self {
            Door::Tasks(file) => (&*file).write_all(b"0"),
            Door::Unified(_) => Ok(()),
        }
    }

    /// The directory of a version 2 group.
    #[must_use]
    pub fn unified(&self) -> Option<BorrowedFd<'_>> {
        match self {
            Door::Tasks(_) => None,
            Door::Unified(directory) => Some(directory.as_fd()),
        }
    }
}

/// The processes of a group and of those below it.
///
/// # Errors
/// As read(2).
pub fn processes(directory: &Path) -> io::Result<Vec<i32>> {
    let mut pids: Vec<i32> = fs::read_to_string(directory.join("cgroup.procs"))?
        .lines()
        .filter_map(|line| line.parse().ok())
        .filter(|pid| *pid > 0)
        .collect();
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            pids.extend(processes(&entry.path()).unwrap_or_default());
        }
    }
    Ok(pids)
}

/// Whether the group of this version 2 or freezer directory is frozen: nothing in it can answer.
#[must_use]
pub fn is_frozen(directory: &Path) -> bool {
    let says = |file: &str, word: &str| {
        fs::read_to_string(directory.join(file))
            .is_ok_and(|text| text.lines().any(|line| line.trim() == word))
    };
    says("cgroup.events", "frozen 1") || says("freezer.state", "FROZEN")
}

#[cfg(test)]
mod tests {
    use super::*;

    const MOUNTS: &str = "\
24 23 0:21 / /sys/fs/cgroup rw - tmpfs tmpfs rw,mode=755
25 24 0:22 / /tmp rw,relatime - cgroup cgroup rw,memory
26 24 0:23 /outer /var rw,relatime shared:9 - cgroup cgroup rw,cpu,cpuacct
27 24 0:24 / /etc rw,relatime - cgroup2 cgroup2 rw
";

    #[test]
    fn a_place_is_found_in_its_own_hierarchy_only() {
        let here = Hierarchies::parse(MOUNTS);
        let place =
            |controllers: &str, path: &str| Membership { controllers: controllers.into(), path: path.into() };
        assert_eq!(here.directory(&place("memory", "/")), Some("/tmp/".into()));
        assert_eq!(here.directory(&place("cpu,cpuacct", "/outer/log")), Some("/var/log".into()));
        assert_eq!(here.directory(&place("cpu,cpuacct", "/log")), None, "not below what is mounted");
        assert_eq!(
            here.directory(&place("", "/ssl")),
            Some("/etc/ssl".into()).filter(|p: &PathBuf| p.is_dir())
        );
        assert_eq!(here.directory(&place("pids", "/")), None);
        assert_eq!(here.directory(&place("memory", "/../etc")), None);
    }

    #[test]
    fn a_named_path_stays_below_the_hierarchy() {
        let here = Hierarchies::parse(MOUNTS);
        assert_eq!(here.directories_named(Path::new("../etc")).count(), 0);
        assert_eq!(here.directories_named(Path::new("log")).collect::<Vec<_>>(), [PathBuf::from("/var/log")]);
    }
}
