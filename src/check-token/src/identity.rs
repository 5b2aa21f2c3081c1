//! As whom it is done: root becomes the owner of the program's directory, for good, before it reads what anybody sent.

use std::os::unix::fs::MetadataExt;
use std::path::Path;

use nix::sys::stat::{Mode, umask};
use nix::unistd::geteuid;
use vestibule::paths;
use vestibule_sys::{caps, fds, process, signals};

/// Gives up everything but the directory and, by its group, the store.
///
/// # Errors
/// What keeps it from that; nothing may be read then.
pub(crate) fn become_powerless() -> Result<(), String> {
    if !geteuid().is_root() {
        return Err("to be run by pam_exec(8) in sshd, as root".to_owned());
    }
    let directory = Path::new(paths::TOKENS_DIR);
    let shown = directory.display();
    let about = directory
        .symlink_metadata()
        .map_err(|e| format!("'{shown}': {e}; run 'vestibulectl doctor --mend'"))?;
    if !about.is_dir() || about.uid() == 0 || about.gid() == 0 {
        return Err(format!("'{shown}' is not a directory of check-token's own user"));
    }
    let step = |name: &'static str| move |error: std::io::Error| format!("{name}: {error}");
    process::set_dumpable(false).map_err(step("PR_SET_DUMPABLE"))?;
    fds::close_inherited_from(3).map_err(step("close_range"))?;
    signals::reset_all().map_err(step("sigprocmask"))?;
    std::env::set_current_dir("/").map_err(step("'/'"))?;
    umask(Mode::from_bits_truncate(0o077));
    process::become_user(about.uid(), about.gid(), &[about.gid()]).map_err(step("setresuid"))?;
    caps::drop_all().map_err(step("capset"))?;
    caps::no_new_privs().map_err(step("PR_SET_NO_NEW_PRIVS"))?;
    // A change of ids makes a process dumpable again, by fs.suid_dumpable.
    process::set_dumpable(false).map_err(step("PR_SET_DUMPABLE"))
}
