//! What a target is and how it is entered.
//!
//! A [`Target`] is a row of the store with its settings parsed. The settings name things (a container, a pid file, an
//! engine of the configuration); they never carry a pid or a socket's path.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use vestibule_names::login::TargetName;

use crate::config::Revoked;

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

/// What a session of a target may do. Unknown fields of the store's JSON are errors.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Policy {
    /// Terminals are given out.
    pub pty: bool,
    /// The target's own `authorized_keys` counts.
    pub own_keys: bool,
    /// The keys that open the target are written to a file below its home, for an sshd of its own.
    #[serde(skip_serializing_if = "is_off")]
    pub write_keys: bool,
    /// The client's agent can be asked from inside. Off unless said: who is root in the container can ask it too.
    #[serde(skip_serializing_if = "is_off")]
    pub agent_forwarding: bool,
    /// The client's X display can be used from inside, where forwards end in the target. Off unless said: who is root in
    /// the container can use it too.
    #[serde(skip_serializing_if = "is_off")]
    pub x11: bool,
    /// Said on the terminal of a login shell, with `{target}` for the target's name; nothing if empty.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub welcome: String,
    /// Whose SFTP server answers.
    #[serde(skip_serializing_if = "Sftp::is_default")]
    pub sftp: Sftp,
    /// Further variables for the session's environment.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub env: BTreeMap<String, String>,
    /// How it is started on connect when it does not run.
    #[serde(skip_serializing_if = "Wake::is_none")]
    pub wake: Wake,
    /// When a target that was started is ready; without one, as soon as it runs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ready: Option<Ready>,
    /// Seconds that a session waits for that; the configuration may say less. [`WAKE_WITHIN`] unless set.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub wake_within: Option<u64>,
    /// Which forwards are granted, where they end in the target.
    #[serde(skip_serializing_if = "Forward::is_default")]
    pub forward: Forward,
    /// The ports of the target's own that `-L` may go to; any port of any host, as seen from the target, if empty.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub open_ports: Vec<u16>,
    /// The ports that `-R` may listen on; any if empty.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub listen_ports: Vec<u16>,
    /// What becomes of sessions when what let them in is taken away; the configuration can say `keep` for all.
    #[serde(skip_serializing_if = "is_end")]
    pub revoked: Revoked,
}

/// `serde` passes a reference.
#[expect(clippy::trivially_copy_pass_by_ref, reason = "the shape that serde asks for")]
fn is_end(revoked: &Revoked) -> bool {
    *revoked == Revoked::End
}

/// Which kinds of forwards are granted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Forward {
    /// None.
    None,
    /// Connections from the client to the target: `-L`, `-D`, `-W`, `-J`.
    Local,
    /// Connections from the target to the client: `-R`.
    Remote,
    /// Both.
    #[default]
    All,
}

impl Forward {
    /// As it is written on the command line.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Forward::None => "none",
            Forward::Local => "local",
            Forward::Remote => "remote",
            Forward::All => "all",
        }
    }

    /// Whether connections go from the client to the target.
    #[must_use]
    pub fn local(self) -> bool {
        matches!(self, Forward::Local | Forward::All)
    }

    /// Whether the target may be listened in for the client.
    #[must_use]
    pub fn remote(self) -> bool {
        matches!(self, Forward::Remote | Forward::All)
    }

    /// `serde` passes a reference.
    #[expect(clippy::trivially_copy_pass_by_ref, reason = "the shape that serde asks for")]
    fn is_default(&self) -> bool {
        *self == Forward::default()
    }
}

/// Seconds that a session waits for its target to be ready where the target's policy says nothing.
pub const WAKE_WITHIN: u64 = 60;

/// How a target that does not run is started on connect.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Wake {
    /// It is not.
    #[default]
    None,
    /// By its engine, as `docker start` does.
    Engine,
    /// By the command that root's configuration has under this name, `[wake.NAME]`.
    Command(String),
    /// By the hub, which `refresh-keys --wake` asks.
    Hub,
}

impl Wake {
    /// Whether it is not started at all.
    #[must_use]
    pub fn is_none(&self) -> bool {
        *self == Wake::None
    }
}

/// What says that a target is ready.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Ready {
    /// This TCP port takes connections on the container's own loopback.
    Tcp(u16),
    /// There is something by this path, below the container's root.
    File(String),
    /// This program, by its absolute path and with these arguments, exits with 0 when the login user runs it inside.
    Command(Vec<String>),
}

fn is_off(on: &bool) -> bool {
    !on
}

/// Whose SFTP server answers a client that asks sshd for the subsystem `sftp`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Sftp {
    /// vestibule's, carried into the container; with [`ExecWay::Engine`] the image's.
    #[default]
    Own,
    /// The image's, run by the user's shell at the path that sshd's configuration has.
    Image,
    /// Nobody's.
    None,
}

impl Sftp {
    /// As it is written on the command line.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Sftp::Own => "own",
            Sftp::Image => "image",
            Sftp::None => "none",
        }
    }

    fn is_default(&self) -> bool {
        *self == Sftp::default()
    }
}

impl Default for Policy {
    fn default() -> Self {
        Policy {
            pty: true,
            own_keys: true,
            write_keys: false,
            agent_forwarding: false,
            x11: false,
            welcome: String::new(),
            sftp: Sftp::Own,
            env: BTreeMap::new(),
            forward: Forward::default(),
            open_ports: Vec::new(),
            listen_ports: Vec::new(),
            wake: Wake::None,
            ready: None,
            wake_within: None,
            revoked: Revoked::End,
        }
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    fn policy(json: &str) -> Result<Policy, serde_json::Error> {
        serde_json::from_str(json)
    }

    #[test]
    fn a_policy_without_wake_is_written_as_before() {
        assert_eq!(serde_json::to_string(&Policy::default()).unwrap(), r#"{"pty":true,"own_keys":true}"#);
    }

    #[test]
    fn how_a_target_is_woken_survives_the_store() {
        for (json, wake, ready) in [
            (r#"{"wake":"engine"}"#, Wake::Engine, None),
            (r#"{"wake":"hub","ready":{"tcp":8888}}"#, Wake::Hub, Some(Ready::Tcp(8888))),
            (
                r#"{"wake":{"command":"site"},"ready":{"file":"/run/ready"}}"#,
                Wake::Command("site".to_owned()),
                Some(Ready::File("/run/ready".to_owned())),
            ),
            (
                r#"{"wake":"none","ready":{"command":["/bin/test","-e","/x"]}}"#,
                Wake::None,
                Some(Ready::Command(["/bin/test", "-e", "/x"].map(str::to_owned).to_vec())),
            ),
        ] {
            let read = policy(json).unwrap();
            assert_eq!((&read.wake, &read.ready), (&wake, &ready), "{json}");
            assert_eq!(policy(&serde_json::to_string(&read).unwrap()).unwrap(), read);
        }
        for json in [
            r#"{"wake":"docker"}"#,
            r#"{"wake":{"command":["/bin/sh"]}}"#,
            r#"{"wake":{"argv":["/bin/sh"]}}"#,
            r#"{"ready":{"tcp":70000}}"#,
            r#"{"ready":{"tcp":1,"file":"/x"}}"#,
            r#"{"wake_within":-1}"#,
        ] {
            assert!(policy(json).is_err(), "{json}");
        }
    }
}
