//! `vestibulectl key`.

use std::fmt;
use std::io::{self, Read};
use std::ops::ControlFlow;
use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context, anyhow, bail};
use serde::Serialize;
use vestibule::fingerprint::Fingerprint;
use vestibule::names::login::Escaped;
use vestibule::store::{ChangeError, Changes, KeyFilter, KeyOwner, KeyRow, NewKey, Owner, Store};

use crate::accounts::target_id;
use crate::args::KeyCommand;
use crate::grants::find_target;
use crate::output::{Output, Shown, remark, say, text};
use crate::paste::{self, Pasted};
use crate::place::{Ready, open_as_caller};
use crate::when;

pub(crate) fn run(ready: &Ready, command: KeyCommand) -> anyhow::Result<ExitCode> {
    match command {
        KeyCommand::Add { account, target, expires, file } => {
            let expires = expires.map(|text| when::parse_end(&text, when::now())).transpose()?;
            add(ready, &Who { account, target }, expires, &file)?;
        }
        KeyCommand::List { revoked: true, json, .. } => list_revoked(ready, json)?,
        KeyCommand::List { account, target, json, .. } => {
            list(ready, account.as_deref(), target.as_deref(), json)?;
        }
        KeyCommand::Show { key, json } => show(ready, &key, json)?,
        KeyCommand::Rm { key, account, target } => remove(ready, &key, &Who { account, target })?,
        KeyCommand::Revoke { key, reason } => revoke(ready, &key, &reason)?,
        KeyCommand::Unrevoke { key } => {
            let key = Named::read(&key)?;
            let fingerprint = ready.write()?.change(|changes| {
                let fingerprint = key.fingerprint(changes)?;
                changes.unrevoke(&fingerprint)?;
                anyhow::Ok(fingerprint)
            })?;
            say(format_args!("key {fingerprint} is not revoked any more"))?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// Whose keys are meant.
struct Who {
    account: Option<String>,
    target: Option<String>,
}

impl Who {
    fn owner(&self, ready: &Ready, changes: &Changes<'_>) -> anyhow::Result<Owner> {
        match (&self.account, &self.target) {
            (Some(account), _) => Ok(Owner::Account(changes.account_id(account)?)),
            (None, Some(target)) => Ok(Owner::Target(target_id(changes, target, ready.prefix())?)),
            (None, None) => bail!("want --account or --target"),
        }
    }
}

impl fmt::Display for Who {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.account, &self.target) {
            (Some(account), _) => write!(f, "account '{account}'"),
            (None, target) => write!(f, "target '{}'", target.as_deref().unwrap_or_default()),
        }
    }
}

/// Reads the keys of a file, or of standard input for `-`.
pub(crate) fn read_file(file: &Path) -> anyhow::Result<Vec<Pasted>> {
    let shown =
        if file == Path::new("-") { "standard input".to_owned() } else { format!("'{}'", file.display()) };
    let read = |from: &mut dyn Read| -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        from.take(paste::MAX_BYTES + 1).read_to_end(&mut bytes)?;
        Ok(bytes)
    };
    let bytes = if file == Path::new("-") {
        read(&mut io::stdin())
    } else {
        open_as_caller(file).and_then(|mut file| read(&mut file))
    };
    let bytes = bytes.with_context(|| format!("key file {shown}"))?;
    if bytes.len() as u64 > paste::MAX_BYTES {
        bail!("key file {shown}: is larger than 1 MiB");
    }
    paste::read(&bytes).with_context(|| format!("key file {shown}"))
}

fn add(ready: &Ready, who: &Who, expires: Option<i64>, file: &Path) -> anyhow::Result<()> {
    let keys = read_file(file)?;
    let (added, revoked) = ready.write()?.change(|changes| {
        let owner = who.owner(ready, changes)?;
        let (mut added, mut revoked) = (Vec::new(), Vec::new());
        for key in &keys {
            let fingerprint = key.key.fingerprint();
            let new = NewKey {
                fingerprint,
                key_type: key.key.key_type().to_owned(),
                blob: key.key.blob().to_vec(),
                options: key.options.clone(),
                comment: key.comment.clone(),
                owner,
                expires,
            };
            match changes.add_key(&new, "local") {
                Ok(id) => added.push((id, fingerprint)),
                // The same line twice in one paste is no fault.
                Err(ChangeError::Exists { .. }) if added.iter().any(|(_, other)| *other == fingerprint) => {}
                Err(ChangeError::Exists { .. }) => bail!("{who} has the key {fingerprint} already"),
                Err(error) => return Err(error.into()),
            }
            if changes.is_revoked(&fingerprint)? {
                revoked.push(fingerprint);
            }
        }
        Ok((added, revoked))
    })?;
    let mut out = Output::new();
    for (id, fingerprint) in added {
        let _ = out.line(format_args!("added key {id}, {fingerprint}, to {who}"));
    }
    out.finish()?;
    for fingerprint in revoked {
        remark(format_args!(
            "key {fingerprint} is revoked and opens nothing; see 'vestibulectl key unrevoke'"
        ));
    }
    Ok(())
}

