//! The process that stands in the connection's network namespace and hands what comes there to the master.
//!
//! It is `vestibule-hop`, without privileges. What it hears comes from sshd's process (connections and names, both chosen
//! by a client) and from the master; it ends when the connection's keeper does. Nothing here waits for one of them alone,
//! and there is a limit to everything.

use std::collections::{HashMap, VecDeque};
use std::io::{self, ErrorKind};
use std::net::{IpAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use vestibule::messages::shown;
use vestibule_sys::syslog::{Severity, Syslog};

use super::flow::{self, Flow, Part};
use super::names::Names;
use crate::hop::on_demand;

/// Connections at a time; each is three descriptors here, and three of the master's.
pub(super) const MAX_FLOWS: usize = 512;
/// For the master to be there.
const MASTER_WITHIN: Duration = Duration::from_secs(20);
/// Between two looks whether it is.
const LOOK_EVERY: Duration = Duration::from_millis(10);
/// After a master that failed none is started for so long.
const PAUSE: Duration = Duration::from_secs(1);

/// What it was given.
pub(super) struct Given<'a> {
    /// The connection's number, for the log.
    pub(super) id: &'a str,
    pub(super) target: &'a str,
    pub(super) v4: TcpListener,
    pub(super) v6: Option<TcpListener>,
    pub(super) names: UdpSocket,
    /// The keeper's end of it is closed when the connection ends.
    pub(super) keeper: &'a OwnedFd,
    /// Who starts the master, and says when it has ended.
    pub(super) starter: &'a OwnedFd,
    /// The master's control socket, as this process gets there.
    pub(super) control: String,
}

// What epoll says; flows' tokens are the multiples of four from FLOWS on, and their parts' the ones behind.
const V4: u64 = 0;
const V6: u64 = 1;
const NAMES: u64 = 2;
const KEEPER: u64 = 3;
const STARTER: u64 = 4;
const FLOWS: u64 = 8;
const TOKENS: u64 = 4;

enum Master {
    Down { not_before: Option<Instant> },
    Starting { since: Instant },
    Up,
}

struct Ferry<'a> {
    given: &'a Given<'a>,
    log: &'a Syslog,
    epoll: Epoll,
    names: Names,
    master: Master,
    waiting: VecDeque<(TcpStream, String, u16)>,
    flows: HashMap<u64, Flow>,
    last: u64,
    full: bool,
}

/// Stays until the connection ends.
///
/// # Errors
/// As epoll(7).
pub(super) fn run(given: &Given<'_>, log: &Syslog) -> io::Result<()> {
    let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
    let watch = |fd: &dyn AsFd, token| epoll.add(fd.as_fd(), EpollEvent::new(EpollFlags::EPOLLIN, token));
    given.v4.set_nonblocking(true)?;
    watch(&given.v4, V4)?;
    if let Some(v6) = &given.v6 {
        v6.set_nonblocking(true)?;
        watch(v6, V6)?;
    }
    given.names.set_nonblocking(true)?;
    watch(&given.names, NAMES)?;
    watch(given.keeper, KEEPER)?;
    watch(given.starter, STARTER)?;
    let mut ferry = Ferry {
        given,
        log,
        epoll,
        names: Names::default(),
        master: Master::Down { not_before: None },
        waiting: VecDeque::new(),
        flows: HashMap::new(),
        last: 0,
        full: false,
    };
    while ferry.round()? {}
    Ok(())
}

