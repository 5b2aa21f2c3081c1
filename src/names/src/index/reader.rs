//! Asking the index.

use std::fs::File;
use std::io;
use std::path::Path;

use super::Kind;
use super::header::Header;
use super::table::{Probe, tag};
use crate::login::{self, Candidate, OwnName};
use crate::name::spellings;

/// An open index. Opening costs one read, and so does each question; nothing is allocated. What one `Index` sees is the
/// file of the moment it was opened: after the index grew it is the old one. So open, ask, close.
#[derive(Debug)]
pub struct Index {
    file: File,
    header: Header,
}

impl Index {
    /// Opens the index at `path`. Safe on any file that anyone may have put there.
    ///
    /// # Errors
    /// As the operating system says, or with a [`Fault`](super::Fault): not a regular file that only its owner may
    /// write, or not a whole index of a version known here.
    pub fn open(path: impl AsRef<Path>) -> io::Result<Self> {
        let (file, len) = super::open(path.as_ref(), false)?;
        let header = Header::load(&file, len)?;
        Ok(Self { file, header })
    }

    /// Whether `name` is there as a `kind`. Exactly this name: the prefix is not looked at. A target's UUID is found in
    /// every spelling.
    ///
    /// # Errors
    /// When the file can't be read, or was cut short since it was opened.
    pub fn contains(&self, kind: Kind, name: &str) -> io::Result<bool> {
        self.probe().finds(tag(&self.header.key, kind, name))
    }

    /// Whether a login of this name, of any bytes, could lead somewhere: whether one of its
    /// [candidates](login::parse) exists. The index's own prefix is taken into account. What is not a login name
    /// doesn't exist.
    ///
    /// # Errors
    /// As [`contains`](Self::contains).
    pub fn login_exists(&self, login: &[u8]) -> io::Result<bool> {
        let Ok(candidates) = login::parse(login) else {
            return Ok(false);
        };
        let mut probe = self.probe();
        for candidate in candidates {
            let found = match candidate {
                Candidate::Target { account: None, target } => self.target_in(&mut probe, target)?,
                Candidate::Target { account: Some(account), target } => {
                    probe.finds(tag(&self.header.key, Kind::Account, account))?
                        && (self.target_in(&mut probe, target)?
                            || self.own_in(&mut probe, account, target)?)
                }
                Candidate::DefaultOf(account) => {
                    probe.finds(tag(&self.header.key, Kind::Default, account))?
                }
            };
            if found {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// The prefix that target names may carry, as the index's writer configured it.
    pub fn prefix(&self) -> Option<&str> {
        self.header.prefix.get()
    }

    /// How many names the index holds, as its writer counted. After a crash of the writer this may be off by a few.
    pub fn len(&self) -> u64 {
        self.header.counters.live
    }

    /// Whether the index holds no name, as its writer counted.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn probe(&self) -> Probe<'_> {
        Probe::new(&self.file, self.header.slots)
    }

    fn own_in(&self, probe: &mut Probe<'_>, account: &str, target: &str) -> io::Result<bool> {
        let Some(own) = OwnName::new(account, target) else { return Ok(false) };
        probe.finds(tag(&self.header.key, Kind::Target, own.as_str()))
    }

    fn target_in(&self, probe: &mut Probe<'_>, target: &str) -> io::Result<bool> {
        for spelling in spellings(target, self.prefix()) {
            if probe.finds(tag(&self.header.key, Kind::Target, spelling))? {
                return Ok(true);
            }
        }
        Ok(false)
    }
}