/// A key, as the command line names it.
enum Named {
    Fingerprint(Fingerprint),
    Id(i64),
}

impl Named {
    fn read(text: &str) -> anyhow::Result<Named> {
        if text.starts_with("SHA256:") {
            return Ok(Named::Fingerprint(text.parse().map_err(|why| anyhow!("key '{text}': {why}"))?));
        }
        if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
            return Ok(Named::Id(text.parse().map_err(|_| anyhow!("no key '{text}'"))?));
        }
        if text.starts_with("MD5:") {
            bail!(
                "key '{}': want a SHA256 fingerprint, as 'ssh-keygen -l -E sha256' prints it",
                Escaped::new(text.as_bytes())
            );
        }
        let keys = read_file(Path::new(text)).with_context(|| {
            format!(
                "key '{}': is no fingerprint (SHA256:...), no number, and as a file",
                Escaped::new(text.as_bytes())
            )
        })?;
        match keys.as_slice() {
            [key] => Ok(Named::Fingerprint(key.key.fingerprint())),
            more => bail!("key file '{text}': holds {} keys, and one is wanted", more.len()),
        }
    }

    fn fingerprint(&self, changes: &Changes<'_>) -> anyhow::Result<Fingerprint> {
        match self {
            Named::Fingerprint(fingerprint) => Ok(*fingerprint),
            Named::Id(id) => Ok(changes.key_fingerprint(*id)?),
        }
    }
}

fn remove(ready: &Ready, key: &str, who: &Who) -> anyhow::Result<()> {
    let named = Named::read(key)?;
    let removed = ready.write()?.change(|changes| {
        let owner = match who {
            Who { account: None, target: None } => None,
            who => Some(who.owner(ready, changes)?),
        };
        let rows = match named {
            Named::Id(id) => vec![id],
            Named::Fingerprint(fingerprint) => changes.keys_of(&fingerprint, owner)?,
        };
        if let (Named::Fingerprint(fingerprint), [] | [_, _, ..]) = (&named, rows.as_slice()) {
            match (rows.len(), owner) {
                (0, None) => bail!("no key '{fingerprint}'"),
                (0, Some(_)) => bail!("{who} has no key '{fingerprint}'"),
                (_, None) => bail!(
                    "key '{fingerprint}' has {} owners; say --account, --target or the number of one",
                    rows.len()
                ),
                (_, Some(_)) => {}
            }
        }
        for id in &rows {
            changes.remove_key(*id)?;
        }
        Ok(rows)
    })?;
    let mut out = Output::new();
    for id in removed {
        let _ = out.line(format_args!("removed key {id}"));
    }
    out.finish()
}

fn revoke(ready: &Ready, key: &str, reason: &str) -> anyhow::Result<()> {
    let named = Named::read(key)?;
    let (fingerprint, new, known) = ready.write()?.change(|changes| {
        let fingerprint = named.fingerprint(changes)?;
        let new = changes.revoke(&fingerprint, reason)?;
        anyhow::Ok((fingerprint, new, !changes.keys_of(&fingerprint, None)?.is_empty()))
    })?;
    if !known {
        remark(format_args!("nobody in the store has the key {fingerprint}; it is revoked all the same"));
    }
    let already = if new { "" } else { " already" };
    say(format_args!("key {fingerprint} is revoked{already} and opens nothing"))
}

#[derive(Serialize)]
pub(crate) struct KeyJson {
    id: i64,
    fingerprint: String,
    public_key: String,
    options: String,
    comment: String,
    account: Option<String>,
    target: Option<String>,
    expires: Option<i64>,
    source: String,
    added: i64,
    revoked: Option<RevokedJson>,
}

#[derive(Serialize)]
struct RevokedJson {
    at: i64,
    reason: String,
}

impl From<KeyRow> for KeyJson {
    fn from(row: KeyRow) -> Self {
        let (account, target) = match row.owner {
            KeyOwner::Account(name) => (Some(name), None),
            KeyOwner::Target(name) => (None, Some(name)),
        };
        KeyJson {
            id: row.id,
            fingerprint: row.fingerprint.to_string(),
            public_key: row.public_key,
            options: text(&row.options),
            comment: text(&row.comment),
            account,
            target,
            expires: row.expires,
            source: row.source,
            added: row.added,
            revoked: row.revoked.map(|revoked| RevokedJson { at: revoked.at, reason: revoked.reason }),
        }
    }
}

impl KeyJson {
    fn owner(&self) -> String {
        match (&self.account, &self.target) {
            (Some(name), _) => format!("account {name}"),
            (None, name) => format!("target {}", name.as_deref().unwrap_or_default()),
        }
    }

