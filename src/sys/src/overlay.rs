//! A read-only view of a file, by an overlay mount of its own that is attached nowhere.
//!
//! The superblock of an overlay without an upper layer can't be made writable, by nobody: ovl_reconfigure() in
//! fs/overlayfs/super.c. So a program that is executed from there leaves nothing to write to behind `/proc/PID/exe`, and
//! unlike a copy in memory costs no memory.

use std::ffi::{CStr, CString, c_int, c_uint};
use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::ptr;

use nix::sys::statfs::{OVERLAYFS_SUPER_MAGIC, fstatfs};
use nix::sys::statvfs::{FsFlags, fstatvfs};

use crate::cvt_int;

// linux/mount.h; not in every libc crate.
const FSOPEN_CLOEXEC: c_uint = 1;
const FSCONFIG_SET_STRING: c_uint = 1;
const FSCONFIG_CMD_CREATE: c_uint = 6;
const FSMOUNT_CLOEXEC: c_uint = 1;
const MOUNT_ATTR_RDONLY: c_uint = 1;
const MOUNT_ATTR_NOSUID: c_uint = 2;
const MOUNT_ATTR_NODEV: c_uint = 4;

/// Opens `file` (`O_PATH`, close-on-exec) on an overlay of its directory and `below`, another directory: older kernels
/// want two layers where none is writable.
///
/// Nobody but the owner of both directories may be able to change what is in them.
///
/// # Errors
/// As fsopen(2), fsconfig(2), fsmount(2) and openat2(2): for one `ENODEV` where the kernel has no overlayfs, `EPERM`
/// without `CAP_SYS_ADMIN`, `EINVAL` where the directory is of a file system that can't be a layer.
pub fn read_only(file: &Path, below: &Path) -> io::Result<OwnedFd> {
    let parts = file.parent().zip(file.file_name()).ok_or_else(invalid)?;
    let name = CString::new(parts.1.as_bytes())?;
    let layers = [parts.0.as_os_str().as_bytes(), below.as_os_str().as_bytes()];
    // These would have a meaning of their own in the option.
    if layers.iter().any(|layer| layer.iter().any(|byte| matches!(byte, b':' | b',' | b'\\'))) {
        return Err(invalid());
    }
    let layers = CString::new(layers.join(&b':'))?;
    // SAFETY: the name is NUL-terminated; the descriptor is new and ours.
    let context = unsafe { opened(libc::syscall(libc::SYS_fsopen, c"overlay".as_ptr(), FSOPEN_CLOEXEC)) }?;
    configure(&context, FSCONFIG_SET_STRING, Some((c"lowerdir", &layers)))?;
    configure(&context, FSCONFIG_CMD_CREATE, None)?;
    let attributes = MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV;
    // SAFETY: takes an open descriptor and flags; the descriptor returned is new and ours.
    let mount = unsafe {
        opened(libc::syscall(libc::SYS_fsmount, context.as_raw_fd(), FSMOUNT_CLOEXEC, attributes))
    }?;
    let flags = libc::O_PATH | libc::O_NOFOLLOW | libc::O_CLOEXEC;
    // SAFETY: as above; the name is NUL-terminated.
    unsafe { opened(libc::openat(mount.as_raw_fd(), name.as_ptr(), flags).into()) }
}

/// Whether `file` lies on an overlay that can't be written.
///
/// # Errors
/// As fstatfs(2) and fstatvfs(3).
pub fn is_read_only(file: &File) -> io::Result<bool> {
    let is_overlay = fstatfs(file)?.filesystem_type() == OVERLAYFS_SUPER_MAGIC;
    Ok(is_overlay && fstatvfs(file)?.flags().contains(FsFlags::ST_RDONLY))
}

fn configure(context: &OwnedFd, command: c_uint, option: Option<(&CStr, &CStr)>) -> io::Result<()> {
    let (key, value) =
        option.map_or((ptr::null(), ptr::null()), |(key, value)| (key.as_ptr(), value.as_ptr()));
    // SAFETY: both strings are NUL-terminated, or null where the command takes none.
    let done = unsafe { libc::syscall(libc::SYS_fsconfig, context.as_raw_fd(), command, key, value, 0) };
    if done < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// # Safety
/// What is not negative must be a descriptor that is new and nobody else's.
unsafe fn opened(returned: libc::c_long) -> io::Result<OwnedFd> {
    let number = c_int::try_from(returned).map_err(|_| invalid())?;
    let number = cvt_int(number)?;
    // SAFETY: by the caller.
    Ok(unsafe { OwnedFd::from_raw_fd(number) })
}

fn invalid() -> io::Error {
    io::Error::from_raw_os_error(libc::EINVAL)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn magic_link(file: &OwnedFd) -> std::path::PathBuf {
        format!("/proc/self/fd/{}", file.as_raw_fd()).into()
    }

    #[test]
    fn what_is_seen_is_the_file_and_nobody_can_write_it() {
        assert!(nix::unistd::geteuid().is_root(), "this test needs root: it mounts");
        let (upper, lower) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let path = upper.path().join("program");
        std::fs::write(&path, "#!/bin/sh\n").unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o4750)).unwrap();
        let view = read_only(&path, lower.path()).unwrap();
        let link = magic_link(&view);
        assert_eq!(std::fs::read(&link).unwrap(), b"#!/bin/sh\n");
        assert!(is_read_only(&File::open(&link).unwrap()).unwrap());
        assert!(!is_read_only(&File::open(&path).unwrap()).unwrap());
        for error in [
            File::options().write(true).open(&link).unwrap_err(),
            File::options().append(true).open(&link).unwrap_err(),
            std::fs::set_permissions(&link, std::fs::Permissions::from_mode(0o777)).unwrap_err(),
        ] {
            assert_eq!(error.raw_os_error(), Some(libc::EROFS), "{error}");
        }
    }

    #[test]
    fn what_is_no_layer_is_an_error() {
        let lower = tempfile::tempdir().unwrap();
        for path in ["/", "relative", "/nowhere/program", "/a:b/program", "/proc/self/status"] {
            assert!(read_only(Path::new(path), lower.path()).is_err(), "{path}");
        }
    }
}
