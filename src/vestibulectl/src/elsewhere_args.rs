//! The options that say what leads to a target on another machine, and how its server is known.

use std::path::{Component, Path};

use anyhow::{Context, bail};
use clap::Args;
use vestibule::config::Config;
use vestibule::target::{Driver, HostKey, HostKeys, Transport};

/// What leads to a target elsewhere.
#[derive(Debug, Args)]
pub(crate) struct ElsewhereArgs {
    /// A unix socket of this host (stream, ssh)
    #[arg(long, value_name = "FILE", add = crate::complete::files())]
    socket: Option<String>,
    /// A command of vestibule.toml, [connect.NAME] (stream, ssh)
    #[arg(long, value_name = "NAME")]
    connect: Option<String>,
    /// A site of vestibule.toml, [site.NAME], that is reached by WebSocket (stream, ssh)
    #[arg(long, value_name = "NAME")]
    site: Option<String>,
    /// The path at the site (stream, ssh)
    #[arg(long)]
    path: Option<String>,
    /// The bastion's key that logs in there; bastion unless said (ssh)
    #[arg(long, value_name = "NAME")]
    proxy_key: Option<String>,
    /// A key of the server's, or 'cert-authority KEY', or 'learn' (ssh)
    #[arg(long, value_name = "KEY")]
    host_key: Vec<String>,
}

impl ElsewhereArgs {
    /// The options that are a transport.
    pub(crate) const TRANSPORT: [&str; 4] = ["--socket", "--connect", "--site", "--path"];
    /// Those of an SSH server.
    pub(crate) const SSH: [&str; 2] = ["--proxy-key", "--host-key"];

    /// The options that were given.
    pub(crate) fn given(&self) -> impl Iterator<Item = &'static str> {
        let options = [
            ("--socket", self.socket.is_some()),
            ("--connect", self.connect.is_some()),
            ("--site", self.site.is_some()),
            ("--path", self.path.is_some()),
            ("--proxy-key", self.proxy_key.is_some()),
            ("--host-key", !self.host_key.is_empty()),
        ];
        options.into_iter().filter_map(|(name, given)| given.then_some(name))
    }

    /// The transport that the options say, if it is another than TCP.
    pub(crate) fn transport(&self, config: &Config) -> anyhow::Result<Option<Transport>> {
        Ok(match (&self.socket, &self.connect, &self.site, &self.path) {
            (None, None, None, None) => None,
            (Some(socket), None, None, None) => {
                let straight = Path::new(socket).components().all(|part| part != Component::ParentDir);
                if !socket.starts_with('/') || !straight || socket.contains('\0') {
                    bail!("socket '{}': want an absolute path without '..'", socket.escape_debug());
                }
                Some(Transport::Unix(socket.clone()))
            }
            (None, Some(name), None, None) => {
                known("connect", name, config.connect.keys())?;
                Some(Transport::Command(name.clone()))
            }
            (None, None, Some(site), path) => {
                known("site", site, config.site.keys())?;
                let path = path.clone().context("--site wants --path")?;
                if !path.starts_with('/') || !path.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'#')
                {
                    bail!("path '{}': want one from '/' on, percent-encoded", path.escape_debug());
                }
                Some(Transport::Websocket { site: site.clone(), path })
            }
            (None, None, None, Some(_)) => bail!("--path wants --site"),
            _ => bail!("want one of --socket, --connect and --site"),
        })
    }

    /// The driver for an SSH server behind `over`.
    pub(crate) fn ssh(&self, over: Transport) -> anyhow::Result<Driver> {
        let key = self.proxy_key.clone().unwrap_or_else(|| "bastion".to_owned());
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
        if key.is_empty() || key.len() > 64 || !key.bytes().all(plain) {
            bail!("proxy key '{}': want letters, digits, '-' and '_'", key.escape_debug());
        }
        let host_keys = match self.host_key.as_slice() {
            [] => bail!(
                "--driver ssh wants --host-key: the server's key ('ssh-ed25519 AAAA...'), or 'learn'; nothing else proves who answers"
            ),
            [word] if word == "learn" => HostKeys::Learn,
            keys => {
                let keys: Result<Vec<HostKey>, _> = keys.iter().map(|key| key.parse()).collect();
                HostKeys::Pinned(keys.context("--host-key")?)
            }
        };
        Ok(Driver::Ssh { over, key, host_keys })
    }
}

fn known<'a>(what: &str, name: &str, names: impl Iterator<Item = &'a String>) -> anyhow::Result<()> {
    let names: Vec<&str> = names.map(String::as_str).collect();
    if names.contains(&name) {
        return Ok(());
    }
    let has = if names.is_empty() { "none".to_owned() } else { format!("only {}", names.join(", ")) };
    bail!("{what} '{}': vestibule.toml has {has}", name.escape_debug())
}
