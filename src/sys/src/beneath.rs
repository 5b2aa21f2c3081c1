//! Opening files of somebody who does not wish us well: openat2(2) with the path held beneath a directory.

use std::ffi::CString;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use crate::cvt;

/// What happens to `..`, absolute paths and symlinks on the way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Resolve {
    /// Whatever would leave the directory is refused with `EXDEV`: `RESOLVE_BENEATH`.
    Beneath,
    /// The directory is the root of all paths, as in a chroot: `RESOLVE_IN_ROOT`.
    InRoot,
    /// As [`Resolve::Beneath`], and a symlink anywhere on the path is refused with `ELOOP`: `RESOLVE_NO_SYMLINKS`.
    NoLinks,
    /// As [`Resolve::NoLinks`], and what is mounted below is refused with `EXDEV`: `RESOLVE_NO_XDEV`.
    Straight,
}

/// Opens `path` below `root` for reading, never blocking, never as a controlling terminal, never through a magic link
/// of `/proc`. What is opened may still be of any kind: look before you read.
///
/// # Errors
/// `EXDEV` or `ELOOP` when the path tries to leave; otherwise as open(2).
pub fn open_beneath(root: BorrowedFd<'_>, path: &Path, resolve: Resolve) -> io::Result<OwnedFd> {
    open_with(root, path, resolve, libc::O_RDONLY)
}

/// As [`open_beneath`], with the access mode and flags of open(2) (`O_PATH`, `O_DIRECTORY`, `O_RDWR`).
///
/// # Errors
/// As [`open_beneath`].
pub fn open_with(root: BorrowedFd<'_>, path: &Path, resolve: Resolve, flags: i32) -> io::Result<OwnedFd> {
    open_mode(root, path, resolve, flags, 0)
}

/// As [`open_with`], for flags that make a file (`O_CREAT`, `O_TMPFILE`), which then has `mode` less the umask.
///
/// # Errors
/// As [`open_beneath`].
pub fn open_mode(
    root: BorrowedFd<'_>,
    path: &Path,
    resolve: Resolve,
    flags: i32,
    mode: u32,
) -> io::Result<OwnedFd> {
    let path = CString::new(path.as_os_str().as_bytes())?;
    let flags = flags
        | libc::O_CLOEXEC
        | if flags & libc::O_PATH == 0 { libc::O_NONBLOCK | libc::O_NOCTTY } else { 0 };
    // SAFETY: open_how is a plain structure of integers; all zero is a valid value.
    let mut how: libc::open_how = unsafe { std::mem::zeroed() };
    how.flags = u64::from(flags.cast_unsigned());
    how.mode = u64::from(mode);
    how.resolve = libc::RESOLVE_NO_MAGICLINKS
        | match resolve {
            Resolve::Beneath => libc::RESOLVE_BENEATH,
            Resolve::InRoot => libc::RESOLVE_IN_ROOT,
            Resolve::NoLinks => libc::RESOLVE_BENEATH | libc::RESOLVE_NO_SYMLINKS,
            Resolve::Straight => libc::RESOLVE_BENEATH | libc::RESOLVE_NO_SYMLINKS | libc::RESOLVE_NO_XDEV,
        };
    // A rename or mount elsewhere during the walk gives EAGAIN (openat2(2)); a hostile owner can go on for ever.
    for _ in 0..32 {
        // SAFETY: path is NUL-terminated, how is a valid open_how of the size given; the kernel keeps neither.
        let opened = unsafe {
            libc::syscall(
                libc::SYS_openat2,
                root.as_raw_fd(),
                path.as_ptr(),
                &raw const how,
                size_of_val(&how),
            )
        };
        match cvt(opened) {
            Ok(fd) => {
                let fd = i32::try_from(fd).map_err(io::Error::other)?;
                // SAFETY: the kernel just made this descriptor for us; nobody else owns it.
                return Ok(unsafe { OwnedFd::from_raw_fd(fd) });
            }
            Err(e) if matches!(e.raw_os_error(), Some(libc::EAGAIN | libc::EINTR)) => {}
            Err(e) => return Err(e),
        }
    }
    Err(io::Error::from_raw_os_error(libc::EAGAIN))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::fd::AsFd;
    use std::os::unix::fs::symlink;

    fn scratch(name: &str) -> std::path::PathBuf {
        let dir = std::env::temp_dir().join(format!("vestibule-beneath-{}-{name}", std::process::id()));
        let _ = fs::remove_dir_all(&dir);
        fs::create_dir_all(dir.join("home/.ssh")).unwrap();
        dir
    }

    #[test]
    fn a_link_inside_is_followed_and_one_that_leaves_is_not() {
        let dir = scratch("links");
        fs::write(dir.join("secret"), "s").unwrap();
        fs::write(dir.join("home/real"), "r").unwrap();
        symlink("../real", dir.join("home/.ssh/inside")).unwrap();
        symlink("../../secret", dir.join("home/.ssh/outside")).unwrap();
        symlink("/etc/passwd", dir.join("home/.ssh/absolute")).unwrap();
        symlink("/proc/self/fd/0", dir.join("home/.ssh/magic")).unwrap();
        let home = fs::File::open(dir.join("home")).unwrap();
        assert!(open_beneath(home.as_fd(), Path::new(".ssh/inside"), Resolve::Beneath).is_ok());
        for path in [".ssh/outside", ".ssh/absolute", ".ssh/magic", "../secret", "/etc/passwd"] {
            let e = open_beneath(home.as_fd(), Path::new(path), Resolve::Beneath).unwrap_err();
            assert!(matches!(e.raw_os_error(), Some(libc::EXDEV | libc::ELOOP)), "{path}: {e}");
        }
        let e = open_beneath(home.as_fd(), Path::new("/etc/passwd"), Resolve::InRoot).unwrap_err();
        assert_eq!(e.kind(), io::ErrorKind::NotFound, "the root is the home");
        fs::remove_dir_all(dir).unwrap();
    }

    #[test]
    fn a_fifo_does_not_block() {
        let dir = scratch("fifo");
        nix::unistd::mkfifo(&dir.join("home/fifo"), nix::sys::stat::Mode::S_IRWXU).unwrap();
        let home = fs::File::open(dir.join("home")).unwrap();
        open_beneath(home.as_fd(), Path::new("fifo"), Resolve::Beneath).unwrap();
        fs::remove_dir_all(dir).unwrap();
    }
}
