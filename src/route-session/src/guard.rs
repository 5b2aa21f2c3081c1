//! Beside a session to a TCP service: it ends when what let it in is taken away. `keys-lookup --watch` says when.

use std::io::{BufRead, BufReader, Read};
use std::process::{Child, ChildStdout, Command, Stdio};

use vestibule::messages::{Loss, Refusal, shown};
use vestibule::paths;
use vestibule::watch::Ending;
use vestibule_sys::process::exit_now;
use vestibule_sys::syslog::{Severity, Syslog};

use crate::authorise::Authorised;
use crate::who::Visitor;

/// What is said of an ending is a line of some hundred bytes.
const MAX_LINE: u64 = 64 << 10;

/// A process that watches. It ends with this one, whose pipe it has.
#[derive(Debug)]
pub(crate) struct Guard {
    child: Child,
    says: ChildStdout,
}

/// Begins to watch. A session that can't be watched goes on.
pub(crate) fn begin(session: &str, visitor: &Visitor) -> Option<Guard> {
    let mut command = Command::new(paths::KEYS_LOOKUP);
    command.env_clear().stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
    if let Some(address) = visitor.address() {
        command.args(["--client", address]);
    }
    command.args(["--watch", session]).arg("--").arg(&visitor.login).arg(visitor.shown.to_argument());
    let begun = command.spawn().and_then(|mut child| {
        let says = child.stdout.take().ok_or(std::io::ErrorKind::BrokenPipe)?;
        Ok(Guard { child, says })
    });
    begun
        .inspect_err(|e| {
            Syslog::open("route-session").line(
                Severity::Error,
                format_args!("session={session} error: it won't end when access is taken away: {e}"),
            );
        })
        .ok()
}

impl Guard {
    /// Waits until the session has to end, and ends this process then, with words for the user. Returns when there was
    /// nothing to watch for.
    pub(crate) fn stand(mut self, session: &str, authorised: &Authorised) {
        let mut line = Vec::new();
        let heard = BufReader::new(self.says.by_ref().take(MAX_LINE)).read_until(b'\n', &mut line);
        let ending = heard.ok().and_then(|_| serde_json::from_slice::<Ending>(&line).ok());
        let ending = match (ending, self.child.wait()) {
            (Some(ending), _) => ending,
            // It could not begin, and said why in the log.
            (None, Ok(status)) if status.code().is_some() => return,
            // Only somebody of its own user can have ended it, and nobody is left who would hear of a revocation.
            (None, _) => Ending {
                loss: Loss::Taken,
                reason: "unwatched".to_owned(),
                cause: "who watches it was ended".to_owned(),
            },
        };
        let Ending { loss, reason, cause } = ending;
        let Authorised { target, account, .. } = authorised;
        Syslog::open("route-session").line(
            Severity::Warning,
            format_args!(
                "session={session} event=revoked target={} account={} reason={} cause={:?}",
                shown(target),
                account.as_deref().unwrap_or("-"),
                shown(&reason),
                shown(&cause)
            ),
        );
        let refusal = Refusal::Revoked { target: target.clone(), loss };
        refusal.line(session).say();
        exit_now(refusal.exit().code().into());
    }
}
