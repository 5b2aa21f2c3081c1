//! Writing a whole index: beside the old one, made durable, then renamed over it.

use std::ffi::OsStr;
use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{self, BufWriter, Write};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use super::fault::Fault;
use super::header::{Counters, Header};
use super::table::{MAX_PROBE, home};

/// Names that an index takes: 4 GiB of slots when it was just built.
const MAX_NAMES: u64 = 1 << 27;
/// A table has a multiple of this many home slots: a page of them.
const PAGE_SLOTS: u64 = 256;
/// How many times a table is made bigger because of one crowded place, before that is called a fault.
const TRIES: u32 = 2;

/// Home slots for `names` names: half full at first.
fn slots_for(names: u64) -> io::Result<u64> {
    if names > MAX_NAMES {
        return Err(Fault::TooMany.into());
    }
    Ok((names * 2).max(1).next_multiple_of(PAGE_SLOTS))
}

/// Replaces the index at `path` by one that holds `tags` and has room for `capacity`. `header` gives key and prefix.
/// Returns the new file, open for reading and writing, and its header. The caller holds the lock.
///
/// On an error, and after a crash at any instruction, `path` is the old file.
pub(super) fn replace(
    path: &Path,
    mut header: Header,
    mut tags: Vec<u128>,
    capacity: u64,
) -> io::Result<(File, Header)> {
    tags.sort_unstable(); // the order of the homes, so that the table is written front to back
    tags.dedup();
    header.counters = Counters { live: tags.len() as u64, tombstones: 0 };
    header.slots = roomy(&tags, slots_for(header.counters.live.max(capacity))?)?;

    let new = beside(path, ".new");
    match fs::remove_file(&new) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {} // left by a crash, or not there
    }
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .create_new(true)
        .mode(0o600)
        .custom_flags(libc::O_NOFOLLOW)
        .open(&new)?;
    let written = fill(&file, &header, &tags).and_then(|()| fs::rename(&new, path));
    if let Err(error) = written {
        // The first error is the one to tell; a file that can't be removed is removed by the next writer.
        let _ = fs::remove_file(&new);
        return Err(error);
    }
    File::open(directory(path))?.sync_all()?;
    Ok((file, header))
}

/// The first number of home slots, from `slots` up, with which no tag is too far from its home.
fn roomy(tags: &[u128], mut slots: u64) -> io::Result<u64> {
    for _ in 0..TRIES {
        let mut next = 0;
        let fits = tags.iter().all(|&tag| {
            let home = home(tag, slots);
            let at = home.max(next);
            next = at + 1;
            at - home < MAX_PROBE
        });
        if fits {
            return Ok(slots);
        }
        slots = slots.saturating_mul(2);
    }
    Err(Fault::Crowded.into())
}

/// Writes header and table and makes them durable. Empty slots are written too, not left as holes: a later change of
/// 16 bytes then needs no new block, and so works on a full disk.
fn fill(file: &File, header: &Header, tags: &[u128]) -> io::Result<()> {
    let mut out = BufWriter::with_capacity(1 << 16, file);
    out.write_all(&header.encode())?;
    let mut next = 0;
    for &tag in tags {
        let at = home(tag, header.slots).max(next);
        empty_slots(&mut out, at - next)?;
        out.write_all(&tag.to_le_bytes())?;
        next = at + 1;
    }
    empty_slots(&mut out, (header.slots + MAX_PROBE).saturating_sub(next))?;
    out.into_inner().map_err(io::IntoInnerError::into_error)?;
    // Whatever the umask: every program that looks a user up reads it.
    file.set_permissions(Permissions::from_mode(0o644))?;
    file.sync_all()
}

fn empty_slots(out: &mut impl Write, count: u64) -> io::Result<()> {
    (0..count).try_for_each(|_| out.write_all(&[0; 16]))
}

/// `path` with `suffix` at its end: a file in the same directory.
pub(super) fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.file_name().unwrap_or(OsStr::new("names")).to_owned();
    name.push(suffix);
    path.with_file_name(name)
}

fn directory(path: &Path) -> &Path {
    path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))
}
