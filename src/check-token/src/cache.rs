//! What a hub said yes to within the last minute: a file each, whose name is a number of the token, the account and the
//! target under the key of this boot, and which says when. A no is not kept.

use std::fmt::Write as _;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// Seconds for which a yes counts; a token that is revoked opens nothing after that.
pub(crate) const SECONDS: u64 = 60;
/// More are not kept. Each is a token that the hub knows.
const MAX: usize = 4096;

/// The directory of what was answered.
#[derive(Debug)]
pub(crate) struct Cache(PathBuf);

impl Cache {
    /// # Errors
    /// As mkdir(2).
    pub(crate) fn open(directory: &Path) -> io::Result<Cache> {
        let path = directory.join("cache");
        match fs::create_dir(&path) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error),
            _ => Ok(Cache(path)),
        }
    }

    /// Whether this was answered with yes within [`SECONDS`] before `now`.
    pub(crate) fn has(&self, digest: &[u8; 32], now: u64) -> bool {
        is_fresh(&self.path(digest), now)
    }

    /// Keeps a yes, and drops what has got too old.
    ///
    /// # Errors
    /// As readdir(3), write(2) and rename(2); the answer is the same without.
    pub(crate) fn keep(&self, digest: &[u8; 32], now: u64) -> io::Result<()> {
        let mut kept = 0;
        for entry in fs::read_dir(&self.0)?.flatten() {
            if is_fresh(&entry.path(), now) {
                kept += 1;
            } else {
                let _ = fs::remove_file(entry.path());
            }
        }
        if kept >= MAX {
            return Ok(());
        }
        let path = self.path(digest);
        let new = path.with_extension(std::process::id().to_string());
        fs::write(&new, now.to_le_bytes())?;
        fs::rename(&new, &path)
    }

    fn path(&self, digest: &[u8; 32]) -> PathBuf {
        let mut name = String::with_capacity(64);
        for byte in digest {
            let _ = write!(name, "{byte:02x}");
        }
        self.0.join(name)
    }
}

fn is_fresh(path: &Path, now: u64) -> bool {
    let at = fs::read(path).ok().and_then(|bytes| bytes.as_slice().try_into().ok().map(u64::from_le_bytes));
    at.and_then(|at| now.checked_sub(at)).is_some_and(|age| age < SECONDS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_yes_counts_for_a_minute_and_is_gone_then() {
        let dir = tempfile::tempdir().unwrap();
        let cache = Cache::open(dir.path()).unwrap();
        let (one, other) = ([1; 32], [2; 32]);
        assert!(!cache.has(&one, 100));
        cache.keep(&one, 100).unwrap();
        assert!(cache.has(&one, 100) && cache.has(&one, 159));
        assert!(!cache.has(&one, 160) && !cache.has(&one, 99) && !cache.has(&other, 100));
        cache.keep(&other, 160).unwrap();
        assert_eq!(fs::read_dir(&cache.0).unwrap().count(), 1);
    }

    #[test]
    fn a_file_that_is_damaged_or_of_the_future_is_no_yes() {
        let dir = tempfile::tempdir().unwrap();
        let cache = Cache::open(dir.path()).unwrap();
        for bytes in [&b""[..], b"short", &[0xff; 8], &[0; 9]] {
            fs::write(cache.path(&[3; 32]), bytes).unwrap();
            assert!(!cache.has(&[3; 32], 30), "{bytes:?}");
        }
    }
}
