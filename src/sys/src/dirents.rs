//! Reading directories by the entry, without a buffer for each open one: getdents64(2).

use std::ffi::CStr;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

use crate::cvt;

/// Where the fields of the kernel's `linux_dirent64` are: `d_ino` 0, `d_off` 8, `d_reclen` 16, `d_type` 18, `d_name` 19.
const LENGTH: usize = 16;
const NAME: usize = 19;

/// The next entries of an open directory, as many as fit into `buffer`; none at its end. `.` and `..` are among them.
///
/// A buffer of 4096 bytes holds any name of 255 bytes and a hundred usual ones.
///
/// # Errors
/// As getdents64(2).
pub fn next_entries<'a>(directory: BorrowedFd<'_>, buffer: &'a mut [u8]) -> io::Result<Entries<'a>> {
    // SAFETY: the kernel writes at most buffer.len() bytes into buffer; the descriptor is borrowed and open.
    let got = cvt(unsafe {
        libc::syscall(libc::SYS_getdents64, directory.as_raw_fd(), buffer.as_mut_ptr(), buffer.len())
    })?;
    let buffer: &'a [u8] = buffer;
    Ok(Entries(usize::try_from(got).ok().and_then(|got| buffer.get(..got)).unwrap_or_default()))
}

/// Names of directory entries, as the kernel laid them out.
#[derive(Debug)]
pub struct Entries<'a>(&'a [u8]);

impl Entries<'_> {
    /// Whether the directory had come to its end.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl<'a> Iterator for Entries<'a> {
    type Item = &'a CStr;

    fn next(&mut self) -> Option<&'a CStr> {
        let length: [u8; 2] = self.0.get(LENGTH..LENGTH + 2)?.try_into().ok()?;
        let (entry, rest) = self.0.split_at_checked(usize::from(u16::from_ne_bytes(length)))?;
        self.0 = rest;
        CStr::from_bytes_until_nul(entry.get(NAME..)?).ok()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::fs::{self, File};
    use std::os::fd::AsFd;

    use super::*;

    #[test]
    fn every_entry_comes_once_whatever_the_buffer() {
        let directory = std::env::temp_dir().join(format!("vestibule-dirents-{}", std::process::id()));
        fs::create_dir(&directory).unwrap();
        let mut expected = BTreeSet::from([b".".to_vec(), b"..".to_vec()]);
        for number in 0..300_usize {
            let name = format!("{number}{}", "x".repeat(number % 250));
            File::create(directory.join(&name)).unwrap();
            expected.insert(name.into_bytes());
        }
        for size in [512, 4096, 65536] {
            let open = File::open(&directory).unwrap();
            let (mut buffer, mut found) = (vec![0; size], Vec::new());
            loop {
                let entries = next_entries(open.as_fd(), &mut buffer).unwrap();
                if entries.is_empty() {
                    break;
                }
                found.extend(entries.map(|name| name.to_bytes().to_vec()));
            }
            assert_eq!(found.len(), expected.len(), "buffer of {size}");
            assert_eq!(found.into_iter().collect::<BTreeSet<_>>(), expected, "buffer of {size}");
        }
        fs::remove_dir_all(&directory).unwrap();
    }

    #[test]
    fn what_is_no_directory_is_an_error() {
        let file = File::open("/proc/self/status").unwrap();
        let error = next_entries(file.as_fd(), &mut [0; 512]).unwrap_err();
        assert_eq!(error.raw_os_error(), Some(libc::ENOTDIR));
    }
}
