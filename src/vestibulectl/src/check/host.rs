//! What of the host lets a login fail, or be less than it should, though everything is installed: paths that sshd does
//! not trust, mount options, PAM's bolts, engines that don't answer, a full disk, the clock, a security policy.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{Read, Seek, SeekFrom, Write};
use std::os::unix::fs::MetadataExt;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, SystemTime};

use nix::sys::statvfs::{FsFlags, statvfs};
use vestibule::config::Config;
use vestibule::paths;

use super::Fault;
use crate::getent;
use crate::layout::Identities;

const SETPRIV: &str = "/usr/bin/setpriv";
const AUDIT_LOG: &str = "/var/log/audit/audit.log";
/// Less than this is left for a store's transaction and its log.
const LITTLE: u64 = 64 << 20;

/// What the store says that has to be tried out on the host.
#[derive(Debug, Default)]
pub(super) struct Seen {
    /// Engines that targets name.
    pub(super) engines: BTreeSet<String>,
    /// A login name that must lead somewhere.
    pub(super) login: Option<String>,
}

/// sshd's `safe_path`: whoever can write a directory above the AuthorizedKeysCommand says who may log in.
pub(super) fn safe_path(faults: &mut Vec<Fault>) {
    for directory in Path::new(paths::KEYS_LOOKUP).ancestors().skip(1) {
        let Ok(about) = directory.metadata() else { continue };
        let shown = directory.display();
        if about.uid() == 0 && about.mode() & 0o022 == 0 {
            continue;
        }
        let what = format!("'{shown}' can be written by others than root");
        faults.push(
            Fault::new(what, format!("run 'chown root:root {shown} && chmod go-w {shown}'"))
                .why("sshd runs no command that others than root could exchange: nobody can log in"),
        );
    }
}

/// Whether the file system lets the programs be what their modes say.
pub(super) fn mounts(faults: &mut Vec<Fault>) {
    let Ok(about) = statvfs(paths::ENTER) else { return };
    for (flag, name) in [(FsFlags::ST_NOSUID, "nosuid"), (FsFlags::ST_NOEXEC, "noexec")] {
        if about.flags().contains(flag) {
            let what = format!("'{}' is on a file system that is mounted {name}", paths::ENTER);
            faults.push(
                Fault::new(what, "mount it without, for good in /etc/fstab")
                    .why("the setuid bit and capabilities of vestibule's programs don't count there"),
            );
        }
    }
}

/// The user of AuthorizedKeysCommand, who must be able to start it.
pub(super) fn run_as(faults: &mut Vec<Fault>) {
    let user = paths::USER_KEYS;
    match getent::user(user) {
        Ok(Some(_)) => {}
        Ok(None) => {
            return faults.push(
                Fault::new(format!("user '{user}' does not exist"), "run 'vestibulectl init'")
                    .why("sshd runs keys-lookup as this user, and refuses every key without it"),
            );
        }
        Err(error) => return faults.push(Fault::new(format!("{error:#}"), "")),
    }
    if !Path::new(SETPRIV).exists() || !Path::new(paths::KEYS_LOOKUP).exists() {
        return;
    }
    // By way of a shell: setpriv itself still executes with root's capabilities, and may what the user may not.
    let tried = Command::new(SETPRIV)
        .args(["--reuid", user, "--regid", user, "--init-groups", "--inh-caps=-all"])
        .args(["/bin/sh", "-c", "exec \"$0\" --help", paths::KEYS_LOOKUP])
        .env_clear()
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .output();
    if let Ok(output) = tried
        && !output.status.success()
    {
        let said = String::from_utf8_lossy(&output.stderr);
        let what = format!("user '{user}' can't execute '{}': {}", paths::KEYS_LOOKUP, one_line(&said));
        faults.push(
            Fault::new(what, "install vestibule again").why("sshd gets no keys, and nobody can log in"),
        );
    }
}

/// A login name, by the way that sshd asks for it.
pub(super) fn trial(who: Identities, seen: &Seen, faults: &mut Vec<Fault>) {
    let Some(login) = seen.login.as_deref() else { return };
    let why = "to sshd the user does not exist, and nobody can log in by that name";
    match getent::any_user(login) {
        Ok(Some(uid)) if uid == who.session.uid => {}
        Ok(Some(uid)) => faults.push(
            Fault::new(
                format!("the login name '{login}' is uid {uid}, not vestibule's {}", who.session.uid),
                "see that no other service of the line 'passwd:' in /etc/nsswitch.conf knows the name",
            )
            .why("sshd gives that user's session"),
        ),
        Ok(None) => faults.push(
            Fault::new(
                format!("the login name '{login}' is not found by NSS"),
                "run 'vestibulectl doctor --mend'; where nscd runs, 'nscd --invalidate=passwd'",
            )
            .why(why),
        ),
        Err(error) => faults.push(Fault::new(format!("{error:#}"), "").why(why)),
    }
}

