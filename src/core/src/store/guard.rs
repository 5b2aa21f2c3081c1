//! Locks of our own, with which a reader can do without those of SQLite; see `open.rs` for when it has to.
//!
//! They are shared locks on the bytes that SQLite locks itself (os_unix.c, wal.c), so every writer respects them. They
//! belong to the open file (`F_OFD_SETLK`); but closing a file also ends what *other* locks the process has on it, those
//! of SQLite too. So a process that writes ([`Writing`]) gets no guard, and one that began to write keeps its guards.

use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};

use nix::fcntl::{FcntlArg, fcntl};
use nix::libc;

use super::beside;
use super::error::StoreError;

/// First byte and number of bytes.
type Bytes = (i64, i64);
/// Of the store, `SHARED_FIRST` and `SHARED_SIZE`: whoever has them keeps the last user of the store from tidying up as
/// it closes it, and from changing the store by a rollback journal.
const STORE_SHARED: Bytes = (0x4000_0002, 510);
/// Of `-shm`, `UNIX_SHM_BASE` and `SQLITE_SHM_NLOCK`: the locks of the writer, of whoever moves pages into the store, of
/// whoever mends `-shm`, and the five of readers.
const SHM_ALL: Bytes = (120, 8);
/// Of `-shm`, `WAL_READ_LOCK(0)`: whoever has it keeps pages from being moved into the store.
const SHM_READ_0: Bytes = (123, 1);
/// Of the store, a byte that SQLite does not use: a writer waits.
const WAITING: Bytes = (0x4000_0200, 1);

/// Bytes of a `-wal` that has a header and no page.
const WAL_HEADER: u64 = 32;

/// How many connections that write this process has.
static WRITERS: AtomicUsize = AtomicUsize::new(0);

/// Keeps writers from changing what a reader reads, while it lives.
#[derive(Debug)]
pub(super) struct Guard {
    store: Option<File>,
    shm: Option<File>,
    /// Where `-shm` should be, when it was missing (as after `sqlite3` by hand was the last to close the store). What is
    /// missing can't be locked. But a writer makes it before it changes anything, and nobody removes it while the store
    /// is locked.
    missing: Option<PathBuf>,
}

impl Guard {
    /// For a store whose `-wal` holds nothing: the store alone is the truth, and stays it while the guard lives. Writers
    /// go on beside it; they only can't move pages. Nothing when `-wal` holds something, or a writer is moving pages.
    pub(super) fn quiet(path: &Path) -> Result<Option<Guard>, StoreError> {
        let Some(guard) = Self::lock(path, SHM_READ_0)? else { return Ok(None) };
        let wal = beside(path, "-wal");
        let empty = match wal.metadata() {
            Ok(meta) => meta.len() <= WAL_HEADER,
            Err(error) if error.kind() == io::ErrorKind::NotFound => true,
            Err(source) => return Err(StoreError::File { path: wal, source }),
        };
        Ok(empty.then_some(guard))
    }

    /// Keeps out everybody who writes: store and `-wal` stand still. Nothing when somebody is writing or, for the
    /// `polite`, waits to.
    pub(super) fn frozen(path: &Path, polite: bool) -> Result<Option<Guard>, StoreError> {
        if polite {
            let unusable = |source| StoreError::File { path: path.to_owned(), source };
            let mut found = flock(libc::F_RDLCK, WAITING);
            let store = File::open(path).map_err(|error| StoreError::unopened(path, error))?;
            fcntl(store.as_fd(), FcntlArg::F_OFD_GETLK(&mut found))
                .map_err(|error| unusable(error.into()))?;
            if i32::from(found.l_type) != libc::F_UNLCK {
                return Ok(None);
            }
        }
        Self::lock(path, SHM_ALL)
    }

    fn lock(path: &Path, shm_bytes: Bytes) -> Result<Option<Guard>, StoreError> {
        if WRITERS.load(Ordering::SeqCst) > 0 {
            return Ok(None);
        }
        let file = |path: &Path, source: io::Error| StoreError::File { path: path.to_owned(), source };
        let store = match File::open(path) {
            Ok(store) => store,
            Err(error) => return Err(StoreError::unopened(path, error)),
        };
        if !lock(&store, libc::F_RDLCK, STORE_SHARED).map_err(|error| file(path, error))? {
            return Ok(None);
        }
        let shm_path = beside(path, "-shm");
        let (shm, missing) = match File::open(&shm_path) {
            Ok(shm) => (Some(shm), None),
            Err(error) if error.kind() == io::ErrorKind::NotFound => (None, Some(shm_path.clone())),
            Err(error) => return Err(file(&shm_path, error)),
        };
        let guard = Guard { store: Some(store), shm, missing };
        match &guard.shm {
            Some(shm) if !lock(shm, libc::F_RDLCK, shm_bytes).map_err(|error| file(&shm_path, error))? => {
                Ok(None)
            }
            _ => Ok(Some(guard)),
        }
    }

    /// Whether no writer can disturb the reader.
    pub(super) fn is_safe(&self) -> bool {
        self.missing.is_none()
    }

    /// Whether what was read up to now was read undisturbed.
    pub(super) fn holds(&self) -> bool {
        self.missing.as_ref().is_none_or(|shm| matches!(shm.try_exists(), Ok(false)))
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        if WRITERS.load(Ordering::SeqCst) > 0 {
            // See the module's head: better two descriptors too many than a writer without its locks.
            std::mem::forget((self.store.take(), self.shm.take()));
        }
    }
}

/// What every connection that writes has beside it, from before it is opened until after it is closed.
///
/// With it a writer can say that it waits, so that readers that freeze the store, one after the other, don't keep it out
/// for ever: they may come by the thousand, and it alone can end the need for them.
#[derive(Debug)]
pub(super) struct Writing {
    store: File,
}

impl Writing {
    pub(super) fn new(path: &Path) -> Result<Writing, StoreError> {
        let opened = File::options().read(true).write(true).open(path);
        let store = opened.map_err(|error| StoreError::unopened(path, error))?;
        WRITERS.fetch_add(1, Ordering::SeqCst);
        Ok(Writing { store })
    }

    /// Says that a writer waits, while it does `wait`.
    pub(super) fn waiting<T>(&self, wait: impl FnOnce() -> T) -> T {
        // Another writer may be saying it already, which does as well.
        let said = lock(&self.store, libc::F_WRLCK, WAITING);
        let done = wait();
        if let Err(error) = said.and_then(|_| lock(&self.store, libc::F_UNLCK, WAITING)) {
            tracing::debug!(%error, "can't tell readers that a writer waits");
        }
        done
    }
}

impl Drop for Writing {
    fn drop(&mut self) {
        WRITERS.fetch_sub(1, Ordering::SeqCst);
    }
}

/// Locks bytes of an open file, or unlocks them; false when somebody else has them.
fn lock(file: &File, kind: libc::c_int, bytes: Bytes) -> io::Result<bool> {
    match fcntl(file.as_fd(), FcntlArg::F_OFD_SETLK(&flock(kind, bytes))) {
        Ok(_) => Ok(true),
        Err(nix::Error::EAGAIN | nix::Error::EACCES) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

#[allow(
    clippy::cast_possible_truncation,
    reason = "constants of the C library that are wider than their field"
)]
fn flock(kind: libc::c_int, (start, len): Bytes) -> libc::flock {
    libc::flock {
        l_type: kind as libc::c_short,
        l_whence: libc::SEEK_SET as libc::c_short,
        l_start: start,
        l_len: len,
        l_pid: 0,
    }
}
