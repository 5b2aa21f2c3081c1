//! Keeping the key of a server that is reached for the first time: `refresh-keys`, whose user owns the store, puts it into the
//! target's row, if that says that the keys are to be learned. It is started while this process may still become that user,
//! and waits for the key; from then on no other key is taken.

use std::ffi::CString;
use std::fs::{self, File};
use std::io::{self, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use vestibule::messages::shown;
use vestibule::paths;
use vestibule_sys::syslog::{Severity, Syslog};
use vestibule_sys::{exec, fds, process, pty, signals};

use super::user_of_host;
use crate::environment::DEFAULT_PATH;
use crate::parser::Parser;
use crate::refused::{OrRefuse, Refused};
use crate::users::User;

/// What waits for the key; nothing is kept if this is dropped.
pub(super) struct Learner {
    to: File,
}

/// Starts it for a target. To be called as root, before anything of this session's is in sight.
pub(super) fn start(target: &str, parser: &mut Parser) -> Result<Learner, Refused> {
    let user = user_of_host(parser, paths::USER_REFRESH)?;
    let words = |all: &[&str]| all.iter().map(|word| CString::new(*word)).collect::<Result<Vec<_>, _>>();
    let args = words(&[paths::REFRESH_KEYS, "--pin-host-key", target]).map_err(Refused::setup)?;
    let env = words(&[&format!("PATH={DEFAULT_PATH}"), "HOME=/"]).map_err(Refused::setup)?;
    let (from, to) = process::pipe().or_setup("pipe")?;
    // It ends of itself: with the key, or with the other end of its pipe, which nobody but this process has.
    process::fork_child(|| {
        let e = become_refresher(&args, &env, &user, &from);
        Syslog::open("enter").line(
            Severity::Error,
            format_args!(
                "target={} error: its host key is not kept: '{}': {e}",
                shown(target),
                paths::REFRESH_KEYS
            ),
        );
        127
    })
    .or_setup("fork")?;
    Ok(Learner { to: File::from(to) })
}

/// Returns only why it could not.
fn become_refresher(args: &[CString], env: &[CString], user: &User, from: &OwnedFd) -> io::Error {
    let prepared = || -> io::Result<()> {
        pty::new_session()?;
        let null = fds::null()?;
        fds::become_std(from.as_fd(), 0)?;
        for number in 1..3 {
            fds::become_std(null.as_fd(), number)?;
        }
        fds::close_on_exec_from(3)?;
        signals::reset_all()?;
        process::become_user(user.uid, user.gid, &user.groups)
    };
    match (prepared(), args.first()) {
        (Err(e), _) => e,
        (Ok(()), Some(program)) => exec::execute(program, args, env),
        (Ok(()), None) => io::ErrorKind::InvalidInput.into(),
    }
}

impl Learner {
    /// Hands on the key that the client took, which is the only line of its file of known hosts.
    ///
    /// # Errors
    /// As open(2) and write(2); the session goes on, and the key is learned another time.
    pub(super) fn tell(mut self) -> io::Result<()> {
        let known = fs::read(Path::new(paths::HOP_DIR).join("known_hosts"))?;
        self.to.write_all(&known)
    }
}
