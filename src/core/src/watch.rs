//! Watching whether a session may go on: the bell beside the store, the clock, and a process that judges.
//!
//! Whoever stays with a session has one of these in its poll(2). It sleeps until the bell rings, or something ends by
//! time; when what was taken away is the session's own it has a process without privileges ask the store, for a store is
//! never read with any. A look now and then, without a reason, is for what nobody rang for: a managed file, a store
//! that was put back by hand, a writer that was killed just then.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use nix::sys::time::TimeSpec;
use nix::sys::timer::TimerSetTimeFlags;
use nix::sys::timerfd::{ClockId, Expiration, TimerFd, TimerFlags};
use serde::{Deserialize, Serialize};
use vestibule_sys::process::Child;
use vestibule_sys::{caps, fds, pass, process, time, wire};

use crate::decide::Reason;
use crate::messages::Loss;
use crate::paths;
use crate::still::{Case, Verdict};
use crate::store::Listener;

/// A session that is over before this is not worth a look.
const FIRST_LOOK: Duration = Duration::from_secs(1);
/// Between two looks that nothing asks for.
const NOW_AND_THEN: Duration = Duration::from_secs(600);
/// What rings within this is one.
const QUIET: Duration = Duration::from_millis(50);
/// Over this time those look who were told of everything.
const SPREAD: Duration = Duration::from_millis(800);
/// When there was no knowing: the first and the longest time until it is tried again.
const RETRY: Duration = Duration::from_secs(2);
const RETRY_MOST: Duration = Duration::from_secs(60);
/// A judge that takes longer is hung.
const JUDGE_WITHIN: Duration = Duration::from_secs(30);
/// For one that was ended to be gone.
const REAP_WITHIN: Duration = Duration::from_millis(100);

/// Why a session has to end.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ending {
    /// How the user lost it.
    pub loss: Loss,
    /// One word, for the log.
    pub reason: String,
    /// In words, for the log.
    pub cause: String,
}

impl Ending {
    /// Of a session that may not be, for this reason.
    #[must_use]
    pub fn of(reason: &Reason) -> Ending {
        let loss = if *reason == Reason::Ended { Loss::Ended } else { Loss::Taken };
        Ending { loss, reason: reason.as_str().to_owned(), cause: reason.to_string() }
    }
}

/// See the module.
#[derive(Debug)]
pub struct Watch {
    case: Case,
    listener: Listener,
    store: PathBuf,
    config: PathBuf,
    epoll: Epoll,
    timer: TimerFd,
    /// The bell rang, and is listened to again then.
    hear_at: Option<Instant>,
    look_at: Instant,
    retry: Duration,
    judge: Option<Judge>,
    /// Something was taken away since it began.
    again: bool,
    /// The judge that was there from the beginning. One that has gone is not followed by another: who can't become
    /// powerless any more must not judge.
    standing: Option<Standing>,
    stands: bool,
    /// It was asked, and has not answered yet.
    owes: bool,
}

/// A judge that is at work.
#[derive(Debug)]
struct Judge {
    /// Made for this one look; a standing one is not.
    child: Option<(OwnedFd, Child)>,
    until: Instant,
}

/// A judge that waits for its next case: for who can't become powerless any more when it needs one. When it dies the watch
/// says that the session is over.
#[derive(Debug)]
pub struct Standing {
    socket: OwnedFd,
    child: Child,
}

impl Standing {
    /// Forks it. `become_powerless` is the first that it does; it ends when this is dropped.
    ///
    /// # Errors
    /// As socketpair(2) and fork(2).
    pub fn start(case: &Case, become_powerless: impl FnOnce() -> io::Result<()>) -> io::Result<Standing> {
        let (ours, theirs) = pass::socket_pair()?;
        let child = process::fork_child(|| {
            fds::close_in_child(ours.as_fd());
            let ready = become_powerless().and_then(|()| powerless(theirs.as_fd()));
            if ready.is_err() {
                return 1;
            }
            while let Ok(Some(_)) = pass::receive(theirs.as_fd()) {
                if judge_to(theirs.as_fd(), case, Path::new(paths::CONFIG), Path::new(paths::STORE)).is_err()
                {
                    break;
                }
            }
            0
        })?;
        Ok(Standing { socket: ours, child })
    }
}

impl Drop for Standing {
    fn drop(&mut self) {
        let _ = self.child.signal(nix::libc::SIGKILL);
    }
}

