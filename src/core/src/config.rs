//! The configuration: `vestibule.toml(5)` and the files of `vestibule.toml.d`.
//!
//! Every program reads it at its start, those that `sshd` starts and the privileged one too; so it is small, has a
//! default for everything, and is read strictly: a key that nobody knows is an error with file, line and column. The
//! files of `vestibule.toml.d` are read after the main file, in the order of their names; a key that they set wins.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::authority::Authorities;
use crate::may_enter::MayEnter;
use crate::paths;

mod fields;
mod files;
#[cfg(test)]
mod tests;

/// What the programs are set to.
#[derive(Debug, Clone, PartialEq)]
pub struct Config {
    /// What a login name may put before a target's name (`project-`).
    pub target_prefix: Option<String>,
    /// Where forwards end.
    pub forwarding: Forwarding,
    /// Where keys come from.
    pub keys: Keys,
    /// Where keys are written for targets' own sshd.
    pub written: Written,
    /// What may be entered at all.
    pub may_enter: MayEnter,
    /// How sessions end.
    pub session: Session,
    /// The container engines of this host, by the name that targets call them.
    pub engine: BTreeMap<String, Engine>,
    /// The commands that start targets, by the name that targets call them.
    pub wake: BTreeMap<String, HostCommand>,
    /// The commands that lead to targets, by the name that targets call them.
    pub connect: BTreeMap<String, HostCommand>,
    /// The sites whose WebSockets lead to targets, by the name that targets call them.
    pub site: BTreeMap<String, Site>,
    /// Who signs users' certificates.
    pub authority: Authorities,
    /// The sources of `refresh-keys`, by name, which alone reads what is in them.
    pub source: BTreeMap<String, toml::Table>,
}

/// Where forwards end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Forwarding {
    /// Nowhere, but for the one address of a target that is entered by TCP.
    #[default]
    None,
    /// In the target's network namespace, into which `pam_vestibule` moves the session.
    Pam,
}

/// The table `[keys]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Keys {
    /// The directory of managed key files, one a target; absolute.
    pub managed: PathBuf,
    /// A target's own key file, below its home; relative, without `..`.
    pub own_file: String,
    /// Milliseconds for reading a target's own key file.
    pub deadline_ms: u64,
}

/// The table `[written]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Written {
    /// The file that is written, below a target's home; relative, without `..`.
    pub file: String,
    /// The directories below which homes must lie for anything to be written in them.
    pub homes: Vec<PathBuf>,
}

/// The table `[session]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Session {
    /// Seconds between SIGHUP and SIGKILL when the client is gone.
    pub grace_seconds: u64,
    /// The commands that stand for SFTP: what `sshd` has behind `Subsystem sftp`, whole. Words behind the first are
    /// options for the SFTP server.
    pub sftp_commands: Vec<String>,
    /// The most seconds that a session waits for its target to be started and ready.
    pub wake_seconds: u64,
    /// What becomes of a session when what let it in is taken away.
    pub revoked: Revoked,
}

/// What becomes of a session when the key, the account or the grant that let it in is taken away, or has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Revoked {
    /// It ends too.
    #[default]
    End,
    /// It goes on to its end.
    Keep,
}

/// A table `[wake.NAME]`, a command that starts targets, or `[connect.NAME]`, one whose standard input and output lead to
/// them.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HostCommand {
    /// The program, by an absolute path, and its arguments; `{target}` stands for the target's name.
    #[serde(deserialize_with = "fields::command")]
    pub command: Vec<String>,
    /// Who runs it: a user of the bastion's `/etc/passwd`.
    #[serde(default = "nobody", deserialize_with = "fields::user")]
    pub user: String,
}

/// A table `[site.NAME]`: where WebSockets may lead.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Site {
    /// `https://HOST[:PORT]`, or `http://...`.
    #[serde(deserialize_with = "fields::origin")]
    pub url: String,
    /// A file whose first line is a token, sent to that host alone; absolute, and `vestibule-hop`'s.
    #[serde(default, deserialize_with = "fields::some_absolute")]
    pub token_file: Option<PathBuf>,
    /// Certificates of authorities that are trusted in place of the system's; absolute.
    #[serde(default, deserialize_with = "fields::some_absolute")]
    pub ca_file: Option<PathBuf>,
    /// The HTTP proxy on the way there, `http://HOST:PORT`.
    #[serde(default, deserialize_with = "fields::some_origin")]
    pub proxy: Option<String>,
    /// It may be another machine though it is asked by plain HTTP.
    #[serde(default)]
    pub allow_http: bool,
}

fn nobody() -> String {
    "nobody".to_owned()
}

/// `Subsystem sftp` of OpenSSH itself, Debian, Enterprise Linux and Fedora, upstream's own build, and SUSE and Arch.
const SFTP_COMMANDS: [&str; 5] = [
    "internal-sftp",
    "/usr/lib/openssh/sftp-server",
    "/usr/libexec/openssh/sftp-server",
    "/usr/libexec/sftp-server",
    "/usr/lib/ssh/sftp-server",
];

/// A table `[engine.NAME]`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Engine {
    /// Its API's unix socket; absolute.
    #[serde(deserialize_with = "fields::absolute")]
    pub socket: PathBuf,
}

