//! Mounts in which names are looked up as the container does.
//!
//! sshd's user process looks the names of `-L` and `-D` up with the C library, which reads `/etc/resolv.conf` and
//! `/etc/hosts` where it is. The namespace made here differs from the bastion's in these two files only, and what is
//! mounted on the bastion later arrives in it too. The files are the container's bytes in files of root's on a file
//! system of their own that has no name anywhere: nothing is left when the last process in there ends.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use nix::mount::{MntFlags, MsFlags, mount, umount2};
use vestibule::paths;
use vestibule_sys::namespaces::{self, Kind};
use vestibule_sys::process;
use vestibule_sys::procfs::ProcDir;

use crate::container::Proven;
use crate::relay::libc_signal::SIGKILL;

const FILES: [&str; 2] = ["resolv.conf", "hosts"];
/// The C library takes three servers and six domains; a table of hosts may be longer.
const MAX_FILE: u64 = 64 << 10;

/// For reading two files of the container's. One that hangs (a file system that the container serves itself) costs the
/// container's names, not the session.
const MADE_WITHIN: Duration = Duration::from_secs(3);

/// A mount namespace for sessions of `container`; `None` where its files are as the bastion's.
///
/// # Errors
/// What went wrong, in one line.
pub(super) fn mounts(container: &Proven) -> io::Result<Option<OwnedFd>> {
    of_files(|| differing(container))
}

/// A mount namespace in which these files of `/etc` are others; `None` if there are none. They are read in a process that
/// is ended if it takes too long.
///
/// # Errors
/// What went wrong, in one line.
pub(super) fn of_files(
    files: impl FnOnce() -> io::Result<Vec<(&'static str, Vec<u8>)>>,
) -> io::Result<Option<OwnedFd>> {
    let (mut ours, theirs) = UnixStream::pair()?;
    let child = process::fork_child(|| {
        vestibule_sys::fds::close_in_child(ours.as_fd());
        let word: i32 = match files()
            .and_then(|files| if files.is_empty() { Ok(SAME) } else { make(&files).map(|()| MADE) })
        {
            Ok(word) => word,
            Err(e) => e.raw_os_error().unwrap_or(OTHER),
        };
        let _ = (&theirs).write_all(&word.to_ne_bytes());
        // Its namespace lives as long as it does, or as somebody holds it.
        let _ = (&theirs).read(&mut [0]);
        0
    })?;
    drop(theirs);
    let mut word = [0; 4];
    ours.set_read_timeout(Some(MADE_WITHIN))?;
    let made = match ours.read_exact(&mut word).map(|()| i32::from_ne_bytes(word)) {
        Ok(SAME) => Ok(None),
        Ok(MADE) => ProcDir::open(child.pid()).and_then(|process| namespaces::mounts_of(&process)).map(Some),
        Ok(OTHER) => Err(io::Error::other("a file of the container's is none that can be read")),
        Ok(errno) => Err(io::Error::from_raw_os_error(errno)),
        Err(e) => {
            let _ = child.signal(SIGKILL);
            Err(if e.kind() == io::ErrorKind::WouldBlock { io::ErrorKind::TimedOut.into() } else { e })
        }
    };
    drop(ours);
    // It ends now; one that hangs has been told to, and is not waited for.
    child.wait_at_most(Duration::from_millis(200))?;
    made
}

/// The child's words; errors are positive.
const SAME: i32 = 0;
const MADE: i32 = -1;
const OTHER: i32 = -2;

/// Those of the container's files that are not as the bastion's, whose place they can take.
fn differing(container: &Proven) -> io::Result<Vec<(&'static str, Vec<u8>)>> {
    let mut files = Vec::new();
    for name in FILES {
        let path = format!("/etc/{name}");
        let Some(bytes) = container.file(path.trim_start_matches('/'), MAX_FILE)? else { continue };
        let mut own = Vec::new();
        match File::open(&path) {
            Ok(file) => file.take(MAX_FILE).read_to_end(&mut own)?,
            // There is nothing to mount on.
            Err(e) if e.kind() == io::ErrorKind::NotFound => continue,
            Err(e) => return Err(e),
        };
        if own != bytes {
            files.push((name, bytes));
        }
    }
    Ok(files)
}

fn make(files: &[(&str, Vec<u8>)]) -> io::Result<()> {
    const NONE: Option<&str> = None;
    let harmless = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
    namespaces::leave_for_new(Kind::Mnt)?;
    mount(NONE, "/", NONE, MsFlags::MS_REC | MsFlags::MS_SLAVE, NONE)?;
    // A directory that is always there, and empty; it is itself again below.
    let place = Path::new(paths::EMPTY_HOME);
    mount(Some("vestibule"), place, Some("tmpfs"), harmless, Some("size=256k,mode=0755"))?;
    for (name, bytes) in files {
        let (from, to) = (place.join(name), Path::new("/etc").join(name));
        File::create_new(&from)?.write_all(bytes)?;
        mount(Some(&from), &to, NONE, MsFlags::MS_BIND, NONE)?;
        let remount = MsFlags::MS_BIND | MsFlags::MS_REMOUNT | MsFlags::MS_RDONLY | harmless;
        mount(NONE, &to, NONE, remount, NONE)?;
    }
    umount2(place, MntFlags::MNT_DETACH)?;
    Ok(())
}
