//! `vestibulectl sources`: what the store knows of each source of `refresh-keys`.

use std::process::ExitCode;

use serde::Serialize;
use vestibule::store::{Age, SourceRow};

use crate::output::{Output, Shown};
use crate::place::Ready;
use crate::when;

/// A source as `--json` has it. Times are seconds since 1970.
#[derive(Serialize)]
struct SourceJson {
    name: String,
    /// `ok`, `failing`, `ageing` when half of the time that its keys count without an answer is over, or `stale` when all
    /// of it is.
    state: &'static str,
    tried: i64,
    succeeded: Option<i64>,
    valid_until: Option<i64>,
    failure: Option<String>,
}

impl SourceJson {
    fn new(row: SourceRow, now: i64) -> Self {
        let state = match (row.age(now), &row.failure) {
            (Age::Stale, _) => "stale",
            (Age::Ageing, _) => "ageing",
            (Age::Fresh, Some(_)) => "failing",
            (Age::Fresh, None) => "ok",
        };
        let SourceRow { name, tried, succeeded, valid_until, failure, .. } = row;
        SourceJson { name, state, tried, succeeded, valid_until, failure }
    }
}

/// Lists them; fails when one of them is not well, so that it can be watched.
pub(crate) fn run(ready: &Ready, json: bool) -> anyhow::Result<ExitCode> {
    let now = when::now();
    let sources: Vec<SourceJson> =
        ready.read()?.sources()?.into_iter().map(|row| SourceJson::new(row, now)).collect();
    let mut out = Output::new();
    if !json {
        let _ = out.line(format_args!(
            "{:<20} {:<8} {:<22} {:<22} {:<22} FAILURE",
            "SOURCE", "STATE", "ANSWERED", "ASKED", "KEYS COUNT UNTIL"
        ));
    }
    for source in &sources {
        let shown = |text: &Option<String>| Shown(text.as_deref().unwrap_or_default().as_bytes()).to_string();
        let written = if json {
            out.element(source)
        } else {
            out.line(format_args!(
                "{:<20} {:<8} {:<22} {:<22} {:<22} {}",
                Shown(source.name.as_bytes()),
                source.state,
                source.succeeded.map_or_else(|| "never".to_owned(), when::show),
                when::show(source.tried),
                source.valid_until.map_or_else(|| "-".to_owned(), when::show),
                shown(&source.failure)
            ))
        };
        if written.is_break() {
            break;
        }
    }
    if json {
        out.end_array();
    }
    out.finish()?;
    let well = sources.iter().all(|source| source.state == "ok");
    Ok(if well { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
