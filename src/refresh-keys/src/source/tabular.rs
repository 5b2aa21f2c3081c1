//! Rows of a database as rows of ours: by the names of their columns.

use serde_json::{Map, Value};

use crate::rows::{AccountRow, GrantRow, KeyRow, Row, TargetRow};

/// The four kinds of statements.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Table {
    Accounts,
    Keys,
    Targets,
    Grants,
}

impl Table {
    /// What one of its rows is called in a report.
    pub(crate) fn row_name(self) -> &'static str {
        match self {
            Table::Accounts => "row of 'accounts'",
            Table::Keys => "row of 'keys'",
            Table::Targets => "row of 'targets'",
            Table::Grants => "row of 'grants'",
        }
    }
}

/// Makes a row of columns. Numbers stand for truth values where those are wanted; `aliases` is a list of JSON, or names
/// with commas between them; `driver` and `policy` are JSON; `container` stands for a container of the engine `docker`.
///
/// # Errors
/// What is wrong with it. A row of keys without a key is none.
pub(crate) fn row(table: Table, mut columns: Map<String, Value>) -> Result<Option<Row>, String> {
    columns.retain(|_, value| !value.is_null());
    match table {
        Table::Accounts => {
            if let Some(active) = columns.get_mut("active") {
                *active = Value::Bool(truth(active)?);
            }
            parse::<AccountRow>(columns).map(|row| Some(Row::Account(row)))
        }
        Table::Keys => {
            if columns.get("key").and_then(Value::as_str).is_none_or(|key| key.trim().is_empty()) {
                return if columns.get("key").is_some_and(|key| !key.is_string()) {
                    Err("column 'key': want text".to_owned())
                } else {
                    Ok(None)
                };
            }
            parse::<KeyRow>(columns).map(|row| Some(Row::Key(row)))
        }
        Table::Targets => {
            if let Some(container) = columns.remove("container") {
                let mut driver = Map::new();
                driver.insert("driver".to_owned(), "docker".into());
                driver.insert("container".to_owned(), container);
                columns.insert("driver".to_owned(), Value::Object(driver));
            }
            for name in ["driver", "policy"] {
                if let Some(Value::String(text)) = columns.get(name) {
                    let value =
                        serde_json::from_str(text).map_err(|why| format!("column '{name}': {why}"))?;
                    columns.insert(name.to_owned(), value);
                }
            }
            if let Some(Value::String(text)) = columns.get("aliases") {
                let list = serde_json::from_str(text).unwrap_or_else(|_| {
                    let names = text.split(',').map(str::trim).filter(|name| !name.is_empty());
                    names.map(Value::from).collect()
                });
                columns.insert("aliases".to_owned(), list);
            }
            parse::<TargetRow>(columns).map(|row| Some(Row::Target(Box::new(row))))
        }
        Table::Grants => parse::<GrantRow>(columns).map(|row| Some(Row::Grant(row))),
    }
}

fn truth(value: &Value) -> Result<bool, String> {
    match value {
        Value::Bool(truth) => Ok(*truth),
        Value::Number(number) => Ok(number.as_f64() != Some(0.0)),
        Value::String(text) => match text.as_str() {
            "t" | "true" | "1" => Ok(true),
            "f" | "false" | "0" | "" => Ok(false),
            _ => Err("column 'active': want true or false".to_owned()),
        },
        _ => Err("column 'active': want true or false".to_owned()),
    }
}

fn parse<T: serde::de::DeserializeOwned>(columns: Map<String, Value>) -> Result<T, String> {
    serde_json::from_value(Value::Object(columns)).map_err(|why| why.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn columns(json: &str) -> Map<String, Value> {
        serde_json::from_str(json).unwrap()
    }

    #[test]
    fn columns_become_rows() {
        let account = row(Table::Accounts, columns(r#"{"name":"ada","active":0,"default_target":null}"#));
        let want = AccountRow { name: "ada".into(), active: false, default_target: None };
        assert_eq!(account, Ok(Some(Row::Account(want))));
        let target = row(
            Table::Targets,
            columns(
                r#"{"name":"lab","container":"c1","user":"ada","aliases":"a, b","policy":"{\"pty\":false}"}"#,
            ),
        );
        let Ok(Some(Row::Target(target))) = target else { panic!("{target:?}") };
        assert_eq!(target.aliases, ["a", "b"]);
        assert_eq!(target.driver, serde_json::json!({"driver": "docker", "container": "c1"}));
        assert_eq!(target.policy, Some(serde_json::json!({"pty": false})));
    }

    #[test]
    fn what_is_not_there_is_no_fault_and_what_is_wrong_is_one() {
        assert_eq!(row(Table::Keys, columns(r#"{"account":"ada","key":null}"#)), Ok(None));
        assert_eq!(row(Table::Keys, columns(r#"{"account":"ada","key":"  "}"#)), Ok(None));
        for (table, json) in [
            (Table::Keys, r#"{"account":"ada","key":7}"#),
            (Table::Keys, r#"{"acount":"ada","key":"ssh-ed25519 AAAA"}"#),
            (Table::Accounts, r#"{"active":true}"#),
            (Table::Accounts, r#"{"name":"ada","active":"perhaps"}"#),
            (Table::Targets, r#"{"name":"lab","driver":"{","user":"ada"}"#),
            (Table::Grants, r#"{"account":"ada","target":"lab","expires":"soon"}"#),
        ] {
            assert!(row(table, columns(json)).is_err(), "{json}");
        }
    }
}
