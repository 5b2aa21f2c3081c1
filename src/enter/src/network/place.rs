//! Where the forwards of a connection end.
//!
//! sshd moves once, before it knows whether a session or only forwards will come. So a target that is started on connect
//! is started here, if its policy grants forwards at all; else the session does it, which can say more to the user.

use std::os::fd::OwnedFd;

use vestibule::config::Config;
use vestibule::messages::Refusal;
use vestibule_sys::namespaces::Kind;

use vestibule_sys::procfs::ProcDir;

use super::elsewhere;
use crate::container::Proven;
use crate::hop::on_demand::Ready;
use crate::parser::{Login, Parser, Way};
use crate::refused::Refused;
use crate::wake::Failed;
use crate::{engine, leader, may, wake};

/// Where forwards of a connection end.
pub(super) enum Place {
    /// In a container.
    Target(Box<Proven>),
    /// Nowhere, for this reason, which may be that the target could not be started.
    Nowhere(String, Option<Failed>),
    /// On another machine.
    Elsewhere(Box<Ready>),
    /// On the bastion: a target that is entered by TCP, and its one address; and the container's first process where that
    /// is one on this host.
    Bastion(Option<OwnedFd>),
}

/// Who came.
pub(super) struct Come<'a> {
    /// The connection's number, for the log.
    pub(super) connection: &'a str,
    pub(super) who: &'a Login,
    pub(super) config: &'a Config,
    /// sshd's process.
    pub(super) sshd: &'a ProcDir,
    /// What the parser runs as.
    pub(super) uid: u32,
    pub(super) gid: u32,
}

/// Finds the target, which is started first where its policy says so; `still` is called each second of that. A target
/// that is not there now is no reason to refuse the connection: the session says so with words and an exit code of its
/// own, and meanwhile forwards end nowhere.
pub(super) fn find(come: &Come<'_>, parser: &mut Parser, still: &mut dyn FnMut()) -> Result<Place, Refused> {
    let facts = &come.who.facts;
    may::enter(come.config, facts)?;
    if let Way::TcpContainer { .. } = &facts.way {
        return Ok(behind_an_address(come, parser));
    }
    if let Way::TcpFixed = &facts.way {
        return Ok(Place::Bastion(None));
    }
    if let Way::Ssh { .. } = &facts.way {
        if !facts.forwards {
            return Ok(Place::Nowhere("the target's policy grants no forwards".to_owned(), None));
        }
        // The session says with more words what is wrong there.
        let ready = elsewhere::ready(come.config, facts, parser);
        return Ok(ready.map_or_else(
            |refused| Place::Nowhere(refused.cause, None),
            |ready| Place::Elsewhere(Box::new(ready)),
        ));
    }
    if let Way::Stream(_) = &facts.way {
        return Ok(Place::Nowhere("the target is on another machine".to_owned(), None));
    }
    let mut open = || as_it_is(come, parser);
    let found = if facts.forwards {
        let call = wake::Call {
            session: come.connection,
            target: come.who.target,
            account: come.who.account.as_ref(),
            facts,
            config: come.config,
            uid: come.uid,
            gid: come.gid,
        };
        wake::awake(
            &call,
            &mut |news| {
                if news.is_some() {
                    still();
                }
            },
            &mut open,
        )
    } else {
        open()
    };
    match found {
        Ok(container) if container.kinds.has(Kind::Net) => Ok(Place::Target(Box::new(container))),
        Ok(_) => {
            Ok(Place::Nowhere("the container is in the bastion's own network namespace".to_owned(), None))
        }
        Err(refused) => {
            let remote = matches!(facts.way, Way::DockerExec { .. });
            if refused.refusal == Refusal::Setup && !remote {
                Err(refused)
            } else {
                let failed = Failed::of(&refused);
                Ok(Place::Nowhere(refused.cause, failed))
            }
        }
    }
}

/// A container that is reached at its address has that address as long as it runs; then another one may have it, and
/// what `keys-lookup` granted leads there. One that was started since the connection began is such another.
fn behind_an_address(come: &Come<'_>, parser: &mut Parser) -> Place {
    match as_it_is(come, parser) {
        Ok(container) => match (container.process.start_time(), come.sshd.start_time()) {
            (Ok(container_began), Ok(sshd_began)) if container_began < sshd_began => {
                Place::Bastion(Some(container.pidfd))
            }
            _ => Place::Nowhere("the container was started meanwhile".to_owned(), None),
        },
        Err(refused) if matches!(refused.refusal, Refusal::NotRunning { .. } | Refusal::Gone { .. }) => {
            Place::Nowhere(refused.cause, None)
        }
        // Of an engine elsewhere, or one whose containers' processes are not seen here.
        Err(_) => Place::Bastion(None),
    }
}

/// Opens the container as it is now.
fn as_it_is(come: &Come<'_>, parser: &mut Parser) -> Result<Proven, Refused> {
    let name = &come.who.facts.name;
    match &come.who.facts.way {
        Way::Namespace(leader) => leader::find(leader, name).and_then(|pid| Proven::open(pid, None, name)),
        Way::Docker { engine, container }
        | Way::DockerExec { engine, container, .. }
        | Way::TcpContainer { engine, container, .. } => {
            let found = engine::inspect(come.config, engine, container, name, parser)?;
            if found.pid <= 1 {
                let target = name.clone();
                let cause = "the engine says it is not running";
                return Err(Refused::new(Refusal::NotRunning { target }, cause));
            }
            Proven::open(found.pid, Some(&found.id), name)
        }
        Way::TcpFixed | Way::Stream(_) | Way::Ssh { .. } => {
            Err(Refused::setup("a target elsewhere has no namespaces to enter"))
        }
    }
}