    fn state(&self, now: i64) -> &'static str {
        match (&self.revoked, self.expires) {
            (Some(_), _) => "revoked",
            (None, Some(end)) if end <= now => "ended",
            _ => "active",
        }
    }
}

/// As a line of a list.
impl fmt::Display for KeyJson {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let key_type = self.public_key.split(' ').next().unwrap_or_default();
        write!(
            f,
            "{:<6} {:<50} {:<8} {:<20} {}",
            self.id,
            self.fingerprint,
            self.state(when::now()),
            Shown(key_type.as_bytes()),
            Shown(self.comment.as_bytes())
        )
    }
}

/// The keys that `filter` lets through.
pub(crate) fn gather(store: &Store, filter: KeyFilter<'_>) -> anyhow::Result<Vec<KeyJson>> {
    let mut keys = Vec::new();
    store.keys(filter, |row| {
        keys.push(KeyJson::from(row));
        ControlFlow::Continue(())
    })?;
    Ok(keys)
}

fn list(ready: &Ready, account: Option<&str>, target: Option<&str>, json: bool) -> anyhow::Result<()> {
    let store = ready.read()?;
    let filter = match (account, target) {
        (Some(name), _) if store.account(name)?.is_none() => {
            bail!("no account '{}'", Escaped::new(name.as_bytes()))
        }
        (Some(name), _) => KeyFilter::Account(name),
        (None, Some(name)) => KeyFilter::Target(find_target(ready, &store, name)?.id),
        (None, None) => KeyFilter::All,
    };
    let mut out = Output::new();
    if !json {
        let _ = out.line(format_args!(
            "{:<24} {:<6} {:<50} {:<8} {:<20} COMMENT",
            "OWNER", "ID", "FINGERPRINT", "STATE", "TYPE"
        ));
    }
    store.keys(filter, |row| {
        let key = KeyJson::from(row);
        if json {
            return out.element(&key);
        }
        out.line(format_args!("{:<24} {key}", Shown(key.owner().as_bytes())))
    })?;
    if json {
        out.end_array();
    }
    out.finish()
}

#[derive(Serialize)]
struct RevocationJson {
    fingerprint: String,
    at: i64,
    reason: String,
}

fn list_revoked(ready: &Ready, json: bool) -> anyhow::Result<()> {
    let store = ready.read()?;
    let mut out = Output::new();
    if !json {
        let _ = out.line(format_args!("{:<50} {:<20} REASON", "FINGERPRINT", "REVOKED"));
    }
    store.revocations(|fingerprint, revoked| {
        if json {
            let fingerprint = fingerprint.to_string();
            return out.element(&RevocationJson { fingerprint, at: revoked.at, reason: revoked.reason });
        }
        let reason = Shown(revoked.reason.as_bytes());
        out.line(format_args!("{:<50} {:<20} {reason}", fingerprint.to_string(), when::show(revoked.at)))
    })?;
    if json {
        out.end_array();
    }
    out.finish()
}

fn show(ready: &Ready, key: &str, json: bool) -> anyhow::Result<()> {
    let store = ready.read()?;
    let filter = match Named::read(key)? {
        Named::Fingerprint(fingerprint) => KeyFilter::Fingerprint(fingerprint),
        Named::Id(id) => KeyFilter::Id(id),
    };
    let rows = gather(&store, filter)?;
    if rows.is_empty() {
        let revoked = match filter {
            KeyFilter::Fingerprint(fingerprint) => store.revocation(&fingerprint)?,
            _ => None,
        };
        match revoked {
            Some(_) => {
                bail!("no key '{key}' in the store, but it is revoked; see 'vestibulectl key list --revoked'")
            }
            None => bail!("no key '{}'", Escaped::new(key.as_bytes())),
        }
    }
    let now = when::now();
    let mut out = Output::new();
    if json {
        out.json(&rows);
        return out.finish();
    }
    for row in rows {
        let _ = out.line(format_args!("key         {}", row.id));
        let _ = out.line(format_args!("fingerprint {}", row.fingerprint));
        let _ = out.line(format_args!("public key  {}", Shown(row.public_key.as_bytes())));
        let _ = out.line(format_args!("options     {}", Shown(row.options.as_bytes())));
        let _ = out.line(format_args!("comment     {}", Shown(row.comment.as_bytes())));
        let _ = out.line(format_args!("owner       {}", Shown(row.owner().as_bytes())));
        let _ = out.line(format_args!("ends        {}", when::show_end(row.expires, now)));
        let _ = out.line(format_args!("source      {}", Shown(row.source.as_bytes())));
        let _ = out.line(format_args!("added       {}", when::show(row.added)));
        if let Some(revoked) = &row.revoked {
            let reason = Shown(revoked.reason.as_bytes());
            let _ = out.line(format_args!("revoked     {} ({reason})", when::show(revoked.at)));
        }
    }
    out.finish()
}
