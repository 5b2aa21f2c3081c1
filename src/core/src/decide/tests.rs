use std::cell::RefCell;
use std::collections::BTreeMap;

use super::*;
use crate::authority::Authorities;
use crate::certificate::tests::Draft;
use crate::may_enter::MayEnter;
use crate::public_key::PublicKey;
use crate::public_key::tests::key;
use crate::store::{Account, AccountFacts, AccountKey, GrantRow, Revocation, TargetKey};
use crate::target::{Driver, Leader, LoginUser, Policy, TcpAddress, Wake};
use crate::workspace::{Workspace, Workspaces};
use vestibule_names::login::{Candidate, TargetName};

const NOW: i64 = 1_800_000_000;

/// What there is, in words: accounts with `name[!][=DEFAULT]` (`!`: disabled), targets, and one key.
struct Fake {
    accounts: BTreeMap<String, (bool, Option<&'static str>)>,
    target: Target,
    facts: KeyFacts,
    /// For certificates.
    grants: BTreeMap<&'static str, Option<i64>>,
    authority_revoked: bool,
    managed: Result<Option<Vec<u8>>, KeyFileError>,
    own: Result<Option<Vec<u8>>, KeyFileError>,
    address: Result<HostPort, String>,
    asked: RefCell<Vec<&'static str>>,
}

fn k() -> String {
    key("ssh-ed25519", &[7; 36])
}

fn other() -> String {
    key("ssh-ed25519", &[8; 36])
}

impl Fake {
    /// The target `lab`; the accounts `alice` (who has it as default) and `bob`; a key that nobody lists.
    fn new() -> Self {
        let account = |name: &str, default| (name.to_owned(), (true, default));
        Fake {
            accounts: BTreeMap::from([account("alice", Some("lab")), account("bob", None)]),
            target: Target {
                id: TargetId(4),
                name: TargetName::try_from("lab").unwrap(),
                driver: Driver::Namespace { leader: Leader::PidFile("/run/lab.pid".into()) },
                login_user: LoginUser::Fixed("root".into()),
                home: Some("/srv/lab".into()),
                policy: Policy::default(),
            },
            facts: KeyFacts::default(),
            grants: BTreeMap::from([("alice", None)]),
            authority_revoked: false,
            managed: Ok(None),
            own: Ok(None),
            address: Err("no engine here".into()),
            asked: RefCell::default(),
        }
    }

    fn with(mut self, change: impl FnOnce(&mut Self)) -> Self {
        change(&mut self);
        self
    }

    /// The key as one of an account, with a grant.
    fn of(self, account: &str) -> Self {
        self.owned(account, "", None, Some(None))
    }

    fn owned(
        mut self,
        account: &str,
        options: &str,
        expires: Option<i64>,
        grant: Option<Option<i64>>,
    ) -> Self {
        self.facts.accounts.push(AccountKey {
            account: account.into(),
            active: self.accounts.get(account).is_none_or(|a| a.0),
            public_key: k(),
            options: options.into(),
            expires,
            grant: grant.map(|expires| GrantRow { expires }),
        });
        self
    }

    fn disabled(mut self, account: &str) -> Self {
        self.accounts.get_mut(account).unwrap().0 = false;
        if self.facts.accounts.iter().any(|key| key.account == account) {
            self.facts.disabled_owner = Some(account.into());
        }
        self
    }

    fn target_key(mut self, options: &str, expires: Option<i64>) -> Self {
        self.facts.target_keys.push(TargetKey { public_key: k(), options: options.into(), expires });
        self
    }

    fn managed(self, text: &str) -> Self {
        let file = text.replace("KEY", &k()).replace("OTHER", &other()).into_bytes();
        self.with(|f| f.managed = Ok(Some(file)))
    }

    fn own(self, text: &str) -> Self {
        let file = text.replace("KEY", &k()).replace("OTHER", &other()).into_bytes();
        self.with(|f| f.own = Ok(Some(file)))
    }

    fn user_is_account(self) -> Self {
        self.with(|f| f.target.login_user = LoginUser::Account)
    }

