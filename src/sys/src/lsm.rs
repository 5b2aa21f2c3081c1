//! Labels of Linux security modules: SELinux's context, AppArmor's profile. `/proc/PID/attr` of proc(5).

use std::fs::OpenOptions;
use std::io::{self, Write};

use crate::procfs::ProcDir;

/// The label of a process under the security module that this kernel runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Label {
    /// No module labels processes, or this one is not confined.
    Unconfined,
    /// A profile of AppArmor, with its mode: `docker-default (enforce)`.
    AppArmor(String),
    /// A context of SELinux.
    SeLinux(String),
}

/// The label of a process.
///
/// # Errors
/// As read(2). A kernel without such a module is not an error.
pub fn label(process: &ProcDir) -> io::Result<Label> {
    if let Some(profile) = attribute(process, "attr/apparmor/current")? {
        return Ok(if profile == "unconfined" { Label::Unconfined } else { Label::AppArmor(profile) });
    }
    Ok(match attribute(process, "attr/current")? {
        // AppArmor before Linux 5.8 has no directory of its own; its modes stand in parentheses.
        Some(text) if text.ends_with(')') => Label::AppArmor(text),
        Some(text) if text.contains(':') && text != "kernel" => Label::SeLinux(text),
        _ => Label::Unconfined,
    })
}

fn attribute(process: &ProcDir, name: &str) -> io::Result<Option<String>> {
    match process.text(name) {
        Ok(text) => Ok(Some(text.trim_end_matches(['\0', '\n']).to_owned()).filter(|t| !t.is_empty())),
        Err(e) if matches!(e.raw_os_error(), Some(libc::ENOENT | libc::EINVAL | libc::EOPNOTSUPP)) => {
            Ok(None)
        }
        Err(e) => Err(e),
    }
}

/// Has the next execve of this thread put `label` on the process. To be called with the bastion's `/proc` in place.
///
/// # Errors
/// As write(2), for one when the policy does not allow the change.
pub fn label_on_exec(label: &Label) -> io::Result<()> {
    let (files, text): (&[&str], String) = match label {
        Label::Unconfined => return Ok(()),
        Label::AppArmor(profile) => {
            let name = profile.rsplit_once(" (").map_or(profile.as_str(), |(name, _mode)| name);
            (&["/proc/thread-self/attr/apparmor/exec", "/proc/thread-self/attr/exec"], format!("exec {name}"))
        }
        Label::SeLinux(context) => (&["/proc/thread-self/attr/exec"], context.clone()),
    };
    let mut last = io::Error::from_raw_os_error(libc::ENOENT);
    for file in files {
        match OpenOptions::new().write(true).open(file).and_then(|mut f| f.write_all(text.as_bytes())) {
            Ok(()) => return Ok(()),
            Err(e) => last = e,
        }
    }
    Err(last)
}
