//! Workspaces: a platform's word for a group of targets that its operator switches SSH on for, or does not.
//!
//! Which workspace a target belongs to is its hub's word, in the target's policy. Which workspaces may be entered is
//! root's, in `may_enter.workspaces`. Platforms disagree with themselves on whether an empty list means all or none, so
//! there is a word for either here, and an empty list is a fault.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, de};

use crate::may_enter::fits;

/// Bytes that a workspace's name has at most.
const MAX_NAME: usize = 96;

/// The name of a workspace, as its platform has it: a number, or a word.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize)]
#[serde(transparent)]
pub struct Workspace(String);

impl Workspace {
    /// As text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Workspace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

/// Why a text is no workspace's name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("want a workspace's name: a number, or 1 to 96 letters, digits and '._:/@+-'")]
pub struct NotAWorkspace;

impl TryFrom<&str> for Workspace {
    type Error = NotAWorkspace;

    fn try_from(text: &str) -> Result<Self, NotAWorkspace> {
        let plain = |byte: u8| {
            byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b':' | b'/' | b'@' | b'+' | b'-')
        };
        let well = !text.is_empty() && text.len() <= MAX_NAME && text.bytes().all(plain);
        if well { Ok(Workspace(text.to_owned())) } else { Err(NotAWorkspace) }
    }
}

/// A name as it may be written: platforms number their workspaces, and JSON and TOML have numbers.
#[derive(Deserialize)]
#[serde(untagged)]
enum Written {
    Number(u64),
    Text(String),
}

impl Written {
    fn text(self) -> String {
        match self {
            Written::Number(number) => number.to_string(),
            Written::Text(text) => text,
        }
    }
}

impl<'de> Deserialize<'de> for Workspace {
    fn deserialize<D: Deserializer<'de>>(value: D) -> Result<Self, D::Error> {
        let written = Written::deserialize(value).map_err(|_| de::Error::custom(NotAWorkspace))?;
        Workspace::try_from(written.text().as_str()).map_err(de::Error::custom)
    }
}

/// The workspaces whose targets may be entered: `may_enter.workspaces`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Workspaces {
    /// None.
    #[default]
    None,
    /// Any.
    All,
    /// Those that fit one of these patterns, with `*` for any characters.
    Of(Vec<String>),
}

impl Workspaces {
    /// Whether targets of this workspace may be entered.
    #[must_use]
    pub fn have(&self, workspace: &Workspace) -> bool {
        match self {
            Workspaces::None => false,
            Workspaces::All => true,
            Workspaces::Of(patterns) => patterns.iter().any(|pattern| fits(pattern, workspace.as_str())),
        }
    }
}

impl<'de> Deserialize<'de> for Workspaces {
    fn deserialize<D: Deserializer<'de>>(value: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Said {
            Word(String),
            List(Vec<Written>),
        }
        let wrong = "want \"all\", \"none\", or a list of workspaces that is not empty";
        match Said::deserialize(value).map_err(|_| de::Error::custom(wrong))? {
            Said::Word(word) if word == "all" => Ok(Workspaces::All),
            Said::Word(word) if word == "none" => Ok(Workspaces::None),
            Said::List(list) if !list.is_empty() => {
                Ok(Workspaces::Of(list.into_iter().map(Written::text).collect()))
            }
            _ => Err(de::Error::custom(wrong)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, Deserialize)]
    struct Table {
        workspaces: Workspaces,
    }

    fn said(text: &str) -> Result<Workspaces, String> {
        let table = toml::from_str::<Table>(&format!("workspaces = {text}"));
        table.map(|table| table.workspaces).map_err(|error| error.message().to_owned())
    }

    fn name(text: &str) -> Workspace {
        Workspace::try_from(text).unwrap()
    }

    #[test]
    fn a_word_or_a_list_that_is_not_empty() {
        let table = [
            ("\"all\"", [true, true, true]),
            ("\"none\"", [false, false, false]),
            ("[12345]", [true, false, false]),
            ("[\"12345\", 67890]", [true, true, false]),
            ("[\"lab/*\"]", [false, false, true]),
            ("[\"*\"]", [true, true, true]),
        ];
        for (text, wanted) in table {
            let workspaces = said(text).unwrap();
            let have = ["12345", "67890", "lab/genomics"].map(|one| workspaces.have(&name(one)));
            assert_eq!(have, wanted, "{text}");
        }
        assert!(!Workspaces::default().have(&name("12345")));
        for text in ["[]", "\"\"", "\"12345\"", "12345", "true", "[1.5]", "[[1]]"] {
            assert!(said(text).unwrap_err().contains("want \"all\", \"none\""), "{text}: {:?}", said(text));
        }
    }

    #[test]
    fn names() {
        for json in ["12345", "\"12345\"", "\"org/ws-1\"", "\"a@b.example\""] {
            assert!(serde_json::from_str::<Workspace>(json).is_ok(), "{json}");
        }
        let long = format!("\"{}\"", "a".repeat(MAX_NAME + 1));
        for json in ["\"\"", "\"*\"", "\"a b\"", "\"a\\n\"", "-1", "1.5", "null", "true", "[]", long.as_str()]
        {
            assert!(serde_json::from_str::<Workspace>(json).is_err(), "{json}");
        }
    }
}
