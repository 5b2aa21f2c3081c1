//! What the sources that ask over a network are set to.

use std::path::PathBuf;

use serde::Deserialize;

use super::Queries;

/// `kind = "feed"`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Feed {
    /// `https://host[:port]/path`.
    pub(crate) url: String,
    /// The file of the bearer token.
    pub(crate) token_file: Option<PathBuf>,
    /// Authorities to trust in place of the system's, in PEM.
    pub(crate) ca_file: Option<PathBuf>,
    /// Plain HTTP to another machine is allowed.
    #[serde(default)]
    pub(crate) allow_http: bool,
    /// Seconds for one answer.
    #[serde(default = "timeout")]
    pub(crate) timeout: u32,
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
