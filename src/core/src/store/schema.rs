//! The tables of the store, and how an older store becomes a newer one.
//!
//! A store says of itself what it is: `application_id` is ours, `user_version` is the number of [`STEPS`] that made it.
//! Small on purpose: every login parses this text again.

use rusqlite::{Connection, Transaction, TransactionBehavior};

/// `PRAGMA application_id` of a store: "vstb".
pub const APPLICATION_ID: i32 = 0x7673_7462;

/// `PRAGMA user_version` of the stores that this program reads and writes.
pub const VERSION: u32 = 2;

/// Step `n` makes version `n + 1` of version `n`; version 0 is an empty file.
///
/// Steps that were released are never changed: a new version is a new step.
pub(super) const STEPS: [&str; VERSION as usize] = [V1, V2];

/// Times are seconds since 1970 (UTC). `source` says who keeps the row: `local` is the administrator, other words are
/// hubs. AUTOINCREMENT: a number is never used again, so a session can't land in another target than it asked for.
const V1: &str = "
CREATE TABLE accounts(
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  name TEXT NOT NULL UNIQUE,
  active INTEGER NOT NULL CHECK(active IN (0, 1)),
  default_target INTEGER REFERENCES targets ON DELETE SET NULL,
  source TEXT NOT NULL,
  created INTEGER NOT NULL,
  updated INTEGER NOT NULL
) STRICT;
CREATE INDEX accounts_default ON accounts(default_target) WHERE default_target IS NOT NULL;

CREATE TABLE targets(
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  name TEXT NOT NULL,
  driver TEXT NOT NULL CHECK(json_valid(driver)),
  login_user TEXT NOT NULL CHECK(login_user <> ''),
  home TEXT CHECK(home LIKE '/%'),
  policy TEXT NOT NULL CHECK(json_valid(policy)),
  source TEXT NOT NULL,
  created INTEGER NOT NULL,
  updated INTEGER NOT NULL
) STRICT;

CREATE TABLE target_names(
  name TEXT PRIMARY KEY,
  target_id INTEGER NOT NULL REFERENCES targets ON DELETE CASCADE
) STRICT, WITHOUT ROWID;
CREATE INDEX target_names_target ON target_names(target_id);

CREATE TABLE grants(
  account_id INTEGER NOT NULL REFERENCES accounts ON DELETE CASCADE,
  target_id INTEGER NOT NULL REFERENCES targets ON DELETE CASCADE,
  expires INTEGER,
  source TEXT NOT NULL,
  created INTEGER NOT NULL,
  PRIMARY KEY(account_id, target_id)
) STRICT, WITHOUT ROWID;
CREATE INDEX grants_target ON grants(target_id);

CREATE TABLE keys(
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  fingerprint BLOB NOT NULL CHECK(length(fingerprint) = 32),
  key_type TEXT NOT NULL CHECK(key_type <> '' AND key_type NOT GLOB '*[^A-Za-z0-9@.+_-]*'),
  blob BLOB NOT NULL,
  options BLOB NOT NULL,
  comment BLOB NOT NULL,
  account_id INTEGER REFERENCES accounts ON DELETE CASCADE,
  target_id INTEGER REFERENCES targets ON DELETE CASCADE,
  expires INTEGER,
  source TEXT NOT NULL,
  added INTEGER NOT NULL,
  CHECK((account_id IS NULL) <> (target_id IS NULL))
) STRICT;
CREATE INDEX keys_fingerprint ON keys(fingerprint);
CREATE INDEX keys_account ON keys(account_id) WHERE account_id IS NOT NULL;
CREATE INDEX keys_target ON keys(target_id) WHERE target_id IS NOT NULL;

CREATE TABLE revoked(
  fingerprint BLOB PRIMARY KEY CHECK(length(fingerprint) = 32),
  at INTEGER NOT NULL,
  reason TEXT NOT NULL
) STRICT, WITHOUT ROWID;
";

