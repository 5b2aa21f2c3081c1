//! `vestibulectl account`.

use std::ops::ControlFlow;
use std::process::ExitCode;

use anyhow::{Context, anyhow};
use serde::Serialize;
use vestibule::names::login::{AccountName, Escaped, TargetName, target_lookups};
use vestibule::store::{AccountRow, ChangeError, Changes, KeyFilter, Store};
use vestibule::target::TargetId;

use crate::args::AccountCommand;
use crate::getent::refuse_host_user;
use crate::output::{Output, Shown, remark, say};
use crate::place::Ready;
use crate::{grants, keys, when};

pub(crate) fn run(ready: &Ready, command: AccountCommand) -> anyhow::Result<ExitCode> {
    match command {
        AccountCommand::Add { name, default_target } => add(ready, &name, default_target.as_deref())?,
        AccountCommand::List { json } => list(ready, json)?,
        AccountCommand::Show { name, json } => show(ready, &name, json)?,
        AccountCommand::Rm { name } => {
            ready.write()?.change(|changes| changes.remove_account(&name))?;
            say(format_args!("removed account '{}', its keys and its grants", Shown(name.as_bytes())))?;
        }
        AccountCommand::Set { name, default_target, no_default_target: _ } => {
            set_default(ready, &name, default_target.as_deref())?;
        }
        AccountCommand::Disable { name } => set_active(ready, &name, false)?,
        AccountCommand::Enable { name } => set_active(ready, &name, true)?,
    }
    Ok(ExitCode::SUCCESS)
}

/// An account's name, from the command line.
pub(crate) fn account_name(name: &str) -> anyhow::Result<AccountName> {
    AccountName::try_from(name).map_err(|why| anyhow!("account '{}': {why}", Escaped::new(name.as_bytes())))
}

/// A target's name, from the command line.
pub(crate) fn target_name(name: &str) -> anyhow::Result<TargetName> {
    TargetName::try_from(name).map_err(|why| anyhow!("target '{}': {why}", Escaped::new(name.as_bytes())))
}

/// A target of the store, by a name as a login may spell it.
pub(crate) fn target_id(changes: &Changes<'_>, name: &str, prefix: Option<&str>) -> anyhow::Result<TargetId> {
    target_name(name)?;
    for lookup in target_lookups(name, prefix) {
        match changes.target_id(&target_name(&lookup)?) {
            Err(ChangeError::Unknown { .. }) => {}
            found => return Ok(found?),
        }
    }
    Err(anyhow!("no target '{name}'"))
}

fn add(ready: &Ready, name: &str, default_target: Option<&str>) -> anyhow::Result<()> {
    let account = account_name(name)?;
    if default_target.is_some() {
        refuse_host_user("account", name)?;
    }
    ready.write()?.change(|changes| {
        changes.add_account(&account, "local")?;
        if let Some(target) = default_target {
            let target = target_id(changes, target, ready.prefix())?;
            changes.set_default(name, Some(target))?;
        }
        anyhow::Ok(())
    })?;
    say(format_args!("added account '{name}'"))?;
    warn_of_target(ready, name, default_target.is_some())
}

/// A target goes first when a login name may be both.
fn warn_of_target(ready: &Ready, name: &str, has_default: bool) -> anyhow::Result<()> {
    if has_default && ready.read()?.target_named(name, ready.prefix())?.is_some() {
        remark(format_args!(
            "account '{name}': a target has this name too, and the login name '{name}' goes to that target"
        ));
    }
    Ok(())
}

fn set_default(ready: &Ready, name: &str, target: Option<&str>) -> anyhow::Result<()> {
    if target.is_some() {
        refuse_host_user("account", name)?;
    }
    ready.write()?.change(|changes| {
        let target = target.map(|target| target_id(changes, target, ready.prefix())).transpose()?;
        changes.set_default(name, target)?;
        anyhow::Ok(())
    })?;
    match target {
        Some(target) => say(format_args!("the login name '{name}' goes to target '{target}'"))?,
        None => say(format_args!("the login name '{}' goes nowhere", Shown(name.as_bytes())))?,
    }
    warn_of_target(ready, name, target.is_some())
}

