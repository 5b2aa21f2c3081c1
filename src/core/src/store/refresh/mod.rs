//! Bringing a source's rows into the store, whole or not at all.
//!
//! Each source owns its rows, those whose `source` is its name, and touches no others. `stage.rs` is where its answer
//! waits; `apply.rs` takes the rows over inside one [`change`](super::Writer::change); `remove.rs` takes away what it
//! does not have any more, or refuses to, when that is suspiciously much; `sources.rs` is what the store knows of a
//! source itself.

mod apply;
mod remove;
mod sources;
mod stage;

pub use sources::{Age, SourceRow, SourceUpdate};
pub use stage::{Gone, Stage, Staged, StagedOwner};

/// What a source was asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Scope {
    /// Everything.
    All,
    /// One account with its keys and grants.
    Account(String),
    /// One target with its keys and grants.
    Target(String),
}

/// How a staged answer is to be taken.
#[derive(Debug, Clone, PartialEq)]
pub struct Refresh<'a> {
    /// The source's name.
    pub source: &'a str,
    /// Rows of the scope that the answer does not have are gone. Otherwise the answer says itself what is gone.
    pub whole: bool,
    /// What the answer is about.
    pub scope: Scope,
    /// The share of a source's rows of a kind (0 to 1) that one refresh may remove; any, if there is none.
    pub max_shrink: Option<f64>,
    /// Keys and grants may name accounts and targets of other sources, too.
    pub others: bool,
}

/// How many rows of one kind changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize)]
pub struct Count {
    /// New ones.
    pub added: u64,
    /// Other ones than before.
    pub changed: u64,
    /// Ones that are gone.
    pub removed: u64,
}

/// How many rows changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize)]
pub struct Counts {
    /// Accounts.
    pub accounts: Count,
    /// Keys.
    pub keys: Count,
    /// Targets.
    pub targets: Count,
    /// Grants.
    pub grants: Count,
}

impl Counts {
    /// Whether anything changed.
    #[must_use]
    pub fn any(&self) -> bool {
        *self != Counts::default()
    }
}
