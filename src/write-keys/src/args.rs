//! The command line. Where the store, the configuration and the homes are is no option: this is root.

use clap::Parser;

/// Writes the keys that open a target into its home, for an sshd of its own.
#[derive(Debug, Parser)]
#[command(version)]
pub(crate) struct Args {
    /// Only the file of this target
    #[arg(long, value_name = "NAME", conflicts_with = "follow")]
    pub(crate) target: Option<String>,
    /// Stay, and write whenever the store changes, a key ends or a target is woken
    #[arg(long)]
    pub(crate) follow: bool,
    /// Seconds after which --follow looks whether all files are as they were written
    #[arg(long, value_name = "SECONDS", default_value_t = 300, value_parser = clap::value_parser!(u32).range(1..=86_400))]
    pub(crate) every: u32,
    /// Say on standard error what is done
    #[arg(long, short)]
    pub(crate) verbose: bool,
}
