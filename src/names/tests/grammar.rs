//! Login, target and account names: tables of cases, and properties over any bytes.

#![allow(clippy::indexing_slicing, clippy::panic, clippy::unwrap_used)] // helpers of tests are tests

use proptest::prelude::*;
use vestibule_names::login::{
    AccountName, Candidate, Escaped, LoginName, MAX_LOGIN, NameError, TargetName, canonical_target,
    check_prefix, parse, target_lookups,
};

const UUID: &str = "6f1a2B3c-0d4e-4F5a-8b6c-7d8e9f0a1b2c";
const DIGITS: &str = "6f1a2b3c0d4e4f5a8b6c7d8e9f0a1b2c";

fn target(target: &str) -> Candidate<'_> {
    Candidate::Target { account: None, target }
}

fn pair<'a>(account: &'a str, target: &'a str) -> Candidate<'a> {
    Candidate::Target { account: Some(account), target }
}

fn candidates(login: &str) -> Vec<Candidate<'_>> {
    parse(login.as_bytes()).unwrap_or_else(|why| panic!("'{login}' {why}")).collect()
}

fn lookups(name: &str, prefix: Option<&str>) -> Vec<String> {
    target_lookups(name, prefix).map(String::from).collect()
}

#[test]
fn what_a_login_name_may_mean_in_order() {
    use Candidate::DefaultOf;
    let cases: &[(&str, &[Candidate<'_>])] = &[
        ("lab", &[target("lab"), DefaultOf("lab")]),
        ("_lab.v2-x", &[target("_lab.v2-x"), DefaultOf("_lab.v2-x")]),
        ("7", &[]),
        ("alice+lab", &[pair("alice", "lab")]),
        ("alice@example.org+lab", &[pair("alice@example.org", "lab")]),
        ("alice+42", &[pair("alice", "42")]),
        ("42+lab", &[pair("42", "lab")]),
        ("alice@lab", &[DefaultOf("alice@lab"), pair("alice", "lab")]),
        ("alice@example.org@lab", &[DefaultOf("alice@example.org@lab"), pair("alice@example.org", "lab")]),
        // No target name starts with `-` or `.`, so there the last `@` only belongs to the account.
        ("alice@-lab", &[DefaultOf("alice@-lab")]),
        (UUID, &[target(UUID), DefaultOf(UUID)]),
        (
            "12345678901234567890123456789012",
            &[target("12345678901234567890123456789012"), DefaultOf("12345678901234567890123456789012")],
        ),
    ];
    for (login, expected) in cases {
        match parse(login.as_bytes()) {
            Ok(found) => assert_eq!(found.collect::<Vec<_>>(), *expected, "{login}"),
            Err(why) => assert!(expected.is_empty(), "{login}: {why}"),
        }
    }
}

#[test]
fn account_and_target_may_be_longer_together_than_one_name() {
    let account = "a".repeat(96);
    let target = "t".repeat(96);
    assert_eq!(candidates(&format!("{account}+{target}")), [pair(&account, &target)]);
    assert_eq!(candidates(&format!("{account}@{target}")), [pair(&account, &target)]);
}

#[test]
fn what_is_not_a_login_name_and_why() {
    let long = "a".repeat(97);
    let longer = "a".repeat(201);
    let cases: &[(&[u8], NameError, &str)] = &[
        (b"", NameError::Empty, "is empty"),
        (long.as_bytes(), NameError::TooLong { len: 97, max: 96 }, "has 97 bytes, and 96 are the most"),
        (longer.as_bytes(), NameError::TooLong { len: 201, max: 200 }, "has 201 bytes, and 200 are the most"),
        (b"lab:x", NameError::Byte { byte: b':', at: 3 }, "has ':' at byte 3, which may not stand there"),
        (b"a b", NameError::Byte { byte: b' ', at: 1 }, "has ' ' at byte 1, which may not stand there"),
        (b"a\nb", NameError::Byte { byte: b'\n', at: 1 }, "has '\\n' at byte 1, which may not stand there"),
        (b"a\0", NameError::Byte { byte: 0, at: 1 }, "has '\\x00' at byte 1, which may not stand there"),
        (b"\xff", NameError::Byte { byte: 0xff, at: 0 }, "has '\\xff' at byte 0, which may not stand there"),
        (
            "caf\u{e9}".as_bytes(),
            NameError::Byte { byte: 0xc3, at: 3 },
            "has '\\xc3' at byte 3, which may not stand there",
        ),
        (b"../x", NameError::Byte { byte: b'/', at: 2 }, "has '/' at byte 2, which may not stand there"),
        (b"..", NameError::Start(b'.'), "starts with '.', not with a letter, a digit or '_'"),
        (b"-l", NameError::Start(b'-'), "starts with '-', not with a letter, a digit or '_'"),
        (b"@lab", NameError::Start(b'@'), "starts with '@', not with a letter, a digit or '_'"),
        (b"alice@", NameError::End(b'@'), "ends with '@'"),
        (b"a+b+c", NameError::Pluses, "has more than one '+'"),
        (b"+lab", NameError::Empty, "is empty"),
        (b"alice+", NameError::Empty, "is empty"),
        (b"+", NameError::Empty, "is empty"),
        (b"alice+-lab", NameError::Start(b'-'), "starts with '-', not with a letter, a digit or '_'"),
        (b"alice+l@b", NameError::Byte { byte: b'@', at: 7 }, "has '@' at byte 7, which may not stand there"),
        (b"alice@+lab", NameError::End(b'@'), "ends with '@'"),
        (b"0", NameError::Number, "is all digits, which programs would take for a uid"),
        (b"65534", NameError::Number, "is all digits, which programs would take for a uid"),
    ];
    for (login, why, text) in cases {
        let shown = Escaped::new(login);
        assert_eq!(LoginName::parse(login), Err(*why), "{shown}");
        assert_eq!(why.to_string(), *text, "{shown}");
    }
}

#[test]
fn every_byte_alone_and_inside() {
    for byte in 0..=u8::MAX {
        let start = byte.is_ascii_alphabetic() || byte == b'_';
        assert_eq!(parse(&[byte]).is_ok(), start, "{byte:#x} alone");
        let inside = byte.is_ascii_alphanumeric() || b"._-@+".contains(&byte);
        assert_eq!(parse(&[b'a', byte, b'b']).is_ok(), inside, "{byte:#x} inside");
        let name = [b'a', byte, b'b'];
        if let Ok(name) = str::from_utf8(&name) {
            assert_eq!(
                TargetName::try_from(name).is_ok(),
                inside && byte != b'@' && byte != b'+',
                "{byte:#x}"
            );
            assert_eq!(AccountName::try_from(name).is_ok(), inside && byte != b'+', "{byte:#x}");
        }
    }
}

#[test]
fn a_uuid_has_one_spelling() {
    let upper = UUID.to_uppercase();
    let bare = upper.replace('-', "");
    for spelling in [UUID, &upper, &bare, DIGITS] {
        assert_eq!(canonical_target(spelling), DIGITS);
        assert_eq!(TargetName::try_from(spelling).map(|name| name.to_string()).as_deref(), Ok(DIGITS));
    }
    // Nearly a UUID is a name like any other, its case kept.
    for other in [
        "6f1a2B3c-0d4e-4F5a-8b6c-7d8e9f0a1b2",  // a digit short
        "6f1a2B3c-0d4e-4F5a-8b6c-7d8e9f0a1b2g", // no hexadecimal digit
        "6f1a2B3c0-d4e-4F5a-8b6c-7d8e9f0a1b2c", // a dash astray
        "6f1a2B3c-0d4e-4F5a-8b6c7-d8e9f0a1b2c", // the last dash astray
        "6f1a2B3c0d4e4F5a8b6c7d8e9f0a1b2c0d4e", // 36 digits
        "6f1a2B3c-0d4e4F5a8b6c7d8e9f0a1b2",     // 32 bytes with a dash
        "Lab",
    ] {
        assert_eq!(canonical_target(other), other);
    }
}

#[test]
fn a_prefix_is_tried_second() {
    assert_eq!(lookups("lab", None), ["lab"]);
    assert_eq!(lookups("lab", Some("project-")), ["lab"]);
    assert_eq!(lookups("project-lab", Some("project-")), ["project-lab", "lab"]);
    assert_eq!(lookups("project-project-lab", Some("project-")), ["project-project-lab", "project-lab"]);
    assert_eq!(
        lookups(&format!("project-{UUID}"), Some("project-")),
        [format!("project-{UUID}"), DIGITS.into()]
    );
    assert_eq!(lookups(UUID, Some("project-")), [DIGITS]);
    // Nothing, or no target name, is left.
    assert_eq!(lookups("project-", Some("project-")), ["project-"]);
    assert_eq!(lookups("project-.x", Some("project-")), ["project-.x"]);
    assert_eq!(lookups("lab", Some("")), ["lab"]);

    assert_eq!(check_prefix("project-"), Ok(()));
    assert_eq!(check_prefix(""), Err(NameError::Empty));
    assert_eq!(check_prefix("-x"), Err(NameError::Start(b'-')));
    assert_eq!(check_prefix("a+"), Err(NameError::Byte { byte: b'+', at: 1 }));
    assert_eq!(check_prefix(&"p".repeat(32)), Ok(()));
    assert_eq!(check_prefix(&"p".repeat(33)), Err(NameError::TooLong { len: 33, max: 32 }));
}

#[test]
fn bytes_from_outside_are_shown_escaped_and_bounded() {
    assert_eq!(Escaped::new(b"lab").to_string(), "lab");
    assert_eq!(Escaped::new(b"a'b\x1b[31m\r\xff").to_string(), "a\\'b\\x1b[31m\\r\\xff");
    assert_eq!(Escaped::new(&[b'x'; 64]).to_string(), "x".repeat(64));
    assert_eq!(Escaped::new(&[b'x'; 65]).to_string(), "x".repeat(64) + "...");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    /// Whatever comes in, the parser ends, and what it lets through follows the grammar.
    #[test]
    fn any_bytes(login in prop::collection::vec(any::<u8>(), 0..260)) {
        check_parse(&login)?;
    }

    /// The same with bytes that nearly make names.
    #[test]
    fn nearly_names(login in "[a-z0-9A-Z@+._:-]{0,210}") {
        check_parse(login.as_bytes())?;
    }

    #[test]
    fn a_target_name_round_trips(text in "[A-Za-z0-9_][A-Za-z0-9._-]{0,95}") {
        let name = TargetName::try_from(text.as_str()).unwrap();
        prop_assert_eq!(name.as_str(), canonical_target(&text));
        prop_assert_eq!(&TargetName::try_from(name.as_str()).unwrap(), &name);
        if text.bytes().any(|byte| !byte.is_ascii_digit()) {
            prop_assert_eq!(parse(text.as_bytes()).unwrap().next(), Some(target(&text)));
        }
    }

    #[test]
    fn an_account_name_round_trips(text in "[A-Za-z0-9_]([A-Za-z0-9._@-]{0,94}[A-Za-z0-9._-])?") {
        let name = AccountName::try_from(text.as_str()).unwrap();
        prop_assert_eq!(name.as_str(), &text);
        let joined = format!("{text}+lab");
        prop_assert_eq!(candidates(&joined), vec![pair(&text, "lab")]);
    }

    #[test]
    fn canonical_is_canonical(text in "[0-9a-fA-F]{8}-?([0-9a-fA-F]{4}-?){3}[0-9a-fA-F]{12}") {
        let once = canonical_target(&text).into_owned();
        prop_assert_eq!(canonical_target(&once), once.as_str());
    }
}

fn check_parse(login: &[u8]) -> Result<(), TestCaseError> {
    let shown = Escaped::new(login).to_string();
    prop_assert!(shown.is_ascii() && !shown.bytes().any(|byte| byte.is_ascii_control()));
    match LoginName::parse(login) {
        Err(why) => {
            let text = why.to_string();
            prop_assert!(text.len() < 80 && text.bytes().all(|byte| (b' '..=b'~').contains(&byte)), "{text}");
        }
        Ok(name) => {
            prop_assert!(login.len() <= MAX_LOGIN);
            prop_assert_eq!(name.as_str().as_bytes(), login);
            let mut count = 0;
            for candidate in name.candidates() {
                count += 1;
                let written = match candidate {
                    Candidate::Target { account: None, target } => {
                        prop_assert!(TargetName::try_from(target).is_ok());
                        target.to_owned()
                    }
                    Candidate::Target { account: Some(account), target } => {
                        prop_assert!(TargetName::try_from(target).is_ok());
                        prop_assert!(AccountName::try_from(account).is_ok());
                        let joint = if name.as_str().contains('+') { '+' } else { '@' };
                        format!("{account}{joint}{target}")
                    }
                    Candidate::DefaultOf(account) => {
                        prop_assert!(AccountName::try_from(account).is_ok());
                        account.to_owned()
                    }
                };
                prop_assert_eq!(written.as_bytes(), login);
            }
            prop_assert!((1..=3).contains(&count));
        }
    }
    Ok(())
}
