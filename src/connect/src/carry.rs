//! Standard input to what leads to the target, and what comes back to standard output.
//!
//! One thread, and nothing waits but poll(2). At most one piece is held for each direction: who does not take what is for
//! them is waited for, and meanwhile nothing more is read that would have to be kept.

use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::time::{Duration, Instant};

use bytes::{Buf, Bytes};
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use vestibule_sys::fds;
use vestibule_sys::signals::SignalFd;

use crate::failure::Failure;

/// What a pipe holds.
const PIECE: usize = 64 << 10;
/// When there is nothing more to send, the other side has this long to end it.
pub(crate) const LAST_WORDS: Duration = Duration::from_secs(10);

/// What leads to the target, once it stands. Nothing of it waits.
pub(crate) trait Link {
    /// To wait at.
    fn fd(&self) -> BorrowedFd<'_>;
    /// What came next.
    fn take(&mut self) -> Result<Taken, Failure>;
    /// Takes over what is to be sent; [`Link::push`] sends it.
    fn give(&mut self, piece: &[u8]) -> Result<(), Failure>;
    /// Sends what is there to be sent; says whether that was all.
    fn push(&mut self) -> Result<bool, Failure>;
    /// There will be no more to send. Says whether the other side must end it now.
    fn finish(&mut self) -> Result<bool, Failure>;
    /// Does what has to be done from time to time, while it is `listened` to or not. When next; and whether there is
    /// something to push.
    fn tick(&mut self, listened: bool) -> Result<(Option<Duration>, bool), Failure>;
    /// Nobody is there any more whom it is for.
    fn abandon(&mut self);
}

/// What came from the other side.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Taken {
    /// Bytes for standard output.
    Bytes(Bytes),
    /// Nothing for standard output; an answer may have to be pushed.
    Word,
    /// Nothing now.
    Nothing,
    /// Nothing ever again.
    End,
}

/// How it ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Carried {
    /// One of the sides ended it.
    Whole,
    /// A signal did.
    Signalled,
}

/// What can be tried: that which was not known to have to wait since poll(2) said otherwise.
struct Ready {
    input: bool,
    output: bool,
    take: bool,
    push: bool,
}

/// Carries until one side ends it.
pub(crate) fn carry(link: &mut impl Link, signals: &SignalFd) -> Result<Carried, Failure> {
    let carried = Carrier::new(link, signals).and_then(|mut carrier| carrier.run());
    for fd in [io::stdin().as_fd(), io::stdout().as_fd()] {
        let _ = fds::set_nonblocking(fd, false);
    }
    carried
}

struct Carrier<'a, L> {
    link: &'a mut L,
    signals: &'a SignalFd,
    input: io::StdinLock<'static>,
    output: std::fs::File,
    /// For standard output.
    down: Bytes,
    /// The link has something to send.
    unsent: bool,
    /// Standard input has not ended.
    open: bool,
    /// The other side has ended it.
    ended: bool,
    /// The other side must end it by then.
    until: Option<Instant>,
    ready: Ready,
    piece: Vec<u8>,
}

impl<'a, L: Link> Carrier<'a, L> {
    fn new(link: &'a mut L, signals: &'a SignalFd) -> Result<Self, Failure> {
        let setup = |e: io::Error| Failure::setup(format_args!("standard input and output: {e}"));
        for fd in [io::stdin().as_fd(), io::stdout().as_fd()] {
            fds::set_nonblocking(fd, true).map_err(setup)?;
        }
        // Not by way of the standard library's handle, which would keep lines back.
        let output = fds::duplicate(io::stdout().as_fd()).map_err(setup)?.into();
        Ok(Carrier {
            link,
            signals,
            input: io::stdin().lock(),
            output,
            down: Bytes::new(),
            unsent: false,
            open: true,
            ended: false,
            until: None,
            ready: Ready { input: true, output: true, take: true, push: true },
            piece: vec![0; PIECE],
        })
    }

    fn run(&mut self) -> Result<Carried, Failure> {
        loop {
            let mut moved = false;
            if !self.down.is_empty() && self.ready.output {
                match self.output.write(&self.down) {
                    Ok(n) => {
                        self.down.advance(n);
                        moved = true;
                    }
                    Err(e) if e.kind() == io::ErrorKind::WouldBlock => self.ready.output = false,
                    Err(e) if e.kind() == io::ErrorKind::Interrupted => moved = true,
                    Err(_) => return Ok(self.leave(Carried::Whole)),
                }
            }
            if self.down.is_empty() && self.ended {
                return Ok(Carried::Whole);
            }
            if self.down.is_empty() && self.ready.take {
                moved |= self.take()?;
            }
            if self.unsent && self.ready.push {
                self.unsent = !self.link.push()?;
                self.ready.push = !self.unsent;
                moved |= !self.unsent;
            }
            if self.open && !self.unsent && self.ready.input {
                moved |= self.read()?;
            }
            if moved {
                continue;
            }
            if let Some(carried) = self.wait()? {
                return Ok(self.leave(carried));
            }
        }
    }

