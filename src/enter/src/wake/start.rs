//! Starting a target: by its engine, by a command of root's configuration, or by the hub.

use std::ffi::CString;
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use vestibule::messages::{shown, shown_within};
use vestibule::paths;
use vestibule_sys::process::{self, Child, Ended};
use vestibule_sys::{exec, fds, pty, signals};

use super::waker::Going;
use crate::engine;
use crate::environment::DEFAULT_PATH;
use crate::parser::{Parser, Way};
use crate::relay::libc_signal::{SIGKILL, SIGTERM};
use crate::users::User;

/// Of a line that a command says so many bytes are kept.
const MAX_LINE: usize = 2048;
/// Characters of its last line that the log has.
const MAX_SAID: usize = 400;
/// Between SIGTERM and SIGKILL for a command whose time is over.
const GRACE: Duration = Duration::from_secs(1);

/// `POST /containers/ID/start`. Returns the id of the container that was started.
pub(super) fn by_engine(going: &Going<'_>, parser: &mut Parser) -> Result<String, String> {
    let (Way::Docker { engine, container } | Way::DockerExec { engine, container, .. }) =
        &going.call.facts.way
    else {
        return Err("the target has no engine".to_owned());
    };
    let config = going.call.config;
    let found = engine::inspect(config, engine, container, &going.call.facts.name, parser)
        .map_err(|refused| refused.cause)?;
    let answer = engine::start(config, engine, &found.id, going.left()).map_err(|refused| refused.cause)?;
    let (status, message) = parser.status(&answer).map_err(|refused| refused.cause)?;
    match status {
        // 304: it runs already.
        204 | 304 => Ok(found.id),
        other => Err(format!("engine '{engine}' answered with status {other}: {}", shown(&message))),
    }
}

/// Runs the command that root's configuration has under `name`.
pub(super) fn by_command(going: &mut Going<'_>, parser: &mut Parser, name: &str) -> Result<(), String> {
    let Some(command) = going.call.config.wake.get(name) else {
        return Err(format!("wake command '{}': not in the configuration", shown(name)));
    };
    let target = &going.call.facts.name;
    let words: Vec<String> = command.command.iter().map(|word| word.replace("{target}", target)).collect();
    run(going, parser, &words, &command.user, &mut |_, _| {})
}

/// Has `refresh-keys` ask the hub.
pub(super) fn by_hub(going: &mut Going<'_>, parser: &mut Parser) -> Result<(), String> {
    // So that it ends of itself, and says why.
    let within = going.left().saturating_sub(GRACE).as_secs().max(1).to_string();
    let words =
        [paths::REFRESH_KEYS, "--wake", &going.call.facts.name, "--within", &within].map(str::to_owned);
    run(going, parser, &words, paths::USER_REFRESH, &mut Going::hear)
}

/// Takes each line that a program says.
type Take<'a, 'b> = &'a mut dyn FnMut(&mut Going<'b>, &[u8]);

/// Runs a program as a user of the bastion, with a clean environment and nothing open but a pipe for what it says.
fn run<'b>(
    going: &mut Going<'b>,
    parser: &mut Parser,
    words: &[String],
    user: &str,
    take: Take<'_, 'b>,
) -> Result<(), String> {
    let program = words.first().map(String::as_str).unwrap_or_default();
    let read = |file: &str| fs::read(file).map_err(|e| format!("'{file}': {e}"));
    let user = parser
        .user_of_host(user, &read("/etc/passwd")?, &read("/etc/group")?)
        .map_err(|refused| refused.cause)?
        .ok_or_else(|| format!("user '{user}' is not in the bastion's /etc/passwd"))?;
    let args = words.iter().map(|word| CString::new(word.as_str()));
    let args: Vec<CString> = args.collect::<Result<_, _>>().map_err(|e| e.to_string())?;
    let env = environment(going, &user).map_err(|e| e.to_string())?;
    let (reader, writer) = process::pipe().map_err(|e| format!("pipe: {e}"))?;
    let child = process::fork_child(|| {
        let e = become_command(&args, &env, &user, &writer);
        let _ = writeln!(io::stderr(), "{e}");
        127
    })
    .map_err(|e| format!("fork: {e}"))?;
    drop(writer);
    let (ended, said) = attend(going, &child, reader, take);
    let said =
        if said.is_empty() { "nothing".to_owned() } else { format!("'{}'", shown_within(&said, MAX_SAID)) };
    match ended {
        Some(Ended::Exited(0)) => Ok(()),
        Some(Ended::Exited(status)) => Err(format!("'{program}' exited with {status} and said {said}")),
        Some(Ended::Signalled(signal)) => Err(format!("'{program}' died of signal {signal} and said {said}")),
        None => Err(format!("'{program}' did not end in time and said {said}")),
    }
}

