//! What a client has open.

use std::fs::File;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

/// As many handles as there can be; RLIMIT_NOFILE is usually less.
const MAX_HANDLES: usize = 65_536;

/// An open file or directory.
#[derive(Debug)]
pub(crate) enum Handle {
    File(OpenFile),
    Directory(Directory),
}

/// An open file.
#[derive(Debug)]
pub(crate) struct OpenFile {
    pub(crate) file: File,
    /// Written at its end, whatever the offset.
    pub(crate) append: bool,
    /// For the log.
    pub(crate) path: PathBuf,
    pub(crate) bytes_read: u64,
    pub(crate) bytes_written: u64,
}

/// An open directory.
#[derive(Debug)]
pub(crate) struct Directory {
    pub(crate) fd: OwnedFd,
    /// For the log.
    pub(crate) path: PathBuf,
}

impl Handle {
    pub(crate) fn path(&self) -> &Path {
        match self {
            Handle::File(file) => &file.path,
            Handle::Directory(directory) => &directory.path,
        }
    }
}

/// All of them, by number.
#[derive(Debug, Default)]
pub(crate) struct Handles {
    slots: Vec<Option<Handle>>,
    free: Vec<u32>,
}

impl Handles {
    /// Gives a handle a number. `None` when there are too many; the handle is closed then.
    pub(crate) fn add(&mut self, handle: Handle) -> Option<u32> {
        let free = self.free.pop();
        let slot = free.and_then(|number| self.slots.get_mut(usize::try_from(number).ok()?));
        if let Some(slot) = slot {
            *slot = Some(handle);
            return free;
        }
        if self.slots.len() >= MAX_HANDLES {
            return None;
        }
        let number = u32::try_from(self.slots.len()).ok()?;
        self.slots.push(Some(handle));
        Some(number)
    }

    /// Takes a handle out, to be closed. Its number is the next that is given.
    pub(crate) fn remove(&mut self, number: Option<u32>) -> Option<Handle> {
        let number = number?;
        let handle = self.slots.get_mut(usize::try_from(number).ok()?)?.take()?;
        self.free.push(number);
        Some(handle)
    }

    fn get(&mut self, number: Option<u32>) -> Option<&mut Handle> {
        self.slots.get_mut(usize::try_from(number?).ok()?)?.as_mut()
    }

    pub(crate) fn file(&mut self, number: Option<u32>) -> Option<&mut OpenFile> {
        match self.get(number)? {
            Handle::File(file) => Some(file),
            Handle::Directory(_) => None,
        }
    }

    pub(crate) fn directory(&mut self, number: Option<u32>) -> Option<&mut Directory> {
        match self.get(number)? {
            Handle::Directory(directory) => Some(directory),
            Handle::File(_) => None,
        }
    }

    /// Two files at once, which are not the same handle.
    pub(crate) fn two_files(
        &mut self,
        first: Option<u32>,
        second: Option<u32>,
    ) -> Option<(&mut OpenFile, &mut OpenFile)> {
        let numbers = [usize::try_from(first?).ok()?, usize::try_from(second?).ok()?];
        match self.slots.get_disjoint_mut(numbers).ok()? {
            [Some(Handle::File(first)), Some(Handle::File(second))] => Some((first, second)),
            _ => None,
        }
    }

    /// What is still open.
    pub(crate) fn open(&self) -> impl Iterator<Item = &Handle> {
        self.slots.iter().flatten()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file() -> Handle {
        let file = File::open("/dev/null").unwrap();
        Handle::File(OpenFile {
            file,
            append: false,
            path: "/dev/null".into(),
            bytes_read: 0,
            bytes_written: 0,
        })
    }

    fn directory() -> Handle {
        Handle::Directory(Directory { fd: File::open("/").unwrap().into(), path: "/".into() })
    }

    #[test]
    fn numbers_are_used_again_and_kinds_are_told_apart() {
        let mut handles = Handles::default();
        assert_eq!(handles.add(file()), Some(0));
        assert_eq!(handles.add(directory()), Some(1));
        assert_eq!(handles.add(file()), Some(2));
        assert!(handles.file(Some(0)).is_some() && handles.directory(Some(0)).is_none());
        assert!(handles.file(Some(1)).is_none() && handles.directory(Some(1)).is_some());
        assert!(handles.two_files(Some(0), Some(2)).is_some());
        for (first, second) in [(0, 0), (0, 1), (1, 2), (0, 3), (u32::MAX, 0)] {
            assert!(handles.two_files(Some(first), Some(second)).is_none(), "{first} {second}");
        }
        assert!(handles.remove(Some(0)).is_some());
        for gone in [None, Some(0), Some(3), Some(u32::MAX)] {
            assert!(handles.remove(gone).is_none() && handles.file(gone).is_none());
        }
        assert_eq!(handles.open().count(), 2);
        assert_eq!(handles.add(file()), Some(0));
        assert_eq!(handles.add(file()), Some(3));
    }
}
