//! The extensions that are about neither an open file nor a name alone: PROTOCOL of OpenSSH, section 4.

use std::ffi::OsStr;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::Path;

use nix::errno::Errno;
use nix::sys::resource::{Resource, getrlimit};
use nix::sys::statvfs::{FsFlags, Statvfs};

use crate::files::MAX_DATA;
use crate::output::{Output, kind};
use crate::real_path::real_path;
use crate::request::HandleNumber;
use crate::server::{Reply, Server};
use crate::status::{Fault, Status};
use crate::wire::MAX_PACKET;

/// Descriptors that are no handles: the standard ones and a few for the moment.
const OWN_FILES: u64 = 5;

pub(crate) fn statvfs(id: u32, path: &Path, output: &mut Output) -> Result<Reply, Fault> {
    let told = nix::sys::statvfs::statvfs(path)?;
    Ok(tell_statvfs(id, &told, output))
}

fn tell_statvfs(id: u32, told: &Statvfs, output: &mut Output) -> Reply {
    const READ_ONLY: u64 = 1;
    const NO_SETUID: u64 = 2;
    let mut flags = 0;
    if told.flags().contains(FsFlags::ST_RDONLY) {
        flags |= READ_ONLY;
    }
    if told.flags().contains(FsFlags::ST_NOSUID) {
        flags |= NO_SETUID;
    }
    let mut packet = output.answer(kind::EXTENDED_REPLY, id);
    for number in [
        told.block_size(),
        told.fragment_size(),
        told.blocks(),
        told.blocks_free(),
        told.blocks_available(),
        told.files(),
        told.files_free(),
        told.files_available(),
        told.filesystem_id(),
        flags,
        told.name_max(),
    ] {
        packet.u64(number);
    }
    packet.send();
    Reply::Written
}

pub(crate) fn limits(id: u32, output: &mut Output) -> Result<Reply, Fault> {
    let files = getrlimit(Resource::RLIMIT_NOFILE).map_or(0, |(soft, _)| soft.saturating_sub(OWN_FILES));
    let number = |n: usize| u64::try_from(n).unwrap_or(u64::MAX);
    let mut packet = output.answer(kind::EXTENDED_REPLY, id);
    packet.u64(number(MAX_PACKET));
    packet.u64(number(MAX_DATA)); // of a read
    packet.u64(number(MAX_DATA)); // of a write
    packet.u64(files);
    packet.send();
    Ok(Reply::Written)
}

impl Server {
    pub(crate) fn fstatvfs(
        &mut self,
        id: u32,
        handle: HandleNumber,
        output: &mut Output,
    ) -> Result<Reply, Fault> {
        let open = self.handles.file(handle).ok_or(Status::Failure)?;
        let told = nix::sys::statvfs::fstatvfs(&open.file)?;
        Ok(tell_statvfs(id, &told, output))
    }

    /// The working directory is the home: that is where `-d`, or whoever started this, has put it.
    pub(crate) fn expand_path(&mut self, path: &Path) -> Result<Reply, Fault> {
        let bytes = path.as_os_str().as_bytes();
        let expanded = match bytes.strip_prefix(b"~") {
            None => path.to_owned(),
            Some(tail) => {
                let end = tail.iter().position(|b| *b == b'/').unwrap_or(tail.len());
                let (user, rest) = tail.split_at(end);
                let mut expanded = if user.is_empty() {
                    std::env::current_dir()?
                } else {
                    let no_such_user = Fault { message: "no such user", ..Fault::from(Status::NoSuchFile) };
                    self.users().home(user).ok_or(no_such_user)?.to_owned()
                }
                .into_os_string();
                expanded.push(OsStr::from_bytes(rest));
                expanded.into()
            }
        };
        Ok(Reply::Name(real_path(&expanded)?.into_os_string().into_vec()))
    }

    /// An empty name is the user's own (draft-ietf-secsh-filexfer-extensions-00, section 2).
    pub(crate) fn home_directory(&mut self, user: &[u8]) -> Result<Reply, Fault> {
        let home = if user.is_empty() {
            self.users().own_home()
        } else {
            self.users().home(user).map(Path::to_owned)
        };
        Ok(Reply::Name(home.ok_or(Status::Failure)?.into_os_string().into_vec()))
    }

    pub(crate) fn users_groups_by_id(
        &mut self,
        id: u32,
        users: &[u32],
        groups: &[u32],
        output: &mut Output,
    ) -> Result<Reply, Fault> {
        let known = self.users();
        let mut packet = output.answer(kind::EXTENDED_REPLY, id);
        let names = packet.later();
        users.iter().for_each(|uid| packet.string(known.user(*uid).unwrap_or_default()));
        packet.string_since(&names);
        let names = packet.later();
        groups.iter().for_each(|gid| packet.string(known.group(*gid).unwrap_or_default()));
        packet.string_since(&names);
        if packet.len() > MAX_PACKET {
            packet.forget();
            return Err(Errno::EMSGSIZE.into());
        }
        packet.send();
        Ok(Reply::Written)
    }
}
