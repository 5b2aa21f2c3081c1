//! Seccomp filters of another process, and putting them on this one: seccomp(2), ptrace(2).
//!
//! A container's engine loaded the filters into the container's first process; the only complete and honest copy is
//! there. The kernel gives it to a tracer with `PTRACE_SECCOMP_GET_FILTER`, which wants the process stopped for a moment.

use std::io;
use std::time::{Duration, Instant};

use crate::{cvt, cvt_int};

/// One classic BPF program, as the kernel has it: instructions of (code, jump true, jump false, constant).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Filter {
    program: Vec<Instruction>,
}

/// One instruction: `struct sock_filter` of linux/filter.h.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[repr(C)]
struct Instruction {
    code: u16,
    jt: u8,
    jf: u8,
    k: u32,
}

#[repr(C)]
struct Program {
    length: u16,
    instructions: *const Instruction,
}

/// `BPF_RET | BPF_K`: return a constant.
const RETURN_CONSTANT: u16 = 0x06;
/// `PTRACE_SECCOMP_GET_FILTER` of ptrace(2), which this libc lacks.
const SECCOMP_GET_FILTER: libc::c_uint = 0x420c;
/// More filters than anybody stacks; the kernel's own bound is on their total size.
const MAX_FILTERS: u64 = 256;

impl Filter {
    /// Whether the program hands some system calls to a supervisor, which a copy of it could not do.
    #[must_use]
    pub fn notifies(&self) -> bool {
        self.program.iter().any(|i| {
            i.code == RETURN_CONSTANT && i.k & libc::SECCOMP_RET_ACTION_FULL == libc::SECCOMP_RET_USER_NOTIF
        })
    }

    /// How many instructions it has.
    #[must_use]
    pub fn len(&self) -> usize {
        self.program.len()
    }

    /// Whether it has none, which the kernel does not allow.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.program.is_empty()
    }
}

/// The filters of process `pid`, the first loaded first. The process is stopped for some microseconds.
///
/// # Errors
/// `EPERM` when it may not be traced or somebody else goes on tracing it; `ETIMEDOUT` when it does not stop within
/// `limit`, as a frozen or uninterruptible process does; `EMEDIUMTYPE` or `EIO` when the kernel does not keep filters for reading.
pub fn filters_of(pid: i32, limit: Duration) -> io::Result<Vec<Filter>> {
    let traced = Traced::stop(pid, limit)?;
    let mut filters = Vec::new();
    for number in 0..MAX_FILTERS {
        match traced.filter(number) {
            Ok(filter) => filters.push(filter),
            Err(e) if e.raw_os_error() == Some(libc::ENOENT) => return Ok(filters),
            Err(e) => return Err(e),
        }
    }
    Err(io::Error::from_raw_os_error(libc::E2BIG))
}

/// A process stopped by us; it goes on when this is dropped.
struct Traced {
    pid: i32,
    /// A signal whose delivery is what stopped it, to be delivered when it goes on.
    signal: i32,
}

impl Traced {
    fn stop(pid: i32, limit: Duration) -> io::Result<Self> {
        let end = Instant::now() + limit;
        seize(pid, end)?;
        let mut traced = Traced { pid, signal: 0 };
        ptrace(libc::PTRACE_INTERRUPT, pid, 0, std::ptr::null_mut())?;
        let mut pause = Duration::from_micros(5);
        loop {
            let mut status = 0;
            // SAFETY: status lives through the call. __WALL: the thread may be of any kind.
            match unsafe { libc::waitpid(pid, &raw mut status, libc::__WALL | libc::WNOHANG) } {
                0 if Instant::now() >= end => return Err(io::Error::from_raw_os_error(libc::ETIMEDOUT)),
                0 => {
                    std::thread::sleep(pause);
                    pause = (pause * 2).min(Duration::from_millis(5));
                }
                -1 => return Err(io::Error::last_os_error()),
                _ if !libc::WIFSTOPPED(status) => return Err(io::Error::from_raw_os_error(libc::ESRCH)),
                _ => {
                    // A signal that arrived at the same moment stops it as well; it must not be lost.
                    if status >> 16 == 0 {
                        traced.signal = libc::WSTOPSIG(status);
                    }
                    return Ok(traced);
                }
            }
        }
    }

    fn filter(&self, number: u64) -> io::Result<Filter> {
        let length = ptrace(SECCOMP_GET_FILTER, self.pid, number, std::ptr::null_mut())?;
        let mut program = vec![Instruction::default(); usize::try_from(length).map_err(io::Error::other)?];
        ptrace(SECCOMP_GET_FILTER, self.pid, number, program.as_mut_ptr().cast())?;
        Ok(Filter { program })
    }
}

