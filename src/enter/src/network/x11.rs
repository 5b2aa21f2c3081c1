//! Where sshd puts the cookies of a connection's X displays.
//!
//! sshd has them added by xauth(1), as the user of all login names, to the file that `XAUTHORITY` names. That user can't
//! write its home. So the connection has a directory of its own, which the user may write, and which goes with the
//! connection.

use std::fs::{self, DirBuilder, Permissions};
use std::io::{self, ErrorKind};
use std::net::{Ipv6Addr, UdpSocket};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::{DirBuilderExt, PermissionsExt, chown};
use std::path::{Path, PathBuf};

use vestibule::paths;
use vestibule_sys::namespaces::{self, Kind};
use vestibule_sys::process::{self, Ended};

/// The directory; it goes when this is dropped.
pub(crate) struct Cookies(PathBuf);

impl Cookies {
    /// Makes it, for the connection `id`, writable for the group `gid`.
    ///
    /// # Errors
    /// As mkdir(2), chown(2) and chmod(2).
    pub(super) fn new(id: &str, gid: u32) -> io::Result<Self> {
        let above = Path::new(paths::X11_DIR);
        match DirBuilder::new().mode(0o711).create(above) {
            Err(e) if e.kind() != ErrorKind::AlreadyExists => return Err(e),
            _ => {}
        }
        let made = Cookies(above.join(id));
        DirBuilder::new().mode(0o700).create(&made.0)?;
        chown(&made.0, None, Some(gid))?;
        // An empty file, or xauth(1) tells the user that there is none.
        let file = made.file();
        fs::write(&file, [])?;
        chown(&file, None, Some(gid))?;
        fs::set_permissions(&file, Permissions::from_mode(0o660))?;
        // Root's, so that what only has root's uid can clear it away; the umask is in the way of mkdir(2).
        fs::set_permissions(&made.0, Permissions::from_mode(0o770))?;
        Ok(made)
    }

    /// The file that xauth(1) is to write.
    pub(super) fn file(&self) -> PathBuf {
        self.0.join("cookies")
    }
}

impl Drop for Cookies {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0); // what is left is in nobody's way, and gone with the next boot
    }
}

/// sshd listens for X clients at both loopback addresses or at none (`x11_create_display_inet` in OpenSSH's channels.c), and
/// engines take IPv6 away from containers that have no such network. So a loopback interface without `::1` is given it.
///
/// # Errors
/// Why X clients will not be listened for.
pub(super) fn give_loopback(network: &OwnedFd) -> Result<(), String> {
    let child = process::fork_child(|| {
        let free = || UdpSocket::bind((Ipv6Addr::LOCALHOST, 0));
        let given = namespaces::move_into(network.as_fd(), Kind::Net).and_then(|()| match free() {
            Err(e) if e.kind() == ErrorKind::AddrNotAvailable => {
                fs::write("/proc/sys/net/ipv6/conf/lo/disable_ipv6", "0").and_then(|()| free().map(drop))
            }
            // As it is to be; or a kernel without IPv6, where sshd does not try.
            _ => Ok(()),
        });
        given.err().map_or(0, |e| e.raw_os_error().unwrap_or(255))
    });
    match child.and_then(|child| child.wait()) {
        Ok(Ended::Exited(0)) => Ok(()),
        Ok(Ended::Exited(errno)) => Err(io::Error::from_raw_os_error(errno).to_string()),
        Ok(Ended::Signalled(signal)) => Err(format!("signal {signal}")),
        Err(e) => Err(e.to_string()),
    }
}
