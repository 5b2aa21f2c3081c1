//! What this bastion may enter, by root's configuration: the table `[may_enter]`.
//!
//! Whoever writes the store says where sessions go. A hub is held to what its source may name when its rows are taken
//! over; this holds at every login, for every row, whoever is said to have written it, so that the store alone can't
//! make the bastion enter what its operator does not want entered.

use std::path::{Component, Path, PathBuf};

use crate::target::{Driver, Leader, LoginUser, Target, TcpAddress, Transport};
use crate::workspace::{Workspace, Workspaces};

/// What may be entered. Patterns have `*` for any characters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MayEnter {
    /// `ENGINE:CONTAINER`, as targets name them.
    pub containers: Vec<String>,
    /// `pid_file:PATH`, `machine:NAME`, `lxc:NAME` and `cgroup:PATH`.
    pub leaders: Vec<String>,
    /// `HOST:PORT` of targets that are entered by TCP.
    pub addresses: Vec<String>,
    /// Absolute paths of unix sockets.
    pub sockets: Vec<String>,
    /// `SITE:/PATH` of WebSockets.
    pub websockets: Vec<String>,
    /// Users that one may be inside; `{account}` is one.
    pub users: Vec<String>,
    /// Directories that homes lie below.
    pub homes: Vec<PathBuf>,
    /// Those of `containers` and `leaders` that may be entered though they are as good as the bastion itself.
    pub privileged: Vec<String>,
    /// The workspaces whose targets may be entered. A target without one is none of theirs.
    pub workspaces: Workspaces,
}

impl Default for MayEnter {
    fn default() -> Self {
        let any = || vec!["*".to_owned()];
        MayEnter {
            containers: any(),
            leaders: any(),
            addresses: any(),
            // The host's sockets are doors to its services: none without being named.
            sockets: Vec::new(),
            websockets: any(),
            users: any(),
            homes: vec![PathBuf::from("/")],
            privileged: Vec::new(),
            workspaces: Workspaces::None,
        }
    }
}

/// What the configuration does not let anybody enter.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{what} is not among '{list}' of the configuration")]
pub struct NotAllowed {
    /// What it is, in words.
    pub what: String,
    /// Which list it would have to be in: `may_enter.containers`, ...
    pub list: &'static str,
}

impl MayEnter {
    /// Whether a target may be entered at all.
    ///
    /// # Errors
    /// What of it may not.
    pub fn target(&self, target: &Target) -> Result<(), NotAllowed> {
        match &target.driver {
            Driver::Docker { engine, container, .. } => self.container(engine, container)?,
            Driver::Namespace { leader } => self.leader(leader)?,
            Driver::Tcp { address } => self.tcp(address)?,
            Driver::Stream { over } | Driver::Ssh { over, .. } => self.transport(over)?,
        }
        if target.driver.is_bytes() {
            // Nobody is anybody inside of such a target.
            return Ok(());
        }
        self.user(match &target.login_user {
            LoginUser::Fixed(user) => user,
            LoginUser::Account => "{account}",
        })
    }

    /// Whether a transport may be used.
    ///
    /// # Errors
    /// [`NotAllowed`].
    pub fn transport(&self, over: &Transport) -> Result<(), NotAllowed> {
        match over {
            Transport::Tcp(address) => self.tcp(address),
            Transport::Unix(path) => need(&self.sockets, path, "may_enter.sockets"),
            // That it stands in root's configuration is what allows it.
            Transport::Command(_) => Ok(()),
            Transport::Websocket { site, path } => {
                need(&self.websockets, &format!("{site}:{path}"), "may_enter.websockets")
            }
        }
    }

    fn tcp(&self, address: &TcpAddress) -> Result<(), NotAllowed> {
        match address {
            TcpAddress::Fixed { host, port } => self.address(host, *port),
            // An engine's container is named; where it is, is the engine's word.
            TcpAddress::Container { engine, container, .. } => self.container(engine, container),
        }
    }

    /// Whether an engine's container may be entered.
    ///
    /// # Errors
    /// [`NotAllowed`].
    pub fn container(&self, engine: &str, container: &str) -> Result<(), NotAllowed> {
        need(&self.containers, &container_name(engine, container), "may_enter.containers")
    }

    /// Whether a container that no engine keeps may be entered.
    ///
    /// # Errors
    /// [`NotAllowed`].
    pub fn leader(&self, leader: &Leader) -> Result<(), NotAllowed> {
        need(&self.leaders, &leader_name(leader), "may_enter.leaders")
    }

    /// Whether an address may be gone to.
    ///
    /// # Errors
    /// [`NotAllowed`].
    pub fn address(&self, host: &str, port: u16) -> Result<(), NotAllowed> {
        let about: Vec<String> =
            self.addresses.iter().filter(|pattern| may_mean(pattern, host)).cloned().collect();
        need(&about, &format!("{host}:{port}"), "may_enter.addresses")
    }