impl Drop for Traced {
    fn drop(&mut self) {
        let signal = std::ptr::without_provenance_mut(usize::try_from(self.signal).unwrap_or(0));
        let _ = ptrace(libc::PTRACE_DETACH, self.pid, 0, signal);
    }
}

/// Becomes the tracer. A process has one at a time, and sessions that begin in the same moment take turns.
fn seize(pid: i32, end: Instant) -> io::Result<()> {
    let mut untraced = 0;
    loop {
        match ptrace(libc::PTRACE_SEIZE, pid, 0, std::ptr::null_mut()) {
            Ok(_) => return Ok(()),
            Err(e) if e.raw_os_error() != Some(libc::EPERM) || Instant::now() >= end => return Err(e),
            // Without a tracer it is forbidden, or the other one was done just now.
            Err(e) if !is_traced(pid) => {
                untraced += 1;
                if untraced == 10 {
                    return Err(e);
                }
            }
            Err(_) => untraced = 0,
        }
        std::thread::sleep(Duration::from_micros(500));
    }
}

fn is_traced(pid: i32) -> bool {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    status.lines().filter_map(|line| line.strip_prefix("TracerPid:")).any(|tracer| tracer.trim() != "0")
}

fn ptrace(
    request: libc::c_uint,
    pid: i32,
    address: u64,
    data: *mut libc::c_void,
) -> io::Result<libc::c_long> {
    // SAFETY: the requests used here either take integers or, for a filter, write as many instructions as they said
    // before into memory of that size; the tracee is stopped, so the filter can't have grown between.
    cvt(unsafe { libc::syscall(libc::SYS_ptrace, libc::c_long::from(request), pid, address, data) })
}

/// Loads a filter into this thread: every later system call passes through it.
///
/// `speculation_allowed` loads it without the mitigation that some kernels tie to seccomp (`SPEC_ALLOW`).
///
/// # Errors
/// `EACCES` without no_new_privs or `CAP_SYS_ADMIN`; `EINVAL` for a program that is none.
pub fn load(filter: &Filter, speculation_allowed: bool) -> io::Result<()> {
    let length =
        u16::try_from(filter.program.len()).map_err(|_| io::Error::from_raw_os_error(libc::EINVAL))?;
    let program = Program { length, instructions: filter.program.as_ptr() };
    let flags = if speculation_allowed { libc::SECCOMP_FILTER_FLAG_SPEC_ALLOW } else { 0 };
    // SAFETY: program has the layout of sock_fprog and points to `length` instructions that outlive the call.
    cvt(unsafe {
        libc::syscall(libc::SYS_seccomp, libc::SECCOMP_SET_MODE_FILTER, flags, &raw const program)
    })?;
    Ok(())
}

/// From now on this process can read, write, wait, get memory and exit, and nothing else: for a process that only
/// parses. Anything else kills it.
///
/// # Errors
/// As seccomp(2).
pub fn allow_only_parsing() -> io::Result<()> {
    crate::caps::no_new_privs()?;
    load(&parsing_filter(), true)?;
    // SAFETY: no arguments; a call that the filter must allow, so that a mistake in it shows at once.
    cvt_int(unsafe { libc::getpid() })?;
    Ok(())
}

fn parsing_filter() -> Filter {
    const LOAD_WORD: u16 = 0x20; // BPF_LD | BPF_W | BPF_ABS
    const JUMP_EQUAL: u16 = 0x15; // BPF_JMP | BPF_JEQ | BPF_K
    const CALLS: [libc::c_long; 26] = [
        libc::SYS_read,
        libc::SYS_write,
        libc::SYS_readv,
        libc::SYS_writev,
        libc::SYS_recvfrom,
        libc::SYS_sendto,
        libc::SYS_recvmsg,
        libc::SYS_sendmsg,
        libc::SYS_close,
        libc::SYS_ppoll,
        libc::SYS_mmap,
        libc::SYS_munmap,
        libc::SYS_mremap,
        libc::SYS_mprotect,
        libc::SYS_madvise,
        libc::SYS_brk,
        libc::SYS_futex,
        libc::SYS_getpid,
        libc::SYS_gettid,
        libc::SYS_clock_gettime,
        libc::SYS_getrandom,
        libc::SYS_rt_sigprocmask,
        libc::SYS_rt_sigreturn,
        libc::SYS_sigaltstack,
        libc::SYS_exit,
        libc::SYS_exit_group,
    ];
    let step = |code, k, jt, jf| Instruction { code, jt, jf, k };
    let number = |call: libc::c_long| u32::try_from(call).unwrap_or(u32::MAX);
    // struct seccomp_data: nr at 0, arch at 4.
    let mut program = vec![
        step(LOAD_WORD, 4, 0, 0),
        step(JUMP_EQUAL, ARCH, 1, 0),
        step(RETURN_CONSTANT, libc::SECCOMP_RET_KILL_PROCESS, 0, 0),
        step(LOAD_WORD, 0, 0, 0),
    ];
    for call in CALLS {
        program.push(step(JUMP_EQUAL, number(call), 0, 1));
        program.push(step(RETURN_CONSTANT, libc::SECCOMP_RET_ALLOW, 0, 0));
    }
    program.push(step(RETURN_CONSTANT, libc::SECCOMP_RET_KILL_PROCESS, 0, 0));
    Filter { program }
}

