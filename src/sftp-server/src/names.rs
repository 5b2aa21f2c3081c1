//! Requests on names.

use std::os::unix::ffi::OsStringExt;
use std::path::Path;

use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, AtFlags, RenameFlags};
use nix::libc;
use nix::sys::stat::{self, FchmodatFlags, Mode, UtimensatFlags};
use nix::sys::time::TimeSpec;
use nix::unistd::{self, Gid, Uid};

use crate::attributes::{Attributes, MODE_BITS};
use crate::real_path::real_path;
use crate::server::Reply;
use crate::status::{Fault, Status};

pub(crate) fn lstat(path: &Path) -> Result<Reply, Fault> {
    Ok(Reply::Attributes((&stat::lstat(path)?).into()))
}

pub(crate) fn stat(path: &Path) -> Result<Reply, Fault> {
    Ok(Reply::Attributes((&stat::stat(path)?).into()))
}

/// Several changes of one request: all are tried, and the last failure is the answer.
#[derive(Default)]
pub(crate) struct Changes(Option<Errno>);

impl Changes {
    pub(crate) fn made(&mut self, change: Result<(), Errno>) {
        if let Err(errno) = change {
            self.0 = Some(errno);
        }
    }

    pub(crate) fn outcome(self) -> Result<Reply, Fault> {
        self.0.map_or(Ok(Reply::Done), |errno| Err(errno.into()))
    }
}

/// A size as the kernel takes it.
pub(crate) fn length(size: u64) -> Result<i64, Errno> {
    i64::try_from(size).map_err(|_| Errno::EINVAL)
}

/// A mode as the kernel takes it.
pub(crate) fn file_mode(permissions: u32) -> Mode {
    Mode::from_bits_truncate(permissions & MODE_BITS)
}

/// Times as the kernel takes them.
pub(crate) fn times(attributes: &Attributes) -> Option<(TimeSpec, TimeSpec)> {
    let time = |second: u32| TimeSpec::new(second.into(), 0);
    attributes.times.map(|(accessed, modified)| (time(accessed), time(modified)))
}

/// User and group as the kernel takes them.
pub(crate) fn ids(attributes: &Attributes) -> Option<(Option<Uid>, Option<Gid>)> {
    attributes.owner.map(|(user, group)| (Some(Uid::from_raw(user)), Some(Gid::from_raw(group))))
}

pub(crate) fn setstat(path: &Path, attributes: &Attributes) -> Result<Reply, Fault> {
    let mut changes = Changes::default();
    if let Some(size) = attributes.size {
        changes.made(length(size).and_then(|l| unistd::truncate(path, l)));
    }
    change_inode(path, attributes, true, &mut changes);
    changes.outcome()
}

/// Of a symbolic link itself.
pub(crate) fn lsetstat(path: &Path, attributes: &Attributes) -> Result<Reply, Fault> {
    if attributes.size.is_some() {
        return Err(Status::BadMessage.into()); // links have none to set
    }
    let mut changes = Changes::default();
    change_inode(path, attributes, false, &mut changes);
    changes.outcome()
}

fn change_inode(path: &Path, attributes: &Attributes, follow: bool, changes: &mut Changes) {
    let (of_mode, of_times, of_owner) = if follow {
        (FchmodatFlags::FollowSymlink, UtimensatFlags::FollowSymlink, AtFlags::empty())
    } else {
        (FchmodatFlags::NoFollowSymlink, UtimensatFlags::NoFollowSymlink, AtFlags::AT_SYMLINK_NOFOLLOW)
    };
    if let Some(permissions) = attributes.permissions {
        changes.made(stat::fchmodat(AT_FDCWD, path, file_mode(permissions), of_mode));
    }
    if let Some((accessed, modified)) = times(attributes) {
        changes.made(stat::utimensat(AT_FDCWD, path, &accessed, &modified, of_times));
    }
    if let Some((user, group)) = ids(attributes) {
        changes.made(unistd::fchownat(AT_FDCWD, path, user, group, of_owner));
    }
}

pub(crate) fn remove(path: &Path) -> Result<Reply, Fault> {
    unistd::unlink(path)?;
    Ok(Reply::Done)
}

