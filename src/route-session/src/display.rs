//! The client's X display: sshd listens for it in the container's network, and has had its cookie put into a file.

use std::env;
use std::fmt::Write;
use std::fs::File;
use std::io::Read;

use vestibule::xauthority;

/// A file has a line for each session of the connection that is there.
const MAX_FILE: u64 = 256 << 10;

/// For `enter`: the display, as sshd names it, and the file of its cookie, in hexadecimal. `None` if sshd made no display, or
/// left no cookie.
pub(crate) fn of_session() -> Option<String> {
    let display = env::var("DISPLAY").ok()?;
    let number = xauthority::number(&display)?;
    let mut file = Vec::new();
    File::open(env::var_os("XAUTHORITY")?).ok()?.take(MAX_FILE).read_to_end(&mut file).ok()?;
    let cookie = xauthority::find(&file, number)?;
    let mut text = format!("{display} ");
    for byte in cookie.to_file(number) {
        let _ = write!(text, "{byte:02x}");
    }
    Some(text)
}
