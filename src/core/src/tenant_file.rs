//! Reading key files: a target's own, which is hostile, and the managed ones.
//!
//! A target's own file lies in a home that its container writes. So it is opened below that home with no link followed
//! out of it; looked at before it is opened for reading, for opening a device can do things; and read by a child
//! process that alone raises `CAP_DAC_READ_SEARCH`, holds nothing but a pipe, and is left behind when it takes too long
//! (a FUSE or NFS home can keep it for ever). What comes through the pipe is parsed by the parent, without privilege.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use nix::libc;
use vestibule_sys::beneath::{Resolve, open_with};
use vestibule_sys::caps::{self, Cap};
use vestibule_sys::{fds, process};

use crate::config::Keys;
use crate::decide::KeyFiles;
use crate::may_enter::MayEnter;
use crate::target::Target;

/// Bytes that a target's own file has at most.
pub const MAX_OWN: u64 = 64 * 1024;
/// Bytes that a managed file has at most.
pub const MAX_MANAGED: u64 = 1024 * 1024;

/// Why a key file is not used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum KeyFileError {
    /// A link on the way leads out of the directory or into `/proc`, or the home's own path has one.
    #[error("a symbolic link on its path leads out of its directory, or stands for the home itself")]
    Outside,
    /// A directory, device, FIFO or socket.
    #[error("it is not a regular file")]
    NotRegular,
    /// Anybody on the bastion may write it.
    #[error("it may be written by everybody; mend with 'chmod o-w'")]
    WorldWritable,
    /// It has more bytes than are read.
    #[error("it has more than {0} bytes")]
    TooLarge(u64),
    /// It was not read in time.
    #[error("it was not read within {} ms", .0.as_millis())]
    Deadline(Duration),
    /// The kernel said no.
    #[error("{}", Errno(*.0))]
    Os(i32),
    /// Root's configuration has no key file there read.
    #[error("its home is not below one of 'may_enter.homes' of the configuration")]
    NotAllowed,
    /// The process that reads it ended early.
    #[error("the process that reads it ended early")]
    Child,
}

/// An errno in words; never with a path or anything else that a file holds.
struct Errno(i32);

impl std::fmt::Display for Errno {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let words = nix::errno::Errno::from_raw(self.0).desc();
        match self.0 {
            libc::EACCES => write!(f, "{words}; does keys-lookup have its capability ('getcap')?"),
            _ => f.write_str(words),
        }
    }
}

impl From<io::Error> for KeyFileError {
    fn from(error: io::Error) -> Self {
        KeyFileError::Os(error.raw_os_error().unwrap_or(libc::EIO))
    }
}

/// The key files of this host.
#[derive(Debug, Clone)]
pub struct HostFiles {
    /// The directory of managed files.
    pub managed: PathBuf,
    /// A target's own file, below its home.
    pub own_file: PathBuf,
    /// How long reading a target's own file may take.
    pub deadline: Duration,
    /// Gives up every capability of this process for good once a child reads a target's own file, so that what the
    /// file holds is parsed without any.
    pub shed_privileges: bool,
    /// Which homes are looked into.
    pub may_enter: MayEnter,
}

impl HostFiles {
    /// As the configuration has it.
    #[must_use]
    pub fn new(keys: &Keys) -> Self {
        HostFiles {
            managed: keys.managed.clone(),
            own_file: PathBuf::from(&keys.own_file),
            deadline: Duration::from_millis(keys.deadline_ms),
            shed_privileges: false,
            may_enter: MayEnter::default(),
        }
    }
}

impl KeyFiles for HostFiles {
    fn managed(&self, target: &Target) -> Result<Option<Vec<u8>>, KeyFileError> {
        // A target's name begins with a letter, a digit or `_` and has no `/`: it is a file in this directory.
        read_beneath(&self.managed, Resolve::InRoot, Path::new(target.name.as_str()), MAX_MANAGED)
    }

    fn own(&self, home: &str) -> Result<Option<Vec<u8>>, KeyFileError> {
        let home = Path::new(home);
        if self.may_enter.home(home) { self.read_in_child(home) } else { Err(KeyFileError::NotAllowed) }
    }
}

/// Reads a file of at most `max` bytes below `directory`; `None` when there is none.
fn read_beneath(
    directory: &Path,
    links: Resolve,
    path: &Path,
    max: u64,
) -> Result<Option<Vec<u8>>, KeyFileError> {
    let file = match open_regular(directory, links, path) {
        Ok(file) => file,
        Err(KeyFileError::Os(libc::ENOENT | libc::ENOTDIR)) => return Ok(None),
        Err(why) => return Err(why),
    };
    // The size may change while it is read; what counts is what was read.
    let mut bytes = Vec::new();
    file.take(max + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > max { Err(KeyFileError::TooLarge(max)) } else { Ok(Some(bytes)) }
}

/// Opens a regular file below `directory`, once it is known to be one.
///
/// `links` says whether the directory's own path may have some. The directory of managed files is the administrator's; a
/// home may lie where a tenant can put a link in its place.
fn open_regular(directory: &Path, links: Resolve, path: &Path) -> Result<File, KeyFileError> {
    let outside = |error: io::Error| match error.raw_os_error() {
        Some(libc::EXDEV | libc::ELOOP) => KeyFileError::Outside,
        _ => error.into(),
    };
    let root = File::open("/")?;
    let below_root = directory.strip_prefix("/").unwrap_or(directory);
    let below_root = if below_root.as_os_str().is_empty() { Path::new(".") } else { below_root };
    let directory =
        open_with(root.as_fd(), below_root, links, libc::O_PATH | libc::O_DIRECTORY).map_err(outside)?;
    let place = open_with(directory.as_fd(), path, Resolve::Beneath, libc::O_PATH).map_err(outside)?;
    let found = File::from(place);
    let about = found.metadata()?;
    if !about.file_type().is_file() {
        return Err(KeyFileError::NotRegular);
    }
    if about.mode() & 0o002 != 0 {
        return Err(KeyFileError::WorldWritable);
    }
    // The same file once more, whatever its name stands for by now.
    let again = format!("/proc/self/fd/{}", found.as_raw_fd());
    Ok(OpenOptions::new()
        .read(true)
        .custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY | libc::O_CLOEXEC)
        .open(again)?)
}

