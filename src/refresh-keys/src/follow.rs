//! `--follow`: the service. A thread for each source asks at once, then whenever the source has news, and at the latest
//! every `every` seconds. Another thread tells a hub what is used ([`activity`]).
//!
//! SIGHUP begins anew with the configuration as it is then; SIGTERM and SIGINT let what is being written be written, and
//! end.

use std::os::unix::process::CommandExt;
use std::process::{Command, ExitCode};
use std::sync::RwLock;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::Context;
use nix::sys::signal::{SigSet, Signal};
use vestibule::store::{Age, Scope};

use crate::activity;
use crate::args::Args;
use crate::report;
use crate::run::{Place, ages, cursor, refresh};
use crate::settings::Source;
use crate::source::{self, News};
use vestibule_http::chance;

/// How long an end waits for a refresh that is at work.
const PATIENCE: Duration = Duration::from_secs(8);
/// Between two tries when a source fails: at first, and at last.
const FIRST: Duration = Duration::from_millis(500);
const LONGEST: Duration = Duration::from_secs(30);

/// What the threads share.
struct Service {
    args: Args,
    place: Place,
    sources: Vec<Source>,
    /// Held for reading by who refreshes.
    at_work: RwLock<()>,
    ends: AtomicBool,
}

/// Follows until a signal comes.
///
/// # Errors
/// When it can't even begin, or can't begin anew.
pub(crate) fn run(args: Args, place: Place, sources: Vec<Source>) -> anyhow::Result<ExitCode> {
    let mut signals = SigSet::empty();
    for signal in [Signal::SIGHUP, Signal::SIGTERM, Signal::SIGINT] {
        signals.add(signal);
    }
    // Before there are threads, which inherit it.
    signals.thread_block().context("signals")?;
    // For as long as the process is: the threads are not waited for.
    let service: &'static Service = Box::leak(Box::new(Service {
        args,
        place,
        sources,
        at_work: RwLock::new(()),
        ends: AtomicBool::new(false),
    }));
    for source in &service.sources {
        let thread = std::thread::Builder::new().name(source.name.clone());
        thread.spawn(move || service.follow(source)).context("can't start a thread")?;
    }
    for source in &service.sources {
        if let Some(wanted) = source::wanted(source) {
            let thread = std::thread::Builder::new().name(format!("{}-activity", source.name));
            let tell = move || activity::tell(source, wanted, service.place.store());
            thread.spawn(tell).context("can't start a thread")?;
        }
    }
    let signal = signals.wait().context("signals")?;
    service.ends.store(true, Ordering::SeqCst);
    let end = Instant::now() + PATIENCE;
    while service.at_work.try_write().is_err() && Instant::now() < end {
        std::thread::sleep(Duration::from_millis(10));
    }
    if signal == Signal::SIGHUP {
        let error = Command::new("/proc/self/exe").args(std::env::args_os().skip(1)).exec();
        return Err(error).context("can't begin anew");
    }
    Ok(ExitCode::SUCCESS)
}

impl Service {
    fn follow(&self, source: &Source) {
        let every = source.common.longest_wait();
        let mut news: Option<Box<dyn News>> = None;
        let mut wanted = vec![Scope::All];
        let mut failures = 0;
        let mut told = Age::Fresh;
        loop {
            let mut well = true;
            for scope in &wanted {
                let Ok(_at_work) = self.at_work.read() else { return };
                if self.ends.load(Ordering::SeqCst) {
                    return;
                }
                let report = refresh(&self.args, &self.place, source, scope);
                well &= report.is_well();
                if !report.is_idle() {
                    let _ = report.tell(false);
                }
            }
            if well {
                match self.wait(source, &mut news, every) {
                    Ok(scopes) => {
                        (wanted, failures) = (scopes, 0);
                        continue;
                    }
                    Err(error) => {
                        report::log_fault(&format!("source={}: no news: {error:#}", source.name));
                    }
                }
            }
            // Once for each age, not for each try.
            for row in ages(&self.place).iter().filter(|row| row.name == source.name) {
                let age = row.age(vestibule_sys::time::now());
                if age != told {
                    report::tell_age(row);
                }
                told = age;
            }
            // What happened meanwhile is not known, and a way on which nothing came may be dead, too.
            news = None;
            wanted = vec![Scope::All];
            let pause = FIRST.saturating_mul(2_u32.saturating_pow(failures)).min(LONGEST).min(every);
            failures = failures.saturating_add(1);
            std::thread::sleep(pause.mul_f64(0.5 + chance() / 2.0));
        }
    }

    fn wait(
        &self,
        source: &Source,
        news: &mut Option<Box<dyn News>>,
        most: Duration,
    ) -> anyhow::Result<Vec<Scope>> {
        let known = cursor(&self.place, source)?;
        let news = match news {
            Some(news) => news,
            None => news.insert(source::news(source)?),
        };
        Ok(news.wait(known.as_deref(), most)?)
    }
}
