//! Whether every session that sshd opens through PAM comes to `pam_vestibule`, and to nothing after it: pam.d(5).
//!
//! Only then does what stands behind it in the order of a login, the first forward, happen in the target. That the
//! module stands in the stack, and last, is not enough: a rule before it may end the stack with success
//! (`sufficient`, `done`) or leap over it. Files that are included are read as libpam reads them.

use std::fmt;
use std::io::ErrorKind;
use std::path::Path;

use crate::paths;

pub mod tokens;

/// The module's file name.
const MODULE: &str = "pam_vestibule.so";
/// Where libpam looks for what `/etc/pam.d` has not.
const VENDOR_DIR: &str = "/usr/lib/pam.d";
/// More than any distribution nests; libpam allows 32.
const MAX_DEPTH: usize = 16;

/// Why a session may not come to the module, or not to it last.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fault {
    /// A file of the stack can't be read: its name, and why.
    Unreadable(String, String),
    /// Files that include each other.
    TooDeep,
    /// The last rule for sessions is another one.
    NotLast,
    /// This rule before it may end the stack, or leap over the module.
    Skipped(String),
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Fault::Unreadable(file, why) => write!(f, "'{file}': {why}"),
            Fault::TooDeep => write!(f, "files of the stack include each other"),
            Fault::NotLast => write!(f, "the last rule is not 'session required {MODULE}'"),
            Fault::Skipped(rule) => write!(f, "'{rule}' may end the stack before {MODULE}"),
        }
    }
}

/// A rule for sessions.
enum Rule {
    /// `pam_vestibule`, whose word counts.
    Ours,
    Module {
        /// As it is written, for people.
        text: String,
        control: Control,
    },
    /// The rules of a substack, which nothing in it leaves.
    Substack(Vec<Rule>),
}

/// Where a rule goes on but to the next one, if its module says so.
#[derive(Debug, PartialEq, Eq)]
struct Control {
    /// It may end the stack with success.
    ends: bool,
    /// The most rules that it may leap over.
    leaps: usize,
}

/// Judges the stack of sshd, as this host has it.
///
/// # Errors
/// The first [`Fault`] found.
pub fn judge_host() -> Result<(), Fault> {
    let stack = Path::new(paths::PAM_STACK);
    let (directory, service) = (stack.parent().unwrap_or(stack), stack.file_name().unwrap_or_default());
    judge(&service.to_string_lossy(), &mut |name| {
        // join() takes an absolute path as it is.
        std::fs::read_to_string(directory.join(name)).or_else(|e| match e.kind() {
            ErrorKind::NotFound => std::fs::read_to_string(Path::new(VENDOR_DIR).join(name)),
            _ => Err(e),
        })
    })
}

/// Judges the stack of a service. `read` gives a file of `/etc/pam.d` by its name, or any file by an absolute path.
///
/// # Errors
/// The first [`Fault`] found.
pub fn judge(service: &str, read: &mut dyn FnMut(&str) -> std::io::Result<String>) -> Result<(), Fault> {
    let mut rules = Vec::new();
    gather(service, read, 0, &mut rules)?;
    comes_last(&rules)
}

