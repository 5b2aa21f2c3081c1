//! OpenSSH's own client, and paramiko, with this server behind a socket instead of behind sshd.

#![allow(clippy::unwrap_used, reason = "what helps the tests is a test too")]

mod client;

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::Path;
use std::process::{Command, Output, Stdio};

use client::{OURS, place};

/// Runs lines of sftp(1) in a directory that has `local` and `remote`.
fn sftp(place: &Path, batch: &str) -> Output {
    fs::write(place.join("batch"), format!("lcd local\ncd remote\n{batch}")).unwrap();
    let mut command = Command::new("sftp");
    command.args(["-q", "-b", "batch", "-D", OURS]).current_dir(place).stdin(Stdio::null());
    command.output().unwrap()
}

fn works(place: &Path, batch: &str) -> String {
    let output = sftp(place, batch);
    let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
    assert!(output.status.success(), "{batch}: {}", text(&output.stderr));
    text(&output.stdout)
}

fn fails(place: &Path, batch: &str, expected: &str) {
    let output = sftp(place, batch);
    let errors = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success() && errors.contains(expected), "{batch}: {errors}");
}

fn sides(place: &Path) -> [std::path::PathBuf; 2] {
    ["local", "remote"].map(|side| {
        fs::create_dir(place.join(side)).unwrap();
        place.join(side)
    })
}

/// Whether two trees are the same, with modes and, if asked, times.
fn assert_same(one: &Path, other: &Path, times: bool) {
    let listed = |root: &Path| {
        let format = if times { "%P %y %m %T@ %s %l\\n" } else { "%P %y %m %s %l\\n" };
        let mut find = Command::new("find");
        find.arg(root).args(["-mindepth", "1", "-type", "f", "-printf", format]);
        let mut lines: Vec<String> =
            String::from_utf8_lossy(&find.output().unwrap().stdout).lines().map(str::to_owned).collect();
        lines.sort();
        lines
    };
    assert!(!listed(one).is_empty());
    assert_eq!(listed(one), listed(other));
    let diff = Command::new("diff").arg("-r").args([one, other]).status().unwrap();
    assert!(diff.success());
}

#[test]
fn trees_go_there_and_back() {
    let place = place();
    let [local, remote] = sides(place.path());
    fs::create_dir_all(local.join("tree/deep/er")).unwrap();
    fs::create_dir(local.join("tree/empty")).unwrap();
    for (name, size, mode) in [
        ("tree/none", 0, 0o600),
        ("tree/some", 40_000, 0o644),
        ("tree/deep/big", 5_000_001, 0o755),
        ("tree/deep/er/with space", 261_120, 0o440),
    ] {
        let data: Vec<u8> = (0..size).map(|i: u32| i.wrapping_mul(2_654_435_761).to_be_bytes()[0]).collect();
        fs::write(local.join(name), data).unwrap();
        let file = fs::File::open(local.join(name)).unwrap();
        let time = std::time::UNIX_EPOCH + std::time::Duration::from_secs(1_234_567_890);
        file.set_times(fs::FileTimes::new().set_accessed(time).set_modified(time)).unwrap();
        fs::set_permissions(local.join(name), fs::Permissions::from_mode(mode)).unwrap();
    }
    works(place.path(), "put -R -p tree\nget -R -p tree back\nget -R tree plain");
    assert_same(&local.join("tree"), &remote.join("tree"), true);
    assert_same(&local.join("tree"), &local.join("back"), true);
    assert!(local.join("plain/deep/er/with space").exists());
}

#[test]
fn broken_transfers_go_on() {
    let place = place();
    let [local, remote] = sides(place.path());
    let data: Vec<u8> = (0..3_000_000_u32).map(|i| i.to_be_bytes()[2]).collect();
    fs::write(local.join("up"), &data).unwrap();
    fs::write(remote.join("up"), &data[..1_234_567]).unwrap();
    fs::write(remote.join("down"), &data).unwrap();
    fs::write(local.join("down"), &data[..7]).unwrap();
    works(place.path(), "reput up\nreget down\nput -f up synced");
    for path in [remote.join("up"), local.join("down"), remote.join("synced")] {
        assert!(fs::read(&path).unwrap() == data, "{}", path.display());
    }
}

