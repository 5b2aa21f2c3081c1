//! What a target is and how it is entered.
//!
//! A [`Target`] is a row of the store with its settings parsed. The settings name things (a container, a pid file, an
//! engine of the configuration); they never carry a pid or a socket's path.

mod policy;
mod transport;

use serde::{Deserialize, Serialize};
use vestibule_names::login::TargetName;

pub use policy::{
    Forward, MAX_START_AT, MAX_WAKE_OPTIONS, Policy, Ready, Sftp, WAKE_WITHIN, Wake, may_start_at,
};
pub use transport::{HostKey, HostKeys, Transport};

/// The store's number for a target. It is not used again after the target is gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct TargetId(pub i64);

/// A container (project, workspace, notebook server) that sessions go to.
#[derive(Debug, Clone, PartialEq)]
pub struct Target {
    /// The store's number.
    pub id: TargetId,
    /// The name it is listed under.
    pub name: TargetName,
    /// How it is entered.
    pub driver: Driver,
    /// Who one is inside.
    pub login_user: LoginUser,
    /// The home directory of the container's user as the bastion sees it; absolute. Without one, the target has no
    /// `authorized_keys` of its own.
    pub home: Option<String>,
    /// What a session may do.
    pub policy: Policy,
}

/// Who one is inside the container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LoginUser {
    /// One user for all, by the container's `/etc/passwd` (or a number).
    Fixed(String),
    /// The user named as the account; written `{account}`.
    Account,
}

/// How a target is entered, as the store's JSON has it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "driver", rename_all = "lowercase", deny_unknown_fields)]
pub enum Driver {
    /// The namespaces of a process on this host.
    Namespace {
        /// How that process is found.
        leader: Leader,
    },
    /// A container of an engine that speaks Docker's Engine API.
    Docker {
        /// Which engine of the configuration; `docker` unless set.
        #[serde(default = "default_engine")]
        engine: String,
        /// The container's name or id at the engine.
        container: String,
        /// By its namespaces, or by the engine's own exec.
        #[serde(default)]
        exec: ExecWay,
        /// The shell for `exec = "engine"`, where the container's `/etc/passwd` is not read. `/bin/sh` unless set.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        shell: Option<String>,
    },
    /// A TCP service; the session's standard input and output are spliced to it.
    Tcp {
        /// Where it is.
        address: TcpAddress,
    },
    /// A service elsewhere; the session's standard input and output are spliced to what leads there.
    Stream {
        /// What leads there.
        over: Transport,
    },
    /// An SSH server elsewhere, to which the bastion logs in with a key of its own.
    Ssh {
        /// What leads there.
        over: Transport,
        /// The bastion's proxy key, by its name; `bastion` unless set.
        #[serde(default = "default_key")]
        key: String,
        /// Which keys the server may have.
        host_keys: HostKeys,
    },
}

fn default_key() -> String {
    "bastion".to_owned()
}

impl Driver {
    /// Whether sessions are bytes only: a service without commands and terminals, and without users that are known here.
    #[must_use]
    pub fn is_bytes(&self) -> bool {
        matches!(self, Driver::Tcp { .. } | Driver::Stream { .. })
    }

    /// A stream over TCP is what a target that is a TCP service is, and is treated as one.
    #[must_use]
    pub fn settled(self) -> Self {
        match self {
            Driver::Stream { over: Transport::Tcp(address) } => Driver::Tcp { address },
            other => other,
        }
    }

    /// The engine that knows the target's container, by its name in the configuration.
    #[must_use]
    pub fn engine(&self) -> Option<&String> {
        match self {
            Driver::Docker { engine, .. }
            | Driver::Tcp { address: TcpAddress::Container { engine, .. } }
            | Driver::Stream { over: Transport::Tcp(TcpAddress::Container { engine, .. }) }
            | Driver::Ssh { over: Transport::Tcp(TcpAddress::Container { engine, .. }), .. } => Some(engine),
            _ => None,
        }
    }

    /// What leads to a target that is elsewhere; nothing for one that is entered on this host.
    #[must_use]
    pub fn over(&self) -> Option<&Transport> {
        match self {
            Driver::Stream { over } | Driver::Ssh { over, .. } => Some(over),
            Driver::Namespace { .. } | Driver::Docker { .. } | Driver::Tcp { .. } => None,
        }
    }
}

fn default_engine() -> String {
    "docker".to_owned()
}

/// How the first process of a namespaces container is found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Leader {
    /// A file, writable by root alone, that holds its pid.
    PidFile(String),
    /// A machine of systemd-machined.
    Machine(String),
    /// A container of LXC.
    Lxc(String),
    /// The first process of a control group, given by its path below the hierarchy's root.
    Cgroup(String),
}

/// How a process is started in an engine's container.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ExecWay {
    /// By entering its namespaces: a few milliseconds, local engines only.
    #[default]
    Namespaces,
    /// By the engine's exec: slower, for rootless and remote engines.
    Engine,
}

/// Where a TCP target is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum TcpAddress {
    /// Always there.
    Fixed {
        /// A name or an IP address.
        host: String,
        /// 1 to 65535.
        port: u16,
    },
    /// Where a container is at the time of the login.
    Container {
        /// Which engine of the configuration; `docker` unless set.
        #[serde(default = "default_engine")]
        engine: String,
        /// The container's name or id at the engine.
        container: String,
        /// The port inside the container.
        port: u16,
        /// Go to where the engine publishes that port on the host, not to the container's own address.
        #[serde(default)]
        published: bool,
    },
}

impl LoginUser {
    /// As it is written in the store and on the command line.
    #[must_use]
    pub fn as_str(&self) -> &str {
        match self {
            LoginUser::Fixed(user) => user,
            LoginUser::Account => "{account}",
        }
    }
}

impl From<&str> for LoginUser {
    fn from(text: &str) -> Self {
        if text == "{account}" { LoginUser::Account } else { LoginUser::Fixed(text.to_owned()) }
    }
}
