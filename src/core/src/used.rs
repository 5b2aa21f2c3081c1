//! Which targets are in use: a lock for each terminal, and one for each target that is used without, in
//! [`paths::USED_DIR`]. No name, key or address of anybody stands there.
//!
//! Sessions hold the locks and `refresh-keys` looks, to tell a hub. It is a lock and no register: what is killed leaves
//! nothing behind that counts, and nobody has to remove anything. Whoever looks takes no lock, so no session ever waits
//! (`F_OFD_GETLK` of fcntl(2)). A terminal is that of `sshd`, whose times say when bytes went through it last.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt};
use std::path::Path;

use nix::fcntl::{FcntlArg, fcntl};
use nix::libc;
use nix::sys::stat::{fstat, major, minor};

use crate::paths;
use crate::target::TargetId;

/// The major number of the terminals that `sshd` gives out (Documentation/admin-guide/devices.txt).
const UNIX98_PTY_SLAVE: u64 = 136;
/// Bytes of a file that are read: a number.
const MAX: u64 = 32;

/// A target is in use as long as this lives.
#[derive(Debug)]
pub struct Used(#[expect(dead_code, reason = "its lock is what counts")] File);

/// A use that goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Use {
    /// What is used.
    pub target: TargetId,
    /// On which of `sshd`'s terminals; nothing for a session without.
    pub terminal: Option<u64>,
}

impl Use {
    /// When bytes went through its terminal last, in seconds since 1970, to within some seconds; nothing where there is no
    /// terminal to ask.
    #[must_use]
    pub fn last(&self) -> Option<i64> {
        let about = std::fs::symlink_metadata(format!("/dev/pts/{}", self.terminal?)).ok()?;
        about.file_type().is_char_device().then(|| about.atime().max(about.mtime()))
    }
}

/// The number of `sshd`'s terminal behind a descriptor.
#[must_use]
pub fn terminal_of(fd: BorrowedFd<'_>) -> Option<u64> {
    let about = fstat(fd).ok()?;
    let device = about.st_rdev;
    let is_one = about.st_mode & libc::S_IFMT == libc::S_IFCHR && major(device) == UNIX98_PTY_SLAVE;
    is_one.then(|| minor(device))
}

/// Notes that a target is in use.
///
/// # Errors
/// As open(2), write(2) and fcntl(2).
pub fn begin(target: TargetId, terminal: Option<u64>) -> io::Result<Used> {
    begin_in(Path::new(paths::USED_DIR), target, terminal)
}

fn begin_in(directory: &Path, target: TargetId, terminal: Option<u64>) -> io::Result<Used> {
    let name = match terminal {
        Some(number) => format!("terminal-{number}"),
        None => format!("target-{}", target.0),
    };
    // For the owner of the directory to read, who is in no group of the sessions'; nobody else comes that far.
    let mut options = File::options();
    options.read(true).write(true).create(true).truncate(false).mode(0o644).custom_flags(libc::O_NOFOLLOW);
    let mut file = options.open(directory.join(name))?;
    // Many sessions may use a target at once, and one a terminal.
    let kind = if terminal.is_some() { libc::F_WRLCK } else { libc::F_RDLCK };
    fcntl(file.as_fd(), FcntlArg::F_OFD_SETLK(&whole_file(kind)))?;
    if terminal.is_some() {
        file.set_len(0)?;
        write!(file, "{}", target.0)?;
    }
    Ok(Used(file))
}

/// What is in use now.
///
/// # Errors
/// As open(2) of the directory.
pub fn all() -> io::Result<Vec<Use>> {
    all_in(Path::new(paths::USED_DIR))
}

fn all_in(directory: &Path) -> io::Result<Vec<Use>> {
    let mut uses = Vec::new();
    for entry in std::fs::read_dir(directory)? {
        let entry = entry?;
        // Sessions write here: what makes no sense is passed over.
        uses.extend(entry.file_name().to_str().and_then(|name| read(&entry.path(), name).ok().flatten()));
    }
    Ok(uses)
}

