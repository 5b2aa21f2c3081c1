//! The manual pages say what the code does: exit codes, and every key of the configuration with its bounds and its
//! default. (The options of the programs are held to their pages by `tests/suites/810-man.bats`, for which programs
//! must be built and installed.)

#![allow(clippy::panic, clippy::unwrap_used)] // helpers of tests are tests

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use vestibule::config::{Config, ConfigError};
use vestibule::exit::Exit;

/// The lines of a page between `.\" NAME: begin` and `.\" NAME: end`.
fn section(page: &str, name: &str) -> Vec<String> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../man").join(page);
    let text = fs::read_to_string(&path).unwrap();
    let (begin, end) = (format!(".\\\" {name}: begin"), format!(".\\\" {name}: end"));
    let lines: Vec<String> = text
        .lines()
        .skip_while(|l| *l != begin)
        .skip(1)
        .take_while(|l| *l != end)
        .map(str::to_owned)
        .collect();
    assert!(!lines.is_empty(), "{page}: nothing between '{begin}' and '{end}'");
    lines
}

/// The items of a list: what stands behind `.It`, and the text below it as one line.
fn items(lines: &[String]) -> Vec<(String, String)> {
    let mut items: Vec<(String, String)> = Vec::new();
    for line in lines {
        if let Some(tag) = line.strip_prefix(".It ") {
            items.push((tag.to_owned(), String::new()));
        } else if let Some((_, text)) = items.last_mut() {
            let words = line.strip_prefix(".Qq ").map_or_else(
                || line.clone(),
                |quoted| {
                    let (value, stop) = quoted.split_once(' ').unwrap_or((quoted, ""));
                    format!("\"{value}\"{stop}")
                },
            );
            if !text.is_empty() {
                text.push(' ');
            }
            text.push_str(&words);
        }
    }
    items
}

/// The example of a section.
fn literal(lines: &[String]) -> String {
    let inner =
        lines.iter().skip_while(|l| !l.starts_with(".Bd -literal")).skip(1).take_while(|l| *l != ".Ed");
    inner.map(|l| l.clone() + "\n").collect()
}

fn load(text: &str) -> Result<Config, ConfigError> {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("vestibule.toml");
    fs::write(&file, text).unwrap();
    Config::load(&file)
}

/// What is wrong with a configuration, without the place.
fn fault(text: &str) -> String {
    match load(text) {
        Err(ConfigError::Fault { message, .. }) => message,
        other => panic!("{text}: {other:?}"),
    }
}

const STRANGER: &str = "no-such-key";

/// The keys of the table `path`, as the parser lists them when it is told one that it does not know; nothing when
/// there can be no such table.
fn keys_of(path: &str) -> Option<Vec<String>> {
    let header = if path.is_empty() { String::new() } else { format!("[{path}]\n") };
    let message = fault(&format!("{header}{STRANGER} = 1\n"));
    let (_, expected) = message.split_once(&format!("unknown field `{STRANGER}`, expected "))?;
    Some(expected.split('`').skip(1).step_by(2).map(str::to_owned).collect())
}

/// Every key that a value can stand behind, with `NAME` for a name that is free.
fn leaves(path: &str, found: &mut BTreeSet<String>) {
    // What stands in [source.NAME] is refresh-keys' own affair, and in its page.
    for key in keys_of(path).unwrap().into_iter().filter(|key| key != "source") {
        let full = if path.is_empty() { key } else { format!("{path}.{key}") };
        let named = format!("{full}.NAME");
        if keys_of(&full).is_some() {
            leaves(&full, found);
        } else if keys_of(&named).is_some() {
            leaves(&named, found);
        } else {
            found.insert(full);
        }
    }
}

fn all_keys() -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    leaves("", &mut found);
    found
}

/// `vestibule.toml(5)`: each key with its text.
fn documented() -> BTreeMap<String, String> {
    let items = items(&section("vestibule.toml.5", "keys"));
    let keys: BTreeMap<String, String> =
        items.iter().map(|(tag, text)| (tag.strip_prefix("Cm ").unwrap().to_owned(), text.clone())).collect();
    assert_eq!(keys.len(), items.len(), "a key stands in the page once");
    keys
}

#[test]
fn route_session_lists_every_exit_code_with_its_words() {
    let wanted: Vec<_> =
        Exit::ALL.iter().map(|(exit, words)| (exit.code().to_string(), (*words).to_owned())).collect();
    assert_eq!(items(&section("route-session.8", "exit codes")), wanted);
}

#[test]
fn vestibule_toml_lists_every_key_and_no_other() {
    assert_eq!(documented().into_keys().collect::<BTreeSet<_>>(), all_keys());
}

