//! Listing directories.

use std::os::fd::AsFd;
use std::path::Path;

use nix::fcntl::{AtFlags, OFlag};
use nix::sys::stat::{Mode, fstatat};
use vestibule_sys::{dirents, time};

use crate::handles::{Directory, Handle};
use crate::long_name::long_name;
use crate::output::{Output, kind};
use crate::request::HandleNumber;
use crate::server::{Reply, Server};
use crate::status::{Fault, Status};
use crate::users::Users;

/// The entries that fit here are one answer, so that no open directory keeps entries between answers. About a hundred
/// usual ones do, as many as OpenSSH's server gives; at most 170, in less than the 34,000 bytes that any client takes.
const ENTRIES: usize = 4096;

impl Server {
    pub(crate) fn opendir(&mut self, path: &Path) -> Result<Reply, Fault> {
        let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC;
        let fd = nix::fcntl::open(path, flags, Mode::empty())?;
        let directory = Handle::Directory(Directory { fd, path: path.into() });
        Ok(Reply::Handle(self.handles.add(directory).ok_or(Status::Failure)?))
    }

    /// The next entries, with what lstat(2) says of them. Those of which it says nothing are left out.
    pub(crate) fn readdir(
        &mut self,
        id: u32,
        handle: HandleNumber,
        output: &mut Output,
    ) -> Result<Reply, Fault> {
        let directory = self.handles.directory(handle).ok_or(Status::Failure)?.fd.as_fd();
        let users = self.users.get_or_insert_with(Users::load);
        let now = time::now();
        let (mut buffer, mut line) = ([0; ENTRIES], Vec::new());
        let mut count = 0;
        let mut packet = output.answer(kind::NAME, id);
        let counted = packet.later();
        while count == 0 {
            let entries = match dirents::next_entries(directory, &mut buffer) {
                Ok(entries) if !entries.is_empty() => entries,
                // OpenSSH's server can't tell a failure from the end, and its client takes any other for the end too.
                _ => {
                    packet.forget();
                    return Err(Status::Eof.into());
                }
            };
            for name in entries {
                let Ok(stat) = fstatat(directory, name, AtFlags::AT_SYMLINK_NOFOLLOW) else { continue };
                long_name(&mut line, name.to_bytes(), &stat, users, now);
                packet.string(name.to_bytes());
                packet.string(&line);
                packet.attributes(&(&stat).into());
                count += 1;
            }
        }
        packet.now(&counted, count);
        packet.send();
        Ok(Reply::Written)
    }
}
