//! `vestibulectl sessions end`: has sessions end.
//!
//! The register says which there are, but belongs to the account of all logins: nothing of it is believed, and no pid of
//! it is killed. The order goes into the ledger beside the store, where each session looks for its own.

use std::os::unix::fs::MetadataExt;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context, anyhow};
use vestibule::fingerprint::Fingerprint;
use vestibule::store::{Store, Taken, Writer};

use crate::args::EndSessions;
use crate::output::{Shown, say};
use crate::place::{Place, as_owner};
use crate::sessions::{self, Session};

/// SIGHUP, a second, SIGKILL, and what it takes to leave the register.
const PATIENCE: Duration = Duration::from_secs(6);

pub(crate) fn run(place: &Place, which: &EndSessions) -> anyhow::Result<ExitCode> {
    let config = place.config()?;
    let prefix = config.target_prefix.as_deref();
    let key = which.key.as_deref().map(str::parse::<Fingerprint>).transpose()?;
    let about = place.directory().metadata().with_context(|| format!("'{}'", place.directory().display()))?;

    let mut id = None;
    if let Some(name) = &which.target {
        let target = as_owner(about.uid(), about.gid(), || {
            let found = Store::open_read(&place.store)?.target_named(name, prefix)?;
            found.ok_or_else(|| anyhow!("no target '{}'", Shown(name.as_bytes())))
        })?;
        id = Some(target);
    }
    let target = id.as_ref().map(|target| target.name.as_str());
    let is_meant = |session: &Session| {
        which.ids.contains(&session.id)
            || (which.account.is_some() && session.account == which.account)
            || (key.is_some() && session.fingerprint == key.map(|key| key.to_string()))
            || target.is_some_and(|name| name == session.target)
    };
    let before: Vec<Session> = sessions::all()?.into_iter().filter(is_meant).collect();
    if let Some(unknown) = which.ids.iter().find(|id| !before.iter().any(|session| session.id == **id)) {
        return Err(anyhow!("no session '{}'", Shown(unknown.as_bytes())));
    }
    let mut orders: Vec<Taken<'_>> = which.ids.iter().map(|id| Taken::EndSession(id)).collect();
    orders.extend(which.account.as_deref().map(Taken::EndAccount));
    orders.extend(key.as_ref().map(Taken::EndKey));
    orders.extend(id.as_ref().map(|target| Taken::EndTarget(target.id)));
    as_owner(about.uid(), about.gid(), || {
        Writer::open(&place.store, &place.index, prefix)?.order(&orders)?;
        Ok(())
    })?;

    let begun = Instant::now();
    let mut left = before.len();
    while left > 0 && begun.elapsed() < PATIENCE {
        std::thread::sleep(Duration::from_millis(50));
        let now = sessions::all()?;
        left = before.iter().filter(|one| now.iter().any(|session| session.id == one.id)).count();
    }
    let ended = before.len() - left;
    say(format_args!("{ended} {} ended", if ended == 1 { "session has" } else { "sessions have" }))?;
    if left > 0 {
        return Err(anyhow!("{left} of {} did not end; the log says more", before.len()));
    }
    Ok(ExitCode::SUCCESS)
}
