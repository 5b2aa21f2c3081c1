//! `write-keys`: the keys that open a target, in a file below its home, for an sshd of its own.
//!
//! It stands beside the way of a login: nothing of vestibule reads what it writes. Whoever changes the store, a hub or the
//! administrator, and whatever ends with time, the files follow.
//!
//! Three kinds of processes, so that none has both rights and somebody else's bytes to read:
//!
//! - this one is root. It reads root's configuration, remembers where there are files (`memory.rs`), and says who does
//!   what when (`pass.rs`, `follow.rs`);
//! - `compose.rs` reads the store, where hubs write, and makes the files' contents of it. It may do nothing else;
//! - `place.rs` puts one file below one home. It becomes the home's owner before it looks into it, and can do there what
//!   its owner could do anyway. One that does not come back is left behind (`crew.rs`).

#![forbid(unsafe_code)]

mod args;
mod compose;
mod crew;
mod follow;
mod frames;
mod memory;
mod pass;
mod place;
mod report;

use std::process::ExitCode;

use anyhow::bail;
use args::Args;

fn main() -> ExitCode {
    let args: Args = match vestibule_cli::parse() {
        Ok(args) => args,
        Err(code) => return code,
    };
    if args.verbose {
        vestibule_cli::say_steps();
    }
    run(&args).unwrap_or_else(|error| {
        report::log_fault(&vestibule_cli::say("write-keys", &error));
        ExitCode::FAILURE
    })
}

fn run(args: &Args) -> anyhow::Result<ExitCode> {
    if !nix::unistd::geteuid().is_root() {
        bail!("only root can become the owners of homes; run it as root");
    }
    if args.follow {
        return follow::run(args.every);
    }
    let mut files = pass::Files::default();
    let done = files.pass(&pass::Wanted { target: args.target.as_deref(), look_again: true })?;
    report::print(&done.counts)?;
    Ok(if done.counts.failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
