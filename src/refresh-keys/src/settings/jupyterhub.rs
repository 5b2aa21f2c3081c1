//! `kind = "jupyterhub"`: how the hub is asked, and what its servers are as targets.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::Deserialize;
use vestibule::target::{Driver, Policy};

use crate::activity::Counts;

/// `kind = "jupyterhub"`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Jupyterhub {
    /// `https://host[:port]/hub/api`.
    pub(crate) url: String,
    /// The file of the token of a service.
    pub(crate) token_file: PathBuf,
    /// Authorities to trust in place of the system's, in PEM.
    pub(crate) ca_file: Option<PathBuf>,
    /// Plain HTTP to another machine is allowed.
    #[serde(default)]
    pub(crate) allow_http: bool,
    /// In place of the environment's.
    pub(crate) proxy: Option<String>,
    /// Seconds for one answer.
    #[serde(default = "super::network::timeout")]
    pub(crate) timeout: u32,
    /// Where a user's keys are in `auth_state`, as a JSON Pointer (RFC 6901); without one the hub brings no keys.
    pub(crate) auth_state_keys: Option<String>,
    /// Users that are asked for at a time.
    #[serde(default = "super::network::parallel")]
    pub(crate) parallel: u32,
    /// Its tokens let their owners in: `check-token` reads it, and [`Config::token_sources`](vestibule::config::Config).
    #[serde(default, rename = "tokens")]
    _tokens: bool,
    /// How `{username}` and `{servername}` are written.
    #[serde(default)]
    pub(crate) escape: Escape,
    /// The hub's admins may enter every server.
    #[serde(default)]
    pub(crate) admin_grants: bool,
    /// The members of a group may enter the servers of the members of other groups.
    #[serde(default)]
    pub(crate) group_grants: BTreeMap<String, Vec<String>>,
    /// Which sessions the hub is told of, so that it does not stop their servers as idle.
    #[serde(default)]
    pub(crate) activity: Counts,
    /// Seconds between two reports about one server.
    #[serde(default = "activity_every")]
    pub(crate) activity_every: u32,
    /// Servers are on other machines, and have an sshd that the hub's proxy leads to.
    sshd: Option<Sshd>,
    /// A user's default server.
    #[serde(default)]
    server: Given,
    /// Servers with a name. What is not set is as for the default server.
    #[serde(default)]
    named: Given,
}

/// How names of users and servers become part of other names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Escape {
    /// As DockerSpawner does since 12.0: all but a-z and 0-9 as `-` and the byte in hexadecimal.
    #[default]
    Docker,
    /// As DockerSpawner did before: all but letters, digits and `-` as `_` and the byte in hexadecimal.
    Legacy,
    /// As they are.
    None,
}

/// How servers' own sshd is reached, as jupyter-sshd-proxy has it behind the hub's proxy.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct Sshd {
    /// The site of root's configuration, `[site.NAME]`, that is the hub's proxy.
    site: String,
    /// The bastion's proxy key; `bastion` unless set. Without it (`""`) users bring keys that their server knows.
    key: Option<String>,
    /// Keys, or authorities, that all servers have; each its own, learned when it is first reached, unless set.
    host_keys: Option<Vec<String>>,
}

/// What the configuration says of a server.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Given {
    target: Option<String>,
    container: Option<String>,
    driver: Option<toml::Table>,
    user: Option<String>,
    home: Option<String>,
    policy: Option<toml::Table>,
}

/// What a server is as a target; texts have names of users and servers to be filled in.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Shape {
    /// Its name.
    pub(crate) target: String,
    /// As `vestibulectl target show --json` has it.
    pub(crate) driver: serde_json::Value,
    /// Who one is inside.
    pub(crate) user: String,
    /// The home as the bastion sees it.
    pub(crate) home: Option<String>,
    /// What a session may do.
    pub(crate) policy: Option<serde_json::Value>,
}

/// As often as a server tells the hub of its browsers.
fn activity_every() -> u32 {
    300
}

/// Who one is in the images of Jupyter's docker-stacks.
const USER: &str = "jovyan";

impl Jupyterhub {
    /// The default server.
    ///
    /// # Errors
    /// What the configuration should not say.
    pub(crate) fn server(&self) -> anyhow::Result<Shape> {
        let driver = self.server.driver()?;
        let driver = driver.or_else(|| self.sshd("")).unwrap_or_else(|| docker("jupyter-{username}"));
        Ok(self.server.shape(driver, "{username}", &Given::default()))
    }

