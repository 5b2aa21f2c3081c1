//! Directories and files of an installation: whose they are, and what their modes must be.
//!
//! `init` makes them so, `doctor` says where they are not. packaging/tmpfiles.d says the same of the directories.

use std::fs::{DirBuilder, File, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt, fchown, symlink};
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use nix::libc;
use vestibule::paths;

use crate::getent;

/// Who an installation needs, as the host knows them.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Identities {
    /// The user and group that every login name maps to.
    pub(crate) session: getent::User,
    /// The owner of the store.
    pub(crate) refresh: getent::User,
    /// Who asks hubs about tokens.
    pub(crate) tokens: getent::User,
}

impl Identities {
    /// Asks the host; nothing when one of them is missing.
    pub(crate) fn find() -> anyhow::Result<Option<Identities>> {
        let session = getent::user(paths::USER_SESSION)?;
        let refresh = getent::user(paths::USER_REFRESH)?;
        let tokens = getent::user(paths::USER_TOKENS)?;
        let all = session.zip(refresh).zip(tokens);
        Ok(all.map(|((session, refresh), tokens)| Identities { session, refresh, tokens }))
    }
}

/// A directory or a file, and how it must be.
#[derive(Debug)]
pub(crate) struct Place {
    pub(crate) path: PathBuf,
    pub(crate) mode: u32,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
}

impl Place {
    fn new(path: impl Into<PathBuf>, mode: u32, (uid, gid): (u32, u32)) -> Place {
        Place { path: path.into(), mode, uid, gid }
    }
}

/// The directories, outer ones first.
pub(crate) fn directories(who: Identities) -> Vec<Place> {
    let root = (0, 0);
    let store = (who.refresh.uid, who.session.gid);
    vec![
        Place::new("/etc/vestibule", 0o755, root),
        Place::new(paths::CONFIG_DIR, 0o755, root),
        Place::new(paths::PROXY_KEYS, 0o755, root),
        Place::new(paths::MANAGED_KEYS, 0o755, store),
        // Set-group-ID: its files are for the group to read, and their owner is not in the group.
        Place::new(paths::STATE_DIR, 0o2755, store),
        Place::new(paths::WRITTEN_DIR, 0o700, root),
        Place::new(paths::SHARE_DIR, 0o755, root),
        Place::new(paths::EMPTY_HOME, 0o755, root),
        Place::new(paths::HOME_SSH, 0o755, root),
        Place::new(paths::RUN_DIR, 0o755, root),
        Place::new(paths::SESSIONS_DIR, 0o770, (0, who.session.gid)),
        // Sessions write there, for `refresh-keys` to read.
        Place::new(paths::USED_DIR, 0o770, store),
        Place::new(paths::AGENTS_DIR, 0o700, (who.session.uid, who.session.gid)),
        Place::new(paths::CONNECTIONS_DIR, 0o700, root),
        Place::new(paths::WAKE_DIR, 0o700, root),
        Place::new(paths::HOP_DIR, 0o755, root),
        Place::new(paths::X11_DIR, 0o711, root),
        Place::new(paths::TOKENS_DIR, 0o750, (who.tokens.uid, who.session.gid)),
    ]
}

/// Makes the link by which sshd finds the place for agents' sockets, or puts it in the place of another one.
pub(crate) fn link_agents() -> anyhow::Result<()> {
    let (link, to) = (Path::new(paths::HOME_AGENTS), Path::new(paths::AGENTS_DIR));
    if std::fs::read_link(link).is_ok_and(|found| found == to) {
        return Ok(());
    }
    let about = || format!("can't make the link '{}'", link.display());
    match link.symlink_metadata() {
        Ok(found) if found.is_symlink() => std::fs::remove_file(link).with_context(about)?,
        Ok(_) => bail!("'{}' is no link; remove it", link.display()),
        Err(_) => {}
    }
    symlink(to, link).with_context(about)
}

/// What is wrong with the home of all login names, in which there must be nothing but the way to agents' sockets.
pub(crate) fn home_fault() -> Option<(String, String)> {
    let strangers = |directory: &str, known: &str| -> Option<String> {
        let found = std::fs::read_dir(directory).ok()?.flatten().find(|e| e.file_name() != known)?;
        Some(found.path().display().to_string())
    };
    if let Some(stranger) =
        strangers(paths::EMPTY_HOME, ".ssh").or_else(|| strangers(paths::HOME_SSH, "agent"))
    {
        let what = format!("'{stranger}' is in the home of all login names, which must be empty");
        return Some((what, format!("remove '{stranger}'")));
    }
    let links =
        std::fs::read_link(paths::HOME_AGENTS).is_ok_and(|found| found == Path::new(paths::AGENTS_DIR));
    let what = || format!("'{}' is no link to '{}'", paths::HOME_AGENTS, paths::AGENTS_DIR);
    (!links).then(|| (what(), "run 'vestibulectl doctor --mend'".to_owned()))
}

