//! A source's table of the configuration, `[source.NAME]`.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, bail};
use serde::Deserialize;
use vestibule::config::Config;

mod allow;
pub(crate) mod jupyterhub;
pub(crate) mod network;

pub(crate) use allow::Allow;

/// What all sources have, and what one kind has.
#[derive(Debug)]
pub(crate) struct Source {
    pub(crate) name: String,
    pub(crate) common: Common,
    pub(crate) kind: Kind,
}

/// What a source of any kind may be set to.
#[derive(Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Common {
    /// Seconds after which its keys cease to count unless it answers; they count for ever without.
    pub(crate) max_stale: Option<i64>,
    /// The share of its rows of a kind that one refresh may remove.
    pub(crate) max_shrink: f64,
    /// The rows that one answer may have.
    pub(crate) max_rows: u64,
    /// Its keys and grants may be about accounts and targets of other sources.
    pub(crate) others: bool,
    /// Seconds between two refreshes of `--follow`, when the source says of nothing new.
    pub(crate) every: u32,
    /// Which targets it may name.
    pub(crate) allow: Allow,
}

impl Default for Common {
    fn default() -> Self {
        Common {
            max_stale: None,
            max_shrink: 0.3,
            max_rows: 20_000_000,
            others: false,
            every: 300,
            allow: Allow::default(),
        }
    }
}

impl Common {
    /// How long `--follow` waits for news before it asks all the same. Keys must not go stale because nothing happens, nor
    /// because one question had no answer.
    pub(crate) fn longest_wait(&self) -> Duration {
        let third = self.max_stale.and_then(|stale| u64::try_from(stale / 3).ok()).unwrap_or(u64::MAX);
        Duration::from_secs(u64::from(self.every).min(third.max(1)))
    }
}

/// Where rows come from.
#[derive(Debug, Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase", deny_unknown_fields)]
pub(crate) enum Kind {
    /// A tree of files.
    Directory {
        /// Absolute.
        path: PathBuf,
    },
    /// Statements for a database of SQLite.
    Sqlite(Sqlite),
    /// vestibule-feed(5).
    Feed(network::Feed),
    /// Statements for a database of PostgreSQL.
    Postgres(Box<network::Postgres>),
    /// JupyterHub's REST API.
    Jupyterhub(Box<jupyterhub::Jupyterhub>),
    /// A file of keys for each account.
    Url(network::Url),
}

/// `kind = "sqlite"`. Its keys stand here one by one: flattened, a misspelt one would be no fault, and its rows would go.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Sqlite {
    /// The database; absolute.
    pub(crate) path: PathBuf,
    accounts: Option<String>,
    keys: Option<String>,
    targets: Option<String>,
    grants: Option<String>,
}

impl Sqlite {
    /// A statement for each kind of row.
    pub(crate) fn queries(&self) -> Queries {
        Queries {
            accounts: self.accounts.clone(),
            keys: self.keys.clone(),
            targets: self.targets.clone(),
            grants: self.grants.clone(),
        }
    }
}

/// A statement for each kind of row; a source needs not have all.
#[derive(Debug, Clone, Default)]
pub(crate) struct Queries {
    pub(crate) accounts: Option<String>,
    pub(crate) keys: Option<String>,
    pub(crate) targets: Option<String>,
    pub(crate) grants: Option<String>,
}

/// The sources of the configuration, or those of them that are `wanted`, in the order of their names.
pub(crate) fn sources(config: &Config, wanted: &[String]) -> anyhow::Result<Vec<Source>> {
    if let Some(name) = wanted.iter().find(|name| !config.source.contains_key(*name)) {
        bail!("there is no source '{name}' in the configuration");
    }
    config
        .source
        .iter()
        .filter(|(name, _)| wanted.is_empty() || wanted.contains(name))
        .map(|(name, table)| source(name, table).with_context(|| format!("configuration: [source.{name}]")))
        .collect()
}

const COMMON: [&str; 6] = ["max_rows", "max_stale", "max_shrink", "others", "every", "allow"];

fn source(name: &str, table: &toml::Table) -> anyhow::Result<Source> {
    let well = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-' || c == '_';
    if name.is_empty() || name.len() > 32 || !name.chars().all(well) || name == "local" {
        bail!("want a name of a-z, 0-9, '-' and '_', at most 32, that is not 'local'");
    }
    let (common, own): (toml::Table, toml::Table) =
        table.clone().into_iter().partition(|(key, _)| COMMON.contains(&key.as_str()));
    let mut common: Common = common.try_into()?;
    if !(0.0..=1.0).contains(&common.max_shrink) {
        bail!("max_shrink: want a share, 0.0 to 1.0");
    }
    if common.max_stale.is_some_and(|seconds| !(60..=31_536_000).contains(&seconds)) {
        bail!("max_stale: want 60 to 31536000 seconds");
    }
    if !(1..=1_000_000_000).contains(&common.max_rows) {
        bail!("max_rows: want 1 to 1000000000");
    }
    if !(1..=86_400).contains(&common.every) {
        bail!("every: want 1 to 86400 seconds");
    }
    let kind: Kind = own.try_into()?;
    match &kind {
        Kind::Jupyterhub(hub) => {
            // Its users name their servers, and so the targets that they are granted.
            let own = "a source of this kind brings its own accounts and targets only";
            anyhow::ensure!(!common.others, "others: {own}");
            hub.check()?;
        }
        Kind::Url(url) => {
            // It has keys alone, and asks about nobody else than it is told to.
            common.others = true;
            url.check()?;
        }
        _ => {}
    }
    Ok(Source { name: name.to_owned(), common, kind })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_example_has_a_source_of_each_kind_and_no_fault() {
        let example: toml::Table = toml::from_str(include_str!("../../../examples/sources.toml")).unwrap();
        let mut kinds = std::collections::BTreeSet::new();
        for (name, table) in example["source"].as_table().unwrap() {
            let table = table.as_table().unwrap();
            source(name, table).unwrap_or_else(|why| panic!("{name}: {why:#}"));
            kinds.insert(table["kind"].as_str().unwrap().to_owned());
        }
        assert_eq!(kinds.len(), 6, "{kinds:?}");
    }

    #[test]
    fn keys_do_not_go_stale_while_nothing_happens() {
        for (every, max_stale, want) in [
            (300, None, 300),
            (300, Some(60), 20),
            (300, Some(3600), 300),
            (10, Some(60), 10),
            (300, Some(900), 300),
        ] {
            let common = Common { every, max_stale, ..Common::default() };
            assert_eq!(common.longest_wait(), Duration::from_secs(want), "{every} {max_stale:?}");
        }
    }

    #[test]
    fn what_nobody_knows_is_a_fault() {
        let table = |text: &str| toml::from_str::<toml::Table>(text).unwrap();
        assert!(source("hr", &table("kind = 'directory'\npath = '/srv/hr'\nmax_stale = 3600")).is_ok());
        for bad in [
            "kind = 'ldap'",
            "path = '/srv/hr'",
            "kind = 'directory'\npath = '/srv/hr'\npaht = 1",
            "kind = 'sqlite'\npath = '/srv/hr.db'\nkyes = 'SELECT 1'",
            "kind = 'directory'\npath = '/srv/hr'\nmax_shrink = 2.0",
            "kind = 'directory'\npath = '/srv/hr'\nallow = { everything = true }",
        ] {
            assert!(source("hr", &table(bad)).is_err(), "{bad}");
        }
        assert!(source("local", &table("kind = 'directory'\npath = '/srv/hr'")).is_err());
    }
}
