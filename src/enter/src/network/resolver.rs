//! Mounts in which names are looked up as the container does.
//!
//! sshd's user process looks the names of `-L` and `-D` up with the C library, which reads `/etc/resolv.conf` and
//! `/etc/hosts` where it is. The namespace made here differs from the bastion's in these two files only, and what is
//! mounted on the bastion later arrives in it too. The files are the container's bytes in files of root's on a file
//! system of their own that has no name anywhere: nothing is left when the last process in there ends.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use nix::mount::{MntFlags, MsFlags, mount, umount2};
use vestibule::paths;
use vestibule_sys::namespaces::{self, Kind};
use vestibule_sys::process;
use vestibule_sys::procfs::ProcDir;

use crate::container::Proven;

const FILES: [&str; 2] = ["resolv.conf", "hosts"];
/// The C library takes three servers and six domains; a table of hosts may be longer.
const MAX_FILE: u64 = 64 << 10;

/// A mount namespace for sessions of `container`; `None` where its files are as the bastion's.
///
/// # Errors
/// What went wrong, in one line.
pub(super) fn mounts(container: &Proven) -> io::Result<Option<OwnedFd>> {
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
    if files.is_empty() {
        return Ok(None);
    }
    let (ours, theirs) = std::os::unix::net::UnixStream::pair()?;
    let child = process::fork_child(|| {
        vestibule_sys::fds::close_in_child(ours.as_fd());
        let made = make(&files);
        let errno = made.err().map_or(0, |e| e.raw_os_error().unwrap_or(-1));
        let _ = (&theirs).write_all(&errno.to_ne_bytes());
        // Its namespace lives as long as it does, or as somebody holds it.
        let _ = (&theirs).read(&mut [0]);
        0
    })?;
    drop(theirs);
    let mut errno = [0; 4];
    (&ours).read_exact(&mut errno)?;
    let made = match i32::from_ne_bytes(errno) {
        0 => ProcDir::open(child.pid()).and_then(|process| namespaces::mounts_of(&process)),
        errno => Err(io::Error::from_raw_os_error(errno)),
    };
    drop(ours);
    child.wait()?;
    made.map(Some)
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
