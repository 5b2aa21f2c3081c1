//! How often is asked: so that guessing is hopeless, and a hub has no more of it than it can bear.
//!
//! A table of fixed size in one file, under a lock. What counts is an account, an address, and all together, each as a
//! number under the key of this boot. A token that the hub knows takes back what it counted; a guess stays counted until
//! its time is over. Keys don't come by here, so whoever uses this up keeps nobody out who has one.

use std::fs::File;
use std::io;
use std::net::IpAddr;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;

use nix::fcntl::{Flock, FlockArg};

use crate::keyed::Keyed;

/// Seconds after the first guess in which the others count.
const WINDOW: u64 = 300;
/// Guesses for one account.
const OF_ACCOUNT: u32 = 10;
/// Guesses from one address; of IPv6, from one /64.
const OF_CLIENT: u32 = 20;
/// Seconds in which [`OF_ALL`] counts.
const MINUTE: u64 = 60;
/// Questions to hubs, all together.
const OF_ALL: u32 = 240;

/// Entries that one number may stand in.
const WAYS: usize = 8;
/// Such groups of entries.
const GROUPS: u64 = 512;
/// Bytes of an entry: a number, the window's first second, the count, and four unused.
const ENTRY: usize = 24;

/// The table.
#[derive(Debug)]
pub(crate) struct Limits<'a> {
    file: Flock<File>,
    keyed: &'a Keyed,
}

#[derive(Debug, Clone, Copy, Default)]
struct Entry {
    id: u64,
    since: u64,
    count: u32,
}

/// Whom a guess counts for.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Who<'a> {
    pub(crate) account: &'a str,
    pub(crate) client: Option<&'a str>,
}

impl Limits<'_> {
    /// Opens the table, and waits until nobody else has it.
    ///
    /// # Errors
    /// As open(2) and flock(2).
    pub(crate) fn open<'a>(directory: &Path, keyed: &'a Keyed) -> io::Result<Limits<'a>> {
        let file = File::options()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(directory.join("limits"))?;
        let file = Flock::lock(file, FlockArg::LockExclusive).map_err(|(_, errno)| errno)?;
        Ok(Limits { file, keyed })
    }

    /// Counts a question; or says, in words, whose limit is used up.
    ///
    /// # Errors
    /// As read(2) and write(2).
    pub(crate) fn take(&self, who: Who<'_>, now: u64) -> io::Result<Result<(), &'static str>> {
        for (id, seconds, most, whose) in self.counted(who) {
            if self.look(id, seconds, now)?.1.count >= most {
                return Ok(Err(whose));
            }
        }
        for (id, seconds, ..) in self.counted(who) {
            let (at, entry) = self.look(id, seconds, now)?;
            self.write(at, Entry { count: entry.count.saturating_add(1), ..entry })?;
        }
        Ok(Ok(()))
    }

    /// Takes back what was counted for an account and an address: it was no guess.
    ///
    /// # Errors
    /// As read(2) and write(2).
    pub(crate) fn give_back(&self, who: Who<'_>, now: u64) -> io::Result<()> {
        for (id, seconds, ..) in self.counted(who).into_iter().skip(1) {
            let (at, entry) = self.look(id, seconds, now)?;
            self.write(at, Entry { count: entry.count.saturating_sub(1), ..entry })?;
        }
        Ok(())
    }

    fn counted(&self, who: Who<'_>) -> [(u64, u64, u32, &'static str); 3] {
        let id = |parts: &[&[u8]]| {
            let digest = self.keyed.digest(parts);
            digest.first_chunk().map_or(1, |bytes| u64::from_le_bytes(*bytes).max(1))
        };
        let client = who.client.map(network).unwrap_or_default();
        [
            (id(&[b"all"]), MINUTE, OF_ALL, "too many tokens are tried, all together"),
            (id(&[b"account", who.account.as_bytes()]), WINDOW, OF_ACCOUNT, "too many for this account"),
            (id(&[b"client", client.as_bytes()]), WINDOW, OF_CLIENT, "too many from this address"),
        ]
    }

    /// The entry of a number, and its place: its own, or that of the one that is missed least.
    fn look(&self, id: u64, seconds: u64, now: u64) -> io::Result<(u64, Entry)> {
        let group = id % GROUPS;
        let start = group * (WAYS * ENTRY) as u64;
        let mut bytes = [0; WAYS * ENTRY];
        let mut have = 0;
        while let Some(rest) = bytes.get_mut(have..).filter(|rest| !rest.is_empty()) {
            match self.file.read_at(rest, start + have as u64)? {
                0 => break,
                more => have += more,
            }
        }
        let fresh = Entry { id, since: now, count: 0 };
        let entries = bytes.chunks_exact(ENTRY).map(Entry::of_bytes).zip(0_u64..);
        let place = |number: u64| start + number * ENTRY as u64;
        let mut least = (u64::MAX, 0);
        for (entry, number) in entries {
            let age = now.checked_sub(entry.since);
            if entry.id == id {
                let entry = if age.is_some_and(|age| age < seconds) { entry } else { fresh };
                return Ok((place(number), entry));
            }
            // One whose time is over is not missed; else one that counted little.
            let over = age.is_none_or(|age| age >= WINDOW);
            let missed = if over { 0 } else { u64::from(entry.count).saturating_add(1) };
            if missed < least.0 {
                least = (missed, number);
            }
        }
        Ok((place(least.1), fresh))
    }

    fn write(&self, at: u64, entry: Entry) -> io::Result<()> {
        let mut bytes = Vec::with_capacity(ENTRY);
        bytes.extend(entry.id.to_le_bytes());
        bytes.extend(entry.since.to_le_bytes());
        bytes.extend(u64::from(entry.count).to_le_bytes());
        self.file.write_all_at(&bytes, at)
    }
}

