//! What a client may do to a server, and what is not compared with OpenSSH's because this one does better.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "what helps the tests is a test too"
)]

mod client;

use std::ffi::OsStr;
use std::fs;
use std::io::{Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::process::ExitStatusExt;
use std::sync::mpsc;
use std::time::Duration;

use client::{APPEND, Answer, Attributes, CREATE, Client, OURS, READ, TRUNCATE, WRITE, body, place};

/// As much of a packet as any client takes (draft-ietf-secsh-filexfer-02, section 3).
const EVERY_CLIENT_TAKES: usize = 34_000;

#[test]
fn what_came_before_the_end_is_answered_and_half_a_packet_is_not() {
    let place = place();
    let mut client = Client::open(OURS, &[], place.path());
    for _ in 0..3 {
        client.send(17, &body().string("."));
    }
    client.send_raw(&[0, 0, 0, 20, 17, 0, 0]);
    let (rest, errors, status) = client.finish();
    assert_eq!((rest.len(), errors.as_str(), status.code()), (3 * 41, "", Some(0)));
}

#[test]
fn an_answer_does_not_wait_for_the_rest_of_the_next_request() {
    let place = place();
    let mut client = Client::open(OURS, &[], place.path());
    client.send(17, &body().string("."));
    client.send_raw(&[0, 0, 0, 20, 17, 0, 0]);
    let (tell, told) = mpsc::channel();
    std::thread::scope(|scope| {
        let output = &mut client.output;
        scope.spawn(move || tell.send(output.read_exact(&mut [0; 41]).is_ok()));
        let answered = told.recv_timeout(Duration::from_secs(20));
        drop(client.input.take()); // ends the thread, whatever was answered
        assert_eq!(answered, Ok(true));
    });
}

#[test]
fn a_client_that_does_not_speak_the_protocol_is_told_so_and_left() {
    let init = &[0, 0, 0, 5, 1, 0, 0, 0, 3][..];
    let stat = &[0, 0, 0, 10, 17, 0, 0, 0, 1, 0, 0, 0, 1, b'.'][..];
    for (what, bytes, answered, expected) in [
        ("early", stat.to_vec(), 0, "before the version"),
        ("length 0", [init, stat, &[0; 4]].concat(), 1, "a packet of 0 bytes"),
        ("too long", [init, stat, &[0, 4, 0, 1]].concat(), 1, "a packet of 262145 bytes"),
        ("cut", [init, stat, &[0, 0, 0, 9, 17, 0, 0, 0, 1, 0, 0, 0, 1]].concat(), 1, "within a field"),
        ("no id", [init, &[0, 0, 0, 2, 17, 0]].concat(), 0, "within a field"),
        ("a shell", b"echo hello\n".to_vec(), 0, "a packet of 1701013615 bytes"),
    ] {
        let place = place();
        let mut client = Client::start(OURS, &[], place.path());
        client.send_raw(&bytes);
        let (rest, errors, status) = client.finish();
        assert!(errors.contains(expected) && errors.lines().count() == 1, "{what}: {errors}");
        assert_eq!(status.code(), Some(255), "{what}");
        let attributes = rest.windows(9).filter(|w| w[..5] == [0, 0, 0, 37, 105]).count();
        assert_eq!(attributes, answered, "{what}");
    }
}

#[test]
fn a_client_that_stops_reading_and_goes_away_ends_the_session_quietly() {
    let place = place();
    fs::write(place.path().join("file"), vec![7; 1 << 20]).unwrap();
    let mut client = Client::open(OURS, &[], place.path());
    let handle = client.open_file("file", READ).handle();
    for _ in 0..64 {
        client.send(5, &body().string(&handle).u64(0).u32(200_000));
    }
    let pid = client.pid();
    let null = fs::File::open("/dev/null").unwrap();
    // Its end of the pipe is closed with answers in it and more to come.
    client.output = std::process::Command::new("true")
        .stdin(null)
        .stdout(std::process::Stdio::piped())
        .spawn()
        .and_then(|mut child| {
            child.wait()?;
            Ok(child.stdout.take().unwrap())
        })
        .unwrap();
    let (_, errors, status) = client.finish();
    assert_eq!((errors.as_str(), status.code()), ("", Some(0)), "pid {pid}");
}

#[test]
fn unknown_requests_and_impossible_names_are_answered() {
    let place = place();
    fs::write(place.path().join("a"), "").unwrap();
    let mut client = Client::open(OURS, &[], place.path());
    for kind in [0, 2, 21, 99, 101, 201, 255] {
        assert_eq!(client.ask(kind, &body().u32(7)).code(), 8, "type {kind}");
    }
    let bad = body().string("a\0b");
    for kind in [7, 11, 13, 15, 16, 17, 19] {
        assert_eq!(client.ask(kind, &bad).code(), 5, "type {kind}");
    }
    assert_eq!(client.open_file("a\0b", CREATE | WRITE).code(), 5);
    assert_eq!(client.ask(18, &body().string("a").string("b\0c")).code(), 5);
    assert_eq!(client.ask(20, &body().string("b\0c").string("a")).code(), 5);
    assert_eq!(client.extended("expand-path@openssh.com", &body().string("~a\0b")).code(), 2);
    assert_eq!(client.extended("home-directory", &body().string("\0")).code(), 4);
    // One NUL at the end is taken for what a client in C left there.
    assert_eq!(client.open_file("c\0", CREATE | WRITE).handle(), [0; 4]);
    assert!(place.path().join("c").exists());
}

#[test]
fn names_are_bytes() {
    let place = place();
    let mut client = Client::open(OURS, &[], place.path());
    let all: Vec<u8> = (1..=255).filter(|b| *b != b'/').collect();
    let names = [&all[..250], b"\xff\xfe", b"\n", b" ", b"-rf", b"$(id)"];
    for name in names {
        let handle = client.open_file(name, CREATE | WRITE).handle();
        assert_eq!(client.close(&handle).code(), 0);
        assert!(place.path().join(OsStr::from_bytes(name)).exists(), "{}", name.escape_ascii());
        let resolved = client.ask(16, &body().string(name)).name();
        assert!(resolved.ends_with(&[b"/", name].concat()), "{}", resolved.escape_ascii());
    }
    let listed: Vec<Vec<u8>> = client.list(".").into_iter().map(|(name, ..)| name).collect();
    assert_eq!(listed.len(), names.len() + 2);
    assert!(names.iter().all(|name| listed.iter().any(|l| l == name)));
    assert_eq!(client.ask(20, &body().string(b"\xff/\xfe").string("link")).code(), 0);
    assert_eq!(client.ask(19, &body().string("link")).name(), b"\xff/\xfe");
}

#[test]
fn ten_thousand_files_are_open_at_once() {
    let place = place();
    fs::write(place.path().join("file"), "text").unwrap();
    let mut client = Client::open(OURS, &[], place.path());
    let handles: Vec<_> = (0..10_000_u32)
        .map(|number| {
            let handle = client.open_file("file", READ).handle();
            assert_eq!(handle, number.to_be_bytes());
            handle
        })
        .collect();
    for handle in &handles {
        assert_eq!(client.read(handle, 0, 10), Answer::Data(b"text".to_vec()));
    }
    for handle in &handles {
        assert_eq!(client.close(handle).code(), 0);
    }
    assert_eq!(client.close(&handles[0]).code(), 2);
    assert_eq!(client.open_file("file", READ).handle(), handles[9_999]);
}

#[test]
fn too_many_files_are_a_failure_and_not_the_end() {
    let place = place();
    fs::write(place.path().join("file"), "text").unwrap();
    let script = format!("ulimit -n 40; exec {OURS}");
    let mut client = Client::start("/bin/sh", &["-c", &script], place.path());
    client.hello(3);
    let Answer::Extended(limits) = client.extended("limits@openssh.com", &body()) else { panic!() };
    assert_eq!(limits[24..], 35_u64.to_be_bytes());
    let mut handles = Vec::new();
    let refused = loop {
        match client.open_file("file", READ) {
            Answer::Handle(handle) => handles.push(handle),
            refused => break refused,
        }
    };
    // Whoever runs the tests may have left descriptors open.
    assert!((25..=37).contains(&handles.len()), "{}", handles.len());
    assert_eq!(refused.code(), 4);
    assert_eq!(client.ask(11, &body().string(".")).code(), 4);
    assert_eq!(client.close(&handles[7]).code(), 0);
    assert_eq!(client.open_file("file", READ).handle(), handles[7]);
}

#[test]
fn a_directory_of_any_size_comes_in_pieces_that_any_client_takes() {
    let place = place();
    for number in 0..6_000 {
        // Many short names, and some that are as long as they can be.
        let name = if number % 20 == 0 { format!("{number:0>255}") } else { format!("{number}") };
        fs::write(place.path().join(name), "").unwrap();
    }
    let mut client = Client::open(OURS, &[], place.path());
    let handle = client.ask(11, &body().string(".")).handle();
    let (mut names, mut answers) = (std::collections::BTreeSet::new(), 0);
    loop {
        client.send(12, &body().string(&handle));
        let mut length = [0; 4];
        client.output.read_exact(&mut length).unwrap();
        let length = usize::try_from(u32::from_be_bytes(length)).unwrap();
        assert!(length < EVERY_CLIENT_TAKES, "an answer of {length} bytes");
        let mut packet = vec![0; length];
        client.output.read_exact(&mut packet).unwrap();
        let (_, answer) = client::take_apart(&packet);
        match answer {
            Answer::Names(some) => names.extend(some.into_iter().map(|(name, ..)| name)),
            end => {
                assert_eq!(end.code(), 1);
                break;
            }
        }
        answers += 1;
    }
    assert_eq!(names.len(), 6_002);
    assert!(answers < 120, "{answers} answers");
}

#[test]
fn a_directory_that_is_removed_while_listed_comes_to_an_end() {
    let place = place();
    let inner = place.path().join("inner");
    fs::create_dir(&inner).unwrap();
    for number in 0..1_000 {
        fs::write(inner.join(number.to_string()), "").unwrap();
    }
    let mut client = Client::open(OURS, &[], place.path());
    let handle = client.ask(11, &body().string("inner")).handle();
    assert!(matches!(client.ask(12, &body().string(&handle)), Answer::Names(_)));
    fs::remove_dir_all(&inner).unwrap();
    let mut answers = 0;
    while let Answer::Names(_) = client.ask(12, &body().string(&handle)) {
        answers += 1;
        assert!(answers < 100);
    }
    assert_eq!(client.close(&handle).code(), 0);
}

#[test]
fn files_may_have_holes_and_ends() {
    let place = place();
    let mut client = Client::open(OURS, &[], place.path());
    let handle = client.open_file("sparse", READ | WRITE | CREATE | TRUNCATE).handle();
    let far = 1 << 40;
    assert_eq!(client.write(&handle, far, b"end").code(), 0);
    assert_eq!(client.ask(8, &body().string(&handle)).attributes().size, Some(far + 3));
    assert_eq!(client.read(&handle, far - 2, 10), Answer::Data(b"\0\0end".to_vec()));
    assert_eq!(client.read(&handle, far + 3, 10).code(), 1);
    for offset in [1 << 63, u64::MAX] {
        assert_eq!(client.read(&handle, offset, 10).code(), 5);
        assert_eq!(client.write(&handle, offset, b"x").code(), 5);
    }
    let appender = client.open_file("log", WRITE | APPEND | CREATE).handle();
    for (offset, data) in [(0, b"one "), (0, b"two "), (1 << 50, b"3rd "), (u64::MAX, b"4th ")] {
        assert_eq!(client.write(&appender, offset, data).code(), 0);
    }
    assert_eq!(fs::read(place.path().join("log")).unwrap(), b"one two 3rd 4th ");
    let full = client.open_file("/dev/full", WRITE).handle();
    assert_eq!(client.write(&full, 0, b"x").code(), 4);
}

#[test]
fn the_largest_packets_go_both_ways_and_requests_may_run_ahead() {
    let place = place();
    let mut client = Client::open(OURS, &[], place.path());
    let handle = client.open_file("file", READ | WRITE | CREATE).handle();
    // 1 type, 4 id, 8 handle, 8 offset, 4 length: the packet has all of its 262144 bytes.
    let data: Vec<u8> = (0..262_144 - 25).map(|i| u8::try_from(i % 251).unwrap()).collect();
    assert_eq!(client.write(&handle, 5, &data).code(), 0);
    let Answer::Data(back) = client.read(&handle, 5, u32::MAX) else { panic!("no data") };
    assert_eq!((back.len(), &back[..]), (261_120, &data[..261_120]));
    let mut input = client.input.take().unwrap();
    let count = 20_000_u32;
    std::thread::scope(|scope| {
        scope.spawn(move || {
            for id in 0..count {
                let request = [&[0, 0, 0, 25, 5][..], &id.to_be_bytes(), &[0, 0, 0, 4], &handle];
                let request = [&request.concat()[..], &5_u64.to_be_bytes(), &(id % 1_000).to_be_bytes()];
                input.write_all(&request.concat()).unwrap();
            }
        });
        for id in 0..count {
            let (answered, answer) = client.receive().unwrap();
            let length = usize::try_from(id % 1_000).unwrap();
            assert_eq!((answered, answer), (id, Answer::Data(data[..length].to_vec())));
        }
    });
}

#[test]
fn streams_that_do_not_block_are_waited_for() {
    let place = place();
    fs::write(place.path().join("file"), vec![7; 200_000]).unwrap();
    let (mut ours, theirs) = std::os::unix::net::UnixStream::pair().unwrap();
    theirs.set_nonblocking(true).unwrap();
    let mut server = std::process::Command::new(OURS)
        .current_dir(place.path())
        .stdin(std::os::fd::OwnedFd::from(theirs.try_clone().unwrap()))
        .stdout(std::os::fd::OwnedFd::from(theirs))
        .spawn()
        .unwrap();
    let open = body().string("file").u32(READ).u32(0).0;
    let read = body().string([0; 4]).u64(0).u32(200_000).0;
    ours.write_all(&[0, 0, 0, 5, 1, 0, 0, 0, 3]).unwrap();
    for (kind, request) in std::iter::once((3, open)).chain(std::iter::repeat_n((5, read), 50)) {
        let length = u32::try_from(request.len() + 5).unwrap().to_be_bytes();
        ours.write_all(&[&length[..], &[kind, 0, 0, 0, 1], &request].concat()).unwrap();
        std::thread::sleep(Duration::from_millis(2));
    }
    ours.shutdown(std::net::Shutdown::Write).unwrap();
    let mut answers = Vec::new();
    ours.read_to_end(&mut answers).unwrap();
    assert!(server.wait().unwrap().success());
    assert!(answers.len() > 50 * 200_000 && answers.ends_with(&[7; 200_000]));
}

#[test]
fn data_is_copied_within_the_server() {
    let place = place();
    let data: Vec<u8> = (0..3_000_000_u32).flat_map(u32::to_be_bytes).collect();
    fs::write(place.path().join("from"), &data).unwrap();
    fs::hard_link(place.path().join("from"), place.path().join("same")).unwrap();
    let mut client = Client::open(OURS, &[], place.path());
    let from = client.open_file("from", READ).handle();
    let to = client.open_file("to", WRITE | CREATE).handle();
    let log = client.open_file("log", WRITE | CREATE | APPEND).handle();
    let same = client.open_file("same", WRITE).handle();
    let mut copy = |from_offset, length, to: &[u8], to_offset| {
        let request = body().string(&from).u64(from_offset).u64(length).string(to).u64(to_offset);
        client.extended("copy-data", &request).code()
    };
    assert_eq!(copy(0, 0, &to, 0), 0);
    assert_eq!(copy(100, 200_000, &log, 7), 0);
    assert_eq!(copy(0, 10, &log, 0), 0);
    assert_eq!(copy(12_000_000 - 70_000, 80_000, &to, 0), 1, "the end came early");
    assert_eq!(copy(0, 0, &same, 12_000_000), 4, "into itself");
    let to = fs::read(place.path().join("to")).unwrap();
    assert_eq!(to[..70_000], data[12_000_000 - 70_000..]);
    assert_eq!(to[70_000..], data[70_000..]);
    let log = fs::read(place.path().join("log")).unwrap();
    assert_eq!(log, [&data[100..200_100], &data[..10]].concat());
}

#[test]
fn a_home_is_that_of_the_name_and_of_no_name_ones_own() {
    let place = place();
    let mut client = Client::open(OURS, &[], place.path());
    let mut home = |user: &str| client.extended("home-directory", &body().string(user));
    assert_eq!(home("daemon").name(), b"/usr/sbin");
    assert_eq!(home("root").name(), b"/root");
    assert_eq!(home(""), home("root"));
}

#[test]
fn a_rename_overwrites_nothing_not_even_a_link_to_nowhere() {
    let place = place();
    fs::create_dir(place.path().join("dir")).unwrap();
    std::os::unix::fs::symlink("nowhere", place.path().join("dangling")).unwrap();
    let mut client = Client::open(OURS, &[], place.path());
    assert_eq!(client.ask(18, &body().string("dir").string("dangling")).code(), 4);
    assert!(place.path().join("dangling").is_symlink());
    assert_eq!(client.ask(18, &body().string("dangling").string("moved")).code(), 0);
}

#[test]
fn the_log_is_on_request_and_shows_no_raw_names() {
    let place = place();
    let talk = |args: &[&str]| {
        let mut client = Client::open(OURS, args, place.path());
        let mode = Attributes { mode: Some(0o600), ..Attributes::default() };
        let request = body().string("evil\x1b[2J\n").u32(CREATE | WRITE).attributes(mode);
        let handle = client.ask(3, &request).handle();
        client.write(&handle, 0, b"secret");
        client.close(&handle);
        client.ask(17, &body().string("none"));
        client.open_file("left open", CREATE | WRITE);
        client.finish().1
    };
    assert_eq!(talk(&[]), "");
    assert_eq!(talk(&["-l", "DEBUG3"]), "");
    assert_eq!(talk(&["-e"]), "");
    let info = talk(&["-e", "-l", "INFO"]);
    let lines: Vec<&str> = info.lines().map(|l| l.split_once(": ").unwrap().1).collect();
    assert!(lines[0].ends_with(r#"open "evil\x1b[2J\n" flags 0xa mode 0600"#), "{info}");
    assert_eq!(lines[1], r#"close "evil\x1b[2J\n" read 0 written 6"#);
    assert!(lines[2].ends_with("answered \"No such file\""), "{info}");
    assert!(lines[3].contains("left open") && lines[4] == "still open: \"left open\"", "{info}");
    let debug = talk(&["-e", "-l", "DEBUG"]);
    assert!(debug.contains("write 0 offset 0 length 6") && debug.contains("stat \"none\""), "{debug}");
    assert!(!debug.contains("secret"), "{debug}");
}

#[test]
fn the_start_directory_and_wrong_command_lines() {
    let place = place();
    fs::create_dir(place.path().join("root")).unwrap();
    let start = format!("{}/%u", place.path().display());
    let mut client = Client::open(OURS, &["-d", &start], std::path::Path::new("/"));
    assert!(client.ask(16, &body().string("")).name().ends_with(b"/root"));
    // As OpenSSH's: the session begins where it would have without.
    let mut client = Client::open(OURS, &["-d", "/none"], place.path());
    assert!(matches!(client.ask(17, &body().string("root")), Answer::Attributes(_)));
    for args in [&["-z"][..], &["-P", "everything"], &["-u", "9"], &["-d", "%x"]] {
        let (out, errors, status) = Client::start(OURS, args, place.path()).finish();
        assert_eq!((out.len(), status.code()), (0, Some(1)), "{args:?}");
        assert!(errors.starts_with("sftp-server: "), "{args:?}: {errors}");
    }
    let (out, _, status) = Client::start(OURS, &["--help"], place.path()).finish();
    assert!(out.starts_with(b"usage: ") && status.success());
}

/// Packets that are made of what requests are made of, in any order: the server answers or ends, and never by a fault of
/// its own.
#[test]
fn no_sequence_of_packets_is_a_fault() {
    let mut seed = 0x2545_f491_4f6c_dd1d_u64;
    let mut random = |below: u64| {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        seed % below
    };
    let strings: [&[u8]; 14] = [
        b"",
        b"a",
        b"b",
        b"dir",
        b"dir/a",
        b"link",
        b"\0\0\0\0",
        b"\0\0\0\x01",
        b"\0\0\0\x02",
        b"\xff\xff\xff\xff",
        b"copy-data",
        b"lsetstat@openssh.com",
        b"users-groups-by-id@openssh.com",
        b"expand-path@openssh.com",
    ];
    let (mut whole, mut broken) = (0, 0);
    for _ in 0..60 {
        let place = place();
        let mut client = Client::open(OURS, &[], place.path());
        let mut stream = Vec::new();
        for _ in 0..200 {
            let kind = [u8::try_from(random(23)).unwrap(), 200][usize::from(random(4) == 0)];
            let mut packet = vec![kind.max(2), 0, 0, 0, 1];
            for _ in 0..6 + random(5) {
                match random(4) {
                    0 => packet.extend(u32::try_from(random(64)).unwrap().to_be_bytes()),
                    1 => packet.extend(random(1 << 20).to_be_bytes()),
                    _ => {
                        let string = strings[usize::try_from(random(strings.len() as u64)).unwrap()];
                        packet.extend(u32::try_from(string.len()).unwrap().to_be_bytes());
                        packet.extend(string);
                    }
                }
            }
            stream.extend(u32::try_from(packet.len()).unwrap().to_be_bytes());
            stream.extend(packet);
        }
        let mut input = client.input.take().unwrap();
        let writer = std::thread::spawn(move || drop(input.write_all(&stream)));
        let (_, errors, status) = client.finish();
        writer.join().unwrap();
        assert_eq!(status.signal(), None);
        assert!(!errors.contains("panic"), "{errors}");
        match status.code() {
            Some(0) => whole += 1,
            Some(255) => broken += 1,
            other => panic!("{other:?}: {errors}"),
        }
    }
    assert!(whole + broken == 60 && broken > 0, "{whole} {broken}");
}
