//! What is seen of a long import on a terminal: how many rows came, drawn on standard error and gone at the end.

use std::io::IsTerminal;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// Rows between two updates.
const EVERY: u64 = 1000;

/// A line that counts.
pub(crate) struct Progress {
    bar: ProgressBar,
    rows: u64,
}

impl Progress {
    /// For the source `name`; draws nothing when standard error is no terminal.
    pub(crate) fn new(name: &str, wanted: bool) -> Progress {
        if !wanted || !std::io::stderr().is_terminal() {
            return Progress { bar: ProgressBar::hidden(), rows: 0 };
        }
        let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr());
        if let Ok(style) = ProgressStyle::with_template("{prefix}: {msg} ({elapsed})") {
            bar.set_style(style);
        }
        bar.set_prefix(name.to_owned());
        bar.set_message("asking");
        bar.enable_steady_tick(Duration::from_millis(200));
        Progress { bar, rows: 0 }
    }

    /// A further row came.
    pub(crate) fn row(&mut self) {
        self.rows += 1;
        if self.rows.is_multiple_of(EVERY) {
            self.bar.set_message(format!("{} rows", self.rows));
        }
    }

    /// What comes next.
    pub(crate) fn step(&self, what: &str) {
        self.bar.set_message(format!("{what} {} rows", self.rows));
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}
