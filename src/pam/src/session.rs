//! Whose session it is, and where it goes.

use std::os::fd::AsFd;
use std::path::Path;

use vestibule_names::shared;
use vestibule_sys::namespaces::{self, Kind};
use vestibule_sys::syslog::{Severity, Syslog};

use crate::border::{Known, User, user};
use crate::helper::{self, Verdict};

/// Where the shared uid stands; the NSS module reads it there too.
const CONF: &str = "/etc/vestibule/nss.conf";
/// The home that the NSS module gives every login name.
const HOME: &[u8] = concat!(env!("VESTIBULE_PREFIX"), "/share/vestibule/empty").as_bytes();

/// What libpam is told.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    /// `PAM_IGNORE`
    NotOurs,
    /// `PAM_SUCCESS`; and `XAUTHORITY` for what sshd runs, if it is not empty.
    Done { authority: Vec<u8> },
    /// `PAM_SESSION_ERR`, and a line for the user.
    Refused(Option<Vec<u8>>),
}

const DONE: Answer = Answer::Done { authority: Vec::new() };

/// Opens a session.
pub(crate) fn open(known: &Known) -> Answer {
    let shared = shared::read(Path::new(CONF), 0).map(|shared| shared.uid);
    match (user(&known.login), shared) {
        (Some(user), shared) if !is_ours(&user, shared) => return Answer::NotOurs,
        (Some(_), Some(_)) => {}
        (Some(_), None) => return closed("/etc/vestibule/nss.conf is missing or not as it must be"),
        (None, _) => return closed("no such user"),
    }
    match helper::ask(known) {
        Ok(Verdict::Stay) => DONE,
        Ok(Verdict::Nowhere) => match namespaces::leave_for_new(Kind::Net) {
            Ok(()) => DONE,
            Err(e) => closed(&format!("unshare: {e}")),
        },
        Ok(Verdict::Into { network, mounts, authority }) => {
            let moved = namespaces::move_into(network.as_fd(), Kind::Net)
                .and_then(|()| mounts.map_or(Ok(()), |fd| namespaces::move_into(fd.as_fd(), Kind::Mnt)));
            match moved {
                Ok(()) => Answer::Done { authority },
                Err(e) => closed(&format!("setns: {e}")),
            }
        }
        // The helper has logged it.
        Ok(Verdict::Refused(line)) => {
            isolate();
            Answer::Refused(Some(line))
        }
        Err(why) => closed(&why),
    }
}

/// Without the configuration it is not known who is ours; a user with the home of the login names is.
fn is_ours(user: &User, shared: Option<u32>) -> bool {
    match shared {
        Some(uid) => user.uid == uid,
        None => user.home == HOME,
    }
}

/// The session is refused. A stack in which this module is not `required` goes on all the same, so there is nothing
/// left to forward to.
pub(crate) fn closed(why: &str) -> Answer {
    Syslog::open("pam_vestibule").line(Severity::Error, format_args!("result=refused cause={why:?}"));
    isolate();
    Answer::Refused(None)
}

fn isolate() {
    if let Err(e) = namespaces::leave_for_new(Kind::Net) {
        Syslog::open("pam_vestibule").line(Severity::Error, format_args!("error: unshare: {e}"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ours_are_those_with_the_shared_uid() {
        let user = |uid, home: &[u8]| User { uid, home: home.to_vec() };
        assert!(is_ours(&user(998, b"/"), Some(998)));
        assert!(!is_ours(&user(1000, HOME), Some(998)));
        assert!(is_ours(&user(998, HOME), None));
        assert!(!is_ours(&user(0, b"/root"), None));
    }
}
