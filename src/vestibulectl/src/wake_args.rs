//! The options of `target add` and `target set` that say how a target is started when somebody comes.

use std::path::Path;

use anyhow::{anyhow, bail};
use clap::Args;
use vestibule::config::Config;
use vestibule::store::NewTarget;
use vestibule::target::{Driver, MAX_WAKE_OPTIONS, Ready, Wake};

/// How a target is started, and when it is ready.
#[derive(Debug, Args)]
pub(crate) struct WakeArgs {
    /// Start it on connect when it does not run: none, engine, hub, or command:NAME of vestibule.toml
    #[arg(long, value_name = "WAY")]
    wake: Option<String>,
    /// Seconds in which it must then be ready; 60 unless said
    #[arg(long, value_name = "SECONDS")]
    wake_within: Option<u64>,
    /// What the hub is told when it is to start it: an object of JSON, as JupyterHub's user_options; {} for nothing
    #[arg(long, value_name = "JSON")]
    wake_options: Option<String>,
    /// It is ready when this port takes connections on its loopback
    #[arg(long, value_name = "PORT", group = "probe")]
    ready_tcp: Option<u16>,
    /// It is ready when it has this file
    #[arg(long, value_name = "PATH", group = "probe")]
    ready_file: Option<String>,
    /// It is ready when this program of its own exits with 0; once for each word
    #[arg(long, value_name = "WORD", group = "probe", allow_hyphen_values = true)]
    ready_command: Vec<String>,
}

impl WakeArgs {
    pub(crate) fn apply(&self, target: &mut NewTarget, config: &Config) -> anyhow::Result<()> {
        if let Some(way) = &self.wake {
            target.policy.wake = wake(way, config)?;
        }
        if let Some(seconds) = self.wake_within {
            if !(1..=3600).contains(&seconds) {
                bail!("--wake-within {seconds}: want 1 to 3600 seconds");
            }
            target.policy.wake_within = Some(seconds);
        }
        if let Some(json) = &self.wake_options {
            target.policy.wake_options = options(json)?;
        }
        if let Some(ready) = self.ready()? {
            target.policy.ready = Some(ready);
        }
        match (&target.policy.wake, &target.driver) {
            (Wake::None, _) => Ok(()),
            (_, Driver::Tcp { .. }) => bail!("a target of the driver tcp is not started; leave --wake out"),
            (_, driver) if driver.over().is_some() && target.policy.ready.is_some() => {
                bail!("--ready-... is for containers; a target elsewhere is ready when it is reached")
            }
            (Wake::Engine, Driver::Namespace { .. } | Driver::Stream { .. } | Driver::Ssh { .. }) => {
                bail!("--wake engine is only with --driver docker; another target wants hub or command:NAME")
            }
            _ => Ok(()),
        }
    }

    fn ready(&self) -> anyhow::Result<Option<Ready>> {
        if let Some(port) = self.ready_tcp {
            if port == 0 {
                bail!("--ready-tcp 0: want 1 to 65535");
            }
            return Ok(Some(Ready::Tcp(port)));
        }
        if let Some(path) = &self.ready_file {
            absolute("--ready-file", path)?;
            return Ok(Some(Ready::File(path.clone())));
        }
        let Some(program) = self.ready_command.first() else { return Ok(None) };
        absolute("--ready-command", program)?;
        Ok(Some(Ready::Command(self.ready_command.clone())))
    }
}

/// An empty object is none.
fn options(json: &str) -> anyhow::Result<Option<serde_json::Map<String, serde_json::Value>>> {
    let options: serde_json::Map<_, _> =
        serde_json::from_str(json).map_err(|why| anyhow!("--wake-options: want an object of JSON: {why}"))?;
    if serde_json::to_vec(&options)?.len() > MAX_WAKE_OPTIONS {
        bail!("--wake-options: more than {MAX_WAKE_OPTIONS} bytes");
    }
    Ok(Some(options).filter(|options| !options.is_empty()))
}

fn absolute(option: &str, path: &str) -> anyhow::Result<()> {
    if Path::new(path).is_absolute() && !path.contains('\0') {
        Ok(())
    } else {
        bail!("{option} '{}': want an absolute path", path.escape_debug())
    }
}

fn wake(way: &str, config: &Config) -> anyhow::Result<Wake> {
    Ok(match (way, way.strip_prefix("command:")) {
        ("none", _) => Wake::None,
        ("engine", _) => Wake::Engine,
        ("hub", _) => Wake::Hub,
        (_, Some(name)) if config.wake.contains_key(name) => Wake::Command(name.to_owned()),
        (_, Some(name)) => {
            let known: Vec<&str> = config.wake.keys().map(String::as_str).collect();
            let known = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
            bail!("wake command '{}': vestibule.toml has only {known}", name.escape_debug());
        }
        _ => return Err(anyhow!("wake '{}': want none, engine, hub or command:NAME", way.escape_debug())),
    })
}
