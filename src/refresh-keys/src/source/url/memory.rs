//! What a host sent the last time: for each account the `ETag` of its file, and a sum of the keys that came of it.
//!
//! A file beside the store. It is nothing that counts: one that is missing, old or damaged costs a few more bytes of
//! answers, since the sum has to be that of the keys in the store.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File, OpenOptions};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::{self, BufReader, BufWriter, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use serde::{Deserialize, Serialize};
use vestibule::fingerprint::Fingerprint;
use vestibule::store::Scope;

use crate::source::{Ask, SourceFault};

/// What is known of one file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Known {
    pub(super) etag: String,
    pub(super) sum: u64,
}

/// What is known of all.
#[derive(Debug, Default)]
pub(super) struct Memory {
    before: BTreeMap<String, Known>,
    after: BTreeMap<String, Known>,
}

impl Memory {
    /// What was written the last time, if that is to count.
    pub(super) fn read(ask: &Ask<'_>) -> Memory {
        let read = |path: &Path| -> Option<BTreeMap<String, Known>> {
            serde_json::from_reader(BufReader::new(File::open(path).ok()?)).ok()
        };
        let before = if ask.full { None } else { read(ask.memory) };
        Memory { before: before.unwrap_or_default(), after: BTreeMap::new() }
    }

    pub(super) fn of(&self, account: &str) -> Option<&Known> {
        self.before.get(account)
    }

    /// The file is as it was.
    pub(super) fn stays(&mut self, account: &str) {
        if let Some(known) = self.before.get(account) {
            self.after.insert(account.to_owned(), known.clone());
        }
    }

    /// The file is another one.
    pub(super) fn note(&mut self, account: &str, known: Option<Known>) {
        if let Some(known) = known {
            self.after.insert(account.to_owned(), known);
        }
    }

    /// Whether nothing else is known than before.
    pub(super) fn is_same(&self) -> bool {
        self.before == self.after
    }

    /// Writes what is known now, after a question for all.
    pub(super) fn write(&self, ask: &Ask<'_>) -> Result<(), SourceFault> {
        if ask.dry_run || *ask.scope != Scope::All || self.is_same() {
            return Ok(());
        }
        let fault = |error: io::Error| SourceFault::Source(format!("'{}': {error}", ask.memory.display()));
        let new = ask.memory.with_extension("known-new");
        let written = || -> io::Result<()> {
            let file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&new)?;
            let mut file = BufWriter::new(file);
            serde_json::to_writer(&mut file, &self.after)?;
            file.flush()?;
            fs::rename(&new, ask.memory)
        };
        written().map_err(fault)
    }
}

/// A sum of keys and of where they are from; of the same keys the same, as long as this program is the same.
pub(super) fn sum(address: &str, prints: &BTreeSet<Fingerprint>) -> u64 {
    let mut hasher = DefaultHasher::new();
    address.hash(&mut hasher);
    for print in prints {
        print.0.hash(&mut hasher);
    }
    hasher.finish()
}
