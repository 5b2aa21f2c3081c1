//! The container's `/etc/passwd` and `/etc/group`: passwd(5), group(5). Pure, and run in the parser only.

/// Who the session is inside.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct User {
    pub(crate) name: Vec<u8>,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    /// Supplementary groups, the primary one first, each once.
    pub(crate) groups: Vec<u32>,
    pub(crate) home: Vec<u8>,
    pub(crate) shell: Vec<u8>,
}

/// As many supplementary groups as setgroups(2) takes is 65536; more than this is a container's joke.
const MAX_GROUPS: usize = 1024;

/// Finds the user that a target names: a name of `passwd`, or `UID` or `UID:GID` in numbers.
///
/// Without an entry, `root` and numbers still stand for themselves, with `/` as home and `/bin/sh` as shell: an image may
/// have no `/etc/passwd` at all. `None` when there is no such user.
///
/// An account's name ([`Wanted::Account`]) is a name and nothing else: an account called `0` is not root, and neither is
/// one called `root`.
pub(crate) fn find(wanted: Wanted<'_>, passwd: &[u8], group: &[u8]) -> Option<User> {
    let found = lookup(wanted, passwd, group)?;
    let root_by_name = matches!(wanted, Wanted::Account(_)) && found.uid == 0;
    (!root_by_name).then_some(found)
}

