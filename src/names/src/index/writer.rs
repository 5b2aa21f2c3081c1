//! Keeping the index: what the store's writer holds while it changes names.

use std::fs::{File, OpenOptions, TryLockError};
use std::io;
use std::ops::ControlFlow;
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::{Duration, Instant};

use super::Kind;
use super::fault::Fault;
use super::header::{Header, Prefix};
use super::table::{EMPTY, Probe, TOMBSTONE, all_tags, offset, tag};
use super::write::{beside, replace};
use crate::error::Escaped;
use crate::name::{check_account, check_target};

/// How long to wait for another writer.
const PATIENCE: Duration = Duration::from_secs(10);

/// The one writer of an index, until it is dropped: it holds a lock (on `NAMES.idx.lock`, which only the owner can
/// open, so that no reader can keep a writer waiting). See the [module](super) for when to insert and remove.
#[derive(Debug)]
pub struct IndexWriter {
    path: PathBuf,
    file: File,
    header: Header,
    _lock: File,
}

impl IndexWriter {
    /// Makes an empty index with room for `capacity` names (it grows by itself) and target prefix `prefix`.
    ///
    /// # Errors
    /// `AlreadyExists` when something is at `path`; [`Fault::Locked`] when another writer doesn't end; `InvalidInput`
    /// for a prefix that is none; as the operating system says.
    pub fn create(path: impl AsRef<Path>, prefix: Option<&str>, capacity: u64) -> io::Result<Self> {
        let path = path.as_ref();
        let lock = lock(path)?;
        if path.symlink_metadata().is_ok() {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        let header = Header::new(Prefix::new(prefix)?)?;
        let (file, header) = replace(path, header, Vec::new(), capacity)?;
        Ok(Self { path: path.to_owned(), file, header, _lock: lock })
    }

    /// Opens the index at `path` to change it.
    ///
    /// # Errors
    /// As [`Index::open`](super::Index::open), and [`Fault::Locked`] when another writer doesn't end.
    pub fn open(path: impl AsRef<Path>) -> io::Result<Self> {
        let path = path.as_ref();
        let lock = lock(path)?;
        let (file, len) = super::open(path, true)?;
        let header = Header::load(&file, len)?;
        Ok(Self { path: path.to_owned(), file, header, _lock: lock })
    }

    /// Makes the index anew from all `names`, with a new key: for a prefix that changed, and for an index that is
    /// missing, damaged, crowded or of another version. Takes the lock before it asks for the first name. Readers see
    /// the old index until the new one is whole.
    ///
    /// # Errors
    /// As [`create`](Self::create), and `InvalidInput` for a name that is none; the old file is then untouched.
    pub fn rebuild<S: AsRef<str>>(
        path: impl AsRef<Path>,
        prefix: Option<&str>,
        names: impl IntoIterator<Item = (Kind, S)>,
    ) -> io::Result<Self> {
        let path = path.as_ref();
        let lock = lock(path)?;
        let header = Header::new(Prefix::new(prefix)?)?;
        let tags = names.into_iter().map(|(kind, name)| {
            let name = name.as_ref();
            check(kind, name).map(|()| tag(&header.key, kind, name))
        });
        let (file, header) = replace(path, header, tags.collect::<io::Result<_>>()?, 0)?;
        Ok(Self { path: path.to_owned(), file, header, _lock: lock })
    }

    /// Adds `name` as a `kind`; false when it was there already. Call [`sync`](Self::sync) before the store's commit.
    ///
    /// # Errors
    /// `InvalidInput` for a name that is none, [`Fault::TooMany`], [`Fault::Crowded`], or as the operating system
    /// says. Every other name is still there.
    pub fn insert(&mut self, kind: Kind, name: &str) -> io::Result<bool> {
        check(kind, name)?;
        let tag = tag(&self.header.key, kind, name);
        let mut place = self.find(tag)?;
        if place.is_none() || matches!(place, Some(Place::Empty(_))) && self.is_full() {
            self.grow()?;
            place = self.find(tag)?;
        }
        let (slot, tombstone) = match place {
            Some(Place::Taken(_)) => return Ok(false),
            Some(Place::Empty(slot)) => (slot, false),
            Some(Place::Tombstone(slot)) => (slot, true),
            None => return Err(Fault::Crowded.into()),
        };
        self.file.write_all_at(&tag.to_le_bytes(), offset(slot))?;
        let counters = &mut self.header.counters;
        counters.live = counters.live.saturating_add(1);
        counters.tombstones = counters.tombstones.saturating_sub(u64::from(tombstone));
        counters.store(&self.file)?;
        Ok(true)
    }

    /// Removes `name` as a `kind`; false when it wasn't there. Call it after the store's commit.
    ///
    /// # Errors
    /// As the operating system says; the name may then still be there.
    pub fn remove(&mut self, kind: Kind, name: &str) -> io::Result<bool> {
        let Some(Place::Taken(slot)) = self.find(tag(&self.header.key, kind, name))? else {
            return Ok(false);
        };
        self.file.write_all_at(&TOMBSTONE.to_le_bytes(), offset(slot))?;
        let counters = &mut self.header.counters;
        counters.live = counters.live.saturating_sub(1);
        counters.tombstones = counters.tombstones.saturating_add(1);
        counters.store(&self.file)?;
        Ok(true)
    }

    /// Whether `name` is there as a `kind`.
    ///
    /// # Errors
    /// When the file can't be read.
    pub fn contains(&self, kind: Kind, name: &str) -> io::Result<bool> {
        Probe::new(&self.file, self.header.slots).finds(tag(&self.header.key, kind, name))
    }

    /// Makes durable what was changed.
    ///
    /// # Errors
    /// As the operating system says; treat what was changed since the last `sync` as lost.
    pub fn sync(&self) -> io::Result<()> {
        self.file.sync_data()
    }

    /// How many names the index holds.
    pub fn len(&self) -> u64 {
        self.header.counters.live
    }

    /// Whether the index holds no name.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The prefix that target names may carry, as it was configured when the index was built.
    pub fn prefix(&self) -> Option<&str> {
        self.header.prefix.get()
    }

    /// More than seven tenths of the home slots are in use, tombstones included: chains get long from here on.
    fn is_full(&self) -> bool {
        let Header { slots, counters, .. } = self.header;
        counters.used().saturating_add(1) > slots / 10 * 7
    }

    /// A new table of the same names, without tombstones and half full. The hash's key stays, as the names are not
    /// known here.
    fn grow(&mut self) -> io::Result<()> {
        let tags = all_tags(&self.file, self.header.slots)?;
        let capacity = (tags.len() as u64).saturating_add(1);
        (self.file, self.header) = replace(&self.path, self.header, tags, capacity)?;
        Ok(())
    }

    /// Where `tag` is, or the first slot that would take it; nothing when all it may be in are taken.
    fn find(&self, tag: u128) -> io::Result<Option<Place>> {
        let mut free = None;
        let end = Probe::new(&self.file, self.header.slots).walk(tag, |number, slot| match slot {
            EMPTY => ControlFlow::Break(free.unwrap_or(Place::Empty(number))),
            TOMBSTONE => {
                free.get_or_insert(Place::Tombstone(number));
                ControlFlow::Continue(())
            }
            _ if slot == tag => ControlFlow::Break(Place::Taken(number)),
            _ => ControlFlow::Continue(()),
        })?;
        Ok(end.or(free))
    }
}

/// A slot for a tag, by its number.
#[derive(Clone, Copy)]
enum Place {
    /// The tag is there.
    Taken(u64),
    Empty(u64),
    Tombstone(u64),
}

/// A name that no login name can hold would never be found: whoever adds it has made a mistake.
fn check(kind: Kind, name: &str) -> io::Result<()> {
    let checked = match kind {
        Kind::Target => check_target(name.as_bytes()),
        Kind::Account | Kind::Default => check_account(name.as_bytes()),
    };
    checked.map_err(|why| {
        let shown = Escaped::new(name.as_bytes());
        io::Error::new(io::ErrorKind::InvalidInput, format!("name '{shown}': {why}"))
    })
}

/// Becomes the only writer of the index at `path`. The lock file is never removed: a lock on a file that is gone keeps
/// nobody out.
fn lock(path: &Path) -> io::Result<File> {
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK | libc::O_NOCTTY)
        .open(beside(path, ".lock"))?;
    if !file.metadata()?.is_file() {
        return Err(Fault::NotRegular.into());
    }
    let start = Instant::now();
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(file),
            Err(TryLockError::Error(error)) => return Err(error),
            Err(TryLockError::WouldBlock) if start.elapsed() > PATIENCE => return Err(Fault::Locked.into()),
            Err(TryLockError::WouldBlock) => sleep(Duration::from_millis(5)),
        }
    }
}