    /// A server with a name; nothing where it is not said how such ones are entered.
    ///
    /// # Errors
    /// What the configuration should not say.
    pub(crate) fn named(&self) -> anyhow::Result<Option<Shape>> {
        let driver = match self.named.driver()? {
            Some(driver) => driver,
            None if self.sshd.is_some() => match self.sshd("{url_servername}/") {
                Some(driver) => driver,
                None => return Ok(None),
            },
            None if self.server.driver.is_some() || self.server.container.is_some() => return Ok(None),
            None => docker("jupyter-{username}--{servername}"),
        };
        Ok(Some(self.named.shape(driver, "{username}--{servername}", &self.server)))
    }

    /// The driver for servers that have an sshd, where they do; `of` is the server's part of its path.
    fn sshd(&self, of: &str) -> Option<serde_json::Value> {
        let sshd = self.sshd.as_ref()?;
        // A hub below a path of its own has everything there.
        let place = self.url.split_once("://").map_or("", |(_, rest)| rest);
        let path = place.find('/').and_then(|at| place.get(at..)).unwrap_or_default();
        let below = path.trim_end_matches('/').strip_suffix("/hub/api").unwrap_or_default();
        let path = format!("{below}/user/{{url_username}}/{of}sshd/");
        let over = serde_json::json!({"websocket": {"site": sshd.site, "path": path}});
        let key = sshd.key.as_deref().unwrap_or("bastion");
        if key.is_empty() {
            return Some(serde_json::json!({"driver": "stream", "over": over}));
        }
        let host_keys = match &sshd.host_keys {
            Some(keys) => serde_json::json!({ "pinned": keys }),
            None => serde_json::json!("learn"),
        };
        Some(serde_json::json!({"driver": "ssh", "over": over, "key": key, "host_keys": host_keys}))
    }

    /// Looks for what can't work, whoever the users are.
    ///
    /// # Errors
    /// What the configuration should not say.
    pub(crate) fn check(&self) -> anyhow::Result<()> {
        if self.auth_state_keys.as_ref().is_some_and(|at| !at.starts_with('/')) {
            anyhow::bail!("auth_state_keys: want a JSON Pointer, for one '/ssh_keys'");
        }
        super::network::check_parallel(self.parallel)?;
        let whole = |given: &Given| given.driver.is_some() || given.container.is_some();
        if self.sshd.is_some() && (whole(&self.server) || whole(&self.named)) {
            anyhow::bail!("want 'sshd', or drivers and containers of servers, not both");
        }
        if !(1..=3600).contains(&self.activity_every) {
            anyhow::bail!("activity_every: want 1 to 3600 seconds");
        }
        for shape in std::iter::once(self.server()?).chain(self.named()?) {
            let sample = crate::source::Names::new("a", "b", self.escape);
            let fill = |text: &str| sample.fill(text).map_err(|why| anyhow::anyhow!("'{text}': {why}"));
            for text in [Some(&shape.target), Some(&shape.user), shape.home.as_ref()].into_iter().flatten() {
                fill(text)?;
            }
            let driver = sample.fill_all(&shape.driver).map_err(anyhow::Error::msg)?;
            serde_json::from_value::<Driver>(driver)?;
            shape.policy.map(serde_json::from_value::<Policy>).transpose()?;
        }
        Ok(())
    }
}

impl Given {
    fn driver(&self) -> anyhow::Result<Option<serde_json::Value>> {
        match (&self.container, &self.driver) {
            (Some(_), Some(_)) => anyhow::bail!("want 'container' or 'driver', not both"),
            (Some(container), None) => Ok(Some(docker(container))),
            (None, Some(driver)) => Ok(Some(serde_json::to_value(driver)?)),
            (None, None) => Ok(None),
        }
    }

    fn shape(&self, driver: serde_json::Value, target: &str, or: &Given) -> Shape {
        let policy = self.policy.as_ref().or(or.policy.as_ref());
        Shape {
            target: self.target.clone().unwrap_or_else(|| target.to_owned()),
            driver,
            user: self.user.clone().or_else(|| or.user.clone()).unwrap_or_else(|| USER.to_owned()),
            home: self.home.clone().or_else(|| or.home.clone()),
            // Plain data of TOML: but for a date, which no policy has, it is JSON.
            policy: policy.and_then(|policy| serde_json::to_value(policy).ok()),
        }
    }
}

