//! What a session of a target may do.

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer, Serialize, de};

use crate::config::Revoked;
use crate::messages::drives_terminal;
use crate::workspace::Workspace;

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
    /// What the hub is told when it is to start it, where `wake` is [`Wake::Hub`]: JupyterHub's `user_options`, a profile
    /// for one.
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "wake_options")]
    pub wake_options: Option<serde_json::Map<String, serde_json::Value>>,
    /// The server of a hub that the target is, as `USER/NAME`, `USER/` for a default one: what a token of the hub must give
    /// access to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hub_server: Option<String>,
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
    /// The platform's workspace that it belongs to: `may_enter.workspaces` of the configuration says which may be entered.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub workspace: Option<Workspace>,
    /// Whether it runs, where only its hub knows. One that does not is not gone to, unless it can be started on connect.
    #[serde(skip_serializing_if = "is_on")]
    pub running: bool,
    /// Where a user starts it, said when it does not run: an address, or some words.
    #[serde(skip_serializing_if = "String::is_empty", deserialize_with = "start_at")]
    pub start_at: String,
}

/// Bytes that `start_at` has at most: it stands in the middle of a line.
pub const MAX_START_AT: usize = 120;

/// Whether a text may be said as the place where a target is started.
#[must_use]
pub fn may_start_at(text: &str) -> bool {
    text.len() <= MAX_START_AT && !text.contains(';') && !text.chars().any(drives_terminal)
}

fn start_at<'de, D: Deserializer<'de>>(value: D) -> Result<String, D::Error> {
    let text = String::deserialize(value)?;
    if may_start_at(&text) {
        return Ok(text);
    }
    Err(de::Error::custom(format_args!(
        "start_at: want at most {MAX_START_AT} bytes of text without control characters and ';'"
    )))
}

/// Bytes that [`Policy::wake_options`] may have as JSON.
pub const MAX_WAKE_OPTIONS: usize = 4096;

fn wake_options<'de, D: Deserializer<'de>>(
    value: D,
) -> Result<Option<serde_json::Map<String, serde_json::Value>>, D::Error> {
    let options = Option::<serde_json::Map<_, _>>::deserialize(value)?;
    let size = options.as_ref().map_or(Ok(0), |map| serde_json::to_vec(map).map(|json| json.len()));
    if size.is_ok_and(|size| size > MAX_WAKE_OPTIONS) {
        return Err(de::Error::custom("wake_options: more than 4096 bytes"));
    }
    Ok(options)
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

/// `serde` passes a reference.
#[expect(clippy::trivially_copy_pass_by_ref, reason = "the shape that serde asks for")]
fn is_on(on: &bool) -> bool {
    *on
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
            wake_options: None,
            hub_server: None,
            revoked: Revoked::End,
            workspace: None,
            running: true,
            start_at: String::new(),
        }
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
            r#"{"wake_options":"gpu"}"#,
        ] {
            assert!(policy(json).is_err(), "{json}");
        }
    }
}
