//! The name index: a file beside the store that says, in two or three small reads, whether a login name exists.
//!
//! The NSS module can't open the store: it lives in other people's processes. It asks this file instead. The store's
//! writer keeps it: a change costs one write of 16 bytes, not a rewrite.
//!
//! # Contract between the store's writer and this file
//! Take the [`IndexWriter`] *before* the store's transaction begins and keep it until the end. Insert the new names and
//! [`sync`](IndexWriter::sync), commit the store, then remove the names that are gone. A crash in between leaves only
//! names too many; those find nothing in the store and let nobody in. (The store's commit must itself be durable before
//! names are removed, or a power failure could bring back a target without its name.)
//!
//! Readers take no lock. They never miss a name that is not itself being changed: a slot goes from empty to a name to a
//! tombstone and never back to empty, and when the table grows, a whole new file is renamed over the old one.
//!
//! # The file, version 1 (numbers are little-endian)
//! A header page of 4096 bytes:
//!
//! | bytes | what |
//! |---|---|
//! | 0..8 | magic `vstbname` |
//! | 8..12 | format version |
//! | 12..16 | length of the prefix, 0 to 32 |
//! | 16..32 | random key of the hash; a new one with each rebuild from names |
//! | 32..40 | home slots, *n* |
//! | 40..72 | prefix that target names may carry, zero-padded |
//! | 72..80 | SipHash-2-4 of bytes 0..72 with a zero key, against rot |
//! | 80..96 | live names, tombstones: the writer's counters; readers don't use them |
//!
//! then *n* + 512 slots of 16 bytes. A slot is empty (all zeros), a tombstone (all ones) or a tag: the SipHash-2-4-128
//! of the name, its low byte replaced by the [`Kind`]. So a name is not there in clear, no tag looks like an empty slot
//! or a tombstone, and a name's kinds share one neighbourhood, so that asking for two of them is one read. The home of
//! a tag is the high half of its hash scaled to *n*: it needs no name, so the table grows from what is in it, and tags
//! in order are homes in order, so it is written front to back. From its home a tag is at most 511 slots away (the
//! last 512 slots save the wrap-around). A file is exactly as long as its header says.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;

mod fault;
mod header;
mod reader;
mod table;
mod write;
mod writer;

pub use fault::Fault;
pub use reader::Index;
pub use writer::IndexWriter;

/// What a name in the index is. One name can be there as each of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Kind {
    /// A target's id or alias. Asked for in any spelling of a UUID, kept in the canonical one.
    Target = 1,
    /// An account.
    Account = 2,
    /// An account that has a default target (it is there as [`Kind::Account`] too).
    Default = 3,
}

/// Opens an index and makes sure that it is a file that only its owner writes. Never blocks (a FIFO, a device) and
/// follows no symbolic link at the end of the path. Returns the file's length too.
fn open(path: &Path, writable: bool) -> io::Result<(File, u64)> {
    let file = OpenOptions::new()
        .read(true)
        .write(writable)
        .custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK | libc::O_NOCTTY) // std adds O_CLOEXEC
        .open(path)?;
    let meta = file.metadata()?;
    if !meta.is_file() {
        return Err(Fault::NotRegular.into());
    }
    if meta.mode() & 0o022 != 0 {
        return Err(Fault::Writable.into());
    }
    Ok((file, meta.len()))
}
