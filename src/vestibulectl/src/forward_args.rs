//! What the options about forwards may say.

use std::num::NonZeroU16;
use std::str::FromStr;

use clap::ValueEnum;
use vestibule::target::Forward;

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
    pub(crate) fn apply(said: &[Port], list: &mut Vec<u16>) {
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
