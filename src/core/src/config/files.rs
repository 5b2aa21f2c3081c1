//! The files of the configuration: which there are, what is in them, and whether they are root's.

use std::fs::{File, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use super::ConfigError;

/// Bytes that a configuration file may have.
const MAX_BYTES: u64 = 1 << 20;

/// The drop-in files of `main`, in the order of their names.
pub(super) fn drop_ins(main: &Path, trusted: bool) -> Result<Vec<PathBuf>, ConfigError> {
    let mut dir = main.as_os_str().to_owned();
    dir.push(".d");
    let dir = PathBuf::from(dir);
    let read = |source| ConfigError::Read { path: dir.clone(), source };
    let entries = match std::fs::read_dir(&dir) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(read(error)),
    };
    if trusted {
        trust(&dir, &std::fs::metadata(&dir).map_err(read)?)?;
    }
    let mut files = Vec::new();
    for entry in entries {
        let path = entry.map_err(read)?.path();
        // A name that starts with a dot is an editor's leftover.
        let hidden = path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"."));
        if !hidden && path.extension().is_some_and(|extension| extension == "toml") {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

/// The text of a file; nothing when it does not exist.
pub(super) fn read_file(path: &Path, trusted: bool) -> Result<Option<String>, ConfigError> {
    let read = |source| ConfigError::Read { path: path.to_owned(), source };
    // Non-blocking, so that a FIFO in its place can't hang a login.
    let flags = nix::libc::O_NONBLOCK | nix::libc::O_NOCTTY;
    let file = match OpenOptions::new().read(true).custom_flags(flags).open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(read(error)),
    };
    let meta = file.metadata().map_err(read)?;
    if !meta.is_file() {
        return Err(read(io::Error::other("not a regular file")));
    }
    if trusted {
        trust(path, &meta)?;
    }
    text_of(file).map(Some).map_err(read)
}

fn text_of(file: File) -> io::Result<String> {
    let mut bytes = Vec::new();
    file.take(MAX_BYTES + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > MAX_BYTES {
        return Err(io::Error::other("larger than 1 MiB"));
    }
    String::from_utf8(bytes).map_err(|_| io::Error::other("not UTF-8 text"))
}

fn trust(path: &Path, meta: &std::fs::Metadata) -> Result<(), ConfigError> {
    let untrusted = |why| Err(ConfigError::Untrusted { path: path.to_owned(), why });
    if meta.uid() != 0 {
        return untrusted("its owner is not root; run 'chown root' on it");
    }
    if meta.mode() & 0o022 != 0 {
        return untrusted("others than root may write it; run 'chmod go-w' on it");
    }
    Ok(())
}
