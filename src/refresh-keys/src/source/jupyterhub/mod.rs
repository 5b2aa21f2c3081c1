//! `kind = "jupyterhub"`: users and their servers, by the hub's REST API.
//!
//! A user is an account; its default server and each server with a name are targets that it is granted. `names.rs` is how
//! they are called, `api.rs` what the hub answers, `grants.rs` who else may enter, `wake.rs` how a server is started, `activity.rs` how the hub is
//! told that one is used.
//! Users choose names, so nothing that could be two things is: who comes second is reported and passed over, grants too.

mod activity;
mod api;
mod grants;
mod names;
mod wake;

use std::collections::HashSet;
use std::ops::ControlFlow;
use std::path::Path;
use std::time::Duration;

use vestibule::names::login::{AccountName, TargetName};
use vestibule::store::{Scope, Store};

use super::{Answer, Ask, Source, SourceFault, parallel};
use crate::rows::{AccountRow, GrantRow, KeyRow, Row, TargetRow};
use crate::settings::jupyterhub::{Jupyterhub as Settings, Shape};
use crate::sink::Sink;
pub(crate) use activity::Telling;
use api::User;
use grants::Further;
pub(crate) use names::Names;
use vestibule::secret::Secret;
use vestibule_http::{Client, Question, Reply, percent_encoded};

/// Users that a page is asked for; a hub gives 200 at most, unless it is set otherwise.
const LIMIT: u64 = 100;
/// Pages of a list.
const MAX_PAGES: usize = 100_000;
/// Bytes of a page, out of gzip.
const MAX_PAGE: usize = 16 << 20;
/// How often a list is begun anew that changed while it was read.
const RESTARTS: usize = 5;

/// A hub.
#[derive(Debug)]
pub(crate) struct Jupyterhub<'a> {
    client: Client,
    base: &'a str,
    settings: &'a Settings,
    server: Shape,
    named: Option<Shape>,
}

/// The names that were said: of each the first counts.
#[derive(Default)]
struct Said {
    users: HashSet<String>,
    targets: HashSet<String>,
}

