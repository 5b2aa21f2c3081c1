//! The last step: in the container's namespaces and with nothing left to give up, the user's shell.

use std::ffi::CString;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use vestibule::messages::Refusal;
use vestibule_sys::{exec, fds, process, pty, signals};

use crate::refused::{OrRefuse, Refused};
use crate::users::User;
use crate::worker;

/// What is executed, and with what.
pub(crate) struct Program {
    pub(crate) path: CString,
    pub(crate) args: Vec<CString>,
    pub(crate) env: Vec<CString>,
}

impl Program {
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
            path: string(user.shell.clone())?,
            args: args.into_iter().map(string).collect::<Result<_, _>>()?,
            env,
        })
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
    fds::close_on_exec_from(3).or_setup("close_range")?;
    signals::reset_all().or_setup("sigprocmask")?;
    process::signal_on_parent_death(relay_hangup(), process::parent_pid()).or_setup("PR_SET_PDEATHSIG")?;
    let e = exec::execute(&program.path, &program.args, &program.env);
    let shell = program.path.to_string_lossy().into_owned();
    let why = nix::errno::Errno::from_raw(e.raw_os_error().unwrap_or(0)).desc().to_owned();
    Err(Refused::new(Refusal::NoShell { shell, why }, format_args!("execve: {e}")))
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
        assert_eq!((login.path.as_bytes(), login.args), (b"/bin/ash".as_slice(), vec![c"-ash".to_owned()]));
        let command = Program::of(&user(), Some(b"echo \"$x\" 'y'; \xff\n*"), vec![]).unwrap();
        let wanted = [
            c"ash".to_owned(),
            c"-c".to_owned(),
            CString::new(b"echo \"$x\" 'y'; \xff\n*".to_vec()).unwrap(),
        ];
        assert_eq!(command.args, wanted);
    }
}
