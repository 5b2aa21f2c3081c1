//! Requests on open files.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::Path;

use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::sys::stat::{Mode, futimens};
use nix::unistd;

use crate::attributes::Attributes;
use crate::handles::{Handle, OpenFile};
use crate::log::{Level, shown};
use crate::names::{Changes, file_mode, ids, length, times};
use crate::output::Output;
use crate::request::HandleNumber;
use crate::server::{Reply, Server};
use crate::status::{Fault, Status};
use crate::wire::MAX_PACKET;

/// As many bytes as one read gives and one write takes: a packet with room for its other fields.
pub(crate) const MAX_DATA: usize = MAX_PACKET - 1024;

/// How a file is opened: draft-ietf-secsh-filexfer-02, section 6.3.
mod pflag {
    pub(super) const READ: u32 = 1;
    pub(super) const WRITE: u32 = 2;
    pub(super) const APPEND: u32 = 4;
    pub(super) const CREATE: u32 = 8;
    pub(super) const TRUNCATE: u32 = 16;
    pub(super) const EXCLUSIVE: u32 = 32;
}

fn open_flags(pflags: u32) -> OFlag {
    let mut flags = match (pflags & pflag::READ != 0, pflags & pflag::WRITE != 0) {
        (true, true) => OFlag::O_RDWR,
        (false, true) => OFlag::O_WRONLY,
        (_, false) => OFlag::O_RDONLY,
    };
    for (bit, flag) in [
        (pflag::APPEND, OFlag::O_APPEND),
        (pflag::CREATE, OFlag::O_CREAT),
        (pflag::TRUNCATE, OFlag::O_TRUNC),
        (pflag::EXCLUSIVE, OFlag::O_EXCL),
    ] {
        flags.set(flag, pflags & bit != 0);
    }
    flags
}

impl Server {
    pub(crate) fn open(&mut self, path: &Path, pflags: u32, attributes: &Attributes) -> Result<Reply, Fault> {
        let flags = open_flags(pflags);
        let changes = OFlag::O_WRONLY | OFlag::O_RDWR | OFlag::O_CREAT | OFlag::O_TRUNC;
        if self.permitted.read_only && flags.intersects(changes) {
            return Err(Status::PermissionDenied.into());
        }
        let mode = file_mode(attributes.permissions.unwrap_or(0o666));
        let fd = nix::fcntl::open(path, flags | OFlag::O_CLOEXEC | OFlag::O_NOCTTY, mode)?;
        let append = flags.contains(OFlag::O_APPEND);
        let file = OpenFile { file: fd.into(), append, path: path.into(), bytes_read: 0, bytes_written: 0 };
        let number = self.handles.add(Handle::File(file)).ok_or(Status::Failure)?;
        Ok(Reply::Handle(number))
    }

    pub(crate) fn close(&mut self, handle: HandleNumber) -> Result<Reply, Fault> {
        match self.handles.remove(handle).ok_or(Errno::ENOENT)? {
            Handle::File(OpenFile { file, path, bytes_read, bytes_written, .. }) => {
                self.log.line(
                    Level::Info,
                    format_args!("close \"{}\" read {bytes_read} written {bytes_written}", shown(&path)),
                );
                // Here a full disk or quota of a network file system may show.
                unistd::close(file)?;
            }
            Handle::Directory(directory) => {
                self.log.line(Level::Info, format_args!("close \"{}\"", shown(&directory.path)));
            }
        }
        Ok(Reply::Done)
    }

    pub(crate) fn read(
        &mut self,
        id: u32,
        handle: HandleNumber,
        offset: u64,
        length: u32,
        output: &mut Output,
    ) -> Result<Reply, Fault> {
        let open = self.handles.file(handle).ok_or(Status::Failure)?;
        let length = usize::try_from(length).unwrap_or(MAX_DATA).min(MAX_DATA);
        let got = output.data(id, length, |space| match length {
            0 => Ok(0), // also of a file that is open for writing only
            _ => open.file.read_at(space, offset),
        })?;
        open.bytes_read += count(got);
        if got == 0 && length > 0 { Err(Status::Eof.into()) } else { Ok(Reply::Written) }
    }

