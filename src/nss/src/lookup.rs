//! Decides what the answer is; the paths are arguments, for the tests.

use std::ffi::CStr;
use std::path::Path;

use vestibule_names::index::Index;
use vestibule_names::login::LoginName;
use vestibule_names::shared::{self, Identity};

/// Where the module looks. Nothing at run time changes this: it works in setuid programs.
pub(crate) const PATHS: Paths<'_> =
    Paths { index: "/var/lib/vestibule/names.idx", conf: "/etc/vestibule/nss.conf", conf_owner: 0 };

/// The name that the shared uid has when no service before knows it.
pub(crate) const SHARED_NAME: &CStr = c"vestibule";

/// The files that the answers come from.
pub(crate) struct Paths<'a> {
    /// The name index.
    pub(crate) index: &'a str,
    /// The file that says which uid and gid the login names have.
    pub(crate) conf: &'a str,
    /// The uid that must own `conf`.
    pub(crate) conf_owner: u32,
}

/// Why there is no entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Miss {
    /// There is no such user here.
    NotFound,
    /// This service can't say. Another may.
    Unavailable,
}

impl Paths<'_> {
    /// The identity of the login name `name`. The order is what makes a miss cheap: the grammar costs no system call,
    /// the index five, and the configuration is only read for a name that exists.
    pub(crate) fn by_name(&self, name: &CStr) -> Result<Identity, Miss> {
        let name = name.to_bytes();
        if LoginName::parse(name).is_err() {
            return Err(Miss::NotFound);
        }
        match Index::open(self.index).and_then(|index| index.login_exists(name)) {
            Ok(true) => self.identity(),
            Ok(false) => Err(Miss::NotFound),
            Err(_) => Err(Miss::Unavailable),
        }
    }

    /// The identity of `uid`, when it is the shared one. Root is never asked for here: it costs nothing.
    pub(crate) fn by_uid(&self, uid: u32) -> Result<Identity, Miss> {
        if uid == 0 {
            return Err(Miss::NotFound);
        }
        let identity = self.identity()?;
        if identity.uid == uid { Ok(identity) } else { Err(Miss::NotFound) }
    }

    fn identity(&self) -> Result<Identity, Miss> {
        shared::read(Path::new(self.conf), self.conf_owner).ok_or(Miss::Unavailable)
    }
}

#[cfg(test)]
mod tests {
    use std::fs::{self, Permissions};
    use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};

    use tempfile::TempDir;
    use vestibule_names::index::{IndexWriter, Kind};

    use super::*;

    const US: Identity = Identity { uid: 998, gid: 997 };

    struct Place {
        dir: TempDir,
        owner: u32,
    }

    impl Place {
        fn new() -> Self {
            let dir = TempDir::new().unwrap();
            let names = [(Kind::Target, "lab"), (Kind::Account, "alice"), (Kind::Default, "alice")];
            drop(IndexWriter::rebuild(dir.path().join("names.idx"), None, names).unwrap());
            fs::write(dir.path().join("nss.conf"), "uid = 998\ngid = 997\n").unwrap();
            fs::set_permissions(dir.path().join("nss.conf"), Permissions::from_mode(0o644)).unwrap();
            let owner = fs::metadata(dir.path()).unwrap().uid();
            Self { dir, owner }
        }

        fn ask<T>(&self, question: impl Fn(&Paths<'_>) -> T) -> T {
            let path = |name| self.dir.path().join(name).into_os_string().into_string().unwrap();
            question(&Paths { index: &path("names.idx"), conf: &path("nss.conf"), conf_owner: self.owner })
        }

        fn name(&self, name: &CStr) -> Result<Identity, Miss> {
            self.ask(|paths| paths.by_name(name))
        }

        fn uid(&self, uid: u32) -> Result<Identity, Miss> {
            self.ask(|paths| paths.by_uid(uid))
        }

        fn remove(&self, name: &str) {
            fs::remove_file(self.dir.path().join(name)).unwrap();
        }
    }

    #[test]
    fn names_that_lead_to_a_target_have_the_shared_identity() {
        let place = Place::new();
        for name in [c"lab", c"alice", c"alice+lab", c"alice@lab"] {
            assert_eq!(place.name(name), Ok(US), "{name:?}");
        }
        for name in
            [c"", c"root", c"bob", c"bob+lab", c"alice+den", c"-lab", c"lab:", c"LAB", c"998", c"l\xe4b"]
        {
            assert_eq!(place.name(name), Err(Miss::NotFound), "{name:?}");
        }
    }

    #[test]
    fn only_the_shared_uid_has_a_name() {
        let place = Place::new();
        assert_eq!(place.uid(998), Ok(US));
        for uid in [0, 1, 997, 999, 65534, u32::MAX] {
            assert_eq!(place.uid(uid), Err(Miss::NotFound), "{uid}");
        }
    }

    #[test]
    fn without_the_index_names_are_for_others_to_answer_and_the_uid_still_is_ours() {
        let place = Place::new();
        place.remove("names.idx");
        assert_eq!(place.name(c"lab"), Err(Miss::Unavailable));
        assert_eq!(place.name(c"not a name"), Err(Miss::NotFound));
        assert_eq!(place.uid(998), Ok(US));
        fs::write(place.dir.path().join("names.idx"), "not an index").unwrap();
        assert_eq!(place.name(c"lab"), Err(Miss::Unavailable));
    }

    #[test]
    fn an_index_that_others_may_write_is_not_believed() {
        let place = Place::new();
        fs::set_permissions(place.dir.path().join("names.idx"), Permissions::from_mode(0o646)).unwrap();
        assert_eq!(place.name(c"lab"), Err(Miss::Unavailable));
    }

    #[test]
    fn the_configuration_is_read_for_a_hit_only() {
        let place = Place::new();
        place.remove("nss.conf");
        assert_eq!(place.name(c"lab"), Err(Miss::Unavailable));
        assert_eq!(place.name(c"den"), Err(Miss::NotFound));
        assert_eq!(place.uid(998), Err(Miss::Unavailable));
        assert_eq!(place.uid(0), Err(Miss::NotFound));
    }
}
