//! Putting a file below a home that its tenant controls: one process for one file.
//!
//! It opens the home with no link followed, becomes its owner for good, and only then looks into it: whatever it is led
//! to do, its owner could do himself. Each step is held beneath the home and on its file system. No file that is there is
//! opened for writing: a new one takes its place, as a whole.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Component, Path};

use nix::fcntl::{AT_FDCWD, AtFlags, renameat};
use nix::libc;
use nix::sys::stat::{Mode, mkdirat};
use nix::unistd::{UnlinkatFlags, linkat, unlinkat};
use vestibule_sys::beneath::{Resolve, open_mode, open_with};
use vestibule_sys::{caps, fds, process};

use crate::frames::MAX_CONTENT;

/// What came of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Placed {
    /// The file is another one than before.
    Written,
    /// The file was as it is to be.
    Same,
    /// There is no home.
    Absent,
}

/// Why a file is not as it is to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    /// The home belongs to root.
    Roots,
    /// There is a link, or another file system, on the way.
    Link,
    /// Something on the way is no directory.
    NotDirectory,
    /// A directory on the way belongs to another than the home.
    Foreign,
    /// A directory on the way can be written by everybody.
    WorldWritable,
    /// A directory stands where the file is to be.
    InTheWay,
    /// There is no room, or quota. A file with keys that are not to be there any more was removed.
    Room,
    /// The kernel said no.
    Os(i32),
    /// No answer in time.
    Deadline,
    /// The process ended early.
    Child,
}

impl std::fmt::Display for Fault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Fault::Roots => "the home belongs to root, and is none of a tenant's",
            Fault::Link => "a symbolic link or another file system stands on the way",
            Fault::NotDirectory => "something on the way is no directory",
            Fault::Foreign => "a directory on the way belongs to another than the home",
            Fault::WorldWritable => "a directory on the way can be written by everybody",
            Fault::InTheWay => "a directory stands where the file is to be",
            Fault::Room => "there is no room, or quota; a file with keys that are gone was removed",
            Fault::Os(number) => nix::errno::Errno::from_raw(*number).desc(),
            Fault::Deadline => "it does not answer",
            Fault::Child => "the process that writes it ended early",
        })
    }
}

impl From<io::Error> for Fault {
    fn from(error: io::Error) -> Fault {
        match error.raw_os_error() {
            Some(libc::ELOOP | libc::EXDEV) => Fault::Link,
            Some(libc::ENOTDIR) => Fault::NotDirectory,
            Some(libc::ENOSPC | libc::EDQUOT) => Fault::Room,
            number => Fault::Os(number.unwrap_or(libc::EIO)),
        }
    }
}

impl From<nix::Error> for Fault {
    fn from(error: nix::Error) -> Fault {
        io::Error::from(error).into()
    }
}

/// A file to be put below a home.
#[derive(Debug)]
pub(crate) struct Job {
    pub(crate) home: String,
    /// Below the home.
    pub(crate) file: String,
    /// What in the store it was made of.
    pub(crate) state: u64,
    pub(crate) bytes: Vec<u8>,
    /// Without keys nothing is made that is not there.
    pub(crate) keys: bool,
}

/// Says in five bytes what came of it.
pub(crate) fn encode(placed: Result<Placed, Fault>) -> [u8; 5] {
    let (tag, number) = match placed {
        Ok(Placed::Written) => (1, 0),
        Ok(Placed::Same) => (2, 0),
        Ok(Placed::Absent) => (3, 0),
        Err(Fault::Roots) => (4, 0),
        Err(Fault::Link) => (5, 0),
        Err(Fault::NotDirectory) => (6, 0),
        Err(Fault::Foreign) => (7, 0),
        Err(Fault::WorldWritable) => (8, 0),
        Err(Fault::InTheWay) => (9, 0),
        Err(Fault::Room) => (10, 0),
        Err(Fault::Os(number)) => (11, number),
        Err(Fault::Deadline | Fault::Child) => (12, 0),
    };
    let [a, b, c, d] = i32::to_be_bytes(number);
    [tag, a, b, c, d]
}

