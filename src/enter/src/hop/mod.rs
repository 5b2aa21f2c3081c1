//! The second hop: a session that the stock OpenSSH client completes, with the bastion's own key, at the SSH server of a
//! target on another machine.
//!
//! The worker, still root, reads the proxy key ([`keys`]), says in files what the client is to do ([`config`]) and shows it
//! those files alone ([`place`]). The client ([`client`]) runs as [`paths::USER_HOP`], without a capability, as the first
//! process of a pid namespace. It makes the connection and no session: that is asked for by the worker over the client's
//! control socket ([`mux`]), so that no command stands on a command line, its bytes arrive as they are, and the exit
//! status is what the server said and no guess. The session's bytes go between the client program and the descriptors
//! that sshd gave; nothing of ours copies them. The worker, by then the same user, waits ([`attend`]); what went wrong it
//! reads in the client's log ([`said`]).

mod attend;
mod client;
mod config;
mod keys;
mod mux;
mod place;
mod said;
mod watch;

use std::fs;
use std::os::fd::{AsFd, OwnedFd};

use vestibule::config::Config;
use vestibule::messages::{Refusal, Why};
use vestibule::paths;
use vestibule::target::{HostKeys, TcpAddress, Transport};

use crate::args::Session;
use crate::parser::{Facts, Parser, Way};
use crate::refused::{OrRefuse, Refused};
use crate::users::User;
use crate::{address, worker};
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

/// Takes the session there and stays to its end. The exit status.
pub(crate) fn run(hop: &Hop<'_>, mut parser: Parser) -> Result<i32, Refused> {
    let Way::Ssh { over, key, host_keys } = &hop.facts.way else {
        return Err(Refused::setup("no second hop leads to this target"));
    };
    let HostKeys::Pinned(known) = host_keys else {
        let refusal = Refusal::NothingKnown { target: hop.facts.name.clone() };
        return Err(Refused::new(
            refusal,
            "its host keys are to be learned: vestibulectl target learn-host-keys",
        ));
    };
    let user = user_of_host(&mut parser, paths::USER_HOP)?;
    let way = lead(hop, over, &mut parser)?;
    parser.end();
    let identities = keys::read(key, user.uid)?;
    let agent = hop.session.client.agent.is_some();
    let names: Vec<&str> = identities.iter().map(|(name, _)| name.as_str()).collect();
    let wanted = config::Wanted {
        target: &hop.facts.name,
        user: &hop.facts.login_user,
        way: &way,
        identities: &names,
        agent,
    };
    let mut files = vec![
        ("config".to_owned(), config::text(&wanted).map_err(Refused::setup)?.into_bytes()),
        ("known_hosts".to_owned(), config::known_hosts(&hop.facts.name, known).into_bytes()),
    ];
    files.extend(identities);
    let place = place::make(&files, &user, agent)?;
    let client = client::start(&user, place.log)?;
    if let Some(listener) = &place.agent {
        worker::tell(hop.monitor.as_fd(), &[b"agent"], Some(listener.as_fd()));
    }
    drop(place.agent);
    become_hop(&user).or_setup("becoming the user of the second hop")?;
    attend::stay(hop, &client)
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

/// What leads to the server.
fn lead(hop: &Hop<'_>, over: &Transport, parser: &mut Parser) -> Result<config::Lead, Refused> {
    match over {
        Transport::Tcp(TcpAddress::Fixed { host, port }) => {
            Ok(config::Lead::Address { host: host.clone(), port: *port })
        }
        Transport::Tcp(TcpAddress::Container { engine, container, port, published }) => {
            let of = address::Of { engine, container, port: *port, published: *published };
            let (host, port) = address::of_container(hop.config, &of, &hop.facts.name, parser)?;
            Ok(config::Lead::Address { host, port })
        }
        Transport::Unix(_) | Transport::Command(_) | Transport::Websocket { .. } => {
            let refusal = Refusal::Unreachable { target: hop.facts.name.clone(), why: Why::Way };
            Err(Refused::new(refusal, "a second hop over this transport is not in this version"))
        }
    }
}
