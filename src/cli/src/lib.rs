//! What the programs that people and timers run have in common: how they read a command line, say what they do, and end.
//!
//! The programs that `sshd` starts have none of it: they begin and end in a millisecond.

#![forbid(unsafe_code)]

use std::io::{self, Write};
use std::process::ExitCode;

use clap::Parser;

/// Reads the command line. What is wrong with it was said when this fails; so was help, when that was wanted.
///
/// # Errors
/// How the program ends: 2 for a wrong command line, 0 for help and the version.
pub fn parse<Args: Parser>() -> Result<Args, ExitCode> {
    Args::try_parse().map_err(|error| usage(&error))
}

/// Help and the version go to standard output, what is wrong with the command line to standard error.
fn usage(error: &clap::Error) -> ExitCode {
    let text = error.render();
    if error.use_stderr() {
        let _ = write!(io::stderr(), "{text}");
        return ExitCode::from(2);
    }
    match write!(io::stdout(), "{text}").and_then(|()| io::stdout().flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => ExitCode::FAILURE,
        _ => ExitCode::SUCCESS,
    }
}

/// Steps are said on standard error from now on.
pub fn say_steps() {
    tracing_subscriber::fmt()
        .with_max_level(tracing::Level::DEBUG)
        .with_writer(io::stderr)
        .without_time()
        .init();
}

/// Says on standard error what stopped `program`: one line with the whole chain of causes, which is returned for the log.
pub fn say(program: &str, error: &anyhow::Error) -> String {
    let line = format!("{error:#}").replace('\n', " ");
    // Nobody is left to tell when this fails.
    let _ = writeln!(io::stderr(), "{program}: {line}");
    line
}
