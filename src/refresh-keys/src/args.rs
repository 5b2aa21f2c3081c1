//! The command line.

use std::path::PathBuf;

use clap::Parser;

/// Brings what hubs and databases know of accounts, keys, targets and grants into the store.
#[derive(Debug, Parser)]
#[command(version)]
pub(crate) struct Args {
    /// Only this source of the configuration; may be given several times
    #[arg(long, value_name = "NAME")]
    pub(crate) source: Vec<String>,
    /// Only this target, with its keys and grants
    #[arg(long, value_name = "NAME", conflicts_with = "account")]
    pub(crate) target: Option<String>,
    /// Only this account, with its keys and grants
    #[arg(long, value_name = "NAME")]
    pub(crate) account: Option<String>,
    /// Change nothing, and say what would change
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// Remove however much the sources do not have any more
    #[arg(long)]
    pub(crate) accept_shrink: bool,
    /// Ask for everything, not for what changed since the last time
    #[arg(long)]
    pub(crate) full: bool,
    /// As the forced command of a hub's key: what is wanted stands in SSH_ORIGINAL_COMMAND
    #[arg(long, conflicts_with_all = ["target", "account", "dry_run", "accept_shrink", "full"])]
    pub(crate) trigger: bool,
    /// Stay, and refresh whenever a source has news
    #[arg(long, conflicts_with_all = ["target", "account", "dry_run", "accept_shrink", "full", "trigger", "json"])]
    pub(crate) follow: bool,
    /// Has the hub that this target comes from start it
    #[arg(long, value_name = "TARGET", conflicts_with_all = ["source", "target", "account", "dry_run", "accept_shrink", "full", "trigger", "follow", "json"])]
    pub(crate) wake: Option<String>,
    /// Seconds that --wake may take, if fewer than session.wake_seconds
    #[arg(long, value_name = "SECONDS", requires = "wake")]
    pub(crate) within: Option<u64>,
    /// Makes the host key on standard input that of this target, if its is to be learned
    #[arg(long, value_name = "TARGET", conflicts_with_all = ["source", "target", "account", "dry_run", "accept_shrink", "full", "trigger", "follow", "wake", "json"])]
    pub(crate) pin_host_key: Option<String>,
    /// One JSON object for each source on standard output
    #[arg(long)]
    pub(crate) json: bool,
    /// Say on standard error what is done
    #[arg(long, short)]
    pub(crate) verbose: bool,
    /// The configuration in place of /etc/vestibule/vestibule.toml
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// The store in place of /var/lib/vestibule/store.db
    #[arg(long, value_name = "FILE")]
    pub(crate) store: Option<PathBuf>,
}
