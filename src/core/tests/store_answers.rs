//! What the store answers, what it refuses, and what an answer costs.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test ends by panicking"
)]

use std::fs;
use std::ops::ControlFlow;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use rusqlite::Connection;
use vestibule::fingerprint::Fingerprint;
use vestibule::names::index::{Index, Kind};
use vestibule::names::login::{AccountName, TargetName, parse};
use vestibule::store::{
    ChangeError, GrantRow, KeyFilter, NewKey, NewTarget, Owner, Store, StoreError, VERSION, Writer,
};
use vestibule::target::{Driver, Leader, LoginUser, Policy, TargetId};

struct Place {
    dir: tempfile::TempDir,
}

impl Place {
    fn new() -> Place {
        let place = Place { dir: tempfile::tempdir().unwrap() };
        Writer::init(&place.store(), &place.index(), None).unwrap();
        place
    }

    fn store(&self) -> PathBuf {
        self.dir.path().join("store.db")
    }

    fn index(&self) -> PathBuf {
        self.dir.path().join("names.idx")
    }

    fn change<T>(
        &self,
        make: impl FnOnce(&mut vestibule::store::Changes<'_>) -> Result<T, ChangeError>,
    ) -> Result<T, ChangeError> {
        Writer::open(&self.store(), &self.index(), None)?.change(make)
    }

    fn read(&self) -> Store {
        Store::open_read(&self.store()).unwrap()
    }

    fn knows(&self, kind: Kind, name: &str) -> bool {
        Index::open(self.index()).unwrap().contains(kind, name).unwrap()
    }
}

fn account(name: &str) -> AccountName {
    AccountName::try_from(name).unwrap()
}

fn target(name: &str, aliases: &[&str]) -> NewTarget {
    NewTarget {
        name: TargetName::try_from(name).unwrap(),
        aliases: aliases.iter().map(|alias| TargetName::try_from(*alias).unwrap()).collect(),
        driver: Driver::Namespace { leader: Leader::PidFile("/run/lab.pid".into()) },
        login_user: LoginUser::Account,
        home: Some("/srv/lab".into()),
        policy: Policy { pty: false, ..Policy::default() },
    }
}

fn key(number: u8, owner: Owner) -> NewKey {
    NewKey {
        fingerprint: Fingerprint([number; 32]),
        key_type: "ssh-ed25519".into(),
        blob: vec![number; 51],
        options: b"from=\"10.0.0.0/8\"".to_vec(),
        comment: b"\xff laptop".to_vec(),
        owner,
        expires: None,
    }
}

/// lab (alias workshop) and 123e4567... (a UUID); alice with a key, a grant for lab and lab as her default; bob, disabled,
/// with a key of his own and alice's too.
fn filled() -> (Place, TargetId) {
    let place = Place::new();
    let lab = place
        .change(|changes| {
            let lab = changes.add_target(&target("lab", &["workshop"]), "local")?;
            changes.add_target(&target("123E4567-e89b-12d3-a456-426614174000", &[]), "local")?;
            let alice = changes.add_account(&account("alice"), "local")?;
            let bob = changes.add_account(&account("bob"), "hub")?;
            changes.set_active("bob", false)?;
            changes.set_default("alice", Some(lab))?;
            changes.grant(alice, lab, Some(1_000), "local")?;
            changes.add_key(&key(1, Owner::Account(alice)), "local")?;
            changes.add_key(&key(2, Owner::Account(bob)), "hub")?;
            changes.add_key(&key(3, Owner::Target(lab)), "local")?;
            Ok(lab)
        })
        .unwrap();
    (place, lab)
}

#[test]
fn a_login_name_means_the_first_that_exists() {
    let (place, lab) = filled();
    let store = place.read();
    let means = |login: &str, prefix| {
        let found = store.resolve(parse(login.as_bytes()).unwrap(), prefix).unwrap();
        found.map(|found| (found.target.id, found.account.map(|account| account.name)))
    };
    let alice = Some("alice".to_owned());
    assert_eq!(means("lab", None), Some((lab, None)));
    assert_eq!(means("workshop", None), Some((lab, None)));
    assert_eq!(means("alice", None), Some((lab, alice.clone())));
    assert_eq!(means("alice+lab", None), Some((lab, alice.clone())));
    assert_eq!(means("alice@workshop", None), Some((lab, alice)));
    assert_eq!(means("bob", None), None, "no default target");
    assert_eq!(means("nobody+lab", None), None);
    assert_eq!(means("alice+nowhere", None), None);
    assert_eq!(means("project-lab", None), None);
    assert_eq!(means("project-lab", Some("project-")), Some((lab, None)));
    for uuid in ["123e4567e89b12d3a456426614174000", "123E4567-E89B-12D3-A456-426614174000"] {
        assert!(means(uuid, None).is_some(), "{uuid}");
    }
    let found = store.resolve(parse(b"lab").unwrap(), None).unwrap().unwrap().target;
    let wanted = target("lab", &[]);
    assert_eq!((found.driver, found.login_user, found.home), (wanted.driver, wanted.login_user, wanted.home));
    assert!(!found.policy.pty && found.policy.own_keys);
}

#[test]
fn an_accounts_own_target_of_a_name_goes_before_another_of_that_name() {
    let (place, lab) = filled();
    let means = |login: &str| {
        let found = place.read().resolve(parse(login.as_bytes()).unwrap(), Some("project-")).unwrap();
        found.map(|found| found.target.id)
    };
    assert_eq!(means("alice+lab"), Some(lab));
    let own = place.change(|changes| changes.add_target(&target("alice--lab", &[]), "hub")).unwrap();
    let two = place.change(|changes| changes.add_target(&target("alice--my-2dlab", &[]), "hub")).unwrap();
    for login in ["alice+lab", "alice@lab", "alice+LAB", "alice+alice--lab", "alice+project-alice--lab"] {
        assert_eq!(means(login), Some(own), "{login}");
    }
    assert_eq!(means("alice+my-lab"), Some(two));
    for login in ["lab", "bob+lab", "alice+project-lab"] {
        assert_eq!(means(login), Some(lab), "{login}");
    }
    assert_eq!(means("nobody+lab"), None);
    assert_eq!(means("bob+my-lab"), None);
}

#[test]
fn all_that_is_known_of_a_key_is_told() {
    let (place, lab) = filled();
    let store = place.read();
    let facts = store.key_facts(&Fingerprint([1; 32]), lab).unwrap();
    let [alice] = facts.accounts.as_slice() else { panic!("{facts:?}") };
    assert_eq!((alice.account.as_str(), alice.active), ("alice", true));
    assert_eq!(alice.grant, Some(GrantRow { expires: Some(1_000) }));
    assert_eq!(alice.options, b"from=\"10.0.0.0/8\"");
    assert!(alice.public_key.starts_with("ssh-ed25519 AQEBAQ"));
    assert!(facts.target_keys.is_empty() && facts.disabled_owner.is_none() && facts.revoked.is_none());

    let facts = store.key_facts(&Fingerprint([2; 32]), lab).unwrap();
    assert_eq!(facts.disabled_owner.as_deref(), Some("bob"));
    assert_eq!(facts.accounts[0].grant, None);

    assert_eq!(store.key_facts(&Fingerprint([3; 32]), lab).unwrap().target_keys.len(), 1);
    assert!(store.key_facts(&Fingerprint([3; 32]), TargetId(lab.0 + 1)).unwrap().target_keys.is_empty());
    assert_eq!(store.key_facts(&Fingerprint([9; 32]), lab).unwrap(), Default::default());

    assert!(store.grant_alive("alice", lab, 999).unwrap());
    assert!(!store.grant_alive("alice", lab, 1_000).unwrap(), "over");
    assert!(!store.grant_alive("bob", lab, 0).unwrap());
}

#[test]
fn a_revocation_outlives_the_key() {
    let (place, lab) = filled();
    let first = Fingerprint([1; 32]);
    place.change(|changes| changes.revoke(&first, "laptop lost")).unwrap();
    assert!(!place.change(|changes| changes.revoke(&first, "again")).unwrap());
    place.change(|changes| changes.remove_account("alice")).unwrap();
    let facts = place.read().key_facts(&first, lab).unwrap();
    assert!(facts.accounts.is_empty());
    assert_eq!(facts.revoked.unwrap().reason, "laptop lost");
    place.change(|changes| changes.unrevoke(&first)).unwrap();
    assert_eq!(place.read().revocation(&first).unwrap(), None);
    assert!(matches!(place.change(|changes| changes.unrevoke(&first)), Err(ChangeError::Unknown { .. })));
}

#[test]
fn the_index_of_names_follows_every_change() {
    let (place, lab) = filled();
    assert!(place.knows(Kind::Target, "lab") && place.knows(Kind::Target, "workshop"));
    assert!(place.knows(Kind::Account, "alice") && place.knows(Kind::Default, "alice"));
    assert!(place.knows(Kind::Account, "bob") && !place.knows(Kind::Default, "bob"));

    place.change(|changes| changes.set_target(lab, &target("lab2", &["lab"]))).unwrap();
    assert!(place.knows(Kind::Target, "lab2") && place.knows(Kind::Target, "lab"));
    assert!(!place.knows(Kind::Target, "workshop"));

    place.change(|changes| changes.remove_target(lab)).unwrap();
    assert!(!place.knows(Kind::Target, "lab") && !place.knows(Kind::Target, "lab2"));
    assert!(!place.knows(Kind::Default, "alice"), "her default target is gone");
    assert!(place.knows(Kind::Account, "alice"));
    place.change(|changes| changes.remove_account("alice")).unwrap();
    assert!(!place.knows(Kind::Account, "alice"));

    // A change that ends in an error leaves no name behind, and one that takes and gives a name keeps it.
    let failed = place.change(|changes| {
        changes.add_account(&account("carol"), "local")?;
        changes.add_account(&account("bob"), "local")
    });
    assert!(matches!(failed, Err(ChangeError::Exists { .. })));
    assert!(!place.knows(Kind::Account, "carol"));
    place
        .change(|changes| {
            changes.remove_account("bob")?;
            changes.add_account(&account("bob"), "local")
        })
        .unwrap();
    assert!(place.knows(Kind::Account, "bob"));
    let writer = Writer::open(&place.store(), &place.index(), None).unwrap();
    assert!(writer.check_names().unwrap().is_clean());
}

#[test]
fn an_index_that_is_damaged_gone_or_of_another_prefix_is_made_anew() {
    let (place, _) = filled();
    fs::write(place.index(), "rubbish").unwrap();
    let mut writer = Writer::open(&place.store(), &place.index(), None).unwrap();
    assert!(matches!(writer.check_names(), Err(StoreError::Names { .. })));
    writer.mend_names().unwrap();
    assert!(writer.check_names().unwrap().is_clean());
    drop(writer);

    fs::remove_file(place.index()).unwrap();
    place.change(|changes| changes.revoke(&Fingerprint([7; 32]), "")).unwrap();
    assert!(place.knows(Kind::Target, "workshop"));

    let mut writer = Writer::open(&place.store(), &place.index(), Some("project-")).unwrap();
    assert!(writer.check_names().unwrap().other_prefix);
    writer.change(|changes| changes.revoke(&Fingerprint([8; 32]), "")).unwrap();
    assert!(writer.check_names().unwrap().is_clean());
    assert!(Index::open(place.index()).unwrap().login_exists(b"project-lab").unwrap());
}

#[test]
fn a_name_belongs_to_one_target() {
    let (place, _) = filled();
    for new in
        [target("workshop", &[]), target("lab3", &["lab"]), target("123E4567E89B12D3A456426614174000", &[])]
    {
        let refused = place.change(|changes| changes.add_target(&new, "local"));
        assert!(matches!(refused, Err(ChangeError::NameTaken { .. })), "{refused:?}");
    }
    assert!(!place.knows(Kind::Target, "lab3"));
    assert!(place.read().target_named("lab3", None).unwrap().is_none());
}

#[test]
fn numbers_are_not_used_again() {
    let (place, lab) = filled();
    let last = place.change(|changes| changes.add_target(&target("last", &[]), "local")).unwrap();
    place.change(|changes| changes.remove_target(last)).unwrap();
    let next = place.change(|changes| changes.add_target(&target("next", &[]), "local")).unwrap();
    assert!(next > last && last > lab);
}

#[test]
fn a_store_that_is_missing_empty_damaged_newer_or_older_is_said_in_words() {
    let place = Place::new();
    // What is wrong with the tables shows when they are asked.
    let error = |place: &Place| {
        let asked = Store::open_read(&place.store()).and_then(|store| store.account("alice"));
        asked.unwrap_err()
    };
    let set_version = |version: i64| {
        let conn = Connection::open(place.store()).unwrap();
        conn.pragma_update(None, "user_version", version).unwrap();
    };
    set_version(i64::from(VERSION) + 1);
    let newer = error(&place);
    assert!(
        matches!(newer, StoreError::Newer { .. }) && newer.to_string().contains("install the newer"),
        "{newer}"
    );
    assert!(matches!(Writer::open(&place.store(), &place.index(), None), Err(StoreError::Newer { .. })));
    assert!(matches!(Writer::init(&place.store(), &place.index(), None), Err(StoreError::Newer { .. })));
    set_version(0);
    let older = error(&place);
    assert!(
        matches!(older, StoreError::Older { found: 0, .. })
            && older.to_string().contains("vestibulectl init")
    );
    set_version(i64::from(VERSION));
    drop(place.read());
    // Empties -wal, so that the damage is in what is read.
    place.change(|changes| changes.revoke(&Fingerprint([1; 32]), "")).unwrap();

    let page = |at: usize, bytes: &[u8]| {
        let mut file = fs::read(place.store()).unwrap();
        file[at..at + bytes.len()].copy_from_slice(bytes);
        fs::write(place.store(), file).unwrap();
    };
    let good = fs::read(place.store()).unwrap();
    for (what, damage) in [
        ("header", &mut (|| page(0, b"rubbish")) as &mut dyn FnMut()),
        ("schema", &mut || page(100, &[0x55; 200])),
        ("empty", &mut || fs::write(place.store(), "").unwrap()),
        ("text", &mut || fs::write(place.store(), "x".repeat(10_000)).unwrap()),
    ] {
        damage();
        let begun = Instant::now();
        let corrupt = error(&place);
        assert!(matches!(corrupt, StoreError::Corrupt { .. }), "{what}: {corrupt:?}");
        let said = corrupt.to_string();
        assert!(said.contains("store.db") && said.contains("restore it"), "{what}: {said}");
        assert!(begun.elapsed() < Duration::from_secs(1), "{what}");
        fs::write(place.store(), &good).unwrap();
    }
    fs::remove_file(place.store()).unwrap();
    let missing = error(&place);
    assert!(
        matches!(missing, StoreError::Missing { .. }) && missing.to_string().contains("vestibulectl init")
    );
    assert!(matches!(Writer::open(&place.store(), &place.index(), None), Err(StoreError::Missing { .. })));
}

#[test]
fn damage_that_is_found_while_reading_is_said_in_words() {
    let (place, lab) = filled();
    let good = fs::read(place.store()).unwrap();
    // Every page but the first, one after the other: an answer, or the words, and nothing else.
    let mut found = 0;
    for page in 1..good.len() / 4096 {
        let mut bad = good.clone();
        bad[page * 4096..(page + 1) * 4096].fill(0xa5);
        fs::write(place.store(), bad).unwrap();
        let asked = Store::open_read(&place.store()).and_then(|store| {
            store.resolve(parse(b"alice+lab").unwrap(), None)?;
            store.key_facts(&Fingerprint([1; 32]), lab)
        });
        match asked {
            Ok(_) => {}
            Err(StoreError::Corrupt { .. }) => found += 1,
            Err(other) => panic!("page {page}: {other:?}"),
        }
    }
    assert!(found >= 6, "{found}");
}

#[test]
fn a_row_that_this_program_cannot_read_is_named() {
    let (place, lab) = filled();
    let conn = Connection::open(place.store()).unwrap();
    conn.execute("UPDATE targets SET driver = '{\"driver\":\"carrier-pigeon\"}' WHERE id = ?1", [lab.0])
        .unwrap();
    drop(conn);
    let refused = place.read().target(lab).unwrap_err();
    assert!(refused.to_string().contains("column 'driver'"), "{refused}");
    assert!(refused.to_string().contains("carrier-pigeon"), "{refused}");
}

#[test]
fn a_writer_waits_for_another_and_then_says_so() {
    let place = Place::new();
    let other = Connection::open(place.store()).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    // Readers don't wait.
    let begun = Instant::now();
    drop(place.read());
    assert!(begun.elapsed() < Duration::from_millis(900));
    let refused = place.change(|changes| changes.revoke(&Fingerprint([1; 32]), ""));
    let Err(ChangeError::Store(error @ StoreError::Locked { .. })) = refused else { panic!("{refused:?}") };
    assert!(error.to_string().contains("locked by another program"));
    other.execute_batch("COMMIT").unwrap();
    place.change(|changes| changes.revoke(&Fingerprint([1; 32]), "")).unwrap();
}

#[test]
fn constraints_hold_against_other_writers_too() {
    let (place, lab) = filled();
    let conn = Connection::open(place.store()).unwrap();
    for sql in [
        "INSERT INTO keys(fingerprint, key_type, blob, options, comment, source, added) VALUES(zeroblob(32), 'x', x'', x'', x'', '', 0)",
        "INSERT INTO keys(fingerprint, key_type, blob, options, comment, account_id, target_id, source, added) VALUES(zeroblob(32), 'x', x'', x'', x'', 1, 1, '', 0)",
        "INSERT INTO keys(fingerprint, key_type, blob, options, comment, account_id, source, added) VALUES(zeroblob(31), 'x', x'', x'', x'', 1, '', 0)",
        "INSERT INTO keys(fingerprint, key_type, blob, options, comment, account_id, source, added) VALUES(zeroblob(32), 'a b', x'', x'', x'', 1, '', 0)",
        "INSERT INTO keys(fingerprint, key_type, blob, options, comment, account_id, source, added) VALUES(zeroblob(32), 'x', x'', x'', x'', 99, '', 0)",
        "INSERT INTO grants VALUES(1, 99, NULL, '', 0)",
        "INSERT INTO accounts(name, active, source, created, updated) VALUES('alice', 1, '', 0, 0)",
        "INSERT INTO accounts(name, active, source, created, updated) VALUES('x', 2, '', 0, 0)",
        "INSERT INTO target_names VALUES('lab', 2)",
        "UPDATE targets SET driver = 'no json'",
        "UPDATE targets SET home = 'relative'",
        "INSERT INTO revoked VALUES('text', 0, '')",
    ] {
        assert!(conn.execute_batch(sql).is_err(), "{sql}");
    }
    // What hangs on a row goes with it.
    conn.execute("DELETE FROM targets WHERE id = ?1", [lab.0]).unwrap();
    let left: i64 = conn
        .query_row("SELECT (SELECT count(*) FROM grants) + (SELECT count(*) FROM keys WHERE target_id IS NOT NULL) + \
                    (SELECT count(*) FROM accounts WHERE default_target IS NOT NULL)", [], |row| row.get(0))
        .unwrap();
    assert_eq!(left, 0);
}

#[test]
fn lists_show_everything_once() {
    let (place, lab) = filled();
    let store = place.read();
    let mut names = Vec::new();
    store
        .accounts(None, |row| {
            names.push((row.name, row.active, row.default_target));
            ControlFlow::Continue(())
        })
        .unwrap();
    assert_eq!(names, [("alice".into(), true, Some("lab".into())), ("bob".into(), false, None)]);
    let mut keys = Vec::new();
    for filter in [
        KeyFilter::All,
        KeyFilter::Account("alice"),
        KeyFilter::Target(lab),
        KeyFilter::Id(2),
        KeyFilter::Fingerprint(Fingerprint([3; 32])),
    ] {
        let mut found = Vec::new();
        store
            .keys(filter, |row| {
                found.push(row.id);
                ControlFlow::Continue(())
            })
            .unwrap();
        keys.push(found);
    }
    assert_eq!(keys, [vec![1, 2, 3], vec![1], vec![3], vec![2], vec![3]]);
    let mut targets = Vec::new();
    store
        .targets(None, |row| {
            targets.push(row.unwrap().aliases);
            ControlFlow::Continue(())
        })
        .unwrap();
    assert_eq!(targets, [vec![], vec!["workshop".to_owned()]]);
    let mut first = 0;
    store
        .keys(KeyFilter::All, |_| {
            first += 1;
            ControlFlow::Break(())
        })
        .unwrap();
    assert_eq!(first, 1, "a list stops when it is told to");
}

/// The statements of a login, from the source: a plan with a SCAN would grow with the store.
#[test]
fn a_login_scans_no_table() {
    let place = Place::new();
    let conn = Connection::open(place.store()).unwrap();
    let source = include_str!("../src/store/read.rs");
    let statements: Vec<String> = source
        .split("const ")
        .filter_map(|item| {
            item.split_once(": &str = \"")?.1.split_once("\";").map(|(sql, _)| sql.replace("\\\n", " "))
        })
        .collect();
    assert_eq!(statements.len(), 8, "{statements:?}");
    for sql in statements {
        let mut plan = conn.prepare(&format!("EXPLAIN QUERY PLAN {sql}")).unwrap();
        let count = plan.parameter_count();
        let values = vec![rusqlite::types::Null; count];
        let steps: Vec<String> = plan
            .query_map(rusqlite::params_from_iter(values), |row| row.get(3))
            .unwrap()
            .collect::<Result<_, _>>()
            .unwrap();
        assert!(steps.iter().any(|step| step.contains("SEARCH")), "{sql}: {steps:?}");
        assert!(!steps.iter().any(|step| step.contains("SCAN")), "{sql}: {steps:?}");
    }
}
