//! Notes what a change takes away, whatever statement does it: triggers of the writer's connection, in its own
//! temporary schema. What cascades from a row fires them too, and what is rolled back takes its notes with it.

use rusqlite::Connection;

use super::taken::Taken;
use crate::fingerprint::Fingerprint;
use crate::target::TargetId;

/// More rows than this are not noted one by one.
const MOST: i64 = 1500;

const NOTES: &str = "
PRAGMA temp_store = MEMORY;
CREATE TEMP TABLE taken(n INTEGER PRIMARY KEY, what TEXT, name TEXT, number INTEGER, key BLOB);
CREATE TEMP TRIGGER taken_key AFTER DELETE ON main.keys WHEN @ROOM BEGIN
  INSERT INTO taken(what, key) VALUES('key', OLD.fingerprint); END;
CREATE TEMP TRIGGER taken_key_set AFTER UPDATE OF options, expires ON main.keys
WHEN (NEW.options IS NOT OLD.options OR NEW.expires IS NOT OLD.expires) AND @ROOM BEGIN
  INSERT INTO taken(what, key) VALUES('key', OLD.fingerprint); END;
CREATE TEMP TRIGGER taken_revoked AFTER INSERT ON main.revoked WHEN @ROOM BEGIN
  INSERT INTO taken(what, key) VALUES('key', NEW.fingerprint); END;
CREATE TEMP TRIGGER taken_account AFTER DELETE ON main.accounts WHEN @ROOM BEGIN
  INSERT INTO taken(what, name) VALUES('account', OLD.name); END;
CREATE TEMP TRIGGER taken_active AFTER UPDATE OF active ON main.accounts WHEN NEW.active < OLD.active AND @ROOM BEGIN
  INSERT INTO taken(what, name) VALUES('account', OLD.name);
  INSERT INTO taken(what, key) SELECT 'key', fingerprint FROM keys WHERE account_id = OLD.id; END;
CREATE TEMP TRIGGER taken_grant AFTER DELETE ON main.grants WHEN @ROOM BEGIN
  INSERT INTO taken(what, name, number)
  SELECT 'grant', name, OLD.target_id FROM accounts WHERE id = OLD.account_id; END;
CREATE TEMP TRIGGER taken_grant_set AFTER UPDATE OF expires ON main.grants
WHEN NEW.expires IS NOT OLD.expires AND @ROOM BEGIN
  INSERT INTO taken(what, name, number)
  SELECT 'grant', name, OLD.target_id FROM accounts WHERE id = OLD.account_id; END;
CREATE TEMP TRIGGER taken_target AFTER DELETE ON main.targets WHEN @ROOM BEGIN
  INSERT INTO taken(what, number) VALUES('target', OLD.id); END;
CREATE TEMP TRIGGER taken_target_set AFTER UPDATE OF driver, login_user, home, policy ON main.targets
WHEN (NEW.driver <> OLD.driver OR NEW.login_user <> OLD.login_user OR NEW.home IS NOT OLD.home OR
NEW.policy <> OLD.policy) AND @ROOM BEGIN
  INSERT INTO taken(what, number) VALUES('target', OLD.id); END;
";

/// A row of the notes.
pub(super) enum Note {
    Key(Fingerprint),
    Account(String),
    Grant(String, TargetId),
    Target(TargetId),
    Much,
}

impl Note {
    pub(super) fn as_taken(&self) -> Taken<'_> {
        match self {
            Note::Key(key) => Taken::Key(key),
            Note::Account(name) => Taken::Account(name),
            Note::Grant(name, target) => Taken::Grant(name, *target),
            Note::Target(target) => Taken::Target(*target),
            Note::Much => Taken::Much,
        }
    }
}

/// Begins to take notes on this connection.
pub(super) fn set(conn: &Connection) -> rusqlite::Result<()> {
    let room = format!("NOT EXISTS(SELECT 1 FROM temp.taken WHERE n = {MOST})");
    conn.execute_batch(&NOTES.replace("@ROOM", &room))
}

/// The notes since the last time.
pub(super) fn take(conn: &Connection) -> rusqlite::Result<Vec<Note>> {
    let mut notes = Vec::new();
    {
        let mut query = conn.prepare_cached("SELECT what, name, number, key FROM temp.taken ORDER BY n")?;
        let mut rows = query.query([])?;
        while let Some(row) = rows.next()? {
            let target = || row.get::<_, i64>(2).map(TargetId);
            notes.push(match row.get_ref(0)?.as_str()? {
                "key" => Note::Key(Fingerprint(row.get(3)?)),
                "account" => Note::Account(row.get(1)?),
                "grant" => Note::Grant(row.get(1)?, target()?),
                _ => Note::Target(target()?),
            });
        }
    }
    if !notes.is_empty() {
        conn.execute("DELETE FROM temp.taken", [])?;
    }
    if i64::try_from(notes.len()).unwrap_or(MOST) >= MOST {
        notes = vec![Note::Much];
    }
    Ok(notes)
}
