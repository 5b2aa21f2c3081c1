//! Tags and where they are: the arithmetic that reader and writer share.

use std::fs::File;
use std::hash::Hasher as _;
use std::io;
use std::ops::ControlFlow;
use std::os::unix::fs::FileExt as _;

use siphasher::sip128::{Hasher128 as _, SipHasher24};

use super::Kind;
use super::header::{HEADER_LEN, SLOT_LEN};
use crate::name::uuid_digits;

/// How many slots from its home a tag may be, its home included.
pub(super) const MAX_PROBE: u64 = 512;
/// Slots read at once. At the fullest, one name in a thousand needs a second read.
const WINDOW: u64 = 128;
const WINDOW_LEN: usize = 2048;

pub(super) const EMPTY: u128 = 0;
pub(super) const TOMBSTONE: u128 = u128::MAX;

/// What stands in the slot of the name `name` as a `kind`.
pub(super) fn tag(key: &[u8; 16], kind: Kind, name: &str) -> u128 {
    let mut hasher = SipHasher24::new_with_key(key);
    match (kind, uuid_digits(name.as_bytes())) {
        (Kind::Target, Some(digits)) => hasher.write(&digits),
        _ => hasher.write(name.as_bytes()),
    }
    let hash = hasher.finish128();
    u128::from(hash.h1) << 64 | u128::from(hash.h2 & !0xff) | kind as u128
}

/// The home of a tag among `slots`: the high half of its hash, scaled. Greater tags have no smaller homes.
pub(super) fn home(tag: u128, slots: u64) -> u64 {
    let scaled = (tag >> 64) * u128::from(slots);
    // The high half of the product of two 64-bit numbers.
    u64::try_from(scaled >> 64).unwrap_or_default()
}

/// Where in the file a slot is.
pub(super) fn offset(slot: u64) -> u64 {
    slot.saturating_mul(SLOT_LEN).saturating_add(HEADER_LEN)
}

/// Looks through the slots from a tag's home on. Keeps what it has read: asking again in the same place is free.
pub(super) struct Probe<'f> {
    file: &'f File,
    slots: u64,
    /// The slot that the window starts with.
    at: Option<u64>,
    window: [u8; WINDOW_LEN],
}

impl<'f> Probe<'f> {
    /// `slots` is the table's number of home slots, as in its (checked) header.
    pub(super) fn new(file: &'f File, slots: u64) -> Self {
        Self { file, slots, at: None, window: [0; WINDOW_LEN] }
    }

    /// Shows `visit` each slot in which `tag` could be, with its number, until it breaks off.
    pub(super) fn walk<B>(
        &mut self,
        tag: u128,
        mut visit: impl FnMut(u64, u128) -> ControlFlow<B>,
    ) -> io::Result<Option<B>> {
        let home = home(tag, self.slots);
        for part in 0..MAX_PROBE / WINDOW {
            let start = home.saturating_add(part * WINDOW);
            if self.at != Some(start) {
                self.at = None;
                self.file.read_exact_at(&mut self.window, offset(start))?;
                self.at = Some(start);
            }
            let (slots, _) = self.window.as_chunks();
            for (number, bytes) in (start..).zip(slots) {
                if let ControlFlow::Break(value) = visit(number, u128::from_le_bytes(*bytes)) {
                    return Ok(Some(value));
                }
            }
        }
        Ok(None)
    }

    /// Whether `tag` is in the table.
    pub(super) fn finds(&mut self, tag: u128) -> io::Result<bool> {
        let found = self.walk(tag, |_, slot| match slot {
            EMPTY => ControlFlow::Break(false),
            _ if slot == tag => ControlFlow::Break(true),
            _ => ControlFlow::Continue(()),
        })?;
        Ok(found.unwrap_or(false))
    }
}

/// Every tag in the table of a file with `slots` home slots, in the order of the slots. Only what is there is
/// allocated: the file may be mostly empty.
pub(super) fn all_tags(file: &File, slots: u64) -> io::Result<Vec<u128>> {
    let mut tags = Vec::new();
    let mut buffer = vec![0; 1 << 16];
    let mut left = slots.saturating_add(MAX_PROBE).saturating_mul(SLOT_LEN);
    let mut at = HEADER_LEN;
    while left > 0 {
        let len = usize::try_from(left).unwrap_or(usize::MAX).min(buffer.len());
        let part = buffer.get_mut(..len).unwrap_or_default();
        file.read_exact_at(part, at)?;
        let (slots, _) = part.as_chunks();
        let found = slots.iter().map(|bytes| u128::from_le_bytes(*bytes));
        tags.extend(found.filter(|slot| !matches!(*slot, EMPTY | TOMBSTONE)));
        at = at.saturating_add(len as u64);
        left = left.saturating_sub(len as u64);
    }
    Ok(tags)
}
