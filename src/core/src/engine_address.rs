//! Where a container is that a TCP target goes to.
//!
//! Only an engine knows, and only `enter` may ask one: it is executed with the target's number and prints `HOST PORT`.

use std::io::Read;
use std::os::fd::AsFd;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use vestibule_sys::process::poll_readable;

use crate::decide::Addresses;
use crate::options::HostPort;
use crate::paths;
use crate::target::TargetId;

/// Bytes of an answer that are read.
const MAX_ANSWER: usize = 1024;

/// Asks `enter --address`.
#[derive(Debug, Clone)]
pub struct AskEnter {
    /// The program.
    pub enter: PathBuf,
    /// How long it may take.
    pub limit: Duration,
}

impl Default for AskEnter {
    fn default() -> Self {
        AskEnter { enter: PathBuf::from(paths::ENTER), limit: Duration::from_secs(2) }
    }
}

impl Addresses for AskEnter {
    fn container(&self, target: TargetId) -> Result<HostPort, String> {
        let answer = self.ask(target).map_err(|why| format!("'{}': {why}", self.enter.display()))?;
        parse(&answer).ok_or_else(|| {
            format!("'{}' gave no address; its line in the log says why", self.enter.display())
        })
    }
}

impl AskEnter {
    fn ask(&self, target: TargetId) -> Result<Vec<u8>, String> {
        let end = Instant::now() + self.limit;
        let mut child = Command::new(&self.enter)
            .arg("--address")
            .arg(target.0.to_string())
            .env_clear()
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .map_err(|e| e.to_string())?;
        let mut answer = Vec::new();
        let read = child.stdout.take().map_or(Ok(()), |mut pipe| read_until(&mut pipe, end, &mut answer));
        if read.is_err() {
            // Root's process can't be killed by us when it is root's; then it is left behind.
            let _ = child.kill();
        } else {
            let _ = child.wait();
        }
        read.map(|()| answer)
    }
}

/// Reads to the end of a pipe, [`MAX_ANSWER`] bytes, or `end`.
fn read_until(pipe: &mut (impl Read + AsFd), end: Instant, answer: &mut Vec<u8>) -> Result<(), String> {
    let mut buffer = [0_u8; 256];
    while answer.len() < MAX_ANSWER {
        let left = end.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err("gave no answer in time".to_owned());
        }
        if poll_readable(pipe.as_fd(), left + Duration::from_millis(1)).map_err(|e| e.to_string())? {
            match pipe.read(&mut buffer).map_err(|e| e.to_string())? {
                0 => return Ok(()),
                n => answer.extend_from_slice(buffer.get(..n).unwrap_or_default()),
            }
        }
    }
    Err("gave too long an answer".to_owned())
}

/// `HOST PORT` on one line.
fn parse(answer: &[u8]) -> Option<HostPort> {
    let line = std::str::from_utf8(answer).ok()?.strip_suffix('\n')?;
    let (host, port) = line.split_once(' ')?;
    HostPort::new(host, port.parse().ok()?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    fn enter(script: &str) -> (tempfile::TempDir, AskEnter) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("enter");
        std::fs::write(&path, format!("#!/bin/sh\n{script}\n")).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
        (dir, AskEnter { enter: path, limit: Duration::from_secs(20) })
    }

    #[test]
    fn an_answer_is_an_address_and_a_port() {
        let (_dir, ask) = enter("[ \"$1 $2\" = '--address 7' ] && echo 172.17.0.2 22");
        assert_eq!(ask.container(TargetId(7)), Ok(HostPort::new("172.17.0.2", 22).unwrap()));
        assert!(ask.container(TargetId(8)).unwrap_err().contains("gave no address"));
    }

    #[test]
    fn an_answer_that_does_not_come_is_not_waited_for() {
        let (_dir, mut ask) = enter("exec sleep 60");
        ask.limit = Duration::from_millis(50);
        let start = Instant::now();
        assert!(ask.container(TargetId(7)).unwrap_err().contains("in time"));
        assert!(start.elapsed() < Duration::from_secs(30));
    }

    #[test]
    fn an_answer_without_end_is_none() {
        let (_dir, ask) = enter("exec yes 10.0.0.1 22");
        assert!(ask.container(TargetId(7)).unwrap_err().contains("too long"));
    }

    #[test]
    fn a_program_that_is_missing_is_named() {
        let ask = AskEnter { enter: "/nonexistent/enter".into(), ..AskEnter::default() };
        assert!(ask.container(TargetId(7)).unwrap_err().starts_with("'/nonexistent/enter': "));
    }

    #[test]
    fn what_is_no_answer_is_none() {
        for answer in
            ["", "\n", "10.0.0.1 22", "10.0.0.1\n", "10.0.0.1 0\n", "10.0.0.1 x\n", "a\"b 22\n", "1 2\n3 4\n"]
        {
            assert_eq!(parse(answer.as_bytes()), None, "{answer:?}");
        }
    }
}
