//! Files that are no good index: each is an error with a reason, soon, and nothing is believed.

#![allow(clippy::indexing_slicing, clippy::panic, clippy::unwrap_used)] // helpers of tests are tests

use std::fs::{self, File, OpenOptions, Permissions};
use std::os::unix::fs::{FileExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use proptest::prelude::*;
use tempfile::TempDir;
use vestibule_names::index::{Fault, Index, IndexWriter, Kind};

fn index_of(names: &[&str]) -> (TempDir, PathBuf) {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("names.idx");
    drop(IndexWriter::rebuild(&path, Some("p-"), names.iter().map(|name| (Kind::Target, name))).unwrap());
    (dir, path)
}

/// What is wrong, as both who reads and who writes is told.
fn fault(path: &Path) -> Option<Fault> {
    let read = Index::open(path).err()?;
    let written = IndexWriter::open(path).err()?;
    assert_eq!(Fault::of(&read), Fault::of(&written), "{read} / {written}");
    Fault::of(&read)
}

fn put(path: &Path, at: u64, bytes: &[u8]) {
    OpenOptions::new().write(true).open(path).unwrap().write_all_at(bytes, at).unwrap();
}

/// Writes a header field, and the checksum that goes with it: what a hostile writer would do.
fn forge(path: &Path, at: usize, bytes: &[u8]) {
    use std::hash::Hasher;
    let mut header = fs::read(path).unwrap()[..72].to_vec();
    header[at..at + bytes.len()].copy_from_slice(bytes);
    let mut hasher = siphasher::sip::SipHasher24::new();
    hasher.write(&header);
    put(path, 0, &header);
    put(path, 72, &hasher.finish().to_le_bytes());
}

#[test]
fn a_missing_file_is_missing() {
    let (_dir, path) = index_of(&[]);
    fs::remove_file(&path).unwrap();
    assert_eq!(Index::open(&path).unwrap_err().kind(), std::io::ErrorKind::NotFound);
    assert_eq!(IndexWriter::open(&path).unwrap_err().kind(), std::io::ErrorKind::NotFound);
}

#[test]
fn only_a_regular_file_is_opened_and_nothing_blocks() {
    let (dir, path) = index_of(&["lab"]);
    let link = dir.path().join("link");
    symlink(&path, &link).unwrap();
    assert_eq!(Index::open(&link).unwrap_err().raw_os_error(), Some(libc::ELOOP));
    assert_eq!(IndexWriter::open(&link).unwrap_err().raw_os_error(), Some(libc::ELOOP));
    let fifo = dir.path().join("fifo");
    assert!(Command::new("mkfifo").arg("-m600").arg(&fifo).status().unwrap().success());
    assert_eq!(fault(&fifo), Some(Fault::NotRegular));
    assert_eq!(Fault::of(&Index::open(dir.path()).unwrap_err()), Some(Fault::NotRegular));
    assert_eq!(Fault::of(&Index::open("/dev/zero").unwrap_err()), Some(Fault::NotRegular));
}

#[test]
fn a_file_that_others_may_write_is_not_believed() {
    let (_dir, path) = index_of(&["lab"]);
    for (mode, wrong) in [(0o644, false), (0o600, false), (0o664, true), (0o646, true), (0o666, true)] {
        fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
        assert_eq!(fault(&path) == Some(Fault::Writable), wrong, "{mode:o}");
    }
}

#[test]
fn a_file_cut_short_anywhere() {
    let (_dir, path) = index_of(&["lab"]);
    let whole = fs::metadata(&path).unwrap().len();
    assert_eq!(whole, 4096 + (256 + 512) * 16);
    for len in [0, 1, 95, 96, 4095, 4096, 4097, whole - 16, whole - 1] {
        let expected = if len < 4096 { 4096 } else { whole };
        File::options().write(true).open(&path).unwrap().set_len(whole).unwrap();
        assert_eq!(fault(&path), None);
        let open = Index::open(&path).unwrap();
        let bytes = fs::read(&path).unwrap();
        File::options().write(true).open(&path).unwrap().set_len(len).unwrap();
        assert_eq!(fault(&path), Some(Fault::Length { expected, found: len }), "{len}");
        // Cut while it was open: an error or an answer, but an end.
        let _ = open.login_exists(b"lab");
        fs::write(&path, bytes).unwrap();
    }
    File::options().write(true).open(&path).unwrap().set_len(whole + 1).unwrap();
    assert_eq!(fault(&path), Some(Fault::Length { expected: whole, found: whole + 1 }));
}

#[test]
fn a_file_of_another_kind_or_version() {
    let (_dir, path) = index_of(&["lab"]);
    forge(&path, 8, &2_u32.to_le_bytes());
    assert_eq!(fault(&path), Some(Fault::Version(2)));
    assert_eq!(
        Index::open(&path).unwrap_err().to_string(),
        "is a name index of version 2, unknown to this program"
    );
    forge(&path, 0, b"SQLite f");
    assert_eq!(fault(&path), Some(Fault::Foreign));
    // What can't be read can be made anew.
    drop(IndexWriter::rebuild(&path, None, [(Kind::Target, "lab")]).unwrap());
    assert!(Index::open(&path).unwrap().login_exists(b"lab").unwrap());
}

#[test]
fn sizes_that_lie() {
    for slots in [0, 1, 255, 257, 1 << 20, 1 << 40, 1 << 60, (1 << 60) - 512, u64::MAX - 511, u64::MAX] {
        let (_dir, path) = index_of(&["lab"]);
        forge(&path, 32, &slots.to_le_bytes());
        assert!(matches!(fault(&path), Some(Fault::Header | Fault::Length { .. })), "{slots}");
    }
    for prefix_len in [33_u32, u32::MAX] {
        let (_dir, path) = index_of(&["lab"]);
        forge(&path, 12, &prefix_len.to_le_bytes());
        assert_eq!(fault(&path), Some(Fault::Header));
    }
    let (_dir, path) = index_of(&["lab"]);
    forge(&path, 40, b"\xff:");
    assert_eq!(fault(&path), Some(Fault::Header));
}

#[test]
fn one_rotten_byte_in_the_header_is_noticed() {
    for at in 0..80 {
        let (_dir, path) = index_of(&["lab"]);
        let byte = fs::read(&path).unwrap()[at];
        put(&path, at as u64, &[byte ^ 0x10]);
        assert!(fault(&path).is_some(), "byte {at}");
    }
}

#[test]
fn a_table_with_no_empty_slot_ends_every_search() {
    let (_dir, path) = index_of(&["lab"]);
    for filler in [0xff, 0x42] {
        put(&path, 4096, &vec![filler; (256 + 512) * 16]);
        assert!(!Index::open(&path).unwrap().login_exists(b"lab").unwrap());
    }
    // All 768 slots hold the same, so there is nowhere to put a name; growing makes room.
    let mut writer = IndexWriter::open(&path).unwrap();
    assert!(writer.insert(Kind::Target, "lab").unwrap());
    drop(writer);
    assert!(Index::open(&path).unwrap().login_exists(b"lab").unwrap());
}

/// Somebody who can read the key can choose names that crowd one place. The table must not grow for ever.
#[test]
fn a_place_crowded_on_purpose_is_a_fault() {
    let (_dir, path) = index_of(&[]);
    let mut writer = IndexWriter::open(&path).unwrap();
    // Every tag in the table of 256 + 512 slots has the same high half: one home, whatever the size.
    for slot in 0..768_u64 {
        let tag = 0x7777_7777_7777_7777_u128 << 64 | u128::from(slot << 8) | 1;
        put(&path, 4096 + slot * 16, &tag.to_le_bytes());
    }
    let error = writer.insert(Kind::Target, "lab").unwrap_err();
    assert_eq!(Fault::of(&error), Some(Fault::Crowded));
    assert_eq!(fs::metadata(&path).unwrap().len(), 4096 + 768 * 16);
    assert_eq!(fs::read_dir(path.parent().unwrap()).unwrap().count(), 2, "index and lock, nothing half made");
}

#[test]
fn counters_that_lie_only_cost_time() {
    for lie in [[0; 16], [0xff; 16]] {
        let (_dir, path) = index_of(&["lab", "den"]);
        put(&path, 80, &lie);
        let mut writer = IndexWriter::open(&path).unwrap();
        for n in 0..2000 {
            writer.insert(Kind::Target, &format!("t{n}")).unwrap();
        }
        assert!(writer.remove(Kind::Target, "den").unwrap());
        let index = Index::open(&path).unwrap();
        assert!(
            index.contains(Kind::Target, "lab").unwrap() && !index.contains(Kind::Target, "den").unwrap()
        );
        assert!((0..2000).all(|n| index.contains(Kind::Target, &format!("t{n}")).unwrap()));
    }
}

#[test]
fn what_a_killed_writer_left_is_in_nobodys_way() {
    let (dir, path) = index_of(&["lab"]);
    fs::write(dir.path().join("names.idx.new"), "half a table").unwrap();
    let mut writer = IndexWriter::open(&path).unwrap();
    for n in 0..500 {
        writer.insert(Kind::Target, &format!("t{n}")).unwrap();
    }
    assert!(Index::open(&path).unwrap().contains(Kind::Target, "t499").unwrap());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    /// Any bytes in any places: an error or an answer.
    #[test]
    fn any_damage(
        patches in prop::collection::vec((0..16384_u64, prop::collection::vec(any::<u8>(), 1..200)), 1..8),
        fixed in any::<bool>(),
        len in prop::option::of(0..20_000_u64),
    ) {
        let (_dir, path) = index_of(&["lab", "den"]);
        for (at, bytes) in &patches {
            put(&path, *at, bytes);
        }
        if fixed {
            forge(&path, 0, b"vstbname\x01\0\0\0");
        }
        if let Some(len) = len {
            File::options().write(true).open(&path).unwrap().set_len(len).unwrap();
        }
        if let Ok(index) = Index::open(&path) {
            let _ = index.login_exists(b"lab");
            let _ = index.login_exists(b"p-alice@x+lab");
        }
        if let Ok(mut writer) = IndexWriter::open(&path) {
            let _ = writer.insert(Kind::Target, "new");
            let _ = writer.remove(Kind::Target, "den");
        }
    }
}
