//! The command line. Read by hand: a login name may be any bytes, and begin with `-` too.

use std::ffi::OsString;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::PathBuf;

/// What `--help` prints.
pub(crate) const HELP: &str = "\
usage: keys-lookup [OPTION]... LOGIN FINGERPRINT [--fallback COMMAND [ARGUMENT]...]
       keys-lookup --principals [OPTION]... LOGIN CERTIFICATE [--fallback ...]

Prints the authorized_keys line with which the key of this SHA-256 fingerprint opens
the target of this login name, and nothing when it opens none. For sshd_config:
AuthorizedKeysCommand /usr/libexec/vestibule/keys-lookup %u %f
AuthorizedPrincipalsCommand /usr/libexec/vestibule/keys-lookup --principals %u %k

  --fallback COMMAND [ARGUMENT]...
                   execute COMMAND, an absolute path, for a name that is not vestibule's
  --principals     print the principal by which this certificate, in base64, opens the
                   target, with its options, as AuthorizedPrincipalsFile has them
  --decide         print the decision for route-session, one line of JSON
  --watch SESSION  for route-session, beside the session of this number: say when
                   what lets it in is taken away, as one line of JSON
  --client ADDRESS with --decide and --watch: where the client is, for keys with
                   'from='
  --config FILE    read FILE and FILE.d instead of /etc/vestibule/vestibule.toml
  --store FILE     read FILE instead of /var/lib/vestibule/store.db
  --debug          say the steps of the decision on standard error
  --help           print this
  --version        print the version

With --config or --store it works with no more rights than its caller has. The exit
status is 0 whether there is a line or not, and 2 for a wrong command line.
See keys-lookup(8).
";

/// What the caller wants.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Args {
    Help,
    Version,
    Lookup(Request),
}

/// A question, as it was put.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Request {
    /// Any bytes.
    pub(crate) login: Vec<u8>,
    /// What the client shows: a fingerprint or a certificate; any bytes.
    pub(crate) shown: Vec<u8>,
    /// Another command and its arguments; empty for none.
    pub(crate) fallback: Vec<OsString>,
    pub(crate) decide: bool,
    /// What is asked for is principals of a certificate.
    pub(crate) principals: bool,
    /// The number of the session to stay beside.
    pub(crate) watch: Option<String>,
    pub(crate) client: Option<String>,
    pub(crate) config: Option<PathBuf>,
    pub(crate) store: Option<PathBuf>,
    pub(crate) debug: bool,
}