impl HostFiles {
    /// [`read_beneath`] in a child process, for a limited time.
    fn read_in_child(&self, home: &Path) -> Result<Option<Vec<u8>>, KeyFileError> {
        let end = Instant::now() + self.deadline;
        let (reader, writer) = process::pipe()?;
        let child = process::fork_child(|| child(home, &self.own_file, writer.as_fd()))?;
        drop(writer);
        let shed = if self.shed_privileges { caps::drop_all() } else { Ok(()) };
        let answer = shed.map_err(KeyFileError::from).and_then(|()| receive(reader, end, self.deadline));
        // A child that has said all is ending. One that has not is in the kernel's hands, does not die at once and is
        // not waited for: it holds nothing of ours.
        if answer.is_err() {
            let _ = child.signal(libc::SIGKILL);
        }
        let _ = child.try_wait();
        answer
    }
}

/// What the child does: sends a tag, then the file or the number of an error.
fn child(home: &Path, path: &Path, pipe: BorrowedFd<'_>) -> i32 {
    // The login must not wait for whoever holds its output, nor a writer of the store for whoever holds its locks.
    if fds::std_to_null().is_err() || fds::close_others_in_child(pipe).is_err() {
        return 1;
    }
    // Without the capability, files that everybody may read can still be read.
    let _ = caps::raise(Cap::DacReadSearch);
    let message = match read_beneath(home, Resolve::NoLinks, path, MAX_OWN) {
        Ok(Some(bytes)) => [&[Tag::File as u8], bytes.as_slice(), &[Tag::End as u8]].concat(),
        Ok(None) => vec![Tag::None as u8, Tag::End as u8],
        Err(why) => {
            let (tag, number) = match why {
                KeyFileError::Outside => (Tag::Outside, 0),
                KeyFileError::NotRegular => (Tag::NotRegular, 0),
                KeyFileError::WorldWritable => (Tag::WorldWritable, 0),
                KeyFileError::TooLarge(_) => (Tag::TooLarge, 0),
                KeyFileError::Os(number) => (Tag::Os, number),
                KeyFileError::Deadline(_) | KeyFileError::Child | KeyFileError::NotAllowed => {
                    (Tag::Os, libc::EIO)
                }
            };
            [&[tag as u8], number.to_be_bytes().as_slice(), &[Tag::End as u8]].concat()
        }
    };
    let Ok(pipe) = pipe.try_clone_to_owned() else { return 1 };
    i32::from(File::from(pipe).write_all(&message).is_err())
}

/// The first byte of what the child sends, and the last, without which something is missing.
#[derive(Clone, Copy)]
#[repr(u8)]
enum Tag {
    File = 1,
    None,
    Outside,
    NotRegular,
    WorldWritable,
    TooLarge,
    Os,
    End,
}

/// Reads what the child sends until `end`.
fn receive(pipe: OwnedFd, end: Instant, limit: Duration) -> Result<Option<Vec<u8>>, KeyFileError> {
    let mut pipe = File::from(pipe);
    let mut message = Vec::new();
    let mut buffer = vec![0_u8; 16 * 1024];
    loop {
        let left = end.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(KeyFileError::Deadline(limit));
        }
        // Rounded up, so that the last wait is not a busy one.
        if !process::poll_readable(pipe.as_fd(), left + Duration::from_millis(1))? {
            continue;
        }
        let n = pipe.read(&mut buffer)?;
        if n == 0 {
            return parse(&message);
        }
        message.extend_from_slice(buffer.get(..n).unwrap_or_default());
        if message.len() as u64 > MAX_OWN + 16 {
            return Err(KeyFileError::Child);
        }
    }
}

fn parse(message: &[u8]) -> Result<Option<Vec<u8>>, KeyFileError> {
    let is = |byte: u8, tag: Tag| byte == tag as u8;
    let [first, body @ .., last] = message else { return Err(KeyFileError::Child) };
    if !is(*last, Tag::End) {
        return Err(KeyFileError::Child);
    }
    match *first {
        tag if is(tag, Tag::File) => Ok(Some(body.to_vec())),
        tag if is(tag, Tag::None) => Ok(None),
        tag if is(tag, Tag::Outside) => Err(KeyFileError::Outside),
        tag if is(tag, Tag::NotRegular) => Err(KeyFileError::NotRegular),
        tag if is(tag, Tag::WorldWritable) => Err(KeyFileError::WorldWritable),
        tag if is(tag, Tag::TooLarge) => Err(KeyFileError::TooLarge(MAX_OWN)),
        tag if is(tag, Tag::Os) => {
            Err(body.try_into().map_or(KeyFileError::Child, |n| KeyFileError::Os(i32::from_be_bytes(n))))
        }
        _ => Err(KeyFileError::Child),
    }
}

#[cfg(test)]
mod tests;
