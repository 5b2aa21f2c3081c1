//! The options of `target add` and `target set`, and what they make of a target.

use std::collections::BTreeMap;
use std::num::NonZeroU16;
use std::path::Path;
use std::str::FromStr;

use anyhow::{Context, anyhow, bail};
use clap::{Args, ValueEnum};
use vestibule::config::Config;
use vestibule::names::login::TargetName;
use vestibule::store::NewTarget;
use vestibule::target::{Driver, ExecWay, Forward, Leader, LoginUser, Policy, Sftp, TcpAddress};

use crate::accounts::target_name;
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
pub(crate) enum ForwardKind {
    /// None
    None,
    /// From the client to the target: -L, -D, -W, -J
    Local,
    /// From the target to the client: -R
    Remote,
    /// Both
    All,
}

impl From<ForwardKind> for Forward {
    fn from(kind: ForwardKind) -> Self {
        match kind {
            ForwardKind::None => Forward::None,
            ForwardKind::Local => Forward::Local,
            ForwardKind::Remote => Forward::Remote,
            ForwardKind::All => Forward::All,
        }
    }
}

/// A port, or any.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Port(Option<NonZeroU16>);

impl FromStr for Port {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text == "any" {
            return Ok(Port(None));
        }
        text.parse().map(|port| Port(Some(port))).map_err(|_| "want a port from 1 to 65535, or 'any'")
    }
}