fn docker(container: &str) -> serde_json::Value {
    serde_json::json!({"driver": "docker", "container": container})
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hub(more: &str) -> anyhow::Result<Jupyterhub> {
        let text = format!("url = 'https://hub.example/hub/api'\ntoken_file = '/t'\n{more}");
        let hub: Jupyterhub = toml::from_str(&text)?;
        hub.check()?;
        Ok(hub)
    }

    #[test]
    fn servers_are_containers_as_dockerspawner_names_them_unless_it_is_said_otherwise() {
        let plain = hub("").unwrap();
        assert_eq!(plain.server().unwrap().driver, docker("jupyter-{username}"));
        let named = plain.named().unwrap().unwrap();
        assert_eq!((named.target.as_str(), named.user.as_str()), ("{username}--{servername}", "jovyan"));
        assert_eq!(named.driver, docker("jupyter-{username}--{servername}"));
        let own = hub("server = { container = 'nb-{username}', user = 'lab', policy = { wake = 'hub' } }\n\
                       named = { container = 'nb-{username}.{servername}' }")
        .unwrap();
        let named = own.named().unwrap().unwrap();
        assert_eq!((named.user.as_str(), named.driver), ("lab", docker("nb-{username}.{servername}")));
        assert!(named.policy.is_some());
        let unit = "server = { driver = { driver = 'namespace', leader = { cgroup = \
                    '/system.slice/jupyter-{raw_username}-singleuser.service' } } }";
        assert_eq!(hub(unit).unwrap().named().unwrap(), None);
    }

    #[test]
    fn servers_with_an_sshd_are_behind_the_hubs_proxy() {
        let driver = |more: &str| {
            let shape = |shape: Shape| serde_json::from_value::<Driver>(shape.driver).unwrap();
            let hub = hub(more).unwrap();
            (shape(hub.server().unwrap()), shape(hub.named().unwrap().unwrap()))
        };
        let json = |driver: &Driver| serde_json::to_string(driver).unwrap();
        let (default, named) = driver("sshd = { site = 'hub' }");
        assert_eq!(
            json(&default),
            r#"{"driver":"ssh","over":{"websocket":{"site":"hub","path":"/user/{url_username}/sshd/"}},"key":"bastion","host_keys":"learn"}"#
        );
        assert!(json(&named).contains("/user/{url_username}/{url_servername}/sshd/"));
        let (own, _) = driver("sshd = { site = 'hub', key = '' }");
        assert!(matches!(own, Driver::Stream { .. }));
        const KEY: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIHlOyUY6YJLK6Qn9yPMTUoC6dKLRSDeLsrXZaTIxSpg2";
        let (pinned, _) = driver(&format!("sshd = {{ site = 'hub', host_keys = ['cert-authority {KEY}'] }}"));
        assert!(json(&pinned).contains("cert-authority"));
        let below: Jupyterhub =
            toml::from_str("url = 'https://h/jupyter/hub/api/'\ntoken_file = '/t'\nsshd = { site = 'hub' }")
                .unwrap();
        assert!(below.server().unwrap().driver.to_string().contains("\"/jupyter/user/{url_username}/sshd/"));
    }

    #[test]
    fn what_can_not_work_is_a_fault_of_the_configuration() {
        for wrong in [
            "auth_state_keys = 'ssh_keys'",
            "server = { container = 'c', driver = { driver = 'docker', container = 'c' } }",
            "server = { container = 'jupyter-{user}' }",
            "server = { driver = { driver = 'kubernetes' } }",
            "server = { policy = { wkae = 'hub' } }",
            "server = { target = '{username' }",
            "server = { image = 'x' }",
            "escape = 'kubernetes'",
            "parallel = 0",
            "activity = 'always'",
            "sshd = { site = 'hub' }\nserver = { container = 'c' }",
            "sshd = { site = 'hub', host_keys = ['no key'] }",
            "sshd = {}",
            "activity_every = 0",
        ] {
            assert!(hub(wrong).is_err(), "{wrong}");
        }
    }
}
