//! Secrets: read from files that nobody but their reader can open, and never shown.

use std::fs::OpenOptions;
use std::io::{self, Read};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use nix::unistd::geteuid;

/// Bytes that a file of a secret has at most.
const MAX: u64 = 8 * 1024;

/// A token or a password. `Debug` does not show it.
#[derive(Clone)]
pub struct Secret(String);

/// Why there is no secret.
#[derive(Debug, thiserror::Error)]
#[error("can't use the secret in '{}': {why}", .path.display())]
pub struct SecretError {
    path: PathBuf,
    why: String,
}

impl Secret {
    /// The first line of `path`: a regular file of this user's (or root's), with no permission for anybody else. (The group
    /// that it runs with is that of the store, which every login name has too.)
    ///
    /// # Errors
    /// What is wrong with the file; nothing of what is in it.
    pub fn read(path: &Path) -> Result<Secret, SecretError> {
        let fault = |why: String| SecretError { path: path.to_owned(), why };
        let text = read_file(path)
            .map_err(|error| fault(error.to_string()))?
            .map_err(|why| fault(why.to_owned()))?;
        let line = text.lines().next().unwrap_or_default().trim();
        if line.is_empty() {
            return Err(fault("its first line is empty".to_owned()));
        }
        if !line.bytes().all(|byte| byte.is_ascii_graphic() || byte == b' ') {
            return Err(fault("its first line has bytes that no token has".to_owned()));
        }
        Ok(Secret(line.to_owned()))
    }

    /// A secret that somebody typed; nothing when it has bytes that no token has.
    #[must_use]
    pub fn typed(text: &[u8]) -> Option<Secret> {
        let token = text.iter().all(u8::is_ascii_graphic) && !text.is_empty();
        token.then(|| Secret(String::from_utf8_lossy(text).into_owned()))
    }

    /// The secret itself, for the one place that sends it.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Secret")
    }
}

fn read_file(path: &Path) -> io::Result<Result<String, &'static str>> {
    let file = OpenOptions::new().read(true).custom_flags(nix::libc::O_NONBLOCK).open(path)?;
    let meta = file.metadata()?;
    if !meta.is_file() {
        return Ok(Err("it is not a regular file"));
    }
    if meta.uid() != 0 && meta.uid() != geteuid().as_raw() {
        return Ok(Err("it belongs to another user; chown it to the one who reads it"));
    }
    if meta.mode() & 0o077 != 0 {
        return Ok(Err("others can read or write it; chmod it to 0600 or less"));
    }
    let mut text = String::new();
    file.take(MAX).read_to_string(&mut text)?;
    Ok(Ok(text))
}

#[cfg(test)]
mod tests {
    use std::fs::{self, Permissions};
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn only_a_closed_file_is_read_and_nothing_of_it_is_shown() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("token");
        let with = |text: &str, mode| {
            fs::write(&path, text).unwrap();
            fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
            Secret::read(&path)
        };
        let secret = with(" s3cret \nmore\n", 0o600).unwrap();
        assert_eq!(secret.expose(), "s3cret");
        assert!(!format!("{secret:?}").contains("s3cret"));
        for (text, mode) in [
            ("s3cret\n", 0o640),
            ("s3cret\n", 0o644),
            ("s3cret\n", 0o660),
            ("s3cret\n", 0o602),
            ("", 0o600),
            ("a\u{7}\n", 0o600),
        ] {
            let error = with(text, mode).unwrap_err().to_string();
            assert!(!error.contains("s3cret"), "{error}");
        }
        assert!(Secret::read(dir.path()).is_err());
        assert!(Secret::read(Path::new("/dev/null")).is_err());
    }
}
