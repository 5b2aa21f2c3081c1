//! The second hop: a session that the stock OpenSSH client completes, with the bastion's own key, at the SSH server of a
//! target on another machine.
//!
//! The worker, still root, reads the proxy key ([`keys`]), says in files what the client is to do ([`config`]) and shows it
//! those files alone ([`place`]). The client ([`client`]) runs as [`paths::USER_HOP`], without a capability, in a pid
//! namespace whose first process is ours. It makes the connection and no session: that is asked for by the worker over
//! the client's control socket ([`mux`]), so that no command stands on a command line, its bytes arrive as they are, and
//! the exit status is what the server said and no guess. The session's bytes go between the client program and the
//! descriptors that sshd gave; nothing of ours copies them. The worker, by then the same user, waits ([`attend`]); what
//! went wrong it reads in the client's log ([`said`]).

mod attend;
mod client;
mod config;
mod keys;
mod learn;
pub(crate) mod mux;
pub(crate) mod on_demand;
mod place;
mod said;
mod watch;

use std::fs;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;

use vestibule::config::Config;
use vestibule::messages::Refusal;
use vestibule::paths;
use vestibule::target::{HostKey, HostKeys, TcpAddress, Transport};

use crate::args::Session;
use crate::parser::{Facts, Parser, Way};
use crate::refused::{OrRefuse, Refused};
use crate::transport::{self, Journey, Led};
use crate::users::User;
use crate::{address, worker};
pub(crate) use attend::go_with;
pub(crate) use client::become_hop;
pub(crate) use place::bastions_network;
pub(crate) use watch::watch;

/// A session that goes on to another machine.
pub(crate) struct Hop<'a> {
    pub(crate) session: &'a Session,
    pub(crate) monitor: &'a OwnedFd,
    pub(crate) facts: &'a Facts,
    pub(crate) config: &'a Config,
    /// The client asked for SFTP.
    pub(crate) sftp: bool,
}

impl Hop<'_> {
    /// Whether the server's keys are still to be learned.
    fn is_learning(&self) -> bool {
        matches!(&self.facts.way, Way::Ssh { host_keys: HostKeys::Learn, .. })
    }
}

/// Takes the session there and stays to its end. The exit status.
pub(crate) fn run(hop: &Hop<'_>, mut parser: Parser) -> Result<i32, Refused> {
    let Way::Ssh { over, key, host_keys } = &hop.facts.way else {
        return Err(Refused::setup("no second hop leads to this target"));
    };
    let known: &[HostKey] = match host_keys {
        HostKeys::Pinned(known) => known,
        HostKeys::Learn if proves(over, hop.config) => &[],
        HostKeys::Learn => {
            let refusal = Refusal::NothingKnown { target: hop.facts.name.clone() };
            let cause = "its host keys are to be learned, and nothing proves where this way leads";
            return Err(Refused::new(refusal, cause));
        }
    };
    let user = user_of_host(&mut parser, paths::USER_HOP)?;
    // Before what leads there, the end of whose pid namespace it is to outlive.
    let learner = hop.is_learning().then(|| learn::start(&hop.facts.name, &mut parser)).transpose()?;
    // In this order: from where a transport is started, keys are not to be seen.
    let identities = keys::read(key, user.uid)?;
    let (lead, way) = lead(hop, over, &mut parser)?;
    parser.end();
    let agent = hop.session.client.agent.is_some();
    let names: Vec<&str> = identities.iter().map(|(name, _)| name.as_str()).collect();
    let wanted = config::Wanted {
        target: &hop.facts.name,
        user: &hop.facts.login_user,
        way: &lead,
        identities: &names,
        agent,
        proven: hop.is_learning(),
    };
    let mut files = vec![
        ("config".to_owned(), config::text(&wanted).map_err(Refused::setup)?.into_bytes()),
        ("known_hosts".to_owned(), config::known_hosts(&hop.facts.name, known).into_bytes()),
    ];
    files.extend(identities);
    let place = place::make(&files, &user, agent)?;
    place::hide(hop.config.site.values().filter_map(|site| site.token_file.as_deref()))?;
    let way = match way {
        Some((led, connection)) => {
            Some(attend::Way { led, waiting: Some((place::open_way(&user)?, connection)) })
        }
        None => None,
    };
    let client = client::start(&user, place.log)?;
    if let Some(listener) = &place.agent {
        worker::tell(hop.monitor.as_fd(), &[b"agent"], Some(listener.as_fd()));
    }
    drop(place.agent);
    become_hop(&user).or_setup("becoming the user of the second hop")?;
    attend::stay(hop, &client, way, learner)
}

/// Whether whoever answers at the end of a transport is the one that is meant, whatever key it has: the operator's own
/// command or socket, or a site with a certificate.
fn proves(over: &Transport, config: &Config) -> bool {
    match over {
        Transport::Tcp(_) => false,
        Transport::Unix(_) | Transport::Command(_) => true,
        Transport::Websocket { site, .. } => {
            config.site.get(site).is_some_and(|site| site.url.starts_with("https://"))
        }
    }
}

/// A user of this host that something runs as.
pub(crate) fn user_of_host(parser: &mut Parser, name: &str) -> Result<User, Refused> {
    let read = |file: &str| fs::read(file).or_setup(format_args!("'{file}'"));
    let user = parser.user_of_host(name, &read("/etc/passwd")?, &read("/etc/group")?)?;
    user.ok_or_else(|| {
        let what = if name == paths::USER_HOP { "; run 'vestibulectl init'" } else { "" };
        Refused::setup(format_args!("user '{name}' is not in the bastion's /etc/passwd{what}"))
    })
}

/// What leads to the server; a process that has been started for it, and the other end of its connection.
fn lead(
    hop: &Hop<'_>,
    over: &Transport,
    parser: &mut Parser,
) -> Result<(config::Lead, Option<(Led, UnixStream)>), Refused> {
    match over {
        Transport::Tcp(TcpAddress::Fixed { host, port }) => {
            Ok((config::Lead::Address { host: host.clone(), port: *port }, None))
        }
        Transport::Tcp(TcpAddress::Container { engine, container, port, published }) => {
            let of = address::Of { engine, container, port: *port, published: *published };
            let (host, port) = address::of_container(hop.config, &of, &hop.facts.name, parser)?;
            Ok((config::Lead::Address { host, port }, None))
        }
        Transport::Unix(_) | Transport::Command(_) | Transport::Websocket { .. } => {
            let (ours, theirs) = UnixStream::pair().or_setup("socketpair")?;
            let (session, account) = (hop.session.id.as_str(), hop.session.account.as_ref());
            let journey = Journey { session, account, facts: hop.facts, config: hop.config };
            let led = transport::start(journey, over, parser, (theirs.as_fd(), theirs.as_fd()))?;
            Ok((config::Lead::HandedOver, Some((led, ours))))
        }
    }
}
