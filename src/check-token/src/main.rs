//! `check-token`: does a JupyterHub's token, typed at sshd's prompt, let this login in?
//!
//! `pam_exec(8)` starts it as root in sshd's privileged process, with the login's name and the client's address in the
//! environment and the token on standard input. Before it reads any of that it is a user who can do nothing but read the
//! store and write a directory of its own (`identity.rs`). Then: what is asked (`question.rs`), for which server of which
//! hub (`place.rs`), was it answered just now (`cache.rs`), was too much asked (`limits.rs`), what does the hub say
//! (`hub.rs`), and is that enough (`scopes.rs`). The exit status is the answer, the log says why.

#![forbid(unsafe_code)]

mod cache;
mod check;
mod hub;
mod identity;
mod keyed;
mod limits;
mod place;
mod question;
mod refused;
mod scopes;

use std::io::Write;
use std::process::ExitCode;

/// Seconds after which the program is ended from outside, whatever it waits for. What may wait has a shorter limit of its
/// own.
const LAST_RESORT: u32 = 20;

fn main() -> ExitCode {
    if std::env::args_os().len() > 1 {
        // Whoever runs this by hand may have gone.
        let _ = std::io::stderr()
            .write_all(b"check-token: to be run by pam_exec(8), without arguments; see check-token(8)\n");
        return ExitCode::from(2);
    }
    match identity::become_powerless() {
        Ok(()) => {}
        Err(why) => {
            let _ = writeln!(std::io::stderr(), "check-token: {why}");
            check::log_fault(&why);
            return ExitCode::FAILURE;
        }
    }
    nix::unistd::alarm::set(LAST_RESORT);
    check::run()
}
