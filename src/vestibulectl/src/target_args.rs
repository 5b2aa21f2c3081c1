//! The options of `target add` and `target set`, and what they make of a target.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context, anyhow, bail};
use clap::{Args, ValueEnum};
use vestibule::config::{Config, Revoked};
use vestibule::messages::may_welcome;
use vestibule::names::login::TargetName;
use vestibule::store::NewTarget;
use vestibule::target::{LoginUser, Policy, Sftp};

use crate::accounts::target_name;
use crate::driver_args::DriverArgs;
use crate::forward_args::{ForwardKind, Port};
use crate::hub_args::HubArgs;
use crate::output::remark;
use crate::wake_args::WakeArgs;

/// `target add NAME ...`
#[derive(Debug, Args)]
pub(crate) struct TargetAdd {
    /// The name, as in 'ssh NAME@bastion'
    pub(crate) name: String,
    #[command(flatten)]
    pub(crate) driver: DriverArgs,
    #[command(flatten)]
    pub(crate) settings: Settings,
}

/// `target set NAME ...`
#[derive(Debug, Args)]
pub(crate) struct TargetSet {
    /// The target
    #[arg(add = crate::complete::targets())]
    pub(crate) name: String,
    /// Give it another name
    #[arg(long, value_name = "NAME")]
    pub(crate) rename: Option<String>,
    #[command(flatten)]
    pub(crate) driver: DriverArgs,
    #[command(flatten)]
    pub(crate) settings: Settings,
    /// Take a further name away
    #[arg(long, value_name = "NAME")]
    pub(crate) unalias: Vec<String>,
    /// It has no home on this host, and so no authorized_keys of its own
    #[arg(long, conflicts_with = "home")]
    pub(crate) no_home: bool,
    /// Give terminals out
    #[arg(long, conflicts_with = "no_pty")]
    pub(crate) pty: bool,
    /// Let its own authorized_keys count
    #[arg(long, conflicts_with = "no_own_keys")]
    pub(crate) own_keys: bool,
    /// Write no keys into its home any more
    #[arg(long, conflicts_with = "write_keys")]
    pub(crate) no_write_keys: bool,
    /// Keep clients' X displays out
    #[arg(long, conflicts_with = "x11")]
    pub(crate) no_x11: bool,
    /// Keep clients' agents out
    #[arg(long, conflicts_with = "agent_forwarding")]
    pub(crate) no_agent_forwarding: bool,
    /// It is ready as soon as it runs
    #[arg(long, conflicts_with = "probe")]
    pub(crate) no_ready: bool,
    /// Take a variable away
    #[arg(long, value_name = "NAME")]
    pub(crate) unset_env: Vec<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum SftpServer {
    /// vestibule's, whatever the image holds
    Own,
    /// The image's, where sshd's configuration says
    Image,
    /// No SFTP
    None,
}

impl From<SftpServer> for Sftp {
    fn from(server: SftpServer) -> Self {
        match server {
            SftpServer::Own => Sftp::Own,
            SftpServer::Image => Sftp::Image,
            SftpServer::None => Sftp::None,
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum WhenRevoked {
    /// They end too
    End,
    /// They go on
    Keep,
}

impl From<WhenRevoked> for Revoked {
    fn from(what: WhenRevoked) -> Self {
        match what {
            WhenRevoked::End => Revoked::End,
            WhenRevoked::Keep => Revoked::Keep,
        }
    }
}

/// What targets have whatever their driver.
#[derive(Debug, Args)]
pub(crate) struct Settings {
    /// Who one is inside: a user of the container, or '{account}'
    #[arg(long)]
    user: Option<String>,
    /// The home of that user as this host sees it, for its authorized_keys
    #[arg(long, value_name = "DIRECTORY")]
    home: Option<String>,
    /// A further name
    #[arg(long, value_name = "NAME")]
    alias: Vec<String>,
    /// Give no terminals out
    #[arg(long)]
    no_pty: bool,
    /// Its own authorized_keys does not count
    #[arg(long)]
    no_own_keys: bool,
    /// Write the keys that open it into its home, for an sshd of its own
    #[arg(long)]
    write_keys: bool,
    /// Let clients' agents be asked from inside ('ssh -A')
    #[arg(long)]
    agent_forwarding: bool,
    /// Let clients' X displays be used from inside ('ssh -X'), where forwards end in the target
    #[arg(long)]
    x11: bool,
    /// Which forwards are granted where they end in the target; all unless said (namespace, docker)
    #[arg(long, value_name = "KIND")]
    forward: Option<ForwardKind>,
    /// A port of the target's own that -L and -D may go to, and no other; or 'any'
    #[arg(long, value_name = "PORT")]
    open_port: Vec<Port>,
    /// A port that -R may listen on, and no other; or 'any'
    #[arg(long, value_name = "PORT")]
    listen_port: Vec<Port>,
    /// Said on the terminal of a login shell; '{target}' is the target's name, '' is nothing
    #[arg(long, value_name = "TEXT")]
    welcome: Option<String>,
    /// Whose SFTP server answers scp, sftp and sshfs; own unless said
    #[arg(long, value_name = "SERVER")]
    sftp: Option<SftpServer>,
    /// A further variable of its sessions
    #[arg(long, value_name = "NAME=VALUE")]
    env: Vec<String>,
    /// What becomes of its sessions when what let them in is taken away; end unless said
    #[arg(long, value_name = "WHAT")]
    revoked: Option<WhenRevoked>,
    #[command(flatten)]
    wake: WakeArgs,
    #[command(flatten)]
    hub: HubArgs,
}

impl TargetAdd {
    pub(crate) fn target(&self, config: &Config) -> anyhow::Result<NewTarget> {
        let driver =
            self.driver.driver(config)?.context("want --driver: namespace, docker, tcp, stream or ssh")?;
        let login_user = match (&self.settings.user, &driver) {
            (Some(user), _) => login_user(user)?,
            // Nobody logs in there; the service has users of its own.
            (None, driver) if driver.is_bytes() => LoginUser::from("nobody"),
            (None, _) => bail!("want --user: who one is inside, a user of the container or '{{account}}'"),
        };
        let name = target_name(&self.name)?;
        let mut target = NewTarget {
            name,
            aliases: Vec::new(),
            driver,
            login_user,
            home: None,
            policy: Policy::default(),
        };
        self.settings.apply(&mut target, config)?;
        Ok(target)
    }
}

impl TargetSet {
    /// Changes what the target is.
    pub(crate) fn apply(&self, target: &mut NewTarget, config: &Config) -> anyhow::Result<()> {
        if let Some(name) = &self.rename {
            target.name = target_name(name)?;
        }
        if let Some(driver) = self.driver.driver(config)? {
            target.driver = driver;
        }
        if let Some(user) = &self.settings.user {
            target.login_user = login_user(user)?;
        }
        for name in &self.unalias {
            let name = target_name(name)?;
            let before = target.aliases.len();
            target.aliases.retain(|alias| *alias != name);
            if target.aliases.len() == before {
                bail!("target '{}' has no alias '{name}'", target.name);
            }
        }
        if self.no_home {
            target.home = None;
        }
        target.policy.pty |= self.pty;
        target.policy.own_keys |= self.own_keys;
        target.policy.write_keys &= !self.no_write_keys;
        target.policy.agent_forwarding &= !self.no_agent_forwarding;
        target.policy.x11 &= !self.no_x11;
        for name in &self.unset_env {
            if target.policy.env.remove(name).is_none() {
                bail!("target '{}' has no variable '{name}'", target.name);
            }
        }
        if self.no_ready {
            target.policy.ready = None;
        }
        self.settings.apply(target, config)
    }
}

impl Settings {
    fn apply(&self, target: &mut NewTarget, config: &Config) -> anyhow::Result<()> {
        if let Some(home) = &self.home {
            if !Path::new(home).is_absolute() {
                bail!("home '{home}': want an absolute path");
            }
            // No link on the way is followed at login, so those that are there now are resolved once.
            let resolved =
                Path::new(home).canonicalize().ok().and_then(|path| path.into_os_string().into_string().ok());
            target.home = Some(resolved.unwrap_or_else(|| home.clone()));
        }
        for alias in &self.alias {
            let alias = target_name(alias)?;
            if alias != target.name && !target.aliases.contains(&alias) {
                target.aliases.push(alias);
            }
        }
        target.policy.pty &= !self.no_pty;
        target.policy.own_keys &= !self.no_own_keys;
        target.policy.agent_forwarding |= self.agent_forwarding;
        target.policy.write_keys |= self.write_keys;
        target.policy.x11 |= self.x11;
        if let Some(kind) = self.forward {
            target.policy.forward = kind.into();
        }
        Port::apply(&self.open_port, &mut target.policy.open_ports);
        Port::apply(&self.listen_port, &mut target.policy.listen_ports);
        if let Some(text) = &self.welcome {
            target.policy.welcome = welcome(text)?;
        }
        if let Some(server) = self.sftp {
            target.policy.sftp = server.into();
        }
        if let Some(what) = self.revoked {
            target.policy.revoked = what.into();
        }
        target.policy.env.extend(variables(&self.env)?);
        self.wake.apply(target, config)?;
        self.hub.apply(target)?;
        match &target.home {
            _ if !target.policy.write_keys => Ok(()),
            _ if target.login_user == LoginUser::Account => {
                bail!("--write-keys: the file in a home is one user's, and this target's user is the account")
            }
            None => bail!("--write-keys: want --home, the directory that the file is written below"),
            Some(home) if !config.written.homes.iter().any(|root| Path::new(home).starts_with(root)) => {
                remark(format_args!(
                    "home '{home}' is not below one of [written] homes in vestibule.toml: nothing is written until it is"
                ));
                Ok(())
            }
            Some(_) => Ok(()),
        }
    }
}

/// The names by which a target is reached.
pub(crate) fn names(target: &NewTarget) -> impl Iterator<Item = &TargetName> {
    std::iter::once(&target.name).chain(&target.aliases)
}

fn login_user(user: &str) -> anyhow::Result<LoginUser> {
    let plain =
        !user.is_empty() && user.bytes().all(|byte| byte.is_ascii_graphic() && !matches!(byte, b':' | b'/'));
    if user.len() > 255 || !plain || (user.contains(['{', '}']) && user != "{account}") {
        bail!("user '{}': want a user's name, a number, or '{{account}}'", user.escape_debug());
    }
    Ok(LoginUser::from(user))
}

/// As much as a terminal takes before its shell has started.
const MAX_WELCOME: usize = 4000;

fn welcome(text: &str) -> anyhow::Result<String> {
    if !text.chars().all(may_welcome) || text.len() > MAX_WELCOME {
        bail!(
            "welcome: want at most {MAX_WELCOME} bytes of text, without control characters but line feeds and tabs"
        );
    }
    Ok(text.to_owned())
}

fn variables(pairs: &[String]) -> anyhow::Result<BTreeMap<String, String>> {
    let read = |pair: &String| {
        let (name, value) = pair.split_once('=')?;
        let begins = name.starts_with(|first: char| first.is_ascii_alphabetic() || first == '_');
        let is_name = begins && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
        (is_name && !value.contains('\0')).then(|| (name.to_owned(), value.to_owned()))
    };
    pairs
        .iter()
        .map(|pair| read(pair).ok_or_else(|| anyhow!("variable '{}': want NAME=VALUE", pair.escape_debug())))
        .collect()
}
