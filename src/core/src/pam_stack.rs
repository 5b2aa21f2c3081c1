//! Whether a PAM stack ends in `pam_vestibule`: pam.d(5).
//!
//! Only then does what stands behind it in the order of a login, the first forward, happen in the target.

/// The module's file name.
const MODULE: &str = "pam_vestibule.so";

/// Whether the last rule of a stack is `session required pam_vestibule.so` (or `requisite`).
#[must_use]
pub fn ends_in_module(stack: &str) -> bool {
    let rule = |line: &str| line.split('#').next().unwrap_or_default().trim().to_owned();
    let Some(last) = stack.lines().map(rule).rfind(|rule| !rule.is_empty()) else { return false };
    let mut words = last.split_ascii_whitespace();
    let is = |word: Option<&str>, one_of: &[&str]| {
        word.is_some_and(|word| one_of.iter().any(|known| known.eq_ignore_ascii_case(word)))
    };
    is(words.next(), &["session"])
        && is(words.next(), &["required", "requisite"])
        && words.next().is_some_and(|path| path.rsplit('/').next() == Some(MODULE))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_module_stands_last_and_its_word_counts() {
        for good in [
            "session required pam_vestibule.so",
            "@include common-session\nsession\trequisite /usr/lib/security/pam_vestibule.so # last\n\n#auth x y\n",
        ] {
            assert!(ends_in_module(good), "{good}");
        }
        for bad in [
            "",
            "# session required pam_vestibule.so",
            "session optional pam_vestibule.so",
            "-session required pam_vestibule.so",
            "session [success=ok default=ignore] pam_vestibule.so",
            "session sufficient pam_vestibule.so",
            "auth required pam_vestibule.so",
            "session required pam_vestibule.so\nsession optional pam_motd.so",
            "session required pam_vestibule.so\n@include common-password",
            "session required pam_vestibule.so.bak",
        ] {
            assert!(!ends_in_module(bad), "{bad}");
        }
    }
}
