use std::path::PathBuf;

use vestibule_names::login::TargetName;

use super::*;
use crate::public_key::PublicKey;
use crate::store::{ChangeError, Changes, NewKey, NewTarget, Owner, Writer};
use crate::target::{Driver, LoginUser, Policy};

const KEY: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAABAgMEBQYHCAkKCwwNDg8QERITFBUWFxgZGhscHR4f";

struct Place {
    dir: tempfile::TempDir,
    case: Case,
}

fn key() -> PublicKey {
    PublicKey::read(KEY.as_bytes()).unwrap().0
}

fn new_key(owner: Owner, options: &[u8], expires: Option<i64>) -> NewKey {
    let key = key();
    NewKey {
        fingerprint: key.fingerprint(),
        key_type: key.key_type().to_owned(),
        blob: key.blob().to_vec(),
        options: options.to_vec(),
        comment: Vec::new(),
        owner,
        expires,
    }
}

fn target(policy: Policy) -> NewTarget {
    NewTarget {
        name: TargetName::try_from("lab").unwrap(),
        aliases: Vec::new(),
        driver: serde_json::from_str::<Driver>(r#"{"driver":"docker","container":"lab"}"#).unwrap(),
        login_user: LoginUser::from("ada"),
        home: Some("/srv/lab".to_owned()),
        policy,
    }
}

fn ada() -> AccountName {
    AccountName::try_from("ada").unwrap()
}

impl Place {
    /// A store in which ada's key opens lab.
    fn new(source: Source) -> Place {
        let dir = tempfile::tempdir().unwrap();
        let (store, index) = (dir.path().join("store.db"), dir.path().join("names.idx"));
        let (mut writer, _) = Writer::init(&store, &index, None).unwrap();
        let id = writer
            .change(|changes| {
                let lab = changes.add_target(&target(Policy::default()), "local")?;
                let ada = changes.add_account(&ada(), "local")?;
                changes.grant(ada, lab, None, "local")?;
                let owner = if source == Source::Target { Owner::Target(lab) } else { Owner::Account(ada) };
                changes.add_key(&new_key(owner, b"", None), "local")?;
                Ok::<_, ChangeError>(lab)
            })
            .unwrap();
        let case = Case {
            id: "k3jd92".to_owned(),
            target: id,
            account: (source == Source::Account).then(ada),
            proof: Proof::Key(key().fingerprint()),
            source,
            client: Some("192.0.2.1".to_owned()),
        };
        Place { dir, case }
    }

    fn store(&self) -> PathBuf {
        self.dir.path().join("store.db")
    }

    fn change(&self, make: impl FnOnce(&mut Changes<'_>, &Case) -> Result<(), ChangeError>) {
        let index = self.dir.path().join("names.idx");
        let mut writer = Writer::open(&self.store(), &index, None).unwrap();
        writer.change(|changes| make(changes, &self.case)).unwrap();
    }

    fn verdict(&self) -> Verdict {
        self.case.judge(&self.dir.path().join("none.toml"), &self.store())
    }

    /// The verdict's word after a change that its listener must have heard of.
    fn after(&self, make: impl FnOnce(&mut Changes<'_>, &Case) -> Result<(), ChangeError>) -> (bool, String) {
        let mut listener = crate::store::Listener::new(&self.store());
        self.change(make);
        let heard = listener.hear(&self.case.tokens());
        let word = match self.verdict() {
            Verdict::Stays(_) => "stays".to_owned(),
            Verdict::Unknown(why) => format!("unknown: {why}"),
            Verdict::Over { reason, .. } => reason,
        };
        (heard.everything || heard.these.contains(&true), word)
    }
}

fn now() -> i64 {
    time::now()
}

#[test]
fn what_let_it_in_is_taken_away() {
    let place = || Place::new(Source::Account);
    type Change = fn(&mut Changes<'_>, &Case) -> Result<(), ChangeError>;
    let table: [(&str, Change); 12] = [
        ("key-revoked", |c, case| c.revoke(case.proof.key(), "lost").map(drop)),
        ("key-not-listed", |c, case| {
            let ids = c.keys_of(case.proof.key(), None)?;
            ids.into_iter().try_for_each(|id| c.remove_key(id))
        }),
        ("account-disabled", |c, _| c.set_active("ada", false).map(drop)),
        ("account-gone", |c, _| c.remove_account("ada")),
        ("no-grant", |c, case| {
            let ada = c.account_id("ada")?;
            c.ungrant(ada, case.target).map(drop)
        }),
        ("ended", |c, case| {
            let ada = c.account_id("ada")?;
            c.grant(ada, case.target, Some(now() - 1), "local").map(drop)
        }),
        ("target-gone", |c, case| c.remove_target(case.target)),
        ("owner-disabled", |c, case| {
            let name = AccountName::try_from("eve").unwrap();
            let eve = c.add_account(&name, "local")?;
            c.add_key(&new_key(Owner::Account(eve), b"", None), "local")?;
            let _ = case;
            c.set_active("eve", false).map(drop)
        }),
        ("from", |c, case| narrow(c, case, b"from=\"198.51.100.7\"")),
        ("ended", |c, case| narrow(c, case, b"expiry-time=\"20200101Z\"")),
        ("stays", |c, case| narrow(c, case, b"no-pty")),
        ("stays", |c, case| {
            c.set_target(case.target, &target(Policy { revoked: Revoked::Keep, ..Policy::default() }))?;
            c.revoke(case.proof.key(), "").map(drop)
        }),
    ];
    for (n, (reason, change)) in table.into_iter().enumerate() {
        let place = place();
        assert_eq!(place.verdict(), Verdict::Stays(None), "{n}");
        assert_eq!(place.after(change), (true, reason.to_owned()), "{n}");
    }
}

fn narrow(c: &mut Changes<'_>, case: &Case, options: &[u8]) -> Result<(), ChangeError> {
    for id in c.keys_of(case.proof.key(), None)? {
        c.remove_key(id)?;
    }
    let ada = c.account_id("ada")?;
    c.add_key(&new_key(Owner::Account(ada), options, None), "local").map(drop)
}

#[test]
fn what_is_others_own_is_not_heard_of() {
    let place = Place::new(Source::Account);
    let (heard, word) = place.after(|c, case| {
        let bob = c.add_account(&AccountName::try_from("bob").unwrap(), "local")?;
        c.grant(bob, case.target, Some(1), "local")?;
        c.set_active("bob", false)?;
        c.remove_account("bob")
    });
    assert_eq!((heard, word.as_str()), (false, "stays"));
}

#[test]
fn a_key_of_the_target_and_one_of_its_own_file() {
    let gone = |c: &mut Changes<'_>, case: &Case| {
        c.keys_of(case.proof.key(), None)?.into_iter().try_for_each(|id| c.remove_key(id))
    };
    assert_eq!(Place::new(Source::Target).after(gone), (true, "key-not-listed".to_owned()));
    let mut own = Place::new(Source::Account);
    own.case.source = Source::Own;
    own.case.account = None;
    assert_eq!(own.after(gone), (true, "stays".to_owned()));
    assert_eq!(
        own.after(|c, case| c.revoke(case.proof.key(), "").map(drop)),
        (true, "key-revoked".to_owned())
    );
}

#[test]
fn the_next_end_is_known() {
    let place = Place::new(Source::Account);
    let (grant, key) = (now() + 500, now() + 300);
    place.change(|c, case| {
        let ada = c.account_id("ada")?;
        c.grant(ada, case.target, Some(grant), "local").map(drop)
    });
    assert_eq!(place.verdict(), Verdict::Stays(Some(grant)));
    place.change(|c, case| {
        for id in c.keys_of(case.proof.key(), None)? {
            c.remove_key(id)?;
        }
        let ada = c.account_id("ada")?;
        c.add_key(&new_key(Owner::Account(ada), b"", Some(key)), "local").map(drop)
    });
    assert_eq!(place.verdict(), Verdict::Stays(Some(key)));
    place.change(|c, case| narrow(c, case, b"expiry-time=\"20380101Z\""));
    assert_eq!(place.verdict(), Verdict::Stays(Some(grant.min(2_145_916_801))));
}

#[test]
fn what_is_not_known_ends_nothing() {
    let place = Place::new(Source::Account);
    place.change(|c, case| c.revoke(case.proof.key(), "").map(drop));
    assert!(matches!(place.verdict(), Verdict::Over { loss: Loss::Taken, .. }));
    std::fs::write(place.store(), "no store").unwrap();
    assert!(matches!(place.verdict(), Verdict::Unknown(_)));
    std::fs::remove_file(place.store()).unwrap();
    assert!(matches!(place.verdict(), Verdict::Unknown(_)));
}

#[test]
fn a_verdict_survives_its_way() {
    let over = |loss| Verdict::Over { loss, reason: "ended".to_owned(), cause: "why".to_owned() };
    for verdict in [
        Verdict::Stays(None),
        Verdict::Stays(Some(7)),
        Verdict::Unknown("why".to_owned()),
        over(Loss::Taken),
        over(Loss::Ended),
    ] {
        assert_eq!(Verdict::of_fields(&verdict.to_fields()), verdict);
    }
    assert!(matches!(Verdict::of_fields(&[b"over".to_vec()]), Verdict::Unknown(_)));
    assert!(matches!(Verdict::of_fields(&[]), Verdict::Unknown(_)));
}

/// ada is inside by a certificate, and the configuration names its authority.
fn certified(until: Option<i64>) -> (Place, PathBuf) {
    let mut place = Place::new(Source::Account);
    let authority = PublicKey::read(AUTHORITY.as_bytes()).unwrap().0;
    place.case.source = Source::Certificate;
    place.case.proof = Proof::Certificate(Box::new(Certified {
        key: Fingerprint([9; 32]),
        authority: authority.fingerprint(),
        serial: 7,
        until,
        principal: b"user:ada".to_vec(),
        id: b"laptop".to_vec(),
    }));
    let config = place.dir.path().join("vestibule.toml");
    configure(&config, "user:{account}");
    (place, config)
}

fn configure(config: &Path, accounts: &str) {
    std::fs::write(
        config,
        format!("[authority.staff]\nkey = \"{AUTHORITY}\"\naccounts = [\"{accounts}\"]\n"),
    )
    .unwrap();
}

const AUTHORITY: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIF3sq8zyqC3Xd5+F2SZRpIJtzFn2V4gMEHrUwHhEDdXa";

#[test]
fn what_let_in_by_a_certificate_is_taken_away() {
    type Change = fn(&mut Changes<'_>, &Case) -> Result<(), ChangeError>;
    let table: [(&str, Change); 7] = [
        ("key-revoked", |c, case| c.revoke(case.proof.key(), "").map(drop)),
        ("authority-revoked", |c, _| {
            let authority = PublicKey::read(AUTHORITY.as_bytes()).unwrap().0;
            c.revoke(&authority.fingerprint(), "").map(drop)
        }),
        ("account-disabled", |c, _| c.set_active("ada", false).map(drop)),
        ("account-gone", |c, _| c.remove_account("ada")),
        ("no-grant", |c, case| {
            let ada = c.account_id("ada")?;
            c.ungrant(ada, case.target).map(drop)
        }),
        ("ended", |c, case| {
            let ada = c.account_id("ada")?;
            c.grant(ada, case.target, Some(now() - 1), "local").map(drop)
        }),
        ("stays", |c, _| {
            let ada = key().fingerprint();
            let ids = c.keys_of(&ada, None)?;
            ids.into_iter().try_for_each(|id| c.remove_key(id))
        }),
    ];
    for (n, (reason, change)) in table.into_iter().enumerate() {
        let (place, config) = certified(None);
        assert_eq!(place.case.judge(&config, &place.store()), Verdict::Stays(None), "{n}");
        let mut listener = crate::store::Listener::new(&place.store());
        place.change(change);
        let heard = listener.hear(&place.case.tokens());
        assert_eq!(heard.everything || heard.these.contains(&true), reason != "stays", "{n}");
        let word = match place.case.judge(&config, &place.store()) {
            Verdict::Over { reason, .. } => reason,
            other => other.to_fields().first().map(|f| String::from_utf8_lossy(f).into_owned()).unwrap(),
        };
        assert_eq!(word, reason, "{n}");
    }
}

#[test]
fn a_certificate_ends_and_so_does_what_its_authority_may_say() {
    let (place, config) = certified(Some(now() + 300));
    let Verdict::Stays(Some(until)) = place.case.judge(&config, &place.store()) else { panic!("stays") };
    assert!((now() + 290..=now() + 300).contains(&until));
    configure(&config, "{account}@example.org");
    let verdict = place.case.judge(&config, &place.store());
    assert!(matches!(verdict, Verdict::Over { reason, .. } if reason == "key-not-listed"));
    std::fs::write(&config, "").unwrap();
    let verdict = place.case.judge(&config, &place.store());
    assert!(matches!(verdict, Verdict::Over { reason, .. } if reason == "authority"));
    let (place, config) = certified(Some(now() - 1));
    let verdict = place.case.judge(&config, &place.store());
    assert!(matches!(verdict, Verdict::Over { loss: Loss::Ended, .. }));
}
