//! `connect`: carries its standard input and output to a target on another machine, over a unix socket or a WebSocket.
//!
//! `enter` starts it for a session, as a user that has no other business on the bastion, and has asked root's
//! configuration whether it may. What is on the other side is not trusted: the answer to the request for a WebSocket is
//! read to a size and within a time ([`handshake`]), what it says is shown bounded and never with the token in it
//! ([`answer`]), and messages are held to a size ([`websocket`]). One loop carries both directions ([`carry`]): a side
//! that takes nothing is not read for either.

#![cfg_attr(not(test), no_main)]
#![forbid(unsafe_code)]

mod answer;
mod args;
mod carry;
mod dial;
mod failure;
mod handshake;
mod origin;
mod pass;
mod site;
mod trust;
mod unix;
mod websocket;
mod wire;

use std::io::Write;

use vestibule::exit::Exit;
use vestibule_sys::entry::ExitCode;
use vestibule_sys::signals::SignalFd;
use vestibule_sys::{fds, process};

use args::Over;
use carry::Carried;
use failure::Failure;

vestibule_sys::program!(program);

/// Signals that end it, politely.
const ENDING: [i32; 3] = [nix::libc::SIGHUP, nix::libc::SIGINT, nix::libc::SIGTERM];

fn program() -> ExitCode {
    let args = match args::parse(lexopt::Parser::from_env()) {
        Ok(Some(args)) => args,
        Ok(None) => {
            say(args::USAGE);
            return ExitCode::SUCCESS;
        }
        Err(e) => {
            say(&format!("connect: {e}\n{}", args::USAGE));
            return ExitCode::from(Exit::Setup.code());
        }
    };
    match run(&args) {
        Ok(Carried::Whole) => ExitCode::SUCCESS,
        Ok(Carried::Signalled) => ExitCode::FAILURE,
        Err(failure) => {
            say(&failure.to_string());
            ExitCode::from(failure.exit.code())
        }
    }
}

fn run(args: &args::Args) -> Result<Carried, Failure> {
    // Others of this user have no business with this one's descriptors and token.
    process::set_dumpable(false).map_err(|e| Failure::setup(format_args!("PR_SET_DUMPABLE: {e}")))?;
    fds::close_inherited_from(3).map_err(|e| Failure::setup(format_args!("close_range: {e}")))?;
    let signals = SignalFd::new(&ENDING).map_err(|e| Failure::setup(format_args!("signalfd: {e}")))?;
    match &args.over {
        Over::Unix(path) => carry::carry(&mut unix::connect(path)?, &signals),
        Over::Pass(from) => pass::pass(from).map(|()| Carried::Whole),
        Over::Websocket { site, path } => {
            let site = site::Site::of_configuration(site)?;
            carry::carry(&mut websocket::open(&site, path, args.within)?, &signals)
        }
    }
}

/// Writes to standard error, where nobody may be reading.
fn say(text: &str) {
    let _ = std::io::stderr().lock().write_all(text.as_bytes());
}
