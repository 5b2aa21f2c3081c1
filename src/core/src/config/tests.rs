use std::os::unix::fs::{PermissionsExt, symlink};

use super::*;

fn main_file(dir: &Path, text: impl AsRef<[u8]>) -> PathBuf {
    let path = dir.join("vestibule.toml");
    std::fs::write(&path, text).unwrap();
    path
}

#[test]
fn nothing_at_all_is_the_defaults() {
    let dir = tempfile::tempdir().unwrap();
    let config = Config::load(&dir.path().join("vestibule.toml")).unwrap();
    assert_eq!(config, Config::default());
    assert_eq!(config.keys.own_file, ".ssh/authorized_keys");
    assert_eq!(config.engine["podman"].socket, Path::new("/run/podman/podman.sock"));
}

#[test]
fn later_files_win_key_by_key() {
    let dir = tempfile::tempdir().unwrap();
    let main = main_file(
        dir.path(),
        "target_prefix = \"project-\"\n[keys]\ndeadline_ms = 100\n[engine.docker]\nsocket = \"/a\"\n",
    );
    let drop_ins = dir.path().join("vestibule.toml.d");
    std::fs::create_dir(&drop_ins).unwrap();
    std::fs::write(drop_ins.join("20-b.toml"), "[keys]\ndeadline_ms = 300\n").unwrap();
    std::fs::write(drop_ins.join("10-a.toml"), "[keys]\ndeadline_ms = 200\nown_file = \"keys\"\n").unwrap();
    std::fs::write(drop_ins.join("30-c.toml"), "[engine.site]\nsocket = \"/b\"\n").unwrap();
    std::fs::write(drop_ins.join(".30-c.toml.swp"), "rubbish").unwrap();
    std::fs::write(drop_ins.join(".hidden.toml"), "rubbish").unwrap();
    std::fs::write(drop_ins.join("README"), "rubbish").unwrap();
    let config = Config::load(&main).unwrap();
    assert_eq!(config.target_prefix.as_deref(), Some("project-"));
    assert_eq!((config.keys.deadline_ms, config.keys.own_file.as_str()), (300, "keys"));
    let engines: Vec<_> =
        config.engine.iter().map(|(name, e)| (name.as_str(), e.socket.to_str().unwrap())).collect();
    assert_eq!(engines, [("docker", "/a"), ("podman", "/run/podman/podman.sock"), ("site", "/b")]);
}

