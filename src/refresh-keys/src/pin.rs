//! `--pin-host-key TARGET`: the key of a target's SSH server, which was reached for the first time, becomes the one that it
//! must have. `enter` runs this, and writes the key to standard input as a line of known_hosts, when it has it.

use std::io::Read;
use std::process::ExitCode;

use anyhow::{Context, ensure};
use vestibule::messages::shown;
use vestibule::store::Writer;
use vestibule::target::HostKey;
use vestibule_names::login::TargetName;
use vestibule_sys::syslog::{Severity, Syslog};

/// A line has one key, of 16 KiB at most.
const MAX_LINE: u64 = 64 << 10;

/// Waits for the key; the end of standard input without one is no fault.
///
/// # Errors
/// What is no key, and the store's.
pub(crate) fn run(open: impl FnOnce() -> anyhow::Result<Writer>, name: &str) -> anyhow::Result<ExitCode> {
    let what = || format!("host key of target '{}'", name.escape_debug());
    let name = TargetName::try_from(name).with_context(what)?;
    let mut line = String::new();
    std::io::stdin().lock().take(MAX_LINE).read_to_string(&mut line).with_context(what)?;
    if line.trim().is_empty() {
        return Ok(ExitCode::SUCCESS);
    }
    // The name that the client knows the server by, and the key.
    let (_, key) = line.trim().split_once(' ').context("no line of known_hosts").with_context(what)?;
    let key: HostKey = key.parse().with_context(what)?;
    ensure!(!key.authority, "{}: a server's own is wanted", what());
    if open()?.change(|changes| changes.pin_host_key(&name, &key)).with_context(what)? {
        Syslog::open("refresh-keys").line(
            Severity::Info,
            format_args!(
                "event=host-key-pinned target={} key={}",
                shown(name.as_str()),
                key.key.fingerprint()
            ),
        );
    }
    Ok(ExitCode::SUCCESS)
}
