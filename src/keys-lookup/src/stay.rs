//! `--watch`: beside a session that `route-session` carries itself, to a TCP service. It says on standard output when what
//! let the session in has been taken away, and ends when nobody reads that any more.

use std::io::{self, Write};
use std::os::fd::AsFd;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use vestibule::decide::Granted;
use vestibule::names::login::AccountName;
use vestibule::proof::Credential;
use vestibule::still::Case;
use vestibule::watch::{Ending, Watch};
use vestibule_sys::{caps, process};

/// Watches until the session is over, or has to be. The exit status says nothing.
///
/// # Errors
/// What keeps it from watching.
pub(crate) fn watch(
    session: &str,
    granted: &Granted,
    shown: &Credential,
    client: Option<&str>,
) -> io::Result<()> {
    caps::drop_all()?;
    process::set_dumpable(false)?;
    let Some(line) = granted.lines.first() else { return Ok(()) };
    let account = line.account.as_deref().map(AccountName::try_from).transpose();
    let case = Case {
        id: session.to_owned(),
        target: granted.target.id,
        account: account.map_err(|_| io::ErrorKind::InvalidData)?,
        proof: line.proof(shown).ok_or(io::ErrorKind::InvalidData)?,
        source: line.source.source,
        client: client.map(str::to_owned),
    };
    let mut watch = Watch::new(case, None)?;
    let out = io::stdout();
    loop {
        // A reader that has gone is always told.
        let mut polled =
            [PollFd::new(watch.fd(), PollFlags::POLLIN), PollFd::new(out.as_fd(), PollFlags::empty())];
        match poll(&mut polled, PollTimeout::NONE) {
            Ok(_) => {}
            Err(nix::Error::EINTR) => continue,
            Err(error) => return Err(error.into()),
        }
        let [_, reader] = &polled;
        if reader.any().unwrap_or(true) {
            return Ok(());
        }
        if let Some(ending) = watch.serve() {
            return say(&ending);
        }
    }
}

/// Says that the session has to end.
///
/// # Errors
/// As write(2).
pub(crate) fn say(ending: &Ending) -> io::Result<()> {
    let mut line = serde_json::to_vec(ending)?;
    line.push(b'\n');
    let mut out = io::stdout().lock();
    out.write_all(&line).and_then(|()| out.flush())
}
