//! What a session's user reads stands in `messages` and nowhere else: in the programs of a session nothing but a
//! `messages::Line` goes to standard error, apart from what is said to somebody who runs them by hand.

#![allow(clippy::panic, clippy::unwrap_used)] // helpers of tests are tests

use std::fs;
use std::path::{Path, PathBuf};

/// Where `enter` and `route-session` name a standard stream, and why that is no word of theirs to a session's user.
const KNOWN: [(&str, &str); 13] = [
    ("enter/src/address.rs", "an address, to a program"),
    ("enter/src/args.rs", "to_operator, for who runs it by hand"),
    ("enter/src/attend.rs", "is looked at, not written to"),
    ("enter/src/engine/exec.rs", "the command's own bytes"),
    ("enter/src/hop/attend.rs", "given to the second hop's client; is looked at, not written to"),
    ("enter/src/hop/client.rs", "a pipe to the log"),
    ("enter/src/session.rs", "the target's words of welcome"),
    ("enter/src/transport/raw.rs", "given to what leads to the target, for the target's own bytes"),
    ("enter/src/transport/start.rs", "a pipe to the worker"),
    ("enter/src/waiting.rs", "is looked at, not written to"),
    ("enter/src/wake/start.rs", "a pipe to the log"),
    ("route-session/src/forward.rs", "the service's own bytes"),
    ("route-session/src/main.rs", "to_operator, for who runs it by hand"),
];

fn sources(below: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(below).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|e| e == "rs") {
            found.push(path);
        }
    }
}

/// The files of a session's programs, by their path below `src`, without their tests.
fn of_sessions() -> Vec<(String, String)> {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let mut found = Vec::new();
    for room in ["enter/src", "route-session/src"] {
        sources(&src.join(room), &mut found);
    }
    found.sort();
    let named = found.into_iter().map(|path| {
        let text = fs::read_to_string(&path).unwrap();
        let text = text.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default().to_owned();
        (path.strip_prefix(src).unwrap().to_string_lossy().into_owned(), text)
    });
    named.collect()
}

#[test]
fn nothing_else_writes_to_a_sessions_user() {
    let names =
        ["stderr()", "stdout()", "STDERR", "STDOUT", "/dev/tty", "/dev/stderr", "print!(", "println!("];
    let writers: Vec<String> = of_sessions()
        .into_iter()
        .filter(|(_, text)| names.iter().any(|name| text.contains(name)))
        .map(|(path, _)| path)
        .collect();
    let known: Vec<&str> = KNOWN.iter().map(|(path, _)| *path).collect();
    assert_eq!(writers, known, "say what a session's user shall read with vestibule::messages");
}

#[test]
fn words_to_who_runs_a_program_by_hand_begin_with_the_programs_name() {
    for (path, text) in of_sessions() {
        let program = path.split('/').next().unwrap();
        for call in text.split("to_operator(").skip(1).filter(|rest| !rest.starts_with("text: &str")) {
            let words = call.trim_start_matches("&format!(").trim_start();
            let fine = words.starts_with(&format!("\"{program}: ")) || words.starts_with("USAGE)");
            assert!(fine, "{path}: {}", &words[..words.len().min(60)]);
        }
    }
}
