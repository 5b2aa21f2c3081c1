//! The store between processes: readers that may write nothing, beside writers that work, wait, or are killed.
//!
//! The roles are played by this test binary itself, started again with `ROLE` set. Readers become another user, so
//! these tests need root; without it they fail, and say so.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test ends by panicking"
)]

use std::ffi::OsStr;
use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::{FileExt, PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::Duration;

use rusqlite::Connection;
use vestibule::fingerprint::Fingerprint;
use vestibule::names::index::{Index, Kind};
use vestibule::names::login::AccountName;
use vestibule::store::{Store, StoreError, Writer};

/// Who owns the store, and who reads it: neither is root, and they share a group.
const OWNER: u32 = 64_001;
const READER: u32 = 64_002;
const GROUP: u32 = 64_003;

/// A directory as `vestibulectl init` makes it, and a store in it.
struct Place {
    dir: tempfile::TempDir,
}

impl Place {
    fn new() -> Place {
        assert!(nix::unistd::geteuid().is_root(), "these tests need root: they play three users");
        let dir = tempfile::tempdir().unwrap();
        fs::set_permissions(dir.path(), Permissions::from_mode(0o755)).unwrap();
        chown(dir.path(), Some(OWNER), Some(GROUP)).unwrap();
        let place = Place { dir };
        place.role("init", OWNER).finish();
        place
    }

    fn store(&self) -> PathBuf {
        self.dir.path().join("store.db")
    }

    fn index(&self) -> PathBuf {
        self.dir.path().join("names.idx")
    }

    fn role(&self, role: &str, uid: u32) -> Role {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "role", "--nocapture", "--test-threads=1"])
            .env("ROLE", role)
            .env("ROLE_UID", uid.to_string())
            .env("ROLE_DIR", self.dir.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let stdin = child.stdin.take().unwrap();
        let stdout = BufReader::new(child.stdout.take().unwrap());
        Role { child, stdin: Some(stdin), stdout }
    }

    /// What a reader of another user sees, in a process of its own.
    fn read(&self) -> String {
        let mut role = self.role("read", READER);
        let said = role.hear();
        role.finish();
        said
    }

    fn revoked(&self) -> u64 {
        let said = self.read();
        said.strip_prefix("revoked ").unwrap_or_else(|| panic!("{said}")).parse().unwrap()
    }
}

/// A process that plays a role. Killed when dropped.
struct Role {
    child: Child,
    stdin: Option<ChildStdin>,
    stdout: BufReader<ChildStdout>,
}

impl Role {
    /// The next line that the role says (lines of the test harness are passed over).
    fn hear(&mut self) -> String {
        let mut line = String::new();
        loop {
            line.clear();
            assert_ne!(self.stdout.read_line(&mut line).unwrap(), 0, "the role ended without a word");
            // The harness prints "test role ... " without a line's end before the first word.
            if let Some((_, said)) = line.trim_end().split_once("says: ") {
                return said.to_owned();
            }
        }
    }

    fn say(&mut self, line: &str) {
        // A role that ended before says why in its next line.
        let _ = writeln!(self.stdin.as_mut().unwrap(), "{line}");
    }

    fn finish(mut self) {
        drop(self.stdin.take());
        assert!(self.child.wait().unwrap().success());
    }
}

impl Drop for Role {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn say(line: impl std::fmt::Display) {
    let mut out = std::io::stdout().lock();
    writeln!(out, "says: {line}").unwrap();
    out.flush().unwrap();
}

fn hear() -> Option<String> {
    std::io::stdin().lines().next().map(Result::unwrap)
}

/// A fingerprint for a number.
fn key(number: u64) -> Fingerprint {
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&number.to_be_bytes());
    Fingerprint(bytes)
}

#[test]
fn role() {
    let Ok(role) = std::env::var("ROLE") else { return };
    let uid: u32 = std::env::var("ROLE_UID").unwrap().parse().unwrap();
    let dir = PathBuf::from(std::env::var_os("ROLE_DIR").unwrap());
    nix::sys::stat::umask(nix::sys::stat::Mode::from_bits_truncate(0o027));
    let gid = nix::unistd::Gid::from_raw(GROUP);
    nix::unistd::setgroups(&[]).unwrap();
    nix::unistd::setresgid(gid, gid, gid).unwrap();
    let uid = nix::unistd::Uid::from_raw(uid);
    nix::unistd::setresuid(uid, uid, uid).unwrap();
    let (store, index) = (dir.join("store.db"), dir.join("names.idx"));
    match role.as_str() {
        "init" => drop(Writer::init(&store, &index, None).unwrap()),
        "read" => say(read(&store)),
        "read-often" => read_often(&store),
        "hold" => {
            let open = Store::open_read(&store).unwrap();
            say(count(&open));
            hear();
        }
        "idle-writer" => {
            // A daemon between two pieces of work: its connection is open and in no transaction.
            let conn = Connection::open(&store).unwrap();
            conn.execute_batch("PRAGMA wal_autocheckpoint = 0; CREATE TABLE one(x); DROP TABLE one").unwrap();
            say("idle");
            hear();
        }
        "transaction" => {
            // More than the page cache holds: pages of the transaction that is not committed are in -wal.
            let conn = Connection::open(&store).unwrap();
            conn.execute_batch(
                "PRAGMA cache_size = 10; BEGIN IMMEDIATE; WITH RECURSIVE n(i) AS (VALUES(1) UNION ALL SELECT i + 1 \
                 FROM n WHERE i < 20000) INSERT INTO revoked SELECT randomblob(32), i, 'no' FROM n",
            )
            .unwrap();
            say("in the middle");
            hear();
        }
        "work" => work(&store, &index),
        other => panic!("no role {other}"),
    }
}

