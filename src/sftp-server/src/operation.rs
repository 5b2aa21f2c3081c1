//! The kinds of request there are, and which of them this session may make.

/// A kind of request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Operation {
    Open,
    Close,
    Read,
    Write,
    Lstat,
    Fstat,
    Setstat,
    Fsetstat,
    Opendir,
    Readdir,
    Remove,
    Mkdir,
    Rmdir,
    Realpath,
    Stat,
    Rename,
    Readlink,
    Symlink,
    PosixRename,
    Statvfs,
    Fstatvfs,
    Hardlink,
    Fsync,
    Lsetstat,
    Limits,
    ExpandPath,
    CopyData,
    HomeDirectory,
    UsersGroupsById,
}

/// What a client writes to ask for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Code {
    /// A packet type.
    Type(u8),
    /// The name of an extension, and the version of it that is advertised.
    Extension(&'static str, &'static str),
}

/// One line of the table of requests.
pub(crate) struct Entry {
    pub(crate) operation: Operation,
    /// For `-p`, `-P` and `-Q`: the names that OpenSSH's server has.
    pub(crate) name: &'static str,
    pub(crate) code: Code,
    /// Whether `-R` refuses it. Opening is decided by how it opens.
    pub(crate) writes: bool,
}

const fn entry(operation: Operation, name: &'static str, code: Code, writes: bool) -> Entry {
    Entry { operation, name, code, writes }
}

/// All requests, the extensions in the order in which they are advertised.
pub(crate) const TABLE: [Entry; 29] = {
    use Code::{Extension, Type};
    use Operation as O;
    [
        entry(O::Open, "open", Type(3), false),
        entry(O::Close, "close", Type(4), false),
        entry(O::Read, "read", Type(5), false),
        entry(O::Write, "write", Type(6), true),
        entry(O::Lstat, "lstat", Type(7), false),
        entry(O::Fstat, "fstat", Type(8), false),
        entry(O::Setstat, "setstat", Type(9), true),
        entry(O::Fsetstat, "fsetstat", Type(10), true),
        entry(O::Opendir, "opendir", Type(11), false),
        entry(O::Readdir, "readdir", Type(12), false),
        entry(O::Remove, "remove", Type(13), true),
        entry(O::Mkdir, "mkdir", Type(14), true),
        entry(O::Rmdir, "rmdir", Type(15), true),
        entry(O::Realpath, "realpath", Type(16), false),
        entry(O::Stat, "stat", Type(17), false),
        entry(O::Rename, "rename", Type(18), true),
        entry(O::Readlink, "readlink", Type(19), false),
        entry(O::Symlink, "symlink", Type(20), true),
        entry(O::PosixRename, "posix-rename", Extension("posix-rename@openssh.com", "1"), true),
        entry(O::Statvfs, "statvfs", Extension("statvfs@openssh.com", "2"), false),
        entry(O::Fstatvfs, "fstatvfs", Extension("fstatvfs@openssh.com", "2"), false),
        entry(O::Hardlink, "hardlink", Extension("hardlink@openssh.com", "1"), true),
        entry(O::Fsync, "fsync", Extension("fsync@openssh.com", "1"), true),
        entry(O::Lsetstat, "lsetstat", Extension("lsetstat@openssh.com", "1"), true),
        entry(O::Limits, "limits", Extension("limits@openssh.com", "1"), false),
        entry(O::ExpandPath, "expand-path", Extension("expand-path@openssh.com", "1"), false),
        entry(O::CopyData, "copy-data", Extension("copy-data", "1"), true),
        entry(O::HomeDirectory, "home-directory", Extension("home-directory", "1"), false),
        entry(
            O::UsersGroupsById,
            "users-groups-by-id",
            Extension("users-groups-by-id@openssh.com", "1"),
            false,
        ),
    ]
};

impl Operation {
    /// The request of a packet type.
    pub(crate) fn of_type(number: u8) -> Option<Operation> {
        TABLE.iter().find(|e| e.code == Code::Type(number)).map(|e| e.operation)
    }

