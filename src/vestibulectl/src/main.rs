//! `vestibulectl`: the administrator's command.
//!
//! It stands beside the way of a login: it fills the store that a login asks, shows what is in it, and explains what a
//! login would get. `args.rs` is the command line; each noun has a module of its own; `place.rs` knows where the files
//! are and as whom they are touched; `output.rs` is the only way to standard output. `complete.rs` answers
//! shells that complete a command line.

#![forbid(unsafe_code)]

mod accounts;
mod args;
mod check;
mod complete;
mod driver_args;
mod elsewhere_args;
mod end_sessions;
mod explain;
mod forward_args;
mod getent;
mod grants;
mod hub_args;
mod init;
mod keys;
mod layout;
mod output;
mod paste;
mod place;
mod proxy_key;
mod sessions;
mod sources;
mod target_args;
mod targets;
mod wake_args;
mod when;

use std::process::ExitCode;

use args::{Args, Command, SessionsCommand};
use place::Place;

fn main() -> ExitCode {
    match complete::answered() {
        Ok(false) => {}
        Ok(true) => return ExitCode::SUCCESS,
        Err(error) => return ended(Err(error)),
    }
    let args: Args = match vestibule_cli::parse() {
        Ok(args) => args,
        Err(code) => return code,
    };
    if args.verbose {
        vestibule_cli::say_steps();
    }
    ended(run(args))
}

/// What is wrong goes to standard error.
fn ended(result: anyhow::Result<ExitCode>) -> ExitCode {
    match result {
        Ok(code) => code,
        Err(error) if output::is_closed(&error) => ExitCode::SUCCESS,
        Err(error) => {
            vestibule_cli::say("vestibulectl", &error);
            ExitCode::FAILURE
        }
    }
}

fn run(args: Args) -> anyhow::Result<ExitCode> {
    let place = Place::new(args.config, args.store, args.index);
    match args.command {
        Command::Init => init::run(&place),
        Command::Doctor(what) => check::run(&place, &what),
        Command::Account(command) => accounts::run(&place.ready()?, command),
        Command::Key(command) => keys::run(&place.ready()?, command),
        Command::Target(command) => targets::run(&place.ready()?, command),
        Command::Grant(command) => grants::run(&place.ready()?, command),
        Command::ProxyKey(command) => proxy_key::run(place, command),
        Command::Sessions { json, command: None } => sessions::run(json),
        Command::Sessions { command: Some(SessionsCommand::End(which)), .. } => {
            end_sessions::run(&place, &which)
        }
        Command::Sources { json } => sources::run(&place.ready()?, json),
        Command::Explain(what) => explain::run(&place.ready()?, what),
    }
}
