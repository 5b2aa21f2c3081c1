//! A session that is SFTP: `scp`, `sftp`, sshfs. The server is ours and comes along, so an image needs none: not even a
//! shell or a C library.
//!
//! sshd hands the text of its `Subsystem` line over as if it were a command, and it is known by being that text, whole:
//! [`vestibule::config::Session::sftp_commands`]. A `command=` on the key has taken its place before, so it beats this,
//! and one that is itself such a text is SFTP, as for sshd.

use std::ffi::CString;
use std::fs::File;
use std::path::Path;

use vestibule::config::Config;
use vestibule::messages::Refusal;
use vestibule::paths;
use vestibule::target::Sftp;
use vestibule_sys::memfd;

use crate::refused::{OrRefuse, Refused};
use crate::session::What;
use crate::trusted::{self, Distrust};

/// A server, and the words that it is started with.
#[derive(Debug)]
pub(crate) struct Server {
    whose: Whose,
    args: Vec<CString>,
}

#[derive(Debug)]
enum Whose {
    /// Ours, open.
    Ours(File),
    /// The image's, at the first of these paths that is there.
    Image(Vec<CString>),
}

/// A server as it is executed.
pub(crate) struct Ready {
    pub(crate) what: What,
    pub(crate) args: Vec<CString>,
}

/// Where systems have the server of OpenSSH.
const OF_IMAGES: [&str; 4] = [
    "/usr/lib/openssh/sftp-server",
    "/usr/libexec/openssh/sftp-server",
    "/usr/libexec/sftp-server",
    "/usr/lib/ssh/sftp-server",
];

/// What SFTP is to a session.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Wish<'a> {
    /// It is another command, or a shell.
    None,
    /// It is, and whose answers is for the target's policy to say: the first word, and those behind it.
    Sftp(&'a str, &'a str),
}

/// Whether a command is SFTP.
pub(crate) fn wish<'a>(command: Option<&[u8]>, config: &'a Config) -> Wish<'a> {
    let is_it = |known: &&String| command == Some(known.as_bytes());
    match config.session.sftp_commands.iter().find(is_it) {
        Some(known) => {
            let (program, options) = known.trim_start().split_once(' ').unwrap_or((known.trim_start(), ""));
            Wish::Sftp(program, options)
        }
        None => Wish::None,
    }
}

/// What a session needs of SFTP: our server, opened here on the bastion, or where to look for the image's; nothing if it
/// is no SFTP; a refusal if nobody's server answers.
pub(crate) fn prepare(
    command: Option<&[u8]>,
    config: &Config,
    policy: Sftp,
) -> Result<Option<Server>, Refused> {
    let Wish::Sftp(program, options) = wish(command, config) else { return Ok(None) };
    let bad = |why: &str| Refused::setup(format_args!("'{}': {why}", paths::SFTP_SERVER));
    let words = std::iter::once("sftp-server").chain(options.split_ascii_whitespace());
    let args = words.map(CString::new).collect::<Result<_, _>>().map_err(|_| bad("a NUL in its options"))?;
    match policy {
        Sftp::Image => {
            // sshd's own is no program.
            let named = Some(program).filter(|program| program.starts_with('/'));
            let others = OF_IMAGES.into_iter().filter(|path| Some(*path) != named);
            let paths = named.into_iter().chain(others).map(CString::new).collect::<Result<_, _>>();
            let whose = Whose::Image(paths.map_err(|_| bad("a NUL in its path"))?);
            Ok(Some(Server { whose, args }))
        }
        Sftp::None => Err(Refused::new(Refusal::SftpRefused, "the target's policy has no SFTP")),
        Sftp::Own => {
            let (file, _) = trusted::open(Path::new(paths::SFTP_SERVER)).map_err(|e| match e {
                Distrust::Gone => bad("no such file"),
                Distrust::Bad(why) => bad(&why),
            })?;
            Ok(Some(Server { whose: Whose::Ours(file), args }))
        }
    }
}

