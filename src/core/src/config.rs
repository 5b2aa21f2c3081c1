//! The configuration: `vestibule.toml(5)` and the files of `vestibule.toml.d`.
//!
//! Every program reads it at its start, those that `sshd` starts and the privileged one too; so it is small, has a
//! default for everything, and is read strictly: a key that nobody knows is an error with file, line and column. The
//! files of `vestibule.toml.d` are read after the main file, in the order of their names; a key that they set wins.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Component, Path, PathBuf};

use serde::{Deserialize, Deserializer, de};

use crate::paths;

/// Bytes that a configuration file may have.
const MAX_BYTES: u64 = 1 << 20;

/// What the programs are set to.
#[derive(Debug, Clone, PartialEq)]
pub struct Config {
    /// What a login name may put before a target's name (`project-`).
    pub target_prefix: Option<String>,
    /// Where forwards end.
    pub forwarding: Forwarding,
    /// Where keys come from.
    pub keys: Keys,
    /// How sessions end.
    pub session: Session,
    /// The container engines of this host, by the name that targets call them.
    pub engine: BTreeMap<String, Engine>,
    /// The commands that start targets, by the name that targets call them.
    pub wake: BTreeMap<String, WakeCommand>,
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
}

/// A table `[wake.NAME]`: a command that starts targets.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WakeCommand {
    /// The program, by an absolute path, and its arguments; `{target}` stands for the target's name.
    #[serde(deserialize_with = "command")]
    pub command: Vec<String>,
    /// Who runs it: a user of the bastion's `/etc/passwd`.
    #[serde(default = "nobody", deserialize_with = "user")]
    pub user: String,
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
    #[serde(deserialize_with = "absolute")]
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
            session: Session {
                grace_seconds: 10,
                wake_seconds: 300,
                sftp_commands: SFTP_COMMANDS.map(str::to_owned).to_vec(),
            },
            engine: BTreeMap::from([
                engine("docker", "/run/docker.sock"),
                engine("podman", "/run/podman/podman.sock"),
            ]),
            source: BTreeMap::new(),
            wake: BTreeMap::new(),
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

    fn read(main: &Path, trusted: bool) -> Result<Config, ConfigError> {
        let mut config = Config::default();
        for path in std::iter::once(main.to_owned()).chain(drop_ins(main, trusted)?) {
            if let Some(text) = read_file(&path, trusted)? {
                config.apply(parse(&path, &text)?);
            }
        }
        Ok(config)
    }

    fn apply(&mut self, file: FileConfig) {
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
        }
        self.engine.extend(file.engine.unwrap_or_default());
        self.source.extend(file.source.unwrap_or_default());
        self.wake.extend(file.wake.unwrap_or_default());
    }
}