/// Whom to find.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Wanted<'a> {
    /// The target's login user: a name or numbers.
    Fixed(&'a [u8]),
    /// The user named as the account.
    Account(&'a [u8]),
}

fn lookup(wanted: Wanted<'_>, passwd: &[u8], group: &[u8]) -> Option<User> {
    let (wanted, numbers, by_name_only) = match wanted {
        Wanted::Fixed(wanted) => (wanted, as_numbers(wanted), false),
        Wanted::Account(wanted) => (wanted, None, true),
    };
    let entry = entries(passwd).find_map(|fields| {
        let [name, _, uid, gid, _, home, shell] = fields[..] else { return None };
        let (uid, gid) = (number(uid)?, number(gid)?);
        let is_it = name == wanted || (numbers.is_some_and(|(u, _)| u == uid) && !name.is_empty());
        is_it.then_some((name, uid, gid, home, shell))
    });
    let (name, uid, gid, home, shell) = match (entry, numbers) {
        (Some(entry), _) => entry,
        (None, Some((uid, gid))) => (wanted, uid, gid.unwrap_or(0), b"/".as_slice(), b"".as_slice()),
        (None, None) if wanted == b"root" && !by_name_only => (wanted, 0, 0, b"/".as_slice(), b"".as_slice()),
        (None, None) => return None,
    };
    let gid = numbers.and_then(|(_, gid)| gid).unwrap_or(gid);
    let mut groups = vec![gid];
    for fields in entries(group) {
        let [_, _, number_of_group, members] = fields[..] else { continue };
        let member = members.split(|b| *b == b',').any(|m| m == name);
        if let Some(extra) = number(number_of_group).filter(|g| member && !groups.contains(g)) {
            groups.push(extra);
        }
        if groups.len() == MAX_GROUPS {
            break;
        }
    }
    let absolute = |path: &[u8], default: &[u8]| {
        if path.starts_with(b"/") { path.to_vec() } else { default.to_vec() }
    };
    Some(User {
        name: name.to_vec(),
        uid,
        gid,
        groups,
        home: absolute(home, b"/"),
        shell: absolute(shell, b"/bin/sh"),
    })
}

fn entries(file: &[u8]) -> impl Iterator<Item = Vec<&[u8]>> {
    file.split(|b| *b == b'\n')
        .filter(|line| !line.is_empty() && !line.starts_with(b"#") && !line.contains(&0))
        .map(|line| line.split(|b| *b == b':').collect())
}

fn number(field: &[u8]) -> Option<u32> {
    let plain = !field.is_empty() && field.iter().all(u8::is_ascii_digit);
    // The last number means "no change" to setresuid(2).
    std::str::from_utf8(field).ok().filter(|_| plain)?.parse().ok().filter(|n| *n != u32::MAX)
}

fn as_numbers(wanted: &[u8]) -> Option<(u32, Option<u32>)> {
    let mut parts = wanted.split(|b| *b == b':');
    let uid = number(parts.next()?)?;
    match (parts.next(), parts.next()) {
        (None, _) => Some((uid, None)),
        (Some(gid), None) => Some((uid, Some(number(gid)?))),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PASSWD: &[u8] = b"root:x:0:0:root:/root:/bin/ash\n# no\nbroken\nalice:x:1000:1000:A:/home/alice:/bin/bash\n\
        evil:x:4294967295:0::/:/bin/sh\nneg:x:-1:0::/:/bin/sh\nplus:x:+1:0::/:/bin/sh\nlast:x:1003:1003::home:";
    const GROUP: &[u8] = b"root:x:0:\nwheel:x:10:bob,alice\nusers:x:100:alice\nalice:x:1000:alice\nbad:x:y:alice\nnot:x:11:alicea";

    fn find(wanted: &str) -> Option<User> {
        super::find(Wanted::Fixed(wanted.as_bytes()), PASSWD, GROUP)
    }

    #[test]
    fn an_account_is_found_by_its_name_only_and_is_never_root() {
        let find = |wanted: &str| super::find(Wanted::Account(wanted.as_bytes()), PASSWD, GROUP);
        assert_eq!(find("alice").map(|u| u.uid), Some(1000));
        for wanted in ["0", "1000", "0:0", "root", "bob"] {
            assert_eq!(find(wanted), None, "{wanted}");
        }
        assert_eq!(super::find(Wanted::Account(b"root"), b"", b""), None);
    }

    #[test]
    fn a_name_has_its_groups_and_a_number_its_name() {
        let alice = find("alice").unwrap();
        assert_eq!((alice.uid, alice.gid, alice.groups.clone()), (1000, 1000, vec![1000, 10, 100]));
        assert_eq!(
            (alice.home.as_slice(), alice.shell.as_slice()),
            (b"/home/alice".as_slice(), b"/bin/bash".as_slice())
        );
        assert_eq!(find("1000"), Some(alice.clone()));
        assert_eq!(find("1000:5").map(|u| (u.gid, u.groups)), Some((5, vec![5, 10, 100, 1000])));
    }

    #[test]
    fn what_is_not_a_user_is_none() {
        for wanted in
            ["bob", "", "evil", "neg", "plus", "alice:x", "root:x:0", "4294967295", "1:2:3", "broken"]
        {
            assert_eq!(find(wanted), None, "{wanted}");
        }
    }

    #[test]
    fn an_image_without_a_passwd_file_still_has_root_and_numbers() {
        let root = super::find(Wanted::Fixed(b"root"), b"", b"").unwrap();
        assert_eq!(
            (root.uid, root.groups, root.home, root.shell),
            (0, vec![0], b"/".to_vec(), b"/bin/sh".to_vec())
        );
        assert_eq!(super::find(Wanted::Fixed(b"7"), b"", b"").map(|u| (u.uid, u.gid)), Some((7, 0)));
        assert_eq!(super::find(Wanted::Fixed(b"alice"), b"", b""), None);
    }

    #[test]
    fn relative_homes_and_shells_are_not_followed() {
        let last = find("last").unwrap();
        assert_eq!((last.home, last.shell), (b"/".to_vec(), b"/bin/sh".to_vec()));
    }

    #[test]
    fn any_bytes_are_read_without_a_fault() {
        proptest::proptest!(|(passwd: Vec<u8>, group: Vec<u8>, wanted: Vec<u8>)| {
            let _ = super::find(Wanted::Fixed(&wanted), &passwd, &group);
            let _ = super::find(Wanted::Account(&wanted), &passwd, &group);
        });
    }
}