fn read(store: &Path) -> String {
    match Store::open_read(store) {
        Ok(store) => count(&store),
        Err(error) => format!("error at open: {error} {error:?}"),
    }
}

/// Every transaction of `work` revokes the next numbers without a gap and has as many accounts: torn states don't.
fn count(store: &Store) -> String {
    match revocations(store) {
        Err(error) => format!("error {error} {error:?}"),
        Ok(revoked) => {
            let last = revoked == 0 || store.account(&format!("a{}", revoked - 1)).unwrap().is_some();
            let next = store.account(&format!("a{revoked}")).unwrap().is_some();
            // Without -shm, the store may go on to a later moment between two questions.
            if revocations(store).unwrap() != revoked {
                return count(store);
            }
            assert!(last && !next, "half a transaction");
            format!("revoked {revoked}")
        }
    }
}

fn revocations(store: &Store) -> Result<u64, StoreError> {
    let mut revoked = 0;
    store.revocations(|fingerprint, _| {
        assert_eq!(fingerprint, key(revoked), "a gap");
        revoked += 1;
        std::ops::ControlFlow::Continue(())
    })?;
    Ok(revoked)
}

/// Reads again and again until the line ends; says how often, or the first error.
fn read_often(store: &Path) {
    let asked = std::thread::spawn(hear);
    say("reading");
    let (mut times, mut last) = (0_u64, 0_u64);
    while !asked.is_finished() {
        let said = read(store);
        match said.strip_prefix("revoked ").and_then(|number| number.parse().ok()) {
            Some(number) if number >= last => last = number,
            _ => return say(format!("error after {times} times, {last}: {said}")),
        }
        times += 1;
    }
    say(times);
}

/// Changes the store until it is killed; says what is committed, each time.
fn work(store: &Path, index: &Path) {
    let mut next = revocations(&Store::open_read(store).unwrap()).unwrap();
    let mut writer = Writer::open(store, index, None).unwrap();
    loop {
        // Small and large ones in turn; the large ones are more than SQLite keeps in -wal before it moves pages.
        let many = if next.is_multiple_of(7) { 2_000 } else { 3 };
        writer
            .change::<_, vestibule::store::ChangeError>(|changes| {
                for number in next..next + many {
                    changes.revoke(&key(number), "lost")?;
                    changes.add_account(
                        &AccountName::try_from(format!("a{number}").as_str()).unwrap(),
                        "local",
                    )?;
                }
                Ok(())
            })
            .unwrap();
        next += many;
        say(next);
    }
}

#[test]
fn a_reader_of_another_user_reads_when_nobody_writes() {
    let place = Place::new();
    assert_eq!(place.read(), "revoked 0");
    assert_eq!(place.read(), "revoked 0");
    for (file, mode) in [("store.db", 0o640), ("store.db-wal", 0o640), ("store.db-shm", 0o640)] {
        let found = fs::metadata(place.dir.path().join(file)).unwrap().permissions().mode() & 0o777;
        assert_eq!(found, mode, "{file}");
    }
}

#[test]
fn a_reader_sees_the_old_state_while_a_writer_is_in_the_middle_and_after_it_is_killed() {
    let place = Place::new();
    let mut writer = place.role("transaction", OWNER);
    assert_eq!(writer.hear(), "in the middle");
    assert!(
        fs::metadata(place.dir.path().join("store.db-wal")).unwrap().len() > 100_000,
        "nothing is in -wal yet"
    );
    assert_eq!(place.read(), "revoked 0");
    let mut holder = place.role("hold", READER);
    assert_eq!(holder.hear(), "revoked 0");
    writer.child.kill().unwrap();
    writer.child.wait().unwrap();
    assert_eq!(place.read(), "revoked 0", "with another reader that was there before");
    holder.finish();
    assert_eq!(place.read(), "revoked 0", "alone");
}

