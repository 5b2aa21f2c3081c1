//! Prints them all, and holds them to their shape and to their place in route-session(8).

use nix::errno::Errno;

use super::*;

fn target() -> String {
    "lab".to_owned()
}

fn why(errno: Errno) -> Why {
    Why::Kernel(errno)
}

fn refusals() -> Vec<Refusal> {
    let all = vec![
        Refusal::Setup,
        Refusal::Denied,
        Refusal::AccountNeeded,
        Refusal::NotAllowed { target: target() },
        Refusal::WorkspaceClosed { target: target() },
        Refusal::NotRunning { target: target() },
        Refusal::NotStarted { target: target(), start_at: "https://hub.example.org/lab".to_owned() },
        Refusal::Gone { target: target() },
        Refusal::Paused { target: target() },
        Refusal::NotAnswering { target: target() },
        Refusal::TooSlow { seconds: 20 },
        Refusal::Full,
        Refusal::CannotConfine { what: "seccomp filter".to_owned() },
        Refusal::NoSuchUser { user: "bob".to_owned() },
        Refusal::NoShell { shell: "/bin/zsh".to_owned(), why: why(Errno::ENOENT) },
        Refusal::NoSftpServer { why: why(Errno::EPERM) },
        Refusal::Store,
        Refusal::Unreachable { target: target(), why: why(Errno::ECONNREFUSED) },
        Refusal::NoWay {
            target: target(),
            why: "the site 'hub' answers 404: there is no such server, or it does not run".to_owned(),
        },
        Refusal::NoTerminal,
        Refusal::TerminalRefused,
        Refusal::SftpRefused,
        Refusal::OnlyBytes,
        Refusal::NotText,
        Refusal::Stopped { target: target() },
        Refusal::Lost { target: target() },
        Refusal::WayLost { target: target(), why: "the site 'hub' hung up in the middle".to_owned() },
        Refusal::NotWoken { target: target(), step: WakeStep::Start, seconds: 0, words: None },
        Refusal::NotWoken { target: target(), step: WakeStep::Running, seconds: 7, words: None },
        Refusal::NotWoken { target: target(), step: WakeStep::Probe, seconds: 300, words: None },
        Refusal::NotWoken {
            target: target(),
            step: WakeStep::Start,
            seconds: 3,
            words: Some("the hub says 'no room'".to_owned()),
        },
        Refusal::Revoked { target: target(), loss: Loss::Taken },
        Refusal::Revoked { target: target(), loss: Loss::Ended },
        Refusal::Revoked { target: target(), loss: Loss::Ordered },
        Refusal::NotKnown { target: target() },
        Refusal::NothingKnown { target: target() },
        Refusal::KeyRefused { target: target(), user: "alice".to_owned() },
    ];
    let mut kinds: Vec<usize> = all.iter().map(number).collect();
    kinds.sort_unstable();
    kinds.dedup();
    assert_eq!(kinds, (0..=31).collect::<Vec<_>>(), "one of each");
    all
}

/// A new variant does not compile until it is here, and then not without its example above.
fn number(refusal: &Refusal) -> usize {
    match refusal {
        Refusal::Setup => 0,
        Refusal::Denied => 1,
        Refusal::AccountNeeded => 2,
        Refusal::Store => 3,
        Refusal::NotRunning { .. } => 4,
        Refusal::Gone { .. } => 5,
        Refusal::Paused { .. } => 6,
        Refusal::NotAnswering { .. } => 7,
        Refusal::TooSlow { .. } => 8,
        Refusal::CannotConfine { .. } => 9,
        Refusal::NoSuchUser { .. } => 10,
        Refusal::NoShell { .. } => 11,
        Refusal::NoSftpServer { .. } => 12,
        Refusal::SftpRefused => 13,
        Refusal::NoTerminal => 14,
        Refusal::TerminalRefused => 15,
        Refusal::Full => 16,
        Refusal::Unreachable { .. } => 17,
        Refusal::OnlyBytes => 18,
        Refusal::NotText => 19,
        Refusal::Stopped { .. } => 20,
        Refusal::NotWoken { step: WakeStep::Start | WakeStep::Running | WakeStep::Probe, .. } => 21,
        Refusal::Revoked { loss: Loss::Taken | Loss::Ended | Loss::Ordered, .. } => 22,
        Refusal::NotStarted { .. } => 24,
        Refusal::WorkspaceClosed { .. } => 25,
        Refusal::NotAllowed { .. } => 23,
        Refusal::Lost { .. } => 26,
        Refusal::NotKnown { .. } => 27,
        Refusal::NothingKnown { .. } => 28,
        Refusal::KeyRefused { .. } => 29,
        Refusal::NoWay { .. } => 30,
        Refusal::WayLost { .. } => 31,
    }
}

