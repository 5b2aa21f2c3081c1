//! The session's environment: the container's own, who one is, and what the client may add. environ(7), sshd(8).

use std::collections::BTreeMap;
use std::ffi::{CString, OsString};
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;

use crate::users::User;

/// Names of the client's variables that cross, besides `LC_*`. `SSH_TTY` is set anew: the terminal is another one.
const FROM_CLIENT: [&str; 5] = ["LANG", "SSH_CLIENT", "SSH_CONNECTION", "SSH_ORIGINAL_COMMAND", "TERM"];
/// In which `route-session` passes the command: an environment is for its owner's eyes, a command line for everybody's.
const COMMAND: &str = "VESTIBULE_COMMAND";
/// sshd's socket for the client's agent. What the session gets is another path.
const AGENT: &str = "SSH_AUTH_SOCK";
/// In which `route-session` passes the client's X display and the file of its cookie.
const DISPLAY: &str = "VESTIBULE_DISPLAY";
/// Where neither the container nor anybody else says: as `_PATH_STDPATH` and login.defs(5) have it.
pub(crate) const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Names and values, as bytes.
pub(crate) type Variables = BTreeMap<Vec<u8>, Vec<u8>>;

/// The client's part.
#[derive(Debug, Default, Clone)]
pub(crate) struct Client {
    pub(crate) variables: Variables,
    /// The command to run; a login shell without one.
    pub(crate) command: Option<Vec<u8>>,
    /// The socket that leads to the client's agent.
    pub(crate) agent: Option<PathBuf>,
    /// The client's X display, and the bytes of a file with its cookie, in hexadecimal; a space between them.
    pub(crate) display: Option<Vec<u8>>,
}

/// What was made for a session inside.
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct Made<'a> {
    /// The number of its terminal.
    pub(crate) terminal: Option<u32>,
    /// The path of a socket that leads to the client's agent.
    pub(crate) agent: Option<&'a [u8]>,
    /// The client's X display, and the path of the file with its cookie.
    pub(crate) display: Option<(&'a [u8], &'a [u8])>,
}

impl Client {
    /// What crosses of this process's own environment.
    pub(crate) fn from_environment() -> Self {
        Self::of(std::env::vars_os())
    }

    fn of(all: impl Iterator<Item = (OsString, OsString)>) -> Self {
        let mut client = Client::default();
        for (name, value) in all {
            let (name, value) = (name.into_vec(), value.into_vec());
            if name == COMMAND.as_bytes() {
                client.command = Some(value);
            } else if name == AGENT.as_bytes() {
                client.agent = Some(OsString::from_vec(value).into());
            } else if name == DISPLAY.as_bytes() {
                client.display = Some(value);
            } else if FROM_CLIENT.iter().any(|n| n.as_bytes() == name) || name.starts_with(b"LC_") {
                client.variables.insert(name, value);
            }
        }
        client
    }

    /// A client's variable as text, for the register.
    pub(crate) fn text(&self, name: &str) -> Option<String> {
        self.variables.get(name.as_bytes()).map(|v| String::from_utf8_lossy(v).into_owned())
    }
}

/// Variables from a block of `NAME=VALUE`, each ended by NUL, as `/proc/PID/environ` has them. The first of a name counts,
/// as with getenv(3).
pub(crate) fn from_block(block: &[u8]) -> Variables {
    let mut variables = Variables::new();
    for entry in block.split(|b| *b == 0) {
        let Some(equals) = entry.iter().position(|b| *b == b'=').filter(|at| *at > 0) else { continue };
        let (name, value) = entry.split_at(equals);
        variables.entry(name.to_vec()).or_insert_with(|| value.get(1..).unwrap_or_default().to_vec());
    }
    variables
}

