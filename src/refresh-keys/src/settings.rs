//! A source's table of the configuration, `[source.NAME]`.

use std::path::PathBuf;

use anyhow::{Context, bail};
use serde::Deserialize;
use vestibule::config::Config;
use vestibule::may_enter::{fits, may_mean};
use vestibule::target::{Driver, Leader, TcpAddress};

pub(crate) mod jupyterhub;
pub(crate) mod network;

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

/// Which targets a source may name: whoever writes the store decides where sessions go, so what a hub may say stands in
/// root's configuration. Patterns have `*` for any characters.
#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Allow {
    /// Engines whose containers it may name.
    pub(crate) engines: Vec<String>,
    /// Patterns of their names.
    pub(crate) containers: Vec<String>,
    /// Patterns of users that one may be inside.
    pub(crate) users: Vec<String>,
    /// Directories that homes lie below.
    pub(crate) homes: Vec<PathBuf>,
    /// Patterns of `HOST:PORT` for targets of the driver `tcp`.
    pub(crate) addresses: Vec<String>,
    /// Patterns of machined's names, LXC's names, control groups and pid files for the driver `namespace`, written
    /// `machine:NAME`, `lxc:NAME`, `cgroup:PATH` and `pid_file:PATH`.
    pub(crate) leaders: Vec<String>,
}

impl Default for Allow {
    fn default() -> Self {
        Allow {
            engines: vec!["docker".to_owned()],
            containers: vec!["*".to_owned()],
            users: vec!["*".to_owned()],
            homes: Vec::new(),
            addresses: Vec::new(),
            leaders: Vec::new(),
        }
    }
}

impl Allow {
    /// Whether a source may name such a target.
    ///
    /// # Errors
    /// What is not allowed, and where it is.
    pub(crate) fn check(&self, driver: &Driver, user: &str, home: Option<&str>) -> Result<(), String> {
        let need = |patterns: &[String], what: &str, list: &str| {
            let fits = patterns.iter().any(|pattern| fits(pattern, what));
            if fits {
                Ok(())
            } else {
                Err(format!("'{what}' is not among the '{list}' that this source may name"))
            }
        };
        let engine = |engine: &String, container: &String| {
            need(&self.engines, engine, "allow.engines")?;
            need(&self.containers, container, "allow.containers")
        };
        match driver {
            Driver::Docker { engine: name, container, .. } => engine(name, container)?,
            Driver::Namespace { leader } => {
                let (word, text) = match leader {
                    Leader::PidFile(path) => ("pid_file", path),
                    Leader::Machine(name) => ("machine", name),
                    Leader::Lxc(name) => ("lxc", name),
                    Leader::Cgroup(path) => ("cgroup", path),
                };
                if text.split('/').any(|part| part == "..") {
                    return Err("a path with '..'".to_owned());
                }
                need(&self.leaders, &format!("{word}:{text}"), "allow.leaders")?;
            }
            Driver::Tcp { address: TcpAddress::Fixed { host, port } } => {
                let patterns: Vec<String> =
                    self.addresses.iter().filter(|pattern| may_mean(pattern, host)).cloned().collect();
                need(&patterns, &format!("{host}:{port}"), "allow.addresses")?;
            }
            Driver::Tcp { address: TcpAddress::Container { engine: name, container, .. } } => {
                engine(name, container)?;
            }
        }
        need(&self.users, user, "allow.users")?;
        let Some(home) = home.map(std::path::Path::new) else { return Ok(()) };
        let straight = home.components().all(|part| part != std::path::Component::ParentDir);
        if straight && self.homes.iter().any(|root| home.starts_with(root) && home != root) {
            return Ok(());
        }
        Err(format!("the home '{}' is not below one of 'allow.homes'", home.display()))
    }
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
    fn a_name_that_begins_like_an_address_is_none() {
        for (pattern, host, want) in [
            ("10.1.*:22", "10.1.2.3", true),
            ("10.1.*:22", "10.1.evil.example", false),
            ("10.1.*", "10.1.evil.example", false),
            ("10.1.2.3:22", "10.1.2.3", true),
            ("*:22", "any.example", true),
            ("*", "any.example", true),
            ("10*.example.org:22", "10-1.example.org", true),
            ("*.example.org:22", "a.example.org", true),
        ] {
            assert_eq!(may_mean(pattern, host), want, "{pattern} {host}");
        }
        let some = allow("addresses = ['10.1.*:22']");
        let tcp = |host: &str| {
            let text = format!(r#"{{"driver":"tcp","address":{{"fixed":{{"host":"{host}","port":22}}}}}}"#);
            some.check(&serde_json::from_str(&text).unwrap(), "nobody", None)
        };
        assert_eq!(tcp("10.1.2.3"), Ok(()));
        assert!(tcp("10.1.evil.example").is_err());
    }

    fn allow(text: &str) -> Allow {
        toml::from_str(text).unwrap()
    }

    fn driver(json: &str) -> Driver {
        serde_json::from_str(json).unwrap()
    }

    #[test]
    fn a_source_names_docker_containers_and_nothing_else_unless_it_may() {
        let docker = driver(r#"{"driver":"docker","container":"lab-1"}"#);
        let podman = driver(r#"{"driver":"docker","engine":"podman","container":"lab-1"}"#);
        let pid = driver(r#"{"driver":"namespace","leader":{"pid_file":"/run/x.pid"}}"#);
        let up = driver(r#"{"driver":"namespace","leader":{"cgroup":"/labs/../system.slice"}}"#);
        let tcp = driver(r#"{"driver":"tcp","address":{"fixed":{"host":"127.0.0.1","port":22}}}"#);
        let none = Allow::default();
        assert!(none.check(&docker, "ada", None).is_ok());
        for (driver, home) in [(&podman, None), (&pid, None), (&tcp, None), (&docker, Some("/srv/homes/ada"))]
        {
            assert!(none.check(driver, "ada", home).is_err(), "{driver:?}");
        }
        let some = allow(
            "containers = ['lab-*']\nusers = ['ada']\nhomes = ['/srv/homes']\nleaders = ['cgroup:/labs/*']\naddresses = ['10.1.*:22']",
        );
        assert!(some.check(&docker, "ada", Some("/srv/homes/ada")).is_ok());
        assert!(some.check(&docker, "root", None).is_err());
        for home in ["/srv/homes", "/srv/homes/../../root", "/srv/homesick/ada", "/etc"] {
            assert!(some.check(&docker, "ada", Some(home)).is_err(), "{home}");
        }
        assert!(some.check(&up, "ada", None).is_err());
        let first = driver(r#"{"driver":"namespace","leader":{"cgroup":"../system.slice"}}"#);
        assert!(allow("leaders = ['cgroup:*']").check(&first, "ada", None).is_err());
        assert!(some.check(&tcp, "ada", None).is_err());
    }

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