    /// The rest, said to the other side.
    fn leave(&mut self, carried: Carried) -> Carried {
        self.link.abandon();
        carried
    }

    fn take(&mut self) -> Result<bool, Failure> {
        match self.link.take()? {
            Taken::Bytes(bytes) => self.down = bytes,
            Taken::Word => {
                self.unsent = true;
                self.ready.push = true;
            }
            Taken::Nothing => {
                self.ready.take = false;
                return Ok(false);
            }
            Taken::End => self.ended = true,
        }
        Ok(true)
    }

    fn read(&mut self) -> Result<bool, Failure> {
        match self.input.read(&mut self.piece) {
            Ok(0) => {
                self.open = false;
                if self.link.finish()? {
                    self.until = Some(Instant::now() + LAST_WORDS);
                }
            }
            Ok(n) => self.link.give(self.piece.get(..n).unwrap_or_default())?,
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => {
                self.ready.input = false;
                return Ok(false);
            }
            Err(e) if e.kind() == io::ErrorKind::Interrupted => return Ok(true),
            // As the end: who wrote it is gone.
            Err(_) => {
                self.open = false;
                self.link.finish()?;
                self.until = Some(Instant::now());
            }
        }
        self.unsent = true;
        Ok(true)
    }

    /// Waits until something can be done; says how it ended if it is to end.
    fn wait(&mut self) -> Result<Option<Carried>, Failure> {
        let listened = self.down.is_empty();
        let (mut next, push) = self.link.tick(listened)?;
        if push {
            self.unsent = true;
            self.ready.push = true;
            return Ok(None);
        }
        if let Some(until) = self.until {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(Some(Carried::Whole));
            }
            next = Some(next.map_or(left, |next| next.min(left)));
        }
        let when = |flag: bool, flags: PollFlags| if flag { flags } else { PollFlags::empty() };
        let of_link =
            when(listened && !self.ended, PollFlags::POLLIN) | when(self.unsent, PollFlags::POLLOUT);
        let of_output = when(!listened, PollFlags::POLLOUT);
        let mut polled = vec![
            PollFd::new(self.signals.as_fd(), PollFlags::POLLIN),
            PollFd::new(self.output.as_fd(), of_output),
        ];
        // What hung up is only looked at for something.
        let link = (!of_link.is_empty()).then(|| {
            polled.push(PollFd::new(self.link.fd(), of_link));
            polled.len() - 1
        });
        let input = (self.open && !self.unsent).then(|| {
            polled.push(PollFd::new(self.input.as_fd(), PollFlags::POLLIN));
            polled.len() - 1
        });
        let limit = next.map_or(PollTimeout::NONE, |next| {
            PollTimeout::try_from(next + Duration::from_millis(1)).unwrap_or(PollTimeout::MAX)
        });
        match poll(&mut polled, limit) {
            Ok(_) | Err(Errno::EINTR) => {}
            Err(e) => return Err(Failure::setup(format_args!("poll: {e}"))),
        }
        let answer = |n: usize| polled.get(n).and_then(PollFd::revents).unwrap_or(PollFlags::empty());
        let (signals, output) = (answer(0), answer(1));
        let of = |n: Option<usize>| n.map_or(PollFlags::empty(), answer);
        let (link, input) = (of(link), of(input));
        if !signals.is_empty() {
            return Ok(Some(Carried::Signalled));
        }
        // Who reads is gone.
        if output.intersects(PollFlags::POLLERR | PollFlags::POLLHUP) {
            return Ok(Some(Carried::Whole));
        }
        self.ready.output |= output.contains(PollFlags::POLLOUT);
        let broken = link.intersects(PollFlags::POLLERR | PollFlags::POLLHUP);
        self.ready.take |= broken || link.contains(PollFlags::POLLIN);
        self.ready.push |= broken || link.contains(PollFlags::POLLOUT);
        self.ready.input |= !input.is_empty();
        Ok(None)
    }
}
