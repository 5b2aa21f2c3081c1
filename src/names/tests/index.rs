//! The index as its writer and readers use it.

#![allow(clippy::indexing_slicing, clippy::panic, clippy::unwrap_used)] // helpers of tests are tests

use std::collections::HashSet;
use std::fs;
use std::io::ErrorKind;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use proptest::prelude::*;
use tempfile::TempDir;
use vestibule_names::index::{Fault, Index, IndexWriter, Kind};

fn place() -> (TempDir, PathBuf) {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("names.idx");
    (dir, path)
}

fn exists(path: &Path, login: &str) -> bool {
    Index::open(path).unwrap().login_exists(login.as_bytes()).unwrap()
}

#[test]
fn a_login_name_exists_when_one_of_its_meanings_does() {
    let (_dir, path) = place();
    let mut writer = IndexWriter::create(&path, Some("project-"), 0).unwrap();
    for (kind, name) in [
        (Kind::Target, "lab"),
        (Kind::Target, "6F1A2B3C-0D4E-4F5A-8B6C-7D8E9F0A1B2C"),
        (Kind::Target, "project-x"),
        (Kind::Target, "42"),
        (Kind::Target, "alice--den"),
        (Kind::Account, "alice"),
        (Kind::Account, "bob@example.org"),
        (Kind::Default, "bob@example.org"),
        (Kind::Account, "carol"),
        (Kind::Default, "carol"),
    ] {
        assert!(writer.insert(kind, name).unwrap(), "{name}");
    }
    writer.sync().unwrap();
    for yes in [
        "lab",
        "project-lab",
        "6f1a2b3c0d4e4f5a8b6c7d8e9f0a1b2c",
        "project-6f1a2b3c-0d4e-4f5a-8b6c-7d8e9f0a1b2c",
        "project-x",
        "project-project-x",
        "alice+lab",
        "alice@lab",
        "alice+den",
        "alice@Den",
        "alice+project-lab",
        "alice+42",
        "project-42",
        "bob@example.org",
        "bob@example.org+lab",
        "bob@example.org@lab",
        "carol",
        "carol+6F1a2b3c-0d4e-4f5a-8b6c-7d8e9f0a1b2c",
    ] {
        assert!(exists(&path, yes), "{yes}");
    }
    for no in [
        "",
        "Lab",
        "alice",
        "x",
        "42",
        "project-",
        "project-alice",
        "alice+x",
        "nobody+lab",
        "lab+alice",
        "nobody@lab",
        "alice@lab@lab",
        "carol+lab+lab",
        "bob",
        "root",
        "lab\0",
        "lab:",
    ] {
        assert!(!exists(&path, no), "{no}");
    }
    let index = Index::open(&path).unwrap();
    assert_eq!((index.len(), index.prefix()), (10, Some("project-")));
    assert!(index.contains(Kind::Target, "lab").unwrap());
    assert!(!index.contains(Kind::Target, "project-lab").unwrap());
    assert!(!index.contains(Kind::Account, "lab").unwrap());
}

#[test]
fn inserting_and_removing_twice_changes_nothing() {
    let (_dir, path) = place();
    let mut writer = IndexWriter::create(&path, None, 0).unwrap();
    assert!(writer.is_empty());
    assert!(writer.insert(Kind::Target, "lab").unwrap());
    assert!(!writer.insert(Kind::Target, "lab").unwrap());
    assert_eq!(writer.len(), 1);
    assert!(!writer.remove(Kind::Account, "lab").unwrap());
    assert!(writer.remove(Kind::Target, "lab").unwrap());
    assert!(!writer.remove(Kind::Target, "lab").unwrap());
    assert!(writer.is_empty());
    assert!(!exists(&path, "lab"));
    assert_eq!(Index::open(&path).unwrap().len(), 0);
}