fn environment(going: &Going<'_>, user: &User) -> Result<Vec<CString>, std::ffi::NulError> {
    let bytes = |name: &str, value: &[u8]| CString::new([name.as_bytes(), b"=", value].concat());
    Ok(vec![
        bytes("PATH", DEFAULT_PATH.as_bytes())?,
        bytes("HOME", &user.home)?,
        bytes("USER", &user.name)?,
        bytes("LOGNAME", &user.name)?,
        bytes("VESTIBULE_TARGET", going.call.facts.name.as_bytes())?,
        bytes("VESTIBULE_SESSION", going.call.session.as_bytes())?,
    ])
}

/// Returns only why it could not.
fn become_command(args: &[CString], env: &[CString], user: &User, said: &OwnedFd) -> io::Error {
    let prepared = || -> io::Result<()> {
        pty::new_session()?;
        // 0 is /dev/null already.
        for number in 1..3 {
            fds::become_std(said.as_fd(), number)?;
        }
        fds::close_on_exec_from(3)?;
        signals::reset_all()?;
        process::become_user(user.uid, user.gid, &user.groups)
    };
    match (prepared(), args.first()) {
        (Err(e), _) => e,
        (Ok(()), Some(program)) => exec::execute(program, args, env),
        (Ok(()), None) => io::ErrorKind::InvalidInput.into(),
    }
}

/// Stays until the command has ended, or its time is over: then it and what is still of its session is ended. Also gives
/// the last line that it wrote.
fn attend<'b>(
    going: &mut Going<'b>,
    child: &Child,
    said: OwnedFd,
    take: Take<'_, 'b>,
) -> (Option<Ended>, String) {
    let mut lines = Lines::default();
    let _ = fds::set_nonblocking(said.as_fd(), true);
    let mut said = File::from(said);
    let ended = loop {
        match child.wait_at_most(Duration::from_millis(50).min(going.left())) {
            Ok(None) if !going.left().is_zero() => lines.read(&mut said, &mut |line| take(going, line)),
            Ok(Some(ended)) => break Some(ended),
            Ok(None) | Err(_) => {
                process::signal_session(child.pid(), SIGTERM);
                let _ = child.wait_at_most(GRACE);
                process::signal_session(child.pid(), SIGKILL);
                let _ = child.wait_at_most(GRACE);
                break None;
            }
        }
    };
    lines.read(&mut said, &mut |line| take(going, line));
    lines.end(&mut |line| take(going, line));
    (ended, String::from_utf8_lossy(&lines.last).trim().to_owned())
}

/// What a program says, line by line.
#[derive(Default)]
struct Lines {
    /// The line that goes on.
    open: Vec<u8>,
    /// The last whole one that was not empty.
    last: Vec<u8>,
}

impl Lines {
    /// Reads what is there.
    fn read(&mut self, from: &mut impl Read, take: &mut dyn FnMut(&[u8])) {
        let mut chunk = [0_u8; 4096];
        // Bounded, also for a command that never stops to talk.
        for _ in 0..256 {
            let Ok(length @ 1..) = from.read(&mut chunk) else { return };
            for part in chunk.get(..length).unwrap_or_default().split_inclusive(|b| *b == b'\n') {
                let (text, ends) = part.strip_suffix(b"\n").map_or((part, false), |text| (text, true));
                let room = MAX_LINE.saturating_sub(self.open.len());
                self.open.extend_from_slice(text.get(..room).unwrap_or(text));
                if ends {
                    self.end(take);
                }
            }
        }
    }

    /// The line is over.
    fn end(&mut self, take: &mut dyn FnMut(&[u8])) {
        let line = std::mem::take(&mut self.open);
        if !line.trim_ascii().is_empty() {
            take(&line);
            self.last = line;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn heard(said: &[u8], at_once: usize) -> (Vec<String>, String) {
        let (mut lines, mut taken) = (Lines::default(), Vec::new());
        let mut take = |line: &[u8]| taken.push(String::from_utf8_lossy(line).into_owned());
        for mut part in said.chunks(at_once) {
            lines.read(&mut part, &mut take);
        }
        lines.end(&mut take);
        (taken, String::from_utf8_lossy(&lines.last).into_owned())
    }

    #[test]
    fn of_what_a_command_says_each_line_is_taken_and_the_last_kept() {
        for (said, wanted) in [
            ("", &[][..]),
            ("one", &["one"]),
            ("one\ntwo\n", &["one", "two"]),
            ("one\n\n \n", &["one"]),
            ("a\nb", &["a", "b"]),
        ] {
            for at_once in [1, 2, 4096] {
                let (taken, last) = heard(said.as_bytes(), at_once);
                assert_eq!(taken, wanted, "{said:?}");
                assert_eq!(last, wanted.last().copied().unwrap_or_default(), "{said:?}");
            }
        }
        let (taken, last) = heard(&[&[b'x'; 100_000][..], b"\ny"].concat(), 4096);
        assert_eq!((taken.len(), taken[0].len(), last.as_str()), (2, MAX_LINE, "y"));
    }
}
