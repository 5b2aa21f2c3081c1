//! Resource limits of a process, and putting them on this one: getrlimit(2), `/proc/PID/limits`.

use std::io;

use crate::cvt_int;
use crate::procfs::ProcDir;

/// Every resource, by its line in `/proc/PID/limits` and its number.
const RESOURCES: [(&str, libc::__rlimit_resource_t); 16] = [
    ("Max cpu time", libc::RLIMIT_CPU),
    ("Max file size", libc::RLIMIT_FSIZE),
    ("Max data size", libc::RLIMIT_DATA),
    ("Max stack size", libc::RLIMIT_STACK),
    ("Max core file size", libc::RLIMIT_CORE),
    ("Max resident set", libc::RLIMIT_RSS),
    ("Max processes", libc::RLIMIT_NPROC),
    ("Max open files", libc::RLIMIT_NOFILE),
    ("Max locked memory", libc::RLIMIT_MEMLOCK),
    ("Max address space", libc::RLIMIT_AS),
    ("Max file locks", libc::RLIMIT_LOCKS),
    ("Max pending signals", libc::RLIMIT_SIGPENDING),
    ("Max msgqueue size", libc::RLIMIT_MSGQUEUE),
    ("Max nice priority", libc::RLIMIT_NICE),
    ("Max realtime priority", libc::RLIMIT_RTPRIO),
    ("Max realtime timeout", libc::RLIMIT_RTTIME),
];

/// One limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limit {
    /// As `/proc/PID/limits` names it.
    pub name: &'static str,
    resource: libc::__rlimit_resource_t,
    soft: u64,
    hard: u64,
}

/// The limits of a process.
///
/// # Errors
/// As read(2); `EPROTO` when a line can't be understood.
pub fn of(process: &ProcDir) -> io::Result<Vec<Limit>> {
    parse(&process.text("limits")?).ok_or_else(|| io::Error::from_raw_os_error(libc::EPROTO))
}

fn parse(text: &str) -> Option<Vec<Limit>> {
    RESOURCES
        .iter()
        .map(|&(name, resource)| {
            let line = text.lines().find_map(|line| line.strip_prefix(name))?;
            let mut values = line.split_ascii_whitespace().map(|v| match v {
                "unlimited" => Some(libc::RLIM_INFINITY),
                number => number.parse().ok(),
            });
            Some(Limit { name, resource, soft: values.next()??, hard: values.next()?? })
        })
        .collect()
}

/// Puts a limit on this process.
///
/// # Errors
/// `EPERM` to raise a hard limit without `CAP_SYS_RESOURCE`.
pub fn apply(limit: &Limit) -> io::Result<()> {
    let value = libc::rlimit { rlim_cur: limit.soft, rlim_max: limit.hard };
    // SAFETY: value lives through the call.
    cvt_int(unsafe { libc::setrlimit(limit.resource, &raw const value) })?;
    Ok(())
}

/// The limits of this process.
///
/// # Errors
/// As [`of`].
pub fn own() -> io::Result<Vec<Limit>> {
    of(&ProcDir::own()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_line_of_the_kernel_is_known() {
        let text = ProcDir::own().unwrap().text("limits").unwrap();
        assert_eq!(text.lines().count() - 1, RESOURCES.len());
        for limit in own().unwrap() {
            let mut now = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
            // SAFETY: now lives through the call.
            unsafe { libc::getrlimit(limit.resource, &raw mut now) };
            assert_eq!((limit.soft, limit.hard), (now.rlim_cur, now.rlim_max), "{}", limit.name);
        }
    }
}
