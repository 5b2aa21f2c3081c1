//! Carrying connections from the agent's socket in the container to the one that sshd made. Part of the monitor's loop.
//!
//! Whoever connects inside is not trusted: there is a bound to connections and to what is kept for each, a side that does
//! not read stops the one that writes, and nothing waits.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixListener;
use std::path::PathBuf;

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags};
use nix::sys::socket::{
    AddressFamily, Shutdown, SockFlag, SockType, UnixAddr, connect, getsockopt, shutdown, socket, sockopt,
};
use nix::unistd::getuid;

use crate::relay::{Flow, flags};

/// Further ones wait in the socket's queue.
const MAX_CONNECTIONS: usize = 32;

/// The agent's socket in the container, and the connections that it was asked for.
pub(crate) struct Relay {
    listener: Option<UnixListener>,
    /// The socket that sshd made.
    agent: PathBuf,
    connections: Vec<Connection>,
}

struct Connection {
    inside: OwnedFd,
    agent: OwnedFd,
    asked: Half,
    answered: Half,
}

/// One direction.
#[derive(Default)]
struct Half {
    flow: Flow,
    /// The sink was told that there is no more.
    closed: bool,
}

/// What a descriptor belongs to.
#[derive(Clone, Copy)]
enum Slot {
    Listener,
    Inside(usize),
    Agent(usize),
}

impl Relay {
    /// `listener` must not block.
    pub(crate) fn new(listener: OwnedFd, agent: PathBuf) -> Self {
        Relay { listener: Some(listener.into()), agent, connections: Vec::new() }
    }

    /// What to ask poll(2). The answers, in the same order, go to [`serve`](Self::serve).
    pub(crate) fn interest(&self) -> impl Iterator<Item = PollFd<'_>> {
        self.wanted().into_iter().filter_map(|(slot, flags)| Some(PollFd::new(self.descriptor(slot)?, flags)))
    }

    /// A descriptor of which nothing is wanted is left out: one that was hung up would answer for ever.
    fn wanted(&self) -> Vec<(Slot, PollFlags)> {
        let listening = self.listener.is_some() && self.connections.len() < MAX_CONNECTIONS;
        let listener = listening.then_some((Slot::Listener, PollFlags::POLLIN));
        let each = self.connections.iter().enumerate().flat_map(|(n, c)| {
            let (asked, answered) = (&c.asked.flow, &c.answered.flow);
            [
                (Slot::Inside(n), flags(asked.wants_input(), answered.wants_output())),
                (Slot::Agent(n), flags(answered.wants_input(), asked.wants_output())),
            ]
        });
        listener.into_iter().chain(each.filter(|(_, flags)| !flags.is_empty())).collect()
    }

    fn descriptor(&self, slot: Slot) -> Option<BorrowedFd<'_>> {
        match slot {
            Slot::Listener => self.listener.as_ref().map(AsFd::as_fd),
            Slot::Inside(n) => self.connections.get(n).map(|c| c.inside.as_fd()),
            Slot::Agent(n) => self.connections.get(n).map(|c| c.agent.as_fd()),
        }
    }

    /// Does what can be done now, given the answers to [`interest`](Self::interest).
    pub(crate) fn serve(&mut self, answers: &[PollFlags]) {
        let mut arrived = false;
        for ((slot, _), answer) in self.wanted().into_iter().zip(answers) {
            if answer.is_empty() {
                continue;
            }
            match slot {
                Slot::Listener => arrived = true,
                Slot::Inside(n) => self.connections.get_mut(n).into_iter().for_each(Connection::inside_came),
                Slot::Agent(n) => self.connections.get_mut(n).into_iter().for_each(Connection::agent_came),
            }
        }
        self.connections.iter_mut().for_each(Connection::pass_ends_on);
        self.connections.retain(|c| !c.is_over());
        while arrived && self.connections.len() < MAX_CONNECTIONS {
            arrived = self.accept();
        }
    }

    /// Whether there was somebody.
    fn accept(&mut self) -> bool {
        let Some(listener) = &self.listener else { return false };
        match listener.accept() {
            Ok((inside, _)) => {
                // One that can't be served is hung up.
                if let Ok(agent) = self.connect()
                    && inside.set_nonblocking(true).is_ok()
                {
                    self.connections.push(Connection {
                        inside: inside.into(),
                        agent,
                        asked: Half::default(),
                        answered: Half::default(),
                    });
                }
                true
            }
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => false,
            Err(e)
                if matches!(
                    e.raw_os_error().map(Errno::from_raw),
                    Some(Errno::ECONNABORTED | Errno::EINTR)
                ) =>
            {
                true
            }
            Err(_) => {
                self.listener = None;
                false
            }
        }
    }

    /// Connects to sshd's socket, which must have been made by this same user: the path came by the environment.
    fn connect(&self) -> io::Result<OwnedFd> {
        let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
        let socket = socket(AddressFamily::Unix, SockType::Stream, flags, None)?;
        connect(socket.as_raw_fd(), &UnixAddr::new(&self.agent)?)?;
        let owner = getsockopt(&socket, sockopt::PeerCredentials)?.uid();
        if owner == getuid().as_raw() { Ok(socket) } else { Err(io::ErrorKind::PermissionDenied.into()) }
    }
}

