use super::*;

fn is_for(principals: &[&str]) -> Draft {
    Draft::of(principals)
}

const TARGETS: &str = "targets = [\"target:{target}\"]\n";

#[test]
fn a_principal_that_is_an_account_opens_what_the_account_has_a_grant_for() {
    let fake = Fake::new();
    for login in ["lab", "alice+lab", "alice@lab", "alice"] {
        let granted = fake.ask_certified(login, "", &is_for(&["x", "alice"]));
        assert_eq!(granted, "certificate/alice restrict,pty", "{login}");
    }
    assert_eq!(fake.ask_certified("lab", "", &is_for(&["bob"])), "no-grant");
    assert_eq!(fake.ask_certified("bob+lab", "", &is_for(&["alice"])), "key-not-listed");
    assert_eq!(fake.ask_certified("lab", "", &is_for(&["nobody", "", "lab", "al ice"])), "key-not-listed");
    assert_eq!(fake.ask_certified("lab", "", &is_for(&[])), "key-not-listed");
    let disabled = Fake::new().disabled("alice");
    assert_eq!(disabled.ask_certified("lab", "", &is_for(&["alice"])), "account-disabled");
    let ended = Fake::new().with(|f| f.grants.extend([("alice", Some(NOW))]));
    assert_eq!(ended.ask_certified("alice", "", &is_for(&["alice"])), "ended");
}

#[test]
fn lists_of_keys_say_nothing_of_certificates() {
    let listed = Fake::new().of("alice").target_key("", None).managed("KEY").own("cert-authority KEY\nKEY");
    assert_eq!(listed.ask_certified("lab", "", &is_for(&["bob"])), "no-grant");
    assert_eq!(*listed.asked.borrow(), [""; 0], "no file is even read");
}

#[test]
fn an_authority_has_to_be_named_and_says_what_the_operator_lets_it_say() {
    let fake = Fake::new();
    let draft = is_for(&["target:lab", "alice"]);
    assert_eq!(
        fake.ask_certified("lab", TARGETS, &draft),
        "certificate/alice restrict,pty",
        "accounts first"
    );
    let draft = is_for(&["target:lab", "bob"]);
    assert_eq!(fake.ask_certified("lab", TARGETS, &draft), "certificate restrict,pty");
    assert_eq!(fake.ask_certified("lab", "", &draft), "no-grant");
    assert_eq!(
        fake.ask_certified("alice+lab", TARGETS, &draft),
        "key-not-listed",
        "the login names an account"
    );
    let own = Fake::new().user_is_account();
    assert_eq!(own.ask_certified("lab", TARGETS, &is_for(&["target:lab"])), "account-needed");
    let other = is_for(&["alice"]).read().unwrap();
    let question = Question {
        login: b"lab",
        key: other.key,
        certificate: Some(Offered { certificate: &other, authorities: &Authorities::new() }),
        judge: Judge::Sshd,
        clock: Clock { now: NOW, from_local: Some },
        prefix: None,
        moved: false,
    };
    let world = World { facts: &fake, files: &fake, addresses: &fake };
    assert_eq!(summary(&decide(&question, &world, &mut |_| {}).unwrap()), "authority");
}

#[test]
fn a_certificate_for_two_accounts_is_ambiguous_where_one_has_to_be_somebody() {
    let both = Fake::new().user_is_account().with(|f| f.grants.extend([("bob", None)]));
    let draft = is_for(&["bob", "alice", "bob"]);
    assert_eq!(both.ask_certified("lab", "", &draft), "ambiguous-account");
    assert_eq!(both.ask_certified("bob+lab", "", &draft), "certificate/bob restrict,pty");
    let fixed = Fake::new().with(|f| f.grants.extend([("bob", None)]));
    assert_eq!(
        fixed.ask_certified("lab", "", &draft),
        "certificate/bob restrict,pty",
        "the first that opens"
    );
}

#[test]
fn what_is_revoked_or_over_opens_nothing_by_certificate() {
    let draft = is_for(&["alice"]);
    let revoked = Fake::new().with(|f| f.facts.revoked = Some(Revocation { at: 1, reason: String::new() }));
    assert_eq!(revoked.ask_certified("lab", "", &draft), "key-revoked", "the key that it is over");
    let owner = Fake::new().with(|f| f.facts.disabled_owner = Some("bob".into()));
    assert_eq!(owner.ask_certified("lab", "", &draft), "owner-disabled");
    let authority = Fake::new().with(|f| f.authority_revoked = true);
    assert_eq!(authority.ask_certified("lab", "", &draft), "authority-revoked");
    let now = u64::try_from(NOW).unwrap();
    for (from, until, want) in [
        (now, now + 1, "certificate/alice restrict,pty"),
        (now + 1, now + 2, "ended"),
        (0, now, "ended"),
        (u64::MAX, u64::MAX, "ended"),
    ] {
        let draft = Draft { from, until, ..is_for(&["alice"]) };
        assert_eq!(Fake::new().ask_certified("lab", "", &draft), want, "{from} {until}");
    }
}

#[test]
fn a_certificate_only_narrows() {
    let text =
        |value: &str| [&u32::try_from(value.len()).unwrap().to_be_bytes()[..], value.as_bytes()].concat();
    let fake = Fake::new();
    let draft = |critical, extensions| Draft { critical, extensions, ..is_for(&["alice"]) };
    assert_eq!(fake.ask_certified("lab", "", &draft(vec![], vec![])), "certificate/alice restrict");
    let all = vec![
        "permit-X11-forwarding",
        "permit-agent-forwarding",
        "permit-port-forwarding",
        "permit-pty",
        "permit-user-rc",
    ];
    assert_eq!(fake.ask_certified("lab", "", &draft(vec![], all)), "certificate/alice restrict,pty");
    let forced = draft(vec![("force-command", text("say \"hi\"\n"))], vec![]);
    let Outcome::Granted(granted) = fake.of_certificate("lab", "", &forced, Judge::Sshd) else {
        panic!("granted")
    };
    assert_eq!(granted.lines[0].text, b"restrict alice\n");
    assert_eq!(granted.lines[0].command.as_deref(), Some(&b"say \"hi\"\n"[..]));
    let verified = draft(vec![("verify-required", vec![])], vec![]);
    assert_eq!(fake.ask_certified("lab", "", &verified), "certificate/alice restrict,verify-required");
    let near = draft(vec![("source-address", text("10.0.0.0/8"))], vec![]);
    assert_eq!(fake.ask_certified("lab", "", &near), "certificate/alice restrict", "sshd looks itself");
    let here = |client| Judge::Here(ClientAddress::parse(client));
    assert_eq!(summary(&fake.of_certificate("lab", "", &near, here("192.0.2.1"))), "from");
    assert!(matches!(fake.of_certificate("lab", "", &near, here("10.1.2.3")), Outcome::Granted(_)));
    let address = TcpAddress::Fixed { host: "h".into(), port: 1 };
    let bytes = Fake::new().with(|f| f.target.driver = Driver::Tcp { address });
    assert_eq!(bytes.ask_certified("lab", "", &forced), "options", "there is nothing to run a command");
}