#[test]
fn every_command_of_sftp_works() {
    let place = place();
    let [_, remote] = sides(place.path());
    fs::write(remote.join("file"), "text").unwrap();
    fs::write(remote.join("other"), "other").unwrap();
    symlink("nowhere", remote.join("dangling")).unwrap();
    let said = works(
        place.path(),
        "pwd\nmkdir dir\nrename file dir/renamed\nln dir/renamed hard\nln -s dir/renamed soft\nchmod 640 hard\n\
         rename other hard\ncp hard copy\nchown 12 copy\nchgrp 34 copy\nchmod 4711 copy\nls -la\nls -1 dir\ndf\ndf -i dir\n\
         rm dangling\nmkdir gone\nrmdir gone\ncd dir\npwd",
    );
    assert!(said.contains("/remote\n") && said.contains("/remote/dir\n"), "{said}");
    assert!(said.contains("%Capacity"), "{said}");
    assert!(said.contains("-rws--x--x"), "{said}");
    assert_eq!(fs::read_to_string(remote.join("hard")).unwrap(), "other", "rename overwrites in sftp(1)");
    assert_eq!(fs::read_to_string(remote.join("copy")).unwrap(), "other");
    assert_eq!(fs::read_link(remote.join("soft")).unwrap(), Path::new("dir/renamed"));
    assert_eq!(fs::metadata(remote.join("dir/renamed")).unwrap().mode() & 0o777, 0o640);
    let copy = fs::metadata(remote.join("copy")).unwrap();
    assert_eq!((copy.uid(), copy.gid(), copy.mode() & 0o7777), (12, 34, 0o4711));
    assert!(!remote.join("gone").exists() && !remote.join("dangling").is_symlink());
}

#[test]
fn failures_have_the_words_people_know() {
    let place = place();
    let [_, remote] = sides(place.path());
    fs::create_dir(remote.join("full")).unwrap();
    fs::write(remote.join("full/file"), "").unwrap();
    fails(place.path(), "get none", "not found");
    fails(place.path(), "rm none", "No such file or directory");
    fails(place.path(), "rmdir full", "Failure");
    fails(place.path(), "mkdir full", "Failure");
    fails(place.path(), "rename full /proc/x", "Failure");
    fails(place.path(), "put none", "No such file");
}

#[test]
fn paramiko_works() {
    let place = place();
    let script = r#"
import os, socket, stat, subprocess, sys
import paramiko
class Channel(socket.socket):
    def get_name(self): return 'channel'
ours, theirs = socket.socketpair()
server = subprocess.Popen([sys.argv[1]], stdin=theirs, stdout=theirs)
theirs.close()
ours = Channel(fileno=ours.detach())
sftp = paramiko.SFTPClient(ours)
data = os.urandom(3_000_000)
with sftp.open('file', 'wb') as f:
    f.set_pipelined(True)
    f.write(data)
assert sftp.stat('file').st_size == len(data)
with sftp.open('file', 'rb') as f:
    f.prefetch()
    assert f.read() == data
with sftp.open('file', 'ab') as f:
    f.write(b'tail')
with sftp.open('file', 'rb') as f:
    f.seek(-4, 2)
    assert f.read() == b'tail'
    assert f.readv([(0, 10), (2_000_000, 50_000)]).__next__() == data[:10]
sftp.mkdir('dir', 0o700)
assert stat.S_IMODE(sftp.stat('dir').st_mode) == 0o700
sftp.rename('file', 'dir/moved')
sftp.symlink('moved', 'dir/link')
assert sftp.readlink('dir/link') == 'moved'
assert sorted(sftp.listdir('dir')) == ['link', 'moved']
assert [a.filename for a in sftp.listdir_iter('dir') if a.st_size == len(data) + 4] == ['moved']
assert sftp.normalize('dir/..') == os.getcwd()
sftp.truncate('dir/moved', 5)
sftp.utime('dir/moved', (1, 2))
sftp.chmod('dir/moved', 0o640)
assert sftp.lstat('dir/moved').st_mtime == 2
for call, error in [(lambda: sftp.stat('none'), FileNotFoundError), (lambda: sftp.rmdir('dir'), IOError)]:
    try: call()
    except error: pass
    else: raise SystemExit('no error')
sftp.posix_rename('dir/link', 'dir/moved')
sftp.remove('dir/moved')
sftp.rmdir('dir')
assert sftp.listdir('.') == []
sftp.close()
ours.close()
assert server.wait(10) == 0
"#;
    // Debian's paramiko is Debian's Python's.
    let output = Command::new("/usr/bin/python3")
        .args(["-c", script, OURS])
        .current_dir(place.path())
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}
