//! Readers beside a writer, and a writer that is killed.

#![allow(clippy::indexing_slicing, clippy::panic, clippy::unwrap_used)] // helpers of tests are tests

use std::io::{BufRead, BufReader, Write};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use tempfile::TempDir;
use vestibule_names::index::{Index, IndexWriter, Kind};

/// Names that nobody changes are found at every instant, while others come and go and the table grows.
#[test]
fn readers_never_miss_a_name_that_is_not_being_changed() {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("names.idx");
    let stable: Vec<_> = (0..120).map(|n| format!("stable{n}")).collect();
    let mut writer = IndexWriter::create(&path, None, 0).unwrap();
    for name in &stable {
        writer.insert(Kind::Target, name).unwrap();
    }
    let done = AtomicBool::new(false);
    let asked = AtomicU64::new(0);
    std::thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| {
                for name in stable.iter().cycle() {
                    let found = Index::open(&path).and_then(|index| index.login_exists(name.as_bytes()));
                    if !found.as_ref().is_ok_and(|there| *there) {
                        done.store(true, Ordering::Relaxed);
                        panic!("{name}: {found:?}");
                    }
                    asked.fetch_add(1, Ordering::Relaxed);
                    if done.load(Ordering::Relaxed) {
                        break;
                    }
                }
            });
        }
        // Come and go at one size, then grow through several.
        for n in 0..20_000 {
            writer.insert(Kind::Target, &format!("passing{n}")).unwrap();
            if n > 100 {
                writer.remove(Kind::Target, &format!("passing{}", n - 100)).unwrap();
            }
        }
        for n in 0..3000 {
            writer.insert(Kind::Account, &format!("more{n}")).unwrap();
        }
        done.store(true, Ordering::Relaxed);
    });
    assert!(asked.into_inner() > 1000, "the readers were there");
}

const PLACE: &str = "VESTIBULE_TEST_KILLED_WRITER";

/// The writer that the next test kills: inserts, says so, and keeps going.
#[test]
fn killed_writer() {
    let Ok(path) = std::env::var(PLACE) else {
        return; // run by itself it has nothing to do
    };
    let mut writer = IndexWriter::open(path).unwrap();
    let mut out = std::io::stdout().lock();
    for n in 0.. {
        writer.insert(Kind::Target, &format!("t{n}")).unwrap();
        if n % 3 == 0 {
            writer.remove(Kind::Target, &format!("t{}", n / 2)).unwrap();
        }
        writeln!(out, "inserted {n}").unwrap();
        out.flush().unwrap();
    }
}

/// Killed at any instruction: the index is whole, holds what was inserted, and the next writer gets the lock.
#[test]
fn a_killed_writer_leaves_a_whole_index() {
    let dir = TempDir::new().unwrap();
    for round in 0..12 {
        let path = dir.path().join(format!("names{round}.idx"));
        drop(IndexWriter::create(&path, None, 0).unwrap());
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "killed_writer", "--nocapture"])
            .env(PLACE, &path)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let output = BufReader::new(child.stdout.take().unwrap());
        let (send, receive) = std::sync::mpsc::channel();
        let reader = std::thread::spawn(move || {
            let inserted = output.lines().map_while(Result::ok).filter_map(|line| {
                let n = line.strip_prefix("inserted ").and_then(|n| n.parse::<u32>().ok());
                n.inspect(|_| {
                    let _ = send.send(());
                })
            });
            inserted.max()
        });
        // What the harness of tests prints before is no sign of work.
        receive.recv().unwrap();
        std::thread::sleep(Duration::from_millis(10 + 7 * round));
        child.kill().unwrap();
        child.wait().unwrap();
        let last = reader.join().unwrap().unwrap();

        let mut writer = IndexWriter::open(&path).unwrap();
        // It may have been killed before it could tell of the removal after the last insertion told of.
        let removed = |n: u32| [2 * n, 2 * n + 1].iter().any(|m| m % 3 == 0 && *m <= last + 1);
        for n in 0..=last {
            let there = writer.contains(Kind::Target, &format!("t{n}")).unwrap();
            assert!(there || removed(n), "t{n} of {last}");
        }
        assert!(writer.insert(Kind::Target, "after").unwrap());
    }
}
