//! A session that is SFTP: `scp`, `sftp`, sshfs. The server is ours and comes along, so an image needs none: not even a
//! shell or a C library.
//!
//! sshd hands the text of its `Subsystem` line over as if it were a command, and it is known by being that text, whole:
//! [`vestibule::config::Session::sftp_commands`]. A `command=` on the key has taken its place before, so it beats this,
//! and one that is itself such a text is SFTP, as for sshd.

use std::ffi::CString;
use std::fs::File;
use std::os::fd::OwnedFd;
use std::path::Path;

use vestibule::config::Config;
use vestibule::messages::Refusal;
use vestibule::paths;
use vestibule::target::Sftp;
use vestibule_sys::memfd;

use crate::refused::{OrRefuse, Refused};
use crate::trusted::{self, Distrust};

/// The server, open, and the words that it is started with.
pub(crate) struct Server {
    file: File,
    pub(crate) args: Vec<CString>,
}

/// The server as it is executed: memory that nobody can write.
pub(crate) struct Sealed {
    pub(crate) program: OwnedFd,
    pub(crate) args: Vec<CString>,
}

/// What SFTP is to a session.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Wish<'a> {
    /// It is another command, or a shell.
    None,
    /// It is, and whether it is ours is for the target's policy to say: the words behind the first.
    Sftp(&'a str),
}

/// Whether a command is SFTP.
pub(crate) fn wish<'a>(command: Option<&[u8]>, config: &'a Config) -> Wish<'a> {
    let is_it = |known: &&String| command == Some(known.as_bytes());
    match config.session.sftp_commands.iter().find(is_it) {
        Some(known) => Wish::Sftp(known.trim_start().split_once(' ').map_or("", |(_, options)| options)),
        None => Wish::None,
    }
}

/// What a session needs of SFTP: our server, opened here on the bastion; nothing if it is no SFTP or the image's server
/// answers; a refusal if nobody's does.
pub(crate) fn prepare(
    command: Option<&[u8]>,
    config: &Config,
    policy: Sftp,
) -> Result<Option<Server>, Refused> {
    let Wish::Sftp(options) = wish(command, config) else { return Ok(None) };
    match policy {
        Sftp::Image => Ok(None),
        Sftp::None => Err(Refused::new(Refusal::SftpRefused, "the target's policy has no SFTP")),
        Sftp::Own => {
            let bad = |why: &str| Refused::setup(format_args!("'{}': {why}", paths::SFTP_SERVER));
            let (file, _) = trusted::open(Path::new(paths::SFTP_SERVER)).map_err(|e| match e {
                Distrust::Gone => bad("no such file"),
                Distrust::Bad(why) => bad(&why),
            })?;
            let words = std::iter::once("sftp-server").chain(options.split_ascii_whitespace());
            let args = words.map(CString::new).collect::<Result<_, _>>();
            Ok(Some(Server { file, args: args.map_err(|_| bad("a NUL in its options"))? }))
        }
    }
}

impl Server {
    /// Copies it to sealed memory: whatever runs in the container as its root could otherwise write the bastion's file
    /// through `/proc/PID/exe`. The memory is charged to the control group that this process is in.
    pub(crate) fn seal(self) -> Result<Sealed, Refused> {
        let program = memfd::sealed_copy(c"sftp-server", self.file).or_setup(paths::SFTP_SERVER)?;
        Ok(Sealed { program, args: self.args })
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
        assert_eq!(wish("internal-sftp"), Wish::Sftp(""));
        assert_eq!(wish("/usr/lib/openssh/sftp-server"), Wish::Sftp(""));
        assert_eq!(wish("internal-sftp -R  -l INFO"), Wish::Sftp("-R  -l INFO"));
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
    fn the_policy_says_whose_server_answers() {
        let config = Config::default();
        let prepare = |policy| prepare(Some(b"internal-sftp"), &config, policy);
        assert!(prepare(Sftp::Image).is_ok_and(|server| server.is_none()));
        assert!(prepare(Sftp::None).is_err_and(|refused| refused.refusal == Refusal::SftpRefused));
        assert!(super::prepare(Some(b"id"), &config, Sftp::None).is_ok_and(|server| server.is_none()));
    }
}