fn set_active(ready: &Ready, name: &str, active: bool) -> anyhow::Result<()> {
    let changed = ready.write()?.change(|changes| changes.set_active(name, active))?;
    let state = if active { "enabled" } else { "disabled" };
    let already = if changed { "" } else { " already" };
    say(format_args!("account '{name}' is {state}{already}"))
}

#[derive(Serialize)]
pub(crate) struct AccountJson<'a> {
    name: &'a str,
    active: bool,
    default_target: Option<&'a str>,
    source: &'a str,
    created: i64,
    updated: i64,
}

impl<'a> AccountJson<'a> {
    fn new(row: &'a AccountRow) -> Self {
        let AccountRow { name, active, default_target, source, created, updated } = row;
        let (active, created, updated) = (*active, *created, *updated);
        AccountJson { name, active, default_target: default_target.as_deref(), source, created, updated }
    }
}

fn state(row: &AccountRow) -> &'static str {
    if row.active { "active" } else { "disabled" }
}

fn list(ready: &Ready, json: bool) -> anyhow::Result<()> {
    let store = ready.read()?;
    let mut out = Output::new();
    if !json {
        let _ = out.line(format_args!("{:<24} {:<8} {:<24} SOURCE", "ACCOUNT", "STATE", "DEFAULT TARGET"));
    }
    store.accounts(None, |row| {
        if json {
            return out.element(&AccountJson::new(&row));
        }
        let default = row.default_target.as_deref().unwrap_or("-");
        out.line(format_args!(
            "{:<24} {:<8} {:<24} {}",
            Shown(row.name.as_bytes()),
            state(&row),
            Shown(default.as_bytes()),
            Shown(row.source.as_bytes())
        ))
    })?;
    if json {
        out.end_array();
    }
    out.finish()
}

#[derive(Serialize)]
struct AccountDetails<'a> {
    #[serde(flatten)]
    account: AccountJson<'a>,
    keys: Vec<keys::KeyJson>,
    grants: Vec<grants::GrantJson>,
}

fn show(ready: &Ready, name: &str, json: bool) -> anyhow::Result<()> {
    let store = ready.read()?;
    let row = find(&store, name)?;
    let keys = keys::gather(&store, KeyFilter::Account(name))?;
    let grants = grants::gather(&store, Some(name), None)?;
    let mut out = Output::new();
    if json {
        out.json(&AccountDetails { account: AccountJson::new(&row), keys, grants });
        return out.finish();
    }
    let default = row.default_target.as_deref().unwrap_or("none");
    let _ = out.line(format_args!("account        {}", Shown(row.name.as_bytes())));
    let _ = out.line(format_args!("state          {}", state(&row)));
    let _ = out.line(format_args!("default target {}", Shown(default.as_bytes())));
    let _ = out.line(format_args!("source         {}", Shown(row.source.as_bytes())));
    let _ = out.line(format_args!("created        {}", when::show(row.created)));
    let _ = out.line(format_args!("updated        {}", when::show(row.updated)));
    for key in &keys {
        let _ = out.line(format_args!("key            {key}"));
    }
    for grant in &grants {
        let end = when::show_end(grant.expires, when::now());
        let _ = out.line(format_args!("grant          {} ends {end}", Shown(grant.target.as_bytes())));
    }
    out.finish()
}

fn find(store: &Store, name: &str) -> anyhow::Result<AccountRow> {
    let mut found = None;
    store.accounts(Some(name), |row| {
        found = Some(row);
        ControlFlow::Break(())
    })?;
    found.with_context(|| format!("no account '{}'", Escaped::new(name.as_bytes())))
}
