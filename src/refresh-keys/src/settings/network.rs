//! What the sources that ask over a network are set to.

use std::collections::BTreeMap;
use std::path::PathBuf;

use anyhow::Context;
use serde::Deserialize;
use vestibule::names::login::AccountName;

use super::Queries;

/// `kind = "feed"`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Feed {
    /// `https://host[:port]/path`.
    pub(crate) url: String,
    /// The file of the bearer token.
    pub(crate) token_file: Option<PathBuf>,
    /// Where the hub is asked to start a target, with `{target}` for its name; on the same host as `url`.
    pub(crate) wake_url: Option<String>,
    /// Authorities to trust in place of the system's, in PEM.
    pub(crate) ca_file: Option<PathBuf>,
    /// Plain HTTP to another machine is allowed.
    #[serde(default)]
    pub(crate) allow_http: bool,
    /// In place of the environment's.
    pub(crate) proxy: Option<String>,
    /// Seconds for one answer.
    #[serde(default = "timeout")]
    pub(crate) timeout: u32,
}

/// `kind = "url"`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Url {
    /// `https://host[:port]/{account}.keys`.
    pub(crate) url: String,
    /// Accounts to ask about.
    #[serde(default)]
    pub(crate) accounts: Vec<String>,
    /// Sources to ask about all accounts of.
    #[serde(default)]
    pub(crate) accounts_of: Vec<String>,
    /// The names of accounts at that host, where they are others.
    #[serde(default)]
    pub(crate) names: BTreeMap<String, String>,
    /// The file of a bearer token.
    pub(crate) token_file: Option<PathBuf>,
    /// Authorities to trust in place of the system's, in PEM.
    pub(crate) ca_file: Option<PathBuf>,
    /// Plain HTTP to another machine is allowed.
    #[serde(default)]
    pub(crate) allow_http: bool,
    /// In place of the environment's.
    pub(crate) proxy: Option<String>,
    /// Seconds for one answer.
    #[serde(default = "timeout")]
    pub(crate) timeout: u32,
    /// Accounts that are asked about at a time.
    #[serde(default = "parallel")]
    pub(crate) parallel: u32,
}

impl Url {
    /// Looks for what can't work.
    ///
    /// # Errors
    /// What the configuration should not say.
    pub(crate) fn check(&self) -> anyhow::Result<()> {
        // Nobody's name may choose the host.
        let path = self.url.split_once("://").and_then(|(_, rest)| rest.split_once('/'));
        let fits = |(host, path): (&str, &str)| !host.contains('{') && path.contains("{account}");
        anyhow::ensure!(path.is_some_and(fits), "url: want '{{account}}' in its path");
        anyhow::ensure!(
            !self.accounts.is_empty() || !self.accounts_of.is_empty(),
            "want 'accounts' or 'accounts_of'"
        );
        for name in self.accounts.iter().chain(self.names.keys()) {
            AccountName::try_from(name.as_str()).with_context(|| format!("account '{name}'"))?;
        }
        for name in self.names.values() {
            anyhow::ensure!(
                !matches!(name.as_str(), "" | "." | ".."),
                "names: '{name}' is no part of an address"
            );
        }
        check_parallel(self.parallel)
    }
}

/// `kind = "postgres"`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Postgres {
    /// `host=... dbname=... user=...`, without a password.
    pub(crate) connect: String,
    /// The file of the password.
    pub(crate) password_file: Option<PathBuf>,
    /// Authorities to trust in place of the system's, in PEM.
    pub(crate) ca_file: Option<PathBuf>,
    /// A connection to another machine without TLS is allowed.
    #[serde(default)]
    pub(crate) allow_plain: bool,
    /// The channel on which the database says what changed.
    pub(crate) listen: Option<String>,
    /// Seconds for one statement.
    #[serde(default = "timeout")]
    pub(crate) timeout: u32,
    accounts: Option<String>,
    keys: Option<String>,
    targets: Option<String>,
    grants: Option<String>,
}

impl Postgres {
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

pub(super) fn timeout() -> u32 {
    60
}

pub(super) fn parallel() -> u32 {
    4
}

/// How many questions may be on their way to one host.
pub(super) fn check_parallel(parallel: u32) -> anyhow::Result<()> {
    anyhow::ensure!((1..=32).contains(&parallel), "parallel: want 1 to 32");
    Ok(())
}
