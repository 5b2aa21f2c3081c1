//! The audit log: a line for each decision, and one for each thing that somebody should mend.
//!
//! Values are `key=value`; what comes from outside is escaped and cut. No key and no byte of a key file is logged.

use std::cell::RefCell;
use std::fmt::{self, Write};

use vestibule::decide::{LineRef, Outcome, Step};
use vestibule::names::login::Escaped;
use vestibule::proof::Credential;
use vestibule_sys::syslog::{Severity, Syslog};

use crate::args::Request;
use crate::output;

/// Remarks for one login. A tenant decides how many its file is worth; the log shall not be filled by it.
const MAX_NOTES: usize = 8;
/// Dropped lines that are listed.
const MAX_DROPPED: usize = 16;

/// Gathers what is to be said of one question.
pub(crate) struct Audit<'a> {
    request: &'a Request,
    notes: RefCell<Vec<String>>,
}

impl<'a> Audit<'a> {
    pub(crate) fn new(request: &'a Request) -> Self {
        Audit { request, notes: RefCell::new(Vec::new()) }
    }

    /// Takes a step of the decision: shows it when asked to, keeps it when somebody can act on it.
    pub(crate) fn step(&self, step: &Step<'_>) {
        if self.request.debug {
            output::say(format_args!("{step}"));
        }
        let actionable = matches!(
            step,
            Step::BadFile(..)
                | Step::BadLine { ours: true, .. }
                | Step::BadRow(_)
                | Step::Dropped(..)
                | Step::NoForward(_)
        );
        if actionable && self.notes.borrow().len() < MAX_NOTES {
            self.notes.borrow_mut().push(step.to_string());
        }
    }

    /// Logs what was decided.
    pub(crate) fn outcome(&self, outcome: &Outcome) {
        let mut line = String::new();
        // Writing to a string can't fail.
        let _ = match outcome {
            Outcome::NotOurs => write!(line, "result=not-ours {self}"),
            Outcome::Denied(denied) => write!(
                line,
                "result=denied {self} target={}{} reason={}{}",
                denied.target.name,
                Field("account", denied.account.as_deref()),
                denied.reason.as_str(),
                Dropped(&denied.dropped)
            ),
            Outcome::Closed(closed) => write!(
                line,
                "result=closed {self} target={}{} reason={}",
                closed.granted.target.name,
                Field("account", closed.granted.lines.first().and_then(|l| l.account.as_deref())),
                closed.reason.as_str(),
            ),
            Outcome::Granted(granted) => {
                let first = granted.lines.first();
                write!(
                    line,
                    "result=granted {self} target={}{}{} lines={}{}",
                    granted.target.name,
                    Field("account", first.and_then(|l| l.account.as_deref())),
                    Field("source", first.map(|l| l.source.to_string()).as_deref()),
                    granted.lines.len(),
                    Dropped(&granted.dropped)
                )
            }
        };
        self.send(Severity::Info, &line);
    }

    /// Forwards that end in the target are configured, and this sshd would let them end here: they are not granted.
    pub(crate) fn no_forwards(&self, why: &str) {
        if self.request.debug {
            output::say(format_args!("no forwards: {why}"));
        }
        self.notes.borrow_mut().push(format!("no forwards: {why}"));
    }

    /// Logs that nothing could be decided.
    pub(crate) fn fault(&self, reason: &str, detail: &dyn fmt::Display) {
        if self.request.debug {
            output::say(format_args!("{detail}"));
        }
        self.send(Severity::Error, &format!("result=denied {self} reason={reason} error=\"{detail}\""));
    }

    fn send(&self, severity: Severity, line: &str) {
        let log = Syslog::open("keys-lookup");
        log.line(severity, format_args!("{line}"));
        for note in self.notes.borrow().iter() {
            log.line(Severity::Warning, format_args!("{self} note=\"{note}\""));
        }
    }
}

/// Who asked, for whom.
impl fmt::Display for Audit<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let by = if self.request.decide { "session" } else { "sshd" };
        let (login, shown) = (Escaped::new(&self.request.login), &self.request.shown);
        write!(f, "for={by} login=\"{login}\" fingerprint=")?;
        match Credential::read(shown) {
            Ok(shown) => write!(f, "{shown}"),
            Err(_) => write!(f, "\"{}\"", Escaped::new(shown)),
        }
    }
}

/// ` name=value`, or nothing.
struct Field<'a>(&'static str, Option<&'a str>);

impl fmt::Display for Field<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.1.map_or(Ok(()), |value| write!(f, " {}={value}", self.0))
    }
}

/// ` dropped=own:3,own:7`, or nothing.
struct Dropped<'a>(&'a [LineRef]);

impl fmt::Display for Dropped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, line) in self.0.iter().take(MAX_DROPPED).enumerate() {
            f.write_str(if index == 0 { " dropped=" } else { "," })?;
            write!(f, "{line}")?;
        }
        if self.0.len() > MAX_DROPPED { f.write_str(",...") } else { Ok(()) }
    }
}
