//! The engine's own exec: `POST /containers/ID/exec` and `/exec/ID/start` of Docker's Engine API.
//!
//! For rootless and remote engines, where there are no namespaces of this host to enter. By the time this runs the
//! process has given up all privileges; what it holds are two connections to the engine.

use std::io::{self, BufReader, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use nix::poll::{PollFd, PollFlags, PollTimeout};
use serde::{Deserialize, Serialize};
use vestibule::messages::{Refusal, Why};
use vestibule_sys::signals::SignalFd;
use vestibule_sys::{fds, pty};

use super::frames::Frames;
use super::{http, inspect};
use crate::args::Session;
use crate::parser::Facts;
use crate::refused::{OrRefuse, Refused};
use crate::relay::libc_signal::{SIGHUP, SIGTERM, SIGWINCH};
use crate::relay::{Flow, flags, is_ready, wait};
use crate::sftp::Server;

/// An inspection may be long; the other answers here are short.
const MAX_ANSWER: u64 = 8 << 20;

/// What is to be started, in the API's names.
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct Request {
    attach_stdin: bool,
    attach_stdout: bool,
    attach_stderr: bool,
    tty: bool,
    cmd: Vec<String>,
    env: Vec<String>,
    user: String,
    #[serde(skip)]
    container: String,
    /// Its id, where that is known already.
    #[serde(skip)]
    id: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Created {
    id: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct State {
    #[serde(default)]
    running: bool,
    #[serde(default)]
    pid: i32,
    exit_code: Option<i32>,
}

impl Request {
    /// The exec that a session is.
    pub(crate) fn of(
        session: &Session,
        facts: &Facts,
        container: &str,
        id: Option<String>,
        (shell, sftp): (&str, Option<&Server>),
    ) -> Result<Self, Refused> {
        // The engine finds the user, and would take an account called `0` for root.
        let is_root = facts.login_user == b"root" || facts.login_user.iter().all(u8::is_ascii_digit);
        if facts.is_account && is_root {
            let user = String::from_utf8_lossy(&facts.login_user).into_owned();
            return Err(Refused::new(
                Refusal::NoSuchUser { user },
                "an account's name that is a number, or root's",
            ));
        }
        let text = |bytes: &[u8]| {
            String::from_utf8(bytes.to_vec())
                .map_err(|_| Refused::new(Refusal::NotText, "bytes that are no UTF-8"))
        };
        let by_shell = |command: String| vec![shell.to_owned(), "-c".to_owned(), command];
        let server = sftp.and_then(Server::as_command);
        let cmd = match (&session.probe, server, &session.client.command) {
            (Some(words), _, _) => words.clone(),
            (None, Some(server), _) => by_shell(server),
            (None, None, None) => vec![shell.to_owned(), "-l".to_owned()],
            (None, None, Some(command)) => by_shell(text(command)?),
        };
        let mut env: Vec<String> =
            text(&facts.env)?.split('\0').filter(|v| !v.is_empty()).map(str::to_owned).collect();
        for (name, value) in &session.client.variables {
            if name != b"TERM" || session.pty {
                env.push(format!("{}={}", text(name)?, text(value)?));
            }
        }
        Ok(Request {
            attach_stdin: true,
            attach_stdout: true,
            attach_stderr: true,
            tty: session.pty,
            cmd,
            env,
            user: text(&facts.login_user)?,
            container: container.to_owned(),
            id,
        })
    }
}

/// How it is with an exec that is relayed no longer.
pub(crate) enum Over {
    /// It ended, with this status.
    Ended(i32),
    /// It was killed, and the container does not run any more.
    Stopped,
    /// The client has gone, and it runs on: a number by the engine's word.
    Left { pid: i32 },
}

/// A started exec.
pub(crate) struct Running {
    id: String,
    /// The container's id.
    container: String,
    control: BufReader<UnixStream>,
    stream: UnixStream,
    /// What came behind the answer's head.
    early: Vec<u8>,
}

/// Creates the exec and starts it; its bytes come on `stream` from then on.
pub(crate) fn start(
    control: UnixStream,
    stream: UnixStream,
    request: &Request,
    target: &str,
) -> Result<Running, Refused> {
    let mut control = BufReader::new(control);
    let hung = || Refusal::NotAnswering { target: target.to_owned() };
    let id = match &request.id {
        Some(id) => id.clone(),
        None => {
            let named = super::container_path(&request.container, "json")?;
            let (status, answer) = ask(&mut control, "GET", &named, b"").or_refuse(hung, "the engine")?;
            let found = inspect::understand(request.container.as_bytes(), status, &answer);
            let cause = "the engine knows no such container";
            let gone = || Refused::new(Refusal::Gone { target: target.to_owned() }, cause);
            found.map_err(Refused::setup)?.ok_or_else(gone)?.id
        }
    };
    let path = super::container_path(&id, "exec")?;
    let json = serde_json::to_vec(request).map_err(Refused::setup)?;
    let (status, answer) = ask(&mut control, "POST", &path, &json).or_refuse(hung, "the engine's exec")?;
    let cause = || format!("status {status}: {}", String::from_utf8_lossy(&answer));
    let target = target.to_owned();
    match status {
        201 => {}
        404 => return Err(Refused::new(Refusal::Gone { target }, cause())),
        409 if cause().contains("paused") => return Err(Refused::new(Refusal::Paused { target }, cause())),
        409 | 500 => return Err(Refused::new(Refusal::NotRunning { target }, cause())),
        _ => return Err(Refused::setup(cause())),
    }
    let created: Created = serde_json::from_slice(&answer).map_err(Refused::setup)?;
    if created.id.is_empty() || !created.id.bytes().all(|b| b.is_ascii_alphanumeric()) {
        return Err(Refused::setup("the engine's exec has no id"));
    }
    let mut reader = BufReader::new(stream);
    let body = format!(r#"{{"Detach":false,"Tty":{}}}"#, request.tty);
    let start = |reader: &mut BufReader<UnixStream>| -> io::Result<http::Head> {
        let path = format!("/exec/{}/start", created.id);
        let upgrade = "Connection: Upgrade\r\nUpgrade: tcp\r\n";
        write_request(reader.get_mut(), "POST", &path, upgrade, body.as_bytes())?;
        http::read_head(reader)
    };
    let head = start(&mut reader).or_refuse(hung, "the engine's exec")?;
    if !matches!(head.status, 101 | 200) {
        let answer = http::read_body(&mut reader, head, MAX_ANSWER).unwrap_or_default();
        let cause = format!("status {}: {}", head.status, String::from_utf8_lossy(&answer));
        let refusal = if cause.contains("user") && cause.contains("find") {
            Refusal::NoSuchUser { user: request.user.clone() }
        } else {
            Refusal::NoShell { shell: request.cmd.first().cloned().unwrap_or_default(), why: Why::Engine }
        };
        return Err(Refused::new(refusal, cause));
    }
    let early = reader.buffer().to_vec();
    Ok(Running { id: created.id, container: id, control, stream: reader.into_inner(), early })
}

fn ask(to: &mut BufReader<UnixStream>, method: &str, path: &str, body: &[u8]) -> io::Result<(u16, Vec<u8>)> {
    write_request(to.get_mut(), method, path, "", body)?;
    let head = http::read_head(to)?;
    Ok((head.status, http::read_body(to, head, MAX_ANSWER)?))
}

fn write_request(
    to: &mut UnixStream,
    method: &str,
    path: &str,
    headers: &str,
    body: &[u8],
) -> io::Result<()> {
    let length = body.len();
    let head = format!(
        "{method} {path} HTTP/1.1\r\nHost: engine\r\n{headers}Content-Type: application/json\r\nContent-Length: {length}\r\n\r\n"
    );
    to.write_all(&[head.as_bytes(), body].concat())
}

impl Running {
    /// Relays until the engine ends the stream, or the client goes; then asks how the process is.
    pub(crate) fn relay(mut self, tty: bool) -> Result<Over, Refused> {
        let modes = if tty { pty::make_raw(io::stdin().as_fd()).ok() } else { None };
        let pumped = self.pump(tty);
        if let Some(modes) = &modes {
            let _ = pty::restore(io::stdin().as_fd(), modes);
        }
        let whole = pumped.or_setup("the engine's stream")?;
        let path = format!("/exec/{}/json", self.id);
        // The engine may close the stream a moment before it has noted the end.
        for _ in 0..100 {
            let (status, answer) = ask(&mut self.control, "GET", &path, b"").or_setup("the engine's exec")?;
            let state: State = serde_json::from_slice(&answer)
                .map_err(|e| Refused::setup(format_args!("the engine's exec, status {status}: {e}")))?;
            match state.exit_code {
                // As a shell counts: 128 and SIGKILL, which is also what the end of the container is.
                Some(137) if !state.running && whole && self.has_stopped() => return Ok(Over::Stopped),
                Some(code) if !state.running => return Ok(Over::Ended(code)),
                _ if !whole && state.pid != 0 => return Ok(Over::Left { pid: state.pid }),
                _ => std::thread::sleep(Duration::from_millis(20)),
            }
        }
        Err(Refused::setup("the engine does not say how the process ended"))
    }

    /// Whether the container does not run any more. Its end is noted a moment after that of what ran in it.
    fn has_stopped(&mut self) -> bool {
        let Ok(path) = super::container_path(&self.container, "json") else { return false };
        for _ in 0..10 {
            let Ok((status, answer)) = ask(&mut self.control, "GET", &path, b"") else { return false };
            match inspect::understand(self.container.as_bytes(), status, &answer) {
                Ok(Some(found)) if found.pid > 1 => std::thread::sleep(Duration::from_millis(50)),
                Ok(_) => return true,
                Err(_) => return false,
            }
        }
        false
    }

    /// Says whether the stream came to its end; `false` when the client has gone.
    fn pump(&mut self, tty: bool) -> io::Result<bool> {
        let (stdin, stdout, stderr) = (io::stdin(), io::stdout(), io::stderr());
        let (stdin, stdout, stderr) = (stdin.as_fd(), stdout.as_fd(), stderr.as_fd());
        let signals = SignalFd::new(&[SIGHUP, SIGTERM, SIGWINCH])?;
        if tty {
            self.resize(stdin);
        }
        self.stream.set_read_timeout(None)?;
        self.stream.set_nonblocking(true)?;
        for fd in [stdin, stdout, stderr] {
            fds::set_nonblocking(fd, true)?;
        }
        let (mut input, mut wire) = (Flow::default(), Flow::default());
        let (mut out, mut err) = (Flow::default(), Flow::default());
        wire.buffer = std::mem::take(&mut self.early);
        let (mut told_end, mut frames) = (false, Frames::default());
        loop {
            if tty {
                out.buffer.append(&mut wire.buffer);
            } else {
                frames.take(&mut wire.buffer, &mut out.buffer, &mut err.buffer);
            }
            // What writes on without a reader would have died of SIGPIPE, had it the client's descriptors.
            if out.broken || err.broken {
                return Ok(false);
            }
            if input.ended && input.buffer.is_empty() && !told_end {
                told_end = true;
                let _ = self.stream.shutdown(std::net::Shutdown::Write);
            }
            if wire.ended && !out.wants_output() && !err.wants_output() {
                return Ok(true);
            }
            let room = out.wants_input() && err.wants_input();
            let asked = |fd, flags| (!PollFlags::is_empty(&flags)).then_some(PollFd::new(fd, flags));
            let polls = [
                Some(PollFd::new(signals.as_fd(), PollFlags::POLLIN)),
                Some(PollFd::new(stderr, PollFlags::empty())),
                asked(stdin, flags(input.wants_input(), false)),
                asked(self.stream.as_fd(), flags(room && wire.wants_input(), input.wants_output())),
                asked(stdout, flags(false, out.wants_output())),
                asked(stderr, flags(false, err.wants_output())),
            ];
            let mut polled: Vec<PollFd<'_>> = polls.into_iter().flatten().collect();
            wait(&mut polled, PollTimeout::NONE)?;
            let signalled = polled.first().is_some_and(|p| is_ready(p, PollFlags::POLLIN));
            if polled.get(1).is_some_and(|p| is_ready(p, PollFlags::empty())) {
                return Ok(false);
            }
            if signalled {
                while let Some(signal) = signals.next()? {
                    match signal {
                        SIGWINCH => self.resize(stdin),
                        _ => return Ok(false),
                    }
                }
            }
            // Nothing blocks, so each is simply tried.
            if input.wants_input() {
                input.fill(stdin);
            }
            if input.wants_output() {
                input.drain(self.stream.as_fd());
            }
            if room && wire.wants_input() {
                wire.fill(self.stream.as_fd());
            }
            if out.wants_output() {
                out.drain(stdout);
            }
            if err.wants_output() {
                err.drain(stderr);
            }
        }
    }

    fn resize(&mut self, terminal: BorrowedFd<'_>) {
        if let Ok(size) = pty::size(terminal) {
            let path = format!("/exec/{}/resize?h={}&w={}", self.id, size.ws_row, size.ws_col);
            let _ = ask(&mut self.control, "POST", &path, b"");
        }
    }
}