impl Default for Config {
    fn default() -> Self {
        let engine = |name: &str, socket: &str| (name.to_owned(), Engine { socket: PathBuf::from(socket) });
        Config {
            target_prefix: None,
            forwarding: Forwarding::None,
            keys: Keys {
                managed: PathBuf::from(paths::MANAGED_KEYS),
                own_file: ".ssh/authorized_keys".to_owned(),
                deadline_ms: 500,
            },
            written: Written { file: ".ssh/.vestibule/authorized_keys".to_owned(), homes: Vec::new() },
            may_enter: MayEnter::default(),
            session: Session {
                grace_seconds: 10,
                wake_seconds: 300,
                revoked: Revoked::End,
                sftp_commands: SFTP_COMMANDS.map(str::to_owned).to_vec(),
            },
            engine: BTreeMap::from([
                engine("docker", "/run/docker.sock"),
                engine("podman", "/run/podman/podman.sock"),
            ]),
            authority: Authorities::new(),
            source: BTreeMap::new(),
            wake: BTreeMap::new(),
            connect: BTreeMap::new(),
            site: BTreeMap::new(),
        }
    }
}

/// Why there is no configuration to work by.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// A file (or the directory) can't be read.
    #[error("can't read '{}'", .path.display())]
    Read {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A file that somebody else than root could have written.
    #[error("'{}' is not used: {why}", .path.display())]
    Untrusted {
        /// Which.
        path: PathBuf,
        /// What is wrong with it, and the mend.
        why: &'static str,
    },
    /// Something that does not belong there, or is not TOML.
    #[error("{}:{line}:{column}: {message}", .path.display())]
    Fault {
        /// Which file.
        path: PathBuf,
        /// Counted from 1.
        line: usize,
        /// Characters, counted from 1.
        column: usize,
        /// What is wrong there.
        message: String,
    },
}

impl Config {
    /// Reads `main` and the `*.toml` files of the directory `main` + `.d`. What does not exist says nothing.
    ///
    /// # Errors
    /// [`ConfigError`], with the place of the first fault.
    pub fn load(main: &Path) -> Result<Config, ConfigError> {
        Self::read(main, false)
    }

    /// As [`load`](Self::load), for programs that work with more rights than their caller: every file must be regular,
    /// root's, and writable by root alone.
    ///
    /// # Errors
    /// [`ConfigError`], with the place of the first fault.
    pub fn load_trusted(main: &Path) -> Result<Config, ConfigError> {
        Self::read(main, true)
    }

    /// The sources whose hub's tokens let their owners in.
    pub fn token_sources(&self) -> impl Iterator<Item = (&str, &toml::Table)> {
        let on = |table: &toml::Table| table.get("tokens").and_then(toml::Value::as_bool) == Some(true);
        self.source.iter().filter(move |(_, table)| on(table)).map(|(name, table)| (name.as_str(), table))
    }

    fn read(main: &Path, trusted: bool) -> Result<Config, ConfigError> {
        let mut config = Config::default();
        for path in std::iter::once(main.to_owned()).chain(files::drop_ins(main, trusted)?) {
            if let Some(text) = files::read_file(&path, trusted)? {
                config.apply(fields::parse(&path, &text)?);
            }
        }
        Ok(config)
    }

    fn apply(&mut self, file: fields::FileConfig) {
        self.target_prefix = file.target_prefix.or_else(|| self.target_prefix.take());
        self.forwarding = file.forwarding.unwrap_or(self.forwarding);
        if let Some(keys) = file.keys {
            if let Some(managed) = keys.managed {
                self.keys.managed = managed;
            }
            if let Some(own_file) = keys.own_file {
                self.keys.own_file = own_file;
            }
            if let Some(deadline_ms) = keys.deadline_ms {
                self.keys.deadline_ms = deadline_ms;
            }
        }
        if let Some(written) = file.written {
            if let Some(file) = written.file {
                self.written.file = file;
            }
            if let Some(homes) = written.homes {
                self.written.homes = homes;
            }
        }
        if let Some(may) = file.may_enter {
            let ours = &mut self.may_enter;
            for (list, said) in [
                (&mut ours.containers, may.containers),
                (&mut ours.leaders, may.leaders),
                (&mut ours.addresses, may.addresses),
                (&mut ours.sockets, may.sockets),
                (&mut ours.websockets, may.websockets),
                (&mut ours.users, may.users),
                (&mut ours.privileged, may.privileged),
            ] {
                if let Some(said) = said {
                    *list = said;
                }
            }
            if let Some(homes) = may.homes {
                ours.homes = homes;
            }
            if let Some(workspaces) = may.workspaces {
                ours.workspaces = workspaces;
            }
        }
        if let Some(session) = file.session {
            if let Some(grace_seconds) = session.grace_seconds {
                self.session.grace_seconds = grace_seconds;
            }
            if let Some(sftp_commands) = session.sftp_commands {
                self.session.sftp_commands = sftp_commands;
            }
            if let Some(wake_seconds) = session.wake_seconds {
                self.session.wake_seconds = wake_seconds;
            }
            if let Some(revoked) = session.revoked {
                self.session.revoked = revoked;
            }
        }
        self.engine.extend(file.engine.unwrap_or_default());
        self.source.extend(file.source.unwrap_or_default());
        self.wake.extend(file.wake.unwrap_or_default());
        self.connect.extend(file.connect.unwrap_or_default());
        self.authority.extend(file.authority.unwrap_or_default());
        self.site.extend(file.site.unwrap_or_default());
    }
}
