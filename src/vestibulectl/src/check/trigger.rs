//! The one user of vestibule's that sshd lets in by its own name: `vestibule-refresh`, for a hub's trigger. Login names
//! have no entry in /etc/shadow and can neither be locked nor expire; this user has one.

use std::fs;
use std::os::unix::fs::MetadataExt;

use vestibule::paths;
use vestibule_sys::time;

use super::Fault;
use super::setup::{sshd_says, value_in};
use crate::getent;

const KEYS: &str = "/etc/vestibule/trigger_keys";
const WHY: &str = "the hub's trigger is refused, and a change waits for the next run of refresh-keys";

/// Nothing to say where sshd has no trigger.
pub(super) fn look(faults: &mut Vec<Fault>) {
    let user = paths::USER_REFRESH;
    let Ok(effective) = sshd_says(user, None) else { return };
    let is_there = value_in(&effective, "forcecommand").is_some_and(|command| {
        command.split(' ').any(|word| word == paths::REFRESH_KEYS) && command.ends_with("--trigger")
    });
    if !is_there {
        return;
    }
    let mut say = |what: String, mend: String| faults.push(Fault::new(what, mend).why(WHY));
    if let Ok(Some(shell)) = getent::shell(user)
        && (shell.ends_with("/nologin") || shell.ends_with("/false"))
    {
        say(
            format!("user '{user}' has the shell '{shell}', which runs no trigger"),
            format!("run 'usermod --shell /bin/sh {user}'"),
        );
    }
    match fs::metadata(KEYS) {
        Ok(about) if about.uid() == 0 && about.mode() & 0o022 == 0 => {
            if about.mode() & 0o004 == 0 {
                say(
                    format!("'{KEYS}' can't be read by user '{user}', as whom sshd reads it"),
                    format!("run 'chmod 0644 {KEYS}'"),
                );
            }
        }
        Ok(_) => say(
            format!("'{KEYS}' can be written by others than root"),
            format!("run 'chown root:root {KEYS} && chmod 0644 {KEYS}'"),
        ),
        Err(error) => {
            say(format!("can't look at '{KEYS}': {error}"), "put the hub's public key there".to_owned());
        }
    }
    let pam = value_in(&effective, "usepam") == Some("yes");
    let Some(shadow) = Shadow::of(&fs::read_to_string("/etc/shadow").unwrap_or_default(), user) else {
        return;
    };
    if shadow.locked && !pam {
        say(
            format!("user '{user}' has a locked password, and sshd has 'UsePAM no'"),
            format!("run 'usermod --password \"*\" {user}'"),
        );
    }
    if shadow.expires.is_some_and(|day| day <= time::now() / 86400) {
        say(
            format!("the account of user '{user}' has expired"),
            format!("run 'chage --expiredate -1 {user}'"),
        );
    }
}

/// What /etc/shadow says of a user, as far as it shuts somebody out who comes with a key: shadow(5).
#[derive(Debug, PartialEq, Eq)]
struct Shadow {
    /// What OpenSSH takes for locked: without PAM it refuses such a user whatever the key.
    locked: bool,
    /// The day (since 1970) from which PAM refuses the account.
    expires: Option<i64>,
}

impl Shadow {
    fn of(text: &str, user: &str) -> Option<Shadow> {
        let line = text.lines().find_map(|line| line.strip_prefix(user)?.strip_prefix(':'))?;
        let mut fields = line.split(':');
        let locked = fields.next()?.starts_with('!');
        // Behind the password: the last change, the least and the greatest age, the warning, the days of grace.
        let expires = fields.nth(5).and_then(|day| day.parse().ok());
        Some(Shadow { locked, expires })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_of_shadow_says_who_is_locked_and_until_when() {
        let text =
            "root:*:19000:0:99999:7:::\nvestibule-refresh:!:19000::::7:20000:\nvestibule-refresh2:*:::::::\n";
        let read = |user| Shadow::of(text, user);
        assert_eq!(read("root"), Some(Shadow { locked: false, expires: None }));
        assert_eq!(read("vestibule-refresh2"), Some(Shadow { locked: false, expires: None }));
        assert_eq!(read("nobody"), None);
        let text = "vestibule-refresh:!:19000:0:99999:7::20000:\n";
        assert_eq!(
            Shadow::of(text, "vestibule-refresh"),
            Some(Shadow { locked: true, expires: Some(20000) })
        );
    }
}