/// What one file says; everything may be missing.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct FileConfig {
    #[serde(default, deserialize_with = "prefix")]
    target_prefix: Option<String>,
    forwarding: Option<Forwarding>,
    keys: Option<FileKeys>,
    session: Option<FileSession>,
    engine: Option<BTreeMap<String, Engine>>,
    source: Option<BTreeMap<String, toml::Table>>,
    wake: Option<BTreeMap<String, WakeCommand>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct FileKeys {
    #[serde(default, deserialize_with = "some_absolute")]
    managed: Option<PathBuf>,
    #[serde(default, deserialize_with = "below_home")]
    own_file: Option<String>,
    #[serde(default, deserialize_with = "deadline")]
    deadline_ms: Option<u64>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct FileSession {
    #[serde(default, deserialize_with = "grace")]
    grace_seconds: Option<u64>,
    #[serde(default, deserialize_with = "commands")]
    sftp_commands: Option<Vec<String>>,
    #[serde(default, deserialize_with = "wake_seconds")]
    wake_seconds: Option<u64>,
}

fn prefix<'de, D: Deserializer<'de>>(value: D) -> Result<Option<String>, D::Error> {
    let text = String::deserialize(value)?;
    vestibule_names::login::check_prefix(&text)
        .map_err(|why| de::Error::custom(format!("a prefix of target names that {why}")))?;
    Ok(Some(text))
}

fn absolute<'de, D: Deserializer<'de>>(value: D) -> Result<PathBuf, D::Error> {
    let path = PathBuf::deserialize(value)?;
    if path.is_absolute() { Ok(path) } else { Err(de::Error::custom("want an absolute path")) }
}

fn some_absolute<'de, D: Deserializer<'de>>(value: D) -> Result<Option<PathBuf>, D::Error> {
    absolute(value).map(Some)
}

fn below_home<'de, D: Deserializer<'de>>(value: D) -> Result<Option<String>, D::Error> {
    let text = String::deserialize(value)?;
    let below =
        Path::new(&text).components().all(|part| matches!(part, Component::Normal(_) | Component::CurDir));
    if text.is_empty() || !below || text.contains('\0') {
        return Err(de::Error::custom("want a path below the home: relative, and without '..'"));
    }
    Ok(Some(text))
}

fn commands<'de, D: Deserializer<'de>>(value: D) -> Result<Option<Vec<String>>, D::Error> {
    let all = Vec::<String>::deserialize(value)?;
    // A command of blanks alone would have no first word, and one with a NUL can't come from a client.
    if all.iter().any(|command| command.trim().is_empty() || command.contains('\0')) {
        return Err(de::Error::custom("want commands as sshd has them behind 'Subsystem sftp'"));
    }
    Ok(Some(all))
}

fn deadline<'de, D: Deserializer<'de>>(value: D) -> Result<Option<u64>, D::Error> {
    between(value, 1, 30_000, "milliseconds")
}

fn grace<'de, D: Deserializer<'de>>(value: D) -> Result<Option<u64>, D::Error> {
    between(value, 0, 86_400, "seconds")
}

fn wake_seconds<'de, D: Deserializer<'de>>(value: D) -> Result<Option<u64>, D::Error> {
    between(value, 1, 3600, "seconds")
}

fn command<'de, D: Deserializer<'de>>(value: D) -> Result<Vec<String>, D::Error> {
    let words = Vec::<String>::deserialize(value)?;
    let whole = words.first().is_some_and(|program| program.starts_with('/'))
        && words.iter().all(|word| !word.contains('\0'));
    if whole {
        Ok(words)
    } else {
        Err(de::Error::custom("want a program's absolute path, then its arguments"))
    }
}

fn user<'de, D: Deserializer<'de>>(value: D) -> Result<String, D::Error> {
    let user = String::deserialize(value)?;
    let plain = user.bytes().all(|byte| byte.is_ascii_graphic() && !matches!(byte, b':' | b'/'));
    if plain && !user.is_empty() { Ok(user) } else { Err(de::Error::custom("want a user's name")) }
}

fn between<'de, D: Deserializer<'de>>(
    value: D,
    least: u64,
    most: u64,
    unit: &str,
) -> Result<Option<u64>, D::Error> {
    match i64::deserialize(value)?.try_into() {
        Ok(number) if (least..=most).contains(&number) => Ok(Some(number)),
        _ => Err(de::Error::custom(format!("want {least} to {most} {unit}"))),
    }
}

fn parse(path: &Path, text: &str) -> Result<FileConfig, ConfigError> {
    toml::from_str(text).map_err(|error: toml::de::Error| {
        let before = text.get(..error.span().map_or(0, |span| span.start)).unwrap_or(text);
        let line_start = before.rfind('\n').map_or(0, |at| at + 1);
        ConfigError::Fault {
            path: path.to_owned(),
            line: before.matches('\n').count() + 1,
            column: before.get(line_start..).unwrap_or_default().chars().count() + 1,
            message: error.message().replace('\n', ", "),
        }
    })
}

/// The drop-in files of `main`, in the order of their names.
fn drop_ins(main: &Path, trusted: bool) -> Result<Vec<PathBuf>, ConfigError> {
    let mut dir = main.as_os_str().to_owned();
    dir.push(".d");
    let dir = PathBuf::from(dir);
    let read = |source| ConfigError::Read { path: dir.clone(), source };
    let entries = match std::fs::read_dir(&dir) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(read(error)),
    };
    if trusted {
        trust(&dir, &std::fs::metadata(&dir).map_err(read)?)?;
    }
    let mut files = Vec::new();
    for entry in entries {
        let path = entry.map_err(read)?.path();
        // A name that starts with a dot is an editor's leftover.
        let hidden = path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"."));
        if !hidden && path.extension().is_some_and(|extension| extension == "toml") {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

/// The text of a file; nothing when it does not exist.
fn read_file(path: &Path, trusted: bool) -> Result<Option<String>, ConfigError> {
    let read = |source| ConfigError::Read { path: path.to_owned(), source };
    // Non-blocking, so that a FIFO in its place can't hang a login.
    let flags = nix::libc::O_NONBLOCK | nix::libc::O_NOCTTY;
    let file = match OpenOptions::new().read(true).custom_flags(flags).open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(read(error)),
    };
    let meta = file.metadata().map_err(read)?;
    if !meta.is_file() {
        return Err(read(io::Error::other("not a regular file")));
    }
    if trusted {
        trust(path, &meta)?;
    }
    text_of(file).map(Some).map_err(read)
}

