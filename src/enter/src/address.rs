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
    let found = engine::inspect(&config, engine, container, &facts.name, &mut parser)?;
    let not_running = |cause: &str| {
        Refused::new(Refusal::NotRunning { target: facts.name.clone() }, format_args!("{container}: {cause}"))
    };
    if found.pid <= 1 {
        return Err(not_running("the engine says it is not running"));
    }
    if *published {
        let (_, address, host_port) = found
            .published
            .iter()
            .find(|(inside, _, _)| inside == port)
            .ok_or_else(|| not_running(&format!("port {port} is not published")))?;
        return Ok(format!("{address} {host_port}\n"));
    }
    let address = found.address.ok_or_else(|| not_running("it has no address"))?;
    Ok(format!("{address} {port}\n"))
}
