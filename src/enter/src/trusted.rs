//! Opening files that only root can have written: pid files, and what is executed in a container.

use std::fs::{self, File, Metadata};
use std::io;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;

use nix::fcntl::OFlag;

/// Why a file is not used.
#[derive(Debug)]
pub(crate) enum Distrust {
    /// There is none.
    Gone,
    /// Somebody else could have written it, or it can't be read.
    Bad(String),
}

/// Opens a regular file for reading that, as every directory above it, belongs to root and that nobody else may write:
/// as sshd asks of its own files (`safe_path` in misc.c).
pub(crate) fn open(path: &Path) -> Result<(File, Metadata), Distrust> {
    let gone_or = |e: io::Error| {
        if e.kind() == io::ErrorKind::NotFound { Distrust::Gone } else { Distrust::Bad(e.to_string()) }
    };
    if !path.is_absolute() {
        return Err(Distrust::Bad("not an absolute path".to_owned()));
    }
    let path = fs::canonicalize(path).map_err(gone_or)?;
    let safe = |meta: &Metadata, what: &Path| {
        if meta.uid() == 0 && meta.mode() & 0o022 == 0 {
            Ok(())
        } else {
            Err(Distrust::Bad(format!("'{}' could be written by others than root", what.display())))
        }
    };
    for above in path.ancestors().skip(1) {
        safe(&fs::metadata(above).map_err(gone_or)?, above)?;
    }
    let file = File::options()
        .read(true)
        .custom_flags(OFlag::O_NONBLOCK.bits() | OFlag::O_NOFOLLOW.bits())
        .open(&path)
        .map_err(gone_or)?;
    let meta = file.metadata().map_err(gone_or)?;
    if !meta.is_file() {
        return Err(Distrust::Bad("not a regular file".to_owned()));
    }
    safe(&meta, &path)?;
    Ok((file, meta))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_others_could_write_is_not_opened() {
        let dir = tempfile::tempdir().unwrap(); // below /tmp, where everybody may write
        let file = dir.path().join("file");
        fs::write(&file, "").unwrap();
        assert!(matches!(open(&file), Err(Distrust::Bad(_))));
        assert!(matches!(open(&dir.path().join("none")), Err(Distrust::Gone)));
        assert!(matches!(open(Path::new("relative")), Err(Distrust::Bad(_))));
        assert!(matches!(open(Path::new("/etc")), Err(Distrust::Bad(_))));
        assert!(open(Path::new("/etc/passwd")).is_ok());
    }
}
