//! Forwards that end on another machine.
//!
//! The connection gets a network namespace that holds nothing and in which every address is a local one. sshd is moved
//! into it, and what it connects to there comes to one process ([`ferry`]), whatever address and port were meant
//! ([`vestibule_sys::catch_all`]); names are given addresses of their own ([`names`]). That process hands the connections
//! ([`flow`]) to an OpenSSH client that stands connected to the target's SSH server ([`mux`],
//! [`crate::hop::on_demand`]), which asks that server to connect on. Nothing else is in the namespace, so nothing of the
//! bastion's can be reached.

mod ferry;
mod flow;
mod mux;
mod names;

use std::fs::{self, File};
use std::io;
use std::net::UdpSocket;
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use nix::sys::resource::{Resource, getrlimit, setrlimit};
use vestibule::config::Config;
use vestibule_sys::catch_all::CatchAll;
use vestibule_sys::namespaces::{self, Kind};
use vestibule_sys::netlink::{self, OWN_V4, OWN_V6};
use vestibule_sys::syslog::{Severity, Syslog};
use vestibule_sys::{caps, fds, pass, process, pty};

use super::resolver;
use crate::hop::on_demand::Ready;
use crate::parser::{Facts, Parser};
use crate::refused::{OrRefuse, Refused};
use ferry::Given;

/// For two processes to be made and a namespace to be set up.
const MADE_WITHIN: Duration = Duration::from_secs(5);
const NAMES_PORT: u16 = 53;

/// Where sshd is moved, and who stands there.
pub(super) struct Elsewhere {
    pub(super) network: OwnedFd,
    pub(super) mounts: Option<OwnedFd>,
    /// What stands there ends when this is closed.
    pub(super) alive: OwnedFd,
}

/// What is needed for a target's forwards; to be called before the parser is done.
pub(super) fn ready(config: &Config, facts: &Facts, parser: &mut Parser) -> Result<Ready, Refused> {
    crate::hop::on_demand::ready(config, facts, parser)
}

/// Makes it, for the connection `id`.
pub(super) fn make(id: &str, target: &str, ready: &Ready) -> Result<Elsewhere, Refused> {
    let (alive, theirs) = pass::socket_pair().or_setup("socketpair")?;
    let child = process::fork_child(|| {
        fds::close_in_child(alive.as_fd());
        let left = leave_two(id, target, ready, &theirs);
        if let Err(refused) = &left {
            let _ = pass::send(theirs.as_fd(), refused.cause.as_bytes(), None);
        }
        i32::from(left.is_err())
    })
    .or_setup("fork")?;
    drop(theirs);
    let answered = process::poll_readable(alive.as_fd(), MADE_WITHIN).or_setup("poll")?;
    let message = if answered { pass::receive(alive.as_fd()).or_setup("recvmsg")? } else { None };
    let _ = child.wait_at_most(Duration::from_millis(200));
    let network = match message {
        Some((_, Some(network))) => network,
        Some((cause, None)) => return Err(Refused::setup(String::from_utf8_lossy(&cause))),
        None => return Err(Refused::setup("the connection's network: no answer")),
    };
    let mounts = resolver::of_files(sshds_files).or_setup("the connection's resolver")?;
    Ok(Elsewhere { network, mounts, alive })
}

/// What sshd looks names up by: the addresses that stand for them, and nothing that the bastion knows.
fn sshds_files() -> io::Result<Vec<(&'static str, Vec<u8>)>> {
    let hosts = format!("{} localhost\n", names::LOCALHOST);
    let resolv_conf = format!("nameserver {OWN_V4}\nsearch .\noptions ndots:0 timeout:2 attempts:2\n");
    let switch = fs::read_to_string("/etc/nsswitch.conf").unwrap_or_default();
    let mut all = vec![("hosts", hosts.into_bytes()), ("resolv.conf", resolv_conf.into_bytes())];
    if !switch.is_empty() {
        all.push(("nsswitch.conf", by_files_and_dns(&switch).into_bytes()));
    }
    Ok(all)
}

