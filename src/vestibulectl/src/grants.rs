//! `vestibulectl grant`.

use std::ops::ControlFlow;
use std::process::ExitCode;

use anyhow::{anyhow, bail};
use serde::Serialize;
use vestibule::names::login::Escaped;
use vestibule::store::{GrantLine, Store};
use vestibule::target::{Target, TargetId};

use crate::accounts::target_id;
use crate::args::GrantCommand;
use crate::output::{Output, Shown, say};
use crate::place::Ready;
use crate::when;

pub(crate) fn run(ready: &Ready, command: GrantCommand) -> anyhow::Result<ExitCode> {
    match command {
        GrantCommand::Add { account, target, expires } => add(ready, &account, &target, expires.as_deref())?,
        GrantCommand::List { account, target, json } => {
            list(ready, account.as_deref(), target.as_deref(), json)?;
        }
        GrantCommand::Show { account, target, json } => show(ready, &account, &target, json)?,
        GrantCommand::Rm { account, target } => remove(ready, &account, &target)?,
    }
    Ok(ExitCode::SUCCESS)
}

fn add(ready: &Ready, account: &str, target: &str, expires: Option<&str>) -> anyhow::Result<()> {
    let expires = expires.map(|text| when::parse_end(text, when::now())).transpose()?;
    let new = ready.write()?.change(|changes| {
        let id = changes.account_id(account)?;
        let target = target_id(changes, target, ready.prefix())?;
        anyhow::Ok(changes.grant(id, target, expires, "local")?)
    })?;
    let verb = if new { "may" } else { "still may" };
    match expires {
        None => say(format_args!("account '{account}' {verb} enter target '{target}'")),
        Some(end) => {
            say(format_args!("account '{account}' {verb} enter target '{target}' until {}", when::show(end)))
        }
    }
}

fn remove(ready: &Ready, account: &str, target: &str) -> anyhow::Result<()> {
    let removed = ready.write()?.change(|changes| {
        let id = changes.account_id(account)?;
        let target = target_id(changes, target, ready.prefix())?;
        anyhow::Ok(changes.ungrant(id, target)?)
    })?;
    if !removed {
        bail!("account '{account}' has no grant for target '{target}'");
    }
    say(format_args!("account '{account}' may not enter target '{target}' any more"))
}

#[derive(Serialize)]
pub(crate) struct GrantJson {
    pub(crate) account: String,
    pub(crate) target: String,
    pub(crate) expires: Option<i64>,
    source: String,
    created: i64,
}

impl From<GrantLine> for GrantJson {
    fn from(GrantLine { account, target, expires, source, created }: GrantLine) -> Self {
        GrantJson { account, target, expires, source, created }
    }
}

/// The grants of an account, of a target, or of both.
pub(crate) fn gather(
    store: &Store,
    account: Option<&str>,
    target: Option<TargetId>,
) -> anyhow::Result<Vec<GrantJson>> {
    let mut grants = Vec::new();
    store.grants(account, target, |row| {
        grants.push(GrantJson::from(row));
        ControlFlow::Continue(())
    })?;
    Ok(grants)
}

/// A target of the store, by a name as a login may spell it.
pub(crate) fn find_target(ready: &Ready, store: &Store, name: &str) -> anyhow::Result<Target> {
    let found = store.target_named(name, ready.prefix())?;
    found.ok_or_else(|| anyhow!("no target '{}'", Escaped::new(name.as_bytes())))
}

fn find_account(store: &Store, name: &str) -> anyhow::Result<()> {
    match store.account(name)? {
        Some(_) => Ok(()),
        None => bail!("no account '{}'", Escaped::new(name.as_bytes())),
    }
}

fn list(ready: &Ready, account: Option<&str>, target: Option<&str>, json: bool) -> anyhow::Result<()> {
    let store = ready.read()?;
    let target = target.map(|name| find_target(ready, &store, name)).transpose()?;
    account.map_or(Ok(()), |name| find_account(&store, name))?;
    let now = when::now();
    let mut out = Output::new();
    if !json {
        let _ = out.line(format_args!("{:<24} {:<24} {:<8} ENDS", "ACCOUNT", "TARGET", "SOURCE"));
    }
    store.grants(account, target.map(|target| target.id), |row| {
        if json {
            return out.element(&GrantJson::from(row));
        }
        out.line(format_args!(
            "{:<24} {:<24} {:<8} {}",
            Shown(row.account.as_bytes()),
            Shown(row.target.as_bytes()),
            Shown(row.source.as_bytes()),
            when::show_end(row.expires, now)
        ))
    })?;
    if json {
        out.end_array();
    }
    out.finish()
}

fn show(ready: &Ready, account: &str, target: &str, json: bool) -> anyhow::Result<()> {
    let store = ready.read()?;
    find_account(&store, account)?;
    let id = find_target(ready, &store, target)?.id;
    let Some(grant) = gather(&store, Some(account), Some(id))?.into_iter().next() else {
        bail!("account '{account}' has no grant for target '{target}'");
    };
    let mut out = Output::new();
    if json {
        out.json(&grant);
        return out.finish();
    }
    let _ = out.line(format_args!("account {}", Shown(grant.account.as_bytes())));
    let _ = out.line(format_args!("target  {}", Shown(grant.target.as_bytes())));
    let _ = out.line(format_args!("ends    {}", when::show_end(grant.expires, when::now())));
    let _ = out.line(format_args!("source  {}", Shown(grant.source.as_bytes())));
    let _ = out.line(format_args!("created {}", when::show(grant.created)));
    out.finish()
}
