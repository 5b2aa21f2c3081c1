//! What a security policy forbade our programs in the last day, or would have forbidden if it were in force.
//!
//! The kernel's messages are read where they are kept as text: in auditd's log, and in the logs that rsyslog keeps of the
//! kernel on hosts without auditd. A host that keeps them in the journal alone is not asked.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::Path;

use vestibule_sys::time;

use super::Fault;
use super::host::one_line;

const LOGS: [&str; 3] = ["/var/log/audit/audit.log", "/var/log/kern.log", "/var/log/messages"];
/// Programs and labels of ours, as the kernel writes them.
const OURS: [&str; 3] = ["keys-lookup", "route-session", "vestibule"];
/// What is older was mended since, or comes again.
const RECENT: i64 = 24 * 3600;
/// So much of a log's end is read.
const MOST: u64 = 1 << 20;

/// One message of the kernel about one of our programs.
#[derive(Debug, PartialEq, Eq)]
struct Denial<'a> {
    line: &'a str,
    /// Whether it was refused, and not only noted by a domain in permissive or a profile in complain mode.
    in_force: bool,
}

/// Denials as faults, and what would be one as notes.
pub(super) fn look(faults: &mut Vec<Fault>) {
    for log in LOGS {
        let Some(text) = tail(Path::new(log), MOST) else { continue };
        let since = time::now().saturating_sub(RECENT);
        let (refused, noted): (Vec<_>, Vec<_>) =
            text.lines().filter_map(|line| denial(line, since)).partition(|denial| denial.in_force);
        if let Some(last) = refused.last() {
            let what = format!(
                "'{log}' has {} denials of vestibule, the last: {}",
                refused.len(),
                bounded(last.line)
            );
            faults.push(
                Fault::new(what, "see 'ausearch -m AVC -ts recent' and allow what is refused; vestibule(7), \"SELinux and AppArmor\"")
                    .why("the policy of SELinux or AppArmor keeps a login from something that it needs"),
            );
        }
        if let Some(last) = noted.last() {
            let what = format!(
                "'{log}' has {} things of vestibule that the policy would refuse, the last: {}",
                noted.len(),
                bounded(last.line)
            );
            faults.push(
                Fault::new(
                    what,
                    "allow them before the policy is put in force; vestibule(7), \"SELinux and AppArmor\"",
                )
                .why("nothing was refused: the domain is permissive, or the profile complains")
                .noted(),
            );
        }
    }
}

/// The message in a line, if it is about us and not older than `since`.
fn denial(line: &str, since: i64) -> Option<Denial<'_>> {
    let in_force = if line.contains("avc:  denied") {
        !line.contains("permissive=1")
    } else if line.contains("apparmor=\"DENIED\"") {
        true
    } else if line.contains("apparmor=\"ALLOWED\"") {
        false
    } else {
        return None;
    };
    if !OURS.iter().any(|word| line.contains(word)) {
        return None;
    }
    // `audit(1790000000.123:456)`. A line without is taken for a new one.
    let stamp = line.split_once("audit(").and_then(|(_, rest)| rest.split_once('.')?.0.parse::<i64>().ok());
    stamp.is_none_or(|second| second >= since).then_some(Denial { line, in_force })
}

fn bounded(line: &str) -> String {
    let mut line = one_line(line);
    line.truncate(line.char_indices().nth(300).map_or(line.len(), |(at, _)| at));
    line
}

fn tail(path: &Path, most: u64) -> Option<String> {
    let mut file = File::open(path).ok()?;
    let size = file.metadata().ok()?.len();
    file.seek(SeekFrom::Start(size.saturating_sub(most))).ok()?;
    let mut bytes = Vec::new();
    file.take(most).read_to_end(&mut bytes).ok()?;
    Some(String::from_utf8_lossy(&bytes).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_ours_recent_and_in_force_or_not() {
        let selinux = |stamp: i64, comm: &str, permissive: u8| {
            format!(
                "type=AVC msg=audit({stamp}.123:456): avc:  denied  {{ read }} for  pid=77 comm=\"{comm}\" permissive={permissive}"
            )
        };
        let apparmor = |word: &str| {
            format!(
                "Nov 25 08:00:00 bastion kernel: audit: type=1400 audit(5000.1:9): apparmor=\"{word}\" operation=\"open\" profile=\"vestibule-keys-lookup\" name=\"/etc/x\""
            )
        };
        for (line, wanted) in [
            (selinux(5000, "keys-lookup", 0), Some(true)),
            (selinux(5000, "keys-lookup", 1), Some(false)),
            (selinux(3999, "keys-lookup", 0), None),
            (selinux(5000, "httpd", 0), None),
            (apparmor("DENIED"), Some(true)),
            (apparmor("ALLOWED"), Some(false)),
            (apparmor("STATUS"), None),
            ("avc:  denied  { read } for comm=\"route-session\"".to_owned(), Some(true)),
        ] {
            assert_eq!(denial(&line, 4000).map(|found| found.in_force), wanted, "{line}");
        }
    }
}
