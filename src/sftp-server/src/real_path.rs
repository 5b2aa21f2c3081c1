//! The absolute name of a file without symbolic links, `.` and `..`, as OpenSSH's server resolves it: the last component
//! need not exist, so that a client can ask for the name of what it is about to make.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::libc;
use nix::sys::stat::lstat;

use crate::status::Fault;

/// As many symbolic links as are followed: OpenSSH's `SYMLOOP_MAX` where the system, as Linux, has none.
const MAX_LINKS: usize = 32;

/// As long as a path may be at any time.
const MAX_PATH: usize = 4096;

/// Resolves `path`; a relative one starts from the working directory.
pub(crate) fn real_path(path: &Path) -> Result<PathBuf, Fault> {
    if path.as_os_str().len() >= MAX_PATH {
        return Err(Errno::ENAMETOOLONG.into());
    }
    let mut resolved =
        if path.is_absolute() { b"/".to_vec() } else { std::env::current_dir()?.into_os_string().into_vec() };
    let mut left = path.as_os_str().as_bytes().to_vec();
    let mut links = 0;
    while !left.is_empty() {
        let slash = left.iter().position(|b| *b == b'/');
        let rest = slash.map_or_else(Vec::new, |at| left.split_off(at));
        // What was split off still begins with the slash.
        let (component, rest) = (left, rest.get(1..).unwrap_or_default().to_vec());
        match component.as_slice() {
            b"" | b"." => {}
            b".." => parent(&mut resolved),
            name => {
                if resolved.last() != Some(&b'/') {
                    resolved.push(b'/');
                }
                resolved.extend(name);
                if resolved.len() >= MAX_PATH {
                    return Err(Errno::ENAMETOOLONG.into());
                }
                match lstat(Path::new(OsStr::from_bytes(&resolved))) {
                    Ok(stat) if stat.st_mode & libc::S_IFMT == libc::S_IFLNK => {
                        links += 1;
                        if links > MAX_LINKS {
                            return Err(Errno::ELOOP.into());
                        }
                        left = follow(&mut resolved, slash.is_some().then_some(&rest))?;
                        continue;
                    }
                    Ok(_) => {}
                    Err(Errno::ENOENT) if slash.is_none() => break,
                    Err(e) => return Err(e.into()),
                }
            }
        }
        left = rest;
    }
    Ok(OsString::from_vec(resolved).into())
}

/// Takes the link away from the end of `resolved`, and gives what is left to resolve instead: what it says, and the rest.
fn follow(resolved: &mut Vec<u8>, rest: Option<&Vec<u8>>) -> Result<Vec<u8>, Fault> {
    let target = nix::fcntl::readlink(Path::new(OsStr::from_bytes(resolved)))?.into_vec();
    if target.starts_with(b"/") {
        resolved.truncate(1);
    } else {
        parent(resolved);
    }
    let mut left = target;
    if let Some(rest) = rest {
        left.push(b'/');
        left.extend(rest);
    }
    if left.len() >= MAX_PATH { Err(Errno::ENAMETOOLONG.into()) } else { Ok(left) }
}

/// The last component goes; the root stays.
fn parent(resolved: &mut Vec<u8>) {
    let slash = resolved.iter().rposition(|b| *b == b'/').unwrap_or(0);
    resolved.truncate(slash.max(1));
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use super::*;
    use crate::status::Status;

    #[test]
    fn names_resolve_as_openssh_resolves_them() {
        let place = tempfile::tempdir().unwrap();
        let root = fs::canonicalize(place.path()).unwrap();
        fs::create_dir_all(root.join("a/b")).unwrap();
        fs::write(root.join("a/file"), "").unwrap();
        symlink("a/b", root.join("relative")).unwrap();
        symlink(root.join("a"), root.join("absolute")).unwrap();
        symlink("loop", root.join("loop")).unwrap();
        symlink("nowhere", root.join("dangling")).unwrap();
        for (asked, expected) in [
            ("", Ok("")),
            ("a/b", Ok("a/b")),
            ("a//b/./", Ok("a/b")),
            ("relative/..", Ok("a")),
            ("absolute/file", Ok("a/file")),
            ("relative/new", Ok("a/b/new")),
            ("dangling", Ok("nowhere")),
            ("new", Ok("new")),
            ("new/", Err(Status::NoSuchFile)),
            ("new/er", Err(Status::NoSuchFile)),
            ("a/file/x", Err(Status::NoSuchFile)),
            ("loop", Err(Status::NoSuchFile)),
        ] {
            let got = real_path(&root.join(asked)).map_err(|f| f.status);
            let expected = expected.map(|e| root.join(e).components().collect::<PathBuf>());
            assert_eq!(got, expected, "{asked}");
        }
    }

    #[test]
    fn the_root_is_its_own_parent() {
        for path in ["/", "//", "/..", "/../../.", "/./"] {
            assert_eq!(real_path(Path::new(path)).unwrap(), Path::new("/"), "{path}");
        }
        assert_eq!(real_path(Path::new(".")).unwrap(), std::env::current_dir().unwrap());
    }

    #[test]
    fn long_names_are_refused() {
        let long = PathBuf::from(format!("/{}", "x/".repeat(5000)));
        assert_eq!(real_path(&long).unwrap_err().status, Status::BadMessage);
        let short = format!("/tmp/{}", "../tmp/".repeat(500));
        assert_eq!(real_path(Path::new(&short)).unwrap(), Path::new("/tmp"));
    }
}