pub(crate) fn mkdir(path: &Path, attributes: &Attributes) -> Result<Reply, Fault> {
    unistd::mkdir(path, file_mode(attributes.permissions.unwrap_or(0o777)))?;
    Ok(Reply::Done)
}

pub(crate) fn rmdir(path: &Path) -> Result<Reply, Fault> {
    unistd::unlinkat(AT_FDCWD, path, unistd::UnlinkatFlags::RemoveDir)?;
    Ok(Reply::Done)
}

pub(crate) fn realpath(path: &Path) -> Result<Reply, Fault> {
    Ok(Reply::Name(real_path(path)?.into_os_string().into_vec()))
}

/// Renames, and never overwrites.
pub(crate) fn rename(old: &Path, new: &Path) -> Result<Reply, Fault> {
    match nix::fcntl::renameat2(AT_FDCWD, old, AT_FDCWD, new, RenameFlags::RENAME_NOREPLACE) {
        Ok(()) => Ok(Reply::Done),
        // File systems on a network or in user space, and kernels that filter the call.
        Err(Errno::EINVAL | Errno::ENOSYS | Errno::EPERM) => rename_by_link(old, new),
        Err(e) => Err(e.into()),
    }
}

/// As OpenSSH's server does it: for files without a race, where there are hard links; else with one.
fn rename_by_link(old: &Path, new: &Path) -> Result<Reply, Fault> {
    if stat::lstat(old)?.st_mode & libc::S_IFMT == libc::S_IFREG {
        match unistd::linkat(AT_FDCWD, old, AT_FDCWD, new, AtFlags::empty()) {
            Ok(()) => {
                return unistd::unlink(old).map(|()| Reply::Done).map_err(|e| {
                    let _ = unistd::unlink(new); // the failure to tell is the first
                    e.into()
                });
            }
            Err(Errno::EOPNOTSUPP | Errno::ENOSYS | Errno::EXDEV | Errno::EPERM) => {}
            Err(e) => return Err(e.into()),
        }
    }
    if stat::lstat(new).is_ok() {
        return Err(Status::Failure.into());
    }
    posix_rename(old, new)
}

/// Renames, and overwrites.
pub(crate) fn posix_rename(old: &Path, new: &Path) -> Result<Reply, Fault> {
    std::fs::rename(old, new)?;
    Ok(Reply::Done)
}

/// To a symbolic link itself when `old` is one.
pub(crate) fn hardlink(old: &Path, new: &Path) -> Result<Reply, Fault> {
    unistd::linkat(AT_FDCWD, old, AT_FDCWD, new, AtFlags::empty())?;
    Ok(Reply::Done)
}

pub(crate) fn readlink(path: &Path) -> Result<Reply, Fault> {
    Ok(Reply::Name(nix::fcntl::readlink(path)?.into_vec()))
}

pub(crate) fn symlink(target: &Path, link: &Path) -> Result<Reply, Fault> {
    unistd::symlinkat(target, AT_FDCWD, link)?;
    Ok(Reply::Done)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn without_renameat2_a_rename_does_not_overwrite_either() {
        let place = tempfile::tempdir().unwrap();
        let at = |name: &str| place.path().join(name);
        fs::write(at("one"), "1").unwrap();
        fs::write(at("two"), "2").unwrap();
        fs::create_dir(at("dir")).unwrap();
        std::os::unix::fs::symlink("nowhere", at("dangling")).unwrap();
        for new in ["two", "dir", "dangling"] {
            let outcome = rename_by_link(&at("one"), &at(new)).map(|_| ());
            assert_eq!(outcome, Err(Status::Failure.into()), "{new}");
            let outcome = rename_by_link(&at("dir"), &at(new)).map(|_| ());
            assert_eq!(outcome, Err(Status::Failure.into()), "dir {new}");
        }
        rename_by_link(&at("one"), &at("new")).unwrap();
        rename_by_link(&at("dir"), &at("new dir")).unwrap();
        assert_eq!(fs::read(at("new")).unwrap(), b"1");
        assert_eq!(fs::read(at("two")).unwrap(), b"2");
        assert!(at("new dir").is_dir() && !at("one").exists() && !at("dir").exists());
        assert_eq!(rename_by_link(&at("one"), &at("x")).map(|_| ()), Err(Status::NoSuchFile.into()));
    }
}
