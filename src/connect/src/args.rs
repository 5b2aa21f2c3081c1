//! The command line. It has nothing secret: `ps` shows it.

use std::path::PathBuf;
use std::time::Duration;

/// What leads to the target.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Over {
    /// A unix socket.
    Unix(PathBuf),
    /// None: a connection that stands is handed on.
    Pass(PathBuf),
    /// A WebSocket of a site of root's configuration.
    Websocket { site: String, path: String },
}

/// What to do.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Args {
    pub(crate) over: Over,
    /// From the first packet to the answer that opens a WebSocket.
    pub(crate) within: Duration,
}

pub(crate) const USAGE: &str = "usage: connect --unix PATH
       connect [--within SECONDS] --site NAME --path PATH
       connect --pass PATH
";

/// A site may have to start what it leads to.
const WITHIN: Duration = Duration::from_secs(60);

/// Reads it; `None` for `--help`.
pub(crate) fn parse(mut parser: lexopt::Parser) -> Result<Option<Args>, lexopt::Error> {
    use lexopt::prelude::*;
    let (mut unix, mut pass, mut site, mut path, mut within) = (None, None, None, None, WITHIN);
    while let Some(arg) = parser.next()? {
        match arg {
            Long("unix") => unix = Some(PathBuf::from(parser.value()?)),
            Long("pass") => pass = Some(PathBuf::from(parser.value()?)),
            Long("site") => site = Some(parser.value()?.string()?),
            Long("path") => path = Some(parser.value()?.string()?),
            Long("within") => within = Duration::from_secs(parser.value()?.parse::<u16>()?.into()),
            Long("help") | Short('h') => return Ok(None),
            other => return Err(other.unexpected()),
        }
    }
    let over = match (unix, pass, site, path) {
        (Some(unix), None, None, None) => Over::Unix(unix),
        (None, Some(from), None, None) => Over::Pass(from),
        (None, None, Some(site), Some(path)) => Over::Websocket { site, path },
        _ => return Err("want --unix, --pass, or --site and --path".into()),
    };
    Ok(Some(Args { over, within }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(words: &[&str]) -> Option<Args> {
        parse(lexopt::Parser::from_args(words)).ok().flatten()
    }

    #[test]
    fn one_way_and_no_two() {
        let unix = parsed(&["--unix", "/run/x"]).unwrap();
        assert_eq!((unix.over, unix.within), (Over::Unix("/run/x".into()), WITHIN));
        let pass = parsed(&["--pass", "/run/x"]).unwrap();
        assert_eq!(pass.over, Over::Pass("/run/x".into()));
        let args = parsed(&["--site", "hub", "--path", "/user/ada/sshd/", "--within", "2"]).unwrap();
        assert_eq!(args.within, Duration::from_secs(2));
        let over = Over::Websocket { site: "hub".to_owned(), path: "/user/ada/sshd/".to_owned() };
        assert_eq!(args.over, over);
        for words in [
            &[][..],
            &["--site", "hub"],
            &["--path", "/"],
            &["--unix", "/x", "--site", "hub"],
            &["--unix", "/x", "--pass", "/x"],
            &["/run/x"],
        ] {
            assert_eq!(parsed(words), None, "{words:?}");
        }
    }
}
