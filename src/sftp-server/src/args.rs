//! The command line: that of OpenSSH's server, so that either can stand for the other.

use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt;

use lexopt::prelude::*;
use nix::sys::stat::Mode;

use crate::log::{Level, Log};
use crate::operation::Permitted;

pub(crate) const USAGE: &str =
    "usage: sftp-server [-ehR] [-d start_directory] [-f log_facility] [-l log_level]
                   [-P denied_requests] [-p allowed_requests] [-u umask]
       sftp-server -Q requests
       sftp-server --version
";

/// What to do.
#[derive(Debug)]
pub(crate) enum Task {
    Serve(Options),
    Help,
    Version,
    /// Print the names of all requests.
    Requests,
}

/// How to serve.
#[derive(Debug)]
pub(crate) struct Options {
    pub(crate) permitted: Permitted,
    pub(crate) log: Log,
    pub(crate) umask: Option<Mode>,
    /// Where relative names begin. `%d` is the user's home, `%u` the user's name, `%U` the number.
    pub(crate) start: Option<OsString>,
}

pub(crate) fn parse(mut parser: lexopt::Parser) -> Result<Task, lexopt::Error> {
    let (mut permitted, mut level, mut to_stderr) = (Permitted::all(), Level::Error, false);
    let (mut umask, mut start) = (None, None);
    while let Some(arg) = parser.next()? {
        match arg {
            Short('R') => permitted.read_only(),
            Short('e') => to_stderr = true,
            Short('l') => level = parser.value()?.parse_with(|l| Level::named(l).ok_or("no log level"))?,
            Short('f') => drop(parser.value()?), // there is no syslog in a container
            Short('u') => umask = Some(parser.value()?.parse_with(octal)?),
            Short('d') => start = Some(parser.value()?),
            Short('P') => restrict(&mut permitted, &mut parser, false)?,
            Short('p') => restrict(&mut permitted, &mut parser, true)?,
            Short('Q') => {
                let known = parser.value()?.eq_ignore_ascii_case("requests");
                return if known {
                    Ok(Task::Requests)
                } else {
                    Err("-Q: only 'requests' can be asked for".into())
                };
            }
            Short('h') | Long("help") => return Ok(Task::Help),
            Long("version") => return Ok(Task::Version),
            // A login shell is started like this; what it is to run is not for this program.
            Short('c') => break,
            other => return Err(other.unexpected()),
        }
    }
    let log = Log(if to_stderr { level } else { Level::Quiet });
    Ok(Task::Serve(Options { permitted, log, umask, start }))
}

fn restrict(
    permitted: &mut Permitted,
    parser: &mut lexopt::Parser,
    to_it: bool,
) -> Result<(), lexopt::Error> {
    let list = parser.value()?.string()?;
    permitted
        .restrict(&list, to_it)
        .map_err(|name| format!("'{name}': no such request; see -Q requests").into())
}

fn octal(text: &str) -> Result<Mode, &'static str> {
    let plain = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    let number = u32::from_str_radix(text, 8).ok().filter(|n| plain && *n <= 0o777);
    number.map(Mode::from_bits_truncate).ok_or("a umask is an octal number up to 777")
}

/// Replaces the tokens of a start directory. `%%` is `%`; anything else after a `%` is a fault.
pub(crate) fn expand(
    text: &std::ffi::OsStr,
    token: impl Fn(u8) -> Option<Vec<u8>>,
) -> Result<Vec<u8>, String> {
    let (mut expanded, mut bytes) = (Vec::new(), text.as_bytes().iter());
    while let Some(byte) = bytes.next() {
        if *byte != b'%' {
            expanded.push(*byte);
            continue;
        }
        let letter = bytes.next().copied().unwrap_or(b' ');
        let value = if letter == b'%' { Some(b"%".to_vec()) } else { token(letter) };
        expanded.extend(value.ok_or_else(|| format!("nothing to put for '%{}'", letter.escape_ascii()))?);
    }
    Ok(expanded)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::operation::Operation;

    fn parse(args: &[&str]) -> Result<Task, String> {
        super::parse(lexopt::Parser::from_args(args)).map_err(|e| e.to_string())
    }

    fn options(args: &[&str]) -> Options {
        match parse(args) {
            Ok(Task::Serve(options)) => options,
            other => panic!("{args:?}: {other:?}"),
        }
    }

    #[test]
    fn options_are_those_of_openssh() {
        let all = options(&["-eR", "-l", "debug3", "-u022", "-f", "AUTH", "-P", "open,stat", "-d/srv"]);
        assert!(all.permitted.read_only && !all.permitted.permits(Operation::Stat));
        assert!(all.permitted.permits(Operation::Lstat));
        assert_eq!((all.log.0, all.umask), (Level::Debug, Some(Mode::from_bits_truncate(0o022))));
        assert_eq!(all.start, Some("/srv".into()));
        assert_eq!(options(&["-l", "INFO"]).log.0, Level::Quiet);
        assert_eq!(options(&["-e"]).log.0, Level::Error);
        assert!(!options(&["-p", "open"]).permitted.permits(Operation::Close));
        assert!(options(&["-c", "rm -rf /"]).start.is_none());
        assert!(matches!(parse(&["-h"]), Ok(Task::Help)));
        assert!(matches!(parse(&["--version"]), Ok(Task::Version)));
        assert!(matches!(parse(&["-Q", "Requests"]), Ok(Task::Requests)));
    }

    #[test]
    fn what_is_meant_otherwise_is_said() {
        for (args, expected) in [
            (&["-u", "888"][..], "umask"),
            (&["-u", "1777"], "umask"),
            (&["-u", "+22"], "umask"),
            (&["-l", "loud"], "log level"),
            (&["-P", "open,shell"], "'shell': no such request"),
            (&["-Q", "colours"], "requests"),
            (&["-x"], "-x"),
            (&["file"], "file"),
            (&["-d"], "-d"),
        ] {
            let error = parse(args).err().unwrap_or_default();
            assert!(error.contains(expected), "{args:?}: {error}");
        }
    }

    #[test]
    fn a_start_directory_may_name_the_user() {
        let token = |letter| (letter == b'u').then(|| b"alice".to_vec());
        assert_eq!(expand("/srv/%u/100%%".as_ref(), token), Ok(b"/srv/alice/100%".to_vec()));
        assert!(expand("/%x".as_ref(), token).is_err());
        assert!(expand("/%".as_ref(), token).is_err());
    }
}