fn read(path: &Path, name: &str) -> io::Result<Option<Use>> {
    let of = |kind: &str| name.strip_prefix(kind).and_then(|number| number.parse::<u32>().ok());
    let (target, terminal) = (of("target-"), of("terminal-"));
    if target.is_none() && terminal.is_none() {
        return Ok(None);
    }
    let flags = libc::O_NOFOLLOW | libc::O_NONBLOCK;
    let file = File::options().read(true).custom_flags(flags).open(path)?;
    let mut asked = whole_file(libc::F_WRLCK);
    fcntl(file.as_fd(), FcntlArg::F_OFD_GETLK(&mut asked))?;
    if i32::from(asked.l_type) == libc::F_UNLCK {
        return Ok(None);
    }
    let target = match target {
        Some(target) => i64::from(target),
        None => {
            let mut text = String::new();
            file.take(MAX).read_to_string(&mut text)?;
            let Ok(target) = text.parse() else { return Ok(None) };
            target
        }
    };
    Ok(Some(Use { target: TargetId(target), terminal: terminal.map(u64::from) }))
}

fn whole_file(kind: i32) -> libc::flock {
    #[expect(clippy::cast_possible_truncation, reason = "constants that fit")]
    libc::flock {
        l_type: kind as libc::c_short,
        l_whence: libc::SEEK_SET as libc::c_short,
        l_start: 0,
        l_len: 0,
        l_pid: 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_in_use_is_seen_and_what_was_is_not() {
        let dir = tempfile::tempdir().unwrap();
        let dir = dir.path();
        let uses = || {
            let mut uses = all_in(dir).unwrap();
            uses.sort_by_key(|u| (u.target, u.terminal));
            uses
        };
        let of = |target, terminal| Use { target: TargetId(target), terminal };
        let one = begin_in(dir, TargetId(7), None).unwrap();
        let two = begin_in(dir, TargetId(7), None).unwrap();
        let drawn = begin_in(dir, TargetId(8), Some(3)).unwrap();
        assert_eq!(uses(), [of(7, None), of(8, Some(3))]);
        assert!(begin_in(dir, TargetId(9), Some(3)).is_err(), "a terminal has one session");
        drop(one);
        assert_eq!(uses(), [of(7, None), of(8, Some(3))]);
        drop((two, drawn));
        assert_eq!(uses(), []);
        let _again = begin_in(dir, TargetId(12345), Some(3)).unwrap();
        assert_eq!(uses(), [of(12345, Some(3))]);
    }

    #[test]
    fn what_makes_no_sense_is_passed_over() {
        let dir = tempfile::tempdir().unwrap();
        let dir = dir.path();
        for name in ["target-", "target--1", "terminal-x", "other", "target-99999999999999999999"] {
            std::fs::write(dir.join(name), "7").unwrap();
        }
        std::os::unix::fs::symlink("/etc/passwd", dir.join("target-5")).unwrap();
        nix::unistd::mkfifo(&dir.join("target-6"), nix::sys::stat::Mode::S_IRWXU).unwrap();
        std::fs::create_dir(dir.join("target-4")).unwrap();
        let held = begin_in(dir, TargetId(1), Some(1)).unwrap();
        std::fs::write(dir.join("terminal-1"), "1 or 2").unwrap();
        assert_eq!(all_in(dir).unwrap(), []);
        drop(held);
        assert!(begin_in(dir, TargetId(5), None).is_err());
    }

    #[test]
    fn a_terminal_has_its_number_and_nothing_else_has() {
        let pty = nix::pty::openpty(None, None).unwrap();
        let name = nix::unistd::ttyname(&pty.slave).unwrap();
        let number = terminal_of(pty.slave.as_fd()).unwrap();
        assert_eq!(name.to_str().unwrap(), format!("/dev/pts/{number}"));
        assert!(Use { target: TargetId(1), terminal: Some(number) }.last().is_some());
        assert_eq!(terminal_of(File::open("/dev/null").unwrap().as_fd()), None);
        assert_eq!(Use { target: TargetId(1), terminal: None }.last(), None);
    }
}
