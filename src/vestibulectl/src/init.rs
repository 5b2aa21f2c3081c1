//! `vestibulectl init`: everything on this host that vestibule needs and a package does not bring.
//!
//! Safe to run again: it makes what is missing, mends what is wrong, migrates an older store, and makes the index of
//! login names anew. It changes nothing of NSS and sshd; it says what an administrator has to do there.

use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context, bail};
use nix::unistd::geteuid;
use vestibule::paths;
use vestibule::store::{VERSION, Writer};

use crate::check::setup;
use crate::getent;
use crate::layout::{self, Identities};
use crate::output::Output;
use crate::place::{Place, as_owner};

/// The configuration of a fresh installation: every key, at its default, as a comment.
const TEMPLATE: &str = include_str!("vestibule.toml");

pub(crate) fn run(place: &Place) -> anyhow::Result<ExitCode> {
    let mut out = Output::new();
    for line in make(place)? {
        let _ = out.line(format_args!("{line}"));
    }
    if place.is_real {
        for step in setup::next_steps() {
            let _ = out.line(format_args!("{step}"));
        }
    }
    out.finish()?;
    Ok(ExitCode::SUCCESS)
}

/// Makes everything; says what it did.
pub(crate) fn make(place: &Place) -> anyhow::Result<Vec<String>> {
    let mut done = Vec::new();
    if !place.is_real {
        // A store of one's own, for tests and for looking around.
        done.push(store(place, None)?);
        return Ok(done);
    }
    if !geteuid().is_root() {
        bail!("init: only root can make users and directories");
    }
    users(&mut done)?;
    let who = Identities::find()?.context("the users that were just made can't be found")?;
    for directory in layout::directories(who) {
        directory.make_directory()?;
    }
    layout::link_agents()?;
    let config = Path::new(paths::CONFIG);
    if config.symlink_metadata().is_err() && layout::write_root_file(config, TEMPLATE)? {
        done.push(format!("wrote '{}'", config.display()));
    }
    let identity = format!(
        "# Whom every login name is on this host. Written by 'vestibulectl init'.\nuid = {}\ngid = {}\n",
        who.session.uid, who.session.gid
    );
    if layout::write_root_file(Path::new(paths::NSS_CONF), &identity)? {
        done.push(format!("wrote '{}'", paths::NSS_CONF));
    }
    // Whatever made them somebody else's, before their owner opens them.
    for file in layout::store_files(who) {
        file.mend_file()?;
    }
    done.push(store(place, Some(who))?);
    Ok(done)
}

fn store(place: &Place, who: Option<Identities>) -> anyhow::Result<String> {
    let config = place.config()?;
    let init = || {
        let (writer, found) = Writer::init(&place.store, &place.index, config.target_prefix.as_deref())?;
        drop(writer);
        Ok(found)
    };
    let found = match who {
        Some(who) => as_owner(who.refresh.uid, who.session.gid, init)?,
        None => init()?,
    };
    let shown = place.store.display();
    Ok(match found {
        0 => format!("made the store '{shown}'"),
        found if found < i64::from(VERSION) => {
            format!("migrated the store '{shown}' from version {found} to {VERSION}")
        }
        _ => format!("the store '{shown}' is in place"),
    })
}

fn users(done: &mut Vec<String>) -> anyhow::Result<()> {
    let group = paths::USER_SESSION;
    if getent::group(group)?.is_none() {
        getent::run("groupadd", &["--system", group])?;
        done.push(format!("made group '{group}'"));
    }
    let common = ["--system", "--no-create-home", "--shell", "/usr/sbin/nologin"];
    let session = ["--gid", group, "--home-dir", paths::EMPTY_HOME, "--comment", "vestibule sessions"];
    let other = ["--user-group", "--home-dir", "/", "--comment"];
    let add = |user: &str, options: &[&str], done: &mut Vec<String>| -> anyhow::Result<()> {
        if getent::user(user)?.is_none() {
            getent::run("useradd", &[&common, options, &[user]].concat())?;
            done.push(format!("made user '{user}'"));
        }
        Ok(())
    };
    add(paths::USER_SESSION, &session, done)?;
    for (user, comment) in [
        (paths::USER_KEYS, "vestibule keys-lookup"),
        (paths::USER_REFRESH, "vestibule owner of the store"),
        (paths::USER_HOP, "vestibule second hop"),
        (paths::USER_TOKENS, "vestibule check-token"),
    ] {
        add(user, &[&other[..], &[comment]].concat(), done)?;
    }
    // The store's owner is not: the group may execute `enter`.
    let user = paths::USER_KEYS;
    if !getent::group(group)?.is_some_and(|(_, members)| members.iter().any(|name| name == user)) {
        getent::run("usermod", &["--append", "--groups", group, user])?;
        done.push(format!("made user '{user}' a member of group '{group}'"));
    }
    Ok(())
}
