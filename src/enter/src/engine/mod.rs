//! Engines that speak Docker's Engine API over a unix socket of this host: Docker, Podman.
//!
//! Whoever may talk to an engine is root there, so only the worker opens its socket, at a path that root wrote in the
//! configuration. Unversioned paths are used: they mean the newest version that the engine has.

pub(crate) mod ending;
pub(crate) mod exec;
mod frames;
pub(crate) mod http;
pub(crate) mod inspect;

use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use vestibule::config::Config;
use vestibule::messages::Refusal;

use crate::parser::Parser;
use crate::refused::{OrRefuse, Refused};
use inspect::Inspected;

/// How long an engine may think before a login is given up.
const PATIENCE: Duration = Duration::from_secs(10);
/// An inspection is some 10 KiB; with thousands of labels, more.
const MAX_ANSWER: u64 = 8 << 20;

/// Connects to an engine of the configuration.
pub(crate) fn connect(config: &Config, engine: &str) -> Result<UnixStream, Refused> {
    let Some(known) = config.engine.get(engine) else {
        return Err(Refused::setup(format_args!("engine '{engine}': not in the configuration")));
    };
    let open = || -> io::Result<UnixStream> {
        let stream = UnixStream::connect(&known.socket)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        Ok(stream)
    };
    open().or_setup(format_args!("engine '{engine}' at '{}'", known.socket.display()))
}

/// Asks an engine for a container. The bytes of the answer are only read here; the parser understands them.
pub(crate) fn inspect(
    config: &Config,
    engine: &str,
    container: &str,
    target: &str,
    parser: &mut Parser,
) -> Result<Inspected, Refused> {
    let mut stream = connect(config, engine)?;
    let path = container_path(container, "json")?;
    let ask = |stream: &mut UnixStream| -> io::Result<Vec<u8>> {
        // An HTTP/1.0 answer ends with the connection and comes in one piece, and so does the question.
        stream.write_all(format!("GET {path} HTTP/1.0\r\nHost: engine\r\n\r\n").as_bytes())?;
        let mut answer = Vec::new();
        stream.take(MAX_ANSWER).read_to_end(&mut answer)?;
        Ok(answer)
    };
    let answer = ask(&mut stream).or_refuse(
        || Refusal::NotAnswering { target: target.to_owned() },
        format_args!("engine '{engine}', container '{container}'"),
    )?;
    parser.inspected(container, &answer)?.ok_or_else(|| {
        Refused::new(
            Refusal::Gone { target: target.to_owned() },
            format_args!("engine '{engine}' knows no container '{container}'"),
        )
    })
}

/// Asks an engine to start a container, within `limit`. The bytes of the answer are for the parser.
pub(crate) fn start(config: &Config, engine: &str, id: &str, limit: Duration) -> Result<Vec<u8>, Refused> {
    let mut stream = connect(config, engine)?;
    let path = container_path(id, "start")?;
    let ask = |stream: &mut UnixStream| -> io::Result<Vec<u8>> {
        stream.set_read_timeout(Some(limit.max(Duration::from_secs(1))))?;
        let question = format!("POST {path} HTTP/1.0\r\nHost: engine\r\nContent-Length: 0\r\n\r\n");
        stream.write_all(question.as_bytes())?;
        let mut answer = Vec::new();
        stream.take(MAX_ANSWER).read_to_end(&mut answer)?;
        Ok(answer)
    };
    ask(&mut stream).map_err(|e| {
        let late = matches!(e.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut);
        let why = if late { "no answer in time".to_owned() } else { e.to_string() };
        Refused::setup(format_args!("engine '{engine}': {why}"))
    })
}

/// The path of a container's resource. Names stand in a request line, so they are held to what engines allow.
pub(crate) fn container_path(container: &str, resource: &str) -> Result<String, Refused> {
    let fine = container.bytes().all(|b| b.is_ascii_alphanumeric() || b"_.-".contains(&b))
        && container.bytes().next().is_some_and(|b| b.is_ascii_alphanumeric());
    if !fine {
        return Err(Refused::setup(format_args!("container '{}': not a name", container.escape_debug())));
    }
    Ok(format!("/containers/{container}/{resource}"))
}
