//! One question, from the command line to the answer.

use std::ffi::OsStr;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;
use vestibule_sys::entry::ExitCode;

use vestibule::config::{Config, ConfigError, Forwarding};
use vestibule::decide::{self, Facts, Judge, Offered, Outcome, Question, World};
use vestibule::decision::Decision;
use vestibule::engine_address::AskEnter;
use vestibule::names::index::Index;
use vestibule::names::login::LoginName;
use vestibule::options::{ClientAddress, Clock};
use vestibule::paths;
use vestibule::proof::{Credential, CredentialError};
use vestibule::store::{Store, StoreError};
use vestibule::tenant_file::HostFiles;
use vestibule::watch::Ending;
use vestibule_sys::{caps, time};

use crate::args::Request;
use crate::audit::Audit;
use crate::moved;
use crate::{output, stay};

/// Seconds after which the program is ended from outside, whatever it waits for. Everything in it that may wait has a
/// shorter deadline of its own; this one is for what nobody thought of, a file system that does not answer.
const LAST_RESORT: u32 = 15;

/// Why a question has no answer.
enum Fault {
    Config(ConfigError),
    Store(StoreError),
    Credential(CredentialError),
    /// A key was asked for with `--principals`, or a certificate without.
    Unfit,
    Privileges(std::io::Error),
}

/// Answers one question.
pub(crate) fn run(request: &Request) -> ExitCode {
    nix::unistd::alarm::set(LAST_RESORT);
    time::forget_callers_zone();
    let audit = Audit::new(request);
    if let Some(session) = &request.watch {
        return stay_beside(session, request, &audit);
    }
    let (outcome, decision) = match ask(request, &audit) {
        Ok(outcome) => {
            audit.outcome(&outcome);
            let decision = request
                .decide
                .then(|| Decision::of(&outcome, Credential::read(&request.shown).ok().as_ref()));
            (Some(outcome), decision)
        }
        Err(fault) => {
            audit.fault(fault.reason(), &fault.detail());
            (None, request.decide.then(|| Decision::denied(fault.reason(), fault.detail())))
        }
    };
    if let Some(decision) = decision {
        let mut json = serde_json::to_vec(&decision).unwrap_or_default();
        json.push(b'\n');
        return output::print(&json);
    }
    match outcome {
        Some(Outcome::Granted(granted)) => {
            let lines: Vec<u8> = granted.lines.into_iter().flat_map(|line| line.text).collect();
            output::print(&lines)
        }
        Some(Outcome::Closed(closed)) => output::print(&closed.lines()),
        Some(Outcome::NotOurs) => fallback(request),
        Some(Outcome::Denied(_)) => ExitCode::SUCCESS,
        // Without the store nobody of ours gets in. Others are none of its business, least of all an administrator
        // who comes to mend it.
        None if ours_by_index(request) => ExitCode::SUCCESS,
        None => fallback(request),
    }
}

/// What is said on standard output is the answer; that there is none, because there is nothing to watch for, is in the log.
fn stay_beside(session: &str, request: &Request, audit: &Audit<'_>) -> ExitCode {
    let watched = match (ask(request, audit), Credential::read(&request.shown)) {
        (Ok(Outcome::Granted(granted)), Ok(shown)) => {
            nix::unistd::alarm::cancel();
            stay::watch(session, &granted, &shown, request.client.as_deref())
        }
        // It was open when the session was let in.
        (Ok(Outcome::Closed(closed)), Ok(shown)) => {
            nix::unistd::alarm::cancel();
            stay::watch(session, &closed.granted, &shown, request.client.as_deref())
        }
        // What let it in was taken away while it was on its way.
        (Ok(Outcome::Denied(denied)), _) => stay::say(&Ending::of(&denied.reason)),
        (Err(fault), _) => Err(std::io::Error::other(fault.detail().to_string())),
        _ => Err(std::io::Error::other("it may not enter")),
    };
    match watched {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            audit.fault("watch", &error);
            ExitCode::FAILURE
        }
    }
}

