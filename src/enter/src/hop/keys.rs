//! The proxy key, by which the bastion logs in: read by root, and never understood here.
//!
//! `NAME` is the private key; `NAME.old` the one before it while a rotation lasts; `NAME-cert.pub` a certificate that the
//! operator has had made for it. The second hop offers them in this order.

use std::fs::{File, Metadata};
use std::io::{self, Read};
use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use vestibule::paths;
use vestibule_sys::beneath::{self, Resolve};

use crate::refused::Refused;

/// An RSA key of 16384 bits has some 13 KB.
const MAX_KEY: u64 = 64 << 10;

/// The files of key `name`, as the client is to see them: `key` first, `old` where there is one, and their certificates.
pub(super) fn read(name: &str, hop: u32) -> Result<Vec<(String, Vec<u8>)>, Refused> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
    if name.is_empty() || name.len() > 64 || !name.bytes().all(plain) {
        return Err(Refused::setup(format_args!("proxy key {name:?}: no name of a key")));
    }
    read_in(Path::new(paths::PROXY_KEYS), name, hop)
}

fn read_in(directory: &Path, name: &str, hop: u32) -> Result<Vec<(String, Vec<u8>)>, Refused> {
    let shown = directory.display();
    let about = |e: &dyn std::fmt::Display| Refused::setup(format_args!("'{shown}': {e}"));
    let open = File::open(directory).map_err(|e| about(&e))?;
    let meta = open.metadata().map_err(|e| about(&e))?;
    if !meta.is_dir() || !is_ours(&meta, hop) || meta.mode() & 0o022 != 0 {
        return Err(about(&"must be a directory of root's that nobody else may write"));
    }
    let mut files = Vec::new();
    for (file, to, secret) in [
        (name.to_owned(), "key", true),
        (format!("{name}-cert.pub"), "key-cert.pub", false),
        (format!("{name}.old"), "old", true),
        (format!("{name}.old-cert.pub"), "old-cert.pub", false),
    ] {
        let is_first = files.is_empty();
        match read_file(&open, &file, hop, secret) {
            Ok(bytes) => files.push((to.to_owned(), bytes)),
            Err(Fault::Gone) if !is_first => {}
            Err(Fault::Gone) => {
                let mend = format!("make it with 'vestibulectl proxy-key create {name}'");
                return Err(Refused::setup(format_args!(
                    "proxy key '{shown}/{file}' does not exist; {mend}"
                )));
            }
            Err(Fault::Bad(why)) => {
                return Err(Refused::setup(format_args!("proxy key '{shown}/{file}': {why}")));
            }
        }
    }
    Ok(files)
}

enum Fault {
    Gone,
    Bad(String),
}

fn read_file(directory: &File, name: &str, hop: u32, secret: bool) -> Result<Vec<u8>, Fault> {
    let fault = |e: io::Error| match e.kind() {
        io::ErrorKind::NotFound => Fault::Gone,
        _ => Fault::Bad(e.to_string()),
    };
    let file = beneath::open_beneath(directory.as_fd(), Path::new(name), Resolve::NoLinks).map_err(fault)?;
    let file = File::from(file);
    let meta = file.metadata().map_err(fault)?;
    let loose = if secret { 0o077 } else { 0o022 };
    if !meta.is_file() {
        return Err(Fault::Bad("not a regular file".to_owned()));
    }
    if !is_ours(&meta, hop) {
        return Err(Fault::Bad(format!("belongs to uid {}; want root, chown root:root", meta.uid())));
    }
    if meta.mode() & loose != 0 {
        let mode = meta.mode() & 0o7777;
        return Err(Fault::Bad(format!("mode {mode:04o} lets others at it; want 0400, chmod 0400")));
    }
    let mut bytes = Vec::new();
    file.take(MAX_KEY + 1).read_to_end(&mut bytes).map_err(fault)?;
    if u64::try_from(bytes.len()).is_ok_and(|length| length <= MAX_KEY) {
        Ok(bytes)
    } else {
        Err(Fault::Bad("too long for a key".to_owned()))
    }
}

fn is_ours(meta: &Metadata, hop: u32) -> bool {
    meta.uid() == 0 || meta.uid() == hop
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::{PermissionsExt, chown, symlink};

    use super::*;

    fn put(path: &Path, mode: u32) {
        fs::write(path, path.file_name().unwrap().as_encoded_bytes()).unwrap();
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    }

    #[test]
    fn a_key_that_others_could_have_read_or_written_is_not_used() {
        assert!(nix::unistd::geteuid().is_root(), "this test needs root: it gives files away");
        let dir = tempfile::tempdir().unwrap();
        let read = |name: &str| {
            let files = read_in(dir.path(), name, 7)
                .map(|files| files.into_iter().map(|(to, _)| to).collect::<Vec<_>>().join(" "));
            files.unwrap_or_else(|refused| refused.cause)
        };
        assert!(read("none").contains("vestibulectl proxy-key create none"));
        let key = dir.path().join("k");
        put(&key, 0o400);
        assert_eq!(read("k"), "key");
        put(&dir.path().join("k.old"), 0o600);
        put(&dir.path().join("k-cert.pub"), 0o644);
        assert_eq!(read("k"), "key key-cert.pub old");
        for (mode, wanted) in [(0o440, "mode 0440"), (0o604, "mode 0604"), (0o620, "mode 0620")] {
            put(&key, mode);
            assert!(read("k").contains(wanted), "{}", read("k"));
        }
        put(&key, 0o400);
        chown(&key, Some(7), None).unwrap();
        assert_eq!(read("k"), "key key-cert.pub old");
        chown(&key, Some(8), None).unwrap();
        assert!(read("k").contains("belongs to uid 8"));
        symlink(dir.path().join("k.old"), dir.path().join("link")).unwrap();
        assert!(read("link").contains("symbolic link"), "{}", read("link"));
        fs::create_dir(dir.path().join("dir")).unwrap();
        assert!(read("dir").contains("not a regular file"));
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o777)).unwrap();
        assert!(read("k").contains("nobody else may write"));
    }
}