impl Entry {
    fn of_bytes(bytes: &[u8]) -> Entry {
        let mut numbers = bytes.chunks_exact(8).map(|part| part.try_into().map_or(0, u64::from_le_bytes));
        let mut next = || numbers.next().unwrap_or_default();
        Entry { id: next(), since: next(), count: u32::try_from(next()).unwrap_or(u32::MAX) }
    }
}

/// An address of IPv4, the /64 of one of IPv6, or a name as it is.
fn network(client: &str) -> String {
    match client.parse::<IpAddr>().map(|ip| ip.to_canonical()) {
        Ok(IpAddr::V6(ip)) => {
            let [a, b, c, d, ..] = ip.segments();
            format!("{a:x}:{b:x}:{c:x}:{d:x}/64")
        }
        Ok(IpAddr::V4(ip)) => ip.to_string(),
        Err(_) => client.to_ascii_lowercase(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn who<'a>(account: &'a str, client: &'a str) -> Who<'a> {
        Who { account, client: Some(client) }
    }

    #[test]
    fn guesses_are_counted_for_an_account_and_an_address_until_their_time_is_over() {
        let dir = tempfile::tempdir().unwrap();
        let keyed = Keyed::open(dir.path()).unwrap();
        let limits = Limits::open(dir.path(), &keyed).unwrap();
        let take = |who: Who<'_>, now| limits.take(who, now).unwrap();
        for n in 0..OF_ACCOUNT {
            let client = format!("192.0.2.{n}");
            assert_eq!(take(who("alice", &client), 1000), Ok(()));
        }
        assert_eq!(take(who("alice", "198.51.100.1"), 1000), Err("too many for this account"));
        assert_eq!(take(who("bob", "198.51.100.1"), 1000), Ok(()));
        assert_eq!(take(who("alice", "198.51.100.1"), 1000 + WINDOW), Ok(()));
        for n in 0..OF_CLIENT {
            let (account, client) = (format!("a{n}"), format!("2001:db8::{n:x}"));
            assert_eq!(take(who(&account, &client), 5000), Ok(()));
        }
        assert_eq!(take(who("carol", "2001:db8::ffff"), 5000), Err("too many from this address"));
        assert_eq!(take(who("carol", "2001:db8:0:1::1"), 5000), Ok(()));
    }

    #[test]
    fn what_was_no_guess_is_not_counted_but_for_all_together() {
        let dir = tempfile::tempdir().unwrap();
        let keyed = Keyed::open(dir.path()).unwrap();
        let limits = Limits::open(dir.path(), &keyed).unwrap();
        for _ in 0..OF_ALL {
            assert_eq!(limits.take(who("alice", "192.0.2.1"), 10).unwrap(), Ok(()));
            limits.give_back(who("alice", "192.0.2.1"), 10).unwrap();
        }
        assert!(limits.take(who("bob", "192.0.2.2"), 10).unwrap().is_err());
        assert_eq!(limits.take(who("bob", "192.0.2.2"), 10 + MINUTE).unwrap(), Ok(()));
    }

    #[test]
    fn the_table_does_not_grow_and_one_who_guesses_much_is_not_pushed_out() {
        let dir = tempfile::tempdir().unwrap();
        let keyed = Keyed::open(dir.path()).unwrap();
        let limits = Limits::open(dir.path(), &keyed).unwrap();
        let mut now = 1000;
        for n in 0..OF_ACCOUNT {
            limits.take(who("alice", &format!("192.0.2.{n}")), now).unwrap().unwrap();
        }
        for n in 0..9000_u32 {
            // Over the minute's limit nothing is counted at all.
            now += u64::from(n % 200 == 0);
            let _ =
                limits.take(who(&format!("x{n}"), &format!("198.51.{}.{}", n / 256, n % 256)), now).unwrap();
        }
        assert!(limits.take(who("alice", "203.0.113.1"), now + MINUTE).unwrap().is_err());
        let size = limits.file.metadata().unwrap().len();
        assert!(size <= GROUPS * (WAYS * ENTRY) as u64, "{size}");
    }
}
