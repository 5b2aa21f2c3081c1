//! `TERM` in a container that has never heard of the client's terminal: a name that it has an entry for, terminfo(5).
//!
//! Entries are only looked for, by name, below the container's root and as its user; nobody reads them here. An image
//! without any entry, as one of busybox, has programs that need none, and the client's word stands.

use std::ffi::OsStr;
use std::fs::File;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

use nix::fcntl::{AtFlags, OFlag};
use nix::sys::stat::fstatat;
use vestibule_sys::beneath::{self, Resolve};

use crate::environment::Variables;

/// Where ncurses of the distributions looks, after what the environment says.
const DIRECTORIES: [&str; 5] =
    ["/etc/terminfo", "/lib/terminfo", "/usr/share/terminfo", "/usr/lib/terminfo", "/usr/share/lib/terminfo"];
/// Names that begin so are of terminals that do what xterm does.
const LIKE_XTERM: [&str; 14] = [
    "xterm",
    "tmux",
    "screen",
    "rxvt",
    "alacritty",
    "foot",
    "wezterm",
    "kitty",
    "ghostty",
    "konsole",
    "gnome",
    "vte",
    "st-",
    "putty",
];
/// Longer names are nobody's.
const MAX_NAME: usize = 64;

/// Replaces `TERM` by a name that there is an entry for, if there are entries at all. To be called in the container.
pub(crate) fn settle(variables: &mut Variables) {
    let Some(wanted) = variables.get(&b"TERM"[..]) else { return };
    let Ok(root) = File::open("/") else { return };
    let flags = (OFlag::O_PATH | OFlag::O_DIRECTORY).bits();
    let open = |path: &PathBuf| beneath::open_with(root.as_fd(), path, Resolve::InRoot, flags).ok();
    let directories: Vec<OwnedFd> = directories(variables).iter().filter_map(open).collect();
    let known = |name: &str| {
        directories.iter().any(|directory| {
            // Not where a link leads: Debian's `/usr/share/terminfo` has links to `/lib/terminfo`.
            places(name)
                .iter()
                .any(|place| fstatat(directory, place.as_str(), AtFlags::AT_SYMLINK_NOFOLLOW).is_ok())
        })
    };
    if let Some(name) = std::str::from_utf8(wanted).ok().and_then(|wanted| instead(wanted, known)) {
        variables.insert(b"TERM".to_vec(), name.as_bytes().to_vec());
    }
}

/// terminfo(5), "Fetching Compiled Descriptions", as far as directories go.
fn directories(variables: &Variables) -> Vec<PathBuf> {
    let value = |name: &str| variables.get(name.as_bytes()).map(Vec::as_slice).filter(|v| !v.is_empty());
    let path = |bytes: &[u8]| PathBuf::from(OsStr::from_bytes(bytes));
    let mut all: Vec<PathBuf> = value("TERMINFO").map(path).into_iter().collect();
    all.extend(value("HOME").map(|home| path(home).join(".terminfo")));
    let listed = value("TERMINFO_DIRS").into_iter().flat_map(|dirs| dirs.split(|b| *b == b':'));
    all.extend(listed.filter(|dir| !dir.is_empty()).map(path));
    all.extend(DIRECTORIES.map(PathBuf::from));
    all
}

/// Where an entry may stand in a directory: below its first letter, or that letter's number.
fn places(name: &str) -> Vec<String> {
    let first = name.bytes().next().unwrap_or_default();
    vec![format!("{}/{name}", char::from(first)), format!("{first:02x}/{name}")]
}

/// The name to put in the place of `wanted`; none if that is known, or if nothing that could stand for it is.
fn instead(wanted: &str, known: impl Fn(&str) -> bool) -> Option<&'static str> {
    let plain = (1..=MAX_NAME).contains(&wanted.len())
        && wanted.bytes().all(|b| b.is_ascii_graphic() && b != b'/')
        && !wanted.starts_with('.');
    if plain && known(wanted) {
        return None;
    }
    let like_xterm = LIKE_XTERM.iter().any(|name| wanted.starts_with(name));
    let multiplexer = wanted.starts_with("tmux") || wanted.starts_with("screen");
    let few_colours = ["xterm", "screen", "tmux", "rxvt"].contains(&wanted);
    [
        ("screen-256color", multiplexer && !few_colours),
        ("screen", multiplexer),
        ("xterm-256color", like_xterm && !few_colours),
        ("xterm", like_xterm),
        ("linux", like_xterm),
        ("vt100", wanted != "dumb"),
        ("dumb", true),
    ]
    .into_iter()
    .find_map(|(name, fits)| (fits && known(name)).then_some(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_name_that_is_known_stands_in() {
        let debian = ["xterm-256color", "xterm", "screen", "screen-256color", "linux", "vt100", "dumb"];
        for (wanted, have, expected) in [
            ("xterm-256color", &debian[..], None),
            ("xterm-kitty", &debian, Some("xterm-256color")),
            ("alacritty", &debian, Some("xterm-256color")),
            ("tmux-256color", &debian, Some("screen-256color")),
            ("tmux", &debian, Some("screen")),
            ("wyse60", &debian, Some("vt100")),
            ("xterm-256color", &["xterm", "linux"], Some("xterm")),
            ("xterm-256color", &["linux", "vt100"], Some("linux")),
            ("xterm-256color", &["vt100", "dumb"], Some("vt100")),
            ("xterm-256color", &["dumb"], Some("dumb")),
            ("xterm", &["xterm-256color", "dumb"], Some("dumb")),
            ("xterm-256color", &[], None),
            ("dumb", &["vt100"], None),
            ("", &debian, Some("vt100")),
            ("../x/xterm", &debian, Some("vt100")),
        ] {
            let known = |name: &str| have.contains(&name);
            assert_eq!(instead(wanted, known), expected, "{wanted} of {have:?}");
        }
    }

    #[test]
    fn entries_are_looked_for_where_ncurses_does() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(dir.path().join("home/.terminfo/78")).unwrap();
        std::fs::write(dir.path().join("home/.terminfo/78/x-of-my-own"), "").unwrap();
        let home = dir.path().join("home").into_os_string().into_encoded_bytes();
        let mut variables =
            Variables::from([(b"HOME".to_vec(), home), (b"TERM".to_vec(), b"x-of-my-own".to_vec())]);
        settle(&mut variables);
        assert_eq!(variables[&b"TERM"[..]], b"x-of-my-own");
    }

    #[test]
    fn any_bytes_are_a_terminal_name() {
        proptest::proptest!(|(wanted: String)| {
            let _ = instead(&wanted, |_| false);
        });
    }
}