impl Port {
    /// What was said takes the place of the list; nothing leaves it.
    fn apply(said: &[Port], list: &mut Vec<u16>) {
        if said.is_empty() {
            return;
        }
        list.clear();
        if said.iter().all(|port| port.0.is_some()) {
            list.extend(said.iter().filter_map(|port| port.0).map(NonZeroU16::get));
            list.sort_unstable();
            list.dedup();
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum DriverName {
    /// The namespaces of a process on this host
    Namespace,
    /// A container of Docker or Podman
    Docker,
    /// A TCP service
    Tcp,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Exec {
    /// By the container's namespaces: fast, local engines only
    Namespaces,
    /// By the engine's exec: for rootless and remote engines
    Engine,
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

/// How a target is entered.
#[derive(Debug, Args)]
pub(crate) struct DriverArgs {
    /// How it is entered
    #[arg(long)]
    driver: Option<DriverName>,
    /// The container's name or id at its engine (docker, tcp)
    #[arg(long)]
    container: Option<String>,
    /// The engine, by its name in vestibule.toml; docker unless said (docker, tcp)
    #[arg(long)]
    engine: Option<String>,
    /// How a process is started in it (docker)
    #[arg(long)]
    exec: Option<Exec>,
    /// The shell for --exec engine; /bin/sh unless said (docker)
    #[arg(long)]
    shell: Option<String>,
    /// A root-owned file with the pid of its first process (namespace)
    #[arg(long, value_name = "FILE")]
    pid_file: Option<String>,
    /// A machine of systemd-machined (namespace)
    #[arg(long)]
    machine: Option<String>,
    /// A container of LXC (namespace)
    #[arg(long)]
    lxc: Option<String>,
    /// The first process of a control group, below the hierarchy's root (namespace)
    #[arg(long, value_name = "PATH")]
    cgroup: Option<String>,
    /// Where it is: HOST:PORT (tcp)
    #[arg(long, value_name = "HOST:PORT")]
    address: Option<String>,
    /// The port inside the container (tcp)
    #[arg(long)]
    port: Option<u16>,
    /// Go to where the engine publishes the port on this host (tcp)
    #[arg(long)]
    published: bool,
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
    /// Let clients' agents be asked from inside ('ssh -A')
    #[arg(long)]
    agent_forwarding: bool,
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
    #[command(flatten)]
    wake: WakeArgs,
}

impl TargetAdd {
    pub(crate) fn target(&self, config: &Config) -> anyhow::Result<NewTarget> {
        let driver = self.driver.driver(config)?.context("want --driver: namespace, docker or tcp")?;
        let login_user = match (&self.settings.user, &driver) {
            (Some(user), _) => login_user(user)?,
            // Nobody logs in there; the service has users of its own.
            (None, Driver::Tcp { .. }) => LoginUser::from("nobody"),
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
        target.policy.agent_forwarding &= !self.no_agent_forwarding;
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
        target.policy.env.extend(variables(&self.env)?);
        self.wake.apply(target, config)
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
    if text.chars().any(|c| c.is_control() && !matches!(c, '\n' | '\t')) || text.len() > MAX_WELCOME {
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

impl DriverArgs {
    /// The driver that the options say, if they say one.
    fn driver(&self, config: &Config) -> anyhow::Result<Option<Driver>> {
        let Some(name) = self.driver else {
            return match self.given().first() {
                Some(option) => bail!("{option} is not without --driver"),
                None => Ok(None),
            };
        };
        let (belong, word): (&[&str], _) = match name {
            DriverName::Docker => (&["--container", "--engine", "--exec", "--shell"], "docker"),
            DriverName::Namespace => (&["--pid-file", "--machine", "--lxc", "--cgroup"], "namespace"),
            DriverName::Tcp => (&["--address", "--container", "--engine", "--port", "--published"], "tcp"),
        };
        if let Some(option) = self.given().iter().find(|option| !belong.contains(option)) {
            bail!("{option} is not with --driver {word}");
        }
        let driver = match name {
            DriverName::Docker => self.docker(config),
            DriverName::Namespace => self.namespace(),
            DriverName::Tcp => self.tcp(config),
        };
        driver.map(Some)
    }

    fn given(&self) -> Vec<&'static str> {
        let options = [
            ("--container", self.container.is_some()),
            ("--engine", self.engine.is_some()),
            ("--exec", self.exec.is_some()),
            ("--shell", self.shell.is_some()),
            ("--pid-file", self.pid_file.is_some()),
            ("--machine", self.machine.is_some()),
            ("--lxc", self.lxc.is_some()),
            ("--cgroup", self.cgroup.is_some()),
            ("--address", self.address.is_some()),
            ("--port", self.port.is_some()),
            ("--published", self.published),
        ];
        options.into_iter().filter_map(|(name, given)| given.then_some(name)).collect()
    }

    fn engine(&self, config: &Config) -> anyhow::Result<String> {
        let engine = self.engine.clone().unwrap_or_else(|| "docker".to_owned());
        if !config.engine.contains_key(&engine) {
            let known: Vec<&str> = config.engine.keys().map(String::as_str).collect();
            bail!("engine '{}': vestibule.toml has only {}", engine.escape_debug(), known.join(", "));
        }
        Ok(engine)
    }

    fn container(&self) -> anyhow::Result<Option<String>> {
        self.container.as_deref().map(|name| plain("container", name)).transpose()
    }

    fn docker(&self, config: &Config) -> anyhow::Result<Driver> {
        let container = self.container()?.context("--driver docker wants --container")?;
        let exec = match self.exec {
            Some(Exec::Engine) => ExecWay::Engine,
            _ => ExecWay::Namespaces,
        };
        if let Some(shell) = &self.shell {
            if exec != ExecWay::Engine {
                bail!(
                    "--shell is only with --exec engine: otherwise it is the user's, by the container's /etc/passwd"
                );
            }
            if !Path::new(shell).is_absolute() {
                bail!("shell '{shell}': want an absolute path");
            }
        }
        Ok(Driver::Docker { engine: self.engine(config)?, container, exec, shell: self.shell.clone() })
    }

    fn namespace(&self) -> anyhow::Result<Driver> {
        let leader = match (&self.pid_file, &self.machine, &self.lxc, &self.cgroup) {
            (Some(file), None, None, None) if Path::new(file).is_absolute() => Leader::PidFile(file.clone()),
            (Some(file), None, None, None) => bail!("pid file '{file}': want an absolute path"),
            (None, Some(name), None, None) => Leader::Machine(plain("machine", name)?),
            (None, None, Some(name), None) => Leader::Lxc(plain("container", name)?),
            (None, None, None, Some(path))
                if Path::new(path).components().any(|part| part.as_os_str() == "..") =>
            {
                bail!("control group '{path}': want a path without '..'")
            }
            (None, None, None, Some(path)) => Leader::Cgroup(path.clone()),
            _ => bail!("--driver namespace wants one of --pid-file, --machine, --lxc, --cgroup"),
        };
        Ok(Driver::Namespace { leader })
    }

    fn tcp(&self, config: &Config) -> anyhow::Result<Driver> {
        let address = match (&self.address, self.container()?) {
            (Some(address), None) => {
                if let Some(option) = self.given().iter().find(|option| **option != "--address") {
                    bail!("{option} is not with --address");
                }
                fixed(address)?
            }
            (None, Some(container)) => TcpAddress::Container {
                engine: self.engine(config)?,
                container,
                port: self
                    .port
                    .filter(|port| *port > 0)
                    .context("--container wants --port with --driver tcp")?,
                published: self.published,
            },
            _ => bail!("--driver tcp wants --address HOST:PORT, or --container and --port"),
        };
        Ok(Driver::Tcp { address })
    }
}

/// A name at an engine or a service manager: nothing that could be taken for a path.
fn plain(what: &str, name: &str) -> anyhow::Result<String> {
    let is_plain = name.starts_with(|first: char| first.is_ascii_alphanumeric() || first == '_')
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.' | b'-'));
    if is_plain && name.len() <= 255 {
        Ok(name.to_owned())
    } else {
        bail!("{what} '{}': is no name", name.escape_debug())
    }
}

/// `HOST:PORT`, `[IPV6]:PORT`.
fn fixed(text: &str) -> anyhow::Result<TcpAddress> {
    let parts = text.rsplit_once(':').and_then(|(host, port)| Some((host, port.parse::<u16>().ok()?)));
    let host = |host: &str| match host.strip_prefix('[') {
        Some(bare) => bare.strip_suffix(']')?.parse::<std::net::Ipv6Addr>().ok().map(|ip| ip.to_string()),
        None => {
            let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_');
            (!host.is_empty() && host.bytes().all(plain)).then(|| host.to_owned())
        }
    };
    match parts.and_then(|(name, port)| Some((host(name)?, port))) {
        Some((host, port)) if port > 0 => Ok(TcpAddress::Fixed { host, port }),
        _ => bail!("address '{}': want HOST:PORT or [IPV6]:PORT", text.escape_debug()),
    }
}