/// Sources of rows besides the administrator. The keys of one count until `valid_until`.
const V2: &str = "
CREATE TABLE sources(
  name TEXT PRIMARY KEY,
  cursor TEXT,
  tried INTEGER NOT NULL,
  succeeded INTEGER,
  valid_until INTEGER,
  failure TEXT
) STRICT, WITHOUT ROWID;
";

/// What a file says of itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Stamp {
    pub(super) application_id: i32,
    pub(super) version: i64,
}

pub(super) fn stamp(conn: &Connection) -> rusqlite::Result<Stamp> {
    let number = |pragma: &str| conn.query_row(pragma, [], |row| row.get::<_, i64>(0));
    let version = number("PRAGMA user_version")?;
    let application_id = number("PRAGMA application_id")?;
    Ok(Stamp { application_id: i32::try_from(application_id).unwrap_or(0), version })
}

/// Brings the open store to the version that `steps` end at, in one transaction: all of it or nothing. Returns the
/// version that was found. A store that is newer than `steps` is left alone.
pub(super) fn migrate(conn: &mut Connection, steps: &[&str]) -> rusqlite::Result<i64> {
    let tx = Transaction::new(conn, TransactionBehavior::Immediate)?;
    let found = stamp(&tx)?.version;
    let done = usize::try_from(found).unwrap_or(usize::MAX);
    for step in steps.iter().skip(done) {
        tx.execute_batch(step)?;
    }
    if done < steps.len() {
        tx.pragma_update(None, "application_id", APPLICATION_ID)?;
        tx.pragma_update(None, "user_version", i64::try_from(steps.len()).unwrap_or(i64::MAX))?;
    }
    tx.commit()?;
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn version(conn: &Connection) -> i64 {
        stamp(conn).unwrap().version
    }

    #[test]
    fn an_empty_file_becomes_a_store() {
        let mut conn = Connection::open_in_memory().unwrap();
        assert_eq!(migrate(&mut conn, &STEPS).unwrap(), 0);
        assert_eq!(
            stamp(&conn).unwrap(),
            Stamp { application_id: APPLICATION_ID, version: i64::from(VERSION) }
        );
        assert_eq!(migrate(&mut conn, &STEPS).unwrap(), i64::from(VERSION), "a second time changes nothing");
    }

    #[test]
    fn a_further_step_keeps_what_is_there() {
        let mut conn = Connection::open_in_memory().unwrap();
        migrate(&mut conn, &STEPS).unwrap();
        conn.execute("INSERT INTO revoked VALUES(zeroblob(32), 7, 'lost')", []).unwrap();
        let longer = [
            STEPS.as_slice(),
            &[
                "ALTER TABLE revoked ADD COLUMN by_whom TEXT NOT NULL DEFAULT 'nobody'",
                "CREATE TABLE extra(x) STRICT",
            ],
        ]
        .concat();
        // The second of the new steps is wrong on purpose (STRICT wants a type): nothing of the first may stay.
        assert!(migrate(&mut conn, &longer).is_err());
        assert_eq!(version(&conn), i64::from(VERSION));
        assert!(conn.prepare("SELECT by_whom FROM revoked").is_err());

        let longer = &longer[..longer.len() - 1];
        assert_eq!(migrate(&mut conn, longer).unwrap(), i64::from(VERSION));
        assert_eq!(version(&conn), i64::from(VERSION) + 1);
        let row: (i64, String) = conn
            .query_row("SELECT at, by_whom FROM revoked", [], |row| Ok((row.get(0)?, row.get(1)?)))
            .unwrap();
        assert_eq!(row, (7, "nobody".to_owned()));
        assert_eq!(
            migrate(&mut conn, &STEPS).unwrap(),
            i64::from(VERSION) + 1,
            "an older program changes nothing"
        );
        assert_eq!(version(&conn), i64::from(VERSION) + 1);
    }
}
