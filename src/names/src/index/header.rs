//! The header page: what it says, and what of it is believed.

use std::fs::File;
use std::hash::Hasher as _;
use std::io::{self, Read as _};
use std::os::unix::fs::FileExt as _;

use siphasher::sip::SipHasher24;

use super::fault::Fault;
use super::table::MAX_PROBE;
use crate::login::{MAX_PREFIX, check_prefix};

/// Bytes before the first slot.
pub(super) const HEADER_LEN: u64 = 4096;
/// Bytes of one slot.
pub(super) const SLOT_LEN: u64 = 16;
/// Bytes of the header that mean something.
const USED: usize = 96;
/// Bytes of the header that the checksum is over.
const CHECKED: usize = 72;
/// Where the counters stand.
const COUNTERS: u64 = 80;
/// More home slots than any writer makes: a number like that is damage, not a size.
const MAX_SLOTS: u64 = 1 << 30;
const MAGIC: [u8; 8] = *b"vstbname";
const VERSION: u32 = 1;

/// The prefix that target names may carry; empty for none. Held in place: the reader allocates nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Prefix {
    bytes: [u8; MAX_PREFIX],
    len: usize,
}

impl Prefix {
    /// `None` and the empty prefix are the same; otherwise it must be the start of a target name.
    pub(super) fn new(prefix: Option<&str>) -> io::Result<Self> {
        let text = prefix.unwrap_or_default();
        if !text.is_empty() {
            check_prefix(text).map_err(|why| io::Error::new(io::ErrorKind::InvalidInput, why))?;
        }
        let mut bytes = [0; MAX_PREFIX];
        for (to, from) in bytes.iter_mut().zip(text.bytes()) {
            *to = from;
        }
        Ok(Self { bytes, len: text.len() })
    }

    pub(super) fn get(&self) -> Option<&str> {
        let text = self.bytes.get(..self.len).and_then(|bytes| str::from_utf8(bytes).ok())?;
        (!text.is_empty()).then_some(text)
    }
}

/// How full the table is, as its writer counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Counters {
    pub(super) live: u64,
    pub(super) tombstones: u64,
}

impl Counters {
    /// Slots that are not empty.
    pub(super) fn used(self) -> u64 {
        self.live.saturating_add(self.tombstones)
    }

    /// Writes the counters of the index `file`.
    pub(super) fn store(self, file: &File) -> io::Result<()> {
        let mut bytes = [0; 16];
        let (live, tombstones) = bytes.split_at_mut(8);
        live.copy_from_slice(&self.live.to_le_bytes());
        tombstones.copy_from_slice(&self.tombstones.to_le_bytes());
        file.write_all_at(&bytes, COUNTERS)
    }
}

/// What the header page says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Header {
    pub(super) key: [u8; 16],
    /// Home slots; the table has [`MAX_PROBE`] more.
    pub(super) slots: u64,
    pub(super) prefix: Prefix,
    pub(super) counters: Counters,
}

impl Header {
    /// A header with a new random key.
    pub(super) fn new(prefix: Prefix) -> io::Result<Self> {
        let mut key = [0; 16];
        File::open("/dev/urandom")?.read_exact(&mut key)?;
        Ok(Self { key, slots: 0, prefix, counters: Counters::default() })
    }

    /// Reads and checks the header of a file that is `len` bytes long. Nothing in the file is believed before.
    pub(super) fn load(file: &File, len: u64) -> io::Result<Self> {
        if len < HEADER_LEN {
            return Err(Fault::Length { expected: HEADER_LEN, found: len }.into());
        }
        let mut bytes = [0; USED];
        file.read_exact_at(&mut bytes, 0)?;
        Ok(Self::decode(&bytes, len)?)
    }

    fn decode(bytes: &[u8; USED], len: u64) -> Result<Self, Fault> {
        let mut rest = &bytes[..];
        let magic: [u8; 8] = take(&mut rest)?;
        let version = u32::from_le_bytes(take(&mut rest)?);
        let prefix_len = u32::from_le_bytes(take(&mut rest)?);
        let key = take(&mut rest)?;
        let slots = u64::from_le_bytes(take(&mut rest)?);
        let prefix: [u8; MAX_PREFIX] = take(&mut rest)?;
        let check = u64::from_le_bytes(take(&mut rest)?);
        let live = u64::from_le_bytes(take(&mut rest)?);
        let tombstones = u64::from_le_bytes(take(&mut rest)?);

        if magic != MAGIC {
            return Err(Fault::Foreign);
        }
        if version != VERSION {
            return Err(Fault::Version(version));
        }
        if check != checksum(bytes) || slots > MAX_SLOTS {
            return Err(Fault::Header);
        }
        let prefix =
            usize::try_from(prefix_len).ok().and_then(|len| prefix.get(..len)).ok_or(Fault::Header)?;
        let prefix = str::from_utf8(prefix).ok().and_then(|text| Prefix::new(Some(text)).ok());
        let header = Self {
            key,
            slots,
            prefix: prefix.ok_or(Fault::Header)?,
            counters: Counters { live, tombstones },
        };
        match header.file_len() {
            Some(expected) if expected == len => Ok(header),
            Some(expected) => Err(Fault::Length { expected, found: len }),
            None => Err(Fault::Header),
        }
    }

    /// The header page, as it stands in the file.
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut page = Vec::with_capacity(4096);
        page.extend(MAGIC);
        page.extend(VERSION.to_le_bytes());
        page.extend(u32::try_from(self.prefix.len).unwrap_or_default().to_le_bytes());
        page.extend(self.key);
        page.extend(self.slots.to_le_bytes());
        page.extend(self.prefix.bytes);
        page.extend(checksum(&page).to_le_bytes());
        page.extend(self.counters.live.to_le_bytes());
        page.extend(self.counters.tombstones.to_le_bytes());
        page.resize(4096, 0);
        page
    }

    /// How long the file must be, unless that overflows.
    pub(super) fn file_len(&self) -> Option<u64> {
        self.slots.checked_add(MAX_PROBE)?.checked_mul(SLOT_LEN)?.checked_add(HEADER_LEN)
    }
}

fn take<const N: usize>(rest: &mut &[u8]) -> Result<[u8; N], Fault> {
    let (head, tail) = rest.split_first_chunk::<N>().ok_or(Fault::Header)?;
    *rest = tail;
    Ok(*head)
}

fn checksum(header: &[u8]) -> u64 {
    let mut hasher = SipHasher24::new();
    hasher.write(header.get(..CHECKED).unwrap_or(header));
    hasher.finish()
}
