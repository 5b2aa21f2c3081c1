//! `enter`: the one privileged program. It takes an authorised session into a registered target.
//!
//! It is setuid root and executable by group `vestibule` alone. It is told a target's number and who comes, never a
//! pid or a path; everything else it reads from the store, the configuration and the kernel. Three processes share the
//! work:
//!
//! - the [`monitor`] is the one that sshd waits for. It gives up everything but `CAP_KILL` before anything else happens,
//!   relays the terminal, and ends as the session ends;
//! - the [`worker`] is root until it has opened what it needs; then it takes on the container's confinement and forks
//!   the session's process, a sibling;
//! - the [`parser`] has no privileges and, once it has read the store, no system calls but read and write. Whatever a
//!   container or an engine wrote is understood there.

#![cfg_attr(not(test), no_main)]
#![forbid(unsafe_code)]

mod address;
mod agent_relay;
mod args;
mod attend;
mod by_engine;
mod confine;
mod connection;
mod container;
mod elsewhere;
mod engine;
mod environment;
mod gifts;
mod hop;
mod leader;
mod may;
mod monitor;
mod nest;
mod network;
mod parser;
mod refused;
mod register;
mod relay;
mod revoked;
mod session;
mod sftp;
mod terminfo;
mod transport;
mod trusted;
mod users;
mod waiting;
mod wake;
mod welcome;
mod worker;

use vestibule_sys::entry::ExitCode;

use vestibule_sys::wire;

vestibule_sys::program!(program);

fn program() -> ExitCode {
    match args::prepare() {
        Ok(args::Task::Session(session)) => monitor::run(&session),
        Ok(args::Task::Address { target }) => address::print(target),
        Ok(args::Task::Network) => network::run(),
        Ok(args::Task::Wake { session, target, account }) => {
            match wake::resume(&session, target, account.as_ref()) {
                Ok(()) => ExitCode::SUCCESS,
                Err(refused) => args::refuse(&session, &refused.cause),
            }
        }
        Err(code) => code,
    }
}
