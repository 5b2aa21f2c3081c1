//! What the kernel says of a process in its `/proc` directory: proc(5).
//!
//! The directory is held open, so that all answers are of the same process: once it has ended they fail with `ESRCH`,
//! also when its number is in use again.

use std::fs::{File, Metadata};
use std::io::{self, Read};
use std::os::fd::{AsFd, OwnedFd};

use nix::fcntl::{OFlag, openat};
use nix::sys::stat::Mode;

/// Files of `/proc` that this module reads are far smaller.
const MAX_FILE: u64 = 1 << 20;

/// An open `/proc/PID`.
#[derive(Debug)]
pub struct ProcDir {
    dir: File,
    pid: i32,
}

/// What confines a process, from its `status` file.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Status {
    /// The bounding set.
    pub bounding: u64,
    /// Whether no_new_privs is set.
    pub no_new_privs: bool,
    /// 0 none, 1 strict, 2 filters.
    pub seccomp: u32,
    /// How many filters; `None` before Linux 5.9.
    pub seccomp_filters: Option<u32>,
    /// Whether seccomp filters were loaded so that they do not slow the process by a mitigation (`SPEC_ALLOW`).
    pub speculation_allowed: bool,
    /// The number in each pid namespace, the innermost last.
    pub ns_pids: Vec<i32>,
}

impl ProcDir {
    /// Opens the directory of process `pid`.
    ///
    /// # Errors
    /// `ENOENT` when there is no such process.
    pub fn open(pid: i32) -> io::Result<Self> {
        Ok(ProcDir { dir: File::open(format!("/proc/{pid}"))?, pid })
    }

    /// Opens this process's own directory.
    ///
    /// # Errors
    /// As open(2); without a mounted `/proc`, `ENOENT`.
    pub fn own() -> io::Result<Self> {
        Ok(ProcDir { dir: File::open("/proc/self")?, pid: nix::unistd::getpid().as_raw() })
    }

    /// The number it was opened by.
    #[must_use]
    pub fn pid(&self) -> i32 {
        self.pid
    }

    /// Opens a file of the directory.
    ///
    /// # Errors
    /// As openat(2).
    pub fn file(&self, name: &str, flags: OFlag) -> io::Result<OwnedFd> {
        Ok(openat(&self.dir, name, flags | OFlag::O_CLOEXEC | OFlag::O_NOCTTY, Mode::empty())?)
    }

    /// A file's metadata, following a magic link to what it stands for.
    ///
    /// # Errors
    /// As stat(2).
    pub fn metadata(&self, name: &str) -> io::Result<Metadata> {
        File::from(self.file(name, OFlag::O_PATH)?).metadata()
    }