impl Ferry<'_> {
    /// Waits for what comes next and does it. Says whether there is more to do.
    fn round(&mut self) -> io::Result<bool> {
        let waits = !self.waiting.is_empty();
        let timeout = if waits { EpollTimeout::try_from(LOOK_EVERY).ok() } else { None };
        let timeout = timeout.unwrap_or(EpollTimeout::NONE);
        let mut events = [EpollEvent::empty(); 64];
        let count = match self.epoll.wait(&mut events, timeout) {
            Ok(count) => count,
            Err(nix::errno::Errno::EINTR) => 0,
            Err(e) => return Err(e.into()),
        };
        for event in events.iter().take(count) {
            match event.data() {
                KEEPER => return Ok(false),
                STARTER if !self.master_ended() => return Ok(false),
                STARTER => {}
                V4 => self.accept(&self.given.v4),
                V6 => {
                    if let Some(v6) = &self.given.v6 {
                        self.accept(v6);
                    }
                }
                NAMES => self.answer(),
                token => self.serve(token),
            }
        }
        self.look();
        Ok(true)
    }

    fn accept(&mut self, listener: &TcpListener) {
        // Some, and then it is another's turn.
        for _ in 0..16 {
            let Ok((socket, _)) = listener.accept() else { return };
            if self.flows.len() + self.waiting.len() >= MAX_FLOWS {
                flow::refuse(&socket);
                if !self.full {
                    self.full = true;
                    self.note(format_args!(
                        "note=\"{MAX_FLOWS} forwards at a time; further ones are refused\""
                    ));
                }
                continue;
            }
            let Ok(to) = socket.local_addr() else { continue };
            let _ = (socket.set_nonblocking(true), socket.set_nodelay(true));
            let host = self.names.host(to.ip().to_canonical());
            self.waiting.push_back((socket, host, to.port()));
        }
    }

    fn answer(&mut self) {
        let mut question = [0_u8; 1024];
        for _ in 0..16 {
            let Ok((length, from)) = self.given.names.recv_from(&mut question) else { return };
            if let Some(answer) = self.names.answer(question.get(..length).unwrap_or_default()) {
                let _ = self.given.names.send_to(&answer, from);
            }
        }
    }

    fn serve(&mut self, token: u64) {
        let flow = token - token % TOKENS;
        let part = usize::try_from(token % TOKENS).ok().and_then(|part| Part::ALL.get(part));
        let (Some(found), Some(part)) = (self.flows.get_mut(&flow), part) else { return };
        if found.serve(&self.epoll, *part) {
            self.flows.remove(&flow);
        }
    }

    /// Hands on what waits, or has the master started.
    fn look(&mut self) {
        if let Master::Down { not_before } = self.master {
            if self.waiting.is_empty() {
                return;
            }
            if not_before.is_some_and(|time| Instant::now() < time) {
                return self.refuse_waiting();
            }
            if on_demand::ask(self.given.starter).is_err() {
                return self.refuse_waiting();
            }
            self.master = Master::Starting { since: Instant::now() };
        }
        if let Master::Starting { since } = self.master
            && since.elapsed() > MASTER_WITHIN
        {
            self.failed("no control socket");
        }
        while let Some((socket, host, port)) = self.waiting.pop_front() {
            self.last = self.last.wrapping_add(TOKENS);
            let token = FLOWS + self.last;
            match Flow::start(&self.epoll, token, &self.given.control, socket, (&host, port)) {
                Ok(flow) => {
                    if let Master::Starting { since } = self.master {
                        let took = since.elapsed().as_millis();
                        self.note(format_args!(
                            "event=hop target={} milliseconds={took}",
                            shown(self.given.target)
                        ));
                    }
                    self.master = Master::Up;
                    self.flows.insert(token, flow);
                }
                Err((e, socket)) if wait_for_master(&e) => {
                    self.waiting.push_front((socket, host, port));
                    if matches!(self.master, Master::Up) && e.kind() != ErrorKind::WouldBlock {
                        // It has gone, or is about to say so.
                        self.master = Master::Starting { since: Instant::now() };
                        let _ = on_demand::ask(self.given.starter);
                    }
                    return;
                }
                Err((_, socket)) => flow::refuse(&socket),
            }
        }
    }

    /// The master has ended, and its last words come. Says whether there is who could start another.
    fn master_ended(&mut self) -> bool {
        let Some(words) = on_demand::last_words(self.given.starter) else { return false };
        match self.master {
            Master::Up => self.master = Master::Down { not_before: None },
            _ => self.failed(&words),
        }
        true
    }

    fn failed(&mut self, why: &str) {
        self.master = Master::Down { not_before: Some(Instant::now() + PAUSE) };
        self.log.line(
            Severity::Warning,
            format_args!(
                "connection={} event=hop result=failed target={} cause={:?}",
                self.given.id,
                shown(self.given.target),
                shown(why)
            ),
        );
        self.refuse_waiting();
    }

    fn refuse_waiting(&mut self) {
        for (socket, ..) in self.waiting.drain(..) {
            flow::refuse(&socket);
        }
    }

    fn note(&self, text: std::fmt::Arguments<'_>) {
        self.log.line(Severity::Info, format_args!("connection={} {text}", self.given.id));
    }
}

/// Whether a master that is not there yet, or is busy, is the reason.
fn wait_for_master(e: &io::Error) -> bool {
    matches!(e.kind(), ErrorKind::NotFound | ErrorKind::ConnectionRefused | ErrorKind::WouldBlock)
}

/// Of which family a listener is to be, and where.
pub(super) fn listen(at: IpAddr) -> io::Result<TcpListener> {
    TcpListener::bind((at, 0))
}
