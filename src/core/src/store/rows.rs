//! Rows of the store as values, for whoever reads or lists them.

use std::path::Path;

use rusqlite::Row;
use vestibule_names::login::TargetName;

use super::error::StoreError;
use crate::target::{Driver, LoginUser, Target, TargetId};

/// A row of `targets` (id, name, driver, login_user, home, policy), before its texts are read.
pub(super) struct RawTarget {
    id: i64,
    name: String,
    driver: String,
    login_user: String,
    home: Option<String>,
    policy: String,
}

impl RawTarget {
    pub(super) fn read(row: &Row<'_>) -> rusqlite::Result<RawTarget> {
        Ok(RawTarget {
            id: row.get(0)?,
            name: row.get(1)?,
            driver: row.get(2)?,
            login_user: row.get(3)?,
            home: row.get(4)?,
            policy: row.get(5)?,
        })
    }

    pub(super) fn id(&self) -> i64 {
        self.id
    }

    /// # Errors
    /// [`StoreError::Row`] when a text does not say what such a text says.
    pub(super) fn parse(self, store: &Path) -> Result<Target, StoreError> {
        let RawTarget { id, name, driver, login_user, home, policy } = self;
        let fault = |column: &str, why: &dyn std::fmt::Display| StoreError::Row {
            path: store.to_owned(),
            what: format!("target {id}, column '{column}'"),
            why: why.to_string(),
        };
        Ok(Target {
            id: TargetId(id),
            name: TargetName::try_from(name.as_str()).map_err(|why| fault("name", &why))?,
            driver: serde_json::from_str::<Driver>(&driver).map_err(|why| fault("driver", &why))?.settled(),
            login_user: LoginUser::from(login_user.as_str()),
            home,
            policy: serde_json::from_str(&policy).map_err(|why| fault("policy", &why))?,
        })
    }
}
