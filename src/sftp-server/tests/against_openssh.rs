//! The same requests to this server and to OpenSSH's (package openssh-sftp-server): the answers are the same.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "what helps the tests is a test too")]

mod client;

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use client::{
    APPEND, Answer, Attributes, Body, CREATE, Client, EXCLUSIVE, OPENSSH, OURS, READ, TRUNCATE, WRITE, body,
    place,
};

/// Runs a script with each server in a directory of its own that `prepare` filled, and compares what it says was answered.
fn same(
    args: &[&str],
    prepare: impl Fn(&Path),
    script: impl Fn(&mut Client, &Path) -> Vec<(String, Answer)>,
) {
    let [ours, theirs] = [OURS, OPENSSH].map(|program| {
        let place = place();
        prepare(place.path());
        let mut client = Client::open(program, args, place.path());
        let answers = script(&mut client, place.path());
        let hidden = place.path().to_str().unwrap().to_owned();
        answers.into_iter().map(|(what, answer)| (what, comparable(answer, &hidden))).collect::<Vec<_>>()
    });
    assert!(!ours.is_empty());
    for (ours, theirs) in ours.iter().zip(&theirs) {
        assert_eq!(ours, theirs);
    }
    assert_eq!(ours.len(), theirs.len());
}

/// Without the name of the directory and the times of now.
fn comparable(answer: Answer, place: &str) -> String {
    let now = u32::try_from(std::time::UNIX_EPOCH.elapsed().unwrap().as_secs()).unwrap();
    let timeless = |mut attributes: Attributes| {
        let recent = |t: u32| if now.abs_diff(t) < 600 { 0 } else { t };
        attributes.times = attributes.times.map(|(a, m)| (recent(a), recent(m)));
        // Directories on some file systems differ in size by their history.
        if attributes.mode.is_some_and(|m| m & 0o170_000 == 0o040_000) {
            attributes.size = attributes.size.map(|_| 0);
        }
        attributes
    };
    let answer = match answer {
        Answer::Attributes(attributes) => Answer::Attributes(timeless(attributes)),
        Answer::Names(mut names) => {
            for (_, _, attributes) in &mut names {
                *attributes = timeless(*attributes);
            }
            Answer::Names(names)
        }
        other => other,
    };
    match answer {
        Answer::Names(names) => names
            .iter()
            .map(|(name, long, attributes)| {
                format!("{} | {} | {attributes:?}\n", name.escape_ascii(), long.escape_ascii())
            })
            .collect::<String>()
            .replace(place, "PLACE"),
        other => format!("{other:?}").replace(place, "PLACE"),
    }
}

fn two(first: impl AsRef<[u8]>, second: impl AsRef<[u8]>) -> Body {
    body().string(first).string(second)
}

#[test]
fn versions_and_extensions_are_the_same() {
    for args in [&[][..], &["-R"], &["-P", "statvfs,stat,copy-data"], &["-p", "open,fsync,limits"]] {
        let [ours, theirs] = [OURS, OPENSSH].map(|program| {
            let place = place();
            let mut client = Client::start(program, args, place.path());
            [client.hello(3), client.hello(6), client.hello(2)]
        });
        assert_eq!(ours, theirs, "{args:?}");
    }
}

#[test]
fn lists_of_requests_are_the_same() {
    let [ours, theirs] = [OURS, OPENSSH]
        .map(|program| std::process::Command::new(program).args(["-Q", "requests"]).output().unwrap().stdout);
    assert_eq!(String::from_utf8_lossy(&ours), String::from_utf8_lossy(&theirs));
}

