//! Which targets a source may name.

use std::path::PathBuf;

use serde::Deserialize;
use vestibule::may_enter::{fits, may_mean};
use vestibule::target::{Driver, Leader, TcpAddress, Transport};
use vestibule::workspace::{Workspace, Workspaces};

/// Which targets a source may name: whoever writes the store decides where sessions go, so what a hub may say stands in
/// root's configuration. Patterns have `*` for any characters.
#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Allow {
    /// Engines whose containers it may name.
    pub(crate) engines: Vec<String>,
    /// Patterns of their names.
    pub(crate) containers: Vec<String>,
    /// Patterns of users that one may be inside.
    pub(crate) users: Vec<String>,
    /// Directories that homes lie below.
    pub(crate) homes: Vec<PathBuf>,
    /// Patterns of `HOST:PORT` for targets of the driver `tcp`.
    pub(crate) addresses: Vec<String>,
    /// Patterns of machined's names, LXC's names, control groups and pid files for the driver `namespace`, written
    /// `machine:NAME`, `lxc:NAME`, `cgroup:PATH` and `pid_file:PATH`.
    pub(crate) leaders: Vec<String>,
    /// Patterns of unix sockets' paths.
    pub(crate) sockets: Vec<String>,
    /// Patterns of the names of commands, `[connect.NAME]`.
    pub(crate) commands: Vec<String>,
    /// Patterns of `SITE:/PATH` of WebSockets.
    pub(crate) websockets: Vec<String>,
    /// The workspaces of its targets. Where they are said, each target has to name one of them.
    pub(crate) workspaces: Option<Workspaces>,
}

impl Default for Allow {
    fn default() -> Self {
        Allow {
            engines: vec!["docker".to_owned()],
            containers: vec!["*".to_owned()],
            users: vec!["*".to_owned()],
            homes: Vec::new(),
            addresses: Vec::new(),
            leaders: Vec::new(),
            sockets: Vec::new(),
            commands: Vec::new(),
            websockets: Vec::new(),
            workspaces: None,
        }
    }
}

impl Allow {
    /// Whether a source may name such a target.
    ///
    /// # Errors
    /// What is not allowed, and where it is.
    pub(crate) fn check(&self, driver: &Driver, user: &str, home: Option<&str>) -> Result<(), String> {
        match driver {
            Driver::Docker { engine: name, container, .. } => self.container(name, container)?,
            Driver::Namespace { leader } => {
                let (word, text) = match leader {
                    Leader::PidFile(path) => ("pid_file", path),
                    Leader::Machine(name) => ("machine", name),
                    Leader::Lxc(name) => ("lxc", name),
                    Leader::Cgroup(path) => ("cgroup", path),
                };
                need(&self.leaders, &format!("{word}:{}", straight(text)?), "allow.leaders")?;
            }
            Driver::Tcp { address } => self.tcp(address)?,
            Driver::Stream { over } | Driver::Ssh { over, .. } => self.transport(over)?,
        }
        need(&self.users, user, "allow.users")?;
        let Some(home) = home.map(std::path::Path::new) else { return Ok(()) };
        let straight = home.components().all(|part| part != std::path::Component::ParentDir);
        if straight && self.homes.iter().any(|root| home.starts_with(root) && home != root) {
            return Ok(());
        }
        Err(format!("the home '{}' is not below one of 'allow.homes'", home.display()))
    }
}

impl Allow {
    /// Whether a source may name targets of this workspace.
    ///
    /// # Errors
    /// What is not allowed, and where it is.
    pub(crate) fn workspace(&self, workspace: Option<&Workspace>) -> Result<(), String> {
        match (&self.workspaces, workspace) {
            (None, _) => Ok(()),
            (Some(workspaces), Some(workspace)) if workspaces.have(workspace) => Ok(()),
            (Some(_), Some(workspace)) => Err(format!(
                "the workspace '{workspace}' is not among the 'allow.workspaces' that this source may name"
            )),
            (Some(_), None) => Err("no workspace, and this source has 'allow.workspaces'".to_owned()),
        }
    }

    fn container(&self, engine: &str, container: &str) -> Result<(), String> {
        need(&self.engines, engine, "allow.engines")?;
        need(&self.containers, container, "allow.containers")
    }

    fn transport(&self, over: &Transport) -> Result<(), String> {
        match over {
            Transport::Tcp(address) => self.tcp(address),
            Transport::Unix(path) => need(&self.sockets, straight(path)?, "allow.sockets"),
            Transport::Command(name) => need(&self.commands, name, "allow.commands"),
            Transport::Websocket { site, path } => {
                need(&self.websockets, &format!("{site}:{}", straight(path)?), "allow.websockets")
            }
        }
    }

    fn tcp(&self, address: &TcpAddress) -> Result<(), String> {
        match address {
            TcpAddress::Fixed { host, port } => {
                let patterns: Vec<String> =
                    self.addresses.iter().filter(|pattern| may_mean(pattern, host)).cloned().collect();
                need(&patterns, &format!("{host}:{port}"), "allow.addresses")
            }
            TcpAddress::Container { engine, container, .. } => self.container(engine, container),
        }
    }
}

