//! Statements of the operator's own for a database of SQLite, which is opened to be read and nothing else.

use std::time::{Duration, Instant};

use anyhow::Context;
use rusqlite::types::ValueRef;
use rusqlite::{Connection, OpenFlags};
use serde_json::{Map, Value};

use super::tabular::{self, Table};
use super::{Answer, Ask, Source, SourceFault};
use crate::settings::{self, Queries};
use crate::sink::Sink;

/// How long a statement may take.
const PATIENCE: Duration = Duration::from_secs(300);
/// Instructions of SQLite between two looks at the clock.
const EVERY: i32 = 100_000;

/// An open database.
pub(super) struct Sqlite {
    conn: Connection,
    queries: Queries,
}

impl Sqlite {
    pub(super) fn open(settings: &settings::Sqlite) -> anyhow::Result<Self> {
        let path = &settings.path;
        let name = || format!("can't open '{}'", path.display());
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let mut conn = Connection::open_with_flags(path, flags).with_context(name)?;
        conn.busy_timeout(Duration::from_secs(10)).with_context(name)?;
        let end = Instant::now() + PATIENCE;
        conn.progress_handler(EVERY, Some(move || Instant::now() > end)).with_context(name)?;
        conn.execute_batch("PRAGMA query_only = ON; BEGIN").with_context(name)?;
        Ok(Sqlite { conn, queries: settings.queries() })
    }

    fn say(&self, table: Table, sql: &str, sink: &mut Sink<'_>) -> Result<(), SourceFault> {
        let fault = |error: rusqlite::Error| {
            SourceFault::Source(format!("the statement for '{}': {error}", table.row_name()))
        };
        let mut query = self.conn.prepare(sql).map_err(fault)?;
        let names: Vec<String> = query.column_names().map(str::to_owned).collect();
        let mut rows = query.query([]).map_err(fault)?;
        let mut number = 0_u64;
        while let Some(row) = rows.next().map_err(fault)? {
            number += 1;
            let mut columns = Map::new();
            let mut bad = None;
            for (n, name) in names.iter().enumerate() {
                match value(row.get_ref(n).map_err(fault)?) {
                    Ok(value) => drop(columns.insert(name.clone(), value)),
                    Err(why) => bad = Some(format!("column '{name}': {why}")),
                }
            }
            let made = bad.map_or_else(|| tabular::row(table, columns), Err);
            match made {
                Ok(Some(row)) => sink.row(row)?,
                Ok(None) => {}
                Err(why) => sink.bad(&format!("{} {number}", table.row_name()), why),
            }
        }
        Ok(())
    }
}

fn value(value: ValueRef<'_>) -> Result<Value, &'static str> {
    Ok(match value {
        ValueRef::Null => Value::Null,
        ValueRef::Integer(number) => number.into(),
        ValueRef::Real(number) => number.into(),
        ValueRef::Text(text) => std::str::from_utf8(text).map_err(|_| "it is not UTF-8")?.into(),
        ValueRef::Blob(_) => return Err("want text, not bytes"),
    })
}

impl Source for Sqlite {
    fn fetch(&mut self, _: &Ask<'_>, sink: &mut Sink<'_>) -> Result<Answer, SourceFault> {
        for (table, sql) in [
            (Table::Accounts, &self.queries.accounts),
            (Table::Targets, &self.queries.targets),
            (Table::Keys, &self.queries.keys),
            (Table::Grants, &self.queries.grants),
        ] {
            if let Some(sql) = sql {
                self.say(table, sql, sink)?;
            }
        }
        Ok(Answer::Whole { cursor: None })
    }
}
