//! Rows as a source says them; nothing of it is trusted yet.
//!
//! As JSON each is an object with one field, the kind: `{"account": {"name": "ada"}}`. The feed speaks it as it is; other
//! sources make the same values of their own.

use serde::Deserialize;

/// Anything a source can say.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Row {
    /// A person or robot.
    Account(AccountRow),
    /// Keys of an account or of a target.
    Key(KeyRow),
    /// A container.
    Target(Box<TargetRow>),
    /// That an account may enter a target.
    Grant(GrantRow),
    /// That something is not there any more; only in answers that say what changed.
    Gone(GoneRow),
}

/// A person or robot.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct AccountRow {
    pub(crate) name: String,
    #[serde(default = "yes")]
    pub(crate) active: bool,
    pub(crate) default_target: Option<String>,
}

/// One key or several, as lines of authorized_keys.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct KeyRow {
    pub(crate) account: Option<String>,
    pub(crate) target: Option<String>,
    /// Lines of authorized_keys, with or without options and comment.
    pub(crate) key: String,
    /// Seconds since 1970.
    pub(crate) expires: Option<i64>,
}

/// A container.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct TargetRow {
    pub(crate) name: String,
    #[serde(default)]
    pub(crate) aliases: Vec<String>,
    /// As `vestibulectl target show --json` has it.
    pub(crate) driver: serde_json::Value,
    /// Who one is inside; `{account}` for the account's name.
    pub(crate) user: String,
    pub(crate) home: Option<String>,
    pub(crate) policy: Option<serde_json::Value>,
}

/// That an account may enter a target.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct GrantRow {
    pub(crate) account: String,
    pub(crate) target: String,
    /// Seconds since 1970.
    pub(crate) expires: Option<i64>,
}

/// What is gone.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum GoneRow {
    /// An account, with its keys and grants.
    Account(String),
    /// A target, with its keys and grants.
    Target(String),
    /// All keys of an account, but for those that the same answer brings.
    KeysOfAccount(String),
    /// All keys of a target, but for those that the same answer brings.
    KeysOfTarget(String),
    /// A grant.
    Grant {
        /// Whose.
        account: String,
        /// For what.
        target: String,
    },
}

fn yes() -> bool {
    true
}
