//! A key that is made once a boot, and what it makes of names and tokens: numbers that say nothing to who reads a file.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::time::Duration;

use nix::time::{ClockId, clock_gettime};
use ring::hmac;

/// Bytes of the key.
const KEY: usize = 32;

/// HMAC-SHA-256 under the key of this boot.
#[derive(Debug)]
pub(crate) struct Keyed(hmac::Key);

impl Keyed {
    /// Reads the key, or makes it.
    ///
    /// # Errors
    /// As open(2), link(2), and read(2) of `/dev/urandom`.
    pub(crate) fn open(directory: &Path) -> io::Result<Keyed> {
        let path = directory.join("key");
        match fs::read(&path) {
            Ok(key) if key.len() == KEY => return Ok(Keyed(hmac::Key::new(hmac::HMAC_SHA256, &key))),
            Ok(_) => return Err(io::Error::new(io::ErrorKind::InvalidData, "'key' is damaged; remove it")),
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            Err(_) => {}
        }
        let new = directory.join(format!("key.{}", std::process::id()));
        let mut key = [0_u8; KEY];
        File::open("/dev/urandom")?.read_exact(&mut key)?;
        let _ = fs::remove_file(&new);
        File::options().write(true).create_new(true).mode(0o600).open(&new)?.write_all(&key)?;
        // Whoever was first has made it.
        let linked = fs::hard_link(&new, &path);
        let _ = fs::remove_file(&new);
        match linked {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error),
            _ => Ok(Keyed(hmac::Key::new(hmac::HMAC_SHA256, &fs::read(&path)?))),
        }
    }

    /// The number of some parts, of which none can be taken for a piece of another.
    pub(crate) fn digest(&self, parts: &[&[u8]]) -> [u8; 32] {
        let mut context = hmac::Context::with_key(&self.0);
        for part in parts {
            context.update(&u64::try_from(part.len()).unwrap_or(u64::MAX).to_le_bytes());
            context.update(part);
        }
        let mut out = [0; 32];
        out.iter_mut().zip(context.sign().as_ref()).for_each(|(to, from)| *to = *from);
        out
    }
}

/// Seconds since the boot, which nobody sets; the files are of this boot too.
///
/// # Errors
/// As clock_gettime(2).
pub(crate) fn now() -> io::Result<u64> {
    let time = Duration::from(clock_gettime(ClockId::CLOCK_BOOTTIME)?);
    Ok(time.as_secs())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_key_stays_and_parts_are_told_apart() {
        let dir = tempfile::tempdir().unwrap();
        let one = Keyed::open(dir.path()).unwrap();
        let other = Keyed::open(dir.path()).unwrap();
        assert_eq!(one.digest(&[b"ab", b"c"]), other.digest(&[b"ab", b"c"]));
        assert_ne!(one.digest(&[b"ab", b"c"]), one.digest(&[b"a", b"bc"]));
        let elsewhere = tempfile::tempdir().unwrap();
        assert_ne!(Keyed::open(elsewhere.path()).unwrap().digest(&[b"a"]), one.digest(&[b"a"]));
        fs::write(dir.path().join("key"), b"short").unwrap();
        assert!(Keyed::open(dir.path()).is_err());
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }
}
