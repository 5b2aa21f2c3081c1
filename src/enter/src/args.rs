//! The command line, and what must be true of this process before anything else is.

use std::ffi::{CString, OsString};
use std::io::Write;
use std::os::unix::ffi::OsStringExt;
use std::path::Path;
use vestibule_sys::entry::ExitCode;

use vestibule::decide::Source;
use vestibule::exit::Exit;
use vestibule::messages::Refusal;
use vestibule::names::login::AccountName;
use vestibule::paths;
use vestibule::proof::Proof;
use vestibule::target::TargetId;
use vestibule_sys::sealed::Installed;
use vestibule_sys::syslog::{Severity, Syslog};
use vestibule_sys::{fds, process, signals};

use crate::environment::Client;

/// What to do.
pub(crate) enum Task {
    /// Take a session into a target.
    Session(Box<Session>),
    /// Print a target's network address.
    Address { target: TargetId },
    /// Give a login's network namespace to `pam_vestibule`.
    Network,
    /// Go on starting a target that `enter --network` wants.
    Wake { session: String, target: TargetId, account: Option<AccountName> },
}

/// A session, as `route-session` authorised it.
pub(crate) struct Session {
    /// Its number, for messages, the log and the register.
    pub(crate) id: String,
    pub(crate) target: TargetId,
    pub(crate) account: Option<AccountName>,
    /// For the register, and to end with what it was let in by.
    pub(crate) proof: Option<Proof>,
    /// Which source listed the key.
    pub(crate) source: Source,
    /// Give it a terminal.
    pub(crate) pty: bool,
    /// The client's part of the environment.
    pub(crate) client: Client,
    /// What runs in place of the user's shell, word by word, when this is no session but asks whether a target is ready.
    pub(crate) probe: Option<Vec<String>>,
}

const USAGE: &str =
    "usage: enter --session ID --target N [--account NAME] [--proof WORDS] [--source WORD] [--pty]
       enter --address N
       enter --network
       enter --wake ID N [NAME]
";

/// Makes this process fit for what follows, and reads the command line.
pub(crate) fn prepare() -> Result<Task, ExitCode> {
    if nix::unistd::getuid().is_root() {
        return prepare_for_pam();
    }
    if let Err(what) = harden() {
        // A session's user is told by its number; without one it is somebody at a prompt.
        let session = match parse(lexopt::Parser::from_env()) {
            Ok(Some(Task::Session(session))) => session.id,
            _ => NO_SESSION.to_owned(),
        };
        return Err(refuse(&session, &what));
    }
    match parse(lexopt::Parser::from_env()) {
        Ok(Some(Task::Session(session))) => match may_bring(&session) {
            Ok(()) => Ok(Task::Session(session)),
            Err(what) => Err(refuse(&session.id, &what)),
        },
        Ok(Some(task)) => Ok(task),
        Ok(None) => {
            to_operator(USAGE);
            Err(ExitCode::SUCCESS)
        }
        Err(e) => {
            to_operator(&format!("enter: {e}\n{USAGE}"));
            Err(ExitCode::from(Exit::Setup.code()))
        }
    }
}

/// Root may ask for little. Nothing of a container is entered for `--network`, so it needs not run sealed.
fn prepare_for_pam() -> Result<Task, ExitCode> {
    let args: Vec<OsString> = std::env::args_os().skip(1).collect();
    let task = match &args[..] {
        [network] if network == "--network" => Some(Task::Network),
        [wake, of @ ..] if wake == "--wake" => wake_of(of),
        _ => None,
    };
    let Some(task) = task else { return Err(refuse(NO_SESSION, NOT_BY_ROOT)) };
    let ready = process::set_dumpable(false)
        .map_err(|e| format!("PR_SET_DUMPABLE: {e}"))
        .and_then(|()| if matches!(task, Task::Network) { Ok(()) } else { run_sealed() })
        .and_then(|()| leave_callers_behind());
    ready.map(|()| task).map_err(|what| refuse(NO_SESSION, &what))
}

fn wake_of(words: &[OsString]) -> Option<Task> {
    let words: Option<Vec<&str>> = words.iter().map(|word| word.to_str()).collect();
    let (session, target, account) = match words?[..] {
        [session, target] => (session, target, None),
        [session, target, account] => (session, target, Some(AccountName::try_from(account).ok()?)),
        _ => return None,
    };
    let session = session_id(session).ok()?;
    Some(Task::Wake { session, target: TargetId(target.parse().ok()?), account })
}

/// This program, as it is executed again.
pub(crate) const INSTALLED: Installed<'static> =
    Installed { program: paths::ENTER, empty: paths::EMPTY_HOME };

/// In place of a number.
const NO_SESSION: &str = "-";

/// Says what keeps this program from running, where an operator looks for it.
pub(crate) fn refuse(session: &str, what: &str) -> ExitCode {
    let code = Exit::Setup.code();
    let log = Syslog::open("enter");
    log.line(Severity::Error, format_args!("session={session} result=refused exit={code} cause={what:?}"));
    if session == NO_SESSION {
        to_operator(&format!("enter: {what}\n"));
    } else {
        Refusal::Setup.line(session).say();
    }
    ExitCode::from(code)
}

