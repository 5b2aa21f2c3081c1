//! `vestibulectl explain`: the decision of a login, step by step.
//!
//! It asks what `keys-lookup` asks, in the same way, so that what it prints is what sshd gets.

use std::process::ExitCode;

use anyhow::{anyhow, bail};
use nix::unistd::getuid;
use serde::Serialize;
use vestibule::config::Forwarding;
use vestibule::decide::{Judge, Outcome, Question, Step, World, decide};
use vestibule::engine_address::AskEnter;
use vestibule::fingerprint::Fingerprint;
use vestibule::names::login::{Escaped, LoginName};
use vestibule::options::{ClientAddress, Clock};
use vestibule::tenant_file::HostFiles;
use vestibule_sys::time;

use crate::args::Explain;
use crate::keys::read_file;
use crate::output::{Output, Shown, remark, text};
use crate::place::Ready;

/// What came out, for scripts.
#[derive(Serialize)]
struct Explained {
    login: String,
    fingerprint: Option<String>,
    steps: Vec<String>,
    /// `granted`, `closed`, `denied`, `not-ours`, or `resolved` when no key was given.
    outcome: &'static str,
    reason: Option<&'static str>,
    detail: Option<String>,
    target: Option<String>,
    account: Option<String>,
    /// What `keys-lookup` prints.
    lines: Vec<String>,
}

pub(crate) fn run(ready: &Ready, what: Explain) -> anyhow::Result<ExitCode> {
    let key = fingerprint(&what)?;
    let mut explained = Explained {
        login: what.login.clone(),
        fingerprint: key.map(|key| key.to_string()),
        steps: Vec::new(),
        outcome: "resolved",
        reason: None,
        detail: None,
        target: None,
        account: None,
        lines: Vec::new(),
    };
    match key {
        Some(key) => decided(ready, &what, key, &mut explained)?,
        None => resolved(ready, &what, &mut explained)?,
    }
    let mut out = Output::new();
    if what.json {
        out.json(&explained);
    } else {
        print(&explained, &mut out);
    }
    out.finish()?;
    Ok(ExitCode::SUCCESS)
}

fn fingerprint(what: &Explain) -> anyhow::Result<Option<Fingerprint>> {
    match (&what.key, &what.fingerprint) {
        (Some(file), _) => match read_file(file)?.as_slice() {
            [key] => Ok(Some(key.key.fingerprint())),
            more => bail!("key file '{}': holds {} keys, and one is wanted", file.display(), more.len()),
        },
        (None, Some(text)) => {
            let shown = Escaped::new(text.as_bytes());
            Ok(Some(text.parse().map_err(|why| anyhow!("fingerprint '{shown}': {why}"))?))
        }
        (None, None) => Ok(None),
    }
}

/// What the login name means, without a key.
fn resolved(ready: &Ready, what: &Explain, explained: &mut Explained) -> anyhow::Result<()> {
    let store = ready.read()?;
    let login = match LoginName::parse(what.login.as_bytes()) {
        Ok(login) => login,
        Err(why) => {
            explained.steps.push(Step::NoName(&why).to_string());
            explained.outcome = "not-ours";
            return Ok(());
        }
    };
    match store.resolve(login.candidates(), ready.prefix())? {
        None => {
            explained.steps.push(Step::Unknown.to_string());
            explained.outcome = "not-ours";
        }
        Some(found) => {
            let step = Step::Means { target: &found.target, account: found.account.as_ref() };
            explained.steps.push(step.to_string());
            explained.target = Some(found.target.name.to_string());
            explained.account = found.account.map(|account| account.name);
        }
    }
    Ok(())
}

fn decided(ready: &Ready, what: &Explain, key: Fingerprint, explained: &mut Explained) -> anyhow::Result<()> {
    let judge = match &what.client {
        None => Judge::Sshd,
        Some(text) => Judge::Here(Some(
            ClientAddress::parse(text)
                .ok_or_else(|| anyhow!("client '{}': want an IP address", Escaped::new(text.as_bytes())))?,
        )),
    };
    if !getuid().is_root() {
        remark(format_args!("not run as root: key files that only root can read are missing from this"));
    }
    let store = ready.read()?;
    let files = HostFiles { may_enter: ready.config.may_enter.clone(), ..HostFiles::new(&ready.config.keys) };
    let addresses = AskEnter::default();
    let world = World { facts: &store, files: &files, addresses: &addresses };
    let question = Question {
        login: what.login.as_bytes(),
        key,
        certificate: None,
        judge,
        clock: Clock { now: time::now(), from_local: time::from_local },
        prefix: ready.prefix(),
        moved: ready.config.forwarding == Forwarding::Pam,
    };
    let outcome = decide(&question, &world, &mut |step| explained.steps.push(step.to_string()))?;
    match outcome.held_to(&ready.config.may_enter) {
        Outcome::NotOurs => explained.outcome = "not-ours",
        Outcome::Denied(denied) => {
            explained.outcome = "denied";
            explained.reason = Some(denied.reason.as_str());
            explained.detail = Some(denied.reason.to_string());
            explained.target = Some(denied.target.name.to_string());
            explained.account = denied.account;
        }
        Outcome::Closed(closed) => {
            explained.outcome = "closed";
            explained.reason = Some(closed.reason.as_str());
            explained.detail = Some(closed.reason.to_string());
            explained.target = Some(closed.granted.target.name.to_string());
            explained.account = closed.granted.lines.first().and_then(|line| line.account.clone());
            let lines = closed.lines();
            explained.lines =
                lines.split_inclusive(|b| *b == b'\n').map(|l| text(l.trim_ascii_end())).collect();
        }
        Outcome::Granted(granted) => {
            explained.outcome = "granted";
            explained.target = Some(granted.target.name.to_string());
            explained.account = granted.lines.first().and_then(|line| line.account.clone());
            explained.lines = granted.lines.iter().map(|line| text(line.text.trim_ascii_end())).collect();
        }
    }
    Ok(())
}

fn print(explained: &Explained, out: &mut Output) {
    let _ = out.line(format_args!("login name  {}", Shown(explained.login.as_bytes())));
    if let Some(key) = &explained.fingerprint {
        let _ = out.line(format_args!("key         {key}"));
    }
    for (number, step) in explained.steps.iter().enumerate() {
        let _ = out.line(format_args!("{:>3}. {}", number + 1, Shown(step.as_bytes())));
    }
    match explained.outcome {
        "not-ours" => {
            let _ = out.line(format_args!("sshd gets no line: the login name is not vestibule's"));
        }
        "denied" => {
            let why = explained.detail.as_deref().unwrap_or_default();
            let _ = out.line(format_args!("sshd gets no line: {}", Shown(why.as_bytes())));
        }
        "closed" => {
            let why = explained.detail.as_deref().unwrap_or_default();
            let why = Shown(why.as_bytes());
            let _ = out.line(format_args!("the session is let in to be told why it gets no further: {why}"));
            let _ = out.line(format_args!("sshd gets:"));
            for line in &explained.lines {
                let _ = out.line(format_args!("{}", Shown(line.as_bytes())));
            }
        }
        "granted" => {
            let _ = out.line(format_args!("sshd gets:"));
            for line in &explained.lines {
                let _ = out.line(format_args!("{}", Shown(line.as_bytes())));
            }
        }
        _ => {
            let _ = out.line(format_args!("with --key or --fingerprint you see what sshd gets"));
        }
    }
}
