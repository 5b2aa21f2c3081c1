//! Where the files are, and as whom they are touched.
//!
//! The store lies in a directory of a less privileged user. Root does not write there: what root's `vestibulectl` does
//! with the store, it does as the owner of that directory. ([`as_owner`])

use std::fs::File;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use anyhow::Context;
use nix::sys::stat::{Mode, umask};
use nix::unistd::{Gid, Uid, geteuid, getuid, setegid, seteuid, setgroups};
use vestibule::config::Config;
use vestibule::paths;
use vestibule::store::{Store, Writer};

/// The paths in use.
#[derive(Debug)]
pub(crate) struct Place {
    /// The main configuration file.
    pub(crate) config_path: PathBuf,
    pub(crate) store: PathBuf,
    pub(crate) index: PathBuf,
    /// The store is the one that logins ask.
    pub(crate) is_real: bool,
}

impl Place {
    pub(crate) fn new(config: Option<PathBuf>, store: Option<PathBuf>, index: Option<PathBuf>) -> Place {
        let is_real = store.is_none();
        let store = store.unwrap_or_else(|| paths::STORE.into());
        let index = index
            .unwrap_or_else(|| store.with_file_name(Path::new(paths::INDEX).file_name().unwrap_or_default()));
        Place { config_path: config.unwrap_or_else(|| paths::CONFIG.into()), store, index, is_real }
    }

    pub(crate) fn config(&self) -> anyhow::Result<Config> {
        Config::load(&self.config_path).context("configuration")
    }

    /// The directory of the store.
    pub(crate) fn directory(&self) -> &Path {
        match self.store.parent() {
            Some(directory) if !directory.as_os_str().is_empty() => directory,
            _ => Path::new("."),
        }
    }

    /// Reads the configuration and becomes the owner of the store's directory for good.
    pub(crate) fn ready(self) -> anyhow::Result<Ready> {
        let config = self.config()?;
        if geteuid().is_root()
            && let Ok(about) = self.directory().metadata()
        {
            become_owner(about.uid(), about.gid())
                .with_context(|| format!("can't become the owner of '{}'", self.directory().display()))?;
        }
        umask(PRIVATE);
        Ok(Ready { place: self, config })
    }
}

/// For files of the store: nothing for others.
const PRIVATE: Mode = Mode::from_bits_truncate(0o027);

/// The paths, the configuration, and the right user to use them.
#[derive(Debug)]
pub(crate) struct Ready {
    pub(crate) place: Place,
    pub(crate) config: Config,
}

impl Ready {
    pub(crate) fn read(&self) -> anyhow::Result<Store> {
        Ok(Store::open_read(&self.place.store)?)
    }

    pub(crate) fn write(&self) -> anyhow::Result<Writer> {
        Ok(Writer::open(&self.place.store, &self.place.index, self.prefix())?)
    }

    pub(crate) fn prefix(&self) -> Option<&str> {
        self.config.target_prefix.as_deref()
    }
}

/// Does something as the owner of a directory, then is who it was.
pub(crate) fn as_owner<T>(uid: u32, gid: u32, act: impl FnOnce() -> anyhow::Result<T>) -> anyhow::Result<T> {
    if !geteuid().is_root() {
        return act();
    }
    become_owner(uid, gid).context("can't become the owner of the store")?;
    let old_mask = umask(PRIVATE);
    let done = act();
    umask(old_mask);
    seteuid(Uid::from_raw(0)).and_then(|()| setegid(Gid::from_raw(0))).context("can't become root again")?;
    done
}

/// Opens a file that the caller named, as the caller: root's key files need not be for the owner of the store to read.
/// What is read from it is judged as the owner again.
pub(crate) fn open_as_caller(path: &Path) -> io::Result<File> {
    let (caller, now) = (getuid(), geteuid());
    if !caller.is_root() || now.is_root() {
        return File::open(path);
    }
    seteuid(caller)?;
    let opened = File::open(path);
    seteuid(now)?;
    opened
}

fn become_owner(uid: u32, gid: u32) -> nix::Result<()> {
    if uid == 0 {
        return Ok(());
    }
    let gid = Gid::from_raw(gid);
    setgroups(&[gid])?;
    setegid(gid)?;
    seteuid(Uid::from_raw(uid))
}
