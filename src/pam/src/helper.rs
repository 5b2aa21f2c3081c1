//! Talking to `enter --network`: the question goes over a socket, the answer comes back with an open namespace.

use std::os::fd::{AsFd, OwnedFd};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use vestibule_sys::namespaces::{self, Kind};
use vestibule_sys::{pass, process, wire};

use crate::border::Known;

const ENTER: &str = concat!(env!("VESTIBULE_PREFIX"), "/libexec/vestibule/enter");
/// The helper has limits of its own, and says each second that a container is still being started; this one is for what
/// nobody thought of.
const LAST_RESORT: Duration = Duration::from_secs(60);

/// Where a session goes.
#[derive(Debug)]
pub(crate) enum Verdict {
    /// Into these.
    Into {
        network: OwnedFd,
        /// Mounts in which the resolver's files are the target's.
        mounts: Option<OwnedFd>,
        /// Where sshd is to put the cookie of the client's X display; empty for nowhere.
        authority: Vec<u8>,
    },
    /// Into an empty network namespace.
    Nowhere,
    /// It stays where it is.
    Stay,
    /// It is refused, with this line for the user.
    Refused(Vec<u8>),
}

/// Asks the helper.
///
/// # Errors
/// What went wrong, for the log.
pub(crate) fn ask(known: &Known) -> Result<Verdict, String> {
    let (ours, theirs) = pass::socket_pair().map_err(|e| format!("socketpair: {e}"))?;
    let started = Command::new(ENTER)
        .arg("--network")
        .env_clear()
        .current_dir("/")
        .stdin(theirs)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn();
    let mut child = started.map_err(|e| format!("'{ENTER}': {e}"))?;
    let mut question = Vec::new();
    let fields: [&[u8]; 4] = [&known.login, &known.auth_info, &known.client, &known.tty];
    wire::send(&mut question, &fields).map_err(|e| format!("the question: {e}"))?;
    pass::send_whole(ours.as_fd(), &question).map_err(|e| format!("'{ENTER}': {e}"))?;
    let verdict = listen(&ours, Instant::now() + LAST_RESORT);
    // It has left a child to work for it and ended, before it read anything.
    let _ = child.wait();
    verdict
}

/// Reads the answer: perhaps that it takes a while, perhaps mounts, then a verdict.
fn listen(socket: &OwnedFd, mut end: Instant) -> Result<Verdict, String> {
    let mut mounts = None;
    loop {
        let left = end.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(format!("no answer from '{ENTER}' after {} seconds", LAST_RESORT.as_secs()));
        }
        if !process::poll_readable(socket.as_fd(), left).map_err(|e| format!("poll: {e}"))? {
            continue;
        }
        let message = pass::receive(socket.as_fd()).map_err(|e| format!("recvmsg: {e}"))?;
        let (bytes, fd) = message.ok_or_else(|| format!("'{ENTER}' ended without an answer"))?;
        let mut fields = wire::receive(&bytes[..]).map_err(|e| format!("the answer: {e}"))?.into_iter();
        match fields.next().as_deref() {
            Some(b"wait") => end = Instant::now() + LAST_RESORT,
            Some(b"mounts") => mounts = Some(namespace(fd, Kind::Mnt)?),
            Some(b"into") => {
                let authority = fields.next().unwrap_or_default();
                return Ok(Verdict::Into { network: namespace(fd, Kind::Net)?, mounts, authority });
            }
            Some(b"nowhere") => return Ok(Verdict::Nowhere),
            Some(b"stay") => return Ok(Verdict::Stay),
            Some(b"refused") => return Ok(Verdict::Refused(fields.next().unwrap_or_default())),
            _ => return Err("the answer: not understood".to_owned()),
        }
    }
}

/// What came must be a namespace of the kind, and not the one that this process is in.
fn namespace(fd: Option<OwnedFd>, kind: Kind) -> Result<OwnedFd, String> {
    let fd = fd.ok_or("the answer came without a namespace")?;
    match namespaces::is_another(fd.as_fd(), kind) {
        Ok(true) => Ok(fd),
        Ok(false) => Err(format!("the answer came with what is no other {} namespace", kind.name())),
        Err(e) => Err(format!("the answer's {} namespace: {e}", kind.name())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::File;

    fn answer(fields: &[&[u8]], fd: Option<&str>) -> Result<Verdict, String> {
        let (ours, theirs) = pass::socket_pair().unwrap();
        let fd = fd.map(|path| File::open(path).unwrap());
        let mut message = Vec::new();
        wire::send(&mut message, fields).unwrap();
        pass::send(theirs.as_fd(), &message, fd.as_ref().map(AsFd::as_fd)).unwrap();
        drop(theirs);
        listen(&ours, Instant::now() + Duration::from_secs(5))
    }

    #[test]
    fn an_answer_is_a_word_and_perhaps_a_namespace() {
        assert!(matches!(answer(&[b"stay"], None), Ok(Verdict::Stay)));
        assert!(matches!(answer(&[b"nowhere"], None), Ok(Verdict::Nowhere)));
        assert!(matches!(answer(&[b"refused", b"no"], None), Ok(Verdict::Refused(line)) if line == b"no"));
        for wrong in ["what", "", "into", "mounts"] {
            assert!(answer(&[wrong.as_bytes()], None).is_err(), "{wrong:?}");
        }
        let (ours, theirs) = pass::socket_pair().unwrap();
        drop(theirs);
        assert!(listen(&ours, Instant::now() + Duration::from_secs(5)).is_err());
        let (ours, _theirs) = pass::socket_pair().unwrap();
        assert!(listen(&ours, Instant::now()).unwrap_err().starts_with("no answer"));
    }

    #[test]
    fn what_is_no_other_network_namespace_is_not_entered() {
        for path in ["/proc/self/ns/net", "/proc/self/ns/mnt", "/dev/null", "/proc/self/stat"] {
            let why = answer(&[b"into"], Some(path)).unwrap_err();
            assert!(why.contains("no other net namespace"), "{path}: {why}");
        }
    }
}
