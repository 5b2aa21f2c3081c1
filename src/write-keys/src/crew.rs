//! Many files at once, each by a process of its own, none of which can hold up the others.

use std::collections::HashMap;
use std::fs::File;
use std::io::Read;
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use nix::libc::SIGKILL;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use vestibule_sys::process::{self, Child};

use crate::place::{self, Fault, Job, Placed};

/// Processes at a time.
const LANES: usize = 8;
/// How long one may take.
const PATIENCE: Duration = Duration::from_secs(5);

/// The processes that did not come back: a home can keep one in the kernel for as long as it likes.
#[derive(Debug, Default)]
pub(crate) struct Crew {
    left: HashMap<String, Child>,
}

struct Lane {
    job: Job,
    child: Child,
    pipe: File,
    end: Instant,
}

impl Crew {
    /// Does all jobs, and says of each what came of it.
    pub(crate) fn run(
        &mut self,
        jobs: impl IntoIterator<Item = Job>,
        mut done: impl FnMut(Job, Result<Placed, Fault>),
    ) {
        self.left.retain(|_, child| !matches!(child.try_wait(), Ok(Some(_)) | Err(_)));
        let mut jobs = jobs.into_iter();
        let mut lanes: Vec<Lane> = Vec::new();
        loop {
            while lanes.len() < LANES
                && let Some(job) = jobs.next()
            {
                if self.left.contains_key(&job.home) {
                    done(job, Err(Fault::Deadline));
                    continue;
                }
                match begin(job) {
                    Ok(lane) => lanes.push(lane),
                    Err((job, fault)) => done(job, Err(fault)),
                }
            }
            if lanes.is_empty() {
                return;
            }
            let ready = wait(&lanes);
            let mut at_work = Vec::with_capacity(lanes.len());
            for (lane, ready) in lanes.into_iter().zip(ready) {
                if ready {
                    let Lane { job, child, mut pipe, .. } = lane;
                    let mut said = [0; 5];
                    let placed = pipe.read_exact(&mut said).map_err(|_| Fault::Child);
                    // It has said all, and is ending.
                    let _ = child.wait_at_most(PATIENCE);
                    done(job, placed.and_then(|()| place::decode(said)));
                } else if Instant::now() >= lane.end {
                    let Lane { job, child, .. } = lane;
                    let _ = child.signal(SIGKILL);
                    if !matches!(child.wait_at_most(Duration::from_millis(100)), Ok(Some(_))) {
                        self.left.insert(job.home.clone(), child);
                    }
                    done(job, Err(Fault::Deadline));
                } else {
                    at_work.push(lane);
                }
            }
            lanes = at_work;
        }
    }
}

fn begin(job: Job) -> Result<Lane, (Job, Fault)> {
    let (pipe, to) = match process::pipe() {
        Ok(ends) => ends,
        Err(error) => return Err((job, error.into())),
    };
    let root = std::process::id();
    match process::fork_child(|| place::child(&job, root, to.as_fd())) {
        Ok(child) => Ok(Lane { job, child, pipe: pipe.into(), end: Instant::now() + PATIENCE }),
        Err(error) => Err((job, error.into())),
    }
}

/// Which of them have something to say, or are over.
fn wait(lanes: &[Lane]) -> Vec<bool> {
    let first = lanes.iter().map(|lane| lane.end).min();
    let left = first.map_or(Duration::ZERO, |end| end.saturating_duration_since(Instant::now()));
    let mut asked: Vec<PollFd<'_>> =
        lanes.iter().map(|lane| PollFd::new(lane.pipe.as_fd(), PollFlags::POLLIN)).collect();
    let limit = PollTimeout::try_from(left + Duration::from_millis(1)).unwrap_or(PollTimeout::MAX);
    match poll(&mut asked, limit) {
        Ok(_) => asked.iter().map(|fd| fd.any().unwrap_or(true)).collect(),
        Err(_) => vec![false; lanes.len()],
    }
}