/// `AUDIT_ARCH_*` of linux/audit.h for this build.
#[cfg(target_arch = "x86_64")]
const ARCH: u32 = 0xc000_003e;
#[cfg(target_arch = "aarch64")]
const ARCH: u32 = 0xc000_00b7;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::process::{Ended, fork_for_test};

    #[test]
    fn a_parsing_process_can_compute_and_nothing_else() {
        let ends = |body: fn() -> i32| {
            let child = fork_for_test(move || {
                allow_only_parsing().unwrap();
                body()
            });
            child.wait().unwrap()
        };
        assert_eq!(ends(|| i32::from(vec![7_u8; 1 << 20][4711])), Ended::Exited(7));
        assert_eq!(
            ends(|| i32::from(std::fs::File::open("/etc/passwd").is_ok())),
            Ended::Signalled(libc::SIGSYS)
        );
        assert_eq!(ends(|| crate::process::pipe().map_or(1, |_| 0)), Ended::Signalled(libc::SIGSYS));
    }

    #[test]
    fn many_may_read_the_filters_of_one_process_at_once() {
        let (reader, writer) = crate::process::pipe().unwrap();
        let child = fork_for_test(|| {
            let allow = Instruction { code: RETURN_CONSTANT, jt: 0, jf: 0, k: libc::SECCOMP_RET_ALLOW };
            load(&Filter { program: vec![allow] }, false).unwrap();
            let _ = nix::unistd::write(&writer, b"x");
            std::thread::sleep(Duration::from_secs(60));
            0
        });
        nix::unistd::read(&reader, &mut [0]).unwrap();
        let pid = child.pid();
        let many: Vec<_> = (0..8)
            .map(|_| {
                fork_for_test(move || {
                    let failed =
                        (0..200).filter(|_| filters_of(pid, Duration::from_secs(10)).is_err()).count();
                    i32::try_from(failed.min(100)).unwrap()
                })
            })
            .collect();
        let ended: Vec<_> = many.iter().map(|one| one.wait().unwrap()).collect();
        child.signal(libc::SIGKILL).unwrap();
        child.wait().unwrap();
        assert_eq!(ended, vec![Ended::Exited(0); 8]);
    }

    #[test]
    fn filters_are_read_in_the_order_in_which_they_were_loaded() {
        let nothing = |errno| Filter {
            program: vec![Instruction {
                code: RETURN_CONSTANT,
                jt: 0,
                jf: 0,
                k: libc::SECCOMP_RET_ALLOW | errno,
            }],
        };
        let (reader, writer) = crate::process::pipe().unwrap();
        let child = fork_for_test(|| {
            for number in [1, 2, 3] {
                load(&nothing(number), false).unwrap();
            }
            nix::unistd::write(&writer, b"x").unwrap();
            nix::unistd::pause();
            0
        });
        nix::unistd::read(&reader, &mut [0]).unwrap();
        let filters = filters_of(child.pid(), Duration::from_secs(5)).unwrap();
        assert_eq!(filters, [nothing(1), nothing(2), nothing(3)]);
        assert!(child.try_wait().unwrap().is_none(), "it goes on living");
        child.signal(libc::SIGKILL).unwrap();
        child.wait().unwrap();
    }

    #[test]
    fn a_filter_that_needs_its_supervisor_is_known() {
        let mut filter = parsing_filter();
        assert!(!filter.notifies());
        filter.program.push(Instruction {
            code: RETURN_CONSTANT,
            jt: 0,
            jf: 0,
            k: libc::SECCOMP_RET_USER_NOTIF,
        });
        assert!(filter.notifies());
    }
}