impl Server {
    /// Copies ours to sealed memory: whatever runs in the container as its root could otherwise write the bastion's file
    /// through `/proc/PID/exe`. The memory is charged to the control group that this process is in.
    pub(crate) fn seal(self) -> Result<Ready, Refused> {
        let what = match self.whose {
            Whose::Image(paths) => What::FirstOf(paths),
            Whose::Ours(file) => {
                What::Sealed(memfd::sealed_copy(c"sftp-server", file).or_setup(paths::SFTP_SERVER)?)
            }
        };
        Ok(Ready { what, args: self.args })
    }

    /// The image's as a command of sh(1), for who can execute nothing but a shell.
    pub(crate) fn as_command(&self) -> Option<String> {
        let Whose::Image(paths) = &self.whose else { return None };
        let quoted = |words: &[CString]| -> Option<String> {
            let quoted = |word: &CString| Some(format!("'{}'", word.to_str().ok()?.replace('\'', r"'\''")));
            Some(words.iter().map(quoted).collect::<Option<Vec<_>>>()?.join(" "))
        };
        let (paths, options) = (quoted(paths)?, quoted(self.args.get(1..)?)?);
        Some(format!(r#"for s in {paths}; do [ -x "$s" ] && exec "$s" {options}; done; exit 127"#))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_is_sftp_only_if_it_is_the_whole_text() {
        let mut config = Config::default();
        config.session.sftp_commands.push("internal-sftp -R  -l INFO".to_owned());
        let wish = |command: &str| wish(Some(command.as_bytes()), &config);
        assert_eq!(wish("internal-sftp"), Wish::Sftp("internal-sftp", ""));
        let debian = "/usr/lib/openssh/sftp-server";
        assert_eq!(wish(debian), Wish::Sftp(debian, ""));
        assert_eq!(wish("internal-sftp -R  -l INFO"), Wish::Sftp("internal-sftp", "-R  -l INFO"));
        for other in [
            "",
            "internal-sftp ",
            "internal-sftp -R",
            "internal-sftp;id",
            "/usr/lib/openssh/sftp-server\n",
            "sftp-server",
            "INTERNAL-SFTP",
        ] {
            assert_eq!(wish(other), Wish::None, "{other:?}");
        }
        assert_eq!(super::wish(None, &config), Wish::None);
    }

    #[test]
    fn the_images_server_is_looked_for_where_the_subsystem_line_has_it_and_where_systems_have_it() {
        let mut config = Config::default();
        let commands = ["internal-sftp -R", "/opt/it's/sftp -l INFO", "/usr/lib/ssh/sftp-server"];
        config.session.sftp_commands = commands.map(str::to_owned).to_vec();
        let command = |text: &str| {
            let server = prepare(Some(text.as_bytes()), &config, Sftp::Image).unwrap().unwrap();
            server.as_command().unwrap()
        };
        let usual = OF_IMAGES.map(|path| format!("'{path}'")).join(" ");
        let wanted = format!(r#"for s in {usual}; do [ -x "$s" ] && exec "$s" '-R'; done; exit 127"#);
        assert_eq!(command("internal-sftp -R"), wanted);
        assert!(command(commands[1]).starts_with(&format!(r"for s in '/opt/it'\''s/sftp' {usual}; ")));
        assert_eq!(command(commands[2]).matches("/usr/lib/ssh/sftp-server").count(), 1);
    }

    #[test]
    fn the_policy_says_whose_server_answers() {
        let config = Config::default();
        let prepare = |policy| prepare(Some(b"internal-sftp"), &config, policy);
        assert!(prepare(Sftp::Image).unwrap().unwrap().as_command().is_some());
        assert!(prepare(Sftp::None).is_err_and(|refused| refused.refusal == Refusal::SftpRefused));
        assert!(super::prepare(Some(b"id"), &config, Sftp::None).is_ok_and(|server| server.is_none()));
    }
}