    /// The request of an extension's name.
    pub(crate) fn of_extension(wanted: &[u8]) -> Option<Operation> {
        let is_it = |e: &&Entry| matches!(e.code, Code::Extension(name, _) if name.as_bytes() == wanted);
        TABLE.iter().find(is_it).map(|e| e.operation)
    }
}

/// Which requests are carried out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Permitted {
    /// One bit for each operation.
    bits: u32,
    /// Files are opened for reading only.
    pub(crate) read_only: bool,
}

impl Permitted {
    pub(crate) fn all() -> Self {
        Permitted { bits: u32::MAX, read_only: false }
    }

    pub(crate) fn read_only(&mut self) {
        self.read_only = true;
        for entry in TABLE.iter().filter(|e| e.writes) {
            self.refuse(entry.operation);
        }
    }

    /// Refuses what a list (comma-separated) names, or all that it does not name. What is refused stays refused.
    ///
    /// # Errors
    /// The name of which there is no request.
    pub(crate) fn restrict<'a>(&mut self, list: &'a str, to_it: bool) -> Result<(), &'a str> {
        let names: Vec<&str> = list.split(',').collect();
        if let Some(unknown) = names.iter().find(|n| !TABLE.iter().any(|e| e.name == **n)) {
            return Err(unknown);
        }
        for entry in TABLE.iter().filter(|e| names.contains(&e.name) != to_it) {
            self.refuse(entry.operation);
        }
        Ok(())
    }

    fn refuse(&mut self, operation: Operation) {
        self.bits &= !(1 << operation as u8);
    }

    pub(crate) fn permits(self, operation: Operation) -> bool {
        self.bits & (1 << operation as u8) != 0
    }

    /// The extensions to advertise, with their versions.
    pub(crate) fn extensions(self) -> impl Iterator<Item = (&'static str, &'static str)> {
        TABLE.iter().filter(move |e| self.permits(e.operation)).filter_map(|e| match e.code {
            Code::Extension(name, version) => Some((name, version)),
            Code::Type(_) => None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_has_every_operation_once() {
        for (position, entry) in TABLE.iter().enumerate() {
            assert_eq!(usize::from(entry.operation as u8), position, "{}", entry.name);
            match entry.code {
                Code::Type(number) => assert_eq!(Operation::of_type(number), Some(entry.operation)),
                Code::Extension(name, _) => {
                    assert_eq!(Operation::of_extension(name.as_bytes()), Some(entry.operation));
                }
            }
        }
        assert_eq!(Operation::of_type(200), None);
        assert_eq!(Operation::of_extension(b"posix-rename"), None);
    }

    #[test]
    fn what_is_refused_stays_refused() {
        let mut permitted = Permitted::all();
        permitted.restrict("open,stat,statvfs", true).unwrap();
        permitted.restrict("stat", false).unwrap();
        let left: Vec<&str> =
            TABLE.iter().filter(|e| permitted.permits(e.operation)).map(|e| e.name).collect();
        assert_eq!(left, ["open", "statvfs"]);
        assert_eq!(permitted.extensions().collect::<Vec<_>>(), [("statvfs@openssh.com", "2")]);
        assert_eq!(permitted.restrict("open,shell", true), Err("shell"));
        assert_eq!(permitted.restrict("", false), Err(""));
    }

    #[test]
    fn read_only_leaves_what_only_looks() {
        let mut permitted = Permitted::all();
        permitted.read_only();
        for (operation, expected) in [
            (Operation::Open, true),
            (Operation::Read, true),
            (Operation::Readdir, true),
            (Operation::Write, false),
            (Operation::Fsetstat, false),
            (Operation::Symlink, false),
            (Operation::CopyData, false),
            (Operation::UsersGroupsById, true),
        ] {
            assert_eq!(permitted.permits(operation), expected, "{operation:?}");
        }
        assert!(permitted.read_only);
    }
}
