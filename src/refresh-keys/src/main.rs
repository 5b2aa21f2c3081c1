//! `refresh-keys`: brings what hubs, databases and files know of accounts, keys, targets and grants into the store.
//!
//! It stands beside the way of a login, which asks the store and never a hub. `source/` is where rows come from,
//! `rows.rs` what they are before anybody trusts them, `sink.rs` where each is checked, and `run.rs` what is done for one
//! source: ask it, stage what it says, take it over whole or not at all. The store's side is `vestibule::store`.

#![forbid(unsafe_code)]

mod args;
mod clock;
mod follow;
mod http;
mod identity;
mod progress;
mod report;
mod rows;
mod run;
mod secret;
mod settings;
mod sink;
mod source;
mod trigger;
mod wake;

use std::io::Write;
use std::process::ExitCode;

use clap::Parser;

use args::Args;

fn main() -> ExitCode {
    let args = match Args::try_parse() {
        Ok(args) => args,
        Err(error) => return usage(&error),
    };
    if args.verbose {
        tracing_subscriber::fmt()
            .with_max_level(tracing::Level::DEBUG)
            .with_writer(std::io::stderr)
            .without_time()
            .init();
    }
    match run::run(args) {
        Ok(code) => code,
        Err(error) => {
            let line = format!("{error:#}").replace('\n', " ");
            let _ = writeln!(std::io::stderr(), "refresh-keys: {line}");
            report::log_fault(&line);
            ExitCode::FAILURE
        }
    }
}

/// Help and the version go to standard output, what is wrong with the command line to standard error.
fn usage(error: &clap::Error) -> ExitCode {
    let text = error.render();
    if error.use_stderr() {
        let _ = write!(std::io::stderr(), "{text}");
        return ExitCode::from(2);
    }
    match write!(std::io::stdout(), "{text}").and_then(|()| std::io::stdout().flush()) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => ExitCode::FAILURE,
        _ => ExitCode::SUCCESS,
    }
}