#[test]
fn files_are_opened_read_and_written_the_same() {
    let prepare = |place: &Path| {
        fs::write(place.join("there"), "0123456789").unwrap();
        fs::create_dir(place.join("dir")).unwrap();
        std::os::unix::fs::symlink("nowhere", place.join("dangling")).unwrap();
    };
    same(&["-u", "027"], prepare, |client, _| {
        let mut all = Vec::new();
        for path in ["there", "new", "dir", "dangling", "no/such", "there/x", "", "dir/../there"] {
            for flags in [0, READ, WRITE, READ | WRITE, WRITE | CREATE | EXCLUSIVE, WRITE | APPEND, 0xff00] {
                for flags in [flags, flags | CREATE, flags | TRUNCATE] {
                    let what = format!("{path} {flags:#x}");
                    let answer = client.open_file(path, flags);
                    all.push((what.clone(), answer.clone()));
                    let Answer::Handle(handle) = answer else { continue };
                    all.push((format!("{what} write"), client.write(&handle, 3, b"abc")));
                    all.push((format!("{what} read"), client.read(&handle, 1, 100)));
                    all.push((format!("{what} read nothing"), client.read(&handle, 1, 0)));
                    all.push((format!("{what} past end"), client.read(&handle, 1 << 40, 100)));
                    all.push((format!("{what} fstat"), client.ask(8, &body().string(&handle))));
                    all.push((format!("{what} close"), client.close(&handle)));
                }
            }
        }
        for name in ["there", "new", "nowhere"] {
            all.push((name.to_owned(), client.ask(17, &body().string(name))));
        }
        all
    });
}

#[test]
fn modes_and_umasks_are_the_same() {
    same(
        &["-u", "007"],
        |_| (),
        |client, _| {
            let mut all = Vec::new();
            for mode in [0, 0o600, 0o644, 0o777, 0o6777, 0o1777, 0o100_644, 0xffff_ffff] {
                let attributes = Attributes { mode: Some(mode), ..Attributes::default() };
                let (file, dir) = (format!("f{mode:o}"), format!("d{mode:o}"));
                let open = body().string(&file).u32(WRITE | CREATE).attributes(attributes);
                all.push((file.clone(), client.ask(3, &open)));
                all.push((dir.clone(), client.ask(14, &body().string(&dir).attributes(attributes))));
                all.push((file.clone(), client.ask(17, &body().string(&file))));
                all.push((dir.clone(), client.ask(17, &body().string(&dir))));
                all.push((file.clone(), client.ask(9, &body().string(&file).attributes(attributes))));
                all.push((file.clone(), client.ask(17, &body().string(&file))));
            }
            let plain = body().string("plain").u32(0);
            all.push(("plain".to_owned(), client.ask(14, &plain)));
            all.push(("again".to_owned(), client.ask(14, &plain)));
            all.push(("plain".to_owned(), client.ask(17, &body().string("plain"))));
            all
        },
    );
}

#[test]
fn attributes_are_set_the_same() {
    let prepare = |place: &Path| {
        fs::write(place.join("file"), "0123456789").unwrap();
        fs::create_dir(place.join("dir")).unwrap();
        std::os::unix::fs::symlink("file", place.join("link")).unwrap();
        std::os::unix::fs::symlink("nowhere", place.join("dangling")).unwrap();
    };
    same(&[], prepare, |client, _| {
        let none = Attributes::default();
        let sets = [
            none,
            Attributes { size: Some(4), ..none },
            Attributes { size: Some(1 << 30), ..none },
            Attributes { size: Some(u64::MAX), mode: Some(0o640), ..none },
            Attributes { mode: Some(0o4711), times: Some((1, 0xffff_ffff)), ..none },
            Attributes { owner: Some((12, 34)), ..none },
            Attributes { owner: Some((u32::MAX, 56)), times: Some((1_000_000_000, 2_000_000_000)), ..none },
        ];
        let mut all = Vec::new();
        let handle = client.open_file("file", WRITE).handle();
        let read_only = client.open_file("file", READ).handle();
        for set in sets {
            for name in ["file", "dir", "link", "dangling", "none", "file/x"] {
                let what = format!("{name} {set:?}");
                let request = body().string(name).attributes(set);
                all.push((format!("lsetstat {what}"), client.extended("lsetstat@openssh.com", &request)));
                all.push((format!("lstat {what}"), client.ask(7, &body().string(name))));
                all.push((format!("setstat {what}"), client.ask(9, &request)));
                all.push((format!("stat {what}"), client.ask(17, &body().string(name))));
            }
            for handle in [&handle[..], &read_only, b"none", &[0, 0, 0, 9]] {
                let what = format!("{handle:?} {set:?}");
                let request = body().string(handle).attributes(set);
                all.push((format!("fsetstat {what}"), client.ask(10, &request)));
                all.push((format!("fstat {what}"), client.ask(8, &body().string(handle))));
            }
        }
        all
    });
}