pub(crate) fn decode(said: [u8; 5]) -> Result<Placed, Fault> {
    let [tag, number @ ..] = said;
    match tag {
        1 => Ok(Placed::Written),
        2 => Ok(Placed::Same),
        3 => Ok(Placed::Absent),
        4 => Err(Fault::Roots),
        5 => Err(Fault::Link),
        6 => Err(Fault::NotDirectory),
        7 => Err(Fault::Foreign),
        8 => Err(Fault::WorldWritable),
        9 => Err(Fault::InTheWay),
        10 => Err(Fault::Room),
        11 => Err(Fault::Os(i32::from_be_bytes(number))),
        _ => Err(Fault::Child),
    }
}

/// What the child does, from root to the owner of the home.
pub(crate) fn child(job: &Job, root: u32, pipe: BorrowedFd<'_>) -> i32 {
    if fds::std_to_null().is_err() || fds::close_others_in_child(pipe).is_err() {
        return 1;
    }
    let placed = place(job, root);
    let Ok(pipe) = pipe.try_clone_to_owned() else { return 1 };
    i32::from(File::from(pipe).write_all(&encode(placed)).is_err())
}

fn place(job: &Job, root: u32) -> Result<Placed, Fault> {
    let home = match open_home(Path::new(&job.home)) {
        Err(Fault::Os(libc::ENOENT)) => return Ok(Placed::Absent),
        other => other?,
    };
    let about = File::from(home.try_clone()?).metadata()?;
    if about.uid() == 0 {
        return Err(Fault::Roots);
    }
    process::become_user(about.uid(), about.gid(), &[])?;
    caps::drop_all()?;
    caps::no_new_privs()?;
    if !process::signal_on_parent_death(libc::SIGKILL, i32::try_from(root).unwrap_or(0))? {
        return Err(Fault::Child);
    }
    nix::sys::stat::umask(Mode::from_bits_truncate(0o077));
    put(home.as_fd(), job)
}

fn open_home(home: &Path) -> Result<OwnedFd, Fault> {
    let root = File::open("/")?;
    let below = home.strip_prefix("/").unwrap_or(home);
    Ok(open_with(root.as_fd(), below, Resolve::NoLinks, libc::O_PATH | libc::O_DIRECTORY)?)
}

/// Puts the file below `home`, as this process's user, whose home it is.
pub(crate) fn put(home: BorrowedFd<'_>, job: &Job) -> Result<Placed, Fault> {
    let mut parts: Vec<&Path> = Path::new(&job.file)
        .components()
        .filter(|part| matches!(part, Component::Normal(_)))
        .map(|part| Path::new(part.as_os_str()))
        .collect();
    let Some(name) = parts.pop() else { return Err(Fault::InTheWay) };
    let mut directory = home.try_clone_to_owned()?;
    for part in parts {
        let open =
            |at: &OwnedFd| open_with(at.as_fd(), part, Resolve::Straight, libc::O_PATH | libc::O_DIRECTORY);
        let next = match open(&directory) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                if !job.keys {
                    return Ok(Placed::Same);
                }
                match mkdirat(&directory, part, Mode::S_IRWXU) {
                    Err(error) if error != nix::Error::EEXIST => return Err(error.into()),
                    _ => open(&directory)?,
                }
            }
            other => other?,
        };
        let about = File::from(next.try_clone()?).metadata()?;
        if about.uid() != nix::unistd::geteuid().as_raw() {
            return Err(Fault::Foreign);
        }
        if about.mode() & 0o002 != 0 {
            return Err(Fault::WorldWritable);
        }
        directory = next;
    }
    let before = match before(&directory, name)? {
        Before::Nothing if !job.keys => return Ok(Placed::Same),
        Before::File(bytes) if bytes == job.bytes => return Ok(Placed::Same),
        before => before,
    };
    match replace(&directory, name, &job.bytes) {
        // A key that is gone must not stay for want of room: better no file than that one.
        Err(Fault::Room) if before.has_more_than(&job.bytes) => {
            unlinkat(&directory, name, UnlinkatFlags::NoRemoveDir)?;
            replace(&directory, name, &job.bytes)?;
        }
        done => done?,
    }
    Ok(Placed::Written)
}

/// What stands where the file is to be.
enum Before {
    Nothing,
    /// A file of the home's owner, for nobody else, and of one name.
    File(Vec<u8>),
    /// Anything else.
    Other,
}

