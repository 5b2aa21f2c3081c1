//! A file's attributes, as the protocol tells them and as the kernel does.

use nix::sys::stat::FileStat;

/// Which attributes follow: draft-ietf-secsh-filexfer-02, section 5.
pub(crate) mod flag {
    pub(crate) const SIZE: u32 = 1;
    pub(crate) const OWNER: u32 = 2;
    pub(crate) const PERMISSIONS: u32 = 4;
    pub(crate) const TIMES: u32 = 8;
    pub(crate) const EXTENDED: u32 = 0x8000_0000;
}

/// The bits of a mode that chmod(2) takes.
pub(crate) const MODE_BITS: u32 = 0o7777;

/// What a client says of a file, or is told of it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Attributes {
    /// In bytes.
    pub(crate) size: Option<u64>,
    /// User and group.
    pub(crate) owner: Option<(u32, u32)>,
    /// Type and mode, as `st_mode`.
    pub(crate) permissions: Option<u32>,
    /// Last access and last change, in seconds since 1970.
    pub(crate) times: Option<(u32, u32)>,
}

impl From<&FileStat> for Attributes {
    fn from(stat: &FileStat) -> Self {
        // The protocol has times from 1970 to 2106; what lies outside is shown as the nearest that it has.
        let time = |t: i64| u32::try_from(t.max(0)).unwrap_or(u32::MAX);
        Attributes {
            size: Some(u64::try_from(stat.st_size).unwrap_or(0)),
            owner: Some((stat.st_uid, stat.st_gid)),
            permissions: Some(stat.st_mode),
            times: Some((time(stat.st_atime), time(stat.st_mtime))),
        }
    }
}