/// Who may bring sessions: the shared account, as the NSS module knows it. Other members of its group may only ask for
/// addresses. And 0, 1 and 2 must be what sshd gives to a forced command, for they cross into the container, whose root
/// could open anew, with rights of its own, whatever stands behind them: pipes, or nothing (`/dev/null`); with a
/// terminal, the terminal, which does not cross.
fn may_bring(session: &Session) -> Result<(), String> {
    let (shared, _) = shared_ids()?;
    if shared != nix::unistd::getuid().as_raw() {
        return Err("only the account of all login names may bring a session".to_owned());
    }
    for number in 0..3 {
        if !fds::crosses(number, session.pty).map_err(|e| format!("descriptor {number}: {e}"))? {
            return Err(format!("descriptor {number} is not what sshd gives to a command"));
        }
    }
    Ok(())
}

/// The uid and gid of all login names, as the NSS module knows them.
pub(crate) fn shared_ids() -> Result<(u32, u32), String> {
    let shared = vestibule::names::shared::read(Path::new(paths::NSS_CONF), 0);
    let shared = shared.ok_or_else(|| format!("'{}' is missing or not as it must be", paths::NSS_CONF))?;
    Ok((shared.uid, shared.gid))
}

const NOT_BY_ROOT: &str = "to be run by sshd through route-session, setuid root, not by root";

/// Leaves nothing of the caller's in this process, and nothing of the host's file system behind `/proc/PID/exe`.
fn harden() -> Result<(), String> {
    let is = nix::unistd::geteuid().is_root() && !nix::unistd::getuid().is_root();
    if !is {
        return Err(NOT_BY_ROOT.to_owned());
    }
    process::set_dumpable(false).map_err(|e| format!("PR_SET_DUMPABLE: {e}"))?;
    run_sealed()?;
    leave_callers_behind()
}

/// Executes this program again from where nothing can be written, unless it runs from there.
fn run_sealed() -> Result<(), String> {
    if !INSTALLED.is_sealed().map_err(|e| format!("'/proc/self/exe': {e}"))? {
        let strings = |all: Vec<OsString>| -> Vec<CString> {
            all.into_iter().filter_map(|s| CString::new(s.into_vec()).ok()).collect()
        };
        let args = strings(std::env::args_os().collect());
        let env = strings(
            std::env::vars_os()
                .map(|(mut name, value)| {
                    name.push("=");
                    name.push(value);
                    name
                })
                .collect(),
        );
        let e = INSTALLED.execute_again(&args, &env);
        return Err(format!(
            "can't run from a read-only overlay nor from sealed memory (is sysctl vm.memfd_noexec 2?): {e}"
        ));
    }
    Ok(())
}

fn leave_callers_behind() -> Result<(), String> {
    fds::close_inherited_from(3).map_err(|e| format!("close_range: {e}"))?;
    signals::reset_all().map_err(|e| format!("sigprocmask: {e}"))?;
    process::ignore_sigpipe();
    nix::sys::stat::umask(nix::sys::stat::Mode::from_bits_truncate(0o022));
    std::env::set_current_dir("/").map_err(|e| format!("'/': {e}"))
}

fn parse(mut parser: lexopt::Parser) -> Result<Option<Task>, lexopt::Error> {
    use lexopt::prelude::*;
    let (mut id, mut target, mut account, mut proof, mut pty) = (None, None, None, None, false);
    let mut source = None;
    while let Some(arg) = parser.next()? {
        match arg {
            Long("session") => id = Some(parser.value()?.parse_with(session_id)?),
            Long("target") => target = Some(TargetId(parser.value()?.parse()?)),
            Long("account") => {
                account = Some(
                    parser.value()?.parse_with(|s| AccountName::try_from(s).map_err(|e| e.to_string()))?,
                );
            }
            Long("proof") => proof = Some(parser.value()?.parse()?),
            Long("source") => {
                let word = |s: &str| Source::of_word(s).ok_or("no source of keys");
                source = Some(parser.value()?.parse_with(word)?);
            }
            Long("pty") => pty = true,
            Long("address") => return Ok(Some(Task::Address { target: TargetId(parser.value()?.parse()?) })),
            Long("help") | Short('h') => return Ok(None),
            other => return Err(other.unexpected()),
        }
    }
    let (Some(id), Some(target)) = (id, target) else {
        return Err("--session and --target are needed".into());
    };
    let client = Client::from_environment();
    // Who does not say it gets the one that is asked about most.
    let source = source.unwrap_or(if account.is_some() { Source::Account } else { Source::Target });
    let session = Session { id, target, account, proof, source, pty, client, probe: None };
    Ok(Some(Task::Session(Box::new(session))))
}

/// A session's number stands in paths and logs: letters and digits only.
fn session_id(text: &str) -> Result<String, &'static str> {
    let fine = (1..=32).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_alphanumeric());
    if fine { Ok(text.to_owned()) } else { Err("a session's number is 1 to 32 letters and digits") }
}

/// Writes to standard error for who runs this by hand, where nobody may be reading. What a session's user reads is a
/// [`vestibule::messages::Line`].
pub(crate) fn to_operator(text: &str) {
    let _ = std::io::stderr().lock().write_all(text.as_bytes());
}