    pub(crate) fn write(&mut self, handle: HandleNumber, offset: u64, data: &[u8]) -> Result<Reply, Fault> {
        let open = self.handles.file(handle).ok_or(Status::Failure)?;
        if open.append {
            open.file.write_all(data)?;
        } else {
            open.file.write_all_at(data, offset)?;
        }
        open.bytes_written += count(data.len());
        Ok(Reply::Done)
    }

    pub(crate) fn fstat(&mut self, handle: HandleNumber) -> Result<Reply, Fault> {
        let open = self.handles.file(handle).ok_or(Status::Failure)?;
        Ok(Reply::Attributes((&nix::sys::stat::fstat(&open.file)?).into()))
    }

    pub(crate) fn fsetstat(&mut self, handle: HandleNumber, attributes: &Attributes) -> Result<Reply, Fault> {
        let file = &self.handles.file(handle).ok_or(Status::Failure)?.file;
        let mut changes = Changes::default();
        if let Some(size) = attributes.size {
            changes.made(length(size).and_then(|l| unistd::ftruncate(file, l)));
        }
        if let Some(permissions) = attributes.permissions {
            changes.made(nix::sys::stat::fchmod(file, Mode::from_bits_truncate(permissions)));
        }
        if let Some((accessed, modified)) = times(attributes) {
            changes.made(futimens(file, &accessed, &modified));
        }
        if let Some((user, group)) = ids(attributes) {
            changes.made(unistd::fchown(file, user, group));
        }
        changes.outcome()
    }

    pub(crate) fn fsync(&mut self, handle: HandleNumber) -> Result<Reply, Fault> {
        let open = self.handles.file(handle).ok_or(Status::NoSuchFile)?;
        unistd::fsync(open.file.as_fd())?;
        Ok(Reply::Done)
    }

    /// Copies within the server; the kernel shares blocks where the file system can. A `wanted` of 0 is "to the end".
    pub(crate) fn copy_data(
        &mut self,
        from: (HandleNumber, u64),
        wanted: u64,
        to: (HandleNumber, u64),
    ) -> Result<Reply, Fault> {
        let (source, sink) = self.handles.two_files(from.0, to.0).ok_or(Status::Failure)?;
        // A file copied into itself may never come to its end.
        let (one, other) = (source.file.metadata()?, sink.file.metadata()?);
        if (one.dev(), one.ino()) == (other.dev(), other.ino()) {
            return Err(Status::Failure.into());
        }
        source.file.seek(SeekFrom::Start(seekable(from.1)?))?;
        if !sink.append {
            sink.file.seek(SeekFrom::Start(seekable(to.1)?))?;
        }
        let limit = if wanted == 0 { u64::MAX } else { wanted };
        let copied = copy(&source.file, limit, &sink.file)?;
        source.bytes_read += copied;
        sink.bytes_written += copied;
        if wanted != 0 && copied < wanted { Err(Status::Eof.into()) } else { Ok(Reply::Done) }
    }
}

/// The standard library copies within the kernel where it can, and through a buffer where it can't.
fn copy(source: &File, limit: u64, mut sink: &File) -> io::Result<u64> {
    io::copy(&mut source.take(limit), &mut sink)
}

fn seekable(offset: u64) -> Result<u64, Errno> {
    length(offset).map(|_| offset)
}

fn count(bytes: usize) -> u64 {
    u64::try_from(bytes).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_are_those_of_open() {
        for (pflags, expected) in [
            (0, OFlag::O_RDONLY),
            (1, OFlag::O_RDONLY),
            (2, OFlag::O_WRONLY),
            (3, OFlag::O_RDWR),
            (0x1a, OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_TRUNC),
            (0x2e, OFlag::O_WRONLY | OFlag::O_APPEND | OFlag::O_CREAT | OFlag::O_EXCL),
            (0xffff_ff00, OFlag::O_RDONLY),
        ] {
            assert_eq!(open_flags(pflags), expected, "{pflags:#x}");
        }
    }
}
