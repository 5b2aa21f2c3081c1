//! The time in which a client waits for its target to be started: what it sees, whether it is still there, and whether it
//! may still come in.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::time::Duration;

use nix::poll::{PollFd, PollFlags, PollTimeout};
use vestibule::messages::{Line, WakeStep, told, waking};
use vestibule::watch::{Ending, Watch};
use vestibule_sys::pty;
use vestibule_sys::signals::SignalFd;

use crate::relay::libc_signal::{SIGHUP, SIGTERM};
use crate::relay::{is_ready, wait, watched};

/// Lines that a hub may have said to one who waits.
const MAX_SAID: u32 = 100;

/// What is known of the waiting.
pub(crate) struct Waiting {
    /// Whether there is a terminal to draw on. A command's standard error stays as it is.
    draws: bool,
    /// The session's number, for lines that are not drawn.
    session: String,
    /// How many lines were said.
    said: u32,
    /// Columns that hold what was drawn last.
    drawn: usize,
    /// The target, while it is started.
    target: Option<String>,
}

/// What [`Waiting::look`] saw.
pub(crate) enum Look {
    /// The worker has something to say.
    Word,
    /// Nothing within the time, or a signal that means nothing here.
    Nothing,
    /// The client went; the target that it waited for.
    Left(String),
    /// What let it in was taken away; the target that it waited for.
    Revoked(String, Ending),
}

impl Waiting {
    pub(crate) fn new(draws: bool, session: &str) -> Self {
        Waiting { draws, session: session.to_owned(), said: 0, drawn: 0, target: None }
    }

    /// Waits for the worker's next word, and, while a target is started, looks after the client too.
    pub(crate) fn look(
        &self,
        socket: BorrowedFd<'_>,
        signals: &SignalFd,
        watch: Option<&mut Watch>,
        limit: Duration,
    ) -> io::Result<Look> {
        let limit = PollTimeout::try_from(limit).unwrap_or(PollTimeout::MAX);
        let mut polled = vec![PollFd::new(socket, PollFlags::POLLIN)];
        let stderr = io::stderr();
        // At other times signals are kept for the relay, which also has the terminal by then.
        if self.target.is_some() {
            polled.push(PollFd::new(signals.as_fd(), PollFlags::POLLIN));
            polled.push(PollFd::new(stderr.as_fd(), PollFlags::empty()));
            polled.push(watched(watch.as_deref(), socket));
        }
        wait(&mut polled, limit)?;
        let ready = |n: usize, flags| polled.get(n).is_some_and(|p| is_ready(p, flags));
        let word = ready(0, PollFlags::POLLIN);
        if let Some(target) = &self.target {
            let ended = ready(1, PollFlags::POLLIN)
                && std::iter::from_fn(|| signals.next().ok().flatten()).any(|s| s == SIGHUP || s == SIGTERM);
            if ended || ready(2, PollFlags::empty()) {
                return Ok(Look::Left(target.clone()));
            }
            if ready(3, PollFlags::POLLIN)
                && let Some(ending) = watch.and_then(Watch::serve)
            {
                return Ok(Look::Revoked(target.clone(), ending));
            }
        }
        Ok(if word { Look::Word } else { Look::Nothing })
    }

    /// Takes the worker's news of what is waited for, and draws it; without a terminal only what a hub tells is said. How long that may still take; `None` when it makes no
    /// sense.
    pub(crate) fn take_news(&mut self, fields: &[Vec<u8>]) -> Option<Duration> {
        let [_, target, step, seconds, left, words, fresh] = fields else { return None };
        let target = String::from_utf8_lossy(target).into_owned();
        let step = WakeStep::ALL.into_iter().find(|known| known.word().as_bytes() == step)?;
        let number = |bytes: &Vec<u8>| Some(u64::from_ne_bytes(bytes.as_slice().try_into().ok()?));
        let (seconds, left) = (number(seconds)?, number(left)?);
        let words = String::from_utf8_lossy(words);
        if self.draws {
            self.draw(&waking(&target, step, seconds, &words));
        } else if !fresh.is_empty() && self.said < MAX_SAID {
            self.said += 1;
            told(&target, &words, &self.session).say();
        }
        self.target = Some(target);
        Some(Duration::from_secs(left.min(24 * 3600)))
    }

    /// One line, drawn over the one before; never as wide as the terminal, where it would go on in the next one.
    fn draw(&mut self, line: &Line) {
        let columns = pty::size(io::stderr().as_fd()).map_or(0, |size| usize::from(size.ws_col));
        let room = if columns == 0 { usize::MAX } else { columns.saturating_sub(1) };
        let (drawn, width) = line.drawn_over(self.drawn, room);
        drawn.say();
        self.drawn = width;
    }

    /// The waiting is over: what was drawn goes.
    pub(crate) fn over(&mut self) {
        self.target = None;
        if self.drawn > 0 {
            Line::erasing(self.drawn).say();
            self.drawn = 0;
        }
    }
}