    /// Whether one may be this user inside.
    ///
    /// # Errors
    /// [`NotAllowed`].
    pub fn user(&self, user: &str) -> Result<(), NotAllowed> {
        need(&self.users, user, "may_enter.users")
    }

    /// Whether targets of this workspace may be entered.
    ///
    /// # Errors
    /// [`NotAllowed`].
    pub fn workspace(&self, workspace: Option<&Workspace>) -> Result<(), NotAllowed> {
        match workspace {
            Some(workspace) if !self.workspaces.have(workspace) => {
                Err(NotAllowed { what: format!("the workspace '{workspace}'"), list: "may_enter.workspaces" })
            }
            _ => Ok(()),
        }
    }

    /// Whether key files of this home may be read.
    #[must_use]
    pub fn home(&self, home: &Path) -> bool {
        let straight = home.components().all(|part| part != Component::ParentDir);
        straight && self.homes.iter().any(|root| home.starts_with(root) && home != root)
    }

    /// Whether an engine's container may be entered though it is as good as the bastion.
    ///
    /// # Errors
    /// [`NotAllowed`], saying `why` it is.
    pub fn privileged_container(&self, engine: &str, container: &str, why: &str) -> Result<(), NotAllowed> {
        self.privileged(&container_name(engine, container), why)
    }

    /// The same of one that no engine keeps.
    ///
    /// # Errors
    /// [`NotAllowed`], saying `why` it is.
    pub fn privileged_leader(&self, leader: &Leader, why: &str) -> Result<(), NotAllowed> {
        self.privileged(&leader_name(leader), why)
    }

    fn privileged(&self, name: &str, why: &str) -> Result<(), NotAllowed> {
        need(&self.privileged, name, "may_enter.privileged")
            .map_err(|no| NotAllowed { what: format!("{}, which {why},", no.what), ..no })
    }
}

fn container_name(engine: &str, container: &str) -> String {
    format!("{engine}:{container}")
}

fn leader_name(leader: &Leader) -> String {
    let (word, text) = match leader {
        Leader::PidFile(path) => ("pid_file", path),
        Leader::Machine(name) => ("machine", name),
        Leader::Lxc(name) => ("lxc", name),
        Leader::Cgroup(path) => ("cgroup", path),
    };
    format!("{word}:{text}")
}

fn need(patterns: &[String], what: &str, list: &'static str) -> Result<(), NotAllowed> {
    // A path with `..` is not where its beginning says.
    let straight =
        patterns.iter().any(|pattern| pattern == "*") || !what.split(['/', ':']).any(|part| part == "..");
    if straight && patterns.iter().any(|pattern| fits(pattern, what)) {
        return Ok(());
    }
    Err(NotAllowed { what: format!("'{}'", crate::messages::shown(what)), list })
}

/// Whether a text fits a pattern with `*` for any characters.
#[must_use]
pub fn fits(pattern: &str, text: &str) -> bool {
    let Some((start, rest)) = pattern.split_once('*') else { return pattern == text };
    let Some(mut text) = text.strip_prefix(start) else { return false };
    let mut parts = rest.split('*').peekable();
    while let Some(part) = parts.next() {
        if parts.peek().is_none() {
            return text.ends_with(part);
        }
        let Some((_, after)) = text.split_once(part) else { return false };
        text = after;
    }
    true
}