/// PAM lets only root in while one of these is there.
pub(super) fn nologin(faults: &mut Vec<Fault>) {
    for path in ["/etc/nologin", "/run/nologin"] {
        if Path::new(path).exists() {
            faults.push(
                Fault::new(format!("'{path}' exists"), format!("run 'rm {path}' when the host is ready"))
                    .why("PAM refuses every login but root's"),
            );
        }
    }
}

/// Every engine that a target names must answer.
pub(super) fn engines(config: &Config, seen: &Seen, faults: &mut Vec<Fault>) {
    for name in &seen.engines {
        // One that is not configured has been said.
        let Some(engine) = config.engine.get(name) else { continue };
        if let Err(error) = ping(&engine.socket) {
            let what =
                format!("the engine '{name}' does not answer at '{}': {error}", engine.socket.display());
            faults.push(
                Fault::new(what, "start the engine, or mend its 'socket' in vestibule.toml")
                    .why("no session gets into its containers"),
            );
        }
    }
}

fn ping(socket: &Path) -> std::io::Result<()> {
    let mut stream = UnixStream::connect(socket)?;
    let limit = Some(Duration::from_secs(3));
    stream.set_read_timeout(limit)?;
    stream.set_write_timeout(limit)?;
    stream.write_all(b"GET /_ping HTTP/1.0\r\nHost: localhost\r\n\r\n")?;
    let mut answer = [0; 12];
    stream.read_exact(&mut answer)?;
    if answer.ends_with(b" 200") {
        return Ok(());
    }
    Err(std::io::Error::other(format!("it says '{}'", answer.escape_ascii())))
}

/// Room for the store to be written, and a clock that goes forward.
pub(super) fn room_and_clock(faults: &mut Vec<Fault>) {
    if let Ok(about) = statvfs(paths::STATE_DIR) {
        let free = about.blocks_available().saturating_mul(about.fragment_size());
        if free < LITTLE {
            let what = format!("'{}' has {} MiB left", paths::STATE_DIR, free >> 20);
            faults.push(
                Fault::new(what, "make room on that file system")
                    .why("logins go on, but no key can be added or revoked when it is full"),
            );
        }
    }
    let written = fs::metadata(paths::STORE).and_then(|about| about.modified());
    if let Ok(written) = written
        && let Ok(ahead) = written.duration_since(SystemTime::now())
        && ahead > Duration::from_secs(300)
    {
        let what = format!("the clock is {} seconds behind the last change of the store", ahead.as_secs());
        faults.push(
            Fault::new(what, "set the clock, and see that something keeps it")
                .why("what expires by the clock, keys and grants, may open again"),
        );
    }
}

/// What a security policy forbade our programs lately.
pub(super) fn denials(faults: &mut Vec<Fault>) {
    let Some(text) = tail(Path::new(AUDIT_LOG), 1 << 20) else { return };
    let ours = |line: &&str| {
        let is_ours = ["keys-lookup", "route-session", "vestibule"].iter().any(|word| line.contains(word));
        is_ours && (line.contains("avc:  denied") || line.contains("apparmor=\"DENIED\""))
    };
    let denied: Vec<&str> = text.lines().filter(ours).collect();
    if let Some(last) = denied.last() {
        let mut last = one_line(last);
        last.truncate(last.char_indices().nth(300).map_or(last.len(), |(at, _)| at));
        let what = format!("'{AUDIT_LOG}' has {} denials of vestibule, the last: {last}", denied.len());
        faults.push(
            Fault::new(what, "see 'ausearch -m AVC -ts recent' and allow what is refused")
                .why("the policy of SELinux or AppArmor keeps a login from something that it needs"),
        );
    }
}

fn tail(path: &Path, most: u64) -> Option<String> {
    let mut file = File::open(path).ok()?;
    let size = file.metadata().ok()?.len();
    file.seek(SeekFrom::Start(size.saturating_sub(most))).ok()?;
    let mut bytes = Vec::new();
    file.take(most).read_to_end(&mut bytes).ok()?;
    Some(String::from_utf8_lossy(&bytes).into_owned())
}

pub(super) fn one_line(text: &str) -> String {
    text.trim().replace(['\r', '\n'], " ")
}
