//! `vestibulectl doctor`: is everything as it must be? Each fault says what was seen, how it is mended, and why it matters.
//!
//! `setup.rs` looks at what vestibule itself installs and needs, `server.rs` at the rest of sshd's configuration, `host.rs`
//! at the host around it, `trigger.rs` at the user of a hub's trigger, `denials.rs` at what a security policy forbade.
//! Nothing is changed unless `--mend` is given.

use std::fs;
use std::net::IpAddr;
use std::process::ExitCode;

use nix::unistd::geteuid;
use serde::Serialize;
use vestibule::config::Config;
use vestibule::names::login::target_lookups;
use vestibule::store::{Age, SourceRow, Store, Writer};

use crate::init;
use crate::layout::{self, Identities};
use crate::output::{Output, Shown};
use crate::place::{Place, as_owner};
use crate::when;

mod denials;
mod host;
mod server;
pub(crate) mod setup;
mod tokens;
mod trigger;
mod workspaces;

use host::Seen;

/// Something that is not as it must be.
#[derive(Debug, Serialize)]
pub(crate) struct Fault {
    /// What is wrong.
    pub(crate) what: String,
    /// What to do; may be empty where `what` says it.
    pub(crate) mend: String,
    /// What comes of it; empty where that is plain.
    pub(crate) why: &'static str,
    pub(crate) level: Level,
}

/// How much something matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Level {
    /// Logins fail, or let somebody do more than they should.
    Fault,
    /// Nobody is kept out by it.
    Note,
}

impl Fault {
    pub(crate) fn new(what: impl Into<String>, mend: impl Into<String>) -> Fault {
        Fault { what: what.into(), mend: mend.into(), why: "", level: Level::Fault }
    }

    pub(crate) fn why(self, why: &'static str) -> Fault {
        Fault { why, ..self }
    }

    pub(crate) fn noted(self) -> Fault {
        Fault { level: Level::Note, ..self }
    }
}

const MEND: &str = "run 'vestibulectl doctor --mend'";
const HOME: &str =
    "sshd and PAM modules read files of a home, and OpenSSH 10.1 and later keeps agents' sockets there";
const PLACE: &str = "programs of vestibule can't read or write there, or somebody else can";

