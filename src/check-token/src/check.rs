//! One question, from PAM to the answer.

use std::fmt::Display;
use std::io;
use std::path::Path;
use std::process::ExitCode;

use vestibule::messages::shown;
use vestibule::paths;
use vestibule::secret::Secret;
use vestibule_names::login::Escaped;
use vestibule_sys::syslog::{Severity, Syslog};
use vestibule_sys::time;

use crate::cache::Cache;
use crate::hub::Answer;
use crate::keyed::{self, Keyed};
use crate::limits::{Limits, Who};
use crate::place::Place;
use crate::question::{self, Question};
use crate::refused::Refused;

/// Answers. What PAM gets is the exit status; the log has the rest.
pub(crate) fn run() -> ExitCode {
    let question = match Question::of_pam() {
        Ok(question) => question,
        Err(refused) => {
            log_fault(&refused.cause);
            return ExitCode::FAILURE;
        }
    };
    let answer = question::token(io::stdin().lock()).and_then(|token| {
        let place = Place::find(&question.login, time::now())?;
        let by = ask(&place, question.client.as_deref(), token)?;
        Ok((place, by))
    });
    let log = Syslog::open("check-token");
    let login = Escaped::new(&question.login);
    let client = shown(question.client.as_deref().unwrap_or("-"));
    match answer {
        Ok((Place { account, target, source, .. }, by)) => {
            log.line(
                Severity::Info,
                format_args!(
                    "result=granted login=\"{login}\" account={account} target={} hub={source} by={by} client={client:?}",
                    target.name
                ),
            );
            ExitCode::SUCCESS
        }
        Err(Refused { reason, cause }) => {
            let severity = match reason {
                "config" | "setup" | "store" => Severity::Error,
                _ => Severity::Warning,
            };
            log.line(
                severity,
                format_args!(
                    "result=refused reason={reason} login=\"{login}\" client={client:?} cause={:?}",
                    shown(&cause)
                ),
            );
            ExitCode::FAILURE
        }
    }
}

/// Says in the log what keeps the program from answering at all.
pub(crate) fn log_fault(why: &str) {
    Syslog::open("check-token").line(Severity::Error, format_args!("error: {}", shown(why)));
}

/// Whether the token opens the place, and who says so.
fn ask(place: &Place, client: Option<&str>, token: Secret) -> Result<&'static str, Refused> {
    let directory = Path::new(paths::TOKENS_DIR);
    let now = keyed::now().map_err(setup)?;
    let keyed = Keyed::open(directory).map_err(setup)?;
    let cache = Cache::open(directory).map_err(setup)?;
    let (account, target) = (place.account.as_bytes(), place.target.id.0.to_le_bytes());
    let digest = keyed.digest(&[
        token.expose().as_bytes(),
        account,
        &target,
        place.server.as_bytes(),
        place.source.as_bytes(),
    ]);
    if cache.has(&digest, now) {
        return Ok("cache");
    }
    let who = Who { account: &place.account, client };
    // The lock is not held while the hub is asked.
    let taken = Limits::open(directory, &keyed).and_then(|limits| limits.take(who, now)).map_err(setup)?;
    taken.map_err(|whose| Refused::new("limit", whose))?;
    let no_guess = || Limits::open(directory, &keyed).and_then(|limits| limits.give_back(who, now));
    match place.hub.ask(token) {
        Answer::Known(owner) => {
            owner.may(&place.account, &place.server)?;
            no_guess().map_err(setup)?;
            // Without it the hub is asked again.
            let _ = cache.keep(&digest, now);
            Ok("hub")
        }
        Answer::Unknown => {
            Err(Refused::new("token", "the hub does not know the token, or it has ended or was revoked"))
        }
        Answer::None(refused) => {
            no_guess().map_err(setup)?;
            Err(refused)
        }
    }
}

fn setup(why: impl Display) -> Refused {
    Refused::new("setup", format_args!("'{}': {why}", paths::TOKENS_DIR))
}