/// The whole environment of a session: the container's, then the target's settings, then who one is, then the client's.
pub(crate) fn of_session(
    container: Variables,
    settings: &BTreeMap<String, String>,
    user: &User,
    client: &Client,
    made: Made<'_>,
) -> Variables {
    let mut all = container;
    let mut set = |name: &str, value: &[u8]| all.insert(name.as_bytes().to_vec(), value.to_vec());
    for (name, value) in settings {
        set(name, value.as_bytes());
    }
    set("HOME", &user.home);
    set("USER", &user.name);
    set("LOGNAME", &user.name);
    set("SHELL", &user.shell);
    if let Some(number) = made.terminal {
        set("SSH_TTY", format!("/dev/pts/{number}").as_bytes());
    }
    if let Some(path) = made.agent {
        set(AGENT, path);
    }
    if let Some((display, authority)) = made.display {
        set("DISPLAY", display);
        set("XAUTHORITY", authority);
    }
    for (name, value) in &client.variables {
        let for_a_terminal = name == b"TERM";
        if !for_a_terminal || made.terminal.is_some() {
            all.insert(name.clone(), value.clone());
        }
    }
    all.entry(b"PATH".to_vec()).or_insert_with(|| DEFAULT_PATH.as_bytes().to_vec());
    all
}

/// As execve(2) wants them.
pub(crate) fn strings(variables: Variables) -> Vec<CString> {
    variables
        .into_iter()
        .filter_map(|(name, value)| CString::new([name, b"=".to_vec(), value].concat()).ok())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client(pairs: &[(&str, &str)]) -> Client {
        Client::of(pairs.iter().map(|(n, v)| (n.into(), v.into())))
    }

    fn user() -> User {
        User {
            name: b"alice".to_vec(),
            uid: 1,
            gid: 1,
            groups: vec![],
            home: b"/h".to_vec(),
            shell: b"/bin/sh".to_vec(),
        }
    }

    #[test]
    fn only_the_named_variables_of_the_client_cross() {
        let client = client(&[
            ("LANG", "C"),
            ("LC_ALL", "C"),
            ("LD_PRELOAD", "/x"),
            ("PATH", "/evil"),
            ("SSH_USER_AUTH", "/tmp/x"),
            ("SSH_TTY", "/dev/pts/9"),
            ("SSH_AUTH_SOCK", "/tmp/ssh-y/agent.1"),
            ("VESTIBULE_COMMAND", "id"),
        ]);
        let names: Vec<_> =
            client.variables.keys().map(|n| String::from_utf8_lossy(n).into_owned()).collect();
        assert_eq!(names, ["LANG", "LC_ALL"]);
        assert_eq!(client.agent.as_deref(), Some(std::path::Path::new("/tmp/ssh-y/agent.1")));
        assert_eq!(client.command.as_deref(), Some(b"id".as_slice()));
    }

    #[test]
    fn who_one_is_can_not_be_said_by_the_container() {
        let display: (&[u8], &[u8]) = (b"localhost:10.0", b"/tmp/ssh-x/xauthority");
        let made = Made { terminal: Some(3), agent: Some(b"/tmp/ssh-x/agent"), display: Some(display) };
        let container =
            from_block(b"PATH=/opt/bin\0HOME=/evil\0USER=root\0=x\0broken\0PATH=/second\0A=b=c\0");
        let all = of_session(container, &BTreeMap::new(), &user(), &client(&[("TERM", "xterm")]), made);
        let all = strings(all);
        let all: Vec<_> = all.iter().map(|s| s.to_str().unwrap()).collect();
        for wanted in [
            "PATH=/opt/bin",
            "HOME=/h",
            "USER=alice",
            "A=b=c",
            "TERM=xterm",
            "SSH_TTY=/dev/pts/3",
            "SSH_AUTH_SOCK=/tmp/ssh-x/agent",
            "DISPLAY=localhost:10.0",
            "XAUTHORITY=/tmp/ssh-x/xauthority",
        ] {
            assert!(all.contains(&wanted), "{wanted} in {all:?}");
        }
        assert_eq!(all.len(), 11, "{all:?}");
    }

    #[test]
    fn without_a_terminal_there_is_no_term_and_a_path_there_always_is() {
        let all = of_session(
            Variables::new(),
            &BTreeMap::new(),
            &user(),
            &client(&[("TERM", "xterm")]),
            Made::default(),
        );
        let all = strings(all);
        let all: Vec<_> = all.iter().map(|s| s.to_str().unwrap()).collect();
        assert!(!all.iter().any(|v| v.starts_with("TERM=") || v.starts_with("SSH_TTY=")), "{all:?}");
        assert!(all.contains(&format!("PATH={DEFAULT_PATH}").as_str()), "{all:?}");
    }
}
