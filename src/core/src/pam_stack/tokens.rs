//! Whether sshd's PAM stack asks `check-token` for logins of ours, and for nobody else.
//!
//! Three rules do it, before all others of their kind: the first leaps over the other two for whoever is not of our group
//! (and, since pam_setcred(3) has no word of it, for keys), the second asks, the third ends the stack for who was let in.
//! In another place or form they could leave a login of ours to rules that know the host's passwords, or ask a hub about
//! those.

use std::fmt;
use std::path::Path;

use super::{lines, split_control};
use crate::paths;

/// The rules, as check-token(8) has them.
pub const RULES: [&str; 3] = [
    "auth [success=ignore default=2] pam_succeed_if.so quiet user ingroup vestibule",
    concat!(
        "auth requisite pam_exec.so quiet expose_authtok ",
        env!("VESTIBULE_PREFIX"),
        "/libexec/vestibule/check-token"
    ),
    "auth sufficient pam_permit.so",
];

/// What is wrong with the rules.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fault {
    /// The stack can't be read.
    Unreadable(String),
    /// There are none.
    Missing,
    /// In the place of one of them is this.
    Other {
        /// Which, counted from 0.
        number: usize,
        /// What stands there; empty if nothing.
        found: String,
    },
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let wanted = |number: usize| RULES.get(number).copied().unwrap_or_default();
        match self {
            Fault::Unreadable(why) => write!(f, "{why}"),
            Fault::Missing => write!(f, "it does not ask check-token"),
            Fault::Other { number, found } => {
                let number = *number;
                write!(f, "rule {} for 'auth' is '{found}', and not '{}'", number + 1, wanted(number))
            }
        }
    }
}

/// Judges the stack of sshd, as this host has it.
///
/// # Errors
/// The first [`Fault`] found.
pub fn judge_host() -> Result<(), Fault> {
    let text = std::fs::read_to_string(Path::new(paths::PAM_STACK));
    judge(&text.map_err(|e| Fault::Unreadable(e.to_string()))?)
}

/// Judges the text of a stack's file.
///
/// # Errors
/// The first [`Fault`] found.
pub fn judge(text: &str) -> Result<(), Fault> {
    let all = lines(text);
    let of_auth = |line: &&String| {
        let kind = line.split_ascii_whitespace().next().unwrap_or_default();
        // What is included may have rules for it.
        kind == "@include" || kind.trim_start_matches('-').eq_ignore_ascii_case("auth")
    };
    if !all.iter().any(|line| line.contains("check-token")) {
        return Err(Fault::Missing);
    }
    let mut rules = all.iter().filter(of_auth);
    for (number, wanted) in RULES.iter().enumerate() {
        let found = rules.next().map(String::as_str).unwrap_or_default();
        if words(found) != words(wanted) {
            let found = found.split_ascii_whitespace().collect::<Vec<_>>().join(" ");
            return Err(Fault::Other { number, found });
        }
    }
    Ok(())
}

/// A rule in its parts: kind, control, module, and what is said to it.
fn words(rule: &str) -> Vec<String> {
    let rule = rule.trim();
    let (kind, rest) = rule.split_once(|c: char| c.is_ascii_whitespace()).unwrap_or((rule, ""));
    let (control, rest) = split_control(rest.trim_start());
    let control = control.split_ascii_whitespace().collect::<Vec<_>>().join(" ");
    let control = control.replace("[ ", "[").replace(" ]", "]");
    let rest = rest.split_ascii_whitespace().map(str::to_owned);
    [kind.to_ascii_lowercase(), control].into_iter().chain(rest).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stack(rules: &[&str]) -> String {
        rules.join("\n") + "\n"
    }

    #[test]
    fn the_rules_stand_before_all_others_of_their_kind() {
        let ours = stack(&RULES);
        assert_eq!(judge(&format!("# sshd\n{ours}@include common-auth\n")), Ok(()));
        assert_eq!(
            judge(&format!("account required pam_nologin.so\n{ours}auth substack password-auth\n")),
            Ok(())
        );
        let spaced = ours.replace(' ', "  ").replace("auth", "AUTH");
        assert_eq!(judge(&spaced.replace("expose_AUTHtok", "expose_authtok")), Ok(()));
    }

    #[test]
    fn in_another_place_or_form_they_are_not_the_rules() {
        let ours = stack(&RULES);
        for before in ["@include common-auth", "auth sufficient pam_permit.so", "-auth optional pam_x.so"] {
            let judged = judge(&format!("{before}\n{ours}"));
            assert!(matches!(judged, Err(Fault::Other { number: 0, .. })), "{before}: {judged:?}");
        }
        for (from, to, number) in [
            ("default=2", "default=1", 0),
            ("success=ignore", "success=ok", 0),
            ("ingroup", "notingroup", 0),
            ("requisite", "sufficient", 1),
            (" expose_authtok", "", 1),
            ("check-token", "check-token-2", 1),
            ("auth sufficient pam_permit.so\n", "@include common-auth\n", 2),
            ("auth sufficient pam_permit.so\n", "", 2),
        ] {
            let judged = judge(&ours.replace(from, to));
            assert!(
                matches!(&judged, Err(Fault::Other { number: n, .. }) if *n == number),
                "{to}: {judged:?}"
            );
        }
        assert_eq!(judge("@include common-auth\n# check-token\n"), Err(Fault::Missing));
    }

    proptest::proptest! {
        #[test]
        fn any_text_is_judged(text in ".{0,200}") {
            let _ = judge(&format!("{text} check-token"));
            proptest::prop_assert!(judge(&text).is_err());
        }
    }
}