impl<'a> Jupyterhub<'a> {
    pub(crate) fn new(settings: &'a Settings) -> anyhow::Result<Jupyterhub<'a>> {
        let client = Client::new(vestibule_http::Settings {
            url: settings.url.clone(),
            token: Some(("token", Secret::read(&settings.token_file)?)),
            ca_file: settings.ca_file.clone(),
            allow_http: settings.allow_http,
            proxy: settings.proxy.clone(),
            connect: Duration::from_secs(10),
            read: Duration::from_secs(20),
            whole: Duration::from_secs(settings.timeout.into()),
            retries: 3,
            max_body: MAX_PAGE,
        })?;
        let (server, named) = (settings.server()?, settings.named()?);
        Ok(Jupyterhub { client, base: settings.url.trim_end_matches('/'), settings, server, named })
    }

    /// One user, with what only such an answer has; nothing if there is none of that name.
    fn user(&self, name: &str) -> Result<Option<User>, SourceFault> {
        let url = format!("{}/users/{}?include_stopped_servers=1", self.base, percent_encoded(name));
        match self.client.get(&url, Question { accept: api::JSON, ..Question::default() })? {
            Reply::Page(page) => {
                let user: User = api::parse(&page, "user")?;
                if user.name != name {
                    return Err(wrong("it is about another user than the one that was asked for"));
                }
                Ok(Some(user))
            }
            Reply::NotFound | Reply::Gone => Ok(None),
            Reply::Unchanged => Err(wrong("a user is said to be unchanged")),
        }
    }

    /// All users, page by page. Returns whether the list stayed as it was meanwhile.
    ///
    /// Pages are numbers in a list: when a user goes, the ones behind move up, and one would be missed. So each page is
    /// asked for from the last user of the one before.
    fn users(
        &self,
        take: &mut dyn FnMut(Vec<serde_json::Value>) -> Result<(), SourceFault>,
    ) -> Result<bool, SourceFault> {
        let (mut offset, mut last) = (0, None);
        for _ in 0..MAX_PAGES {
            let url = format!(
                "{}/users?include_stopped_servers=1&sort=id&limit={LIMIT}&offset={offset}",
                self.base
            );
            let page = match self.client.get(&url, Question { accept: api::PAGES, ..Question::default() })? {
                Reply::Page(page) => page,
                Reply::NotFound | Reply::Gone => {
                    return Err(wrong("there is no list of users at this address (404)"));
                }
                Reply::Unchanged => return Err(wrong("a page of it is said to be unchanged")),
            };
            let mut page: api::Users = api::parse(&page, "page of users (a JupyterHub before 2.0?)")?;
            let name = |user: &serde_json::Value| user.get("name").cloned();
            let next_last = page.items.last().and_then(name);
            if last.is_some() {
                if page.items.first().and_then(name) != last {
                    return Ok(false);
                }
                page.items.remove(0);
            }
            let whole = page.items.len() as u64 + u64::from(last.is_some()) >= page.pagination.limit;
            take(page.items)?;
            let Some(next) = page.pagination.next else { return Ok(true) };
            if page.pagination.offset != offset || next.offset <= offset {
                return Err(wrong("its pages don't follow each other"));
            }
            // What the token may not see is left out of a page: then its last user is not the last of the page.
            let overlap = whole && next_last.is_some() && next.offset - 1 > offset;
            (offset, last) = if overlap { (next.offset - 1, next_last) } else { (next.offset, None) };
        }
        Err(wrong("it has no end"))
    }

    /// Says one user, with keys and servers.
    fn say(
        &self,
        user: &User,
        keys: bool,
        said: &mut Said,
        further: &mut Further<'_>,
        sink: &mut Sink<'_>,
    ) -> Result<(), SourceFault> {
        let what = format!("user '{}'", user.name);
        if let Err(why) = AccountName::try_from(user.name.as_str()) {
            sink.bad(&what, format_args!("it can't be an account: {why}"));
            return Ok(());
        }
        if !said.users.insert(user.name.clone()) {
            sink.bad(&what, "it was said twice; the first counts");
            return Ok(());
        }
        let Some(servers) = &user.servers else {
            return Err(wrong("it has no servers: the token lacks the scope 'read:servers'"));
        };
        let default = self.target(user, "", said, sink)?;
        let mut targets: Vec<String> = default.iter().cloned().collect();
        for name in servers.keys().filter(|name| !name.is_empty()) {
            targets.extend(self.target(user, name, said, sink)?);
        }
        let name = &user.name;
        sink.row(Row::Account(AccountRow { name: name.clone(), active: true, default_target: default }))?;
        if let Some(pointer) = self.settings.auth_state_keys.as_deref().filter(|_| keys) {
            let Some(state) = &user.auth_state else {
                return Err(wrong("it has no auth_state: the token lacks the scope 'admin:auth_state'"));
            };
            match state.as_ref().map_or(Ok(None), |state| api::keys(state, pointer)) {
                Ok(Some(key)) => {
                    let row = KeyRow { account: Some(name.clone()), target: None, key, expires: None };
                    sink.row(Row::Key(row))?;
                }
                Ok(None) => {}
                Err(why) => sink.bad(&what, why),
            }
        }
        for target in &targets {
            let row = GrantRow { account: name.clone(), target: target.clone(), expires: None };
            sink.row(Row::Grant(row))?;
        }
        further.note(user, targets)
    }

    /// Says one server as a target, and returns its name.
    fn target(
        &self,
        user: &User,
        server: &str,
        said: &mut Said,
        sink: &mut Sink<'_>,
    ) -> Result<Option<String>, SourceFault> {
        let what = || format!("server '{}' of user '{}'", server, user.name);
        let made = self.row(&user.name, server).and_then(|row| {
            let name = TargetName::try_from(row.name.as_str())
                .map_err(|why| format!("'{}' can't be a target's name: {why}", row.name))?;
            Ok((name.as_str().to_owned(), row))
        });
        let (name, row) = match made {
            Ok(made) => made,
            Err(why) => {
                sink.bad(&what(), why);
                return Ok(None);
            }
        };
        if !said.targets.insert(name.clone()) {
            sink.bad(&what(), format_args!("the target '{name}' is another server's"));
            return Ok(None);
        }
        sink.row(Row::Target(Box::new(row)))?;
        Ok(Some(name))
    }

    /// What a server is as a target, whatever is allowed.
    fn row(&self, user: &str, server: &str) -> Result<TargetRow, String> {
        let shape = match (server, &self.named) {
            ("", _) => &self.server,
            (_, Some(named)) => named,
            (_, None) => {
                return Err("the configuration does not say how a server with a name is entered".into());
            }
        };
        let names = Names::new(user, server, self.settings.escape);
        let mut policy = shape.policy.clone().unwrap_or_else(|| serde_json::json!({}));
        if let Some(policy) = policy.as_object_mut() {
            policy.insert("hub_server".to_owned(), format!("{user}/{server}").into());
        }
        Ok(TargetRow {
            name: names.fill(&shape.target)?,
            aliases: Vec::new(),
            driver: names.fill_all(&shape.driver)?,
            user: names.fill(&shape.user)?,
            home: shape.home.as_deref().map(|home| names.fill(home)).transpose()?,
            policy: Some(policy),
        })
    }

    /// Which targets of a user, who alone is asked about, are known as those of others.
    fn taken(&self, user: &User, store: &Path) -> Result<HashSet<String>, SourceFault> {
        let store = Store::open_read(store)?;
        let mut taken = HashSet::new();
        let named = user.servers.iter().flatten().map(|(name, _)| name.as_str());
        for server in std::iter::once("").chain(named) {
            let Ok(row) = self.row(&user.name, server) else { continue };
            let Ok(name) = TargetName::try_from(row.name.as_str()) else { continue };
            let Some(target) = store.target_named(name.as_str(), None)? else { continue };
            let mut accounts = Vec::new();
            store.grants(None, Some(target.id), |grant| {
                accounts.push(grant.account);
                ControlFlow::Continue(())
            })?;
            if !accounts.is_empty() && !accounts.contains(&user.name) {
                taken.insert(name.as_str().to_owned());
            }
        }
        Ok(taken)
    }

    /// A page of users, each asked for by itself where keys are wanted: a list has no `auth_state`.
    fn each(
        &self,
        items: Vec<serde_json::Value>,
        keys: bool,
        sink: &mut Sink<'_>,
    ) -> Result<Vec<User>, SourceFault> {
        let mut users: Vec<User> = Vec::with_capacity(items.len());
        for item in items {
            match serde_json::from_value(item) {
                Ok(user) => users.push(user),
                Err(why) => sink.bad("a user", why),
            }
        }
        if !keys || self.settings.auth_state_keys.is_none() {
            return Ok(users);
        }
        // A name that can't be an account's is reported without being asked for.
        let ask = |user: &User| match AccountName::try_from(user.name.as_str()) {
            Ok(_) => self.user(&user.name),
            Err(_) => Ok(Some(user.clone())),
        };
        // One that is gone meanwhile is gone.
        Ok(parallel::ask(&users, self.settings.parallel, ask)?.into_iter().flatten().collect())
    }
}

impl Source for Jupyterhub<'_> {
    fn fetch(&mut self, ask: &Ask<'_>, sink: &mut Sink<'_>) -> Result<Answer, SourceFault> {
        let keys = !matches!(ask.scope, Scope::Target(_));
        let mut further = Further::new(self.settings);
        if let Scope::Account(name) = ask.scope
            && further.is_idle()
        {
            if let Some(user) = self.user(name)? {
                let targets = self.taken(&user, ask.store)?;
                self.say(&user, keys, &mut Said { targets, ..Said::default() }, &mut further, sink)?;
            }
            return Ok(Answer::Whole { cursor: None });
        }
        for _ in 0..RESTARTS {
            let (mut said, mut further) = (Said::default(), Further::new(self.settings));
            let stayed = self.users(&mut |items| {
                for user in self.each(items, keys, sink)? {
                    self.say(&user, keys, &mut said, &mut further, sink)?;
                }
                Ok(())
            })?;
            if stayed {
                further.say(sink)?;
                return Ok(Answer::Whole { cursor: None });
            }
            tracing::debug!("the list of users changed while it was read; asking for it again");
            sink.restart()?;
        }
        Err(SourceFault::Source("the list of users changes faster than it can be read".to_owned()))
    }
}

fn wrong(why: &str) -> SourceFault {
    SourceFault::Source(format!("the answer is not to be used: {why}"))
}
