//! Where there are files with keys: so that one is emptied whose target is gone, or has another home.
//!
//! A directory of root's, with a line of JSON for each file, and a lock: one pass at a time.

use std::collections::BTreeSet;
use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{BufWriter, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use nix::fcntl::{Flock, FlockArg};
use nix::libc;
use vestibule::paths;

/// How long a pass waits for another.
const PATIENCE: Duration = Duration::from_secs(120);

/// The files, each a home and a path below it.
pub(crate) struct Memory {
    path: PathBuf,
    files: BTreeSet<(String, String)>,
    changed: bool,
    _lock: Flock<File>,
}

impl Memory {
    /// Reads what there is, and keeps others out.
    pub(crate) fn open() -> anyhow::Result<Memory> {
        Memory::open_in(Path::new(paths::WRITTEN_DIR))
    }

    fn open_in(directory: &Path) -> anyhow::Result<Memory> {
        let name = || format!("'{}'", directory.display());
        match DirBuilder::new().mode(0o700).create(directory) {
            Err(error) if error.kind() != std::io::ErrorKind::AlreadyExists => {
                return Err(error).with_context(name);
            }
            _ => {}
        }
        let about = directory.symlink_metadata().with_context(name)?;
        if !about.is_dir() || about.uid() != nix::unistd::geteuid().as_raw() || about.mode() & 0o022 != 0 {
            bail!("{}: want a directory of root's that nobody else can write", name());
        }
        let lock = lock(&directory.join("lock")).with_context(name)?;
        let path = directory.join("files");
        let text = match std::fs::read_to_string(&path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => String::new(),
            other => other.with_context(|| format!("'{}'", path.display()))?,
        };
        let files = text.lines().map(serde_json::from_str).collect::<Result<_, _>>();
        let files = files.with_context(|| format!("'{}'", path.display()))?;
        Ok(Memory { path, files, changed: false, _lock: lock })
    }

    /// All files that may have keys.
    pub(crate) fn files(&self) -> impl Iterator<Item = &(String, String)> {
        self.files.iter()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.files.is_empty()
    }

    /// A file will have keys. To be saved before it has.
    pub(crate) fn add(&mut self, home: &str, file: &str) {
        self.changed |= self.files.insert((home.to_owned(), file.to_owned()));
    }

    /// A file has no keys any more.
    pub(crate) fn forget(&mut self, home: &str, file: &str) {
        self.changed |= self.files.remove(&(home.to_owned(), file.to_owned()));
    }

    /// Writes down what changed, as a whole.
    pub(crate) fn save(&mut self) -> anyhow::Result<()> {
        if !self.changed {
            return Ok(());
        }
        let new = self.path.with_extension("new");
        let write = || -> std::io::Result<()> {
            let mut out = BufWriter::new(File::create(&new)?);
            for file in &self.files {
                serde_json::to_writer(&mut out, file)?;
                out.write_all(b"\n")?;
            }
            out.into_inner().map_err(std::io::IntoInnerError::into_error)?.sync_all()?;
            std::fs::rename(&new, &self.path)
        };
        write().with_context(|| format!("'{}'", self.path.display()))?;
        self.changed = false;
        Ok(())
    }
}

fn lock(path: &Path) -> anyhow::Result<Flock<File>> {
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(false).mode(0o600).custom_flags(libc::O_NOFOLLOW);
    let mut file = options.open(path)?;
    let end = Instant::now() + PATIENCE;
    loop {
        match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
            Ok(lock) => return Ok(lock),
            Err((_, error)) if error != nix::Error::EWOULDBLOCK => return Err(error.into()),
            Err(_) if Instant::now() >= end => bail!("another run does not end"),
            Err((back, _)) => file = back,
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn what_is_remembered_is_there_the_next_time() {
        let dir = tempfile::tempdir().unwrap();
        let at = dir.path().join("written");
        let mut memory = Memory::open_in(&at).unwrap();
        assert!(memory.is_empty());
        memory.add("/srv/a \"b\"", ".ssh/k");
        memory.add("/srv/c", ".ssh/k");
        memory.save().unwrap();
        drop(memory);
        let mut memory = Memory::open_in(&at).unwrap();
        assert_eq!(memory.files().count(), 2);
        memory.forget("/srv/c", ".ssh/k");
        memory.save().unwrap();
        drop(memory);
        assert_eq!(Memory::open_in(&at).unwrap().files().count(), 1);
        std::fs::set_permissions(&at, PermissionsExt::from_mode(0o777)).unwrap();
        assert!(Memory::open_in(&at).is_err());
    }
}
