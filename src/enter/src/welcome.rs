//! A target's words of welcome: on the terminal of a login shell, before it starts, and nowhere else. As with sshd's
//! message of the day, whoever has a `~/.hushlogin` doesn't see it; whether there is one is asked as the user, inside.

use std::ffi::OsStr;
use std::fs::File;
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use nix::fcntl::OFlag;
use vestibule::messages::may_welcome;
use vestibule_sys::beneath::{self, Resolve};

use crate::users::User;

/// A terminal whose other side nobody reads yet takes this much without waiting.
const MAX: usize = 4096;

/// What a target says, ready for a terminal; nothing to a user who wants none. To be called in the container, as the
/// user.
pub(crate) fn words(text: &str, target: &str, user: &User) -> Vec<u8> {
    if text.is_empty() || is_hushed(user) { Vec::new() } else { shown(text, target) }
}

fn is_hushed(user: &User) -> bool {
    let Ok(root) = File::open("/") else { return true };
    let file = Path::new(OsStr::from_bytes(&user.home)).join(".hushlogin");
    beneath::open_with(root.as_fd(), &file, Resolve::InRoot, OFlag::O_PATH.bits()).is_ok()
}

/// The text with the target's name in it and a line feed at its end. Whoever writes the store may not drive terminals, nor
/// paint on them: the escape sequences of colours are those of everything else, so none is let through.
fn shown(text: &str, target: &str) -> Vec<u8> {
    let text = text.replace("{target}", target);
    let mut shown = String::new();
    for c in text.chars().filter(|c| may_welcome(*c)) {
        if shown.len() + c.len_utf8() >= MAX {
            break;
        }
        shown.push(c);
    }
    if !shown.ends_with('\n') {
        shown.push('\n');
    }
    shown.into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_targets_name_is_in_it_and_nothing_that_drives_a_terminal() {
        assert_eq!(shown("In {target}, {user}.\n\tBe kind.", "lab"), b"In lab, {user}.\n\tBe kind.\n");
        assert_eq!(shown("a\u{1b}]0;x\u{7}b\rc\u{9b}d\n", "lab"), b"a]0;xbcd\n");
        assert_eq!(
            shown("\u{1b}[31mred\u{1b}[0m \u{202e}evil\u{2066}\u{200b}.", "lab"),
            b"[31mred[0m evil.\n"
        );
        assert_eq!(shown(&"\u{e9}".repeat(9000), "lab").len(), MAX - 1);
    }

    #[test]
    fn who_wants_quiet_has_it() {
        let dir = tempfile::tempdir().unwrap();
        let home = dir.path().as_os_str().as_encoded_bytes().to_vec();
        let user = User { name: vec![], uid: 1, gid: 1, groups: vec![], home, shell: vec![] };
        assert_eq!(words("hello", "lab", &user), b"hello\n");
        std::fs::write(dir.path().join(".hushlogin"), "").unwrap();
        assert_eq!(words("hello", "lab", &user), b"");
    }
}
