//! The command line, as clap reads it. See vestibulectl(8).

use std::path::PathBuf;

use clap::{Parser, Subcommand};

use crate::check::DoctorArgs;
use crate::complete::{accounts, files, targets};
use crate::proxy_key::ProxyKeyCommand;
use crate::target_args::{TargetAdd, TargetSet};

/// Fills and shows vestibule's store, and explains what a login gets.
#[derive(Debug, Parser)]
#[command(name = "vestibulectl", version, disable_help_subcommand = true)]
pub(crate) struct Args {
    /// Read FILE and FILE.d instead of /etc/vestibule/vestibule.toml
    #[arg(long, global = true, value_name = "FILE", add = files())]
    pub(crate) config: Option<PathBuf>,
    /// Use FILE instead of /var/lib/vestibule/store.db
    #[arg(long, global = true, value_name = "FILE", add = files())]
    pub(crate) store: Option<PathBuf>,
    /// Use FILE as the index of login names; names.idx beside the store by default
    #[arg(long, global = true, value_name = "FILE", add = files())]
    pub(crate) index: Option<PathBuf>,
    /// Say what is done on standard error
    #[arg(short, long, global = true)]
    pub(crate) verbose: bool,
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Make users, directories, the store and its index; safe to run again
    Init,
    /// Look for everything that is known to keep logins from working, and say how it is mended
    #[command(alias = "check")]
    Doctor(DoctorArgs),
    /// People and robots
    #[command(subcommand)]
    Account(AccountCommand),
    /// Public keys of accounts and targets
    #[command(subcommand)]
    Key(KeyCommand),
    /// Containers that sessions go to
    #[command(subcommand)]
    Target(TargetCommand),
    /// Which account may enter which target
    #[command(subcommand)]
    Grant(GrantCommand),
    /// Keys by which the bastion logs in to targets on other machines
    #[command(subcommand)]
    ProxyKey(ProxyKeyCommand),
    /// List the sessions that live, or end some
    #[command(args_conflicts_with_subcommands = true)]
    Sessions {
        /// Print JSON
        #[arg(long)]
        json: bool,
        #[command(subcommand)]
        command: Option<SessionsCommand>,
    },
    /// List the sources of refresh-keys, and fail when one of them is not well
    Sources {
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Say, step by step, what a login would get
    Explain(Explain),
}

#[derive(Debug, Subcommand)]
pub(crate) enum AccountCommand {
    /// Add an account
    Add {
        /// The account
        name: String,
        /// Where the account's own name leads as a login name
        #[arg(long, value_name = "TARGET", add = targets())]
        default_target: Option<String>,
    },
    /// List the accounts
    List {
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Show an account, its keys and its grants
    Show {
        /// The account
        #[arg(add = accounts())]
        name: String,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Remove an account, its keys and its grants
    Rm {
        /// The account
        #[arg(add = accounts())]
        name: String,
    },
    /// Change an account
    #[command(group(clap::ArgGroup::new("what").required(true)))]
    Set {
        /// The account
        #[arg(add = accounts())]
        name: String,
        /// Where the account's own name leads as a login name
        #[arg(long, value_name = "TARGET", group = "what", add = targets())]
        default_target: Option<String>,
        /// The account's own name leads nowhere any more
        #[arg(long, group = "what")]
        no_default_target: bool,
    },
    /// Let nobody in with the account's keys
    Disable {
        /// The account
        #[arg(add = accounts())]
        name: String,
    },
    /// Undo disable
    Enable {
        /// The account
        #[arg(add = accounts())]
        name: String,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum KeyCommand {
    /// Add the keys of a file, as in authorized_keys or as PuTTY exports them
    #[command(group(clap::ArgGroup::new("owner").required(true)))]
    Add {
        /// Whose keys these are
        #[arg(long, group = "owner", add = accounts())]
        account: Option<String>,
        /// The target that these keys open
        #[arg(long, group = "owner", add = targets())]
        target: Option<String>,
        /// When they end to count: 2027-01-31, 2027-01-31T12:00:00Z, +30d, +12h
        #[arg(long, value_name = "WHEN")]
        expires: Option<String>,
        /// The file; '-' is standard input
        #[arg(default_value = "-", add = files())]
        file: PathBuf,
    },
    /// List keys
    List {
        /// Only those of an account
        #[arg(long, conflicts_with_all = ["target", "revoked"], add = accounts())]
        account: Option<String>,
        /// Only those of a target
        #[arg(long, conflicts_with = "revoked", add = targets())]
        target: Option<String>,
        /// The revoked ones, also those that nobody has
        #[arg(long)]
        revoked: bool,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Show a key
    Show {
        /// SHA256:..., a number of 'key list', or a file
        #[arg(add = files())]
        key: String,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Remove a key from its owner
    Rm {
        /// SHA256:..., a number of 'key list', or a file
        #[arg(add = files())]
        key: String,
        /// Only from this account
        #[arg(long, conflicts_with = "target", add = accounts())]
        account: Option<String>,
        /// Only from this target
        #[arg(long, add = targets())]
        target: Option<String>,
    },
    /// Make a key open nothing, whoever lists it
    Revoke {
        /// SHA256:..., a number of 'key list', or a file
        #[arg(add = files())]
        key: String,
        /// Why, for whoever asks later
        #[arg(long, default_value = "")]
        reason: String,
    },
    /// Undo revoke
    Unrevoke {
        /// SHA256:..., a number of 'key list', or a file
        #[arg(add = files())]
        key: String,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum SessionsCommand {
    /// End sessions, whatever they do; it keeps nobody from coming again
    End(EndSessions),
}

/// Which sessions are to end.
#[derive(Debug, clap::Args)]
#[group(required = true, multiple = false)]
pub(crate) struct EndSessions {
    /// Sessions, by their numbers
    #[arg(value_name = "SESSION")]
    pub(crate) ids: Vec<String>,
    /// Those of an account
    #[arg(long)]
    pub(crate) account: Option<String>,
    /// Those of a key: SHA256:...
    #[arg(long, value_name = "FINGERPRINT")]
    pub(crate) key: Option<String>,
    /// Those in a target
    #[arg(long)]
    pub(crate) target: Option<String>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum TargetCommand {
    /// Add a target
    Add(Box<TargetAdd>),
    /// Change a target
    Set(Box<TargetSet>),
    /// List the targets
    List {
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Show a target, its keys and who may enter it
    Show {
        /// The target
        #[arg(add = targets())]
        name: String,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Remove a target, its keys and its grants
    Rm {
        /// The target
        #[arg(add = targets())]
        name: String,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum GrantCommand {
    /// Let an account into a target
    Add {
        /// Who
        #[arg(add = accounts())]
        account: String,
        /// Where to
        #[arg(add = targets())]
        target: String,
        /// When it ends: 2027-01-31, 2027-01-31T12:00:00Z, +30d, +12h
        #[arg(long, value_name = "WHEN")]
        expires: Option<String>,
    },
    /// List grants
    List {
        /// Only those of an account
        #[arg(long, add = accounts())]
        account: Option<String>,
        /// Only those for a target
        #[arg(long, add = targets())]
        target: Option<String>,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Show one grant
    Show {
        /// Who
        #[arg(add = accounts())]
        account: String,
        /// Where to
        #[arg(add = targets())]
        target: String,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Take a grant away
    Rm {
        /// Who
        #[arg(add = accounts())]
        account: String,
        /// Where to
        #[arg(add = targets())]
        target: String,
    },
}

/// What `explain` is asked.
#[derive(Debug, clap::Args)]
pub(crate) struct Explain {
    /// The login name, as in 'ssh LOGIN@bastion'
    #[arg(add = targets())]
    pub(crate) login: String,
    /// The key that is offered: a file with a public key
    #[arg(long, value_name = "FILE", conflicts_with = "fingerprint", add = files())]
    pub(crate) key: Option<PathBuf>,
    /// The key that is offered: SHA256:...
    #[arg(long)]
    pub(crate) fingerprint: Option<String>,
    /// Where the client is, for keys with 'from='
    #[arg(long, value_name = "ADDRESS")]
    pub(crate) client: Option<String>,
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
}
