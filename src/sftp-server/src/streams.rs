//! Standard input and output as they are: without the standard library's buffers, of which the one of the output looks for
//! the ends of lines in what it is given, and whether or not whoever left them here made them non-blocking.

use std::io::{self, Read, Write};
use std::os::fd::AsFd;

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::unistd;

/// Where requests come from.
pub(crate) struct Requests;

/// Where answers go.
pub(crate) struct Answers;

impl Read for Requests {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let stdin = io::stdin();
        waiting(&stdin, PollFlags::POLLIN, || unistd::read(&stdin, buffer))
    }
}

impl Write for Answers {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let stdout = io::stdout();
        waiting(&stdout, PollFlags::POLLOUT, || unistd::write(&stdout, bytes))
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Tries until it is done or fails, and sleeps where trying would be in vain.
fn waiting(
    file: &impl AsFd,
    wanted: PollFlags,
    mut attempt: impl FnMut() -> Result<usize, Errno>,
) -> io::Result<usize> {
    loop {
        match attempt() {
            Err(Errno::EINTR) => {}
            Err(Errno::EAGAIN) => match poll(&mut [PollFd::new(file.as_fd(), wanted)], PollTimeout::NONE) {
                Ok(_) | Err(Errno::EINTR) => {}
                Err(e) => return Err(e.into()),
            },
            done => return Ok(done?),
        }
    }
}
