//! The last step: in the container's namespaces and with nothing left to give up, the user's shell, or our SFTP server.

use std::ffi::CString;
use std::io::{self, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use vestibule::messages::{Refusal, Why};
use vestibule_sys::{exec, fds, process, pty, signals};

use crate::refused::{OrRefuse, Refused};
use crate::sftp::Ready;
use crate::users::User;
use crate::worker;

/// What is executed, and with what.
pub(crate) struct Program {
    pub(crate) what: What,
    pub(crate) args: Vec<CString>,
    pub(crate) env: Vec<CString>,
    /// Said on the terminal before it.
    pub(crate) welcome: Vec<u8>,
}

/// Where a program comes from.
pub(crate) enum What {
    /// A file of the container's.
    File(CString),
    /// The first of these files of the container's that is there.
    FirstOf(Vec<CString>),
    /// Sealed memory that came along.
    Sealed(OwnedFd),
}

impl Program {
    /// A program of the container's by its path, with no shell: what asks whether a target is ready.
    pub(crate) fn exact(words: &[String], env: Vec<CString>) -> Result<Self, Refused> {
        let string =
            |word: &String| CString::new(word.as_str()).map_err(|_| Refused::setup("a NUL in the command"));
        let args = words.iter().map(string).collect::<Result<Vec<_>, _>>()?;
        let path = args.first().cloned().ok_or_else(|| Refused::setup("a command without a word"))?;
        Ok(Program { what: What::File(path), args, env, welcome: Vec::new() })
    }

    /// The user's shell: as a login shell, or with the command as one argument behind `-c`, as sshd does (`do_child` in
    /// session.c).
    pub(crate) fn of(user: &User, command: Option<&[u8]>, env: Vec<CString>) -> Result<Self, Refused> {
        let name = user.shell.rsplit(|b| *b == b'/').next().unwrap_or(&user.shell);
        let args = match command {
            None => vec![[b"-", name].concat()],
            Some(command) => vec![name.to_vec(), b"-c".to_vec(), command.to_vec()],
        };
        let string = |bytes: Vec<u8>| CString::new(bytes).map_err(|_| Refused::setup("a NUL in the command"));
        Ok(Program {
            what: What::File(string(user.shell.clone())?),
            args: args.into_iter().map(string).collect::<Result<_, _>>()?,
            env,
            welcome: Vec::new(),
        })
    }

    /// An SFTP server.
    pub(crate) fn sftp(server: Ready, env: Vec<CString>) -> Self {
        Program { what: server.what, args: server.args, env, welcome: Vec::new() }
    }
}

/// Becomes the user's shell, or tells the monitor why not. Runs in the session's process and returns only on failure.
pub(crate) fn run(program: &Program, slave: Option<&OwnedFd>, session: &str, monitor: BorrowedFd<'_>) -> i32 {
    let refused = match become_shell(program, slave) {
        Err(refused) => refused,
        Ok(never) => match never {},
    };
    worker::tell_refused(monitor, session, &refused);
    i32::from(refused.refusal.exit().code())
}

fn become_shell(program: &Program, slave: Option<&OwnedFd>) -> Result<std::convert::Infallible, Refused> {
    pty::new_session().or_setup("setsid")?;
    if let Some(slave) = slave {
        pty::control(slave).or_refuse(|| Refusal::NoTerminal, "TIOCSCTTY")?;
        for number in 0..3 {
            fds::become_std(slave.as_fd(), number).or_setup("dup2")?;
        }
    }
    let _ = io::stdout().lock().write_all(&program.welcome); // a terminal that is gone ends the session by itself
    fds::close_on_exec_from(3).or_setup("close_range")?;
    signals::reset_all().or_setup("sigprocmask")?;
    process::signal_on_parent_death(relay_hangup(), process::parent_pid()).or_setup("PR_SET_PDEATHSIG")?;
    Err(match &program.what {
        What::File(path) => {
            let e = exec::execute(path, &program.args, &program.env);
            let shell = path.to_string_lossy().into_owned();
            Refused::new(Refusal::NoShell { shell, why: Why::from(&e) }, format_args!("execve: {e}"))
        }
        What::FirstOf(paths) => {
            let execute = |path| exec::execute(path, &program.args, &program.env);
            let tried = paths.iter().map(|path| execute(path));
            // With none of them there is one error of this kind after the other.
            let e =
                tried.reduce(|one, other| if one.kind() == io::ErrorKind::NotFound { other } else { one });
            let e = e.unwrap_or_else(|| io::ErrorKind::NotFound.into());
            Refused::new(
                Refusal::NoSftpServer { why: Why::from(&e) },
                format_args!("the image's: execve: {e}"),
            )
        }
        What::Sealed(file) => {
            let e = exec::execute_open(file, &program.args, &program.env);
            Refused::new(Refusal::NoSftpServer { why: Why::from(&e) }, format_args!("execveat: {e}"))
        }
    })
}

fn relay_hangup() -> i32 {
    crate::relay::libc_signal::SIGHUP
}

#[cfg(test)]
mod tests {
    use super::*;

    fn user() -> User {
        User {
            name: b"a".to_vec(),
            uid: 1,
            gid: 1,
            groups: vec![],
            home: b"/".to_vec(),
            shell: b"/bin/ash".to_vec(),
        }
    }

    #[test]
    fn a_login_shell_has_a_dash_and_a_command_is_one_argument() {
        let login = Program::of(&user(), None, vec![]).unwrap();
        assert!(matches!(login.what, What::File(path) if path.as_c_str() == c"/bin/ash"));
        assert_eq!(login.args, vec![c"-ash".to_owned()]);
        let command = Program::of(&user(), Some(b"echo \"$x\" 'y'; \xff\n*"), vec![]).unwrap();
        let wanted = [
            c"ash".to_owned(),
            c"-c".to_owned(),
            CString::new(b"echo \"$x\" 'y'; \xff\n*".to_vec()).unwrap(),
        ];
        assert_eq!(command.args, wanted);
    }
}
