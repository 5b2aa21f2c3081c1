//! The store: which accounts, keys, targets and grants there are. An SQLite file, its `-wal` and its `-shm`.
//!
//! It stands in the middle of the way of a login: `keys-lookup`, `route-session` (through it) and `enter` read it,
//! each with a user that may do nothing else with it ([`Store`]); `vestibulectl` and later `refresh-keys` write it
//! ([`Writer`]), as the user that owns it. Readers never wait for writers, and a writer that is killed at any
//! instruction leaves the old state or the new one.

mod change;
mod error;
mod guard;
mod list;
mod names;
mod open;
mod read;
mod refresh;
mod rows;
mod schema;
mod taken;
mod triggers;
mod write;
mod written;

pub use change::{ChangeError, Changes, NewKey, NewTarget, Owner};
pub use error::StoreError;
pub use list::{AccountRow, GrantLine, KeyFilter, KeyOwner, KeyRow, TargetRow};
pub use names::NamesReport;
pub use read::{
    Account, AccountFacts, AccountKey, GrantRow, KeyFacts, Resolved, Revocation, Store, TargetKey,
};
pub use refresh::{
    Age, Count, Counts, Gone, Refresh, Scope, SourceRow, SourceUpdate, Stage, Staged, StagedOwner,
};
pub use schema::{APPLICATION_ID, VERSION};
pub use taken::{Heard, Listener, Taken, bell_of, ledger_of};
pub use write::Writer;
pub use written::Candidate;

use std::path::{Path, PathBuf};

/// The file that SQLite keeps beside the store.
fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}
