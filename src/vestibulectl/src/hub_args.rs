//! The options for what a platform knows of a target: its workspace, whether it runs, where it is started.

use anyhow::{Context, bail};
use clap::{Args, ValueEnum};
use vestibule::store::NewTarget;
use vestibule::target::{MAX_START_AT, Policy, may_start_at};
use vestibule::workspace::Workspace;

#[derive(Debug, Args)]
pub(crate) struct HubArgs {
    /// The platform's workspace that it belongs to, for may_enter.workspaces; '' is none
    #[arg(long, value_name = "WORKSPACE")]
    workspace: Option<String>,
    /// Whether it runs, where nothing on this host can tell; yes unless said
    #[arg(long, value_name = "WHETHER")]
    running: Option<Whether>,
    /// Where users start it, said when it does not run; '' is nothing
    #[arg(long, value_name = "TEXT")]
    start_at: Option<String>,
    /// The server of a JupyterHub that it is, for tokens of the hub; USER/ is a default one, '' is none
    #[arg(long, value_name = "USER/NAME")]
    hub_server: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Whether {
    /// It does
    Yes,
    /// Whoever comes is told that it does not
    No,
}

impl HubArgs {
    pub(crate) fn apply(&self, target: &mut NewTarget) -> anyhow::Result<()> {
        match self.workspace.as_deref() {
            None => {}
            Some("") => target.policy.workspace = None,
            Some(name) => {
                let workspace = Workspace::try_from(name);
                target.policy.workspace =
                    Some(workspace.with_context(|| format!("workspace '{}'", name.escape_debug()))?);
            }
        }
        if let Some(whether) = self.running {
            target.policy.running = whether == Whether::Yes;
        }
        if let Some(text) = &self.start_at {
            if !may_start_at(text) {
                bail!(
                    "start-at: want at most {MAX_START_AT} bytes of text without control characters and ';'"
                );
            }
            target.policy.start_at.clone_from(text);
        }
        match self.hub_server.as_deref() {
            None => {}
            Some("") => target.policy.hub_server = None,
            Some(server) if server.split_once('/').is_some_and(|(user, _)| !user.is_empty()) => {
                target.policy.hub_server = Some(server.to_owned());
            }
            Some(server) => bail!("hub server '{}': want USER/NAME", server.escape_debug()),
        }
        Ok(())
    }
}

/// What `target show` says of it.
pub(crate) fn shown(policy: &Policy) -> Vec<String> {
    let workspace = policy.workspace.iter().map(|workspace| format!("workspace  {workspace}"));
    let running = (!policy.running).then(|| "running    no, by its hub's word".to_owned());
    let start_at = Some(&policy.start_at).filter(|text| !text.is_empty());
    let server = policy.hub_server.iter().map(|server| format!("hub server {server}"));
    workspace.chain(running).chain(start_at.map(|text| format!("started at {text}"))).chain(server).collect()
}
