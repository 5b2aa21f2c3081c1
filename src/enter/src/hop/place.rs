//! Where the client finds its files: a mount namespace in which [`paths::HOP_DIR`] holds this session's, and nothing else
//! of vestibule's that is secret can be seen.

use std::fs::File;
use std::io::{self, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::{OpenOptionsExt, fchown};
use std::os::unix::net::UnixListener;
use std::path::Path;

use nix::fcntl::{OFlag, open};
use nix::mount::{MsFlags, mount};
use nix::sys::stat::Mode;
use nix::unistd::{Gid, Uid, chown, mkfifo};
use vestibule::paths;
use vestibule_sys::namespaces::{self, Kind};
use vestibule_sys::procfs::ProcDir;

use crate::refused::{OrRefuse, Refused};
use crate::users::User;

/// What stays open of it.
pub(super) struct Place {
    /// What the client logs can be read here.
    pub(super) log: OwnedFd,
    /// Where the client will come for the agent.
    pub(super) agent: Option<UnixListener>,
}

/// The name of the log, of the control socket and of the agent's socket in the directory.
pub(super) const LOG: &str = "log";
pub(super) const CONTROL: &str = "control";
const AGENT: &str = "agent";
/// Where a connection that stands is handed over.
pub(super) const WAY: &str = "way";

/// Moves this process into the bastion's own network and a mount namespace of its own, and puts `files` there, for `user` to
/// read.
pub(super) fn make(files: &[(String, Vec<u8>)], user: &User, agent: bool) -> Result<Place, Refused> {
    let here = Path::new(paths::HOP_DIR);
    if !here.is_dir() {
        return Err(Refused::setup(format_args!("'{}' is missing; run 'vestibulectl init'", here.display())));
    }
    bastions_network().or_setup("the bastion's network")?;
    private_mounts(user).or_setup(format_args!("'{}'", here.display()))?;
    let fill = || -> io::Result<Place> {
        for (name, bytes) in files {
            let mut options = File::options();
            let mut file = options.write(true).create_new(true).mode(0o600).open(here.join(name))?;
            file.write_all(bytes)?;
            fchown(&file, Some(user.uid), Some(user.gid))?;
        }
        let give = |name: &str| {
            chown(&here.join(name), Some(Uid::from_raw(user.uid)), Some(Gid::from_raw(user.gid)))
        };
        mkfifo(&here.join(LOG), Mode::S_IRUSR | Mode::S_IWUSR)?;
        give(LOG)?;
        let flags = OFlag::O_RDONLY | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC;
        let log = open(&here.join(LOG), flags, Mode::empty())?;
        let agent = agent.then(|| UnixListener::bind(here.join(AGENT))).transpose()?;
        if let Some(listener) = &agent {
            listener.set_nonblocking(true)?;
            give(AGENT)?;
        }
        Ok(Place { log, agent })
    };
    fill().or_setup(format_args!("'{}'", here.display()))
}

/// Listens where the client will come for its connection.
pub(super) fn open_way(user: &User) -> Result<UnixListener, Refused> {
    let path = Path::new(paths::HOP_DIR).join(WAY);
    let open = || -> io::Result<UnixListener> {
        let listener = UnixListener::bind(&path)?;
        listener.set_nonblocking(true)?;
        chown(&path, Some(Uid::from_raw(user.uid)), Some(Gid::from_raw(user.gid)))?;
        Ok(listener)
    };
    open().or_setup(format_args!("'{}'", path.display()))
}

/// Puts an empty file in the place of each of these, which are for others of the same user: the tokens of sites.
pub(super) fn hide<'a>(files: impl Iterator<Item = &'a Path>) -> Result<(), Refused> {
    for file in files.filter(|file| file.exists()) {
        mount(Some("/dev/null"), file, None::<&str>, MsFlags::MS_BIND, None::<&str>)
            .map_err(io::Error::from)
            .or_setup(format_args!("'{}'", file.display()))?;
    }
    Ok(())
}

/// Where forwards end elsewhere, `pam_vestibule` has moved the connection away from the bastion's network, and to mounts in
/// which names are looked up elsewhere.
pub(crate) fn bastions_network() -> io::Result<()> {
    let first = ProcDir::open(1)?;
    let (network, mounts) = (namespaces::network_of(&first)?, namespaces::mounts_of(&first)?);
    if namespaces::is_another(network.as_fd(), Kind::Net)? {
        namespaces::move_into(network.as_fd(), Kind::Net)?;
        namespaces::move_into(mounts.as_fd(), Kind::Mnt)?;
    }
    Ok(())
}

fn private_mounts(user: &User) -> io::Result<()> {
    const NONE: Option<&str> = None;
    let harmless = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
    namespaces::leave_for_new(Kind::Mnt)?;
    // What the bastion unmounts later is not held here.
    mount(NONE, "/", NONE, MsFlags::MS_REC | MsFlags::MS_SLAVE, NONE)?;
    let options = format!("size=1m,nr_inodes=64,mode=0700,uid={},gid={}", user.uid, user.gid);
    mount(Some("vestibule"), paths::HOP_DIR, Some("tmpfs"), harmless, Some(options.as_str()))?;
    let nothing = Some("size=4k,nr_inodes=1,mode=0");
    mount(Some("vestibule"), paths::PROXY_KEYS, Some("tmpfs"), harmless | MsFlags::MS_RDONLY, nothing)?;
    Ok(())
}