#[test]
fn names_are_changed_the_same() {
    let prepare = |place: &Path| {
        for name in ["a", "b", "c"] {
            fs::write(place.join(name), name).unwrap();
        }
        fs::create_dir_all(place.join("dir/inner")).unwrap();
        fs::create_dir(place.join("empty")).unwrap();
        std::os::unix::fs::symlink("a", place.join("link")).unwrap();
        std::os::unix::fs::symlink("loop", place.join("loop")).unwrap();
    };
    same(&[], prepare, |client, place| {
        let mut all = Vec::new();
        let long = "x".repeat(300);
        let pairs = [
            ("a", "b"),
            ("a", "a"),
            ("a", "dir"),
            ("dir", "a"),
            ("dir", "empty"),
            ("dir", "dir/inner/deeper"),
            ("none", "new"),
            ("a", "none/new"),
            ("a", "b/new"),
            ("link", "b"),
            ("a", "loop/x"),
            ("a", &long),
            ("", "new"),
            ("a", ""),
        ];
        for (old, new) in pairs {
            all.push((format!("rename {old} {new}"), client.ask(18, &two(old, new))));
            all.push((
                format!("hardlink {old} {new}"),
                client.extended("hardlink@openssh.com", &two(old, new)),
            ));
            all.push((format!("symlink {old} {new}"), client.ask(20, &two(old, new))));
        }
        for (old, new) in [("c", "moved"), ("link", "moved link"), ("empty", "moved empty")] {
            all.push((format!("rename {old} {new}"), client.ask(18, &two(old, new))));
        }
        for (old, new) in pairs {
            let answer = client.extended("posix-rename@openssh.com", &two(old, new));
            all.push((format!("posix-rename {old} {new}"), answer));
        }
        all.push(("hardlink".to_owned(), client.extended("hardlink@openssh.com", &two("b", "hard"))));
        all.push(("symlink".to_owned(), client.ask(20, &two("../says this", "stands here"))));
        for name in ["stands here", "b", "none", "loop", "moved link", "stands here/x"] {
            all.push((format!("readlink {name}"), client.ask(19, &body().string(name))));
        }
        for name in ["b", "dir", "empty", "dir/inner", "none", "stands here", "moved empty", "hard/"] {
            all.push((format!("remove {name}"), client.ask(13, &body().string(name))));
            all.push((format!("rmdir {name}"), client.ask(15, &body().string(name))));
        }
        let mut names: Vec<_> =
            fs::read_dir(place).unwrap().map(|e| e.unwrap().file_name().into_encoded_bytes()).collect();
        names.sort();
        all.push(("what is left".to_owned(), Answer::Data(names.join(&b' '))));
        all
    });
}

#[test]
fn paths_resolve_the_same() {
    let prepare = |place: &Path| {
        fs::create_dir_all(place.join("a/b")).unwrap();
        fs::write(place.join("a/file"), "").unwrap();
        std::os::unix::fs::symlink("a/b", place.join("link")).unwrap();
        std::os::unix::fs::symlink("/usr/../etc", place.join("absolute")).unwrap();
        std::os::unix::fs::symlink("loop", place.join("loop")).unwrap();
        std::os::unix::fs::symlink("nowhere", place.join("dangling")).unwrap();
        std::os::unix::fs::symlink("link/./../b//", place.join("twisted")).unwrap();
    };
    same(&[], prepare, |client, _| {
        let mut all = Vec::new();
        let (long, deep) = ("x".repeat(5000), "a/../".repeat(600));
        for path in [
            "",
            ".",
            "..",
            "/",
            "//",
            "/..",
            "a",
            "a/",
            "a/b/..",
            "a/./b",
            "link",
            "link/..",
            "link/new",
            "new",
            "new/",
            "new/x",
            "new/..",
            "a/file",
            "a/file/",
            "a/file/x",
            "a/file/..",
            "loop",
            "loop/x",
            "dangling",
            "dangling/x",
            "absolute",
            "absolute/passwd",
            "twisted",
            "twisted/../new",
            "~",
            "~/",
            "~/a",
            "~/link",
            "~root",
            "~root/",
            "~root/x",
            "~nobody-of-this-name",
            "~nobody-of-this-name/x",
            "~~",
            "/proc/self/exe/x",
            &long,
            &deep,
        ] {
            all.push((format!("realpath {path}"), client.ask(16, &body().string(path))));
            all.push((
                format!("expand {path}"),
                client.extended("expand-path@openssh.com", &body().string(path)),
            ));
            all.push((format!("stat {path}"), client.ask(17, &body().string(path))));
            all.push((format!("lstat {path}"), client.ask(7, &body().string(path))));
            all.push((format!("opendir {path}"), client.ask(11, &body().string(path))));
        }
        // The name of this very program differs.
        all.retain(|(what, _)| !what.contains("/proc/self"));
        all
    });
}