fn need(patterns: &[String], what: &str, list: &str) -> Result<(), String> {
    if patterns.iter().any(|pattern| fits(pattern, what)) {
        Ok(())
    } else {
        Err(format!("'{what}' is not among the '{list}' that this source may name"))
    }
}

/// A path that leads where its beginning says.
fn straight(path: &str) -> Result<&str, String> {
    if path.split('/').any(|part| part == "..") { Err("a path with '..'".to_owned()) } else { Ok(path) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_begins_like_an_address_is_none() {
        for (pattern, host, want) in [
            ("10.1.*:22", "10.1.2.3", true),
            ("10.1.*:22", "10.1.evil.example", false),
            ("10.1.*", "10.1.evil.example", false),
            ("10.1.2.3:22", "10.1.2.3", true),
            ("*:22", "any.example", true),
            ("*", "any.example", true),
            ("10*.example.org:22", "10-1.example.org", true),
            ("*.example.org:22", "a.example.org", true),
        ] {
            assert_eq!(may_mean(pattern, host), want, "{pattern} {host}");
        }
        let some = allow("addresses = ['10.1.*:22']");
        let tcp = |host: &str| {
            let text = format!(r#"{{"driver":"tcp","address":{{"fixed":{{"host":"{host}","port":22}}}}}}"#);
            some.check(&serde_json::from_str(&text).unwrap(), "nobody", None)
        };
        assert_eq!(tcp("10.1.2.3"), Ok(()));
        assert!(tcp("10.1.evil.example").is_err());
    }

    fn allow(text: &str) -> Allow {
        toml::from_str(text).unwrap()
    }

    fn driver(json: &str) -> Driver {
        serde_json::from_str(json).unwrap()
    }

    #[test]
    fn what_leads_elsewhere_has_to_be_named() {
        let stream = |over: &str| driver(&format!(r#"{{"driver":"stream","over":{over}}}"#));
        let some = allow("sockets = ['/run/labs/*']\ncommands = ['site']\nwebsockets = ['hub:/user/*']");
        for (over, named) in [
            (r#"{"unix":"/run/labs/1"}"#, true),
            (r#"{"unix":"/run/labs/../docker.sock"}"#, false),
            (r#"{"unix":"/run/docker.sock"}"#, false),
            (r#"{"command":"site"}"#, true),
            (r#"{"command":"other"}"#, false),
            (r#"{"websocket":{"site":"hub","path":"/user/ada/sshd/"}}"#, true),
            (r#"{"websocket":{"site":"hub","path":"/user/../hub/api"}}"#, false),
            (r#"{"websocket":{"site":"other","path":"/user/ada/sshd/"}}"#, false),
            (r#"{"tcp":{"fixed":{"host":"10.0.0.1","port":22}}}"#, false),
        ] {
            assert_eq!(some.check(&stream(over), "nobody", None).is_ok(), named, "{over}");
            assert!(Allow::default().check(&stream(over), "nobody", None).is_err(), "{over}");
        }
    }

    #[test]
    fn a_source_names_docker_containers_and_nothing_else_unless_it_may() {
        let docker = driver(r#"{"driver":"docker","container":"lab-1"}"#);
        let podman = driver(r#"{"driver":"docker","engine":"podman","container":"lab-1"}"#);
        let pid = driver(r#"{"driver":"namespace","leader":{"pid_file":"/run/x.pid"}}"#);
        let up = driver(r#"{"driver":"namespace","leader":{"cgroup":"/labs/../system.slice"}}"#);
        let tcp = driver(r#"{"driver":"tcp","address":{"fixed":{"host":"127.0.0.1","port":22}}}"#);
        let none = Allow::default();
        assert!(none.check(&docker, "ada", None).is_ok());
        for (driver, home) in [(&podman, None), (&pid, None), (&tcp, None), (&docker, Some("/srv/homes/ada"))]
        {
            assert!(none.check(driver, "ada", home).is_err(), "{driver:?}");
        }
        let some = allow(
            "containers = ['lab-*']\nusers = ['ada']\nhomes = ['/srv/homes']\nleaders = ['cgroup:/labs/*']\naddresses = ['10.1.*:22']",
        );
        assert!(some.check(&docker, "ada", Some("/srv/homes/ada")).is_ok());
        assert!(some.check(&docker, "root", None).is_err());
        for home in ["/srv/homes", "/srv/homes/../../root", "/srv/homesick/ada", "/etc"] {
            assert!(some.check(&docker, "ada", Some(home)).is_err(), "{home}");
        }
        assert!(some.check(&up, "ada", None).is_err());
        let first = driver(r#"{"driver":"namespace","leader":{"cgroup":"../system.slice"}}"#);
        assert!(allow("leaders = ['cgroup:*']").check(&first, "ada", None).is_err());
        assert!(some.check(&tcp, "ada", None).is_err());
    }
}
