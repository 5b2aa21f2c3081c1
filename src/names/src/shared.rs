//! `/etc/vestibule/nss.conf`: the uid and gid that every login name has.
//!
//! ```text
//! # comment
//! uid = 998
//! gid = 997
//! ```
//! Whoever could write this file could make a login name root. So it must be root's own, and anything unexpected in it
//! makes the whole of it void.

use std::fs::{File, OpenOptions};
use std::io::{self, ErrorKind, Read as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::Path;

/// Bytes that the file has at most.
const MAX_LEN: usize = 4096;

/// Whom every login name is on the bastion. Neither is 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Identity {
    /// The uid.
    pub uid: u32,
    /// The gid.
    pub gid: u32,
}

/// Reads the file at `path`, which must be a regular file of `owner` that nobody else may write. `None` when it is not,
/// or says anything unexpected.
#[must_use]
pub fn read(path: &Path, owner: u32) -> Option<Identity> {
    let mut file = OpenOptions::new()
        .read(true)
        .custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK | libc::O_NOCTTY) // std adds O_CLOEXEC
        .open(path)
        .ok()?;
    let meta = file.metadata().ok()?;
    if !meta.is_file() || meta.uid() != owner || meta.mode() & 0o022 != 0 {
        return None;
    }
    let mut buffer = [0; MAX_LEN + 1];
    let len = fill(&mut file, &mut buffer).ok()?;
    if len > MAX_LEN {
        return None;
    }
    parse(buffer.get(..len)?)
}

/// Reads until the end of the file or of the buffer.
fn fill(file: &mut File, buffer: &mut [u8]) -> io::Result<usize> {
    let mut len = 0;
    while let Some(rest) = buffer.get_mut(len..).filter(|rest| !rest.is_empty()) {
        match file.read(rest) {
            Ok(0) => break,
            Ok(more) => len += more,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(len)
}

fn parse(text: &[u8]) -> Option<Identity> {
    let (mut uid, mut gid) = (None, None);
    for line in str::from_utf8(text).ok()?.lines() {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let (key, value) = line.split_once('=')?;
        let place = match key.trim_end() {
            "uid" => &mut uid,
            "gid" => &mut gid,
            _ => return None,
        };
        if place.replace(id(value)?).is_some() {
            return None;
        }
    }
    Some(Identity { uid: uid?, gid: gid? })
}

/// An id, perhaps with a comment behind it. Neither 0 nor -1, which system calls take for "no change".
fn id(value: &str) -> Option<u32> {
    let digits = value.split_once('#').map_or(value, |(digits, _)| digits).trim();
    if !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None; // `parse` would take a `+`
    }
    digits.parse().ok().filter(|id| !matches!(*id, 0 | u32::MAX))
}

#[cfg(test)]
mod tests {
    use std::fs::{self, Permissions};
    use std::os::unix::fs::{PermissionsExt as _, symlink};
    use std::path::PathBuf;
    use std::process::Command;

    use tempfile::TempDir;

    use super::*;

    const GOOD: &str = "uid = 998\ngid = 997\n";
    const US: Option<Identity> = Some(Identity { uid: 998, gid: 997 });

    fn file(text: &str) -> (TempDir, PathBuf, u32) {
        let dir = TempDir::new().unwrap();
        let path = dir.path().join("nss.conf");
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, Permissions::from_mode(0o644)).unwrap();
        let owner = fs::metadata(&path).unwrap().uid();
        (dir, path, owner)
    }

    #[test]
    fn what_it_may_say() {
        for text in [
            GOOD,
            "gid=997\nuid=998",
            "# by init\n\n  uid\t=  998  \r\n\tgid = 997 # shared\r\n#end",
            "uid = 0998\ngid = 997\n",
        ] {
            assert_eq!(parse(text.as_bytes()), US, "{text:?}");
        }
        assert_eq!(parse(b"uid=4294967294\ngid=1"), Some(Identity { uid: 4294967294, gid: 1 }));
    }

    #[test]
    fn anything_unexpected_voids_it() {
        for text in [
            "",
            "uid = 998",
            "gid = 997",
            "uid = 0\ngid = 997",
            "uid = 998\ngid = 0",
            "uid = 00\ngid = 997",
            "uid = -1\ngid = 997",
            "uid = 4294967295\ngid = 997",
            "uid = 4294967296\ngid = 997",
            "uid = +998\ngid = 997",
            "uid = 0x3e6\ngid = 997",
            "uid = 998 7\ngid = 997",
            "uid =\ngid = 997",
            "uid 998\ngid 997",
            "uid = 998\nuid = 998\ngid = 997",
            "uid = 998\ngid = 997\nhome = /root",
            "UID = 998\ngid = 997",
            "uid = 998\0\ngid = 997",
            "uid = #998\ngid = 997",
        ] {
            assert_eq!(parse(text.as_bytes()), None, "{text:?}");
        }
        assert_eq!(parse(b"# \xff\nuid=998\ngid=997"), None);
    }

    #[test]
    fn only_the_owners_own_file() {
        let (_dir, path, owner) = file(GOOD);
        assert_eq!(read(&path, owner), US);
        assert_eq!(read(&path, owner + 1), None);
        for (mode, good) in [(0o600, true), (0o444, true), (0o664, false), (0o646, false)] {
            fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
            assert_eq!(read(&path, owner).is_some(), good, "{mode:o}");
        }
    }

    #[test]
    fn only_a_regular_file_and_nothing_blocks() {
        let (dir, path, owner) = file(GOOD);
        let link = dir.path().join("link");
        symlink(&path, &link).unwrap();
        let fifo = dir.path().join("fifo");
        assert!(Command::new("mkfifo").arg("-m600").arg(&fifo).status().unwrap().success());
        for other in [&link, &fifo, &dir.path().to_owned(), &dir.path().join("none")] {
            assert_eq!(read(other, owner), None, "{other:?}");
        }
    }

    #[test]
    fn up_to_4096_bytes() {
        let mut text = GOOD.to_owned() + "#";
        text += &"x".repeat(4096 - text.len());
        let (_dir, path, owner) = file(&text);
        assert_eq!(read(&path, owner), US);
        fs::write(&path, text + "x").unwrap();
        assert_eq!(read(&path, owner), None);
    }
}