fn ask(request: &Request, audit: &Audit<'_>) -> Result<Outcome, Fault> {
    let chosen = request.config.is_some() || request.store.is_some();
    if chosen && !nix::unistd::getuid().is_root() {
        // Whoever says where the answers are could otherwise have any file of the host read.
        caps::drop_all().map_err(Fault::Privileges)?;
    }
    let config = match &request.config {
        Some(path) => Config::load(path),
        None => Config::load_trusted(Path::new(paths::CONFIG)),
    };
    let config = config.map_err(Fault::Config)?;
    let store = Store::open_read(store_path(request)).map_err(Fault::Store)?;
    let prefix = config.target_prefix.as_deref();
    let shown = match Credential::read(&request.shown) {
        Ok(shown) => shown,
        Err(why) => return not_a_key(request, &store, prefix, why),
    };
    let here = request.decide || request.watch.is_some();
    let judge = match &request.client {
        _ if !here => Judge::Sshd,
        // sshd writes UNKNOWN for a client that came by no address; no `from=` holds for it here.
        client => Judge::Here(client.as_deref().and_then(ClientAddress::parse)),
    };
    let clock = Clock { now: time::now(), from_local: time::from_local };
    // Only a line that sshd gets has options.
    let moved = config.forwarding == Forwarding::Pam
        && !here
        && moved::by_caller().inspect_err(|why| audit.no_forwards(why)).is_ok();
    if !here && request.principals == shown.certificate().is_none() {
        return Err(Fault::Unfit);
    }
    let authorities = &config.authority;
    let certificate = shown.certificate().map(|certificate| Offered { certificate, authorities });
    let key = shown.key();
    let question = Question { login: &request.login, key, certificate, judge, clock, prefix, moved };
    let files = HostFiles {
        shed_privileges: true,
        may_enter: config.may_enter.clone(),
        ..HostFiles::new(&config.keys)
    };
    let addresses = AskEnter::default();
    let world = World { facts: &store, files: &files, addresses: &addresses };
    let outcome = decide::decide(&question, &world, &mut |step| audit.step(&step)).map_err(Fault::Store);
    let outcome = outcome.map(|outcome| outcome.held_to(&config.may_enter));
    // The kernel closes what is open, sooner than SQLite.
    std::mem::forget(store);
    outcome
}

/// What is neither fingerprint nor certificate opens nothing here; for a name that is not ours another command may know
/// better.
fn not_a_key(
    request: &Request,
    store: &Store,
    prefix: Option<&str>,
    why: CredentialError,
) -> Result<Outcome, Fault> {
    let Ok(login) = LoginName::parse(&request.login) else { return Ok(Outcome::NotOurs) };
    match Facts::resolve(store, &login, prefix).map_err(Fault::Store)? {
        Some(_) => Err(Fault::Credential(why)),
        None => Ok(Outcome::NotOurs),
    }
}

fn store_path(request: &Request) -> &Path {
    request.store.as_deref().unwrap_or(Path::new(paths::STORE))
}

/// Whether the index beside the store has the login name. NSS asks it too: a name that is not in it, or an index that
/// can't be read, means that sshd knows the name from somewhere else.
fn ours_by_index(request: &Request) -> bool {
    let index = match &request.store {
        Some(store) => store.with_file_name(Path::new(paths::INDEX).file_name().unwrap_or_default()),
        None => paths::INDEX.into(),
    };
    Index::open(&index).and_then(|index| index.login_exists(&request.login)).unwrap_or(false)
}

/// Becomes the other command, if there is one. Its output and its exit status are then the answer.
fn fallback(request: &Request) -> ExitCode {
    let Some((command, args)) = request.fallback.split_first() else { return ExitCode::SUCCESS };
    nix::unistd::alarm::cancel();
    // A file capability is not passed on by execve(2).
    fallback_failed(command, &Command::new(command).args(args).exec())
}

fn fallback_failed(command: &OsStr, error: &std::io::Error) -> ExitCode {
    let command = Path::new(command).display().to_string();
    output::say(format_args!("can't execute '{command}': {error}"));
    vestibule_sys::syslog::Syslog::open("keys-lookup").line(
        vestibule_sys::syslog::Severity::Error,
        format_args!("error: can't execute the fallback '{command}': {error}"),
    );
    ExitCode::SUCCESS
}

impl Fault {
    fn reason(&self) -> &'static str {
        match self {
            Fault::Config(_) => "config",
            Fault::Store(_) => "store",
            Fault::Credential(CredentialError::Fingerprint(_)) => "fingerprint",
            Fault::Credential(CredentialError::Certificate(_)) => "certificate",
            Fault::Unfit => "unfit",
            Fault::Privileges(_) => "privileges",
        }
    }

    fn detail(&self) -> String {
        match self {
            Fault::Config(error) => chain(error),
            Fault::Store(error) => chain(error),
            Fault::Credential(CredentialError::Certificate(error)) => error.to_string(),
            Fault::Credential(CredentialError::Fingerprint(error)) => {
                format!("{error}; sshd must have 'FingerprintHash sha256', its default")
            }
            Fault::Unfit => {
                "certificates are for AuthorizedPrincipalsCommand, with --principals, keys for AuthorizedKeysCommand".to_owned()
            }
            Fault::Privileges(error) => format!("can't give up the capability: {error}"),
        }
    }
}

/// An error and its causes on one line.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}
