//! What the store knows of a source itself: how far it got, and until when its keys count.

use rusqlite::Row;

use super::super::change::{ChangeError, Changes};
use super::super::error::StoreError;
use super::super::read::Store;

/// A source, as `vestibulectl sources` lists it. Times are seconds since 1970.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SourceRow {
    /// Its name in the configuration.
    pub name: String,
    /// What it wants to hear when it is next asked for changes.
    pub cursor: Option<String>,
    /// When it was last asked.
    pub tried: i64,
    /// When it last answered and the answer was taken over.
    pub succeeded: Option<i64>,
    /// When its keys cease to count unless it answers until then.
    pub valid_until: Option<i64>,
    /// Why it did not answer the last time; nothing when it did.
    pub failure: Option<String>,
}

/// How a source's keys stand with the time that they count without an answer, its `max_stale`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Age {
    /// It answered a while ago, or its keys count for ever.
    Fresh,
    /// Half of the time, or more, is over.
    Ageing,
    /// All of it is: its keys open nothing.
    Stale,
}

/// How asking a source ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SourceUpdate<'a> {
    /// It answered: the cursor for the next time, and how long its keys count, in seconds.
    Answered {
        /// The cursor; the old one stays where there is none and `keep` says so.
        cursor: Option<&'a str>,
        /// Whether no cursor means the old one.
        keep: bool,
        /// `max_stale`.
        max_stale: Option<i64>,
    },
    /// It did not, and why.
    Failed(&'a str),
}

const LIST: &str = "SELECT name, cursor, tried, succeeded, valid_until, failure FROM sources";

impl SourceRow {
    fn read(row: &Row<'_>) -> rusqlite::Result<SourceRow> {
        Ok(SourceRow {
            name: row.get(0)?,
            cursor: row.get(1)?,
            tried: row.get(2)?,
            succeeded: row.get(3)?,
            valid_until: row.get(4)?,
            failure: row.get(5)?,
        })
    }
}

impl SourceRow {
    /// How its keys stand at `now`, in seconds since 1970.
    #[must_use]
    pub fn age(&self, now: i64) -> Age {
        let (Some(answered), Some(end)) = (self.succeeded, self.valid_until) else { return Age::Fresh };
        match () {
            () if now >= end => Age::Stale,
            () if now >= answered.saturating_add(end.saturating_sub(answered) / 2) => Age::Ageing,
            () => Age::Fresh,
        }
    }
}

impl Store {
    /// All sources that were ever asked, by name.
    ///
    /// # Errors
    /// `Corrupt`, `Sqlite`.
    pub fn sources(&self) -> Result<Vec<SourceRow>, StoreError> {
        self.ask(|conn| {
            conn.prepare(&format!("{LIST} ORDER BY name"))?.query_map([], SourceRow::read)?.collect()
        })
    }
}

impl Changes<'_> {
    /// What is known of a source.
    ///
    /// # Errors
    /// [`ChangeError::Store`].
    pub fn source(&self, name: &str) -> Result<Option<SourceRow>, ChangeError> {
        self.row(&format!("{LIST} WHERE name = ?1"), [name], SourceRow::read)
    }

    /// Notes how asking a source ended.
    ///
    /// # Errors
    /// [`ChangeError::Store`].
    pub fn note_source(&mut self, name: &str, update: SourceUpdate<'_>) -> Result<(), ChangeError> {
        let now = self.now();
        self.run("INSERT OR IGNORE INTO sources(name, tried) VALUES(?1, ?2)", (name, now))?;
        match update {
            SourceUpdate::Answered { cursor, keep, max_stale } => self.run(
                "UPDATE sources SET tried = ?2, succeeded = ?2, failure = NULL, valid_until = ?2 + ?3, \
                 cursor = CASE WHEN ?4 IS NULL AND ?5 THEN cursor ELSE ?4 END WHERE name = ?1",
                (name, now, max_stale, cursor, keep),
            )?,
            SourceUpdate::Failed(why) => {
                self.run("UPDATE sources SET tried = ?2, failure = ?3 WHERE name = ?1", (name, now, why))?
            }
        };
        Ok(())
    }

    /// Moves what was noted of all sources by so many seconds: the clock that it was noted by was set since. After that,
    /// what still lies in the future was noted by a clock that was wrong, and is as if it had been noted now: a source
    /// that does not answer is stale a `max_stale` later, and not years later.
    ///
    /// # Errors
    /// [`ChangeError::Store`].
    pub fn move_sources(&mut self, by: i64) -> Result<(), ChangeError> {
        const MOVE: &str = "UPDATE sources SET tried = tried + ?1, succeeded = succeeded + ?1, \
                            valid_until = valid_until + ?1";
        if by != 0 {
            self.run(MOVE, [by])?;
        }
        const FUTURE: &str = "UPDATE sources SET tried = ?1, succeeded = succeeded - (tried - ?1), \
                              valid_until = valid_until - (tried - ?1) WHERE tried > ?1";
        self.run(FUTURE, [self.now()])?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_source_ages_before_it_is_stale() {
        let row = |succeeded, valid_until| SourceRow {
            name: "hub".to_owned(),
            cursor: None,
            tried: 0,
            succeeded,
            valid_until,
            failure: None,
        };
        let hour = row(Some(1000), Some(4600));
        for (now, age) in [
            (0, Age::Fresh),
            (1000, Age::Fresh),
            (2799, Age::Fresh),
            (2800, Age::Ageing),
            (4599, Age::Ageing),
            (4600, Age::Stale),
            (i64::MAX, Age::Stale),
        ] {
            assert_eq!(hour.age(now), age, "{now}");
        }
        assert_eq!(row(Some(1000), None).age(i64::MAX), Age::Fresh);
        assert_eq!(row(None, None).age(0), Age::Fresh);
    }
}