#[test]
fn a_name_that_no_login_can_hold_is_refused() {
    let (_dir, path) = place();
    let mut writer = IndexWriter::create(&path, None, 0).unwrap();
    for (kind, name) in
        [(Kind::Target, "a@b"), (Kind::Account, "a+b"), (Kind::Default, ""), (Kind::Target, "\x1b")]
    {
        let error = writer.insert(kind, name).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput);
        assert!(!error.to_string().contains('\x1b'));
    }
    assert!(writer.is_empty());
    drop(writer);
    let error = IndexWriter::rebuild(&path, None, [(Kind::Target, "a b")]).unwrap_err();
    assert_eq!(error.to_string(), "name 'a b': has ' ' at byte 1, which may not stand there");
    assert!(Index::open(&path).unwrap().is_empty());
    let error = IndexWriter::create(path.with_extension("new"), Some("no prefix"), 0).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidInput);
}

#[test]
fn the_file_is_readable_by_all_and_holds_no_name() {
    let (_dir, path) = place();
    let mut writer = IndexWriter::create(&path, Some("project-"), 1000).unwrap();
    writer.insert(Kind::Target, "very-secret-customer").unwrap();
    let meta = fs::metadata(&path).unwrap();
    assert_eq!(meta.permissions().mode() & 0o7777, 0o644);
    assert_eq!(meta.len(), 4096 + (2048 + 512) * 16);
    // As the module's page of documentation says it.
    let bytes = fs::read(&path).unwrap();
    assert_eq!(&bytes[..16], b"vstbname\x01\0\0\0\x08\0\0\0");
    assert_eq!(bytes[32..40], 2048_u64.to_le_bytes());
    assert_eq!(&bytes[40..49], b"project-\0");
    assert_eq!(bytes[80..96], 1_u128.to_le_bytes());
    assert!(!bytes.windows(6).any(|part| part == b"secret"));
    assert_eq!(bytes[4096..].chunks(16).filter(|slot| **slot != [0; 16]).count(), 1);
    // A tombstone is used again.
    writer.remove(Kind::Target, "very-secret-customer").unwrap();
    assert_eq!(fs::read(&path).unwrap()[80..96], (1_u128 << 64).to_le_bytes());
    writer.insert(Kind::Target, "very-secret-customer").unwrap();
    assert_eq!(fs::read(&path).unwrap(), bytes);
    let lock = fs::metadata(path.with_extension("idx.lock")).unwrap();
    assert_eq!(lock.permissions().mode() & 0o7777, 0o600);
}

#[test]
fn two_indexes_of_the_same_names_have_nothing_in_common() {
    let (_dir, path) = place();
    let table = || fs::read(&path).unwrap()[4096..].to_vec();
    drop(IndexWriter::rebuild(&path, None, [(Kind::Target, "lab")]).unwrap());
    let first = table();
    drop(IndexWriter::rebuild(&path, None, [(Kind::Target, "lab")]).unwrap());
    assert_ne!(first, table());
}

#[test]
fn create_leaves_what_is_there_alone() {
    let (_dir, path) = place();
    drop(IndexWriter::rebuild(&path, None, [(Kind::Target, "lab")]).unwrap());
    assert_eq!(IndexWriter::create(&path, None, 0).unwrap_err().kind(), ErrorKind::AlreadyExists);
    assert!(exists(&path, "lab"));
}

#[test]
fn a_rebuild_drops_what_is_not_named_and_takes_the_new_prefix() {
    let (_dir, path) = place();
    let mut writer = IndexWriter::create(&path, Some("old-"), 0).unwrap();
    writer.insert(Kind::Target, "gone").unwrap();
    drop(writer);
    let names = [(Kind::Target, "lab"), (Kind::Target, "lab"), (Kind::Account, "lab")];
    let mut writer = IndexWriter::rebuild(&path, Some("new-"), names).unwrap();
    assert_eq!((writer.len(), writer.prefix()), (2, Some("new-")));
    writer.insert(Kind::Target, "later").unwrap();
    for (login, there) in
        [("lab", true), ("new-lab", true), ("later", true), ("old-lab", false), ("gone", false)]
    {
        assert_eq!(exists(&path, login), there, "{login}");
    }
}

#[test]
fn a_second_writer_waits_for_the_first() {
    let (_dir, path) = place();
    let first = IndexWriter::create(&path, None, 0).unwrap();
    let other = path.clone();
    let second = std::thread::spawn(move || {
        let mut writer = IndexWriter::open(other).unwrap();
        writer.insert(Kind::Target, "second").unwrap();
        writer.contains(Kind::Target, "first").unwrap()
    });
    std::thread::sleep(std::time::Duration::from_millis(100));
    assert!(!second.is_finished());
    let mut first = first;
    first.insert(Kind::Target, "first").unwrap();
    drop(first);
    assert!(second.join().unwrap(), "the second writer sees what the first wrote");
    assert!(exists(&path, "second"));
}

