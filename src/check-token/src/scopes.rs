//! Whether a token's scopes let its owner into a server: JupyterHub's rules, "Scopes in JupyterHub".
//!
//! The hub says a token's scopes expanded: what a role or another scope implies stands there by itself. `access:servers` is
//! every server; `!user=`, `!group=` and `!server=` are those of a user, of the members of a group, and one.

use serde::Deserialize;

use crate::refused::Refused;

/// What a hub says of the owner of a token, and of the token.
#[derive(Debug, Deserialize)]
pub(crate) struct Owner {
    kind: String,
    name: String,
    #[serde(default)]
    groups: Vec<String>,
    scopes: Option<Vec<String>>,
}

impl Owner {
    /// Whether the token is the account's and opens the server `USER/NAME`.
    ///
    /// # Errors
    /// Why not.
    pub(crate) fn may(&self, account: &str, server: &str) -> Result<(), Refused> {
        // What another is called is the hub's to say, and goes to no log of ours.
        if self.kind != "user" {
            return Err(Refused::new("owner", "the token is a service's"));
        }
        if self.name != account {
            return Err(Refused::new("owner", "the token is somebody else's"));
        }
        let Some(scopes) = &self.scopes else {
            return Err(Refused::new("hub", "it does not say the token's scopes: a JupyterHub before 2.0?"));
        };
        let (user, _) = server.split_once('/').unwrap_or((server, ""));
        let opens = |scope: &String| match scope.strip_prefix("access:servers") {
            Some("") => true,
            Some(filter) => match filter.strip_prefix('!').and_then(|filter| filter.split_once('=')) {
                Some(("user", name)) => name == user,
                Some(("server", name)) => name == server,
                // Who is in a group the hub says only of the token's owner.
                Some(("group", name)) => user == self.name && self.groups.iter().any(|group| group == name),
                _ => false,
            },
            None => false,
        };
        if scopes.iter().any(opens) {
            return Ok(());
        }
        Err(Refused::new("scope", "the token has no scope 'access:servers' for this server"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(name: &str, scopes: &[&str], account: &str, server: &str) -> Result<(), &'static str> {
        let json = serde_json::json!({
            "kind": "user", "name": name, "groups": ["students"], "scopes": scopes, "token_id": "a1", "admin": true,
        });
        let owner: Owner = serde_json::from_value(json).unwrap();
        owner.may(account, server).map_err(|refused| refused.reason)
    }

    #[test]
    fn access_to_the_server_opens_it() {
        for scope in [
            "access:servers",
            "access:servers!user=alice",
            "access:servers!server=alice/",
            "access:servers!group=students",
        ] {
            assert_eq!(asked("alice", &["read:users", scope], "alice", "alice/"), Ok(()), "{scope}");
        }
        assert_eq!(asked("alice", &["access:servers!server=alice/lab"], "alice", "alice/lab"), Ok(()));
        assert_eq!(asked("alice", &["access:servers!server=bob/lab"], "alice", "bob/lab"), Ok(()));
        assert_eq!(asked("alice", &["access:servers!user=bob"], "alice", "bob/"), Ok(()));
    }

    #[test]
    fn another_scope_does_not() {
        for scope in [
            "",
            "servers",
            "admin:servers",
            "access:services",
            "access:services!service=x",
            "access:servers!user=alice2",
            "access:servers!user=",
            "access:servers!server=alice/lab",
            "access:servers!server=alice",
            "access:servers!server=alice/lab2",
            "access:servers!group=teachers",
            "access:servers!service=alice",
            "access:servers=alice",
            "access:serversx",
            " access:servers",
            "ACCESS:SERVERS",
            "inherit",
            "self",
        ] {
            assert_eq!(asked("alice", &[scope], "alice", "alice/"), Err("scope"), "{scope}");
        }
        assert_eq!(asked("alice", &[], "alice", "alice/"), Err("scope"));
        // The group is the owner's, not the server's.
        assert_eq!(asked("alice", &["access:servers!group=students"], "alice", "bob/"), Err("scope"));
    }

    #[test]
    fn a_token_of_somebody_else_opens_nothing() {
        assert_eq!(asked("bob", &["access:servers"], "alice", "alice/"), Err("owner"));
        assert_eq!(asked("Alice", &["access:servers"], "alice", "alice/"), Err("owner"));
        let service: Owner =
            serde_json::from_str(r#"{"kind":"service","name":"alice","scopes":["access:servers"]}"#).unwrap();
        assert_eq!(service.may("alice", "alice/").unwrap_err().reason, "owner");
        let old: Owner = serde_json::from_str(r#"{"kind":"user","name":"alice"}"#).unwrap();
        assert_eq!(old.may("alice", "alice/").unwrap_err().reason, "hub");
        for wrong in ["{}", "[]", r#"{"name":"alice","scopes":["access:servers"]}"#] {
            assert!(serde_json::from_str::<Owner>(wrong).is_err(), "{wrong}");
        }
    }
}
