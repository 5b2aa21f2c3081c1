//! As whom it is done: root becomes the owner of the store's directory, for good.

use std::os::unix::fs::MetadataExt;
use std::path::Path;

use anyhow::Context;
use nix::sys::stat::{Mode, umask};
use nix::unistd::{Gid, Uid, geteuid, setgroups, setresgid, setresuid};

/// Gives root's rights up before anything that a source says is read.
pub(crate) fn become_owner_of(directory: &Path) -> anyhow::Result<()> {
    umask(Mode::from_bits_truncate(0o027));
    if !geteuid().is_root() {
        return Ok(());
    }
    let about = directory.metadata().with_context(|| format!("'{}'", directory.display()))?;
    if about.uid() == 0 {
        return Ok(());
    }
    let (uid, gid) = (Uid::from_raw(about.uid()), Gid::from_raw(about.gid()));
    setgroups(&[gid])
        .and_then(|()| setresgid(gid, gid, gid))
        .and_then(|()| setresuid(uid, uid, uid))
        .with_context(|| format!("can't become the owner of '{}'", directory.display()))
}
