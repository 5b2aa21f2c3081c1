//! `vestibulectl target`.

use std::ops::ControlFlow;
use std::process::ExitCode;

use anyhow::anyhow;
use serde::Serialize;
use vestibule::config::Revoked;
use vestibule::names::login::TargetName;
use vestibule::store::{KeyFilter, NewTarget, Store, StoreError, TargetRow};
use vestibule::target::{
    self, Driver, ExecWay, HostKeys, Leader, Policy, TargetId, TcpAddress, Transport, WAKE_WITHIN, Wake,
};

use crate::accounts::target_id;
use crate::args::TargetCommand;
use crate::getent::refuse_host_user;
use crate::grants::{self, find_target};
use crate::hub_args;
use crate::output::{Output, Shown, remark, say};
use crate::place::Ready;
use crate::target_args::{self, TargetAdd, TargetSet};
use crate::{keys, when};

pub(crate) fn run(ready: &Ready, command: TargetCommand) -> anyhow::Result<ExitCode> {
    match command {
        TargetCommand::Add(options) => add(ready, &options)?,
        TargetCommand::Set(options) => set(ready, &options)?,
        TargetCommand::List { json } => list(ready, json)?,
        TargetCommand::Show { name, json } => show(ready, &name, json)?,
        TargetCommand::Rm { name } => {
            ready.write()?.change(|changes| {
                let id = target_id(changes, &name, ready.prefix())?;
                anyhow::Ok(changes.remove_target(id)?)
            })?;
            say(format_args!("removed target '{name}', its keys and its grants"))?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn add(ready: &Ready, options: &TargetAdd) -> anyhow::Result<()> {
    let target = options.target(&ready.config)?;
    check_names(target_args::names(&target))?;
    ready.write()?.change(|changes| changes.add_target(&target, "local"))?;
    say(format_args!("added target '{}'", target.name))
}

fn set(ready: &Ready, options: &TargetSet) -> anyhow::Result<()> {
    let mut writer = ready.write()?;
    let store = ready.read()?;
    let id = find_target(ready, &store, &options.name)?.id;
    let row = find(&store, id)?;
    drop(store);
    let before: Vec<TargetName> = names_of(&row)?;
    let target = &row.target;
    let mut new = NewTarget {
        name: target.name.clone(),
        aliases: before.iter().filter(|name| **name != target.name).cloned().collect(),
        driver: target.driver.clone(),
        login_user: target.login_user.clone(),
        home: target.home.clone(),
        policy: target.policy.clone(),
    };
    options.apply(&mut new, &ready.config)?;
    check_names(target_args::names(&new).filter(|name| !before.contains(name)))?;
    writer.change(|changes| changes.set_target(id, &new))?;
    say(format_args!("changed target '{}'", new.name))
}

fn names_of(row: &TargetRow) -> anyhow::Result<Vec<TargetName>> {
    let aliases = row.aliases.iter().map(|alias| {
        TargetName::try_from(alias.as_str()).map_err(|why| anyhow!("alias '{}': {why}", alias.escape_debug()))
    });
    std::iter::once(Ok(row.target.name.clone())).chain(aliases).collect()
}

/// Refuses names under which nobody could come in, and remarks on those under which only some could.
fn check_names<'a>(names: impl Iterator<Item = &'a TargetName>) -> anyhow::Result<()> {
    for name in names {
        refuse_host_user("target", name.as_str())?;
        if let Err(why) = vestibule::names::login::parse(name.as_str().as_bytes()) {
            remark(format_args!(
                "target '{name}': is only reached as ACCOUNT+{name}: as a login name it {why}"
            ));
        }
    }
    Ok(())
}

fn find(store: &Store, id: TargetId) -> anyhow::Result<TargetRow> {
    let mut found = None;
    store.targets(Some(id), |row| {
        found = Some(row);
        ControlFlow::Break(())
    })?;
    Ok(found.ok_or_else(|| anyhow!("no target '{}'", id.0))??)
}

#[derive(Serialize)]
struct TargetJson<'a> {
    id: TargetId,
    name: &'a str,
    aliases: &'a [String],
    #[serde(flatten)]
    driver: &'a Driver,
    user: &'a str,
    home: Option<&'a str>,
    policy: &'a Policy,
    source: &'a str,
    created: i64,
    updated: i64,
}

impl<'a> TargetJson<'a> {
    fn new(row: &'a TargetRow) -> Self {
        let target = &row.target;
        TargetJson {
            id: target.id,
            name: target.name.as_str(),
            aliases: &row.aliases,
            driver: &target.driver,
            user: target.login_user.as_str(),
            home: target.home.as_deref(),
            policy: &target.policy,
            source: &row.source,
            created: row.created,
            updated: row.updated,
        }
    }
}

fn list(ready: &Ready, json: bool) -> anyhow::Result<()> {
    let store = ready.read()?;
    let mut out = Output::new();
    if !json {
        let _ = out.line(format_args!("{:<32} {:<48} {:<16} ALIASES", "TARGET", "ENTERED BY", "USER"));
    }
    let mut bad: Vec<StoreError> = Vec::new();
    store.targets(None, |row| match row {
        Ok(row) if json => out.element(&TargetJson::new(&row)),
        Ok(row) => out.line(format_args!(
            "{:<32} {:<48} {:<16} {}",
            row.target.name.as_str(),
            Shown(describe(&row.target.driver).as_bytes()),
            Shown(row.target.login_user.as_str().as_bytes()),
            Shown(row.aliases.join(" ").as_bytes())
        )),
        Err(error) => {
            bad.push(error);
            ControlFlow::Continue(())
        }
    })?;
    if json {
        out.end_array();
    }
    out.finish()?;
    match bad.into_iter().next() {
        Some(error) => Err(error.into()),
        None => Ok(()),
    }
}

/// A driver in a few words.
fn describe(driver: &Driver) -> String {
    match driver {
        Driver::Namespace { leader: Leader::PidFile(file) } => format!("namespaces of the process in {file}"),
        Driver::Namespace { leader: Leader::Machine(name) } => format!("namespaces of machine {name}"),
        Driver::Namespace { leader: Leader::Lxc(name) } => format!("namespaces of LXC container {name}"),
        Driver::Namespace { leader: Leader::Cgroup(path) } => format!("namespaces of control group {path}"),
        Driver::Docker { engine, container, exec: ExecWay::Namespaces, .. } => {
            format!("namespaces of {engine} container {container}")
        }
        Driver::Docker { engine, container, exec: ExecWay::Engine, .. } => {
            format!("exec of {engine} in container {container}")
        }
        Driver::Tcp { address } => tcp(address),
        Driver::Stream { over } => transport(over),
        Driver::Ssh { over, key, .. } => format!("ssh with the key '{key}', over {}", transport(over)),
    }
}

fn transport(over: &Transport) -> String {
    match over {
        Transport::Tcp(address) => tcp(address),
        Transport::Unix(path) => format!("unix socket {path}"),
        Transport::Command(name) => format!("command {name}"),
        Transport::Websocket { site, path } => format!("WebSocket {path} of {site}"),
    }
}

fn tcp(address: &TcpAddress) -> String {
    match address {
        TcpAddress::Fixed { host, port } => format!("TCP to {host} port {port}"),
        TcpAddress::Container { engine, container, port, published } => {
            let way = if *published { "published port" } else { "port" };
            format!("TCP to {way} {port} of {engine} container {container}")
        }
    }
}

/// What makes an SSH server the one that is meant, a line each.
fn host_keys(driver: &Driver) -> Vec<String> {
    match driver {
        Driver::Ssh { host_keys: HostKeys::Learn, .. } => vec!["to be learned".to_owned()],
        Driver::Ssh { host_keys: HostKeys::Pinned(keys), .. } => keys
            .iter()
            .map(|pinned| {
                let whose = if pinned.authority { " (authority)" } else { "" };
                format!("{} {}{whose}", pinned.key.key_type(), pinned.key.fingerprint())
            })
            .collect(),
        _ => Vec::new(),
    }
}

#[derive(Serialize)]
struct TargetDetails<'a> {
    #[serde(flatten)]
    target: TargetJson<'a>,
    keys: Vec<keys::KeyJson>,
    grants: Vec<grants::GrantJson>,
}

