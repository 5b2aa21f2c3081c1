//! The host's sshd beyond vestibule's own block: its version, what shuts everybody out, and who stands before the drop-in.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use vestibule::paths;

use super::Fault;
use super::setup::{SSHD, SSHD_CONFIG_DIR};

const SSHD_CONFIG: &str = "/etc/ssh/sshd_config";
const DROP_IN_NAME: &str = "10-vestibule.conf";
/// The first release whose behaviour is known to be right.
const OLDEST: (u32, u32) = (8, 7);
/// From here on PerSourcePenalties are on unless said otherwise.
const PENALTIES: (u32, u32) = (9, 8);

pub(super) const NOT_ASKED: &str =
    "login names are served as sshd serves everybody else, and vestibule is not asked";

/// What sshd says of its version (also one that does not know -V, and complains).
fn says() -> Option<String> {
    let output = Command::new(SSHD).arg("-V").stdin(Stdio::null()).output().ok()?;
    Some(String::from_utf8_lossy(&[output.stderr, output.stdout].concat()).into_owned())
}

/// The release of OpenSSH, and what is known of it.
pub(super) fn version(faults: &mut Vec<Fault>) {
    let Some(said) = says() else { return };
    if let Some(number) = said.split("OpenSSH_").nth(1).and_then(version_of) {
        faults.extend(known_of(number));
    }
}

/// What a release can't do, or does otherwise than those before.
fn known_of(number: (u32, u32)) -> Vec<Fault> {
    let mut known = Vec::new();
    let named = format!("sshd is OpenSSH {}.{}", number.0, number.1);
    if number < OLDEST {
        known.push(
            Fault::new(named.clone(), format!("use OpenSSH {}.{} or later", OLDEST.0, OLDEST.1))
                .why("vestibule has not been tried with it, and key options may mean something else"),
        );
    }
    if number >= PENALTIES {
        known.push(
            Fault::new(
                format!("{named}, which shuts out addresses from which logins fail"),
                "name networks of many users, such as an office's, in PerSourcePenaltyExemptList",
            )
            .why("who comes from behind the same address is shut out together with the one who failed")
            .noted(),
        );
    }
    known
}

/// `9.2p1 Debian...` is (9, 2).
fn version_of(text: &str) -> Option<(u32, u32)> {
    let (major, rest) = text.split_once('.')?;
    let minor: String = rest.chars().take_while(char::is_ascii_digit).collect();
    Some((major.parse().ok()?, minor.parse().ok()?))
}

/// What `sshd -T` says for a login name, and shuts it out before any key is asked for.
pub(super) fn shut_out(effective: &str, faults: &mut Vec<Fault>) {
    let values = |key: &str| -> Vec<&str> {
        let lines = effective.lines().filter_map(|line| line.split_once(' '));
        lines.filter(|(name, _)| name.eq_ignore_ascii_case(key)).map(|(_, value)| value).collect()
    };
    let group = paths::USER_SESSION;
    let groups = values("allowgroups");
    if !groups.is_empty() && !groups.iter().flat_map(|list| list.split(' ')).any(|name| name == group) {
        faults.push(
            Fault::new(
                format!("sshd has 'AllowGroups {}'", groups.join(" ")),
                format!("add '{group}' to AllowGroups in sshd's configuration, and reload sshd"),
            )
            .why("sshd refuses every login name, since their group is not in the list"),
        );
    }
    let users = values("allowusers");
    if !users.is_empty() {
        faults.push(
            Fault::new(
                format!("sshd has 'AllowUsers {}'", users.join(" ")),
                "use AllowGroups, which can name all login names by their group",
            )
            .why("sshd refuses every login name that the list does not name"),
        );
    }
}

/// Why the drop-in, which is there, does not count; nothing when it is not there.
pub(super) fn who_wins() -> Option<Fault> {
    let directory = Path::new(SSHD_CONFIG_DIR);
    let ours = directory.join(DROP_IN_NAME);
    if !ours.exists() {
        return None;
    }
    let included = fs::read_to_string(SSHD_CONFIG).unwrap_or_default();
    let includes = |line: &str| {
        keyword(line).is_some_and(|word| word.eq_ignore_ascii_case("include"))
            && line.contains("sshd_config.d")
    };
    let why = NOT_ASKED;
    if !included.lines().any(includes) {
        let what = format!("'{SSHD_CONFIG}' does not include '{SSHD_CONFIG_DIR}'");
        let mend =
            format!("run 'sed -i \"1i Include {SSHD_CONFIG_DIR}/*.conf\" {SSHD_CONFIG}', and reload sshd");
        return Some(Fault::new(what, mend).why(why));
    }
    let mut before: Vec<PathBuf> = fs::read_dir(directory)
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| entry.path())
        .filter(|path| path.extension().is_some_and(|e| e == "conf") && *path < ours)
        .collect();
    before.sort();
    for file in before.into_iter().chain([PathBuf::from(SSHD_CONFIG)]) {
        let text = fs::read_to_string(&file).unwrap_or_default();
        for (number, line) in text.lines().enumerate() {
            let decides = keyword(line).is_some_and(|word| {
                ["authorizedkeyscommand", "forcecommand"].iter().any(|key| word.eq_ignore_ascii_case(key))
            });
            if decides {
                let place = format!("{}:{}", file.display(), number + 1);
                let what = format!("{place}: '{}' goes before '{}'", line.trim(), ours.display());
                let mend = "move that line behind the drop-in, or into a Match block of its own users";
                return Some(Fault::new(what, format!("{mend}, and reload sshd")).why(why));
            }
        }
    }
    let what = format!("'{}' is there, but does not count", ours.display());
    Some(Fault::new(what, "look for a Match block that ends before it or stands around it").why(why))
}

/// The keyword of a line of sshd_config.
fn keyword(line: &str) -> Option<&str> {
    line.split(|c: char| c.is_whitespace() || c == '=')
        .find(|word| !word.is_empty())
        .filter(|w| !w.starts_with('#'))
}

#[cfg(test)]
mod tests {
    use super::super::Level;
    use super::*;

    #[test]
    fn versions_are_read_however_a_distribution_writes_them() {
        for (text, wanted) in [
            ("9.2p1 Debian-2+deb12u7, OpenSSL 3.0.17", Some((9, 2))),
            ("10.0p2", Some((10, 0))),
            ("8.7p1, OpenSSL", Some((8, 7))),
            ("portable", None),
        ] {
            assert_eq!(version_of(text), wanted, "{text}");
        }
    }

    #[test]
    fn what_is_known_of_a_release() {
        let said = |number| {
            let known = known_of(number);
            let notes = known.iter().filter(|fault| fault.level == Level::Note).count();
            (known.len() - notes, notes)
        };
        assert_eq!(said((8, 4)), (1, 0));
        assert_eq!(said((9, 2)), (0, 0));
        assert_eq!(said((9, 8)), (0, 1));
        assert_eq!(said((10, 5)), (0, 1));
    }

    #[test]
    fn who_is_shut_out_is_said_once_for_each_list() {
        let said = |effective: &str| {
            let mut faults = Vec::new();
            shut_out(effective, &mut faults);
            faults.len()
        };
        assert_eq!(said("port 22\nallowgroups staff\nallowgroups vestibule\n"), 0);
        assert_eq!(said("AllowGroups staff\n"), 1);
        assert_eq!(said("allowgroups staff\nallowusers carol\n"), 2);
    }
}
