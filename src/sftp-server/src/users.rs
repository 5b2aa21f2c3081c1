//! The container's users and groups, by name: passwd(5) and group(5), read without a C library's help.
//!
//! The files are the container's and may hold anything. They are read once, when first needed, up to a size; lines that
//! are no entries are passed over. Where there is no name, there is a number.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::io::Read;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// As much of a file as is read. A line has about 60 bytes.
const MAX_FILE: u64 = 4 << 20;

/// A name that is longer, or that could do something to a terminal, is shown as a number.
const MAX_NAME: usize = 64;

/// Names of users and groups, and homes.
#[derive(Debug, Default)]
pub(crate) struct Users {
    users: HashMap<u32, Box<[u8]>>,
    groups: HashMap<u32, Box<[u8]>>,
    homes: HashMap<Box<[u8]>, PathBuf>,
}

impl Users {
    /// Those of this container.
    pub(crate) fn load() -> Self {
        Users::read(&contents("/etc/passwd"), &contents("/etc/group"))
    }

    /// The first entry of a number or a name counts, as for getpwuid(3).
    fn read(passwd: &[u8], group: &[u8]) -> Self {
        let mut all = Users::default();
        for fields in entries(passwd) {
            let [name, _, uid, _, _, home, ..] = fields[..] else { continue };
            let Some(uid) = number(uid).filter(|_| is_name(name)) else { continue };
            all.users.entry(uid).or_insert_with(|| name.into());
            if home.starts_with(b"/") {
                all.homes.entry(name.into()).or_insert_with(|| OsStr::from_bytes(home).into());
            }
        }
        for fields in entries(group) {
            let [name, _, gid, ..] = fields[..] else { continue };
            if let Some(gid) = number(gid).filter(|_| is_name(name)) {
                all.groups.entry(gid).or_insert_with(|| name.into());
            }
        }
        all
    }

    pub(crate) fn user(&self, uid: u32) -> Option<&[u8]> {
        self.users.get(&uid).map(AsRef::as_ref)
    }

    pub(crate) fn group(&self, gid: u32) -> Option<&[u8]> {
        self.groups.get(&gid).map(AsRef::as_ref)
    }

    /// The home of whoever this process runs as.
    pub(crate) fn own_home(&self) -> Option<PathBuf> {
        let by_name = self.own_name().and_then(|name| self.home(name));
        by_name.map(Path::to_owned).or_else(|| std::env::var_os("HOME").map(PathBuf::from))
    }

    /// The name of whoever this process runs as.
    pub(crate) fn own_name(&self) -> Option<&[u8]> {
        self.user(nix::unistd::getuid().as_raw())
    }

    /// The home of a user by name.
    pub(crate) fn home(&self, user: &[u8]) -> Option<&Path> {
        self.homes.get(user).map(PathBuf::as_path)
    }
}

/// Nothing, where there is no regular file.
fn contents(path: &str) -> Vec<u8> {
    let mut text = Vec::new();
    // The container may have put a pipe there, on which opening would wait.
    let file = std::fs::OpenOptions::new().read(true).custom_flags(nix::libc::O_NONBLOCK).open(path);
    if let Ok(file) = file
        && file.metadata().is_ok_and(|m| m.is_file())
        && file.take(MAX_FILE).read_to_end(&mut text).is_err()
    {
        text.clear();
    }
    // What was cut off is not an entry.
    if u64::try_from(text.len()).is_ok_and(|n| n == MAX_FILE) {
        text.truncate(text.iter().rposition(|b| *b == b'\n').unwrap_or(0));
    }
    text
}

fn entries(file: &[u8]) -> impl Iterator<Item = Vec<&[u8]>> {
    file.split(|b| *b == b'\n')
        .filter(|line| !line.starts_with(b"#") && !line.contains(&0))
        .map(|line| line.splitn(8, |b| *b == b':').collect())
}

fn is_name(name: &[u8]) -> bool {
    (1..=MAX_NAME).contains(&name.len()) && name.iter().all(|b| b.is_ascii_graphic() || *b >= 0xa0)
}

fn number(field: &[u8]) -> Option<u32> {
    let plain = field.iter().all(u8::is_ascii_digit);
    std::str::from_utf8(field).ok().filter(|_| plain)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const PASSWD: &[u8] = b"root:x:0:0:root:/root:/bin/ash\n#c:x:9:9::/:\nbroken\nalice:x:1000:1000:A:/home/alice:\n\
        alias:x:1000:1000:A:/home/alias:\nalice:x:1001:1::/elsewhere:\nneg:x:-1:0::/:\nesc\x1b[31m:x:5:5::/:\n\
        rel:x:7:7::home:\nnohome:x:8:8\nlast:x:1003:1003::/last:/bin/sh";

    #[test]
    fn the_first_entry_counts() {
        let users = Users::read(PASSWD, b"wheel:x:10:\nbad\nstaff:x:10:a\nlast:x:11");
        assert_eq!(users.user(0), Some(&b"root"[..]));
        assert_eq!(users.user(1000), Some(&b"alice"[..]));
        assert_eq!(users.user(1003), Some(&b"last"[..]));
        assert_eq!(users.group(10), Some(&b"wheel"[..]));
        assert_eq!(users.group(11), Some(&b"last"[..]));
        assert_eq!(users.home(b"alice"), Some(Path::new("/home/alice")));
        assert_eq!(users.home(b"alias"), Some(Path::new("/home/alias")));
    }

    #[test]
    fn what_is_no_entry_is_passed_over() {
        let users = Users::read(PASSWD, b"");
        for uid in [5, 8, 9, u32::MAX] {
            assert_eq!(users.user(uid), None, "{uid}");
        }
        for user in [&b"rel"[..], b"nohome", b"#c", b"", b"nobody"] {
            assert_eq!(users.home(user), None);
        }
        assert_eq!(users.user(7), Some(&b"rel"[..]));
    }

    #[test]
    fn any_bytes_are_read_without_a_fault() {
        proptest::proptest!(|(passwd: Vec<u8>, group: Vec<u8>)| {
            let _ = Users::read(&passwd, &group);
        });
    }

    #[test]
    fn a_file_that_is_missing_or_no_file_is_empty() {
        assert_eq!(contents("/nonexistent"), b"");
        assert_eq!(contents("/dev/zero"), b"");
        assert_eq!(contents("/etc"), b"");
    }
}
