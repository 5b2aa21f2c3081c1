//! Authorities that sign users' certificates: the tables `[authority.NAME]` of root's configuration.
//!
//! sshd is told by `TrustedUserCAKeys` whose signatures it takes; what a principal means is said here, of each authority
//! on its own. One that is not named here certifies nothing for the targets, whatever sshd takes it for.

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer, de};
use vestibule_names::login::{AccountName, TargetName};

use crate::fingerprint::Fingerprint;
use crate::public_key::PublicKey;

/// The authorities, by the names that the configuration gives them.
pub type Authorities = BTreeMap<String, Authority>;

/// One who signs certificates.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Authority {
    /// Its public key.
    #[serde(deserialize_with = "public_key")]
    pub key: PublicKey,
    /// How its principals name accounts; patterns with `{account}`. What such a certificate opens is what the account has
    /// grants for.
    #[serde(default = "by_name", deserialize_with = "accounts")]
    accounts: Vec<Pattern>,
    /// How its principals name targets, which they open without an account and without a grant; patterns with `{target}`.
    #[serde(default, deserialize_with = "targets")]
    targets: Vec<Pattern>,
}

/// A text with a name in it.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Pattern {
    before: String,
    after: String,
}

/// More patterns than this are more than anybody can think about.
const MAX_PATTERNS: usize = 16;
const ACCOUNT: &str = "{account}";
const TARGET: &str = "{target}";

impl Authority {
    /// The accounts that a principal can be: mostly one or none.
    pub fn accounts<'a>(&'a self, principal: &'a str) -> impl Iterator<Item = AccountName> + 'a {
        self.accounts
            .iter()
            .filter_map(move |pattern| AccountName::try_from(pattern.name_in(principal)?).ok())
    }

    /// Whether a principal opens a target by the authority's word alone.
    #[must_use]
    pub fn opens(&self, principal: &str, target: &TargetName) -> bool {
        self.targets.iter().any(|pattern| pattern.name_in(principal) == Some(target.as_str()))
    }
}

/// The authority of this key.
#[must_use]
pub fn of_key(all: &Authorities, key: Fingerprint) -> Option<&Authority> {
    all.values().find(|authority| authority.key.fingerprint() == key)
}

impl Pattern {
    fn name_in<'a>(&self, principal: &'a str) -> Option<&'a str> {
        principal.strip_prefix(self.before.as_str())?.strip_suffix(self.after.as_str())
    }

    /// What is around `name`. sshd reads principals as words of a line: no blanks, no quotes, and no comment.
    fn parse(text: &str, name: &str) -> Option<Pattern> {
        let (before, after) = text.split_once(name)?;
        let plain = |text: &str| {
            text.bytes()
                .all(|b| b.is_ascii_graphic() && !matches!(b, b'"' | b'#' | b'\\' | b',' | b'{' | b'}'))
        };
        (plain(before) && plain(after))
            .then(|| Pattern { before: before.to_owned(), after: after.to_owned() })
    }
}

fn by_name() -> Vec<Pattern> {
    vec![Pattern { before: String::new(), after: String::new() }]
}

fn public_key<'de, D: Deserializer<'de>>(value: D) -> Result<PublicKey, D::Error> {
    let text = String::deserialize(value)?;
    text.parse().map_err(|why| de::Error::custom(format!("an authority's public key: {why}")))
}

fn accounts<'de, D: Deserializer<'de>>(value: D) -> Result<Vec<Pattern>, D::Error> {
    patterns(value, ACCOUNT)
}

fn targets<'de, D: Deserializer<'de>>(value: D) -> Result<Vec<Pattern>, D::Error> {
    patterns(value, TARGET)
}

fn patterns<'de, D: Deserializer<'de>>(value: D, name: &str) -> Result<Vec<Pattern>, D::Error> {
    let all = Vec::<String>::deserialize(value)?;
    let parsed: Option<Vec<Pattern>> = all.iter().map(|text| Pattern::parse(text, name)).collect();
    parsed.filter(|all| all.len() <= MAX_PATTERNS).ok_or_else(|| {
        de::Error::custom(format!(
            "want at most {MAX_PATTERNS} principals with {name} in each, without blanks, quotes, commas and '#'"
        ))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::public_key::tests::key;

    fn authority(rest: &str) -> Result<Authority, toml::de::Error> {
        toml::from_str(&format!("key = \"{}\"\n{rest}", key("ssh-ed25519", &[8; 36])))
    }

    fn accounts_of(rest: &str, principal: &str) -> Vec<String> {
        authority(rest).unwrap().accounts(principal).map(|name| name.as_str().to_owned()).collect()
    }

    #[test]
    fn a_principal_is_an_account_as_the_operator_says() {
        assert_eq!(accounts_of("", "alice"), ["alice"]);
        let mail = "accounts = [\"{account}@example.org\", \"user:{account}\"]";
        assert_eq!(accounts_of(mail, "alice@example.org"), ["alice"]);
        assert_eq!(accounts_of(mail, "user:alice"), ["alice"]);
        let none: [&str; 0] = [];
        for principal in
            ["alice", "alice@example.com", "user:", "user:a b", "user:alice\n", "user:a,b", "", "user:../x"]
        {
            assert_eq!(accounts_of(mail, principal), none, "{principal:?}");
        }
        assert_eq!(accounts_of("accounts = []", "alice"), none);
    }

    #[test]
    fn a_principal_opens_a_target_only_where_the_operator_says_so() {
        let lab = TargetName::try_from("lab").unwrap();
        let open = authority("targets = [\"target:{target}\"]").unwrap();
        assert!(open.opens("target:lab", &lab));
        assert!(!open.opens("lab", &lab) && !open.opens("target:lab2", &lab));
        assert!(!authority("").unwrap().opens("lab", &lab));
    }

    #[test]
    fn what_is_no_pattern_is_a_fault() {
        for rest in [
            "accounts = [\"alice\"]",
            "accounts = [\"{target}\"]",
            "accounts = [\"{account} x\"]",
            "accounts = [\"#{account}\"]",
            "accounts = [\"{account}{account}\"]",
            "accounts = [\"a\\\"{account}\"]",
            "targets = [\"{account}\"]",
            "more = 1",
        ] {
            assert!(authority(rest).is_err(), "{rest}");
        }
        assert!(toml::from_str::<Authority>("key = \"ssh-ed25519 AAAA\"").is_err());
        assert!(toml::from_str::<Authority>("").is_err());
    }
}
