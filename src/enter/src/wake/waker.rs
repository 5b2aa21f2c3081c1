//! The process that starts a target and waits until it is ready. It holds the lock, and belongs to no session.

use std::ffi::CString;
use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::path::Path;
use std::time::{Duration, Instant};

use vestibule::config::Config;
use vestibule::messages::{HubLine, Refusal, WakeStep, shown, shown_within};
use vestibule::names::login::AccountName;
use vestibule::paths;
use vestibule::target::{TargetId, Wake};
use vestibule_sys::syslog::{Severity, Syslog};
use vestibule_sys::{fds, process, pty, signals};

use super::place::{Lock, Outcome, Place, State};
use super::{Call, Plan, probe, start};
use crate::args::INSTALLED;
use crate::container::Proven;
use crate::parser::{Parser, Way};
use crate::refused::{OrRefuse, Refused};
use crate::{engine, leader, transport};

/// Between two looks at a container that is not running yet, or not ready.
const LOOK_EVERY: Duration = Duration::from_millis(150);
/// Characters of what the log has as cause.
const MAX_CAUSE: usize = 500;
/// Characters of a hub's words.
const MAX_WORDS: usize = 300;

/// Forks the waker, which has the lock from then on.
pub(super) fn begin(call: &Call<'_>, plan: &Plan, place: &Place, lock: Lock) -> Result<(), Refused> {
    let sealed = INSTALLED.is_sealed().or_setup("'/proc/self/exe'")?;
    // It is not waited for: this process ends sooner or later, and init reaps.
    process::fork_child(|| {
        let body = || {
            signals::reset_all()?;
            process::ignore_sigpipe();
            pty::new_session()?;
            fds::std_to_null()
        };
        if body().is_err() {
            return 101;
        }
        if !sealed {
            return become_sealed(call, &lock);
        }
        if fds::close_others_in_child(lock.0.as_fd()).is_err() {
            return 101;
        }
        run(call, plan, place, &lock);
        0
    })
    .or_setup("fork")
    .map(drop)
}

/// A waker may run the target's own program to see whether it is ready, so nothing of the bastion may stand behind its
/// `/proc/PID/exe`. `enter --network` does not run sealed; the waker becomes `enter --wake`, which does.
fn become_sealed(call: &Call<'_>, lock: &Lock) -> i32 {
    let target = call.target.0.to_string();
    let words =
        ["enter", "--wake", call.session, &target].into_iter().chain(call.account.map(|a| a.as_str()));
    let args: Vec<CString> = words.filter_map(|word| CString::new(word).ok()).collect();
    if fds::become_std(lock.0.as_fd(), 0).is_ok() {
        let _ = INSTALLED.execute_again(&args, &[]);
    }
    101
}

/// `enter --wake`: goes on as the waker, with the lock at standard input.
///
/// # Errors
/// What keeps it from beginning.
pub(crate) fn resume(session: &str, target: TargetId, account: Option<&AccountName>) -> Result<(), Refused> {
    let lock = Lock(File::from(fds::duplicate(io::stdin().as_fd()).or_setup("dup")?));
    fds::std_to_null().or_setup("'/dev/null'")?;
    let config = Config::load_trusted(Path::new(paths::CONFIG)).map_err(Refused::setup)?;
    let (uid, gid) = crate::args::shared_ids().map_err(Refused::setup)?;
    let facts = Parser::start(uid, gid, Some(lock.0.as_fd()))?.target(target, account)?;
    let Some(plan) = &facts.wake else { return Ok(()) };
    let place = Place::of(target).or_setup(format_args!("'{}'", paths::WAKE_DIR))?;
    if !place.is_held().or_setup("the lock of a wake")? {
        return Err(Refused::setup("nobody holds the lock of this wake"));
    }
    let call = Call { session, target, account, facts: &facts, config: &config, uid, gid };
    run(&call, plan, &place, &lock);
    Ok(())
}

/// A wake that goes on.
pub(super) struct Going<'a> {
    pub(super) call: &'a Call<'a>,
    pub(super) lock: &'a Lock,
    place: &'a Place,
    state: State,
    /// Why a hub did not start it, for who waits.
    words: Option<String>,
    end: Instant,
}

impl Going<'_> {
    pub(super) fn left(&self) -> Duration {
        self.end.saturating_duration_since(Instant::now())
    }

    fn step(&mut self, step: WakeStep) -> Result<(), String> {
        self.state.step = step;
        self.place.write(&self.state).map_err(|e| format!("the state of the wake: {e}"))
    }

    /// Takes a line of the program that asks the hub.
    pub(super) fn hear(&mut self, line: &[u8]) {
        match HubLine::read(&String::from_utf8_lossy(line)) {
            Some(HubLine::Tells(words)) => {
                self.state.tell(shown_within(words, MAX_WORDS));
                let _ = self.place.write(&self.state); // it is no more than a comfort
            }
            Some(HubLine::Refuses(words)) => self.words = Some(shown_within(words, MAX_WORDS)),
            None => {}
        }
    }
}