/// The rules of a file for sessions, and of those that it includes.
fn gather(
    file: &str,
    read: &mut dyn FnMut(&str) -> std::io::Result<String>,
    depth: usize,
    rules: &mut Vec<Rule>,
) -> Result<(), Fault> {
    if depth > MAX_DEPTH {
        return Err(Fault::TooDeep);
    }
    let text = read(file).map_err(|e| Fault::Unreadable(file.to_owned(), e.to_string()))?;
    for line in lines(&text) {
        let mut words = line.split_ascii_whitespace();
        let kind = words.next().unwrap_or_default();
        if kind == "@include" {
            if let Some(other) = words.next() {
                gather(other, read, depth + 1, rules)?;
            }
            continue;
        }
        if !kind.trim_start_matches('-').eq_ignore_ascii_case("session") {
            continue;
        }
        let rest = line.trim_start().get(kind.len()..).unwrap_or_default().trim_start();
        let (control, rest) = split_control(rest);
        let module = rest.split_ascii_whitespace().next().unwrap_or_default();
        let is = |word: &str| control.eq_ignore_ascii_case(word);
        if is("include") {
            gather(module, read, depth + 1, rules)?;
        } else if is("substack") {
            let mut inner = Vec::new();
            gather(module, read, depth + 1, &mut inner)?;
            rules.push(Rule::Substack(inner));
        } else if !kind.starts_with('-')
            && module.rsplit('/').next() == Some(MODULE)
            && (is("required") || is("requisite"))
        {
            rules.push(Rule::Ours);
        } else {
            let text = line.split_ascii_whitespace().collect::<Vec<_>>().join(" ");
            rules.push(Rule::Module { text, control: Control::parse(control) });
        }
    }
    Ok(())
}

/// The lines of a file, without comments; one that ends in a backslash goes on in the next.
fn lines(text: &str) -> Vec<String> {
    let mut lines = vec![String::new()];
    for line in text.lines() {
        let line = line.split('#').next().unwrap_or_default();
        let (line, goes_on) = line.trim_end().strip_suffix('\\').map_or((line, false), |l| (l, true));
        if let Some(last) = lines.last_mut() {
            last.push_str(line);
            last.push(' ');
        }
        if !goes_on {
            lines.push(String::new());
        }
    }
    lines.retain(|line| !line.trim().is_empty());
    lines
}

/// The control of a rule, a word or what stands in brackets, and what follows.
fn split_control(rest: &str) -> (&str, &str) {
    let end = if rest.starts_with('[') {
        rest.find(']').map_or(rest.len(), |at| at + 1)
    } else {
        rest.find(|c: char| c.is_ascii_whitespace()).unwrap_or(rest.len())
    };
    rest.split_at_checked(end).unwrap_or((rest, ""))
}

impl Control {
    fn parse(text: &str) -> Control {
        let Some(actions) = text.strip_prefix('[') else {
            let ends = !["required", "requisite", "optional"].iter().any(|w| w.eq_ignore_ascii_case(text));
            return Control { ends, leaps: 0 };
        };
        let mut control = Control { ends: false, leaps: 0 };
        for action in actions.trim_end_matches(']').split_ascii_whitespace() {
            let action = action.rsplit('=').next().unwrap_or_default();
            match action.parse() {
                Ok(leap) => control.leaps = control.leaps.max(leap),
                // `die` and `bad` refuse the session; the others go on.
                Err(_) if ["ok", "ignore", "bad", "die", "reset"].contains(&action) => {}
                Err(_) => control.ends = true,
            }
        }
        control
    }
}