    fn outcome(&self, login: &str, judge: Judge) -> Outcome {
        let key = k().parse::<PublicKey>().unwrap().fingerprint();
        let clock = Clock { now: NOW, from_local: Some };
        let question = Question {
            login: login.as_bytes(),
            key,
            certificate: None,
            judge,
            clock,
            prefix: None,
            moved: false,
        };
        let world = World { facts: self, files: self, addresses: self };
        decide(&question, &world, &mut |step| assert!(!step.to_string().contains('\n'))).unwrap()
    }

    /// The same for a certificate, by an authority of which the configuration says `rest`.
    fn of_certificate(&self, login: &str, rest: &str, draft: &Draft, judge: Judge) -> Outcome {
        let certificate = draft.read().unwrap();
        let key = key("ssh-ed25519", &[&[0, 0, 0, 32][..], &[8; 32]].concat());
        let ours = format!("[staff]\nkey = \"{key}\"\n{rest}");
        let authorities: Authorities = toml::from_str(&ours).unwrap();
        let question = Question {
            login: login.as_bytes(),
            key: certificate.key,
            certificate: Some(Offered { certificate: &certificate, authorities: &authorities }),
            judge,
            clock: Clock { now: NOW, from_local: Some },
            prefix: None,
            moved: false,
        };
        let world = World { facts: self, files: self, addresses: self };
        decide(&question, &world, &mut |step| assert!(!step.to_string().contains('\n'))).unwrap()
    }

    fn ask_certified(&self, login: &str, rest: &str, draft: &Draft) -> String {
        summary(&self.of_certificate(login, rest, draft, Judge::Sshd))
    }

    /// The outcome in one line: `SOURCE[/ACCOUNT] OPTIONS`, or the reason.
    fn ask(&self, login: &str) -> String {
        summary(&self.outcome(login, Judge::Sshd))
    }

    /// The same as `route-session` asks it.
    fn ask_here(&self, login: &str, client: &str) -> String {
        summary(&self.outcome(login, Judge::Here(ClientAddress::parse(client))))
    }
}

fn summary(outcome: &Outcome) -> String {
    match outcome {
        Outcome::NotOurs => "not ours".into(),
        Outcome::Denied(denied) => denied.reason.as_str().into(),
        Outcome::Closed(closed) => {
            let lines = String::from_utf8(closed.lines()).unwrap();
            let options = lines.lines().map(|line| line.strip_suffix(&format!(" {}", k())).expect("the key"));
            format!("{}: {}", closed.reason.as_str(), options.collect::<Vec<_>>().join("; "))
        }
        Outcome::Granted(granted) => {
            let show = |line: &GrantLine| {
                let text = std::str::from_utf8(&line.text).unwrap();
                let of = line.principal.as_deref().map_or_else(k, |p| String::from_utf8(p.to_vec()).unwrap());
                let options =
                    text.strip_suffix(&format!(" {of}\n")).expect("the key's or principal's own line");
                let account = line.account.as_deref().map(|a| format!("/{a}")).unwrap_or_default();
                format!("{}{account} {options}", line.source)
            };
            granted.lines.iter().map(show).collect::<Vec<_>>().join("; ")
        }
    }
}

impl Facts for Fake {
    fn resolve(&self, login: &LoginName<'_>, _prefix: Option<&str>) -> Result<Option<Resolved>, StoreError> {
        let account = |name: &str| {
            let active = self.accounts.get(name)?.0;
            Some(Account { id: 1, name: name.into(), active })
        };
        let found = login.candidates().find_map(|candidate| match candidate {
            Candidate::Target { account: None, target: "lab" } => {
                Some(Resolved { account: None, target: self.target.clone() })
            }
            Candidate::Target { account: Some(name), target: "lab" } => {
                Some(Resolved { account: Some(account(name)?), target: self.target.clone() })
            }
            Candidate::DefaultOf(name) => {
                self.accounts.get(name)?.1?;
                Some(Resolved { account: Some(account(name)?), target: self.target.clone() })
            }
            Candidate::Target { .. } => None,
        });
        Ok(found)
    }

    fn key_facts(&self, _key: &Fingerprint, target: TargetId) -> Result<KeyFacts, StoreError> {
        assert_eq!(target, self.target.id);
        Ok(self.facts.clone())
    }