impl Before {
    /// Whether there is a line that `after` does not have.
    fn has_more_than(&self, after: &[u8]) -> bool {
        let Before::File(bytes) = self else { return !matches!(self, Before::Nothing) };
        let kept: std::collections::HashSet<&[u8]> = after.split(|byte| *byte == b'\n').collect();
        bytes.split(|byte| *byte == b'\n').any(|line| !kept.contains(line))
    }
}

fn before(directory: &OwnedFd, name: &Path) -> Result<Before, Fault> {
    // Neither a FIFO nor a device can hold this: it does not block, and its owner has no devices.
    let file = match open_with(directory.as_fd(), name, Resolve::Straight, libc::O_RDONLY) {
        Ok(file) => File::from(file),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Before::Nothing),
        Err(_) => return Ok(Before::Other),
    };
    let about = file.metadata()?;
    let ours = about.uid() == nix::unistd::geteuid().as_raw();
    if !about.is_file() || !ours || about.nlink() != 1 || about.mode() & 0o7777 != 0o600 {
        return Ok(Before::Other);
    }
    let mut bytes = Vec::new();
    file.take(MAX_CONTENT as u64 + 1).read_to_end(&mut bytes)?;
    Ok(Before::File(bytes))
}

/// A new file in the place of whatever is there. It is not synced: after a crash the next run finds what is wrong.
fn replace(directory: &OwnedFd, name: &Path, bytes: &[u8]) -> Result<(), Fault> {
    let mut new = name.as_os_str().to_owned();
    new.push(".new");
    let new = Path::new(&new);
    match unlinkat(directory, new, UnlinkatFlags::NoRemoveDir) {
        Err(nix::Error::EISDIR) => return Err(Fault::InTheWay),
        Err(error) if error != nix::Error::ENOENT => return Err(error.into()),
        _ => {}
    }
    let written = write_new(directory, new, bytes).and_then(|()| {
        renameat(directory, new, directory, name).map_err(|error| match error {
            nix::Error::EISDIR | nix::Error::ENOTEMPTY | nix::Error::EEXIST => Fault::InTheWay,
            error => error.into(),
        })
    });
    if written.is_err() {
        let _ = unlinkat(directory, new, UnlinkatFlags::NoRemoveDir);
    }
    written
}

/// Makes `new`, by a file without a name where the file system has those, so that one that is killed leaves nothing.
fn write_new(directory: &OwnedFd, new: &Path, bytes: &[u8]) -> Result<(), Fault> {
    let open = |path: &Path, flags| open_mode(directory.as_fd(), path, Resolve::Straight, flags, 0o600);
    let (file, nameless) = match open(Path::new("."), libc::O_TMPFILE | libc::O_WRONLY) {
        Ok(file) => (file, true),
        Err(error)
            if matches!(
                error.raw_os_error(),
                Some(libc::EOPNOTSUPP | libc::EISDIR | libc::EINVAL | libc::ENOSYS)
            ) =>
        {
            (open(new, libc::O_CREAT | libc::O_EXCL | libc::O_WRONLY)?, false)
        }
        Err(error) => return Err(error.into()),
    };
    let mut file = File::from(file);
    file.write_all(bytes)?;
    file.set_permissions(std::fs::Permissions::from_mode(0o600))?;
    if nameless {
        let path = format!("/proc/self/fd/{}", file.as_raw_fd());
        linkat(AT_FDCWD, path.as_str(), directory, new, AtFlags::AT_SYMLINK_FOLLOW)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_came_of_it_is_heard_as_it_was_said() {
        let all = [
            Ok(Placed::Written),
            Ok(Placed::Same),
            Ok(Placed::Absent),
            Err(Fault::Roots),
            Err(Fault::Link),
            Err(Fault::NotDirectory),
            Err(Fault::Foreign),
            Err(Fault::WorldWritable),
            Err(Fault::InTheWay),
            Err(Fault::Room),
            Err(Fault::Os(13)),
            Err(Fault::Child),
        ];
        for placed in all {
            assert_eq!(decode(encode(placed)), placed);
        }
        assert_eq!(decode([0; 5]), Err(Fault::Child));
    }

    #[test]
    fn a_file_with_a_line_too_many_is_known() {
        let before = Before::File(b"# head\na\nb\n".to_vec());
        assert!(before.has_more_than(b"# head\na\n"));
        assert!(!before.has_more_than(b"# head\nb\nc\na\n"));
        assert!(Before::Other.has_more_than(b""));
        assert!(!Before::Nothing.has_more_than(b""));
    }
}