#[test]
fn whenever_a_writer_is_killed_the_readers_see_all_that_it_committed_and_nothing_else() {
    let place = Place::new();
    let mut committed = 0;
    for round in 0..60_u64 {
        // Every third round has a reader that stays, every fourth a writer that stays: then -shm stays as the dead left it.
        let holder = (round % 3 == 0).then(|| {
            let mut holder = place.role("hold", READER);
            holder.hear();
            holder
        });
        let idle = (round % 4 == 0).then(|| Connection::open(place.store()).unwrap());
        if let Some(idle) = &idle {
            idle.query_row("SELECT count(*) FROM targets", [], |_| Ok(())).unwrap();
        }
        let mut often = place.role("read-often", READER);
        assert_eq!(often.hear(), "reading");

        let mut writer = place.role("work", OWNER);
        let first: u64 = writer.hear().parse().unwrap();
        assert!(first > committed);
        std::thread::sleep(Duration::from_micros(round * 997 % 23_000));
        writer.child.kill().unwrap();
        writer.child.wait().unwrap();
        let mut rest = String::new();
        std::io::Read::read_to_string(&mut writer.stdout, &mut rest).unwrap();
        let said = rest
            .lines()
            .filter_map(|line| line.strip_prefix("says: ")?.parse().ok())
            .next_back()
            .unwrap_or(first);

        let seen = place.revoked();
        assert!(seen >= said, "round {round}: {said} were committed, {seen} are there");
        committed = seen;
        often.say("enough");
        let times = often.hear();
        assert!(times.parse::<u64>().is_ok_and(|times| times > 0), "round {round}: {times}");
        often.finish();
        drop((holder, idle));
        // A writer that was killed just between "in -wal" and "told in -shm" is found to have committed only now.
        let later = place.revoked();
        assert!(later >= committed, "round {round}: {committed} were there, {later} are");
        committed = later;

        // Every name is in the index; it may have more.
        let index = Index::open(place.index()).unwrap();
        assert!((0..committed).all(|number| index.contains(Kind::Account, &format!("a{number}")).unwrap()));
    }
    assert!(committed > 1_000, "the writers did next to nothing: {committed}");
}

#[test]
fn a_reader_goes_on_where_sqlite_waits_for_somebody_to_mend_shm() {
    let place = Place::new();
    let mut idle = place.role("idle-writer", OWNER);
    assert_eq!(idle.hear(), "idle");
    let shm = OpenOptions::new().read(true).write(true).open(place.dir.path().join("store.db-shm")).unwrap();
    let mut whole = [0; 136];
    shm.read_exact_at(&mut whole, 0).unwrap();

    // What a writer leaves that is killed between the two copies of the header (walIndexWriteHdr) ...
    shm.write_all_at(&[0xaa; 8], 16).unwrap();
    assert_sqlite_alone_fails(&place);
    assert_eq!(place.read(), "revoked 0");
    shm.write_all_at(&whole[..96], 0).unwrap();
    // ... and in the middle of walRestartHdr: no read mark fits.
    shm.write_all_at(&[0xff; 20], 100).unwrap();
    assert_sqlite_alone_fails(&place);
    assert_eq!(place.read(), "revoked 0");

    // The next writer mends it, and the reader's locks are gone.
    idle.finish();
    shm.write_all_at(&[0xaa; 8], 16).unwrap();
    let mut writer = place.role("work", OWNER);
    let committed: u64 = writer.hear().parse().unwrap();
    drop(writer);
    assert!(place.revoked() >= committed);
}

/// So that the test above tests what it says.
fn assert_sqlite_alone_fails(place: &Place) {
    let read_only = Command::new("setpriv")
        .args([
            &format!("--reuid={READER}"),
            &format!("--regid={GROUP}"),
            "--clear-groups",
            "sqlite3",
            "-readonly",
        ])
        .arg(place.store())
        .arg("SELECT count(*) FROM revoked")
        .output()
        .unwrap();
    assert!(!read_only.status.success(), "{read_only:?}");
}

#[test]
fn a_reader_goes_on_when_wal_and_shm_are_gone() {
    let place = Place::new();
    let mut writer = place.role("work", OWNER);
    let committed: u64 = writer.hear().parse().unwrap();
    drop(writer);
    // As the sqlite3 shell does it when it is the last to close.
    drop(Connection::open(place.store()).and_then(|conn| {
        conn.query_row("SELECT count(*) FROM revoked", [], |_| Ok(()))?;
        conn.close().map_err(|(_, error)| error)
    }));
    assert!(!place.dir.path().join("store.db-wal").exists());
    let seen = place.revoked();
    assert!(seen >= committed);
    // Only one of the two.
    File::create(place.dir.path().join("store.db-wal")).unwrap();
    fs::set_permissions(place.dir.path().join("store.db-wal"), Permissions::from_mode(0o644)).unwrap();
    assert_eq!(place.revoked(), seen);
}

#[test]
fn a_store_that_readers_may_not_open_is_denied_at_once() {
    let place = Place::new();
    fs::set_permissions(place.store(), Permissions::from_mode(0o600)).unwrap();
    let begun = std::time::Instant::now();
    let said = place.read();
    assert!(said.contains("may not be opened by this user"), "{said}");
    assert!(begun.elapsed() < Duration::from_secs(1));
    let missing = Store::open_read(&place.dir.path().join("nothing.db")).unwrap_err();
    assert!(matches!(missing, StoreError::Missing { .. }), "{missing:?}");
    assert_eq!(place.store().extension(), Some(OsStr::new("db")));
}