/// The files of the store.
pub(crate) fn store_files(who: Identities) -> Vec<Place> {
    let owner = (who.refresh.uid, who.session.gid);
    let beside = |suffix: &str| format!("{}{suffix}", paths::STORE);
    vec![
        Place::new(paths::STORE, 0o640, owner),
        Place::new(beside("-wal"), 0o640, owner),
        Place::new(beside("-shm"), 0o640, owner),
        Place::new(paths::INDEX, 0o644, owner),
        Place::new(beside("-taken"), 0o644, owner),
        Place::new(beside("-bell"), 0o644, owner),
    ]
}

/// The programs, as `make install` puts them.
pub(crate) fn programs(who: Identities) -> Vec<Place> {
    let members = (0, who.session.gid);
    vec![
        Place::new(paths::KEYS_LOOKUP, 0o750, members),
        Place::new(paths::ROUTE_SESSION, 0o755, (0, 0)),
        Place::new(paths::ENTER, 0o4750, members),
        Place::new(paths::SFTP_SERVER, 0o755, (0, 0)),
        Place::new(paths::CHECK_TOKEN, 0o755, (0, 0)),
    ]
}

impl Place {
    /// Makes the directory, or what is wrong with it right.
    pub(crate) fn make_directory(&self) -> anyhow::Result<()> {
        let shown = self.path.display();
        match DirBuilder::new().mode(0o700).create(&self.path) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
                return Err(error).with_context(|| format!("can't make directory '{shown}'"));
            }
            _ => {}
        }
        self.set(libc::O_DIRECTORY).with_context(|| format!("directory '{shown}'"))
    }

    /// Makes what is wrong with owner and mode of a file of the store right, if the file is there.
    pub(crate) fn mend_file(&self) -> anyhow::Result<()> {
        match self.set(0) {
            Err(error)
                if error.downcast_ref::<io::Error>().is_some_and(|e| e.kind() == io::ErrorKind::NotFound) =>
            {
                Ok(())
            }
            other => other.with_context(|| format!("file '{}'", self.path.display())),
        }
    }

    /// By a descriptor: others may own the directory it is in, and swap it.
    fn set(&self, flags: i32) -> anyhow::Result<()> {
        let flags = flags | libc::O_NOFOLLOW | libc::O_NONBLOCK | libc::O_NOCTTY;
        let file = File::options().read(true).custom_flags(flags).open(&self.path)?;
        let about = file.metadata()?;
        if about.is_file() && about.nlink() != 1 {
            bail!("has more than one name; remove it");
        }
        if (about.uid(), about.gid()) != (self.uid, self.gid) {
            fchown(&file, Some(self.uid), Some(self.gid))?;
        }
        if about.mode() & 0o7777 != self.mode {
            file.set_permissions(Permissions::from_mode(self.mode))?;
        }
        Ok(())
    }

    /// The command that mends owner and mode of what is there, and a regular file. A change of owner takes capabilities
    /// and the setuid bit away, so it comes first.
    pub(crate) fn mend_by_hand(&self) -> Option<String> {
        let about = self.path.symlink_metadata().ok().filter(std::fs::Metadata::is_file)?;
        let shown = self.path.display();
        let mode = format!("chmod {:04o} {shown}", self.mode);
        if (about.uid(), about.gid()) == (self.uid, self.gid) {
            return Some(mode);
        }
        Some(format!("chown {}:{} {shown} && {mode}", self.uid, self.gid))
    }

    /// What is wrong with owner, group or mode, in words.
    pub(crate) fn fault(&self) -> Option<String> {
        let shown = self.path.display();
        let about = match self.path.symlink_metadata() {
            Ok(about) => about,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Some(format!("'{shown}' does not exist"));
            }
            Err(error) => return Some(format!("can't look at '{shown}': {error}")),
        };
        let found = (about.mode() & 0o7777, about.uid(), about.gid());
        let wanted = (self.mode, self.uid, self.gid);
        let show = |(mode, uid, gid): (u32, u32, u32)| format!("mode {mode:04o}, owner {uid}, group {gid}");
        if about.is_symlink() {
            return Some(format!("'{shown}' is a symbolic link"));
        }
        (found != wanted).then(|| format!("'{shown}' has {}; it must have {}", show(found), show(wanted)))
    }
}

/// Writes a file of root's as a whole, when it does not say that already. Returns whether it was written.
pub(crate) fn write_root_file(path: &Path, text: &str) -> anyhow::Result<bool> {
    let about = || format!("can't write '{}'", path.display());
    let as_it_is =
        path.symlink_metadata().is_ok_and(|m| m.is_file() && m.mode() & 0o7777 == 0o644 && m.uid() == 0);
    if as_it_is && std::fs::read_to_string(path).is_ok_and(|found| found == text) {
        return Ok(false);
    }
    let mut new = path.as_os_str().to_owned();
    new.push(".new");
    let new = PathBuf::from(new);
    std::fs::write(&new, text).with_context(about)?;
    let file = File::open(&new).with_context(about)?;
    fchown(&file, Some(0), Some(0)).with_context(about)?;
    file.set_permissions(Permissions::from_mode(0o644)).with_context(about)?;
    file.sync_all().with_context(about)?;
    std::fs::rename(&new, path).with_context(about)?;
    Ok(true)
}
