//! What of the host lets a login fail, or be less than it should, though everything is installed: paths that sshd does
//! not trust, mount options, PAM's bolts, engines that don't answer, a full disk, the clock.

use std::collections::BTreeSet;
use std::fs;
use std::io::{Read, Write};
use std::os::unix::fs::MetadataExt;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, SystemTime};

use nix::sys::statvfs::{FsFlags, statvfs};
use vestibule::config::Config;
use vestibule::paths;
use vestibule_sys::time;

use super::Fault;
use crate::getent;
use crate::layout::Identities;

const SETPRIV: &str = "/usr/bin/setpriv";
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
    // sshd does not say whose it is; /usr/sbin/sshd is the distribution's.
    let debian = is_debian(&fs::read_to_string("/etc/os-release").unwrap_or_default());
    for directory in Path::new(paths::KEYS_LOOKUP).ancestors().skip(1) {
        let Ok(about) = directory.metadata() else { continue };
        let shown = directory.display();
        let by_group = about.mode() & 0o020 != 0 && !(debian && is_roots_alone(about.gid()));
        if about.uid() == 0 && about.mode() & 0o002 == 0 && !by_group {
            continue;
        }
        let what = format!("'{shown}' can be written by others than root");
        faults.push(
            Fault::new(what, format!("run 'chown root:root {shown} && chmod go-w {shown}'"))
                .why("sshd runs no command that others than root could exchange: nobody can log in"),
        );
    }
}

/// Debian's sshd lets a group write whose only member is the owner: its users have groups of their own, and umask 002.
fn is_roots_alone(gid: u32) -> bool {
    let read = |path| fs::read_to_string(path).unwrap_or_default();
    group_is_roots_alone(&read("/etc/passwd"), &read("/etc/group"), gid)
}

/// Debian, or a distribution that says it is like it: os-release(5).
fn is_debian(os_release: &str) -> bool {
    let values =
        os_release.lines().filter_map(|line| line.strip_prefix("ID=").or(line.strip_prefix("ID_LIKE=")));
    values.flat_map(|list| list.trim_matches('"').split(' ')).any(|id| id == "debian")
}

fn group_is_roots_alone(passwd: &str, group: &str, gid: u32) -> bool {
    let id = |field: Option<&str>| field.and_then(|field| field.parse::<u32>().ok());
    let mut primary = passwd.lines().filter_map(|line| {
        let mut fields = line.split(':').skip(2);
        id(fields.next()).zip(id(fields.next()))
    });
    let members = group.lines().find_map(|line| {
        let mut fields = line.split(':').skip(2);
        (id(fields.next()) == Some(gid)).then(|| fields.next().unwrap_or_default())
    });
    let by_passwd: Vec<u32> = primary.by_ref().filter(|(_, of)| *of == gid).map(|(uid, _)| uid).collect();
    match members {
        Some(members) => {
            by_passwd.iter().all(|uid| *uid == 0)
                && (members == "root" || (members.is_empty() && !by_passwd.is_empty()))
        }
        None => false,
    }
}

/// Whether the file system lets the programs be what their modes say.
pub(super) fn mounts(faults: &mut Vec<Fault>) {
    let Ok(about) = statvfs(paths::ENTER) else { return };
    for (flag, name) in [(FsFlags::ST_NOSUID, "nosuid"), (FsFlags::ST_NOEXEC, "noexec")] {
        if about.flags().contains(flag) {
            let what = format!("'{}' is on a file system that is mounted {name}", paths::ENTER);
            let opposite = name.trim_start_matches("no");
            let mend =
                format!("mount -o remount,bind,{opposite} \"$(findmnt -n -o TARGET -T {})\"", paths::ENTER);
            faults.push(
                Fault::new(what, format!("run '{mend}', and mount it without, for good in /etc/fstab"))
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

/// Room for the store to be written, and a clock that is right.
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
    if !time::clock_is_kept() {
        faults.push(
            Fault::new(
                "nothing keeps the clock: to the kernel it is not synchronised",
                "install and start chrony, or another service that does",
            )
            .why("keys and grants expire by the clock, and a hub's certificates count by it")
            .noted(),
        );
    }
}

pub(super) fn one_line(text: &str) -> String {
    text.trim().replace(['\r', '\n'], " ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debian_and_its_kin() {
        assert!(is_debian("NAME=\"Debian GNU/Linux\"\nID=debian\n"));
        assert!(is_debian("ID=ubuntu\nID_LIKE=debian\n"));
        assert!(is_debian("ID=\"mint\"\nID_LIKE=\"ubuntu debian\"\n"));
        assert!(!is_debian("ID=\"rhel\"\nID_LIKE=\"fedora\"\nHOME_URL=\"https://debian\"\n"));
    }

    #[test]
    fn a_group_is_roots_alone_as_debians_sshd_counts() {
        let passwd = "root:x:0:0::/root:/bin/bash\nada:x:1000:1000::/:/bin/sh\nbob:x:1001:50::/:/bin/sh\n";
        let group = "root:x:0:\nada:x:1000:\nstaff:x:50:\nops:x:60:root\nadmins:x:61:root,ada\nnone:x:62:\nmore:x:63:ada\n";
        for (gid, wanted) in [
            (0, true),
            (1000, false),
            (50, false),
            (60, true),
            (61, false),
            (62, false),
            (63, false),
            (99, false),
        ] {
            assert_eq!(group_is_roots_alone(passwd, group, gid), wanted, "{gid}");
        }
        assert!(!group_is_roots_alone("root:x:0:0::/:/bin/sh\nada:x:7:0::/:/bin/sh\n", group, 0));
    }
}