    fn account_facts(&self, name: &str, target: TargetId) -> Result<Option<AccountFacts>, StoreError> {
        assert_eq!(target, self.target.id);
        let grant = self.grants.get(name).map(|expires| GrantRow { expires: *expires });
        Ok(self.accounts.get(name).map(|(active, _)| AccountFacts { active: *active, grant }))
    }

    fn revoked(&self, _key: &Fingerprint) -> Result<Option<Revocation>, StoreError> {
        Ok(self.authority_revoked.then(|| Revocation { at: 1, reason: String::new() }))
    }
}

impl KeyFiles for Fake {
    fn managed(&self, _target: &Target) -> Result<Option<Vec<u8>>, KeyFileError> {
        self.asked.borrow_mut().push("managed");
        self.managed.clone()
    }

    fn own(&self, home: &str) -> Result<Option<Vec<u8>>, KeyFileError> {
        assert_eq!(home, "/srv/lab");
        self.asked.borrow_mut().push("own");
        self.own.clone()
    }
}

impl Addresses for Fake {
    fn container(&self, _target: TargetId) -> Result<HostPort, String> {
        self.asked.borrow_mut().push("address");
        self.address.clone()
    }
}

const PLAIN: &str = "restrict,pty";

#[test]
fn a_name_that_means_nothing_is_not_ours() {
    for login in
        ["", "root", "lab2", "carol+lab", "alice+lab2", "lab:22", "a b", "bob", "\u{e9}", &"x".repeat(4000)]
    {
        assert_eq!(Fake::new().of("alice").ask(login), "not ours", "{login}");
    }
}

#[test]
fn an_account_is_named_in_three_ways_and_its_key_opens() {
    for login in ["alice+lab", "alice@lab", "alice"] {
        assert_eq!(Fake::new().of("alice").ask(login), "account/alice restrict,pty", "{login}");
    }
    assert_eq!(Fake::new().of("bob").ask("bob+lab"), "account/bob restrict,pty");
}

#[test]
fn a_login_that_names_an_account_is_opened_by_that_accounts_keys_alone() {
    for login in ["alice+lab", "alice@lab", "alice"] {
        assert_eq!(Fake::new().of("bob").ask(login), "key-not-listed", "{login}: another account's");
        let everywhere = Fake::new().of("bob").target_key("", None).managed("KEY").own("KEY");
        assert_eq!(everywhere.ask(login), "key-not-listed", "{login}: of the target");
        assert_eq!(*everywhere.asked.borrow(), [""; 0], "{login}: no file is even read");
        assert_eq!(everywhere.of("alice").ask(login), "account/alice restrict,pty", "{login}");
    }
}

#[test]
fn a_login_that_names_a_target_is_opened_by_every_source_in_order() {
    let fake = Fake::new();
    assert_eq!(fake.ask("lab"), "key-not-listed");
    let fake = fake.own("# mine\nOTHER\nKEY me@lab\n");
    assert_eq!(fake.ask("lab"), "own:3 restrict,pty");
    let fake = fake.managed("KEY\n");
    assert_eq!(fake.ask("lab"), "managed:1 restrict,pty");
    let fake = fake.target_key("", None);
    assert_eq!(fake.ask("lab"), "target restrict,pty");
    let fake = fake.of("bob");
    assert_eq!(fake.ask("lab"), "account/bob restrict,pty");
}

#[test]
fn of_several_accounts_the_first_by_name_enters() {
    assert_eq!(Fake::new().of("alice").of("bob").ask("lab"), "account/alice restrict,pty");
    let second = Fake::new().owned("alice", "", None, None).of("bob");
    assert_eq!(second.ask("lab"), "account/bob restrict,pty", "alice has no grant");
}

#[test]
fn later_sources_are_not_asked_once_a_line_has_no_condition() {
    let fake = Fake::new().of("alice").own("KEY").managed("KEY");
    fake.ask("lab");
    assert_eq!(*fake.asked.borrow(), [""; 0]);
    let fake = Fake::new().owned("alice", "from=\"192.0.2.1\"", None, Some(None)).managed("KEY").own("KEY");
    assert_eq!(fake.ask("lab"), "account/alice restrict,pty,from=\"192.0.2.1\"; managed:1 restrict,pty");
    assert_eq!(*fake.asked.borrow(), ["managed"]);
}

#[test]
fn lines_with_conditions_are_all_given_to_sshd() {
    let fake =
        Fake::new().managed("from=\"10.*\" KEY\nexpiry-time=\"20991231Z\" KEY\nno-pty KEY\nKEY\n").own("KEY");
    let want = "managed:1 restrict,pty,from=\"10.*\"; managed:2 restrict,pty,expiry-time=\"20991231Z\"; managed:3 restrict";
    assert_eq!(fake.ask("lab"), want);
}

#[test]
fn a_revoked_key_opens_nothing_whoever_lists_it() {
    let everywhere = Fake::new().of("alice").target_key("", None).managed("KEY").own("KEY");
    let revoked = everywhere.with(|f| f.facts.revoked = Some(Revocation { at: 1, reason: "lost".into() }));
    for login in ["lab", "alice+lab", "alice"] {
        assert_eq!(revoked.ask(login), "key-revoked", "{login}");
    }
    assert_eq!(*revoked.asked.borrow(), [""; 0]);
}

#[test]
fn a_key_of_a_disabled_account_opens_nothing_whoever_else_lists_it() {
    let fake =
        Fake::new().of("alice").of("bob").target_key("", None).managed("KEY").own("KEY").disabled("bob");
    for login in ["lab", "alice+lab", "alice"] {
        assert_eq!(fake.ask(login), "owner-disabled", "{login}");
    }
    assert_eq!(fake.ask("bob+lab"), "account-disabled");
}

#[test]
fn a_disabled_account_lets_nobody_in_under_its_name() {
    let fake = Fake::new().of("bob").disabled("alice");
    assert_eq!(fake.ask("alice+lab"), "account-disabled");
    assert_eq!(fake.ask("alice"), "account-disabled");
    assert_eq!(fake.ask("lab"), "account/bob restrict,pty", "others are none of its business");
}

#[test]
fn grants_and_keys_end() {
    let live = Some(NOW + 1);
    let over = Some(NOW);
    for (expires, grant, want) in [
        (None, Some(None), "account/alice restrict,pty"),
        (live, Some(live), "account/alice restrict,pty"),
        (over, Some(None), "ended"),
        (None, Some(over), "ended"),
        (None, Some(Some(0)), "ended"),
        (None, None, "no-grant"),
        (over, None, "no-grant"),
    ] {
        let fake = Fake::new().owned("alice", "", expires, grant);
        for login in ["lab", "alice+lab", "alice"] {
            assert_eq!(fake.ask(login), want, "{login} {expires:?} {grant:?}");
        }
    }
    assert_eq!(Fake::new().target_key("", over).ask("lab"), "ended");
    assert_eq!(Fake::new().target_key("", live).ask("lab"), "target restrict,pty");
}

#[test]
fn what_has_ended_is_as_if_it_were_not_there() {
    let fake = Fake::new().owned("alice", "", Some(NOW), Some(None)).own("KEY");
    assert_eq!(fake.ask("lab"), "own:1 restrict,pty");
    assert_eq!(fake.ask("alice+lab"), "ended");
}

#[test]
fn a_target_whose_user_is_the_account_wants_exactly_one() {
    let fake = Fake::new().user_is_account();
    let files = Fake::new().user_is_account().target_key("", None).managed("KEY").own("KEY");
    assert_eq!(files.ask("lab"), "account-needed");
    assert_eq!(*files.asked.borrow(), [""; 0]);
    let fake = fake.of("alice");
    assert_eq!(fake.ask("lab"), "account/alice restrict,pty");
    let fake = fake.of("bob");
    assert_eq!(fake.ask("lab"), "ambiguous-account");
    assert_eq!(fake.ask("bob+lab"), "account/bob restrict,pty");
    assert_eq!(fake.ask("alice"), "account/alice restrict,pty");
    let ended = Fake::new().user_is_account().of("alice").owned("bob", "", None, Some(Some(NOW)));
    assert_eq!(ended.ask("lab"), "account/alice restrict,pty", "one of them has no grant any more");
    let twice = Fake::new().user_is_account().of("alice").of("alice");
    assert_eq!(twice.ask("lab"), "account/alice restrict,pty", "the same account twice is one");
}

#[test]
fn the_targets_own_file_counts_only_if_the_policy_and_a_home_allow_it() {
    let fake = Fake::new().own("KEY").with(|f| f.target.policy.own_keys = false);
    assert_eq!(
        (fake.ask("lab").as_str(), fake.asked.borrow().as_slice()),
        ("key-not-listed", &["managed"][..])
    );
    let fake = Fake::new().own("KEY").with(|f| f.target.home = None);
    assert_eq!(
        (fake.ask("lab").as_str(), fake.asked.borrow().as_slice()),
        ("key-not-listed", &["managed"][..])
    );
}

#[test]
fn a_file_that_cannot_be_read_leaves_the_others_their_say() {
    let fake = Fake::new().own("KEY").with(|f| f.managed = Err(KeyFileError::NotRegular));
    assert_eq!(fake.ask("lab"), "own:1 restrict,pty");
    let fake = Fake::new().with(|f| f.own = Err(KeyFileError::Outside));
    assert_eq!(fake.ask("lab"), "key-not-listed");
}

#[test]
fn a_line_that_is_not_allowed_is_passed_over_and_named() {
    let file = "cert-authority KEY\nenvironment=\"A=b\" KEY\ntunnel=\"0\" KEY\nprincipals=\"x\" KEY\nunheard-of KEY\n\
        command=\"a KEY\n\"\nno-pty KEY\n";
    let Outcome::Granted(granted) = Fake::new().own(file).outcome("lab", Judge::Sshd) else {
        panic!("granted")
    };
    assert_eq!(summary(&Outcome::Granted(granted.clone())), "own:8 restrict");
    let dropped: Vec<_> = granted.dropped.iter().map(LineRef::to_string).collect();
    assert_eq!(dropped, ["own:1", "own:2", "own:3", "own:4", "own:5"]);
    assert_eq!(Fake::new().own("cert-authority KEY").ask("lab"), "options");
    assert_eq!(Fake::new().owned("alice", "unheard-of", None, Some(None)).ask("alice"), "options");
    assert_eq!(Fake::new().owned("alice", "no-pty KEY", None, Some(None)).ask("alice"), "options");
}

#[test]
fn policy_and_options_narrow_each_other() {
    let no_pty = Fake::new().of("alice").with(|f| f.target.policy.pty = false);
    assert_eq!(no_pty.ask("lab"), "account/alice restrict");
    let options = "port-forwarding,agent-forwarding,no-touch-required,verify-required,permitopen=\"*:*\"";
    assert_eq!(
        Fake::new().owned("alice", options, None, Some(None)).ask("lab"),
        "account/alice restrict,pty,verify-required"
    );
}

#[test]
fn a_command_is_for_the_container() {
    let fake = Fake::new().own("command=\"say \\\"hi\\\"\" KEY");
    let Outcome::Granted(granted) = fake.outcome("lab", Judge::Sshd) else { panic!("granted") };
    assert_eq!(granted.lines[0].command.as_deref(), Some(&b"say \"hi\""[..]));
    assert_eq!(fake.ask("lab"), "own:1 restrict,pty");
}

#[test]
fn a_line_whose_time_is_over_is_passed_over() {
    let fake = Fake::new()
        .own("expiry-time=\"20200101Z\" KEY\nexpiry-time=\"20991231Z\",expiry-time=\"20200101\" KEY\n");
    assert_eq!(fake.ask("lab"), "ended");
    let fake = Fake::new().own("expiry-time=\"20200101Z\" KEY\nno-pty KEY");
    assert_eq!(fake.ask("lab"), "own:2 restrict");
}

#[test]
fn a_session_is_decided_by_the_line_that_sshd_took() {
    let fake = Fake::new()
        .own("from=\"10.0.0.0/8\",command=\"a\" KEY\nfrom=\"!192.0.2.9,192.0.2.0/24\",command=\"b\" KEY\n");
    let command = |client: &str| {
        let judge = Judge::Here(ClientAddress::parse(client));
        match fake.outcome("lab", judge) {
            Outcome::Granted(granted) => {
                assert_eq!(granted.lines.len(), 1, "{client}");
                granted.lines[0].command.clone().map(|c| String::from_utf8(c).unwrap()).unwrap()
            }
            other => summary(&other),
        }
    };
    assert_eq!(command("10.1.2.3"), "a");
    assert_eq!(command("192.0.2.1"), "b");
    assert_eq!(command("192.0.2.9"), "from");
    assert_eq!(command("nowhere"), "from", "without an address no condition holds");
    let open = Fake::new().own("from=\"10.0.0.0/8\" KEY\nno-pty KEY");
    assert_eq!(open.ask_here("lab", "192.0.2.1"), "own:2 restrict");
}

#[test]
fn the_stores_row_must_hold_the_key_that_was_asked_for() {
    let wrong = Fake::new().of("alice").with(|f| f.facts.accounts[0].public_key = other());
    assert_eq!(wrong.ask("lab"), "key-not-listed");
    let broken = Fake::new().target_key("", None).with(|f| f.facts.target_keys[0].public_key = "x".into());
    assert_eq!(broken.ask("lab"), "key-not-listed");
}

fn tcp(address: TcpAddress) -> Fake {
    Fake::new().of("alice").with(|f| f.target.driver = Driver::Tcp { address })
}

fn container() -> TcpAddress {
    TcpAddress::Container { engine: "docker".into(), container: "lab".into(), port: 22, published: false }
}

#[test]
fn a_tcp_target_may_be_forwarded_to_and_nothing_else() {
    let fixed = |host: &str| TcpAddress::Fixed { host: host.into(), port: 2222 };
    let open = |place: &str| {
        format!(
            "account/alice restrict,pty,port-forwarding,permitopen=\"{place}\",permitlisten=\"none.invalid:1\""
        )
    };
    assert_eq!(tcp(fixed("node.example")).ask("lab"), open("node.example:2222"));
    assert_eq!(tcp(fixed("fd00::1")).ask("lab"), open("[fd00::1]:2222"));
    assert_eq!(tcp(fixed("no\"host")).ask("lab"), "account/alice restrict,pty");
    let found = tcp(container()).with(|f| f.address = Ok(HostPort::new("172.17.0.2", 22).unwrap()));
    assert_eq!(found.ask("lab"), open("172.17.0.2:22"));
    assert_eq!(tcp(container()).ask("lab"), "account/alice restrict,pty", "the engine does not say where");
}

#[test]
fn an_engine_is_asked_once_and_only_if_the_answer_counts() {
    let fake =
        tcp(container()).with(|f| f.facts.accounts[0].options = b"from=\"10.*\"".to_vec()).managed("KEY");
    fake.ask("lab");
    assert_eq!(*fake.asked.borrow(), ["address", "managed"]);
    let fake = tcp(container());
    assert_eq!(fake.ask_here("lab", "192.0.2.1"), "account/alice restrict,pty");
    assert_eq!(*fake.asked.borrow(), [""; 0], "sshd has had its line");
    let fake = tcp(container()).with(|f| f.facts.accounts[0].options = b"restrict".to_vec());
    assert_eq!(fake.ask("lab"), "account/alice restrict");
    assert_eq!(*fake.asked.borrow(), [""; 0]);
}

#[test]
fn a_command_for_a_tcp_target_opens_nothing() {
    let fixed = TcpAddress::Fixed { host: "h".into(), port: 1 };
    let fake = tcp(fixed).with(|f| f.facts.accounts[0].options = b"command=\"x\"".to_vec());
    assert_eq!(fake.ask("lab"), "options");
}

#[test]
fn a_store_that_fails_is_an_error_and_no_grant() {
    struct Broken;
    impl Facts for Broken {
        fn resolve(&self, _: &LoginName<'_>, _: Option<&str>) -> Result<Option<Resolved>, StoreError> {
            Err(StoreError::Missing { path: "/nowhere".into() })
        }
        fn key_facts(&self, _: &Fingerprint, _: TargetId) -> Result<KeyFacts, StoreError> {
            unreachable!()
        }
        fn account_facts(&self, _: &str, _: TargetId) -> Result<Option<AccountFacts>, StoreError> {
            unreachable!()
        }
        fn revoked(&self, _: &Fingerprint) -> Result<Option<Revocation>, StoreError> {
            unreachable!()
        }
    }
    let fake = Fake::new().own("KEY");
    let clock = Clock { now: NOW, from_local: Some };
    let question = Question {
        login: b"lab",
        key: Fingerprint([0; 32]),
        certificate: None,
        judge: Judge::Sshd,
        clock,
        prefix: None,
        moved: false,
    };
    let world = World { facts: &Broken, files: &fake, addresses: &fake };
    assert!(decide(&question, &world, &mut |_| {}).is_err());
    assert_eq!(*fake.asked.borrow(), [""; 0]);
}

#[test]
fn the_plain_line_is_the_shortest() {
    let Outcome::Granted(granted) = Fake::new().of("alice").outcome("alice", Judge::Sshd) else {
        panic!("granted")
    };
    assert_eq!(granted.lines[0].text, format!("{PLAIN} {}\n", k()).into_bytes());
}

#[test]
fn who_may_enter_a_target_that_is_closed_to_everybody_is_let_in_to_be_told() {
    let workspaces =
        |text: &str| -> Workspaces { serde_json::from_str(text).unwrap_or_else(|_| panic!("{text}")) };
    let studio = |workspace: Option<&str>, running: bool, wake: Wake| {
        Fake::new().owned("alice", "from=\"10.0.0.0/8\"", None, Some(None)).of("alice").with(|f| {
            f.target.driver =
                Driver::Tcp { address: TcpAddress::Fixed { host: "198.51.100.7".into(), port: 2222 } };
            f.target.policy.workspace = workspace.map(|name| Workspace::try_from(name).unwrap());
            f.target.policy.running = running;
            f.target.policy.wake = wake;
        })
    };
    let open = "account/alice restrict,pty,port-forwarding,permitopen=\"198.51.100.7:2222\",\
        permitlisten=\"none.invalid:1\"";
    let open = open.replace("        ", "");
    let granted = format!("{open},from=\"10.0.0.0/8\"; {open}");
    let bare = "restrict,pty,from=\"10.0.0.0/8\"; restrict,pty";
    let table = [
        (None, true, Wake::None, "null", granted.clone()),
        (None, false, Wake::None, "\"all\"", format!("not-running: {bare}")),
        (None, false, Wake::Hub, "\"all\"", granted.clone()),
        (Some("12345"), true, Wake::None, "null", format!("workspace: {bare}")),
        (Some("12345"), true, Wake::None, "\"none\"", format!("workspace: {bare}")),
        (Some("12345"), true, Wake::None, "[67890]", format!("workspace: {bare}")),
        (Some("12345"), true, Wake::None, "[67890,12345]", granted.clone()),
        (Some("12345"), true, Wake::None, "\"all\"", granted.clone()),
        (Some("12345"), false, Wake::None, "\"none\"", format!("workspace: {bare}")),
        (Some("12345"), false, Wake::None, "\"all\"", format!("not-running: {bare}")),
        (None, true, Wake::None, "[67890]", granted),
    ];
    for (workspace, running, wake, said, wanted) in table {
        let fake = studio(workspace, running, wake);
        let said_words = if said == "null" { Workspaces::default() } else { workspaces(said) };
        let may = MayEnter { workspaces: said_words, ..MayEnter::default() };
        let outcome = fake.outcome("alice@lab", Judge::Sshd).held_to(&may);
        assert_eq!(summary(&outcome), wanted, "{workspace:?} {running} {said}");
        // Who has no grant learns nothing of it.
        let outcome = fake.outcome("bob@lab", Judge::Sshd).held_to(&may);
        assert_eq!(summary(&outcome), "key-not-listed", "{workspace:?} {running} {said}");
    }
}

mod certificates;