#[test]
fn growing_keeps_every_name_and_clears_tombstones() {
    let (_dir, path) = place();
    let mut writer = IndexWriter::create(&path, None, 0).unwrap();
    let first = fs::metadata(&path).unwrap();
    for n in 0..5000 {
        assert!(writer.insert(Kind::Target, &format!("t{n}")).unwrap());
        if n == 200 {
            assert!(fs::metadata(&path).unwrap().len() > first.len(), "200 names in 256 home slots");
        }
    }
    let index = Index::open(&path).unwrap();
    assert_eq!(index.len(), 5000);
    for n in 0..5000 {
        assert!(index.contains(Kind::Target, &format!("t{n}")).unwrap(), "t{n}");
        assert!(!index.contains(Kind::Target, &format!("u{n}")).unwrap(), "u{n}");
    }
    // Names that come and go don't make it grow for ever.
    for n in 0..50_000 {
        writer.insert(Kind::Account, &format!("a{n}")).unwrap();
        writer.remove(Kind::Account, &format!("a{n}")).unwrap();
    }
    assert_eq!(writer.len(), 5000);
    assert!(fs::metadata(&path).unwrap().len() <= 4096 + (10_240 + 512) * 16);
    let index = Index::open(&path).unwrap();
    assert!((0..5000).all(|n| index.contains(Kind::Target, &format!("t{n}")).unwrap()));
}

#[test]
fn too_many_names_are_a_fault_and_not_an_allocation() {
    let (_dir, path) = place();
    let error = IndexWriter::create(&path, None, u64::MAX).unwrap_err();
    assert_eq!(Fault::of(&error), Some(Fault::TooMany));
    assert!(!path.exists());
}

#[derive(Clone, Debug)]
enum Step {
    Insert(Kind, u16),
    Remove(Kind, u16),
    Reopen,
    Rebuild,
    Sync,
}

fn step() -> impl Strategy<Value = Step> {
    let kind = || prop_oneof![Just(Kind::Target), Just(Kind::Account), Just(Kind::Default)];
    prop_oneof![
        120 => (kind(), 0..400_u16).prop_map(|(kind, n)| Step::Insert(kind, n)),
        60 => (kind(), 0..400_u16).prop_map(|(kind, n)| Step::Remove(kind, n)),
        2 => Just(Step::Reopen),
        1 => Just(Step::Rebuild),
        1 => Just(Step::Sync),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    /// Against a set in memory, over enough steps to grow several times.
    #[test]
    fn it_is_a_set(steps in prop::collection::vec(step(), 1..2500)) {
        let (_dir, path) = place();
        let mut writer = IndexWriter::create(&path, None, 0).unwrap();
        let mut model = HashSet::new();
        for step in steps {
            match step {
                Step::Insert(kind, n) => {
                    prop_assert_eq!(writer.insert(kind, &format!("n{n}")).unwrap(), model.insert((kind, n)));
                }
                Step::Remove(kind, n) => {
                    prop_assert_eq!(writer.remove(kind, &format!("n{n}")).unwrap(), model.remove(&(kind, n)));
                }
                Step::Reopen => {
                    drop(writer);
                    writer = IndexWriter::open(&path).unwrap();
                }
                Step::Rebuild => {
                    let names: Vec<_> = model.iter().map(|(kind, n)| (*kind, format!("n{n}"))).collect();
                    drop(writer);
                    writer = IndexWriter::rebuild(&path, None, names).unwrap();
                }
                Step::Sync => writer.sync().unwrap(),
            }
            prop_assert_eq!(writer.len(), model.len() as u64);
        }
        let index = Index::open(&path).unwrap();
        prop_assert_eq!(index.len(), model.len() as u64);
        for n in 0..400 {
            for kind in [Kind::Target, Kind::Account, Kind::Default] {
                let there = index.contains(kind, &format!("n{n}")).unwrap();
                prop_assert_eq!(there, model.contains(&(kind, n)), "{:?} {}", kind, n);
            }
        }
    }
}