/// Whether a pattern of `HOST:PORT` may be about `host` at all: one of digits and dots means addresses, and no name that
/// begins like one, which leads wherever its owner likes.
#[must_use]
pub fn may_mean(pattern: &str, host: &str) -> bool {
    let of = pattern.rsplit_once(':').map_or(pattern, |(of, _)| of);
    let numbers = of.contains(|c: char| c.is_ascii_digit())
        && of.chars().all(|c| c.is_ascii_digit() || matches!(c, '.' | '*'));
    !numbers || host.parse::<std::net::Ipv4Addr>().is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::target::{Policy, TargetId};
    use vestibule_names::login::TargetName;

    fn target(driver: &str, user: &str) -> Target {
        Target {
            id: TargetId(1),
            name: TargetName::try_from("lab").unwrap(),
            driver: serde_json::from_str(driver).unwrap(),
            login_user: LoginUser::from(user),
            home: None,
            policy: Policy::default(),
        }
    }

    fn list(patterns: &[&str]) -> Vec<String> {
        patterns.iter().map(|&pattern| pattern.to_owned()).collect()
    }

    const LAB: &str = r#"{"driver":"docker","container":"lab-1"}"#;
    const POD: &str = r#"{"driver":"docker","engine":"podman","container":"lab-1"}"#;
    const AGENT: &str = r#"{"driver":"docker","container":"agent"}"#;
    const GROUP: &str = r#"{"driver":"namespace","leader":{"cgroup":"/labs/1"}}"#;
    const UP: &str = r#"{"driver":"namespace","leader":{"cgroup":"/labs/../system.slice/x"}}"#;
    const TCP: &str = r#"{"driver":"tcp","address":{"fixed":{"host":"127.0.0.1","port":25}}}"#;
    const NAMED: &str = r#"{"driver":"tcp","address":{"fixed":{"host":"10.1.evil.example","port":22}}}"#;
    const SOCKET: &str = r#"{"driver":"stream","over":{"unix":"/run/labs/1"}}"#;
    const SOCKET_UP: &str = r#"{"driver":"stream","over":{"unix":"/run/labs/../docker.sock"}}"#;
    const HUB: &str = r#"{"driver":"ssh","over":{"websocket":{"site":"hub","path":"/user/ada/sshd/"}},"host_keys":"learn"}"#;
    const HUB_API: &str =
        r#"{"driver":"stream","over":{"websocket":{"site":"hub","path":"/user/../hub/api"}}}"#;
    const TCP_LAB: &str = r#"{"driver":"tcp","address":{"container":{"container":"lab-1","port":22}}}"#;

    #[test]
    fn everything_unless_said_and_then_what_is_said() {
        let any = MayEnter::default();
        let some = MayEnter {
            containers: list(&["docker:lab-*"]),
            leaders: list(&["cgroup:/labs/*"]),
            addresses: list(&["10.1.*:22"]),
            sockets: list(&["/run/labs/*"]),
            websockets: list(&["hub:/user/*"]),
            users: list(&["ada", "{account}"]),
            ..MayEnter::default()
        };
        for (driver, user, allowed) in [
            (LAB, "ada", None),
            (LAB, "{account}", None),
            (LAB, "root", Some("may_enter.users")),
            (LAB, "0", Some("may_enter.users")),
            (POD, "ada", Some("may_enter.containers")),
            (AGENT, "ada", Some("may_enter.containers")),
            (GROUP, "ada", None),
            (UP, "ada", Some("may_enter.leaders")),
            (TCP, "nobody", Some("may_enter.addresses")),
            (NAMED, "nobody", Some("may_enter.addresses")),
            (TCP_LAB, "nobody", None),
            (SOCKET, "nobody", None),
            (SOCKET_UP, "nobody", Some("may_enter.sockets")),
            (HUB, "ada", None),
            (HUB, "root", Some("may_enter.users")),
            (HUB_API, "nobody", Some("may_enter.websockets")),
        ] {
            let target = target(driver, user);
            // A socket of the host's has to be named.
            let without = matches!(target.driver.over(), Some(Transport::Unix(_)));
            assert_eq!(any.target(&target).is_err(), without, "{driver}");
            assert_eq!(some.target(&target).err().map(|no| no.list), allowed, "{driver} {user}");
        }
    }

    #[test]
    fn homes_lie_below_a_root_and_are_straight() {
        let some = MayEnter { homes: vec!["/srv/homes".into()], ..MayEnter::default() };
        for (home, allowed) in [
            ("/srv/homes/ada", true),
            ("/srv/homes", false),
            ("/srv/homes/../../root", false),
            ("/srv/homesick/ada", false),
            ("/root", false),
        ] {
            assert_eq!(some.home(Path::new(home)), allowed, "{home}");
        }
        assert!(MayEnter::default().home(Path::new("/root")));
    }

    #[test]
    fn what_is_as_good_as_the_bastion_has_to_be_named() {
        let no =
            MayEnter::default().privileged_container("docker", "agent", "has CAP_SYS_MODULE").unwrap_err();
        assert_eq!(
            no.to_string(),
            "'docker:agent', which has CAP_SYS_MODULE, is not among 'may_enter.privileged' of the configuration"
        );
        let some = MayEnter { privileged: list(&["docker:agent"]), ..MayEnter::default() };
        assert_eq!(some.privileged_container("docker", "agent", "x"), Ok(()));
        assert!(some.privileged_container("podman", "agent", "x").is_err());
        assert!(some.privileged_leader(&Leader::Lxc("agent".to_owned()), "x").is_err());
    }

    #[test]
    fn patterns() {
        let table = [
            ("*", "", true),
            ("*", "any", true),
            ("lab", "lab", true),
            ("lab", "labs", false),
            ("lab-*", "lab-", true),
            ("lab-*", "other-lab-1", false),
            ("*-lab", "a-lab", true),
            ("*-lab", "a-lab-b", false),
            ("a*b*c", "a-b-b-c", true),
            ("a*b*c", "a-c-b", false),
            ("ab*ba", "aba", false),
        ];
        for (pattern, text, want) in table {
            assert_eq!(fits(pattern, text), want, "{pattern} {text}");
        }
    }
}
