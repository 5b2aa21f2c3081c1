//! What is said of a run: one line for each source, its problems, and the log.

use std::io::{self, Write};

use serde::Serialize;
use vestibule::messages::shown;
use vestibule::store::{Age, Counts, SourceRow};
use vestibule_sys::syslog::{Severity, Syslog};

/// Problems that are kept with their words; of the rest only the number.
const KEPT: usize = 100;

/// Rows that were passed over.
#[derive(Debug, Default, Serialize)]
pub(crate) struct Problems {
    /// How many.
    pub(crate) count: u64,
    /// The first of them: which row, and why.
    pub(crate) first: Vec<String>,
}

impl Problems {
    pub(crate) fn add(&mut self, what: &str, why: impl std::fmt::Display) {
        self.count += 1;
        if self.first.len() < KEPT {
            self.first.push(shown(&format!("{what}: {why}")).to_string());
        }
    }

    pub(crate) fn clear(&mut self) {
        *self = Problems::default();
    }
}

/// What came of one source.
#[derive(Debug, Serialize)]
pub(crate) struct Report<'a> {
    pub(crate) source: &'a str,
    /// `refreshed`, `unchanged`, `would-change`, `failed` or `shrinks`.
    pub(crate) result: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) why: Option<String>,
    pub(crate) counts: Counts,
    pub(crate) problems: Problems,
    pub(crate) milliseconds: u64,
}

impl Report<'_> {
    /// Whether the store has what the source has.
    pub(crate) fn is_well(&self) -> bool {
        !matches!(self.result, "failed" | "shrinks")
    }

    /// Whether there is nothing to tell.
    pub(crate) fn is_idle(&self) -> bool {
        self.result == "unchanged" && self.problems.count == 0
    }

    /// Tells the log, and whoever runs it: a line of text, or of JSON.
    ///
    /// # Errors
    /// As write(2), but for a reader that is gone.
    pub(crate) fn tell(&self, json: bool) -> io::Result<()> {
        let failed = matches!(self.result, "failed" | "shrinks");
        let severity = if failed { Severity::Error } else { Severity::Info };
        let why = self.why.as_deref().map(|why| format!(" why={:?}", shown(why))).unwrap_or_default();
        let log = Syslog::open("refresh-keys");
        log.line(
            severity,
            format_args!(
                "source={} result={} {} problems={}{why}",
                self.source,
                self.result,
                Changed(&self.counts),
                self.problems.count
            ),
        );
        for problem in self.problems.first.iter().take(10) {
            log.line(Severity::Warning, format_args!("source={} problem={problem:?}", self.source));
        }
        let mut text = Vec::new();
        if json {
            serde_json::to_writer(&mut text, self)?;
            text.push(b'\n');
        } else {
            write!(text, "{}: {}", self.source, self.result)?;
            if let Some(why) = &self.why {
                write!(text, ": {}", shown(why))?;
            }
            if self.counts.any() {
                write!(text, ": {}", Changed(&self.counts))?;
            }
            writeln!(text, " ({} ms)", self.milliseconds)?;
            for problem in &self.problems.first {
                writeln!(text, "{}: passed over: {problem}", self.source)?;
            }
            let more = self.problems.count.saturating_sub(self.problems.first.len() as u64);
            if more > 0 {
                writeln!(text, "{}: passed over: {more} more", self.source)?;
            }
        }
        let written = if failed && !json {
            io::stderr().lock().write_all(&text)
        } else {
            let mut out = io::stdout().lock();
            out.write_all(&text).and_then(|()| out.flush())
        };
        match written {
            Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(error),
            _ => Ok(()),
        }
    }
}

/// `accounts=+1~0-0 keys=...`.
struct Changed<'a>(&'a Counts);

impl std::fmt::Display for Changed<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Counts { accounts, keys, targets, grants } = self.0;
        let all = [("accounts", accounts), ("keys", keys), ("targets", targets), ("grants", grants)];
        for (n, (what, count)) in all.into_iter().enumerate() {
            let space = if n == 0 { "" } else { " " };
            write!(f, "{space}{what}=+{}~{}-{}", count.added, count.changed, count.removed)?;
        }
        Ok(())
    }
}

/// Warns of a source whose keys cease to count before long, or did: in the log and on standard error.
pub(crate) fn tell_age(row: &SourceRow) {
    let now = vestibule_sys::time::now();
    let left = row.valid_until.map_or(0, |end| end.saturating_sub(now));
    let ago = now.saturating_sub(row.succeeded.unwrap_or(now));
    let words = match row.age(now) {
        Age::Fresh => return,
        Age::Ageing => format!("it has not answered for {ago} seconds; its keys count for {left} more"),
        Age::Stale => format!("it has not answered for {ago} seconds; its keys have ceased to count"),
    };
    let name = shown(&row.name);
    let age = if row.age(now) == Age::Stale { "stale" } else { "ageing" };
    Syslog::open("refresh-keys")
        .line(Severity::Warning, format_args!("source={name} age={age} why={words:?}"));
    let _ = writeln!(io::stderr().lock(), "{name}: {age}: {words}");
}

/// A run that could not even begin.
pub(crate) fn log_fault(line: &str) {
    Syslog::open("refresh-keys").line(Severity::Error, format_args!("error: {:?}", shown(line)));
}
