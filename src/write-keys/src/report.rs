//! What is said of it: lines in the log, and one line for whoever runs it by hand.

use std::io::{self, Write};

use vestibule::messages::shown;
use vestibule_sys::syslog::{Severity, Syslog};

use crate::place::Fault;

/// What came of a pass.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Counts {
    /// Files that are other ones than before.
    pub(crate) written: usize,
    /// Files that were looked at and are as they were.
    pub(crate) same: usize,
    /// Homes that are not there.
    pub(crate) absent: usize,
    /// Files that are not as they are to be.
    pub(crate) failed: usize,
}

fn log() -> Syslog {
    Syslog::open("write-keys")
}

/// A pass that did something.
pub(crate) fn log_counts(counts: &Counts) {
    let Counts { written, same, absent, failed } = counts;
    if (*written, *failed) != (0, 0) {
        log().line(
            Severity::Info,
            format_args!("written={written} same={same} absent={absent} failed={failed}"),
        );
    }
}

/// A file that is another one now.
pub(crate) fn log_written(home: &str, keys: usize) {
    log().line(Severity::Info, format_args!("home={:?} result=written keys={keys}", shown(home)));
}

/// A home whose file is not as it is to be.
pub(crate) fn log_failed(home: &str, fault: Fault) {
    log().line(Severity::Error, format_args!("home={:?} result=failed why=\"{fault}\"", shown(home)));
    let _ = writeln!(io::stderr().lock(), "write-keys: home '{}': {fault}", shown(home));
}

/// A home that root's configuration does not let be written to.
pub(crate) fn log_refused(home: &str) {
    let home = shown(home);
    warn(&format!("home={home:?} result=refused why=\"it is not below one of [written] homes\""));
}

/// Something that was passed over.
pub(crate) fn warn(line: &str) {
    log().line(Severity::Warning, format_args!("{line}"));
    let _ = writeln!(io::stderr().lock(), "write-keys: {line}");
}

/// A run that could not do its work.
pub(crate) fn log_fault(line: &str) {
    log().line(Severity::Error, format_args!("error: {:?}", shown(line)));
}

/// For whoever runs it by hand.
///
/// # Errors
/// As write(2), but for a reader that is gone.
pub(crate) fn print(counts: &Counts) -> io::Result<()> {
    let Counts { written, same, absent, failed } = counts;
    let line = format!("{written} written, {same} as they were, {absent} without a home, {failed} failed\n");
    let mut out = io::stdout().lock();
    match out.write_all(line.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(error),
        _ => Ok(()),
    }
}
