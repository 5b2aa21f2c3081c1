//! What root's configuration lets be entered: `[may_enter]`, asked for every session, whatever the store says.

use vestibule::config::Config;
use vestibule::may_enter::NotAllowed;
use vestibule::messages::Refusal;
use vestibule_sys::caps::{self, Cap};
use vestibule_sys::namespaces::{Kind, Kinds};

use crate::container::Container;
use crate::parser::{Facts, Way};
use crate::refused::{OrRefuse, Refused};

/// Whether the configuration lets this target be entered at all.
pub(crate) fn enter(config: &Config, facts: &Facts) -> Result<(), Refused> {
    let may = &config.may_enter;
    let no = |no: NotAllowed| not_allowed(facts, &no);
    may.workspace(facts.workspace.as_ref())
        .map_err(|no| Refused::new(Refusal::WorkspaceClosed { target: facts.name.clone() }, no))?;
    match &facts.way {
        Way::Namespace(leader) => may.leader(leader),
        Way::Docker { engine, container }
        | Way::DockerExec { engine, container, .. }
        | Way::TcpContainer { engine, container, .. } => may.container(engine, container),
        // `keys-lookup` has judged the address, and nothing is entered.
        Way::TcpFixed => Ok(()),
        Way::Stream(over) | Way::Ssh { over, .. } => may.transport(over),
    }
    .map_err(no)?;
    if matches!(facts.way, Way::TcpContainer { .. } | Way::TcpFixed | Way::Stream(_)) {
        return Ok(());
    }
    let user = String::from_utf8_lossy(&facts.login_user);
    may.user(if facts.is_account { "{account}" } else { &user }).map_err(no)
}

/// As [`privileged`], by the kernel's word.
pub(crate) fn container(config: &Config, facts: &Facts, container: &Container) -> Result<(), Refused> {
    let kinds = container.apart().or_setup("the namespaces of the bastion's first process")?;
    privileged(config, facts, power(kinds, container.status.bounding))
}

/// Whether a container may be entered though it is as good as the bastion itself, for which it has to be named.
pub(crate) fn privileged(config: &Config, facts: &Facts, why: Option<&str>) -> Result<(), Refused> {
    let Some(why) = why else { return Ok(()) };
    let may = &config.may_enter;
    match &facts.way {
        Way::Namespace(leader) => may.privileged_leader(leader, why),
        Way::Docker { engine, container }
        | Way::DockerExec { engine, container, .. }
        | Way::TcpContainer { engine, container, .. } => may.privileged_container(engine, container, why),
        // Nothing of theirs is on this host.
        Way::TcpFixed | Way::Stream(_) | Way::Ssh { .. } => Ok(()),
    }
    .map_err(|no| not_allowed(facts, &no))
}

/// What makes whoever is root in a container as good as root on the bastion, by the kernel's word: the namespaces that
/// it does not share, and its bounding set. In a user namespace of its own capabilities are over what that owns.
fn power(kinds: Kinds, bounding: caps::Set) -> Option<&'static str> {
    if !kinds.has(Kind::Pid) {
        return Some("sees the bastion's processes");
    }
    if kinds.has(Kind::User) {
        return None;
    }
    if bounding & Cap::SysModule.bit() != 0 {
        return Some("may load kernel modules");
    }
    if bounding & Cap::SysRawio.bit() != 0 {
        return Some("may reach the hardware");
    }
    (!kinds.has(Kind::Net)).then_some("is in the bastion's own network")
}

fn not_allowed(facts: &Facts, no: &NotAllowed) -> Refused {
    Refused::new(Refusal::NotAllowed { target: facts.name.clone() }, no)
}