impl Connection {
    fn inside_came(&mut self) {
        self.asked.carry(self.inside.as_fd(), self.agent.as_fd());
        self.answered.flush(self.inside.as_fd());
    }

    fn agent_came(&mut self) {
        self.answered.carry(self.agent.as_fd(), self.inside.as_fd());
        self.asked.flush(self.agent.as_fd());
    }

    fn pass_ends_on(&mut self) {
        self.asked.pass_end_on(self.agent.as_fd());
        self.answered.pass_end_on(self.inside.as_fd());
    }

    /// Both have said all, or one of them listens no more.
    fn is_over(&self) -> bool {
        let broken = self.asked.flow.broken || self.answered.flow.broken;
        broken || (self.asked.closed && self.answered.closed)
    }
}

impl Half {
    fn carry(&mut self, from: BorrowedFd<'_>, to: BorrowedFd<'_>) {
        if self.flow.wants_input() {
            self.flow.fill(from);
        }
        self.flush(to);
    }

    fn flush(&mut self, to: BorrowedFd<'_>) {
        if self.flow.wants_output() {
            self.flow.drain(to);
        }
    }

    fn pass_end_on(&mut self, to: BorrowedFd<'_>) {
        if self.flow.ended && self.flow.buffer.is_empty() && !self.closed {
            let _ = shutdown(to.as_raw_fd(), Shutdown::Write); // one that is gone knows
            self.closed = true;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::os::unix::net::UnixStream;
    use std::path::Path;
    use std::time::{Duration, Instant};

    use nix::poll::PollTimeout;

    use super::*;
    use crate::relay::wait;

    /// Runs the relay until `done`, which must be soon.
    fn run(relay: &mut Relay, mut done: impl FnMut(&Relay) -> bool) {
        let end = Instant::now() + Duration::from_secs(10);
        while !done(relay) {
            assert!(Instant::now() < end, "the relay hangs");
            let mut polled: Vec<_> = relay.interest().collect();
            wait(&mut polled, PollTimeout::from(20_u8)).unwrap();
            let answers: Vec<_> = polled.iter().map(|p| p.revents().unwrap_or(PollFlags::empty())).collect();
            relay.serve(&answers);
        }
    }

    fn set_up(dir: &Path) -> (Relay, UnixListener) {
        let inside = UnixListener::bind(dir.join("inside")).unwrap();
        inside.set_nonblocking(true).unwrap();
        let agent = UnixListener::bind(dir.join("agent")).unwrap();
        (Relay::new(inside.into(), dir.join("agent")), agent)
    }

    #[test]
    fn a_question_and_its_end_reach_the_agent_and_the_answer_comes_back() {
        let dir = tempfile::tempdir().unwrap();
        let (mut relay, agent) = set_up(dir.path());
        let mut asking = UnixStream::connect(dir.path().join("inside")).unwrap();
        asking.write_all(b"question").unwrap();
        asking.shutdown(std::net::Shutdown::Write).unwrap();
        run(&mut relay, |r| r.connections.first().is_some_and(|c| c.asked.closed));
        let (mut asked, _) = agent.accept().unwrap();
        let mut question = String::new();
        asked.read_to_string(&mut question).unwrap();
        assert_eq!(question, "question");
        asked.write_all(b"answer").unwrap();
        drop(asked);
        run(&mut relay, |r| r.connections.is_empty());
        let mut answer = String::new();
        asking.read_to_string(&mut answer).unwrap();
        assert_eq!(answer, "answer");
    }

    #[test]
    fn who_writes_without_end_is_stopped_and_who_comes_in_numbers_waits() {
        let dir = tempfile::tempdir().unwrap();
        let (mut relay, _agent) = set_up(dir.path());
        let mut flood = UnixStream::connect(dir.path().join("inside")).unwrap();
        flood.set_nonblocking(true).unwrap();
        let _crowd: Vec<_> =
            (0..100).map(|_| UnixStream::connect(dir.path().join("inside")).unwrap()).collect();
        let mut stuck = 0;
        run(&mut relay, |r| {
            while flood.write(&[0; 4096]).is_ok() {
                stuck = 0;
            }
            stuck += 1;
            r.connections.len() == MAX_CONNECTIONS && stuck > 5
        });
        let kept: usize = relay.connections.iter().map(|c| c.asked.flow.buffer.len()).sum();
        assert!(kept < 128 << 10, "{kept}");
    }

    #[test]
    fn when_the_agent_is_gone_who_asks_is_hung_up() {
        let dir = tempfile::tempdir().unwrap();
        let (mut relay, agent) = set_up(dir.path());
        drop(agent);
        let mut asking = UnixStream::connect(dir.path().join("inside")).unwrap();
        let mut rounds = 0;
        run(&mut relay, |_| {
            rounds += 1;
            rounds > 3
        });
        assert_eq!(asking.read(&mut [0]).unwrap(), 0);
    }
}