#[test]
fn directories_are_listed_the_same() {
    let prepare = |place: &Path| {
        for (name, mode, seconds) in [
            (&b"plain"[..], 0o644, 1_000_000_000),
            (b"-dash", 0o4755, 1_700_000_000),
            (b"not \xff utf-8\n", 0o1000, 86_400),
            (b"tab\there", 0o2070, 4_000_000_000),
            (&[b'x'; 255], 0o777, 1_750_000_000),
        ] {
            let path = place.join(OsStr::from_bytes(name));
            fs::write(&path, name).unwrap();
            let file = fs::File::options().write(true).open(&path).unwrap();
            let time = std::time::UNIX_EPOCH + std::time::Duration::from_secs(seconds);
            file.set_times(fs::FileTimes::new().set_accessed(time).set_modified(time)).unwrap();
            let mode = std::os::unix::fs::PermissionsExt::from_mode(mode);
            fs::set_permissions(&path, mode).unwrap();
        }
        for number in 0..500 {
            fs::hard_link(place.join("plain"), place.join(format!("link {number}"))).unwrap();
        }
        fs::create_dir(place.join("dir")).unwrap();
        fs::create_dir(place.join("empty")).unwrap();
        std::os::unix::fs::symlink("plain", place.join("symbolic")).unwrap();
        std::os::unix::fs::chown(place.join("-dash"), Some(1), Some(54_321)).unwrap();
        std::os::unix::fs::chown(place.join("tab\there"), Some(4_000_000_000), Some(0)).unwrap();
        nix::unistd::mkfifo(&place.join("pipe"), nix::sys::stat::Mode::S_IRUSR).unwrap();
    };
    same(&[], prepare, |client, _| {
        let mut all = Vec::new();
        for path in [".", "dir", "dir/..", "/dev", "/proc/self/fdinfo"] {
            let mut names = client.list(path);
            // Entries of now differ in minutes and descriptors, directories in their times.
            names.retain(|(name, long, _)| {
                path == "/dev" && long[0] == b'c' && name != b"ptmx" && name != b"tty"
                    || path != "/dev" && long[0] != b'd' && !path.starts_with("/proc")
            });
            names.sort_by(|one, other| one.0.cmp(&other.0));
            for name in names {
                let what = format!("{path} {}", name.0.escape_ascii());
                let mut entry = name;
                if entry.0.starts_with(b"symbolic") || entry.0 == b"pipe" || path == "/dev" {
                    // Made just now: the minute may have changed since.
                    entry.1.truncate(40);
                    entry.2.times = None;
                }
                all.push((what, Answer::Names(vec![entry])));
            }
        }
        for path in ["plain", "none", "plain/x", "symbolic"] {
            all.push((path.to_owned(), client.ask(11, &body().string(path))));
        }
        let file = client.open_file("plain", READ).handle();
        all.push(("readdir of a file".to_owned(), client.ask(12, &body().string(&file))));
        let dir = client.ask(11, &body().string("dir")).handle();
        all.push(("read of a directory".to_owned(), client.read(&dir, 0, 10)));
        all.push(("fstat of a directory".to_owned(), client.ask(8, &body().string(&dir))));
        all.push((
            "fsync of a directory".to_owned(),
            client.extended("fsync@openssh.com", &body().string(&dir)),
        ));
        all
    });
}