/// Nothing of the parent's is left but the socket.
fn powerless(socket: BorrowedFd<'_>) -> io::Result<()> {
    fds::close_all_in_child_but([socket])?;
    caps::drop_all()?;
    caps::no_new_privs()?;
    process::set_dumpable(false)
}

fn judge_to(socket: BorrowedFd<'_>, case: &Case, config: &Path, store: &Path) -> io::Result<()> {
    let fields = case.judge(config, store).to_fields();
    let fields: Vec<&[u8]> = fields.iter().map(Vec::as_slice).collect();
    let mut message = Vec::new();
    wire::send(&mut message, &fields)?;
    pass::send(socket, &message, None)
}

/// What poll(2) woke for.
const BELL: u64 = 0;
const TIMER: u64 = 1;
const JUDGE: u64 = 2;

impl Watch {
    /// Watches for `case` from now on. Without a `standing` judge, one is forked for each look, and has the ids that this
    /// process has then.
    ///
    /// # Errors
    /// As epoll_create(2) and timerfd_create(2).
    pub fn new(case: Case, standing: Option<Standing>) -> io::Result<Watch> {
        Self::of(case, standing, Path::new(paths::CONFIG), Path::new(paths::STORE))
    }

    fn of(case: Case, standing: Option<Standing>, config: &Path, store: &Path) -> io::Result<Watch> {
        let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
        let timer =
            TimerFd::new(ClockId::CLOCK_MONOTONIC, TimerFlags::TFD_CLOEXEC | TimerFlags::TFD_NONBLOCK)?;
        epoll.add(&timer, EpollEvent::new(EpollFlags::EPOLLIN, TIMER))?;
        let listener = Listener::new(store);
        let look_at = Instant::now() + FIRST_LOOK + spread(FIRST_LOOK);
        let watch = Watch {
            case,
            listener,
            store: store.to_owned(),
            config: config.to_owned(),
            epoll,
            timer,
            hear_at: None,
            look_at,
            retry: RETRY,
            judge: None,
            again: false,
            stands: standing.is_some(),
            standing,
            owes: false,
        };
        if let Some(standing) = &watch.standing {
            watch.epoll.add(&standing.socket, EpollEvent::new(EpollFlags::EPOLLIN, JUDGE))?;
        }
        watch.listen()?;
        watch.set_timer()?;
        Ok(watch)
    }

