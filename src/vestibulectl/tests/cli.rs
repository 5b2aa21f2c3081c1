//! `vestibulectl` as an administrator uses it, on a store of its own.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test ends by panicking"
)]

use std::io::Write;
use std::path::PathBuf;
use std::process::{Command, Stdio};

/// A directory with a store, and the last words of the program.
struct Desk {
    dir: tempfile::TempDir,
}

struct Said {
    code: i32,
    out: String,
    err: String,
}

impl Desk {
    fn new() -> Desk {
        let desk = Desk { dir: tempfile::tempdir().unwrap() };
        desk.ok(&["init"]);
        desk
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn file(&self, name: &str, bytes: impl AsRef<[u8]>) -> String {
        std::fs::write(self.path(name), bytes).unwrap();
        self.path(name).to_str().unwrap().to_owned()
    }

    fn run_with(&self, args: &[&str], stdin: &[u8]) -> Said {
        let mut child = Command::new(env!("CARGO_BIN_EXE_vestibulectl"))
            .arg("--store")
            .arg(self.path("store.db"))
            .arg("--config")
            .arg(self.path("vestibule.toml"))
            .args(args)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        // A program that refuses its arguments does not read.
        let _ = child.stdin.take().unwrap().write_all(stdin);
        let output = child.wait_with_output().unwrap();
        Said {
            code: output.status.code().unwrap(),
            out: String::from_utf8(output.stdout).unwrap(),
            err: String::from_utf8(output.stderr).unwrap(),
        }
    }

    fn run(&self, args: &[&str]) -> Said {
        self.run_with(args, b"")
    }

    fn ok(&self, args: &[&str]) -> String {
        let said = self.run(args);
        assert_eq!(said.code, 0, "{args:?}: {}{}", said.out, said.err);
        said.out
    }

    /// Fails with one line that has these words.
    fn refused(&self, args: &[&str], words: &str) {
        let said = self.run(args);
        assert_eq!((said.code, said.out.as_str()), (1, ""), "{args:?}: {}", said.err);
        assert!(
            said.err.starts_with("vestibulectl: ") && said.err.lines().count() == 1,
            "{args:?}: {}",
            said.err
        );
        assert!(said.err.contains(words), "{args:?}: {}", said.err);
    }

    fn paste(&self, bytes: &[u8]) -> Said {
        self.run_with(&["key", "add", "--account", "alice"], bytes)
    }
}

const LAB: [&str; 9] =
    ["target", "add", "lab", "--driver", "namespace", "--pid-file", "/run/lab.pid", "--user", "alice"];
const KEY: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIBvy3cm8tnaGc9hZSbrZRfuTMu9KIVjUU8jy1jZi2c40";
const FINGERPRINT: &str = "SHA256:x5BEP2olxtN9tT6T2e3d0UgEi3uw3sNWwwE9vcEWmf0";

fn desk_with_alice() -> Desk {
    let desk = Desk::new();
    desk.ok(&LAB);
    desk.ok(&["account", "add", "alice", "--default-target", "lab"]);
    desk
}

#[test]
fn the_way_from_nothing_to_a_login() {
    let desk = desk_with_alice();
    let key = desk.file("alice.pub", format!("{KEY} alice@laptop\n"));
    assert!(desk.ok(&["key", "add", "--account", "alice", &key]).contains(FINGERPRINT));
    let explain = ["explain", "alice", "--key", &key, "--json"];
    assert!(desk.ok(&explain).contains("\"outcome\": \"denied\""));
    desk.ok(&["grant", "add", "alice", "lab"]);
    let granted = desk.ok(&explain);
    assert!(
        granted.contains("\"outcome\": \"granted\"") && granted.contains(&format!("restrict,pty {KEY}")),
        "{granted}"
    );
    assert!(
        desk.ok(&["explain", "alice", "--fingerprint", FINGERPRINT])
            .contains("sshd gets:\nrestrict,pty ssh-ed25519")
    );

    desk.ok(&["key", "revoke", FINGERPRINT, "--reason", "laptop lost"]);
    assert!(desk.ok(&explain).contains("laptop lost"));
    desk.ok(&["key", "unrevoke", "1"]);
    desk.ok(&["account", "disable", "alice"]);
    assert!(desk.ok(&explain).contains("\"outcome\": \"denied\""));
    desk.ok(&["account", "enable", "alice"]);
    assert!(desk.ok(&explain).contains("\"outcome\": \"granted\""));
    desk.ok(&["grant", "rm", "alice", "lab"]);
    assert!(desk.ok(&explain).contains("\"outcome\": \"denied\""));
    assert!(desk.ok(&["explain", "nobody-knows", "--fingerprint", FINGERPRINT]).contains("not vestibule's"));
    assert_eq!(desk.ok(&["check"]), "no faults\n");
    desk.ok(&["key", "rm", FINGERPRINT]);
    desk.ok(&["target", "rm", "lab"]);
    desk.ok(&["account", "rm", "alice"]);
    for what in ["account", "key", "target", "grant"] {
        assert_eq!(desk.ok(&[what, "list", "--json"]), "[]\n");
    }
}

#[test]
fn keys_are_taken_as_people_paste_them() {
    for (what, paste) in [
        ("plain", KEY.as_bytes().to_vec()),
        ("comment and end of line", format!("{KEY} me@host \t\r\n").into_bytes()),
        ("byte order mark", [b"\xef\xbb\xbf", KEY.as_bytes()].concat()),
        ("UTF-16", [0xfeff].into_iter().chain(KEY.encode_utf16()).flat_map(u16::to_le_bytes).collect()),
        ("old Mac", format!("# mine\r{KEY} me\r").into_bytes()),
        ("blanks around", format!("\n\n   {KEY} me\n\n").into_bytes()),
        ("options", format!("from=\"10.0.0.0/8\",no-pty {KEY} me\n").into_bytes()),
        ("twice the same", format!("{KEY} a\n{KEY} b\n").into_bytes()),
        (
            "PuTTY",
            format!(
                "---- BEGIN SSH2 PUBLIC KEY ----\r\nComment: \"me \\\r\nat home\"\r\n{}\r\n{}\r\n---- END SSH2 PUBLIC KEY ----\r\n",
                &KEY[12..50],
                &KEY[50..]
            )
            .into_bytes(),
        ),
    ] {
        let desk = desk_with_alice();
        let said = desk.paste(&paste);
        assert_eq!(said.code, 0, "{what}: {}", said.err);
        assert_eq!(said.out, format!("added key 1, {FINGERPRINT}, to account 'alice'\n"), "{what}");
        let shown = desk.ok(&["key", "show", "1"]);
        assert!(shown.contains(&format!("public key  {KEY}\n")), "{what}: {shown}");
        if what == "PuTTY" {
            assert!(shown.contains("comment     me at home\n"), "{shown}");
        }
        if what == "options" {
            assert!(shown.contains("options     from=\"10.0.0.0/8\",no-pty\n"), "{shown}");
        }
    }
}

#[test]
fn what_is_no_public_key_is_named() {
    let desk = desk_with_alice();
    let (first, rest) = KEY.split_at(40);
    for (paste, words) in [
        ("".to_owned(), "there is no key in it"),
        ("# only a comment\n".to_owned(), "there is no key in it"),
        ("-----BEGIN OPENSSH PRIVATE KEY-----\nSECRET\n".to_owned(), "this is a private key"),
        ("PuTTY-User-Key-File-3: ssh-ed25519\nSECRET\n".to_owned(), "this is a private key"),
        ("-----BEGIN PUBLIC KEY-----\nMIIB\n".to_owned(), "ssh-keygen -i -m PKCS8"),
        (format!("{first}\n{rest}\n"), "line 1: the key is wrapped over several lines"),
        (format!("{first}\n"), "line 1: the key is cut"),
        (format!("{KEY} a\r\nrubbish\r\n"), "line 2: "),
        ("---- BEGIN SSH2 PUBLIC KEY ----\nAAAA\n".to_owned(), "has no '---- END SSH2 PUBLIC KEY ----'"),
        (format!("cert-authority {KEY}\n"), "would keep it from ever counting"),
        (format!("from=\"10.0.0.0 {KEY}\n"), "line 1: "),
        (format!("{}\n", KEY.replace("ssh-ed25519", "ssh-rsa")), "line 1: "),
    ] {
        let said = desk.paste(paste.as_bytes());
        assert_eq!(said.code, 1, "{paste}");
        assert!(said.err.contains(words) && said.err.lines().count() == 1, "{paste}: {}", said.err);
        assert!(!said.err.contains("SECRET") && !said.err.contains("AAAAC3"), "{}", said.err);
    }
    let said = desk.paste(b"\0\0\0");
    assert!(said.err.contains("NUL"), "{}", said.err);
    desk.refused(
        &["key", "add", "--account", "alice", "/nowhere/k.pub"],
        "key file '/nowhere/k.pub': No such file",
    );
    assert_eq!(desk.ok(&["key", "list", "--json"]), "[]\n", "all or nothing");
}

#[test]
fn what_can_not_be_is_refused_in_one_line() {
    let desk = desk_with_alice();
    desk.refused(&["account", "add", "alice"], "account 'alice' exists already");
    desk.refused(&["account", "add", "a+b"], "account 'a+b': has '+'");
    desk.refused(&["account", "add", "a\x1b[2J"], "\\x1b");
    desk.refused(&["account", "add", "root", "--default-target", "lab"], "is a user of this host");
    desk.refused(&["account", "set", "alice", "--default-target", "nowhere"], "no target 'nowhere'");
    desk.refused(&["account", "show", "bob"], "no account 'bob'");
    desk.refused(&["account", "rm", "bob"], "no account 'bob'");
    desk.refused(&LAB, "the name 'lab' is target 'lab' already");
    desk.refused(&["target", "add", "root", "--driver", "tcp", "--address", "a:1"], "is a user of this host");
    desk.refused(&["target", "set", "lab", "--alias", "daemon"], "is a user of this host");
    desk.refused(&["target", "add", "x", "--driver", "docker", "--container", "c"], "want --user");
    desk.refused(&["target", "add", "x", "--driver", "docker", "--user", "u"], "wants --container");
    desk.refused(
        &["target", "add", "x", "--driver", "docker", "--container", "../c", "--user", "u"],
        "is no name",
    );
    desk.refused(
        &["target", "add", "x", "--driver", "docker", "--container", "c", "--user", "u", "--engine", "e"],
        "engine 'e'",
    );
    desk.refused(&["target", "add", "x", "--driver", "namespace", "--user", "u"], "wants one of --pid-file");
    desk.refused(
        &["target", "add", "x", "--driver", "namespace", "--pid-file", "x", "--user", "u"],
        "absolute",
    );
    desk.refused(&["target", "add", "x", "--driver", "tcp", "--address", "host"], "HOST:PORT");
    desk.refused(
        &["target", "add", "x", "--driver", "tcp", "--address", "h:1", "--pid-file", "/x"],
        "--pid-file is not with",
    );
    let ssh =
        |more: &[&'static str]| [&["target", "add", "x", "--driver", "ssh", "--user", "u"], more].concat();
    desk.refused(&ssh(&["--address", "h:22"]), "wants --host-key");
    desk.refused(&ssh(&["--host-key", "learn"]), "want what leads there");
    desk.refused(&ssh(&["--address", "h:22", "--host-key", "ssh-ed25519"]), "no public key");
    desk.refused(&ssh(&["--socket", "/run/../x", "--host-key", "learn"]), "without '..'");
    desk.refused(&ssh(&["--socket", "/x", "--address", "h:22", "--host-key", "learn"]), "want one transport");
    desk.refused(&ssh(&["--connect", "c", "--host-key", "learn"]), "vestibule.toml has none");
    desk.refused(&ssh(&["--site", "s", "--path", "/x", "--host-key", "learn"]), "vestibule.toml has none");
    desk.refused(&ssh(&["--address", "h:22", "--host-key", "learn", "--proxy-key", "../x"]), "want letters");
    desk.refused(&["target", "add", "x", "--driver", "stream", "--host-key", "learn"], "is not with");
    desk.ok(&ssh(&["--address", "h:22", "--host-key", "learn"]));
    assert!(desk.ok(&["target", "show", "x"]).contains("ssh with the key 'bastion', over TCP to h port 22"));
    desk.ok(&["target", "rm", "x"]);
    desk.refused(
        &["target", "add", "x", "--container", "c", "--user", "u"],
        "--container is not without --driver",
    );
    desk.refused(&["target", "set", "lab", "--env", "1=2"], "want NAME=VALUE");
    desk.refused(&["target", "set", "lab", "--user", "{acount}"], "{account}");
    desk.refused(&["target", "set", "lab", "--home", "rel"], "absolute");
    desk.refused(&["grant", "add", "bob", "lab"], "no account 'bob'");
    desk.refused(&["grant", "add", "alice", "nowhere"], "no target 'nowhere'");
    desk.refused(&["grant", "add", "alice", "lab", "--expires", "2001-01-01"], "over already");
    desk.refused(&["grant", "rm", "alice", "lab"], "has no grant");
    desk.refused(&["key", "revoke", "SHA256:short"], "not a fingerprint");
    desk.refused(&["key", "revoke", "99"], "no key '99'");
    desk.refused(&["key", "rm", FINGERPRINT], "no key");
    desk.refused(&["explain", "lab", "--fingerprint", "MD5:00"], "fingerprint 'MD5:00'");
    assert_eq!(desk.run(&["frobnicate"]).code, 2);
    assert_eq!(desk.run(&["key", "add"]).code, 2);
}

#[test]
fn a_target_is_changed_piece_by_piece() {
    let desk = desk_with_alice();
    desk.ok(&[
        "target",
        "set",
        "lab",
        "--alias",
        "workshop",
        "--home",
        "/srv/lab",
        "--no-pty",
        "--env",
        "A=b=c",
        "--no-own-keys",
    ]);
    let shown = desk.ok(&["target", "show", "workshop", "--json"]);
    for part in [
        "\"workshop\"",
        "\"/srv/lab\"",
        "\"pty\": false",
        "\"own_keys\": false",
        "\"A\": \"b=c\"",
        "/run/lab.pid",
    ] {
        assert!(shown.contains(part), "{part}: {shown}");
    }
    desk.ok(&[
        "target",
        "set",
        "lab",
        "--rename",
        "lab2",
        "--unalias",
        "workshop",
        "--no-home",
        "--pty",
        "--own-keys",
        "--unset-env",
        "A",
    ]);
    let shown = desk.ok(&["target", "show", "lab2", "--json"]);
    for part in ["\"aliases\": []", "\"home\": null", "\"pty\": true", "\"own_keys\": true", "/run/lab.pid"] {
        assert!(shown.contains(part), "{part}: {shown}");
    }
    desk.refused(&["target", "show", "lab"], "no target 'lab'");
    desk.ok(&["target", "set", "lab2", "--driver", "tcp", "--address", "[::1]:2222"]);
    assert!(desk.ok(&["target", "list"]).contains("TCP to ::1 port 2222"));
}

#[test]
fn lists_are_safe_for_a_terminal_and_complete_as_json() {
    let desk = desk_with_alice();
    let said = desk.paste(&[KEY.as_bytes(), b" \x1b]0;owned\x07\xff\n"].concat());
    assert_eq!(said.code, 0, "{}", said.err);
    let text = desk.ok(&["key", "list"]);
    assert!(text.contains("\\u{1b}]0;owned\\u{7}") && !text.contains('\x1b'), "{text:?}");
    let json = desk.ok(&["key", "list", "--json"]);
    assert!(json.contains("\\u001b]0;owned"), "{json}");
    assert!(desk.ok(&["account", "show", "alice", "--json"]).contains(FINGERPRINT));
}

#[test]
fn nobody_reading_the_output_is_no_fault() {
    let desk = desk_with_alice();
    let mut child = Command::new(env!("CARGO_BIN_EXE_vestibulectl"))
        .arg("--store")
        .arg(desk.path("store.db"))
        .args(["account", "list"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{output:?}");
    assert!(output.stderr.is_empty(), "{output:?}");
}

#[test]
fn a_fault_of_configuration_or_store_is_one_line_with_its_place() {
    let desk = desk_with_alice();
    desk.file("vestibule.toml", "[keys]\nmanagd = \"/x\"\n");
    desk.refused(&["account", "list"], "vestibule.toml:2:1: unknown field `managd`");
    desk.file("vestibule.toml", "[session]\ngrace_seconds = \"ten\"\n");
    desk.refused(&["account", "list"], "vestibule.toml:2:17: ");
    let checked = desk.run(&["check"]);
    assert_eq!(checked.code, 1);
    assert!(
        checked.out.starts_with("fault: configuration: ") && checked.out.ends_with("1 fault\n"),
        "{}",
        checked.out
    );
    std::fs::remove_file(desk.path("vestibule.toml")).unwrap();

    std::fs::write(desk.path("names.idx"), "rubbish").unwrap();
    assert_eq!(desk.run(&["check"]).code, 1);
    assert_eq!(desk.run(&["check", "--mend"]).code, 0);

    std::fs::write(desk.path("store.db"), "rubbish, and more than a hundred bytes of it ".repeat(9)).unwrap();
    desk.refused(&["account", "list"], "is damaged");
    assert_eq!(desk.run(&["check"]).code, 1);
    std::fs::remove_file(desk.path("store.db")).unwrap();
    desk.refused(&["account", "list"], "does not exist; run 'vestibulectl init'");
}

#[test]
fn a_target_shows_how_it_is_started() {
    let desk = desk_with_alice();
    assert!(!desk.ok(&["target", "show", "lab"]).contains("woken by"));
    desk.ok(&["target", "set", "lab", "--wake", "hub", "--ready-tcp", "8888", "--wake-within", "90"]);
    let shown = desk.ok(&["target", "show", "lab"]);
    assert!(
        shown.contains("woken by   the hub, within 90 s\nready when port 8888 takes connections\n"),
        "{shown}"
    );
    desk.ok(&["target", "set", "lab", "--no-ready"]);
    assert!(desk.ok(&["target", "show", "lab"]).contains("ready when it runs\n"));
}