    /// A file's content.
    ///
    /// # Errors
    /// As read(2); `EFBIG` past 1 MiB.
    pub fn read(&self, name: &str) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        let file = File::from(self.file(name, OFlag::O_RDONLY)?);
        if file.take(MAX_FILE + 1).read_to_end(&mut bytes)? as u64 > MAX_FILE {
            return Err(io::Error::from_raw_os_error(libc::EFBIG));
        }
        Ok(bytes)
    }

    /// A file's content as text; bytes that are none are replaced.
    ///
    /// # Errors
    /// As [`ProcDir::read`].
    pub fn text(&self, name: &str) -> io::Result<String> {
        Ok(String::from_utf8_lossy(&self.read(name)?).into_owned())
    }

    /// The `status` file.
    ///
    /// # Errors
    /// As [`ProcDir::read`]; `EPROTO` when a field that every supported kernel has is missing.
    pub fn status(&self) -> io::Result<Status> {
        Status::parse(&self.text("status")?).ok_or_else(|| io::Error::from_raw_os_error(libc::EPROTO))
    }

    /// Whose it is: its real uid, by its `status` file.
    ///
    /// # Errors
    /// As [`ProcDir::read`].
    pub fn real_uid(&self) -> io::Result<u32> {
        self.text("status")?
            .lines()
            .find_map(|line| line.strip_prefix("Uid:")?.split_ascii_whitespace().next()?.parse().ok())
            .ok_or_else(|| io::Error::from_raw_os_error(libc::EPROTO))
    }

    /// When it started, in clock ticks since boot: with the pid, its identity.
    ///
    /// # Errors
    /// As [`ProcDir::read`].
    pub fn start_time(&self) -> io::Result<u64> {
        // starttime is the 22nd of all fields, the 20th behind the name (proc_pid_stat(5)).
        self.stat_field(19)
    }

    /// Its parent's number; 0 when that is in no pid namespace of ours.
    ///
    /// # Errors
    /// As [`ProcDir::read`].
    pub fn parent(&self) -> io::Result<i32> {
        self.stat_field(1)
    }

    /// A number of the `stat` file, by its place behind the name.
    fn stat_field<T: std::str::FromStr>(&self, place: usize) -> io::Result<T> {
        let stat = self.text("stat")?;
        // The name stands in parentheses and may hold anything; the fields behind it are numbers.
        stat.rsplit_once(')')
            .and_then(|(_, rest)| rest.split_ascii_whitespace().nth(place))
            .and_then(|field| field.parse().ok())
            .ok_or_else(|| io::Error::from_raw_os_error(libc::EPROTO))
    }
}

impl AsFd for ProcDir {
    fn as_fd(&self) -> std::os::fd::BorrowedFd<'_> {
        self.dir.as_fd()
    }
}

impl Status {
    fn parse(text: &str) -> Option<Status> {
        let mut status = Status { bounding: 0, ..Status::default() };
        let mut seen = 0;
        for line in text.lines() {
            let Some((name, value)) = line.split_once(':') else { continue };
            let value = value.trim();
            match name {
                "CapBnd" => {
                    status.bounding = u64::from_str_radix(value, 16).ok()?;
                    seen += 1;
                }
                "NoNewPrivs" => {
                    status.no_new_privs = value != "0";
                    seen += 1;
                }
                "Seccomp" => {
                    status.seccomp = value.parse().ok()?;
                    seen += 1;
                }
                "Seccomp_filters" => status.seccomp_filters = value.parse().ok(),
                "Speculation_Store_Bypass" => status.speculation_allowed = !value.contains("mitigated"),
                "NSpid" => {
                    status.ns_pids = value.split_ascii_whitespace().filter_map(|n| n.parse().ok()).collect();
                }
                _ => {}
            }
        }
        (seen == 3).then_some(status)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_its_own_status() {
        let own = ProcDir::own().unwrap();
        let status = own.status().unwrap();
        assert_eq!(status.bounding, crate::caps::bounding());
        assert_eq!(status.ns_pids.first(), Some(&own.pid()));
        assert!(own.start_time().unwrap() > 0);
        assert_eq!(own.real_uid().unwrap(), nix::unistd::getuid().as_raw());
    }

    #[test]
    fn a_status_without_a_needed_field_is_refused() {
        assert_eq!(Status::parse("Name:\tx\nNoNewPrivs:\t0\nSeccomp:\t0\n"), None);
        let status = Status::parse(
            "Name:\tCapBnd: ffffffffffffffff\nCapBnd:\t00000000a80425fb\nNoNewPrivs:\t1\nSeccomp:\t2\nSeccomp_filters:\t3\nNSpid:\t77\t1\nSpeculation_Store_Bypass:\tthread force mitigated\n",
        )
        .unwrap();
        assert_eq!(status.bounding, 0xa804_25fb, "the name of a process can't speak for the kernel");
        assert_eq!((status.no_new_privs, status.seccomp, status.seccomp_filters), (true, 2, Some(3)));
        assert_eq!((status.ns_pids, status.speculation_allowed), (vec![77, 1], false));
    }
}
