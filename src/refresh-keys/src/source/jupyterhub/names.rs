//! Names of users and servers as parts of other names: of containers, of targets.
//!
//! Users choose their servers' names, and perhaps their own. What is filled in is therefore escaped as the spawner does
//! it, so that no two servers can have one name; or, as it is, it may be no path and no part of one.

use vestibule::messages::shown;

use crate::settings::jupyterhub::Escape;
use vestibule_http::percent_encoded;

/// One server's names.
#[derive(Debug)]
pub(crate) struct Names<'a> {
    raw_user: &'a str,
    raw_server: &'a str,
    user: String,
    server: String,
}

impl<'a> Names<'a> {
    /// Of the server `server` (empty for the default one) of `user`.
    pub(crate) fn new(user: &'a str, server: &'a str, escape: Escape) -> Names<'a> {
        Names {
            raw_user: user,
            raw_server: server,
            user: escaped(user, escape),
            // DockerSpawner does so, with users' names it does not.
            server: escaped(&server.to_lowercase(), escape),
        }
    }

    /// `text` with `{username}`, `{servername}`, `{raw_username}`, `{raw_servername}`, `{url_username}` and
    /// `{url_servername}` filled in. `{account}` stays.
    ///
    /// # Errors
    /// A word in braces that nobody knows, or a name that may not stand there as it is.
    pub(crate) fn fill(&self, text: &str) -> Result<String, String> {
        let mut out = String::with_capacity(text.len() + 32);
        let mut rest = text;
        while let Some((before, after)) = rest.split_once('{') {
            out.push_str(before);
            let (word, after) = after.split_once('}').ok_or("a '{' without its '}'")?;
            match word {
                "username" => out.push_str(plain(&self.user)?),
                "servername" => out.push_str(plain(&self.server)?),
                "raw_username" => out.push_str(plain(self.raw_user)?),
                "raw_servername" => out.push_str(plain(self.raw_server)?),
                "url_username" => out.push_str(&in_url(self.raw_user)?),
                "url_servername" => out.push_str(&in_url(self.raw_server)?),
                "account" => out.push_str("{account}"),
                _ => return Err(format!("there is no '{{{}}}'", shown(word))),
            }
            rest = after;
        }
        out.push_str(rest);
        Ok(out)
    }

    /// Every text of `value` filled.
    ///
    /// # Errors
    /// As [`Names::fill`].
    pub(crate) fn fill_all(&self, value: &serde_json::Value) -> Result<serde_json::Value, String> {
        use serde_json::Value;
        Ok(match value {
            Value::String(text) => Value::String(self.fill(text)?),
            Value::Array(list) => {
                Value::Array(list.iter().map(|value| self.fill_all(value)).collect::<Result<_, _>>()?)
            }
            Value::Object(map) => Value::Object(
                map.iter()
                    .map(|(key, value)| Ok((key.clone(), self.fill_all(value)?)))
                    .collect::<Result<_, String>>()?,
            ),
            other => other.clone(),
        })
    }
}

/// A name as the hub has it in addresses: percent-encoded, but for `@`. There are proxies that take what is encoded for
/// what it means, so what means another directory is none.
fn in_url(name: &str) -> Result<String, String> {
    if name.contains('\\') {
        return Err(format!("the name '{}' can't stand there", shown(name)));
    }
    Ok(percent_encoded(plain(name)?).replace("%40", "@"))
}

/// A name that is no path, and no part of one that leads elsewhere.
fn plain(name: &str) -> Result<&str, String> {
    let elsewhere = matches!(name, "" | "." | "..") || name.contains(['/', '{', '}']);
    if elsewhere || name.chars().any(char::is_control) {
        return Err(format!("the name '{}' can't stand there as it is", shown(name)));
    }
    Ok(name)
}

fn escaped(name: &str, escape: Escape) -> String {
    let (keeps, mark): (fn(char) -> bool, char) = match escape {
        Escape::None => return name.to_owned(),
        Escape::Docker => (|c| c.is_ascii_lowercase() || c.is_ascii_digit(), '-'),
        Escape::Legacy => (|c| c.is_ascii_alphanumeric() || c == '-', '_'),
    };
    let mut out = String::with_capacity(name.len());
    let mut bytes = [0; 4];
    for c in name.chars() {
        if keeps(c) {
            out.push(c);
            continue;
        }
        for byte in c.encode_utf8(&mut bytes).bytes() {
            out.push(mark);
            // Without a zero before it, as escapism has it.
            out.push_str(&match escape {
                Escape::Legacy => format!("{byte:X}"),
                _ => format!("{byte:x}"),
            });
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_escaped_as_dockerspawner_escapes_them() {
        // What dockerspawner 14.0.0 makes of them.
        for (name, docker, legacy) in [
            ("alice", "alice", "alice"),
            ("alice-smith", "alice-2dsmith", "alice-smith"),
            ("Alice", "-41lice", "Alice"),
            ("a@example.org", "a-40example-2eorg", "a_40example_2Eorg"),
            ("jürgen", "j-c3-bcrgen", "j_C3_BCrgen"),
            ("a_b", "a-5fb", "a_5Fb"),
            ("a\tb", "a-9b", "a_9b"),
            ("", "", ""),
        ] {
            assert_eq!(escaped(name, Escape::Docker), docker);
            assert_eq!(escaped(name, Escape::Legacy), legacy);
            assert_eq!(escaped(name, Escape::None), name);
        }
    }

    #[test]
    fn names_are_filled_in_and_no_path_comes_of_it() {
        let names = Names::new("a-b", "My Lab", Escape::Docker);
        for (text, want) in [
            ("jupyter-{username}--{servername}", "jupyter-a-2db--my-20lab"),
            ("{raw_username}", "a-b"),
            ("{raw_servername}!", "My Lab!"),
            ("/user/{url_username}/{url_servername}/", "/user/a-b/My%20Lab/"),
            ("{account}", "{account}"),
            ("plain", "plain"),
        ] {
            assert_eq!(names.fill(text).as_deref(), Ok(want));
        }
        for text in ["{user}", "{username", "{", "{}"] {
            assert!(names.fill(text).is_err(), "{text}");
        }
        for hostile in ["..", ".", "", "a/b", "/etc", "a\nb", "{account}"] {
            assert!(Names::new(hostile, "x", Escape::None).fill("/srv/{raw_username}").is_err(), "{hostile}");
            assert!(Names::new("a", hostile, Escape::None).fill("{servername}").is_err(), "{hostile}");
        }
        let odd = Names::new("a@b.org", "x%2f..", Escape::Docker);
        assert_eq!(odd.fill("{url_username}/{url_servername}").as_deref(), Ok("a@b.org/x%252f.."));
        for hostile in ["..", "", "x/../../bob", "x\\..\\bob", "a\nb"] {
            assert!(Names::new("a", hostile, Escape::Docker).fill("{url_servername}").is_err(), "{hostile}");
        }
        let driver = serde_json::json!({"a": ["{username}", 1], "b": {"c": "{servername}"}});
        let want = serde_json::json!({"a": ["a-2db", 1], "b": {"c": "my-20lab"}});
        assert_eq!(names.fill_all(&driver), Ok(want));
    }
}
