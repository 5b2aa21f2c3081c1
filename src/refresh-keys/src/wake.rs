//! `--wake TARGET`: has the hub that a target comes from start it. `enter` asks for it when somebody comes to a target that
//! does not run and whose policy says `hub`.
//!
//! Which hub is asked, and by which address and token, stands in root's configuration; the store says only whose the
//! target is. What the hub tells meanwhile goes to standard error, for `enter` to show it to who waits
//! ([`HubLine`]), and so does why it could not.

use std::io::Write;
use std::ops::ControlFlow;
use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use vestibule::messages::HubLine;
use vestibule::store::Store;
use vestibule::target::{Target, TargetId};
use vestibule_names::login::TargetName;

use crate::settings::Source;
use crate::source;

/// Has it started, and waits until the hub says that it is, for `most` at most.
///
/// # Errors
/// Why it does not run.
pub(crate) fn run(store: &Path, sources: &[Source], name: &str, most: Duration) -> anyhow::Result<ExitCode> {
    let end = Instant::now() + most;
    let name =
        TargetName::try_from(name).with_context(|| format!("wake: target '{}'", name.escape_debug()))?;
    let what = || format!("wake: target '{name}'");
    let Known { target, source: owner, accounts, options } = known(store, &name).with_context(what)?;
    let source = match sources.iter().find(|source| source.name == owner) {
        Some(source) => source,
        // One that the administrator added: there is no doubt whom to ask when one hub can start targets.
        None if owner == "local" => {
            let mut able = sources.iter().filter(|source| source::can_wake(source));
            match (able.next(), able.next()) {
                (Some(only), None) => only,
                _ => bail!(
                    "wake: target '{name}': it is the administrator's, and not one source can start targets"
                ),
            }
        }
        None => bail!("wake: target '{name}': its source '{owner}' is not in the configuration"),
    };
    let hub = source::wakes(source)
        .and_then(|hub| hub.context("it starts no targets"))
        .with_context(|| format!("wake: source '{}'", source.name))?;
    let mut say = |words: &str| {
        let _ = writeln!(std::io::stderr(), "{}", HubLine::Tells(words));
    };
    if let Err(fault) = hub.wake(&target, &accounts, options.as_deref(), end, &mut say) {
        if let Some(words) = fault.for_who_waits() {
            let _ = writeln!(std::io::stderr(), "{}", HubLine::Refuses(&words));
        }
        return Err(fault.into_error()).with_context(what);
    }
    Ok(ExitCode::SUCCESS)
}

/// What the store has of a target.
pub(crate) struct Known {
    /// Its own name.
    pub(crate) target: String,
    pub(crate) source: String,
    /// Those that this source grants it.
    pub(crate) accounts: Vec<String>,
    /// What the hub is told when it is to start it, as JSON.
    options: Option<String>,
}

fn known(store: &Path, name: &TargetName) -> anyhow::Result<Known> {
    let store = Store::open_read(store)?;
    let Some(target) = store.target_named(name.as_str(), None)? else { bail!("there is none of that name") };
    of(&store, &target)
}

/// The same by its number; nothing if there is none.
///
/// # Errors
/// The store's.
pub(crate) fn known_by_id(store: &Path, id: TargetId) -> anyhow::Result<Option<Known>> {
    let store = Store::open_read(store)?;
    store.target(id)?.map(|target| of(&store, &target)).transpose()
}

fn of(store: &Store, target: &Target) -> anyhow::Result<Known> {
    let mut source = None;
    store.targets(Some(target.id), |row| {
        source = row.ok().map(|row| row.source);
        ControlFlow::Break(())
    })?;
    let source = source.context("it can't be read")?;
    let mut accounts = Vec::new();
    store.grants(None, Some(target.id), |grant| {
        if grant.source == source {
            accounts.push(grant.account);
        }
        ControlFlow::Continue(())
    })?;
    let options = target.policy.wake_options.as_ref().map(serde_json::to_string).transpose()?;
    Ok(Known { target: target.name.as_str().to_owned(), source, accounts, options })
}