#[test]
fn a_fault_is_shown_with_its_place() {
    let dir = tempfile::tempdir().unwrap();
    for (text, place, words) in [
        ("target_prefx = \"p-\"\n", ":1:1", "unknown field"),
        ("\n[keys]\nmanaged = 3\n", ":3:11", "invalid type"),
        ("[keys]\nmanaged = \"relative\"\n", ":2:11", "want an absolute path"),
        ("[keys]\nown_file = \"../x\"\n", ":2:12", "without '..'"),
        ("[keys]\nown_file = \"/etc/shadow\"\n", ":2:12", "below the home"),
        ("[keys]\ndeadline_ms = 0\n", ":2:15", "want 1 to 30000"),
        ("[written]\nfile = \"../x\"\n", ":2:8", "without '..'"),
        ("[written]\nhomes = [\"srv\"]\n", ":2:9", "absolute paths"),
        ("[written]\nhomes = [\"/srv\", \"/\"]\n", ":2:9", "not '/'"),
        ("[written]\nhomes = [\"/srv/../etc\"]\n", ":2:9", "without '..'"),
        ("[session]\ngrace_seconds = -1\n", ":2:17", "want 0 to 86400"),
        ("[session]\nsftp_commands = [\"a\", \" \"]\n", ":2:17", "Subsystem sftp"),
        ("[authority.x]\nkey = \"ssh-ed25519\"\n", ":2:7", "an authority's public key"),
        ("[authority.x]\naccounts = []\n", ":1:1", "missing field"),
        ("[wake.x]\nuser = \"x\"\n", ":1:1", "missing field"),
        ("[connect.x]\ncommand = [\"nc\"]\n", ":2:11", "absolute path"),
        ("[site.x]\nurl = \"https://hub.example/hub\"\n", ":2:7", "without a path"),
        ("[site.x]\nurl = \"https://me@hub.example\"\n", ":2:7", "without a path"),
        ("[site.x]\nurl = \"hub.example\"\n", ":2:7", "want https://HOST"),
        ("[session]\nwake_seconds = 0\n", ":2:16", "want 1 to 3600"),
        ("[wake.x]\ncommand = \"/bin/true\"\n", ":2:11", "invalid type"),
        ("[wake.x]\ncommand = [\"true\"]\n", ":2:11", "absolute path"),
        ("[wake.x]\ncommand = []\n", ":2:11", "absolute path"),
        ("[wake.x]\ncommand = [\"/bin/true\"]\nuser = \"\"\n", ":3:8", "want a user's name"),
        ("target_prefix = \"a+\"\n", ":1:17", "a prefix of target names that has '+'"),
        ("[engine.docker]\nsocket = \"/a\"\nhost = 1\n", ":3:1", "unknown field"),
        ("[may_enter]\nworkspaces = []\n", ":2:14", "a list of workspaces that is not empty"),
        ("[engine.docker]\n", ":1:1", "missing field"),
        ("[keys\n", ":1:6", ""),
        ("keys = 1\nkeys = 2\n", ":2:1", "duplicate key"),
    ] {
        let said = Config::load(&main_file(dir.path(), text)).unwrap_err().to_string();
        assert!(
            said.contains(&format!("vestibule.toml{place}: ")) && said.contains(words),
            "{text:?}: {said}"
        );
        assert_eq!(said.lines().count(), 1, "{said}");
    }
}

#[test]
fn what_can_not_be_read_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let main = main_file(dir.path(), [0xff]);
    let why = |path: &Path| {
        let error = Config::load(path).unwrap_err();
        format!("{error}: {}", std::error::Error::source(&error).unwrap())
    };
    assert!(why(&main).contains("not UTF-8"));
    std::fs::write(&main, "#".repeat(1 << 21)).unwrap();
    assert!(why(&main).contains("larger than 1 MiB"));
    assert!(why(dir.path()).contains("not a regular file"));
    let fifo = dir.path().join("fifo.toml");
    nix::unistd::mkfifo(&fifo, nix::sys::stat::Mode::S_IRUSR).unwrap();
    assert!(why(&fifo).contains("not a regular file"));
    let dangling = dir.path().join("x.toml");
    symlink("x.toml", &dangling).unwrap();
    assert!(why(&dangling).contains("x.toml"));
}

#[test]
fn who_works_for_others_reads_only_what_root_wrote() {
    assert!(nix::unistd::geteuid().is_root(), "this test needs root: it gives files away");
    let dir = tempfile::tempdir().unwrap();
    std::fs::set_permissions(dir.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
    let main = main_file(dir.path(), "");
    let said = || Config::load_trusted(&main).map_err(|error| error.to_string());
    std::fs::set_permissions(&main, std::fs::Permissions::from_mode(0o644)).unwrap();
    assert_eq!(said(), Ok(Config::default()));
    std::fs::set_permissions(&main, std::fs::Permissions::from_mode(0o664)).unwrap();
    assert!(said().unwrap_err().contains("chmod go-w"));
    std::fs::set_permissions(&main, std::fs::Permissions::from_mode(0o644)).unwrap();
    std::os::unix::fs::chown(&main, Some(12_345), None).unwrap();
    assert!(said().unwrap_err().contains("owner is not root"));
    assert!(Config::load(&main).is_ok(), "for an administrator's look");
    std::os::unix::fs::chown(&main, Some(0), None).unwrap();
    let drop_ins = dir.path().join("vestibule.toml.d");
    std::fs::create_dir(&drop_ins).unwrap();
    std::fs::set_permissions(&drop_ins, std::fs::Permissions::from_mode(0o777)).unwrap();
    assert!(said().unwrap_err().contains("vestibule.toml.d"));
}
