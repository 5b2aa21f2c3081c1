//! Finding the first process of a container that no engine keeps: by a pid file, a machine's name, LXC's name, or a
//! control group.
//!
//! A pid is only a number, and the process that had it may be gone. What is written down (a pid file) must be younger
//! than the process that it names; what the kernel lists (a control group) is asked for its first process.

use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use nix::time::{ClockId, clock_gettime};
use vestibule::messages::Refusal;
use vestibule::target::Leader;
use vestibule_sys::cgroup::{self, Hierarchies};
use vestibule_sys::procfs::ProcDir;

use crate::refused::Refused;
use crate::trusted::{self, Distrust};

/// systemd-machined's directory of machines.
const MACHINES: &str = "/run/systemd/machines";
/// A pid file may be a little older than its process by coarse clocks.
const SLACK_SECONDS: f64 = 2.0;

/// Finds the first process of `leader`'s container.
pub(crate) fn find(leader: &Leader, target: &str) -> Result<i32, Refused> {
    let not_running = |cause: String| Refused::new(Refusal::NotRunning { target: target.to_owned() }, cause);
    match leader {
        Leader::PidFile(file) => {
            let (text, written) = read_trusted(Path::new(file)).map_err(|e| match e {
                Distrust::Gone => not_running(format!("pid file '{file}': no such file")),
                Distrust::Bad(why) => Refused::setup(format_args!("pid file '{file}': {why}")),
            })?;
            let pid = text.trim().parse().ok().filter(|pid| *pid > 1);
            let pid = pid.ok_or_else(|| Refused::setup(format_args!("pid file '{file}': holds no pid")))?;
            fresh(pid, written).map_err(|why| not_running(format!("pid file '{file}': {why}")))
        }
        Leader::Machine(name) => {
            let file = Path::new(MACHINES).join(single_name(name)?);
            let shown = file.display();
            let (text, written) = read_trusted(&file).map_err(|e| match e {
                Distrust::Gone => not_running(format!("machine '{name}': not known to systemd-machined")),
                Distrust::Bad(why) => Refused::setup(format_args!("'{shown}': {why}")),
            })?;
            let pid = text
                .lines()
                .find_map(|line| line.strip_prefix("LEADER=")?.parse().ok())
                .filter(|pid| *pid > 1);
            let pid = pid.ok_or_else(|| not_running(format!("'{shown}': names no leader")))?;
            fresh(pid, written).map_err(|why| not_running(format!("machine '{name}': {why}")))
        }
        Leader::Lxc(name) => {
            let name = single_name(name)?;
            // LXC 4 and later, and before.
            first_of(&[format!("lxc.payload.{name}"), format!("lxc.payload/{name}"), format!("lxc/{name}")])
                .ok_or_else(|| {
                    not_running(format!("LXC container '{name}': no processes in its control group"))
                })
        }
        Leader::Cgroup(path) => first_of(std::slice::from_ref(path))
            .ok_or_else(|| not_running(format!("control group '{path}': no processes in it"))),
    }
}

fn single_name(name: &str) -> Result<&str, Refused> {
    let fine = !name.is_empty() && !name.contains('/') && name != "." && name != "..";
    if fine { Ok(name) } else { Err(Refused::setup(format_args!("'{}': not a name", name.escape_debug()))) }
}

/// Reads a small file that only root can have written, and says when that was, in seconds since 1970.
fn read_trusted(path: &Path) -> Result<(String, f64), Distrust> {
    let (file, meta) = trusted::open(path)?;
    let mut text = String::new();
    file.take(4096).read_to_string(&mut text).map_err(|e| Distrust::Bad(e.to_string()))?;
    #[expect(clippy::cast_precision_loss, reason = "seconds since 1970 fit")]
    let written = meta.mtime() as f64 + meta.mtime_nsec() as f64 / 1e9;
    Ok((text, written))
}

/// That process `pid` was there when its number was written down.
fn fresh(pid: i32, written: f64) -> Result<i32, String> {
    let started = started(pid).map_err(|_| format!("process {pid} is gone"))?;
    if started > written + SLACK_SECONDS {
        return Err(format!("process {pid} is younger than the file: the number was used again"));
    }
    Ok(pid)
}

/// When a process started, in seconds since 1970.
fn started(pid: i32) -> io::Result<f64> {
    let ticks = ProcDir::open(pid)?.start_time()?;
    let per_second = nix::unistd::sysconf(nix::unistd::SysconfVar::CLK_TCK)?.unwrap_or(100);
    let now = |clock| clock_gettime(clock).map(|t| std::time::Duration::from(t).as_secs_f64());
    let boot = now(ClockId::CLOCK_REALTIME)? - now(ClockId::CLOCK_BOOTTIME)?;
    #[expect(clippy::cast_precision_loss, reason = "ticks since boot fit")]
    let since_boot = ticks as f64 / per_second as f64;
    Ok(boot + since_boot)
}

/// The first process of the first of these groups that has any: the one that is number 1 inside, or else the oldest.
fn first_of(paths: &[String]) -> Option<i32> {
    let hierarchies = Hierarchies::here().ok()?;
    let directories: Vec<PathBuf> = paths
        .iter()
        .flat_map(|path| hierarchies.directories_named(Path::new(path)).collect::<Vec<_>>())
        .collect();
    directories.iter().find_map(|directory| {
        let mut found: Vec<(bool, u64, i32)> = cgroup::processes(directory)
            .ok()?
            .into_iter()
            .filter_map(|pid| {
                let dir = ProcDir::open(pid).ok()?;
                let inside = dir.status().ok()?.ns_pids;
                let is_init = inside.len() > 1 && inside.last() == Some(&1);
                Some((!is_init, dir.start_time().ok()?, pid))
            })
            .collect();
        found.sort_unstable();
        found.first().map(|(_, _, pid)| *pid)
    })
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn a_number_that_was_used_again_is_told_from_the_process_that_had_it() {
        let own = nix::unistd::getpid().as_raw();
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs_f64();
        assert_eq!(fresh(own, now), Ok(own));
        assert!(fresh(own, now - 1000.0).unwrap_err().contains("used again"));
        assert!(fresh(i32::MAX, now).unwrap_err().contains("gone"));
    }

    #[test]
    fn a_pid_file_that_others_could_write_is_not_believed() {
        let dir = tempfile::tempdir().unwrap(); // below /tmp, where everybody may write
        let file = dir.path().join("pid");
        fs::write(&file, "1234\n").unwrap();
        assert!(matches!(read_trusted(&file), Err(Distrust::Bad(_))));
        assert!(matches!(read_trusted(&dir.path().join("none")), Err(Distrust::Gone)));
        assert!(matches!(read_trusted(Path::new("relative")), Err(Distrust::Bad(_))));
    }

    #[test]
    fn names_do_not_walk() {
        for name in ["", ".", "..", "a/b", "/etc/passwd"] {
            assert!(single_name(name).is_err(), "{name}");
        }
    }
}
