//! The program as sshd runs it, on a real store and real files.

#![allow(clippy::unwrap_used, reason = "clippy's leave for tests does not reach their helpers")]

use std::ffi::OsString;
use std::fs;
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use vestibule::names::login::{AccountName, TargetName};
use vestibule::public_key::PublicKey;
use vestibule::store::{ChangeError, NewKey, NewTarget, Owner, Writer};
use vestibule::target::{Driver, Leader, LoginUser, Policy};

/// A key of ssh-keygen, and its fingerprint as ssh-keygen says it.
const ALICE: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIF3sq8zyqC3Xd5+F2SZRpIJtzFn2V4gMEHrUwHhEDdXa";
const ALICE_FP: &str = "SHA256:iSAa7lwpaL70TtW7Ecxlzrh6D/2szgBUfbSKWNMjalU";
/// A fingerprint that nobody has.
const NOBODY: &str = "SHA256:47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU";

/// A bastion's files in a directory: `alice` owns a key and may enter `lab`, whose home and managed files are there.
struct Bastion {
    dir: tempfile::TempDir,
}

impl Bastion {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let bastion = Bastion { dir };
        fs::create_dir_all(bastion.path("home/.ssh")).unwrap();
        fs::create_dir_all(bastion.path("managed")).unwrap();
        let managed = bastion.path("managed");
        fs::write(bastion.path("v.toml"), format!("[keys]\nmanaged = \"{}\"\n", managed.display())).unwrap();
        let (mut writer, _) =
            Writer::init(&bastion.path("store.db"), &bastion.path("names.idx"), None).unwrap();
        writer
            .change(|changes| -> Result<(), ChangeError> {
                let alice = changes.add_account(&AccountName::try_from("alice").unwrap(), "test")?;
                let lab =
                    changes.add_target(&bastion.target("lab", LoginUser::Fixed("root".into())), "test")?;
                let each = changes.add_target(&bastion.target("each", LoginUser::Account), "test")?;
                changes.grant(alice, lab, None, "test")?;
                changes.grant(alice, each, None, "test")?;
                changes.set_default("alice", Some(lab))?;
                let key: PublicKey = ALICE.parse().unwrap();
                changes.add_key(
                    &NewKey {
                        fingerprint: key.fingerprint(),
                        key_type: key.key_type().to_owned(),
                        blob: key.blob().to_vec(),
                        options: Vec::new(),
                        comment: b"\xffalice's laptop\n".to_vec(),
                        owner: Owner::Account(alice),
                        expires: None,
                    },
                    "test",
                )?;
                Ok(())
            })
            .unwrap();
        bastion
    }

    fn target(&self, name: &str, login_user: LoginUser) -> NewTarget {
        NewTarget {
            name: TargetName::try_from(name).unwrap(),
            aliases: Vec::new(),
            driver: Driver::Namespace { leader: Leader::PidFile("/run/lab.pid".into()) },
            login_user,
            home: Some(self.path("home").to_str().unwrap().to_owned()),
            policy: Policy::default(),
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn own_file(&self) -> PathBuf {
        self.path("home/.ssh/authorized_keys")
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_keys-lookup"));
        command.arg("--config").arg(self.path("v.toml")).arg("--store").arg(self.path("store.db")).args(args);
        command.env_clear().current_dir("/");
        command
    }

    fn run(&self, args: &[&str]) -> Output {
        self.command(args).output().unwrap()
    }

    /// What sshd would read. The program must have ended well.
    fn ask(&self, login: &str, fingerprint: &str) -> String {
        let out = self.run(&[login, fingerprint]);
        assert!(out.status.success(), "{login}: {:?}", out.status);
        assert!(out.stderr.is_empty(), "{login}: {}", out.stderr.escape_ascii());
        String::from_utf8(out.stdout).unwrap()
    }

    fn forget_alice(&self) {
        let mut writer = Writer::open(&self.path("store.db"), &self.path("names.idx"), None).unwrap();
        writer.change(|changes| changes.remove_account("alice")).unwrap();
    }
}

#[test]
fn an_account_gets_its_line() {
    let bastion = Bastion::new();
    let line = format!("restrict,pty {ALICE}\n");
    for login in ["alice", "alice+lab", "alice@lab", "lab", "LAB"] {
        let want = if login == "LAB" { "" } else { line.as_str() };
        assert_eq!(bastion.ask(login, ALICE_FP), want, "{login}");
        assert_eq!(bastion.ask(login, NOBODY), "", "{login}");
    }
}

#[test]
fn names_and_fingerprints_of_any_bytes_get_nothing() {
    let bastion = Bastion::new();
    let long = "x".repeat(100_000);
    let bytes = |b: &[u8]| OsString::from_vec(b.to_vec());
    for login in [
        bytes(b""),
        bytes(b"\xff\xfe"),
        bytes(b"a\nb"),
        bytes(b"-x"),
        bytes(b"../lab"),
        bytes(b"lab:"),
        long.clone().into(),
    ] {
        let out = bastion.command(&[]).arg(&login).arg(ALICE_FP).output().unwrap();
        assert!(out.status.success() && out.stdout.is_empty() && out.stderr.is_empty(), "{login:?}");
    }
    for fingerprint in
        [bytes(b""), bytes(b"\xff"), bytes(b"MD5:00:11"), bytes(b"SHA256:"), bytes(b"SHA256:\n"), long.into()]
    {
        let out = bastion.command(&["lab"]).arg(&fingerprint).output().unwrap();
        assert!(out.status.success() && out.stdout.is_empty() && out.stderr.is_empty(), "{fingerprint:?}");
    }
}

#[test]
fn files_are_read_and_narrowed() {
    let bastion = Bastion::new();
    bastion.forget_alice();
    assert_eq!(bastion.ask("lab", ALICE_FP), "");
    fs::write(bastion.own_file(), format!("port-forwarding,command=\"x\" {ALICE} me\n")).unwrap();
    assert_eq!(bastion.ask("lab", ALICE_FP), format!("restrict,pty {ALICE}\n"));
    fs::write(bastion.path("managed/lab"), format!("from=\"10.*\",no-pty {ALICE}\n")).unwrap();
    assert_eq!(
        bastion.ask("lab", ALICE_FP),
        format!("restrict,from=\"10.*\" {ALICE}\nrestrict,pty {ALICE}\n"),
        "the managed file first, then, for it has a condition, the own file"
    );
    assert_eq!(bastion.ask("each", ALICE_FP), "", "nobody to be");
}

#[test]
fn a_hostile_own_file_gets_nobody_in_and_leaks_nothing() {
    type Setup = Box<dyn Fn(&Bastion)>;
    let link = |to: &'static str| -> Setup { Box::new(move |b| symlink(to, b.own_file()).unwrap()) };
    let content = |bytes: Vec<u8>| -> Setup { Box::new(move |b| fs::write(b.own_file(), &bytes).unwrap()) };
    let big = [format!("{ALICE}\n").into_bytes(), vec![b'#'; 64 * 1024]].concat();
    let setups: Vec<(&str, Setup)> = vec![
        ("shadow", link("/etc/shadow")),
        ("mem", link("/proc/self/mem")),
        (
            "outside",
            Box::new(|b| {
                fs::write(b.path("elsewhere"), ALICE).unwrap();
                symlink("../../elsewhere", b.own_file()).unwrap();
            }),
        ),
        ("zero", link("/dev/zero")),
        ("itself", link("authorized_keys")),
        ("directory", Box::new(|b| fs::create_dir(b.own_file()).unwrap())),
        ("fifo", Box::new(|b| nix::unistd::mkfifo(&b.own_file(), nix::sys::stat::Mode::S_IRWXU).unwrap())),
        (
            "world-writable",
            Box::new(|b| {
                fs::write(b.own_file(), ALICE).unwrap();
                fs::set_permissions(b.own_file(), fs::Permissions::from_mode(0o666)).unwrap();
            }),
        ),
        ("too big", content(big)),
        ("nul before the key", content(format!("no-pty\0 {ALICE}\n").into_bytes())),
        ("open quote", content(format!("command=\"secret words {ALICE}\n").into_bytes())),
        ("unknown option", content(format!("secret-words {ALICE}\n").into_bytes())),
        ("bytes", content((0..=255).collect())),
    ];
    for (name, setup) in setups {
        let bastion = Bastion::new();
        bastion.forget_alice();
        setup(&bastion);
        let start = Instant::now();
        let out = bastion.run(&["--debug", "lab", ALICE_FP]);
        assert!(start.elapsed() < Duration::from_secs(10), "{name}");
        let said = String::from_utf8_lossy(&out.stderr);
        assert!(out.status.success() && out.stdout.is_empty(), "{name}: {said}");
        assert!(!said.contains("secret") && !said.contains("root:"), "{name}: {said}");
        assert!(said.contains("own:"), "{name}: {said}");
    }
}

#[test]
fn a_home_full_of_links_does_not_hide_a_good_line() {
    let bastion = Bastion::new();
    bastion.forget_alice();
    let long = "x".repeat(60_000);
    fs::write(bastion.own_file(), format!("\0\n\r\n{long}\nfoo {ALICE}\r\n{ALICE} me\0you\r\n")).unwrap();
    assert_eq!(bastion.ask("lab", ALICE_FP), format!("restrict,pty {ALICE}\n"));
}

#[test]
fn a_store_that_cannot_be_read_lets_nobody_in() {
    for (name, damage) in
        [("missing", None), ("empty", Some(Vec::new())), ("no sqlite", Some(b"not a store".repeat(1000)))]
    {
        let bastion = Bastion::new();
        fs::write(bastion.own_file(), ALICE).unwrap();
        for file in ["store.db", "store.db-wal", "store.db-shm"] {
            let _ = fs::remove_file(bastion.path(file));
        }
        if let Some(bytes) = damage {
            fs::write(bastion.path("store.db"), bytes).unwrap();
        }
        assert_eq!(bastion.ask("lab", ALICE_FP), "", "{name}");
        let out = bastion.run(&["--decide", "lab", ALICE_FP]);
        let said = String::from_utf8(out.stdout).unwrap();
        assert!(
            out.status.success() && said.starts_with("{\"version\":1,\"granted\":false,\"reason\":\"store\""),
            "{said}"
        );
    }
}

#[test]
fn names_that_are_not_ours_go_to_the_other_command() {
    let bastion = Bastion::new();
    let ask = |login: &str, fingerprint: &str| {
        let out = bastion.run(&[
            login,
            fingerprint,
            "--fallback",
            "/bin/sh",
            "-c",
            "echo other \"$0\"; exit 3",
            login,
        ]);
        (String::from_utf8(out.stdout).unwrap(), out.status.code())
    };
    assert_eq!(ask("root", ALICE_FP), ("other root\n".into(), Some(3)));
    assert_eq!(ask("root", "no fingerprint"), ("other root\n".into(), Some(3)));
    assert_eq!(ask("no:name", ALICE_FP), ("other no:name\n".into(), Some(3)));
    assert_eq!(ask("lab", NOBODY), (String::new(), Some(0)), "ours, and denied");
    assert_eq!(ask("lab", "no fingerprint"), (String::new(), Some(0)));
    fs::remove_file(bastion.path("store.db")).unwrap();
    assert_eq!(ask("lab", ALICE_FP), (String::new(), Some(0)), "ours by the index");
    assert_eq!(
        ask("root", ALICE_FP),
        ("other root\n".into(), Some(3)),
        "an administrator can mend the store"
    );
    fs::remove_file(bastion.path("names.idx")).unwrap();
    assert_eq!(ask("root", ALICE_FP), ("other root\n".into(), Some(3)));
    let out = bastion.run(&["root", ALICE_FP, "--fallback", "/nonexistent"]);
    assert!(out.status.success() && out.stdout.is_empty());
}

#[test]
fn a_session_gets_its_decision() {
    let bastion = Bastion::new();
    let decide = |args: &[&str]| {
        let out = bastion.run(&[&["--decide"], args].concat());
        assert!(out.status.success());
        String::from_utf8(out.stdout).unwrap()
    };
    assert_eq!(
        decide(&["each", ALICE_FP]),
        "{\"version\":1,\"granted\":true,\"target_id\":2,\"target\":\"each\",\"account\":\"alice\",\"source\":\"account\",\
         \"proof\":\"SHA256:iSAa7lwpaL70TtW7Ecxlzrh6D/2szgBUfbSKWNMjalU\",\
         \"pty\":true,\"agent\":false,\"driver\":{\"driver\":\"namespace\",\"leader\":{\"pid_file\":\"/run/lab.pid\"}},\"user\":\"alice\"}\n"
    );
    let denied = decide(&["each", NOBODY]);
    assert!(denied.contains("\"granted\":false,\"reason\":\"account-needed\""), "{denied}");
    assert!(decide(&["root", ALICE_FP]).contains("\"reason\":\"not-ours\""));
    assert!(decide(&["lab", "x"]).contains("\"reason\":\"fingerprint\""));
    bastion.forget_alice();
    fs::write(bastion.own_file(), format!("from=\"192.0.2.0/24\",command=\"a \\\"b\\\"\",no-pty {ALICE}\n"))
        .unwrap();
    let granted = decide(&["--client", "192.0.2.7", "lab", ALICE_FP]);
    assert!(
        granted.contains("\"source\":\"own\",") && granted.contains("\"command\":\"YSAiYiI=\",\"pty\":false"),
        "{granted}"
    );
    assert!(decide(&["lab", ALICE_FP]).contains("\"reason\":\"from\""));
    assert!(decide(&["--client", "192.0.3.7", "lab", ALICE_FP]).contains("\"reason\":\"from\""));
    assert!(decide(&["--client", "UNKNOWN", "lab", ALICE_FP]).contains("\"reason\":\"from\""));
    fs::write(bastion.own_file(), ALICE).unwrap();
    assert!(
        decide(&["--client", "UNKNOWN", "lab", ALICE_FP]).contains("\"granted\":true"),
        "no condition, no matter"
    );
}

#[test]
fn a_reader_that_has_gone_is_no_fault() {
    let bastion = Bastion::new();
    let mut child =
        bastion.command(&["lab", ALICE_FP]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    drop(child.stdout.take());
    let out = child.wait_with_output().unwrap();
    assert!(out.status.success() && out.stderr.is_empty(), "{out:?}");
}

#[test]
fn a_wrong_command_line_is_said_and_nothing_is_printed() {
    let out = Command::new(env!("CARGO_BIN_EXE_keys-lookup")).arg("lab").output().unwrap();
    assert_eq!((out.status.code(), out.stdout.len()), (Some(2), 0));
    assert!(out.stderr.starts_with(b"keys-lookup: wants a login name and a fingerprint"));
    for option in ["--help", "--version"] {
        let out = Command::new(env!("CARGO_BIN_EXE_keys-lookup")).arg(option).output().unwrap();
        assert!(
            out.status.success()
                && out.stdout.starts_with(if option == "--help" { b"usage: " } else { b"keys-lo" })
        );
    }
}

#[test]
fn the_environment_says_nothing() {
    let bastion = Bastion::new();
    bastion.forget_alice();
    let soon =
        Command::new("date").args(["-d", "+1 hour", "+%Y%m%d%H%M%S"]).env_remove("TZ").output().unwrap();
    let soon = String::from_utf8(soon.stdout).unwrap();
    let line = format!("expiry-time=\"{}\" {ALICE}\n", soon.trim());
    fs::write(bastion.own_file(), &line).unwrap();
    let want = format!("restrict,pty,{line}");
    for (name, value) in [
        ("", ""),
        ("HOME", "/nonexistent"),
        ("TMPDIR", "/nonexistent"),
        ("RUST_LOG", "trace"),
        ("TZ", "EAST-9"),
    ] {
        let mut command = bastion.command(&["lab", ALICE_FP]);
        if !name.is_empty() {
            command.env(name, value);
        }
        let out = command.output().unwrap();
        assert_eq!(String::from_utf8(out.stdout).unwrap(), want, "{name}");
        assert!(out.stderr.is_empty(), "{name}");
    }
}
