//! `enter --address N`: where a TCP target's container is now. For `keys-lookup`, which may not ask an engine, and for
//! `route-session`, which connects to it.

use std::io::Write;
use std::path::Path;
use vestibule_sys::entry::ExitCode;

use vestibule::config::Config;
use vestibule::messages::{Refusal, shown};
use vestibule::paths;
use vestibule::target::TargetId;
use vestibule_sys::syslog::{Severity, Syslog};

use crate::args::to_operator;
use crate::parser::{Parser, Way};
use crate::refused::Refused;
use crate::{engine, may};

/// Prints `ADDRESS PORT` and a newline; says on standard error why it can't.
pub(crate) fn print(target: TargetId) -> ExitCode {
    match find(target) {
        Ok(line) => {
            let written = std::io::stdout().lock().write_all(line.as_bytes());
            if written.is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
        }
        Err(refused) => {
            let cause = shown(&refused.cause);
            let (log, number) = (Syslog::open("enter"), target.0);
            log.line(
                Severity::Warning,
                format_args!("address target={number} result=refused cause={cause:?}"),
            );
            to_operator(&format!("enter: {}: {cause}\n", refused.refusal));
            ExitCode::from(refused.refusal.exit().code())
        }
    }
}

fn find(target: TargetId) -> Result<String, Refused> {
    let mut parser = Parser::start(nix::unistd::getuid().as_raw(), nix::unistd::getgid().as_raw(), None)?;
    let facts = parser.target(target, None)?;
    let Way::TcpContainer { engine, container, port, published } = &facts.way else {
        return Err(Refused::setup("the target is not a container's TCP port"));
    };
    let config = Config::load_trusted(Path::new(paths::CONFIG)).map_err(Refused::setup)?;
    may::enter(&config, &facts)?;
    let of = Of { engine, container, port: *port, published: *published };
    of_container(&config, &of, &facts.name, &mut parser).map(|(address, port)| format!("{address} {port}\n"))
}

/// A container's port.
pub(crate) struct Of<'a> {
    pub(crate) engine: &'a str,
    pub(crate) container: &'a str,
    pub(crate) port: u16,
    pub(crate) published: bool,
}

/// Where it is now.
pub(crate) fn of_container(
    config: &Config,
    of: &Of<'_>,
    target: &str,
    parser: &mut Parser,
) -> Result<(String, u16), Refused> {
    let Of { engine, container, port, published } = *of;
    let found = engine::inspect(config, engine, container, target, parser)?;
    let not_running = |cause: &str| {
        let target = target.to_owned();
        Refused::new(Refusal::NotRunning { target }, format_args!("{container}: {cause}"))
    };
    if found.pid <= 1 {
        return Err(not_running("the engine says it is not running"));
    }
    if published {
        let (_, address, host_port) = found
            .published
            .iter()
            .find(|(inside, _, _)| *inside == port)
            .ok_or_else(|| not_running(&format!("port {port} is not published")))?;
        return Ok((address.to_string(), *host_port));
    }
    let address = found.address.ok_or_else(|| not_running("it has no address"))?;
    Ok((address.to_string(), port))
}
