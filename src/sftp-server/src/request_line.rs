//! A request as a line of the log.

use std::fmt;

use crate::attributes::Attributes;
use crate::log::shown;
use crate::request::Request;

impl Request<'_> {
    /// Whether the log has it at `INFO`: it opens or changes something.
    pub(crate) fn is_noted(&self) -> bool {
        !matches!(
            self,
            Request::Close { .. } // has a line of its own
                | Request::Read { .. }
                | Request::Write { .. }
                | Request::Lstat { .. }
                | Request::Stat { .. }
                | Request::Fstat { .. }
                | Request::Readdir { .. }
                | Request::Readlink { .. }
                | Request::Realpath { .. }
                | Request::Fstatvfs { .. }
                | Request::Limits
                | Request::ExpandPath { .. }
                | Request::HomeDirectory { .. }
                | Request::UsersGroupsById { .. }
        )
    }
}

impl fmt::Display for Request<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let handle = |h: &Option<u32>| h.map_or_else(|| "?".to_owned(), |h| h.to_string());
        match self {
            Request::Open { path, flags, attributes } => {
                write!(f, "open \"{}\" flags {flags:#x}{attributes}", shown(path))
            }
            Request::Close { handle: h } => write!(f, "close {}", handle(h)),
            Request::Read { handle: h, offset, length } => {
                write!(f, "read {} offset {offset} length {length}", handle(h))
            }
            Request::Write { handle: h, offset, data } => {
                write!(f, "write {} offset {offset} length {}", handle(h), data.len())
            }
            Request::Lstat { path } => write!(f, "lstat \"{}\"", shown(path)),
            Request::Fstat { handle: h } => write!(f, "fstat {}", handle(h)),
            Request::Setstat { path, attributes } => write!(f, "setstat \"{}\"{attributes}", shown(path)),
            Request::Fsetstat { handle: h, attributes } => write!(f, "fsetstat {}{attributes}", handle(h)),
            Request::Opendir { path } => write!(f, "opendir \"{}\"", shown(path)),
            Request::Readdir { handle: h } => write!(f, "readdir {}", handle(h)),
            Request::Remove { path } => write!(f, "remove \"{}\"", shown(path)),
            Request::Mkdir { path, attributes } => write!(f, "mkdir \"{}\"{attributes}", shown(path)),
            Request::Rmdir { path } => write!(f, "rmdir \"{}\"", shown(path)),
            Request::Realpath { path } => write!(f, "realpath \"{}\"", shown(path)),
            Request::Stat { path } => write!(f, "stat \"{}\"", shown(path)),
            Request::Rename { old, new } => write!(f, "rename \"{}\" to \"{}\"", shown(old), shown(new)),
            Request::Readlink { path } => write!(f, "readlink \"{}\"", shown(path)),
            Request::Symlink { target, link } => {
                write!(f, "symlink \"{}\" to \"{}\"", shown(link), shown(target))
            }
            Request::PosixRename { old, new } => {
                write!(f, "posix-rename \"{}\" to \"{}\"", shown(old), shown(new))
            }
            Request::Statvfs { path } => write!(f, "statvfs \"{}\"", shown(path)),
            Request::Fstatvfs { handle: h } => write!(f, "fstatvfs {}", handle(h)),
            Request::Hardlink { old, new } => {
                write!(f, "hardlink \"{}\" to \"{}\"", shown(new), shown(old))
            }
            Request::Fsync { handle: h } => write!(f, "fsync {}", handle(h)),
            Request::Lsetstat { path, attributes } => write!(f, "lsetstat \"{}\"{attributes}", shown(path)),
            Request::Limits => write!(f, "limits"),
            Request::ExpandPath { path } => write!(f, "expand-path \"{}\"", shown(path)),
            Request::CopyData { from, from_offset, length, to, to_offset } => write!(
                f,
                "copy-data {} offset {from_offset} length {length} to {} offset {to_offset}",
                handle(from),
                handle(to)
            ),
            Request::HomeDirectory { user } => write!(f, "home-directory \"{}\"", user.escape_ascii()),
            Request::UsersGroupsById { users, groups } => {
                write!(f, "users-groups-by-id of {} and {}", users.len(), groups.len())
            }
        }
    }
}

impl fmt::Display for Attributes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(size) = self.size {
            write!(f, " size {size}")?;
        }
        if let Some((user, group)) = self.owner {
            write!(f, " owner {user}:{group}")?;
        }
        if let Some(permissions) = self.permissions {
            write!(f, " mode {permissions:04o}")?;
        }
        if let Some((_, modified)) = self.times {
            write!(f, " modified {modified}")?;
        }
        Ok(())
    }
}
