//! What was taken away, so that sessions that it let in can end: the ledger and the bell beside the store.
//!
//! The ledger (`-taken`) is a ring of tokens, short hashes of what a change took away: a key, an account, a grant, a
//! target. A session compares the new ones with those of its own key, account, grant and target, and only when one is
//! its own does it ask the store again: a removal costs each other session a read of some bytes. Orders of the
//! administrator to end sessions are tokens too, so nobody who ends one has to believe a pid.
//!
//! The bell (`-bell`) is a FIFO through which nothing is written. A writer that opens and closes it wakes everybody
//! who has it open for reading (poll(2) says `POLLHUP`), however many they are: inotify(7) has room for 128 of a user.
//! Who was woken opens it anew, and then reads the ledger, so that nothing is missed.
//!
//! Both are the store's owner's, and everybody may read them: a token says nothing to who doesn't know what it is of.

use std::fs::{File, OpenOptions};
use std::hash::Hasher;
use std::io::{self, Read};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::{FileExt, FileTypeExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use nix::libc;
use nix::sys::stat::Mode;
use siphasher::sip128::{Hasher128, SipHasher24};

use super::beside;
use crate::fingerprint::Fingerprint;
use crate::target::TargetId;

const MAGIC: [u8; 8] = *b"vsttakn1";
/// The magic, the key of the hashes, and how many tokens were ever written.
const HEADER: usize = 32;
const TOKEN: usize = 16;
/// Tokens that the ledger holds.
const ROOM: u64 = 4096;
/// More than these of one change are written as [`Taken::Much`].
const MOST: usize = 1024;

/// Something that was taken away, or an order to end sessions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Taken<'a> {
    /// A key: removed, revoked, narrowed.
    Key(&'a Fingerprint),
    /// An account: removed or disabled.
    Account(&'a str),
    /// A grant: removed or given another end.
    Grant(&'a str, TargetId),
    /// A target: removed or changed.
    Target(TargetId),
    /// More than can be listed: everybody is to ask.
    Much,
    /// The administrator ends the session of this number.
    EndSession(&'a str),
    /// The administrator ends the sessions of this account.
    EndAccount(&'a str),
    /// The administrator ends the sessions of this key.
    EndKey(&'a Fingerprint),
    /// The administrator ends the sessions in this target.
    EndTarget(TargetId),
}

type Token = [u8; TOKEN];

impl Taken<'_> {
    fn token(&self, key: &[u8; 16]) -> Token {
        let mut hasher = SipHasher24::new_with_key(key);
        let mut say = |tag: u8, number: i64, bytes: &[u8]| {
            hasher.write(&[tag]);
            hasher.write(&number.to_le_bytes());
            hasher.write(bytes);
        };
        match self {
            Taken::Key(key) => say(b'k', 0, &key.0),
            Taken::Account(name) => say(b'a', 0, name.as_bytes()),
            Taken::Grant(name, target) => say(b'g', target.0, name.as_bytes()),
            Taken::Target(target) => say(b't', target.0, b""),
            Taken::Much => say(b'*', 0, b""),
            Taken::EndSession(id) => say(b'S', 0, id.as_bytes()),
            Taken::EndAccount(name) => say(b'A', 0, name.as_bytes()),
            Taken::EndKey(key) => say(b'K', 0, &key.0),
            Taken::EndTarget(target) => say(b'T', target.0, b""),
        }
        hasher.finish128().as_bytes()
    }

    /// Whether it is an order of the administrator.
    #[must_use]
    pub fn is_order(&self) -> bool {
        matches!(self, Taken::EndSession(_) | Taken::EndAccount(_) | Taken::EndKey(_) | Taken::EndTarget(_))
    }
}

/// The bell of the store at `path`.
#[must_use]
pub fn bell_of(path: &Path) -> PathBuf {
    beside(path, "-bell")
}

/// The ledger of the store at `path`.
#[must_use]
pub fn ledger_of(path: &Path) -> PathBuf {
    beside(path, "-taken")
}

#[derive(Clone, Copy, PartialEq, Eq)]
struct Header {
    key: [u8; 16],
    written: u64,
}

impl Header {
    fn read(file: &File) -> io::Result<Header> {
        let mut bytes = [0; HEADER];
        file.read_exact_at(&mut bytes, 0)?;
        let (magic, rest) = bytes.split_at(8);
        let (key, written) = rest.split_at(16);
        match (key.try_into(), written.try_into()) {
            (Ok(key), Ok(written)) if magic == MAGIC => {
                Ok(Header { key, written: u64::from_le_bytes(written) })
            }
            _ => Err(io::ErrorKind::InvalidData.into()),
        }
    }
}

/// Makes the ledger and the bell if they are missing. For the store's owner.
///
/// # Errors
/// As open(2) and mkfifo(3).
pub(super) fn make(path: &Path) -> io::Result<()> {
    let bell = bell_of(path);
    if let Err(error) = bell.symlink_metadata() {
        if error.kind() != io::ErrorKind::NotFound {
            return Err(error);
        }
        match nix::unistd::mkfifo(&bell, Mode::from_bits_truncate(0o644)) {
            // Made, or made by another writer just now; whatever the umask took away is given back.
            Ok(()) | Err(nix::Error::EEXIST) => {
                std::fs::set_permissions(&bell, PermissionsExt::from_mode(0o644))?;
            }
            Err(error) => return Err(error.into()),
        }
    }
    let ledger = ledger_of(path);
    if File::open(&ledger).is_ok_and(|file| Header::read(&file).is_ok()) {
        return Ok(());
    }
    let mut header = MAGIC.to_vec();
    let mut key = [0; 16];
    File::open("/dev/urandom")?.read_exact(&mut key)?;
    header.extend(key);
    header.extend(0_u64.to_le_bytes());
    let new = beside(&ledger, &format!(".{}", std::process::id()));
    let made = (|| {
        let _ = std::fs::remove_file(&new);
        let file = OpenOptions::new().write(true).create_new(true).mode(0o644).open(&new)?;
        file.set_permissions(PermissionsExt::from_mode(0o644))?;
        // No token yet, but their room: a disk that is full later keeps nobody from hearing.
        header.resize(usize::try_from(place(ROOM - 1)).unwrap_or(0) + TOKEN, 0);
        file.write_all_at(&header, 0)?;
        std::fs::rename(&new, &ledger)
    })();
    if made.is_err() {
        let _ = std::fs::remove_file(&new);
    }
    made
}

/// Writes what was taken away, and rings. The caller has the writers' lock.
///
/// # Errors
/// As open(2) and write(2).
pub(super) fn announce(path: &Path, taken: &[Taken<'_>]) -> io::Result<()> {
    if taken.is_empty() {
        return Ok(());
    }
    make(path)?;
    let flags = libc::O_NOFOLLOW | libc::O_CLOEXEC;
    let file = OpenOptions::new().read(true).write(true).custom_flags(flags).open(ledger_of(path))?;
    let Header { key, mut written } = Header::read(&file)?;
    let much = [Taken::Much];
    for one in if taken.len() > MOST { &much } else { taken } {
        file.write_all_at(&one.token(&key), place(written))?;
        written += 1;
    }
    file.write_all_at(&written.to_le_bytes(), (HEADER - 8) as u64)?;
    ring(path);
    Ok(())
}

fn place(number: u64) -> u64 {
    HEADER as u64 + (number % ROOM) * TOKEN as u64
}

/// Wakes everybody who listens. That nobody does is no fault.
fn ring(path: &Path) {
    let flags = libc::O_NONBLOCK | libc::O_NOFOLLOW;
    match OpenOptions::new().write(true).custom_flags(flags).open(bell_of(path)) {
        Ok(bell) => drop(bell),
        Err(error) if error.raw_os_error() == Some(libc::ENXIO) => {}
        Err(error) => tracing::warn!(%error, "sessions are not told at once of what was taken away"),
    }
}

/// Somebody whose session is to end when what let it in is taken away.
#[derive(Debug)]
pub struct Listener {
    path: PathBuf,
    bell: Option<File>,
    /// How far the ledger was read; nothing when it could not be.
    read: Option<([u8; 16], u64)>,
}

/// What was heard.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Heard {
    /// Perhaps everything: who listens can't say what it missed.
    pub everything: bool,
    /// Which of those that were asked for, in their order.
    pub these: Vec<bool>,
}

impl Listener {
    /// Listens from now on to the store at `path`.
    #[must_use]
    pub fn new(path: &Path) -> Listener {
        let mut listener = Listener { path: path.to_owned(), bell: None, read: None };
        listener.open_bell();
        let header = listener.ledger().and_then(|file| Header::read(&file));
        listener.read = header.ok().map(|header| (header.key, header.written));
        listener
    }

    /// What hangs up (`POLLHUP`) when the bell is rung. None when there is no bell; it is looked for again by
    /// [`hear`](Self::hear).
    #[must_use]
    pub fn bell(&self) -> Option<BorrowedFd<'_>> {
        self.bell.as_ref().map(AsFd::as_fd)
    }

    /// Stops listening until [`hear`](Self::hear) is called.
    pub fn rest(&mut self) {
        self.bell = None;
    }

    /// Listens anew, and says what was written since the last time.
    #[must_use]
    pub fn hear(&mut self, asked: &[Taken<'_>]) -> Heard {
        self.open_bell();
        let everything = Heard { everything: true, these: vec![false; asked.len()] };
        let Ok(file) = self.ledger() else { return everything };
        let Ok(header) = Header::read(&file) else { return everything };
        let before = self.read.replace((header.key, header.written));
        let Some((key, seen)) = before.filter(|(key, _)| *key == header.key) else { return everything };
        let Some(fresh) = header.written.checked_sub(seen).filter(|fresh| *fresh <= ROOM / 2) else {
            return everything;
        };
        let wanted: Vec<Token> = asked.iter().map(|taken| taken.token(&key)).collect();
        let much = Taken::Much.token(&key);
        let mut heard = Heard { everything: false, these: vec![false; asked.len()] };
        for number in (seen..header.written).take(usize::try_from(fresh).unwrap_or(0)) {
            let mut token: Token = [0; TOKEN];
            if file.read_exact_at(&mut token, place(number)).is_err() {
                return everything;
            }
            heard.everything |= token == much;
            for (wanted, heard) in wanted.iter().zip(&mut heard.these) {
                *heard |= *wanted == token;
            }
        }
        // What was read may have been written over meanwhile.
        match Header::read(&file) {
            Ok(now) if now.key == key && now.written.wrapping_sub(seen) <= ROOM => heard,
            _ => everything,
        }
    }

    fn open_bell(&mut self) {
        let flags = libc::O_NONBLOCK | libc::O_NOFOLLOW | libc::O_NOCTTY;
        let bell = OpenOptions::new().read(true).custom_flags(flags).open(bell_of(&self.path));
        self.bell = bell.ok().filter(|file| file.metadata().is_ok_and(|about| about.file_type().is_fifo()));
    }

    fn ledger(&self) -> io::Result<File> {
        let flags = libc::O_NONBLOCK | libc::O_NOFOLLOW | libc::O_NOCTTY;
        OpenOptions::new().read(true).custom_flags(flags).open(ledger_of(&self.path))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

    use super::*;

    fn place() -> (tempfile::TempDir, PathBuf) {
        let dir = tempfile::tempdir().unwrap();
        let store = dir.path().join("store.db");
        make(&store).unwrap();
        (dir, store)
    }

    fn rings(listener: &Listener) -> bool {
        let mut polled = [PollFd::new(listener.bell().unwrap(), PollFlags::empty())];
        poll(&mut polled, PollTimeout::try_from(Duration::from_millis(20)).unwrap()).unwrap() > 0
    }

    const KEY: Fingerprint = Fingerprint([7; 32]);

    #[test]
    fn who_listens_hears_its_own_and_nothing_else() {
        let (_dir, store) = place();
        announce(&store, &[Taken::Account("before")]).unwrap();
        let mut listeners: Vec<Listener> = (0..300).map(|_| Listener::new(&store)).collect();
        let listener = &mut listeners[299];
        assert!(!rings(listener));
        announce(&store, &[Taken::Account("ada"), Taken::Key(&KEY)]).unwrap();
        assert!(rings(listener));
        let asked = [Taken::Key(&KEY), Taken::Account("bob"), Taken::EndKey(&KEY), Taken::Account("before")];
        assert_eq!(
            listener.hear(&asked),
            Heard { everything: false, these: vec![true, false, false, false] }
        );
        assert!(!rings(listener));
        assert_eq!(listener.hear(&asked), Heard { everything: false, these: vec![false; 4] });
        assert!(rings(&listeners[0]), "one that hears does not hear for the others");
    }

    #[test]
    fn what_rings_while_one_rests_is_heard_afterwards() {
        let (_dir, store) = place();
        let mut listener = Listener::new(&store);
        listener.rest();
        announce(&store, &[Taken::Target(TargetId(3))]).unwrap();
        assert_eq!(
            listener.hear(&[Taken::Target(TargetId(3)), Taken::Target(TargetId(4))]).these,
            [true, false]
        );
    }

    #[test]
    fn too_much_is_everything() {
        let (_dir, store) = place();
        let mut listener = Listener::new(&store);
        let names: Vec<String> = (0..=MOST).map(|n| format!("a{n}")).collect();
        let all: Vec<Taken<'_>> = names.iter().map(|name| Taken::Account(name)).collect();
        announce(&store, &all).unwrap();
        assert!(listener.hear(&[]).everything);
        // Many small changes, of which one who sleeps misses some.
        for chunk in all.chunks(100).cycle().take(60) {
            announce(&store, chunk).unwrap();
        }
        assert!(listener.hear(&[]).everything);
        assert!(!listener.hear(&[]).everything);
    }

    #[test]
    fn a_ledger_that_is_missing_or_another_is_everything() {
        let (_dir, store) = place();
        let mut listener = Listener::new(&store);
        std::fs::remove_file(ledger_of(&store)).unwrap();
        std::fs::remove_file(bell_of(&store)).unwrap();
        assert!(listener.hear(&[]).everything);
        assert!(listener.bell().is_none());
        announce(&store, &[]).unwrap();
        announce(&store, &[Taken::Account("ada")]).unwrap();
        assert!(listener.hear(&[]).everything);
        assert!(listener.bell().is_some());
        std::fs::write(ledger_of(&store), "no ledger").unwrap();
        assert!(listener.hear(&[]).everything);
        announce(&store, &[Taken::Account("ada")]).unwrap();
        assert!(listener.hear(&[]).everything);
    }
}
