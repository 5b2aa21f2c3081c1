//! Whether somebody answers at the end of a way: what a target that is started on connect is asked before it is started, and
//! until it is there. Nothing is sent.

use std::fs::File;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::fd::AsFd;
use std::time::Duration;

use vestibule::messages::Refusal;
use vestibule::paths;
use vestibule::target::{TcpAddress, Transport};
use vestibule::visit;
use vestibule_sys::process::{self, Ended};
use vestibule_sys::{fds, signals};

use super::start::{Journey, start};
use crate::parser::Parser;
use crate::refused::{OrRefuse, Refused};
use crate::relay::libc_signal::SIGKILL;
use crate::{address, hop};

/// For an answer.
const WITHIN: Duration = Duration::from_secs(10);
/// Of the words about a failure.
const MAX_SAID: u64 = 4 << 10;
/// Answers of a site that no start of a server mends: who asks may not, or not now.
const FINAL: [&str; 3] = ["answers 401", "answers 403", "answers 429"];

/// Looks, in a process of its own, which may have to move where this one must not. To be called as root.
///
/// # Errors
/// `NotRunning` where nobody answers; `NoWay` where the answer is that one may not come.
pub(crate) fn reach(journey: Journey<'_>, over: &Transport, parser: &mut Parser) -> Result<(), Refused> {
    let (from, to) = process::pipe().or_setup("pipe")?;
    let looker = process::fork_child(|| match attempt(journey, over, parser) {
        Ok(()) => 0,
        Err(refused) => {
            let why = match &refused.refusal {
                Refusal::NoWay { why, .. } => why.as_str(),
                _ => "",
            };
            let _ = write!(File::from(to), "{why}\n{}", refused.cause);
            1
        }
    })
    .or_setup("fork")?;
    let ended = looker.wait_at_most(WITHIN + Duration::from_secs(2)).or_setup("waitid")?;
    let target = journey.facts.name.clone();
    match ended {
        Some(Ended::Exited(0)) => return Ok(()),
        Some(_) => {}
        None => {
            let _ = looker.signal(SIGKILL);
            let _ = looker.wait_at_most(Duration::from_secs(1));
            return Err(Refused::new(Refusal::NotRunning { target }, "no answer in time"));
        }
    }
    let mut said = Vec::new();
    let _ = fds::set_nonblocking(from.as_fd(), true);
    let _ = File::from(from).take(MAX_SAID).read_to_end(&mut said);
    let said = String::from_utf8_lossy(&said);
    let (why, cause) = said.split_once('\n').unwrap_or(("", &said));
    if FINAL.iter().any(|answer| why.contains(answer)) {
        return Err(Refused::new(Refusal::NoWay { target, why: why.to_owned() }, cause));
    }
    Err(Refused::new(Refusal::NotRunning { target }, format_args!("nobody answers: {cause}")))
}

fn attempt(journey: Journey<'_>, over: &Transport, parser: &mut Parser) -> Result<(), Refused> {
    let name = &journey.facts.name;
    signals::reset_all().or_setup("sigprocmask")?;
    let (host, port) = match over {
        Transport::Tcp(TcpAddress::Fixed { host, port }) => (host.clone(), *port),
        Transport::Tcp(TcpAddress::Container { engine, container, port, published }) => {
            let of = address::Of { engine, container, port: *port, published: *published };
            address::of_container(journey.config, &of, name, parser)?
        }
        Transport::Unix(_) | Transport::Command(_) | Transport::Websocket { .. } => {
            // The end of its input, once the way is open, is the end of it.
            let null = fds::null().or_setup("'/dev/null'")?;
            let led = start(journey, over, parser, (null.as_fd(), null.as_fd()))?;
            return match led.process.wait_at_most(WITHIN).or_setup("waitid")? {
                Some(ended) => led.failure(ended, name).map_or(Ok(()), Err),
                None => {
                    // It is there, and does not end with its input.
                    led.end();
                    Ok(())
                }
            };
        }
    };
    let user = hop::user_of_host(parser, paths::USER_HOP)?;
    hop::bastions_network().or_setup("the bastion's network")?;
    hop::become_hop(&user).or_setup("becoming the user of the second hop")?;
    let nobody = |cause: String| Refused::new(Refusal::NotRunning { target: name.clone() }, cause);
    let mut last = format!("{host}: no address");
    for address in visit::addresses_of(&host, port).map_err(nobody)?.into_iter().take(4) {
        match TcpStream::connect_timeout(&address, WITHIN / 4) {
            Ok(_) => return Ok(()),
            Err(e) => last = format!("{address}: {e}"),
        }
    }
    Err(nobody(last))
}
