//! Where a login goes, as the store has it: the account, the server of a hub, and which hub that is.

use std::ops::ControlFlow;
use std::path::Path;

use vestibule::config::Config;
use vestibule::names::login::LoginName;
use vestibule::paths;
use vestibule::store::{Resolved, Store, StoreError};
use vestibule::target::Target;

use crate::hub::Hub;
use crate::refused::{Refused, chain};

/// Where to, and for whom.
#[derive(Debug)]
pub(crate) struct Place {
    pub(crate) account: String,
    pub(crate) target: Target,
    /// `USER/NAME`.
    pub(crate) server: String,
    pub(crate) hub: Hub,
    /// The source's name.
    pub(crate) source: String,
}

impl Place {
    /// Finds it. Nobody is asked for who has no grant.
    ///
    /// # Errors
    /// Why a token can't open it.
    pub(crate) fn find(login: &[u8], now: i64) -> Result<Place, Refused> {
        let config = Config::load_trusted(Path::new(paths::CONFIG));
        let config = config.map_err(|e| Refused::new("config", chain(&e)))?;
        if config.token_sources().next().is_none() {
            return Err(Refused::new("off", "no source has 'tokens = true'"));
        }
        let store = Store::open_read(Path::new(paths::STORE)).map_err(no_store)?;
        let name = LoginName::parse(login).map_err(|e| Refused::new("login", e))?;
        let found = store.resolve(name.candidates(), config.target_prefix.as_deref()).map_err(no_store)?;
        let Some(Resolved { account, target }) = found else {
            return Err(Refused::new("login", "the name means nothing in the store"));
        };
        // A hub's default server is called as its user is: `alice` is the target, and the account too.
        let account = match (account, std::str::from_utf8(login)) {
            (None, Ok(login)) => store.account(login).map_err(no_store)?.map(|(account, _)| account),
            (account, _) => account,
        };
        let Some(account) = account else {
            return Err(Refused::new("no-account", "the login names no account: want ACCOUNT+TARGET"));
        };
        if !account.active {
            return Err(Refused::new("account-disabled", "the account is disabled"));
        }
        let (mut granted, mut source) = (false, None);
        store
            .grants(Some(&account.name), Some(target.id), |grant| {
                granted |= grant.expires.is_none_or(|end| end > now);
                ControlFlow::Continue(())
            })
            .map_err(no_store)?;
        if !granted {
            return Err(Refused::new("no-grant", "the account has no grant for the target"));
        }
        store
            .targets(Some(target.id), |row| {
                source = row.ok().map(|row| row.source);
                ControlFlow::Break(())
            })
            .map_err(no_store)?;
        let Some(server) = target.policy.hub_server.clone() else {
            return Err(Refused::new("no-server", "the target is no server of a hub"));
        };
        let (source, hub) = hub_of(&config, source.as_deref().unwrap_or_default())?;
        Ok(Place { account: account.name, target, server, hub, source })
    }
}

/// The hub that a target's source is; for one that the administrator added, the only one.
fn hub_of(config: &Config, owner: &str) -> Result<(String, Hub), Refused> {
    let mut all = config.token_sources();
    let found = match config.token_sources().find(|(name, _)| *name == owner) {
        Some(found) => Some(found),
        None if owner == "local" => all.next().filter(|_| all.next().is_none()),
        None => None,
    };
    let (name, table) =
        found.ok_or_else(|| Refused::new("off", "the target's source does not have 'tokens = true'"))?;
    Ok((name.to_owned(), Hub::of_source(name, table)?))
}

fn no_store(error: StoreError) -> Refused {
    Refused::new("store", chain(&error))
}
