//! `route-session`: the ForceCommand. It takes a session that sshd has let in to its target.
//!
//! It runs as the account that all login names share and has no privileges. It reads who came (the login name and the
//! key that sshd accepted), asks `keys-lookup` again whether they may enter and where that leads, and becomes `enter`,
//! or carries bytes to a TCP target.

#![cfg_attr(not(test), no_main)]
#![forbid(unsafe_code)]

mod authorise;
mod display;
mod forward;
mod guard;
mod hand_over;
mod who;

use std::io::Write;
use vestibule_sys::entry::ExitCode;

use vestibule::messages::{Refusal, say_by_sftp, shown};
use vestibule::target::Driver;
use vestibule_sys::syslog::{Severity, Syslog};

use authorise::Authorised;
use who::Visitor;

/// What stops a session here: words for the user, and the cause for the log.
struct Refused {
    refusal: Refusal,
    cause: String,
}

impl Refused {
    fn new(refusal: Refusal, cause: impl std::fmt::Display) -> Self {
        Refused { refusal, cause: cause.to_string() }
    }

    fn setup(cause: impl std::fmt::Display) -> Self {
        Refused::new(Refusal::Setup, cause)
    }
}

vestibule_sys::program!(program);

fn program() -> ExitCode {
    if std::env::args_os().len() > 1 {
        to_operator(
            "route-session: to be run by sshd as ForceCommand, without arguments; see route-session(8)\n",
        );
        return ExitCode::from(2);
    }
    let log = Syslog::open("route-session");
    // Without a number there is no session; the line has a dash in its place.
    let number = vestibule::visit::session_number();
    let routed = match &number {
        Ok(session) => route(session, &log),
        Err(e) => Err(Refused::setup(format_args!("'/dev/urandom': {e}"))),
    };
    let session = number.as_deref().unwrap_or("-");
    match routed {
        Ok(code) => code,
        Err(Refused { refusal, cause }) => {
            let code = refusal.exit().code();
            let severity = if refusal == Refusal::Setup { Severity::Error } else { Severity::Warning };
            log.line(
                severity,
                format_args!("session={session} result=refused exit={code} cause={:?}", shown(&cause)),
            );
            let line = refusal.line(session);
            line.say();
            if who::wants_sftp() {
                say_by_sftp(&line);
            }
            ExitCode::from(code)
        }
    }
}

/// Identify, authorise, go. Returns when a TCP target is done; for the others this process becomes `enter`.
fn route(session: &str, log: &Syslog) -> Result<ExitCode, Refused> {
    // Others of the uid of all login names have no business with this one's environment and descriptors.
    vestibule_sys::process::set_dumpable(false)
        .map_err(|e| Refused::setup(format_args!("PR_SET_DUMPABLE: {e}")))?;
    let visitor = Visitor::from_environment()?;
    let authorised = authorise::ask(&visitor)?;
    let Authorised { target, account, source, .. } = &authorised;
    log.line(
        Severity::Info,
        format_args!(
            "session={session} result=granted login={:?} target={target} account={} source={source} fingerprint={} client={:?}",
            shown(&visitor.login.to_string_lossy()),
            account.as_deref().unwrap_or("-"),
            visitor.shown,
            shown(&visitor.connection),
        ),
    );
    match &authorised.driver {
        Driver::Tcp { address } => forward::carry(session, &authorised, address, &visitor),
        Driver::Namespace { .. } | Driver::Docker { .. } | Driver::Stream { .. } | Driver::Ssh { .. } => {
            Err(hand_over::become_enter(session, &authorised, &visitor))
        }
    }
}

/// Writes to standard error for who runs this by hand, where nobody may be reading. What a session's user reads is a
/// [`vestibule::messages::Line`].
fn to_operator(text: &str) {
    let _ = std::io::stderr().lock().write_all(text.as_bytes());
}