#[test]
fn the_bounds_of_numbers_are_in_the_page() {
    let mut numbers = 0;
    for (key, text) in documented() {
        // "want 1 to 30000 milliseconds"
        let message = fault(&format!("{} = -1\n", key.replace("NAME", "x")));
        let Some(bounds) =
            message.strip_prefix("want ").filter(|m| m.starts_with(|c: char| c.is_ascii_digit()))
        else {
            continue;
        };
        numbers += 1;
        let (range, unit) = bounds.rsplit_once(' ').unwrap();
        assert!(text.contains(&format!("in {unit}, from {range}")), "{key}: {text}");
    }
    assert_eq!(numbers, 3, "numbers were found");
}

#[test]
fn the_defaults_in_the_page_are_the_defaults() {
    let example = literal(&section("vestibule.toml.5", "defaults"));
    assert_eq!(load(&example).unwrap(), Config::default());

    let table: toml::Table = example.parse().unwrap();
    let mut shown = BTreeMap::new();
    flatten("", &toml::Value::Table(table), &mut shown);
    let mut left = documented();
    assert!(left.remove("target_prefix").unwrap().ends_with("Default: none."));
    // An empty or partial example would be the defaults too.
    for (key, value) in &shown {
        if let Some(text) = left.remove(key) {
            assert!(text.ends_with(&format!("Default: {value}.")), "{key}: {text}");
        }
    }
    // Of a command there is nothing by itself.
    let nobody = load("[wake.x]\ncommand = [\"/bin/true\"]\n").unwrap().wake["x"].user.clone();
    assert!(left.remove("wake.NAME.user").unwrap().ends_with(&format!("Default: {nobody:?}.")));
    assert!(left.remove("wake.NAME.command").is_some());
    let nobody = load("[connect.x]\ncommand = [\"/bin/true\"]\n").unwrap().connect["x"].user.clone();
    assert!(left.remove("connect.NAME.user").unwrap().ends_with(&format!("Default: {nobody:?}.")));
    assert!(left.remove("connect.NAME.command").is_some());
    let site = load("[site.x]\nurl = \"https://hub.example\"\n").unwrap().site["x"].clone();
    assert_eq!((site.token_file, site.ca_file, site.proxy), (None, None, None));
    for key in ["token_file", "ca_file", "proxy"] {
        assert!(left.remove(&format!("site.NAME.{key}")).unwrap().ends_with("Default: none."), "{key}");
    }
    assert!(
        !site.allow_http && left.remove("site.NAME.allow_http").unwrap().ends_with("Default: .Ql false .")
    );
    assert!(left.remove("site.NAME.url").is_some());
    let key = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAABAgMEBQYHCAkKCwwNDg8QERITFBUWFxgZGhscHR4f";
    let authority = load(&format!("[authority.x]\nkey = \"{key}\"\n")).unwrap().authority["x"].clone();
    assert_eq!(authority.accounts("ada").map(|name| name.to_string()).collect::<Vec<_>>(), ["ada"]);
    assert!(left.remove("authority.NAME.accounts").unwrap().ends_with("Default: \"{account}\"."));
    assert!(!authority.opens("ada", &"ada".try_into().unwrap()));
    assert!(left.remove("authority.NAME.targets").unwrap().ends_with("Default: none."));
    assert!(left.remove("authority.NAME.key").is_some());
    let engines = Config::default().engine;
    assert!(left.remove("engine.NAME.socket").is_some() && left.is_empty(), "without a default: {left:?}");
    for (name, engine) in &engines {
        let wanted = format!("{:?}", engine.socket);
        assert_eq!(shown.get(&format!("engine.{name}.socket")), Some(&wanted));
    }
}

fn flatten(path: &str, value: &toml::Value, into: &mut BTreeMap<String, String>) {
    let Some(table) = value.as_table() else {
        let text = match value {
            toml::Value::String(text) => format!("{text:?}"),
            toml::Value::Array(list) if list.is_empty() => "none".to_owned(),
            toml::Value::Array(_) => "the list below".to_owned(),
            other => other.as_integer().unwrap().to_string(),
        };
        into.insert(path.to_owned(), text);
        return;
    };
    for (key, value) in table {
        flatten(&if path.is_empty() { key.clone() } else { format!("{path}.{key}") }, value, into);
    }
}

#[test]
fn the_example_in_the_page_is_a_configuration() {
    let config = load(&literal(&section("vestibule.toml.5", "example"))).unwrap();
    assert_eq!(config.target_prefix.as_deref(), Some("project-"));
    assert_eq!(config.engine.len(), Config::default().engine.len() + 1);
    assert_eq!(config.wake["site"].user, "starter");
}