#[test]
fn bad_handles_are_refused_the_same() {
    same(
        &[],
        |_| (),
        |client, _| {
            let mut all = Vec::new();
            for handle in [&b""[..], b"1", b"\0\0\0\0", b"\xff\xff\xff\xff", b"\x7f\xff\xff\xff", &[0; 256]] {
                let alone = body().string(handle);
                all.push(("close".to_owned(), client.close(handle)));
                all.push(("read".to_owned(), client.read(handle, 0, 1)));
                all.push(("write".to_owned(), client.write(handle, 0, b"x")));
                all.push(("fstat".to_owned(), client.ask(8, &alone)));
                all.push(("readdir".to_owned(), client.ask(12, &alone)));
                all.push(("fsync".to_owned(), client.extended("fsync@openssh.com", &alone)));
                all.push(("fstatvfs".to_owned(), client.extended("fstatvfs@openssh.com", &alone)));
                let copy = body().string(handle).u64(0).u64(0).string(handle).u64(0);
                all.push(("copy-data".to_owned(), client.extended("copy-data", &copy)));
            }
            all
        },
    );
}

#[test]
fn extensions_answer_the_same() {
    let prepare = |place: &Path| fs::write(place.join("file"), "0123456789").unwrap();
    same(&[], prepare, |client, _| {
        let mut all = vec![];
        for (name, request) in [
            ("limits@openssh.com", body()),
            ("home-directory", body().string("root")),
            ("home-directory", body().string("nobody-of-this-name")),
            ("no-such-extension", body()),
            ("posix-rename", two("a", "b")),
            ("statvfs@openssh.com", body().string("none")),
            (
                "users-groups-by-id@openssh.com",
                two([0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0xff, 0xf0], [0, 0, 0, 4, 0, 0, 0, 0]),
            ),
            ("users-groups-by-id@openssh.com", two("", "")),
        ] {
            all.push((name.to_owned(), client.extended(name, &request)));
        }
        let (from, to) =
            (client.open_file("file", READ).handle(), client.open_file("to", WRITE | CREATE).handle());
        for (from_offset, length, to_offset) in
            [(0, 0, 0), (2, 3, 20), (10, 0, 0), (0, 10, 5), (1 << 63, 0, 0), (0, 1, 1 << 63)]
        {
            let copy = body().string(&from).u64(from_offset).u64(length).string(&to).u64(to_offset);
            let what = format!("copy-data {from_offset} {length} {to_offset}");
            all.push((what.clone(), client.extended("copy-data", &copy)));
            let reader = client.open_file("to", READ).handle();
            all.push((what, client.read(&reader, 0, 100)));
            client.close(&reader);
        }
        all.push(("fsync".to_owned(), client.extended("fsync@openssh.com", &body().string(&to))));
        all
    });
}

#[test]
fn file_systems_are_told_the_same() {
    let [ours, theirs] = [OURS, OPENSSH].map(|program| {
        let mut client = Client::open(program, &[], Path::new("/"));
        let null = client.open_file("/proc/version", READ).handle();
        [
            client.extended("statvfs@openssh.com", &body().string("/proc")),
            client.extended("statvfs@openssh.com", &body().string("/sys")),
            client.extended("fstatvfs@openssh.com", &body().string(&null)),
        ]
    });
    assert!(matches!(&ours[0], Answer::Extended(numbers) if numbers.len() == 88));
    assert_eq!(ours, theirs);
}

#[test]
fn restricted_servers_refuse_the_same() {
    let prepare = |place: &Path| {
        fs::write(place.join("file"), "0123456789").unwrap();
        fs::create_dir(place.join("dir")).unwrap();
    };
    for args in
        [&["-R"][..], &["-P", "open,mkdir,statvfs"], &["-p", "open,close,read"], &["-R", "-p", "open,remove"]]
    {
        same(args, prepare, |client, _| {
            let mut all = Vec::new();
            for flags in [READ, WRITE, READ | CREATE, READ | TRUNCATE, APPEND] {
                all.push((format!("open {flags}"), client.open_file("file", flags)));
            }
            for kind in 4..=20 {
                let request = body().string("file").string("new").u64(0).u64(0);
                all.push((format!("type {kind}"), client.ask(kind, &request)));
            }
            for name in ["posix-rename@openssh.com", "statvfs@openssh.com", "hardlink@openssh.com"] {
                let request = two("none", "new");
                let answer = match client.extended(name, &request) {
                    Answer::Extended(_) => Answer::Extended(vec![]), // free space changes
                    other => other,
                };
                all.push((name.to_owned(), answer));
            }
            let copy = body().string("file").u64(0).u64(0).string("new").u64(0);
            all.push(("copy-data".to_owned(), client.extended("copy-data", &copy)));
            all
        });
    }
}