fn run(call: &Call<'_>, plan: &Plan, place: &Place, lock: &Lock) {
    let began = Instant::now();
    let attempt = place.state().map_or(0, |state| state.attempt) + 1;
    let state = State::new(attempt);
    let mut going = Going { call, lock, place, state, words: None, end: began + call.within(plan) };
    let ended = wake(&mut going, plan);
    let (step, seconds) = (going.state.step, began.elapsed().as_secs());
    let log = Syslog::open("enter");
    let by = match &plan.how {
        Wake::Command(name) => name.as_str(),
        Wake::Hub => "hub",
        Wake::Engine | Wake::None => "engine",
    };
    let head = format!("session={} event=wake target={} by={by}", call.session, shown(&call.facts.name));
    going.state.outcome = Some(match ended {
        Ok(()) => {
            log.line(Severity::Info, format_args!("{head} result=ready seconds={seconds}"));
            Outcome::Ready
        }
        Err(cause) => {
            let cause = shown_within(&cause, MAX_CAUSE);
            log.line(
                Severity::Warning,
                format_args!("{head} result=failed step={} seconds={seconds} cause={cause:?}", step.word()),
            );
            // What came after the hub had done its part is not its word.
            let words = going.words.take().filter(|_| step == WakeStep::Start);
            Outcome::Failed { step, seconds, cause, words }
        }
    });
    let _ = going.place.write(&going.state); // who waits sees the lock go without a word
}

/// Starts, waits for the first process, waits for the probe. What went wrong, for the log.
fn wake(going: &mut Going<'_>, plan: &Plan) -> Result<(), String> {
    going.step(WakeStep::Start)?;
    let call = going.call;
    // A parser of its own: that of the session ends with it.
    let mut parser = Parser::start(call.uid, call.gid, Some(going.lock.0.as_fd())).map_err(why)?;
    parser.target(call.target, call.account).map_err(why)?;
    let mut way = Looker { call, container: None, ran: plan.how == Wake::Engine };
    match &plan.how {
        Wake::Engine => way.container = Some(start::by_engine(going, &mut parser)?),
        Wake::Command(name) => start::by_command(going, &mut parser, name)?,
        Wake::Hub => start::by_hub(going, &mut parser)?,
        Wake::None => return Err("its policy says that it is not".to_owned()),
    }

    going.step(WakeStep::Running)?;
    let found = loop {
        match way.look(&mut parser) {
            Ok(found) => break found,
            Err(Down { for_good: true, why }) => return Err(why),
            Err(Down { why, .. }) if going.left().is_zero() => return Err(why),
            Err(_) => std::thread::sleep(LOOK_EVERY),
        }
    };
    let (Some(ready), Some(mut found)) = (&plan.ready, found) else { return Ok(()) };
    way.ran = true;

    going.step(WakeStep::Probe)?;
    loop {
        let not_yet = match probe::ask(going, &found, ready) {
            Ok(()) => return Ok(()),
            Err(why) => why,
        };
        if going.left().is_zero() {
            return Err(not_yet);
        }
        std::thread::sleep(LOOK_EVERY);
        found = loop {
            match way.look(&mut parser) {
                Ok(Some(found)) => break found,
                Ok(None) => return Ok(()),
                Err(down) if down.for_good || going.left().is_zero() => {
                    return Err(format!("it stopped: {}", down.why));
                }
                Err(_) => std::thread::sleep(LOOK_EVERY),
            }
        };
    }
}

fn why(refused: Refused) -> String {
    refused.cause
}

/// Looks whether the target's container runs.
struct Looker<'a> {
    call: &'a Call<'a>,
    /// The id that was started: another container of the same name is not it.
    container: Option<String>,
    /// Whether it ran, so that it has stopped if it does not run.
    ran: bool,
}

/// It does not run.
struct Down {
    /// And won't by waiting.
    for_good: bool,
    why: String,
}

impl Looker<'_> {
    /// `None` for one that runs elsewhere.
    fn look(&self, parser: &mut Parser) -> Result<Option<Proven>, Down> {
        let name = &self.call.facts.name;
        let later = |refused: Refused| Down { for_good: false, why: refused.cause };
        match &self.call.facts.way {
            Way::Namespace(leader) => {
                let gone = |refused: Refused| Down { for_good: self.ran, why: refused.cause };
                let pid = leader::find(leader, name).map_err(gone)?;
                Proven::open(pid, None, name).map(Some).map_err(later)
            }
            Way::Docker { engine, container } | Way::DockerExec { engine, container, .. } => {
                let asked = self.container.as_deref().unwrap_or(container);
                let config = self.call.config;
                let found = engine::inspect(config, engine, asked, name, parser).map_err(|refused| Down {
                    for_good: self.ran && matches!(refused.refusal, Refusal::Gone { .. }),
                    why: refused.cause,
                })?;
                if found.pid <= 1 {
                    let code = found.exit_code;
                    let why = if found.restarting {
                        format!("it ends again and again, now with exit status {code}")
                    } else {
                        format!("it ended again, with exit status {code}")
                    };
                    return Err(Down { for_good: self.ran && !found.restarting, why });
                }
                Proven::open(found.pid, Some(&found.id), name).map(Some).map_err(later)
            }
            Way::Stream(over) | Way::Ssh { over, .. } => {
                transport::reach(self.call.journey(), over, parser).map(|()| None).map_err(|refused| Down {
                    for_good: !matches!(refused.refusal, Refusal::NotRunning { .. }),
                    why: refused.cause,
                })
            }
            Way::TcpContainer { .. } | Way::TcpFixed => {
                Err(Down { for_good: true, why: "a tcp target is not started".to_owned() })
            }
        }
    }
}
