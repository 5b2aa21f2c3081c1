//! The store's side of the index of login names: what belongs in it, and whether it is there.
//!
//! The index is `vestibule_names::index`; the order of writing (names in, commit, names out) is in `write.rs`.

use std::iter;
use std::path::Path;

use rusqlite::Connection;
use vestibule_names::index::{IndexWriter, Kind};

use super::error::StoreError;

/// How the index differs from the store.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct NamesReport {
    /// Names of the store.
    pub names: u64,
    /// Names of the store that the index does not know: nobody can log in by them.
    pub missing: u64,
    /// Names of the index that are not in the store: harmless, left by a writer that was killed.
    pub extra: u64,
    /// The index was built for another `target_prefix`.
    pub other_prefix: bool,
}

impl NamesReport {
    /// Whether nothing is to be mended.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        self.missing == 0 && self.extra == 0 && !self.other_prefix
    }
}

/// Hands every name of the store to `take`.
pub(super) fn each(conn: &Connection, mut take: impl FnMut(Kind, &str)) -> rusqlite::Result<()> {
    for (kind, sql) in [
        (Kind::Target, "SELECT name FROM target_names"),
        (Kind::Account, "SELECT name FROM accounts"),
        (Kind::Default, "SELECT name FROM accounts WHERE default_target IS NOT NULL"),
    ] {
        let mut query = conn.prepare(sql)?;
        let mut rows = query.query([])?;
        while let Some(row) = rows.next()? {
            take(kind, row.get_ref(0)?.as_str()?);
        }
    }
    Ok(())
}

/// Compares the index with the store.
pub(super) fn report(
    conn: &Connection,
    path: &Path,
    index: &IndexWriter,
    prefix: Option<&str>,
) -> Result<NamesReport, StoreError> {
    let mut report = NamesReport { other_prefix: index.prefix() != prefix, ..NamesReport::default() };
    let mut fault = None;
    each(conn, |kind, name| {
        report.names += 1;
        match index.contains(kind, name) {
            Ok(found) => report.missing += u64::from(!found),
            Err(error) => fault = Some(error),
        }
    })
    .map_err(|error| StoreError::of(path, error))?;
    if let Some(source) = fault {
        return Err(StoreError::Names { source });
    }
    report.extra = index.len().saturating_sub(report.names - report.missing);
    Ok(report)
}

/// Makes the index anew from the names that `names` finds once the writers' lock is held. When that fails, the old
/// index stays.
pub(super) fn rebuild(
    index: &Path,
    prefix: Option<&str>,
    names: impl FnOnce() -> Result<Vec<(Kind, String)>, StoreError>,
) -> Result<IndexWriter, StoreError> {
    let mut fault = None;
    let under_lock = iter::once_with(|| {
        names().unwrap_or_else(|error| {
            fault = Some(error);
            // Is no name, and so makes the index's builder leave everything as it was.
            vec![(Kind::Target, String::new())]
        })
    });
    let built = IndexWriter::rebuild(index, prefix, under_lock.flatten());
    match fault {
        Some(error) => Err(error),
        None => built.map_err(|source| StoreError::Names { source }),
    }
}

/// Every name of the store.
pub(super) fn all(conn: &Connection, path: &Path) -> Result<Vec<(Kind, String)>, StoreError> {
    let mut names = Vec::new();
    each(conn, |kind, name| names.push((kind, name.to_owned())))
        .map_err(|error| StoreError::of(path, error))?;
    Ok(names)
}
