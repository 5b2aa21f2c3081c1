//! What is printed, and how the program ends.

use std::io::{self, Write};
use vestibule_sys::entry::ExitCode;

use vestibule_sys::syslog::{Severity, Syslog};

/// Prints all of `bytes` at once. A reader that has gone is no fault: sshd may have ended with its client.
pub(crate) fn print(bytes: &[u8]) -> ExitCode {
    let mut out = io::stdout().lock();
    let _ = out.write_all(bytes).and_then(|()| out.flush());
    ExitCode::SUCCESS
}

/// Says one line on standard error.
pub(crate) fn say(text: std::fmt::Arguments<'_>) {
    let _ = writeln!(io::stderr().lock(), "keys-lookup: {text}");
}

/// Ends on a wrong command line. sshd throws standard error away, so the log has it too.
pub(crate) fn usage(why: &str) -> ExitCode {
    say(format_args!("{why}; see 'keys-lookup --help'"));
    Syslog::open("keys-lookup").line(Severity::Error, format_args!("error: command line: {why}"));
    ExitCode::from(2)
}