fn text_of(file: File) -> io::Result<String> {
    let mut bytes = Vec::new();
    file.take(MAX_BYTES + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > MAX_BYTES {
        return Err(io::Error::other("larger than 1 MiB"));
    }
    String::from_utf8(bytes).map_err(|_| io::Error::other("not UTF-8 text"))
}

fn trust(path: &Path, meta: &std::fs::Metadata) -> Result<(), ConfigError> {
    let untrusted = |why| Err(ConfigError::Untrusted { path: path.to_owned(), why });
    if meta.uid() != 0 {
        return untrusted("its owner is not root; run 'chown root' on it");
    }
    if meta.mode() & 0o022 != 0 {
        return untrusted("others than root may write it; run 'chmod go-w' on it");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;

    fn main_file(dir: &Path, text: impl AsRef<[u8]>) -> PathBuf {
        let path = dir.join("vestibule.toml");
        std::fs::write(&path, text).unwrap();
        path
    }

    #[test]
    fn nothing_at_all_is_the_defaults() {
        let dir = tempfile::tempdir().unwrap();
        let config = Config::load(&dir.path().join("vestibule.toml")).unwrap();
        assert_eq!(config, Config::default());
        assert_eq!(config.keys.own_file, ".ssh/authorized_keys");
        assert_eq!(config.engine["podman"].socket, Path::new("/run/podman/podman.sock"));
    }

    #[test]
    fn later_files_win_key_by_key() {
        let dir = tempfile::tempdir().unwrap();
        let main = main_file(
            dir.path(),
            "target_prefix = \"project-\"\n[keys]\ndeadline_ms = 100\n[engine.docker]\nsocket = \"/a\"\n",
        );
        let drop_ins = dir.path().join("vestibule.toml.d");
        std::fs::create_dir(&drop_ins).unwrap();
        std::fs::write(drop_ins.join("20-b.toml"), "[keys]\ndeadline_ms = 300\n").unwrap();
        std::fs::write(drop_ins.join("10-a.toml"), "[keys]\ndeadline_ms = 200\nown_file = \"keys\"\n")
            .unwrap();
        std::fs::write(drop_ins.join("30-c.toml"), "[engine.site]\nsocket = \"/b\"\n").unwrap();
        std::fs::write(drop_ins.join(".30-c.toml.swp"), "rubbish").unwrap();
        std::fs::write(drop_ins.join(".hidden.toml"), "rubbish").unwrap();
        std::fs::write(drop_ins.join("README"), "rubbish").unwrap();
        let config = Config::load(&main).unwrap();
        assert_eq!(config.target_prefix.as_deref(), Some("project-"));
        assert_eq!((config.keys.deadline_ms, config.keys.own_file.as_str()), (300, "keys"));
        let engines: Vec<_> =
            config.engine.iter().map(|(name, e)| (name.as_str(), e.socket.to_str().unwrap())).collect();
        assert_eq!(engines, [("docker", "/a"), ("podman", "/run/podman/podman.sock"), ("site", "/b")]);
    }

    #[test]
    fn a_fault_is_shown_with_its_place() {
        let dir = tempfile::tempdir().unwrap();
        for (text, place, words) in [
            ("target_prefx = \"p-\"\n", ":1:1", "unknown field"),
            ("\n[keys]\nmanaged = 3\n", ":3:11", "invalid type"),
            ("[keys]\nmanaged = \"relative\"\n", ":2:11", "want an absolute path"),
            ("[keys]\nown_file = \"../x\"\n", ":2:12", "without '..'"),
            ("[keys]\nown_file = \"/etc/shadow\"\n", ":2:12", "below the home"),
            ("[keys]\ndeadline_ms = 0\n", ":2:15", "want 1 to 30000"),
            ("[session]\ngrace_seconds = -1\n", ":2:17", "want 0 to 86400"),
            ("[session]\nsftp_commands = [\"a\", \" \"]\n", ":2:17", "Subsystem sftp"),
            ("[wake.x]\nuser = \"x\"\n", ":1:1", "missing field"),
            ("[session]\nwake_seconds = 0\n", ":2:16", "want 1 to 3600"),
            ("[wake.x]\ncommand = \"/bin/true\"\n", ":2:11", "invalid type"),
            ("[wake.x]\ncommand = [\"true\"]\n", ":2:11", "absolute path"),
            ("[wake.x]\ncommand = []\n", ":2:11", "absolute path"),
            ("[wake.x]\ncommand = [\"/bin/true\"]\nuser = \"\"\n", ":3:8", "want a user's name"),
            ("target_prefix = \"a+\"\n", ":1:17", "a prefix of target names that has '+'"),
            ("[engine.docker]\nsocket = \"/a\"\nhost = 1\n", ":3:1", "unknown field"),
            ("[engine.docker]\n", ":1:1", "missing field"),
            ("[keys\n", ":1:6", ""),
            ("keys = 1\nkeys = 2\n", ":2:1", "duplicate key"),
        ] {
            let said = Config::load(&main_file(dir.path(), text)).unwrap_err().to_string();
            assert!(
                said.contains(&format!("vestibule.toml{place}: ")) && said.contains(words),
                "{text:?}: {said}"
            );
            assert_eq!(said.lines().count(), 1, "{said}");
        }
    }

    #[test]
    fn what_can_not_be_read_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let main = main_file(dir.path(), [0xff]);
        let why = |path: &Path| {
            let error = Config::load(path).unwrap_err();
            format!("{error}: {}", std::error::Error::source(&error).unwrap())
        };
        assert!(why(&main).contains("not UTF-8"));
        std::fs::write(&main, "#".repeat(1 << 21)).unwrap();
        assert!(why(&main).contains("larger than 1 MiB"));
        assert!(why(dir.path()).contains("not a regular file"));
        let fifo = dir.path().join("fifo.toml");
        nix::unistd::mkfifo(&fifo, nix::sys::stat::Mode::S_IRUSR).unwrap();
        assert!(why(&fifo).contains("not a regular file"));
        let dangling = dir.path().join("x.toml");
        symlink("x.toml", &dangling).unwrap();
        assert!(why(&dangling).contains("x.toml"));
    }

    #[test]
    fn who_works_for_others_reads_only_what_root_wrote() {
        assert!(nix::unistd::geteuid().is_root(), "this test needs root: it gives files away");
        let dir = tempfile::tempdir().unwrap();
        std::fs::set_permissions(dir.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
        let main = main_file(dir.path(), "");
        let said = || Config::load_trusted(&main).map_err(|error| error.to_string());
        std::fs::set_permissions(&main, std::fs::Permissions::from_mode(0o644)).unwrap();
        assert_eq!(said(), Ok(Config::default()));
        std::fs::set_permissions(&main, std::fs::Permissions::from_mode(0o664)).unwrap();
        assert!(said().unwrap_err().contains("chmod go-w"));
        std::fs::set_permissions(&main, std::fs::Permissions::from_mode(0o644)).unwrap();
        std::os::unix::fs::chown(&main, Some(12_345), None).unwrap();
        assert!(said().unwrap_err().contains("owner is not root"));
        assert!(Config::load(&main).is_ok(), "for an administrator's look");
        std::os::unix::fs::chown(&main, Some(0), None).unwrap();
        let drop_ins = dir.path().join("vestibule.toml.d");
        std::fs::create_dir(&drop_ins).unwrap();
        std::fs::set_permissions(&drop_ins, std::fs::Permissions::from_mode(0o777)).unwrap();
        assert!(said().unwrap_err().contains("vestibule.toml.d"));
    }
}