fn show(ready: &Ready, name: &str, json: bool) -> anyhow::Result<()> {
    let store = ready.read()?;
    let id = find_target(ready, &store, name)?.id;
    let row = find(&store, id)?;
    let keys = keys::gather(&store, KeyFilter::Target(id))?;
    let grants = grants::gather(&store, None, Some(id))?;
    let mut out = Output::new();
    if json {
        out.json(&TargetDetails { target: TargetJson::new(&row), keys, grants });
        return out.finish();
    }
    let target = &row.target;
    let yes_or_no = |yes: bool| if yes { "yes" } else { "no" };
    let _ = out.line(format_args!("target     {} (id {})", target.name, id.0));
    let _ = out.line(format_args!("aliases    {}", Shown(row.aliases.join(" ").as_bytes())));
    let _ = out.line(format_args!("entered by {}", Shown(describe(&target.driver).as_bytes())));
    if let Driver::Docker { shell: Some(shell), .. } = &target.driver {
        let _ = out.line(format_args!("shell      {}", Shown(shell.as_bytes())));
    }
    for known in host_keys(&target.driver) {
        let _ = out.line(format_args!("host key   {known}"));
    }
    let _ = out.line(format_args!("user       {}", Shown(target.login_user.as_str().as_bytes())));
    let _ =
        out.line(format_args!("home       {}", Shown(target.home.as_deref().unwrap_or_default().as_bytes())));
    let _ = out.line(format_args!("terminals  {}", yes_or_no(target.policy.pty)));
    let _ =
        out.line(format_args!("own keys   {}", yes_or_no(target.policy.own_keys && target.home.is_some())));
    if target.policy.write_keys {
        let _ = out.line(format_args!("its sshd   gets its keys written into the home"));
    }
    let _ = out.line(format_args!("agent      {}", yes_or_no(target.policy.agent_forwarding)));
    let _ = out.line(format_args!("x displays {}", yes_or_no(target.policy.x11)));
    let _ = out.line(format_args!("forwards   {}", target.policy.forward.as_str()));
    for (what, ports) in
        [("open ports", &target.policy.open_ports), ("listen on ", &target.policy.listen_ports)]
    {
        let ports: Vec<String> = ports.iter().map(u16::to_string).collect();
        if !ports.is_empty() {
            let _ = out.line(format_args!("{what} {}", ports.join(" ")));
        }
    }
    if !target.policy.welcome.is_empty() {
        let _ = out.line(format_args!("welcome    {}", Shown(target.policy.welcome.as_bytes())));
    }
    let _ = out.line(format_args!("sftp       {}", target.policy.sftp.as_str()));
    for line in waking(&target.policy) {
        let _ = out.line(format_args!("{}", Shown(line.as_bytes())));
    }
    for line in hub_args::shown(&target.policy) {
        let _ = out.line(format_args!("{}", Shown(line.as_bytes())));
    }
    if target.policy.revoked == Revoked::Keep {
        let _ = out.line(format_args!("revoked    keep"));
    }
    for (name, value) in &target.policy.env {
        let _ = out.line(format_args!("variable   {}={}", Shown(name.as_bytes()), Shown(value.as_bytes())));
    }
    let _ = out.line(format_args!("source     {}", Shown(row.source.as_bytes())));
    let _ = out.line(format_args!("created    {}", when::show(row.created)));
    let _ = out.line(format_args!("updated    {}", when::show(row.updated)));
    for key in &keys {
        let _ = out.line(format_args!("key        {key}"));
    }
    for grant in &grants {
        let end = when::show_end(grant.expires, when::now());
        let _ = out.line(format_args!("grant      {} ends {end}", Shown(grant.account.as_bytes())));
    }
    out.finish()
}

/// How the target is started, when it is.
fn waking(policy: &Policy) -> Vec<String> {
    let by = match &policy.wake {
        Wake::None => return Vec::new(),
        Wake::Engine => "its engine".to_owned(),
        Wake::Command(name) => format!("the command '{name}'"),
        Wake::Hub => "the hub".to_owned(),
    };
    let within = policy.wake_within.unwrap_or(WAKE_WITHIN);
    let ready = match &policy.ready {
        None => "it runs".to_owned(),
        Some(target::Ready::Tcp(port)) => format!("port {port} takes connections"),
        Some(target::Ready::File(path)) => format!("there is '{path}'"),
        Some(target::Ready::Command(words)) => format!("'{}' says so", words.join(" ")),
    };
    vec![format!("woken by   {by}, within {within} s"), format!("ready when {ready}")]
}
