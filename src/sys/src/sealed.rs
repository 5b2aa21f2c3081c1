//! Executing this program from where no file of this host can be written.
//!
//! A container that makes the entering program execute itself (`#!/proc/self/exe`), or that catches it in its `/proc`,
//! could otherwise open the host's file for writing: CVE-2019-5736. There are two ways: a read-only overlay, which is
//! quick and takes no memory, and, where that can't be had, a copy in sealed memory.

use std::ffi::CString;
use std::fs::File;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use crate::{exec, fds, memfd, overlay};

/// Where this program is installed, and a directory that is empty; both root's, as all above them.
#[derive(Debug, Clone, Copy)]
pub struct Installed<'a> {
    /// The program's file.
    pub program: &'a str,
    /// An empty directory.
    pub empty: &'a str,
}

impl Installed<'_> {
    /// Whether this process runs from where nothing can be written.
    ///
    /// # Errors
    /// As open(2) of `/proc/self/exe`.
    pub fn is_sealed(&self) -> io::Result<bool> {
        let exe = File::open("/proc/self/exe")?;
        Ok(memfd::is_sealed(&exe)? || self.is_view(&exe)?)
    }

    fn is_view(&self, file: &File) -> io::Result<bool> {
        Ok(overlay::is_read_only(file)? && !self.is(file)?)
    }

    /// Whether `file` is the installed one: the host's own root may be a read-only overlay, which one day is written.
    fn is(&self, file: &File) -> io::Result<bool> {
        let (found, installed) = (file.metadata()?, Path::new(self.program).metadata()?);
        Ok((found.dev(), found.ino()) == (installed.dev(), installed.ino()))
    }

    /// Executes this program again from such a place. Returns only if that fails.
    ///
    /// # Errors
    /// As memfd_create(2) and execveat(2), for one `EACCES` where `vm.memfd_noexec` is 2.
    pub fn execute_again(&self, args: &[CString], env: &[CString]) -> io::Error {
        match self.execute_copy(args, env) {
            Ok(never) => match never {},
            Err(e) => e,
        }
    }

    /// The installed program, if that is what runs, on a read-only overlay. What would not be known again as sealed is
    /// not used: it would be executed for ever.
    fn view(&self, exe: &File) -> io::Result<File> {
        if self.is(exe)? {
            let view = File::from(overlay::read_only(Path::new(self.program), Path::new(self.empty))?);
            if self.is_view(&view)? {
                return Ok(view);
            }
        }
        Err(io::ErrorKind::Unsupported.into())
    }

    fn execute_copy(&self, args: &[CString], env: &[CString]) -> io::Result<std::convert::Infallible> {
        let exe = File::open("/proc/self/exe")?;
        fds::close_on_exec_from(3)?;
        if let Ok(view) = self.view(&exe) {
            // What it returns is of no use: a kernel or a policy that will not have it so may have the other.
            let _ = exec::execute_open(&view.into(), args, env);
        }
        let copy = memfd::sealed_copy(c"enter", exe)?;
        Err(exec::execute_open(&copy, args, env))
    }
}