/// Whether whoever goes through the rules with success comes to the module, and has nothing left then.
fn comes_last(rules: &[Rule]) -> Result<(), Fault> {
    match rules.split_last() {
        Some((Rule::Ours, _)) => {}
        Some((Rule::Substack(inner), _)) => comes_last(inner)?,
        _ => return Err(Fault::NotLast),
    }
    for (number, rule) in rules.iter().enumerate() {
        let Rule::Module { text, control } = rule else { continue };
        // From rule N a leap over L others goes to N + 1 + L.
        if control.ends || number.saturating_add(1).saturating_add(control.leaps) >= rules.len() {
            return Err(Fault::Skipped(text.clone()));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const OURS: &str = "session required pam_vestibule.so\n";

    fn judged(sshd: &str) -> Result<(), Fault> {
        let mut read = |name: &str| match name {
            "sshd" => Ok(sshd.to_owned()),
            "with-ours" => Ok(format!("session optional pam_motd.so\n{OURS}")),
            "only-auth" => Ok("auth required pam_unix.so\npassword required pam_unix.so\n".to_owned()),
            // As Debian's common-session.
            "common-session" => Ok("session [default=1] pam_permit.so\nsession requisite pam_deny.so\n\
                session required pam_permit.so\nsession optional pam_umask.so\n"
                .to_owned()),
            "ends" => Ok("session sufficient pam_permit.so\n".to_owned()),
            "itself" => Ok("@include itself\n".to_owned()),
            "/abs/file" => Ok("session\toptional\tpam_motd.so\n".to_owned()),
            _ => Err(ErrorKind::NotFound.into()),
        };
        judge("sshd", &mut read)
    }

    #[test]
    fn the_module_is_come_to_last_and_its_word_counts() {
        for good in [
            "",
            "@include common-session\n",
            "session include common-session\nsession substack ends\n",
            "session [success=ok ignore=ignore module_unknown=ignore default=bad] pam_selinux.so close\n",
            "session [success=1 default=ignore] pam_succeed_if.so quiet\nsession optional a.so\n",
            "session requisite a.so\n-session optional b.so\nsession [default=die] c.so\n",
            "# session sufficient a.so\nauth sufficient a.so\naccount [success=done] a.so\n@include /abs/file\n",
        ] {
            assert_eq!(judged(&format!("{good}{OURS}")), Ok(()), "{good}");
        }
        for good in [
            "@include common-session\nsession\trequisite /usr/lib/security/pam_vestibule.so # last\n\n#auth x y\n",
            "@include with-ours\n@include only-auth\n",
            "session include with-ours\n",
            "session substack with-ours\npassword include only-auth\n",
            "session \\\n  required \\\n pam_vestibule.so\n",
            "SESSION Required pam_vestibule.so\n",
        ] {
            assert_eq!(judged(good), Ok(()), "{good}");
        }
    }

    #[test]
    fn another_rule_is_the_last() {
        for bad in [
            "",
            "# session required pam_vestibule.so",
            "session optional pam_vestibule.so",
            "-session required pam_vestibule.so",
            "session [success=ok default=ignore] pam_vestibule.so",
            "session sufficient pam_vestibule.so",
            "auth required pam_vestibule.so",
            "session required pam_vestibule.so\nsession optional pam_motd.so",
            "session required pam_vestibule.so\n@include common-session",
            "session required pam_vestibule.so\nsession substack only-auth",
            "session required pam_vestibule.so.bak",
            "@include only-auth",
            "@include only-auth # session required pam_vestibule.so",
        ] {
            assert_eq!(judged(bad), Err(Fault::NotLast), "{bad}");
        }
    }

    #[test]
    fn a_rule_before_it_may_end_the_stack_or_leap() {
        for bad in [
            "session sufficient a.so",
            "session [success=done] a.so",
            "session [success=ok default=done] a.so",
            "session [success=1 default=ignore] a.so",
            "session [success=2 default=ignore] a.so\nsession optional b.so",
            "session [default=9999999999999999999999] a.so",
            "session [what=ever] a.so",
            "session [success=18446744073709551615] a.so",
            "session binding a.so",
            "@include ends",
            "session include ends",
        ] {
            assert!(matches!(judged(&format!("{bad}\n{OURS}")), Err(Fault::Skipped(_))), "{bad}");
        }
        // Out of a substack nothing leaps, but over it something may.
        let over = "session [success=1 default=ignore] a.so\nsession substack with-ours\n";
        assert_eq!(judged(over), Err(Fault::Skipped("session [success=1 default=ignore] a.so".to_owned())));
    }

    #[test]
    fn what_can_t_be_read_is_no_stack() {
        for bad in ["@include missing", "session include missing", "session substack missing"] {
            let why = judged(&format!("{bad}\n{OURS}"));
            assert!(matches!(&why, Err(Fault::Unreadable(name, _)) if name == "missing"), "{bad}: {why:?}");
        }
        assert_eq!(judged(&format!("@include itself\n{OURS}")), Err(Fault::TooDeep));
    }

    proptest::proptest! {
        #[test]
        fn any_text_is_judged(text in ".{0,200}") {
            let _ = judged(&text);
            let _ = judged(&format!("session {text}\n{OURS}"));
        }
    }
}
