//! What the hub's REST API answers, and which of it is to be believed.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::Value;

use super::wrong;
use crate::source::SourceFault;
use vestibule_http::Page;

/// A list of users in pages, which a hub gives since JupyterHub 2.0 to who asks for it.
pub(super) const PAGES: &str = "application/jupyterhub-pagination+json";
pub(super) const JSON: &str = "application/json";

/// A page of users.
#[derive(Debug, Deserialize)]
pub(super) struct Users {
    /// One by one: a bad one takes no other with it.
    pub(super) items: Vec<Value>,
    #[serde(rename = "_pagination")]
    pub(super) pagination: Pagination,
}

#[derive(Debug, Deserialize)]
pub(super) struct Pagination {
    pub(super) offset: u64,
    pub(super) limit: u64,
    pub(super) next: Option<Next>,
}

/// The next page. Its address is not asked for: behind a proxy it is often another one than ours.
#[derive(Debug, Deserialize)]
pub(super) struct Next {
    pub(super) offset: u64,
}

/// A user. What the token may not see is not there at all.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct User {
    pub(super) name: String,
    pub(super) admin: Option<bool>,
    pub(super) groups: Option<Vec<String>>,
    pub(super) servers: Option<BTreeMap<String, Server>>,
    /// In an answer about one user only. `Some(None)`: `null`.
    #[serde(default, deserialize_with = "present")]
    pub(super) auth_state: Option<Option<Value>>,
}

/// A server of a user.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct Server {
    #[serde(default)]
    pub(super) ready: bool,
    #[serde(default)]
    pub(super) pending: Option<String>,
}

fn present<'de, D: serde::Deserializer<'de>>(value: D) -> Result<Option<Option<Value>>, D::Error> {
    Option::deserialize(value).map(Some)
}

/// Reads a page as JSON.
///
/// # Errors
/// When it is none; no byte of it is told.
pub(super) fn parse<T: serde::de::DeserializeOwned>(page: &Page, what: &str) -> Result<T, SourceFault> {
    if page.media_type != JSON && page.media_type != PAGES {
        let media_type = page.media_type.escape_debug();
        return Err(wrong(&format!(
            "it is '{media_type}', and not '{JSON}': is the address that of the API?"
        )));
    }
    serde_json::from_slice(&page.body).map_err(|_| wrong(&format!("it is no {what}")))
}

/// The keys at `pointer` in a user's `auth_state`, as lines: a text, a list of texts, or a list of objects with a `key`, as
/// the APIs of GitHub and GitLab have them. Nothing there is no fault.
///
/// # Errors
/// Something else is there.
pub(super) fn keys(auth_state: &Value, pointer: &str) -> Result<Option<String>, &'static str> {
    let line = |value: &Value| match value {
        Value::String(line) => Some(line.clone()),
        Value::Object(map) => map.get("key").and_then(Value::as_str).map(str::to_owned),
        _ => None,
    };
    match auth_state.pointer(pointer) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => Ok(Some(text.clone())),
        Some(Value::Array(list)) => {
            let lines: Option<Vec<String>> = list.iter().map(line).collect();
            lines
                .map(|lines| Some(lines.join("\n")))
                .ok_or("its keys in auth_state are a list of something else")
        }
        Some(_) => Err("its keys in auth_state are neither text nor a list"),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn keys_are_a_text_or_a_list() {
        for (state, want) in [
            (json!({"ssh": {"keys": "a\nb"}}), Ok(Some("a\nb"))),
            (json!({"ssh": {"keys": ["a", "b"]}}), Ok(Some("a\nb"))),
            (json!({"ssh": {"keys": [{"id": 1, "key": "a"}, "b"]}}), Ok(Some("a\nb"))),
            (json!({"ssh": {"keys": []}}), Ok(Some(""))),
            (json!({"ssh": {"keys": null}}), Ok(None)),
            (json!({"ssh": {}}), Ok(None)),
            (json!({"ssh": 7}), Ok(None)),
            (json!([]), Ok(None)),
            (json!("text"), Ok(None)),
            (json!({"ssh": {"keys": 7}}), Err(())),
            (json!({"ssh": {"keys": {"a": 1}}}), Err(())),
            (json!({"ssh": {"keys": ["a", 7]}}), Err(())),
            (json!({"ssh": {"keys": [{"id": 1}]}}), Err(())),
        ] {
            let found = keys(&state, "/ssh/keys");
            assert_eq!(found.as_ref().map(Option::as_deref).map_err(|_| ()), want, "{state}");
        }
    }

    #[test]
    fn what_the_token_may_not_see_is_told_from_nothing() {
        let user = |text: &str| serde_json::from_str::<User>(text).unwrap();
        assert!(user(r#"{"name": "a", "auth_state": null, "servers": {}}"#).auth_state.is_some());
        let blind = user(r#"{"name": "a"}"#);
        assert!(blind.auth_state.is_none() && blind.servers.is_none());
    }
}
