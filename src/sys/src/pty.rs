//! Pseudoterminals of a container, and the terminal that the client sits at: pty(7), ioctl_tty(2).

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::os::unix::fs::{FileTypeExt, MetadataExt};

use nix::sys::statfs::fstatfs;
use nix::sys::termios::{self, SetArg, Termios};

use crate::cvt_int;

/// Both ends of a pseudoterminal.
#[derive(Debug)]
pub struct Pty {
    /// What the terminal's user types into and reads from.
    pub master: OwnedFd,
    /// What programs have as their terminal.
    pub slave: OwnedFd,
}

/// Rows, columns, and their size in pixels.
pub type Size = libc::winsize;

/// Opens a pseudoterminal of the devpts that is mounted in this process's own root.
///
/// What a container calls `/dev/ptmx` may be anything, so what was opened is looked at: it must be the multiplexer's
/// device, and its other end on a devpts. The other end is asked of the device itself (`TIOCGPTPEER`), not opened by a name.
///
/// # Errors
/// As open(2); `ENOTTY` when there is something else in its place.
pub fn open() -> io::Result<Pty> {
    let master = open_multiplexer("/dev/pts/ptmx").or_else(|_| open_multiplexer("/dev/ptmx"))?;
    let unlock: libc::c_int = 0;
    // SAFETY: TIOCSPTLCK reads an int, TIOCGPTPEER takes open flags as its argument and returns a new descriptor.
    let slave = unsafe {
        cvt_int(libc::ioctl(master.as_raw_fd(), libc::TIOCSPTLCK, &raw const unlock))?;
        let flags = libc::O_RDWR | libc::O_NOCTTY | libc::O_CLOEXEC;
        OwnedFd::from_raw_fd(cvt_int(libc::ioctl(master.as_raw_fd(), libc::TIOCGPTPEER, flags))?)
    };
    if fstatfs(&slave)?.filesystem_type().0 != DEVPTS_SUPER_MAGIC {
        return Err(io::Error::from_raw_os_error(libc::ENOTTY));
    }
    Ok(Pty { master, slave })
}

fn open_multiplexer(path: &str) -> io::Result<OwnedFd> {
    use nix::fcntl::{OFlag, open};
    use nix::sys::stat::Mode;
    let flags = OFlag::O_RDWR | OFlag::O_NOCTTY | OFlag::O_CLOEXEC | OFlag::O_NONBLOCK;
    let file = File::from(open(path, flags, Mode::empty())?);
    let meta = file.metadata()?;
    let is_multiplexer = meta.file_type().is_char_device()
        && (nix::sys::stat::major(meta.rdev()), nix::sys::stat::minor(meta.rdev())) == (5, 2);
    if !is_multiplexer {
        return Err(io::Error::from_raw_os_error(libc::ENOTTY));
    }
    Ok(file.into())
}

/// `DEVPTS_SUPER_MAGIC` of linux/magic.h.
const DEVPTS_SUPER_MAGIC: libc::c_long = 0x1cd1;

impl Pty {
    /// The number of the terminal in its devpts: `/dev/pts/N` inside.
    ///
    /// # Errors
    /// As `TIOCGPTN` in ioctl_tty(2).
    pub fn number(&self) -> io::Result<u32> {
        let mut number: libc::c_uint = 0;
        // SAFETY: TIOCGPTN fills in an unsigned int.
        cvt_int(unsafe { libc::ioctl(self.master.as_raw_fd(), libc::TIOCGPTN, &raw mut number) })?;
        Ok(number)
    }
}

/// The size of a terminal.
///
/// # Errors
/// `ENOTTY` when it is none.
pub fn size(terminal: BorrowedFd<'_>) -> io::Result<Size> {
    let mut size = Size { ws_row: 0, ws_col: 0, ws_xpixel: 0, ws_ypixel: 0 };
    // SAFETY: TIOCGWINSZ fills in a winsize.
    cvt_int(unsafe { libc::ioctl(terminal.as_raw_fd(), libc::TIOCGWINSZ, &raw mut size) })?;
    Ok(size)
}

/// Sets the size of a terminal; its foreground processes get SIGWINCH if it changed.
///
/// # Errors
/// `ENOTTY` when it is none.
pub fn set_size(terminal: BorrowedFd<'_>, size: &Size) -> io::Result<()> {
    // SAFETY: TIOCSWINSZ reads a winsize.
    cvt_int(unsafe { libc::ioctl(terminal.as_raw_fd(), libc::TIOCSWINSZ, std::ptr::from_ref(size)) })?;
    Ok(())
}

/// The modes that a terminal had before it was made a mere pipe.
pub struct Modes(Termios);

/// Gives `from`'s modes (those the client asked for) and size to `to`, then makes `from` a mere pipe: raw.
///
/// # Errors
/// `ENOTTY` when one of them is none.
pub fn hand_over_modes(from: BorrowedFd<'_>, to: BorrowedFd<'_>) -> io::Result<Modes> {
    let modes: Termios = termios::tcgetattr(from)?;
    termios::tcsetattr(to, SetArg::TCSANOW, &modes)?;
    set_size(to, &size(from)?)?;
    make_raw(from)?;
    Ok(Modes(modes))
}

/// Makes a terminal a mere pipe: raw.
///
/// # Errors
/// `ENOTTY` when it is none.
pub fn make_raw(terminal: BorrowedFd<'_>) -> io::Result<Modes> {
    let modes: Termios = termios::tcgetattr(terminal)?;
    let mut raw = modes.clone();
    termios::cfmakeraw(&mut raw);
    termios::tcsetattr(terminal, SetArg::TCSANOW, &raw)?;
    Ok(Modes(modes))
}

/// Gives a terminal its modes back.
///
/// # Errors
/// As tcsetattr(3).
pub fn restore(terminal: BorrowedFd<'_>, modes: &Modes) -> io::Result<()> {
    Ok(termios::tcsetattr(terminal, SetArg::TCSANOW, &modes.0)?)
}

/// Whether `fd` is a terminal.
#[must_use]
pub fn is_terminal(fd: BorrowedFd<'_>) -> bool {
    termios::tcgetattr(fd).is_ok()
}

/// Makes this process the leader of a new session: setsid(2).
///
/// # Errors
/// `EPERM` when it leads a process group already.
pub fn new_session() -> io::Result<()> {
    nix::unistd::setsid()?;
    Ok(())
}

/// Makes `slave` the controlling terminal of the session that this process leads.
///
/// # Errors
/// As `TIOCSCTTY` in ioctl_tty(2).
pub fn control(slave: &OwnedFd) -> io::Result<()> {
    // SAFETY: TIOCSCTTY takes an int.
    cvt_int(unsafe { libc::ioctl(slave.as_fd().as_raw_fd(), libc::TIOCSCTTY, 0) })?;
    Ok(())
}