impl Args {
    /// Reads the arguments behind the program's name. What is no option of this program stands for itself, so a login
    /// name like `-v` is one; `--` ends the options before it.
    pub(crate) fn parse(mut args: impl Iterator<Item = OsString>) -> Result<Args, String> {
        let mut request = Request::default();
        let mut names: Vec<OsString> = Vec::new();
        let mut options = true;
        while let Some(arg) = args.next() {
            let mut value = |name: &str| args.next().ok_or_else(|| format!("option '{name}': wants a value"));
            match arg.to_str().filter(|_| options) {
                Some("--") if names.is_empty() => options = false,
                Some("--help") => return Ok(Args::Help),
                Some("--version") => return Ok(Args::Version),
                Some("--decide") => request.decide = true,
                Some("--principals") => request.principals = true,
                Some("--debug") => request.debug = true,
                Some("--config") => request.config = Some(value("--config")?.into()),
                Some("--store") => request.store = Some(value("--store")?.into()),
                Some("--watch") => {
                    let session = value("--watch")?.into_string().ok();
                    let is_number = |text: &String| {
                        (1..=64).contains(&text.len())
                            && text.bytes().all(|byte| byte.is_ascii_alphanumeric())
                    };
                    let session =
                        session.filter(is_number).ok_or("option '--watch': not a session's number")?;
                    request.watch = Some(session);
                }
                Some("--client") => {
                    let client = value("--client")?.into_string();
                    request.client =
                        Some(client.map_err(|_| "option '--client': not an address".to_owned())?);
                }
                Some("--fallback") => {
                    request.fallback = args.by_ref().collect();
                    if !request.fallback.first().is_some_and(|c| c.as_bytes().starts_with(b"/")) {
                        return Err("option '--fallback': wants a command with an absolute path".to_owned());
                    }
                }
                _ => {
                    names.push(arg);
                    // The fingerprint and what an administrator wrote behind it follow: options again.
                    options = true;
                }
            }
        }
        let [login, shown] = <[OsString; 2]>::try_from(names).map_err(|names| {
            format!("wants a login name and a fingerprint or certificate, got {} arguments", names.len())
        })?;
        if request.decide && request.watch.is_some() {
            return Err("option '--watch': not with '--decide'".to_owned());
        }
        // The session's question is asked again, not sshd's.
        let here = request.decide || request.watch.is_some();
        if here && request.principals {
            return Err("option '--principals': not with '--decide' and '--watch'".to_owned());
        }
        if here && !request.fallback.is_empty() {
            return Err("option '--fallback': not with '--decide' and '--watch'".to_owned());
        }
        if request.client.is_some() && !here {
            return Err("option '--client': only with '--decide' and '--watch'".to_owned());
        }
        if request.watch.is_some() && (request.config.is_some() || request.store.is_some()) {
            return Err("option '--watch': not with '--config' and '--store'".to_owned());
        }
        request.login = login.into_vec();
        request.shown = shown.into_vec();
        Ok(Args::Lookup(request))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<Args, String> {
        Args::parse(line.split_whitespace().map(OsString::from))
    }

    fn request(line: &str) -> Request {
        match parse(line) {
            Ok(Args::Lookup(request)) => request,
            other => panic!("{line}: {other:?}"),
        }
    }

    #[test]
    fn a_question_is_a_login_name_and_a_fingerprint() {
        let asked = request("lab SHA256:x");
        assert_eq!((asked.login.as_slice(), asked.shown.as_slice()), (&b"lab"[..], &b"SHA256:x"[..]));
        assert_eq!(asked, Request { login: b"lab".into(), shown: b"SHA256:x".into(), ..Request::default() });
    }

    #[test]
    fn options_stand_before_and_behind() {
        let asked = request("--store /s --debug lab f --config /c --decide --client 192.0.2.1");
        assert_eq!(asked.store, Some("/s".into()));
        assert_eq!(asked.config, Some("/c".into()));
        assert_eq!((asked.decide, asked.debug, asked.client.as_deref()), (true, true, Some("192.0.2.1")));
    }

    #[test]
    fn everything_behind_fallback_is_the_other_command() {
        let asked = request("lab f --fallback /usr/bin/sss_ssh_authorizedkeys --help -- lab --decide");
        assert_eq!(
            asked.fallback.join(std::ffi::OsStr::new(" ")),
            "/usr/bin/sss_ssh_authorizedkeys --help -- lab --decide"
        );
        assert!(!asked.decide);
    }

    #[test]
    fn a_login_name_may_look_like_an_option() {
        assert_eq!(request("-v f").login, b"-v");
        assert_eq!(request("--unheard-of f").login, b"--unheard-of");
        assert_eq!(request("-- --debug f").login, b"--debug");
        assert_eq!(request("-- --debug f --debug").login, b"--debug");
        assert_eq!(request("-- -- f").login, b"--");
        let bytes = [b"\xff\x01".to_vec(), b"f".to_vec()].map(OsString::from_vec);
        let Ok(Args::Lookup(asked)) = Args::parse(bytes.into_iter()) else { panic!("bytes") };
        assert_eq!(asked.login, b"\xff\x01");
    }

    #[test]
    fn a_wrong_command_line_is_said() {
        for line in [
            "",
            "lab",
            "lab f g",
            "lab f --store",
            "lab f --fallback",
            "lab f --fallback sh",
            "lab f --decide --fallback /bin/sh",
            "lab f --client 192.0.2.1",
            "lab f --watch",
            "lab f --watch a/b",
            "lab f --principals --decide",
            "lab f --principals --watch x",
            "lab f --watch x --decide",
            "lab f --watch x --store /s",
            "lab f --watch x --fallback /bin/sh",
        ] {
            assert!(parse(line).is_err(), "{line}");
        }
    }

    #[test]
    fn help_names_every_option_and_fits_a_terminal() {
        for option in [
            "--fallback",
            "--principals",
            "--decide",
            "--watch",
            "--client",
            "--config",
            "--store",
            "--debug",
            "--help",
            "--version",
        ] {
            assert!(HELP.contains(option), "{option}");
        }
        assert!(HELP.lines().all(|line| line.len() <= 90));
    }
}
