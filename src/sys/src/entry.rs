//! The way into a program that sshd starts at every login, without what Rust's own way costs there.
//!
//! Before `main`, the standard library looks for the bounds of the stack in `/proc/self/maps` and sets up an alternative
//! signal stack, to name a stack overflow in words; an eighth of what a program that does nothing takes. Such a program
//! has `#![no_main]` and [`program!`](crate::program), the C library's `main`, which calls [`run`]. What else the standard library does there, `run`
//! does: `SIGPIPE` is ignored, 0, 1 and 2 are open, a panic ends the program with 101, and standard output is flushed.

use std::panic::{UnwindSafe, catch_unwind};

/// How a program ends; as [`std::process::ExitCode`], whose number can't be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ExitCode(u8);

impl ExitCode {
    /// Done.
    pub const SUCCESS: ExitCode = ExitCode(0);
    /// Not done.
    pub const FAILURE: ExitCode = ExitCode(1);
}

impl From<u8> for ExitCode {
    fn from(code: u8) -> Self {
        ExitCode(code)
    }
}

/// Runs a program to its end.
pub fn run(program: impl FnOnce() -> ExitCode + UnwindSafe) -> ! {
    // SAFETY: ignoring a signal installs no handler.
    unsafe { libc::signal(libc::SIGPIPE, libc::SIG_IGN) };
    if !standard_descriptors() {
        std::process::abort();
    }
    let ended = catch_unwind(program);
    #[expect(clippy::exit, reason = "this is where programs end; it flushes standard output")]
    std::process::exit(ended.map_or(101, |code| i32::from(code.0)))
}

/// Puts `/dev/null` where 0, 1 or 2 is closed: the next file to be opened would else be taken for it.
fn standard_descriptors() -> bool {
    (0..3).all(|number| {
        // SAFETY: F_GETFD only looks, and the path is NUL-terminated. The lowest free number is taken.
        unsafe {
            libc::fcntl(number, libc::F_GETFD) != -1
                || libc::open(c"/dev/null".as_ptr(), libc::O_RDWR) == number
        }
    })
}

/// Makes the C library's `main` of a function without arguments that returns an [`ExitCode`]: once, in the crate of a
/// program that has `#![cfg_attr(not(test), no_main)]`.
#[macro_export]
macro_rules! program {
    ($program:path) => {
        // SAFETY: nothing else of a program or its libraries is called `main`; two would not link.
        #[cfg(not(test))]
        #[unsafe(no_mangle)]
        extern "C" fn main() -> ::std::ffi::c_int {
            $crate::entry::run($program)
        }

        #[cfg(test)]
        fn main() {
            $crate::entry::run($program)
        }
    };
}