fn notices() -> Vec<Notice> {
    // As above: each variant has its example.
    let example = |notice: Notice| match notice {
        Notice::NoAgent { .. } | Notice::NoDisplay { .. } | Notice::NoHome { .. } => notice,
    };
    vec![
        example(Notice::NoAgent { why: why(Errno::EROFS) }),
        example(Notice::NoDisplay { why: why(Errno::EROFS) }),
        example(Notice::NoHome { home: "/home/alice".to_owned(), why: Why::Outside }),
    ]
}

#[test]
#[expect(clippy::print_stdout, reason = "all of them, for who asks with --nocapture")]
fn every_line_says_what_happened_and_what_to_do_and_has_the_session_in_it() {
    let lines = refusals().into_iter().map(|r| (Some(r.exit().code()), r.line("k3jd92xw5p")));
    for (code, line) in lines.chain(notices().into_iter().map(|n| (None, n.line("k3jd92xw5p")))) {
        let line = line.as_str();
        print!("{:>4} {line}", code.map_or(String::new(), |c| c.to_string()));
        let words = line.strip_prefix("vestibule: ").and_then(|l| l.strip_suffix(" (session k3jd92xw5p)\n"));
        let words = words.unwrap_or_else(|| panic!("{line:?}"));
        assert_eq!(line.matches('\n').count(), 1, "{line}");
        let parts: Vec<_> = words.split("; ").collect();
        let to_do = parts.last().filter(|_| parts.len() == 2);
        assert!(to_do.is_some_and(|what| what.len() > 8), "what to do? {line}");
        assert!(line.len() < 240, "{line}");
        assert!(!words.ends_with('.') && !words.contains("  "), "{line}");
    }
    for step in WakeStep::ALL {
        println!("     {}", waking("lab", step, 3, "").as_str());
    }
}

#[test]
fn route_session_8_has_every_line() {
    let page = concat!(env!("CARGO_MANIFEST_DIR"), "/../../man/route-session.8");
    let page = std::fs::read_to_string(page).unwrap();
    let lines = page.lines().skip_while(|l| *l != ".\\\" messages: begin").skip(1);
    let lines: Vec<&str> = lines.take_while(|l| *l != ".\\\" messages: end").collect();
    let items: Vec<String> =
        lines.join(" ").split(".It ").skip(1).map(|item| item.trim().to_owned()).collect();
    let quoted = |words: String| words.replace('\'', "\\(aq");
    let mut wanted: Vec<String> =
        refusals().iter().map(|r| format!("{} {}", r.exit().code(), quoted(r.to_string()))).collect();
    wanted.extend(notices().iter().map(|n| format!("\\(en {}", quoted(n.to_string()))));
    assert_eq!(items, wanted);
}

#[test]
fn reasons_are_a_few_words_of_one_line() {
    for why in
        [Why::NotPermitted, Why::Outside, Why::Engine, Why::AddressUnknown, Why::NoAddress, Why::Silence]
    {
        let words = why.to_string();
        assert!(words.len() < 40 && !words.contains([';', '\n']), "{words}");
    }
    assert_eq!(Why::from(&std::io::Error::from_raw_os_error(2)).to_string(), "No such file or directory");
    assert_eq!(Why::from(&std::io::ErrorKind::NotFound.into()), Why::NotPermitted);
}

#[test]
fn what_a_container_says_can_not_drive_the_terminal() {
    let line = Refusal::NoSuchUser { user: "\u{1b}]0;x\u{7}\n".repeat(100) }.line("s");
    assert!(!line.as_str().contains('\u{1b}') && line.as_str().len() < 1500, "{line:?}");
}

#[test]
fn what_is_drawn_is_never_wider_than_it_may_be_and_hides_what_was_there() {
    let line = waking("lab", WakeStep::Start, 3, "");
    let (drawn, width) = line.drawn_over(40, 10);
    assert_eq!((drawn.as_str(), width), (format!("\rvestibule:{}\r", " ".repeat(30)).as_str(), 10));
    assert_eq!(Line::erasing(3).as_str(), "\r   \r");
    assert_eq!(Line::relayed("a\nb\n".to_owned()).for_terminal().as_str(), "a\r\nb\r\n");
    assert_eq!(Line::relayed("a\n".to_owned()).on_its_own().as_str(), "\r\na\r\n");
}
