//! The options that say how a target is entered.

use std::path::Path;

use anyhow::{Context, bail};
use clap::{Args, ValueEnum};
use vestibule::config::Config;
use vestibule::target::{Driver, ExecWay, Leader, TcpAddress, Transport};

use crate::elsewhere_args::ElsewhereArgs;

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum DriverName {
    /// The namespaces of a process on this host
    Namespace,
    /// A container of Docker or Podman
    Docker,
    /// A TCP service
    Tcp,
    /// A service behind another transport
    Stream,
    /// An SSH server on another machine
    Ssh,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Exec {
    /// By the container's namespaces: fast, local engines only
    Namespaces,
    /// By the engine's exec: for rootless and remote engines
    Engine,
}

/// The options that lead to a TCP service.
const TCP: [&str; 5] = ["--address", "--container", "--engine", "--port", "--published"];

/// How a target is entered.
#[derive(Debug, Args)]
pub(crate) struct DriverArgs {
    /// How it is entered
    #[arg(long)]
    driver: Option<DriverName>,
    /// The container's name or id at its engine (docker, tcp, stream, ssh)
    #[arg(long)]
    container: Option<String>,
    /// The engine, by its name in vestibule.toml; docker unless said (docker, tcp, stream, ssh)
    #[arg(long, add = crate::complete::engines())]
    engine: Option<String>,
    /// How a process is started in it (docker)
    #[arg(long)]
    exec: Option<Exec>,
    /// The shell for --exec engine; /bin/sh unless said (docker)
    #[arg(long)]
    shell: Option<String>,
    /// A root-owned file with the pid of its first process (namespace)
    #[arg(long, value_name = "FILE", add = crate::complete::files())]
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
    /// Where it is: HOST:PORT (tcp, stream, ssh)
    #[arg(long, value_name = "HOST:PORT")]
    address: Option<String>,
    /// The port inside the container (tcp, stream, ssh)
    #[arg(long)]
    port: Option<u16>,
    /// Go to where the engine publishes the port on this host (tcp, stream, ssh)
    #[arg(long)]
    published: bool,
    #[command(flatten)]
    elsewhere: ElsewhereArgs,
}

impl DriverArgs {
    /// The driver that the options say, if they say one.
    pub(crate) fn driver(&self, config: &Config) -> anyhow::Result<Option<Driver>> {
        let Some(name) = self.driver else {
            return match self.given().first() {
                Some(option) => bail!("{option} is not without --driver"),
                None => Ok(None),
            };
        };
        let (belong, word): (&[&str], _) = match name {
            DriverName::Docker => (&["--container", "--engine", "--exec", "--shell"], "docker"),
            DriverName::Namespace => (&["--pid-file", "--machine", "--lxc", "--cgroup"], "namespace"),
            DriverName::Tcp => (&TCP, "tcp"),
            DriverName::Stream => (&[&TCP[..], &ElsewhereArgs::TRANSPORT].concat(), "stream"),
            DriverName::Ssh => (&[&TCP[..], &ElsewhereArgs::TRANSPORT, &ElsewhereArgs::SSH].concat(), "ssh"),
        };
        if let Some(option) = self.given().iter().find(|option| !belong.contains(option)) {
            bail!("{option} is not with --driver {word}");
        }
        let driver = match name {
            DriverName::Docker => self.docker(config),
            DriverName::Namespace => self.namespace(),
            DriverName::Tcp => self.tcp(config).map(|address| Driver::Tcp { address }),
            DriverName::Stream => self.over(config).map(|over| Driver::Stream { over }),
            DriverName::Ssh => self.over(config).and_then(|over| self.elsewhere.ssh(over)),
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
        let own = options.into_iter().filter_map(|(name, given)| given.then_some(name));
        own.chain(self.elsewhere.given()).collect()
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

    /// What leads to a target elsewhere.
    fn over(&self, config: &Config) -> anyhow::Result<Transport> {
        match self.elsewhere.transport(config)? {
            None => self.tcp(config).map(Transport::Tcp),
            Some(over) => match self.given().iter().find(|option| TCP.contains(option)) {
                Some(option) => bail!("{option} is for TCP; want one transport"),
                None => Ok(over),
            },
        }
    }

    fn tcp(&self, config: &Config) -> anyhow::Result<TcpAddress> {
        let address = match (&self.address, self.container()?) {
            (Some(address), None) => {
                let more = |option: &&&str| **option != "--address" && TCP.contains(option);
                if let Some(option) = self.given().iter().find(more) {
                    bail!("{option} is not with --address");
                }
                fixed(address)?
            }
            (None, Some(container)) => TcpAddress::Container {
                engine: self.engine(config)?,
                container,
                port: self.port.filter(|port| *port > 0).context("--container wants --port")?,
                published: self.published,
            },
            _ if self.driver == Some(DriverName::Tcp) => {
                bail!("--driver tcp wants --address HOST:PORT, or --container and --port")
            }
            _ => bail!(
                "want what leads there: --address HOST:PORT, --container and --port, --socket, --connect or --site and --path"
            ),
        };
        Ok(address)
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