/// What `doctor` is asked.
#[derive(Debug, clap::Args)]
pub(crate) struct DoctorArgs {
    /// Mend the index of login names and the permissions
    #[arg(long)]
    mend: bool,
    /// Also say what keeps nobody out, but is worth knowing
    #[arg(long)]
    notes: bool,
    /// Ask sshd what it would do with this login name
    #[arg(long, value_name = "LOGIN", add = crate::complete::targets())]
    login: Option<String>,
    /// The address that the login comes from
    #[arg(long, value_name = "ADDRESS")]
    client: Option<IpAddr>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(place: &Place, args: &DoctorArgs) -> anyhow::Result<ExitCode> {
    let mut faults = Vec::new();
    if args.mend
        && let Err(error) = init::make(place)
    {
        faults.push(Fault::new(format!("can't mend: {error:#}"), ""));
    }
    check(place, args, &mut faults);
    faults.retain(|fault| args.notes || fault.level == Level::Fault);
    let count = faults.iter().filter(|fault| fault.level == Level::Fault).count();
    let mut out = Output::new();
    if args.json {
        for fault in &faults {
            let _ = out.element(fault);
        }
        out.end_array();
    } else {
        for fault in &faults {
            let (word, indent) = match fault.level {
                Level::Fault => ("fault", "       "),
                Level::Note => ("note", "      "),
            };
            let separator = if fault.mend.is_empty() { "" } else { "; " };
            let _ =
                out.line(format_args!("{word}: {}{separator}{}", Shown(fault.what.as_bytes()), fault.mend));
            if !fault.why.is_empty() {
                let _ = out.line(format_args!("{indent}{}", fault.why));
            }
        }
        let _ = match count {
            0 => out.line(format_args!("no faults")),
            1 => out.line(format_args!("1 fault")),
            many => out.line(format_args!("{many} faults")),
        };
    }
    out.finish()?;
    Ok(if count == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn check(place: &Place, args: &DoctorArgs, faults: &mut Vec<Fault>) {
    let config = if place.is_real {
        Config::load_trusted(&place.config_path)
    } else {
        Config::load(&place.config_path)
    };
    let config = match config {
        Ok(config) => config,
        Err(error) => {
            faults.push(Fault::new(format!("configuration: {:#}", anyhow::Error::from(error)), ""));
            Config::default()
        }
    };
    if !place.is_real {
        return store(place, &config, &mut Seen::default(), faults);
    }
    if !geteuid().is_root() {
        faults.push(Fault::new("not run as root: much can't be looked at", "run it as root"));
    }
    let mut seen = Seen::default();
    match Identities::find() {
        Err(error) => faults.push(Fault::new(format!("{error:#}"), "")),
        Ok(None) => faults.push(Fault::new("vestibule's users do not exist", "run 'vestibulectl init'")),
        Ok(Some(who)) => {
            setup::members(faults);
            setup::nss_conf(who, faults);
            for place in layout::directories(who).into_iter().chain(layout::store_files(who)) {
                faults.extend(place.fault().map(|what| Fault::new(what, MEND).why(PLACE)));
            }
            faults.extend(layout::home_fault().map(|(what, mend)| Fault::new(what, mend).why(HOME)));
            setup::programs(who, faults);
            tokens::user(who, faults);
            host::safe_path(faults);
            host::mounts(faults);
            host::run_as(faults);
            let checked = as_owner(who.refresh.uid, who.session.gid, || {
                store(place, &config, &mut seen, faults);
                Ok(())
            });
            faults.extend(checked.err().map(|error| Fault::new(format!("{error:#}"), "")));
            if let Some(login) = &args.login {
                seen.login = Some(login.clone());
            }
            let before = faults.len();
            setup::nsswitch(faults);
            // What NSS is not told of, it does not know.
            if faults.len() == before {
                host::trial(who, &seen, faults);
            }
            host::engines(&config, &seen, faults);
        }
    }
    setup::sshd(args.login.as_deref(), args.client, &config, faults);
    setup::forwarding(&config, faults);
    tokens::look(&config, faults);
    trigger::look(faults);
    server::version(faults);
    host::nologin(faults);
    host::room_and_clock(faults);
    denials::look(faults);
}

/// The store's file, its index, and what is in it.
fn store(place: &Place, config: &Config, seen: &mut Seen, faults: &mut Vec<Fault>) {
    let prefix = config.target_prefix.as_deref();
    let writer = match Writer::open(&place.store, &place.index, prefix) {
        Ok(writer) => writer,
        Err(error) => return faults.push(Fault::new(format!("{:#}", anyhow::Error::from(error)), "")),
    };
    let restore = "restore the store from a copy";
    match writer.integrity() {
        Ok(found) => {
            faults.extend(
                found.into_iter().map(|line| Fault::new(format!("the store is damaged: {line}"), restore)),
            );
        }
        Err(error) => faults.push(Fault::new(format!("{:#}", anyhow::Error::from(error)), "")),
    }
    match writer.check_names() {
        Err(error) => faults.push(Fault::new(format!("{:#}", anyhow::Error::from(error)), MEND)),
        Ok(names) => {
            if names.missing > 0 {
                let what = format!(
                    "{} of {} names are missing in '{}'",
                    names.missing,
                    names.names,
                    place.index.display()
                );
                faults.push(Fault::new(format!("{what}: nobody can log in by them"), MEND));
            }
            if names.extra > 0 {
                let what = format!(
                    "'{}' has {} names that are not in the store",
                    place.index.display(),
                    names.extra
                );
                faults.push(Fault::new(what, MEND));
            }
            if names.other_prefix {
                let what = format!("'{}' was made for another target_prefix", place.index.display());
                faults.push(Fault::new(what, MEND));
            }
        }
    }
    drop(writer);
    match Store::open_read(&place.store) {
        Ok(store) => contents(&store, config, seen, faults),
        Err(error) => faults.push(Fault::new(format!("{:#}", anyhow::Error::from(error)), "")),
    }
}

fn contents(store: &Store, config: &Config, seen: &mut Seen, faults: &mut Vec<Fault>) {
    let mut shut = workspaces::Shut::default();
    let listed = store.targets(None, |row| {
        match row {
            Err(error) => {
                faults.push(Fault::new(format!("{:#}", anyhow::Error::from(error)), "set the target anew"));
            }
            Ok(row) => {
                shut.look(&row.target, config);
                let engine = row.target.driver.engine();
                seen.engines.extend(engine.cloned());
                seen.login.get_or_insert_with(|| row.target.name.to_string());
                if let Some(engine) = engine.filter(|engine| !config.engine.contains_key(*engine)) {
                    let what = format!(
                        "target '{}' is of the engine '{engine}', which is not configured",
                        row.target.name
                    );
                    faults.push(Fault::new(what, "add it to vestibule.toml, or set the target anew"));
                }
            }
        }
        std::ops::ControlFlow::Continue(())
    });
    faults.extend(listed.err().map(|error| Fault::new(format!("{:#}", anyhow::Error::from(error)), "")));
    faults.extend(shut.fault());
    host_users(store, config, faults);
    match store.sources() {
        Ok(sources) => faults.extend(sources.iter().filter_map(|source| ageing(source, when::now()))),
        Err(error) => faults.push(Fault::new(format!("{:#}", anyhow::Error::from(error)), "")),
    }
}

/// A source whose keys cease to count before long, or did.
fn ageing(source: &SourceRow, now: i64) -> Option<Fault> {
    let SourceRow { name, succeeded: Some(answered), valid_until: Some(end), failure, .. } = source else {
        return None;
    };
    let why = failure.as_deref().map(|why| format!(" ({why})")).unwrap_or_default();
    let what = format!("the source '{name}' has not answered since {}{why}", when::show(*answered));
    let mend = format!("run 'refresh-keys --source {name}' and see why");
    match source.age(now) {
        Age::Fresh => None,
        Age::Ageing => Some(
            Fault::new(format!("{what}: its keys count until {}", when::show(*end)), mend)
                .why("More than half of its max_stale is over; after the rest its keys open nothing."),
        ),
        Age::Stale => Some(
            Fault::new(format!("{what}: its keys have ceased to count"), mend)
                .why("Its max_stale is over. Its keys open nothing until it answers again."),
        ),
    }
}

/// Names that a user of this host has got since they were added.
fn host_users(store: &Store, config: &Config, faults: &mut Vec<Fault>) {
    let passwd = fs::read("/etc/passwd").unwrap_or_default();
    for name in passwd.split(|byte| *byte == b'\n').filter_map(|line| line.split(|byte| *byte == b':').next())
    {
        let Ok(name) = std::str::from_utf8(name) else { continue };
        let named = target_lookups(name, config.target_prefix.as_deref())
            .any(|lookup| store.target_named(&lookup, None).is_ok_and(|target| target.is_some()));
        let default =
            store.account(name).is_ok_and(|account| account.is_some_and(|(_, default)| default.is_some()));
        if named || default {
            let what =
                format!("the login name '{name}' is a user of this host, and never leads to vestibule");
            faults.push(Fault::new(
                what,
                "rename the target, take the alias or the default target away, or remove the user",
            ));
        }
    }
}
