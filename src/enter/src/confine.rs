//! Taking on a container's confinement, part by part. What can't be taken on ends the entry.
//!
//! The order matters. What needs the bastion's `/proc` or its privileges comes before the namespaces; what the container
//! could turn against us comes after the privileges are gone. The container's filters come last: they may be made to
//! report success for calls that they swallow, so after them nothing is believed that an execve does not enforce.

use std::fs::OpenOptions;
use std::io::{self, Write};
use std::os::fd::AsFd;

use vestibule::messages::Refusal;
use vestibule_sys::caps::{self, Cap, Caps};
use vestibule_sys::namespaces::{self, Kind};
use vestibule_sys::procfs::Status;
use vestibule_sys::{keyring, lsm, process, rlimits, seccomp};

use crate::container::{Container, LastStep};
use crate::refused::{OrRefuse, Refused};
use crate::users::User;

/// Moves into the container's control groups of version 1; the worker was born in that of version 2.
pub(crate) fn join_groups(container: &Container) -> Result<(), Refused> {
    for (what, door) in &container.doors {
        door.enter().or_unconfined(what)?;
    }
    Ok(())
}

/// Limits and label; then the namespaces and the container's root.
pub(crate) fn move_in(container: &Container, target: &str) -> Result<(), Refused> {
    for limit in &container.limits {
        rlimits::apply(limit).or_unconfined(limit.name)?;
    }
    set_oom_score_adj(&container.oom_score_adj).or_unconfined("oom_score_adj")?;
    process::set_personality(container.personality).or_unconfined("personality")?;
    lsm::label_on_exec(&container.label).or_unconfined("label of the security module")?;

    // The bastion's groups stay behind, also where the container's user namespace would not let us change them.
    process::set_groups(&[]).or_unconfined("supplementary groups")?;
    let stopped = || Refusal::NotRunning { target: target.to_owned() };
    enter_namespaces(container).or_refuse(stopped, "setns")?;
    namespaces::chroot_into(container.root.as_fd()).or_refuse(stopped, "chroot")
}

fn set_oom_score_adj(value: &[u8]) -> io::Result<()> {
    let file = "/proc/self/oom_score_adj";
    if std::fs::read(file)? == value {
        return Ok(());
    }
    OpenOptions::new().write(true).open(file)?.write_all(value)
}

/// All at once where the container's user namespace owns all the others. A namespace that its user namespace does not
/// own (a network shared by several containers) must be entered with the bastion's privileges, so before it.
fn enter_namespaces(container: &Container) -> io::Result<()> {
    let (pidfd, kinds) = (container.pidfd.as_fd(), container.kinds);
    match namespaces::enter(pidfd, kinds) {
        Err(e) if e.raw_os_error() == Some(nix::errno::Errno::EPERM as i32) && kinds.has(Kind::User) => {
            namespaces::enter(pidfd, kinds.without(Kind::User))?;
            namespaces::enter(pidfd, kinds.only(Kind::User))
        }
        other => other,
    }
}

/// Becomes the container's user and gives up what is above it, but for what [`load_filters`] needs.
pub(crate) fn become_user(container: &Container, user: &User) -> Result<(), Refused> {
    keyring::leave_session_keyring().or_unconfined("session keyring")?;
    caps::lower_bounding(container.status.bounding).or_unconfined("capability bounding set")?;
    caps::clear_ambient().or_unconfined("ambient capabilities")?;
    let for_filters =
        if container.status.no_new_privs || container.filters.is_empty() { 0 } else { Cap::SysAdmin.bit() };
    let keep = for_filters | of_user(user, &container.status).or_unconfined("capabilities")?;
    caps::keep_over_setuid(keep != 0).or_unconfined("capabilities")?;
    let became = if container.may_set_groups {
        process::become_user(user.uid, user.gid, &user.groups)
    } else {
        process::become_ids(user.uid, user.gid)
    };
    became.or_unconfined("uid and gid")?;
    caps::set(Caps { effective: keep, permitted: keep, inheritable: 0 }).or_unconfined("capabilities")?;
    // A change of uid sets this to a sysctl's value.
    process::set_dumpable(false).or_unconfined("dumpable")
}

/// What the user has: root all that the container's bounding set allows, others nothing. An execve would do the same
/// (capabilities(7)), but for a container with no_new_privs, where it gives nothing.
fn of_user(user: &User, status: &Status) -> io::Result<caps::Set> {
    Ok(if user.uid == 0 { status.bounding & caps::get()?.permitted } else { 0 })
}

/// no_new_privs and the seccomp filters, in the order in which the container has them. Then the privilege to load filters
/// goes.
pub(crate) fn load_filters(last: &LastStep, user: &User) -> Result<(), Refused> {
    let capabilities = of_user(user, &last.status).or_unconfined("capabilities")?;
    if last.status.no_new_privs {
        caps::no_new_privs().or_unconfined("no_new_privs")?;
    }
    for filter in &last.filters {
        seccomp::load(filter, last.status.speculation_allowed).or_unconfined("seccomp filter")?;
    }
    let wanted = Caps { effective: capabilities, permitted: capabilities, inheritable: 0 };
    caps::set(wanted).or_unconfined("capabilities")?;
    let left = caps::get().or_unconfined("capabilities")?;
    if left == wanted { Ok(()) } else { Err(io::Error::other("not given up")).or_unconfined("capabilities") }
}