/// nsswitch.conf(5) with hosts looked up in `/etc/hosts` and the DNS only: other services ask daemons of the bastion.
fn by_files_and_dns(switch: &str) -> String {
    let other = |line: &&str| !line.trim_start().starts_with("hosts:");
    let kept: String = switch.lines().filter(other).map(|line| format!("{line}\n")).collect();
    kept + "hosts: files dns\n"
}

/// Leaves who starts clients, on the bastion's network, and who stands in the connection's; both end with the keeper.
fn leave_two(id: &str, target: &str, ready: &Ready, keeper: &OwnedFd) -> Result<(), Refused> {
    fds::close_others_in_child(keeper.as_fd()).or_setup("close_range")?;
    pty::new_session().or_setup("setsid")?;
    let (starter, requests) = pass::socket_pair().or_setup("socketpair")?;
    ready.place()?;
    process::fork_child(|| {
        fds::close_in_child(requests.as_fd());
        let log = Syslog::open("enter");
        match stand(id, target, ready, keeper, &starter, &log) {
            Ok(()) => 0,
            Err(refused) => {
                let cause = &refused.cause;
                log.line(
                    Severity::Error,
                    format_args!("connection={id} error: its forwards have ended: {cause}"),
                );
                1
            }
        }
    })
    .or_setup("fork")?;
    ready.leave_starter(&requests)
}

/// What the process in the connection's namespace does.
fn stand(
    id: &str,
    target: &str,
    ready: &Ready,
    keeper: &OwnedFd,
    starter: &OwnedFd,
    log: &Syslog,
) -> Result<(), Refused> {
    let about = |cause: &str| {
        let _ = pass::send(keeper.as_fd(), cause.as_bytes(), None);
    };
    let made = (|| -> Result<_, Refused> {
        namespaces::leave_for_new(Kind::Net).or_setup("a network namespace")?;
        netlink::all_is_local().or_setup("the connection's network")?;
        let v4 = ferry::listen(OWN_V4.into()).or_setup("a listener")?;
        let v6 = ferry::listen(OWN_V6.into()).ok();
        let names = UdpSocket::bind((OWN_V4, NAMES_PORT)).or_setup("a socket for names")?;
        let network = File::open("/proc/thread-self/ns/net").or_setup("'/proc/thread-self/ns/net'")?;
        let catch_all = CatchAll::new(network.as_fd(), v4.as_fd(), v6.as_ref().map(AsFd::as_fd))
            .or_setup("a listener for all ports (BPF_PROG_TYPE_SK_LOOKUP)")?;
        let (_, most) = getrlimit(Resource::RLIMIT_NOFILE).map_err(io::Error::from).or_setup("getrlimit")?;
        setrlimit(Resource::RLIMIT_NOFILE, most.min(4096), most)
            .map_err(io::Error::from)
            .or_setup("setrlimit")?;
        let user = ready.user();
        caps::no_new_privs()
            .and_then(|()| process::become_user(user.uid, user.gid, &[user.gid]))
            .and_then(|()| caps::drop_all())
            .and_then(|()| process::set_dumpable(false))
            .or_setup("becoming the user of the second hop")?;
        pass::send(keeper.as_fd(), b"into", Some(network.as_fd())).or_setup("sendmsg")?;
        Ok((v4, v6, names, catch_all))
    })();
    let (v4, v6, names, _catch_all) = made.inspect_err(|refused| about(&refused.cause))?;
    process::ignore_sigpipe();
    let control = Ready::control();
    let given = Given { id, target, v4, v6, names, keeper, starter, control };
    ferry::run(&given, log).or_setup("epoll")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_are_looked_up_in_files_and_the_dns_alone() {
        let switch = "passwd: files vestibule\nhosts: files resolve [!UNAVAIL=return] dns\n hosts:  mdns\nnetworks: files";
        let wanted = "passwd: files vestibule\nnetworks: files\nhosts: files dns\n";
        assert_eq!(by_files_and_dns(switch), wanted);
    }
}
