//! `refresh-keys`: brings what hubs, databases and files know of accounts, keys, targets and grants into the store.
//!
//! It stands beside the way of a login, which asks the store and never a hub. `source/` is where rows come from,
//! `rows.rs` what they are before anybody trusts them, `sink.rs` where each is checked, and `run.rs` what is done for one
//! source: ask it, stage what it says, take it over whole or not at all. The store's side is `vestibule::store`.

#![forbid(unsafe_code)]

mod activity;
mod args;
mod clock;
mod follow;
mod identity;
mod pin;
mod progress;
mod report;
mod rows;
mod run;
mod settings;
mod sink;
mod source;
mod trigger;
mod wake;

use std::process::ExitCode;

use args::Args;

fn main() -> ExitCode {
    let args: Args = match vestibule_cli::parse() {
        Ok(args) => args,
        Err(code) => return code,
    };
    if args.verbose {
        vestibule_cli::say_steps();
    }
    run::run(args).unwrap_or_else(|error| {
        report::log_fault(&vestibule_cli::say("refresh-keys", &error));
        ExitCode::FAILURE
    })
}