    /// What to poll(2) for reading.
    #[must_use]
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.epoll.0.as_fd()
    }

    /// Does what can be done now, without waiting; says when the session has to end.
    pub fn serve(&mut self) -> Option<Ending> {
        let mut events = [EpollEvent::empty(); 4];
        let came = self.epoll.wait(&mut events, EpollTimeout::ZERO).unwrap_or(0);
        let now = Instant::now();
        let mut ending = None;
        for event in events.iter().take(came) {
            match event.data() {
                BELL => {
                    self.listener.rest(); // which takes it out of the epoll
                    self.hear_at = Some(now + QUIET + spread(QUIET));
                }
                JUDGE => ending = ending.or(self.judged(now)),
                _ => {
                    let mut count = [0; 8];
                    let _ = nix::unistd::read(&self.timer, &mut count);
                }
            }
        }
        if self.hear_at.is_some_and(|at| at <= now) {
            self.hear_at = None;
            ending = ending.or_else(|| self.hear(now));
        }
        if let Some(judge) = &self.judge
            && judge.until <= now
        {
            self.dismiss();
            self.look_at = now + self.retry;
        }
        if self.judge.is_none() && self.look_at <= now && ending.is_none() {
            // In case there was no bell, or nobody rang it.
            ending = self.hear(now);
            self.look(now);
        }
        let _ = self.set_timer();
        ending
    }

    fn listen(&self) -> io::Result<()> {
        if let Some(bell) = self.listener.bell() {
            // That it was hung up is always told.
            self.epoll.add(bell, EpollEvent::new(EpollFlags::empty(), BELL))?;
        }
        Ok(())
    }

    /// Hears what the bell rang for.
    fn hear(&mut self, now: Instant) -> Option<Ending> {
        self.listener.rest();
        let tokens = self.case.tokens();
        let heard = self.listener.hear(&tokens);
        let _ = self.listen();
        let mut own = tokens.iter().zip(&heard.these).filter(|(_, heard)| **heard).map(|(token, _)| token);
        if heard.these.iter().any(|heard| *heard) {
            if own.any(|token| token.is_order()) {
                let cause = "the operator ended it".to_owned();
                return Some(Ending { loss: Loss::Ordered, reason: "ordered".to_owned(), cause });
            }
            self.look_at = now;
            self.again = self.judge.is_some();
        } else if heard.everything {
            self.again = self.judge.is_some();
            self.look_at = self.look_at.min(now + spread(SPREAD));
        }
        None
    }

    /// Has the case judged.
    fn look(&mut self, now: Instant) {
        let asked = match &self.standing {
            // One that hangs is not asked more than it takes: this process must not wait for room.
            Some(_) if self.owes => return self.later(now),
            Some(standing) => pass::send(standing.socket.as_fd(), b"judge", None).map(|()| None),
            None if self.stands => return self.later(now),
            None => self.fork().map(Some),
        };
        match asked {
            Ok(child) => {
                self.owes = child.is_none();
                self.judge = Some(Judge { child, until: now + JUDGE_WITHIN });
            }
            Err(_) => self.later(now),
        }
    }

    fn fork(&self) -> io::Result<(OwnedFd, Child)> {
        let (ours, theirs) = pass::socket_pair()?;
        let child = process::fork_child(|| {
            let done = powerless(theirs.as_fd())
                .and_then(|()| judge_to(theirs.as_fd(), &self.case, &self.config, &self.store));
            i32::from(done.is_err())
        })?;
        self.epoll.add(&ours, EpollEvent::new(EpollFlags::EPOLLIN, JUDGE))?;
        Ok((ours, child))
    }

    /// Takes the judge's answer.
    fn judged(&mut self, now: Instant) -> Option<Ending> {
        let child = self.judge.as_ref().and_then(|judge| judge.child.as_ref());
        let socket = match (child, &self.standing) {
            (Some((socket, _)), _) => socket,
            (None, Some(standing)) => &standing.socket,
            (None, None) => return None,
        };
        let answer = pass::receive(socket.as_fd()).ok().flatten();
        if child.is_none() {
            self.owes = false;
        }
        if answer.is_none() && child.is_none() {
            // Only somebody of its own user can have ended it, and nobody is left who would hear of a revocation.
            self.standing = None;
            self.dismiss();
            let (reason, cause) = ("unwatched".to_owned(), "who judges it was ended".to_owned());
            return Some(Ending { loss: Loss::Taken, reason, cause });
        }
        let fields = answer.and_then(|(bytes, _)| wire::receive(&bytes[..]).ok()).unwrap_or_default();
        self.dismiss();
        match Verdict::of_fields(&fields) {
            Verdict::Stays(until) => {
                self.retry = RETRY;
                self.look_at = now + NOW_AND_THEN + spread(NOW_AND_THEN / 4);
                if let Some(until) = until {
                    let left = u64::try_from(until.saturating_sub(time::now())).unwrap_or(0);
                    // Clocks have fractions of seconds, too.
                    let end = Duration::from_secs(left.min(NOW_AND_THEN.as_secs())) + QUIET;
                    self.look_at = self.look_at.min(now + end);
                }
                if std::mem::take(&mut self.again) {
                    self.look_at = now;
                }
                None
            }
            Verdict::Unknown(_) => {
                self.later(now);
                None
            }
            Verdict::Over { loss, reason, cause } => Some(Ending { loss, reason, cause }),
        }
    }

    fn later(&mut self, now: Instant) {
        self.look_at = now + self.retry;
        self.retry = (self.retry * 2).min(RETRY_MOST);
    }

    fn dismiss(&mut self) {
        if let Some(Judge { child: Some((socket, child)), .. }) = self.judge.take() {
            let _ = self.epoll.delete(&socket);
            let _ = child.signal(nix::libc::SIGKILL);
            // One that a disk holds does not end yet; who watches goes on.
            let _ = child.wait_at_most(REAP_WITHIN);
        }
    }

    fn set_timer(&self) -> io::Result<()> {
        let look = self.judge.as_ref().map_or(self.look_at, |judge| judge.until);
        let next = self.hear_at.map_or(look, |at| at.min(look));
        let left = next.saturating_duration_since(Instant::now()).max(Duration::from_millis(1));
        let expiration = Expiration::OneShot(TimeSpec::from_duration(left));
        Ok(self.timer.set(expiration, TimerSetTimeFlags::empty())?)
    }
}

/// Some part of a time, for each process another one, so that they don't all come at once.
fn spread(over: Duration) -> Duration {
    let mixed = u64::from(std::process::id()).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 40;
    let most = u64::try_from(over.as_micros()).unwrap_or(u64::MAX).max(1);
    Duration::from_micros(mixed % most)
}
