//! The `tcp` driver: standard input and output carried to and from a TCP service, as nc(1) does, for ProxyCommand.

use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::process::{Command, Stdio};
use std::time::Duration;
use vestibule_sys::entry::ExitCode;

use vestibule::messages::{Refusal, Why};
use vestibule::paths;
use vestibule::target::TcpAddress;

use crate::Refused;
use vestibule::visit::{self, output_of};

use crate::authorise::Authorised;
use crate::guard;
use crate::who::Visitor;

/// For each address of the target.
const CONNECT_WITHIN: Duration = Duration::from_secs(10);
const ASK_WITHIN: Duration = Duration::from_secs(12);
const CHUNK: usize = 64 << 10;

/// Connects and carries bytes until the target has no more.
pub(crate) fn carry(
    session: &str,
    authorised: &Authorised,
    address: &TcpAddress,
    visitor: &Visitor,
) -> Result<ExitCode, Refused> {
    if visitor.pty || visitor.command.is_some() || authorised.command.is_some() {
        return Err(Refused::new(Refusal::OnlyBytes, "a command or a terminal for a tcp target"));
    }
    let unreachable = |why: Why, cause: String| {
        Refused::new(Refusal::Unreachable { target: authorised.target.clone(), why }, cause)
    };
    let addresses = match address {
        TcpAddress::Fixed { host, port } => visit::addresses_of(host, *port),
        TcpAddress::Container { .. } => container_address(authorised),
    };
    let addresses = addresses.map_err(|e| unreachable(Why::AddressUnknown, e))?;
    let mut failures = Vec::new();
    for address in &addresses {
        match TcpStream::connect_timeout(address, CONNECT_WITHIN) {
            Ok(stream) => {
                let guard = guard::begin(session, visitor);
                // For the target's hub; what fails is worth no session.
                let _used = vestibule::used::begin(authorised.id, None);
                relay(&stream, || guard.into_iter().for_each(|guard| guard.stand(session, authorised)));
                return Ok(ExitCode::SUCCESS);
            }
            Err(e) => failures.push((address, e)),
        }
    }
    let why = match failures.last() {
        Some((_, e)) if e.kind() == io::ErrorKind::TimedOut => Why::Silence,
        Some((_, e)) => e.into(),
        None => Why::NoAddress,
    };
    let tried: Vec<String> = failures.iter().map(|(address, e)| format!("{address}: {e}")).collect();
    Err(unreachable(why, tried.join("; ")))
}

/// Where the target's container is now; `enter` may ask the engine, this program may not.
fn container_address(authorised: &Authorised) -> Result<Vec<SocketAddr>, String> {
    let mut enter = Command::new(paths::ENTER);
    enter.env_clear().args(["--address", &authorised.id.0.to_string()]);
    enter.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
    let line = output_of(enter, ASK_WITHIN).map_err(|e| format!("'{} --address': {e}", paths::ENTER))?;
    let line = String::from_utf8_lossy(&line);
    let (address, port) = line.trim().split_once(' ').ok_or("enter printed no address")?;
    match (address.parse(), port.parse()) {
        (Ok(address), Ok(port)) => Ok(vec![SocketAddr::new(address, port)]),
        _ => Err("enter printed no address".to_owned()),
    }
}

/// Carries bytes both ways, beside `guard`. The end of standard input is passed on; the end of the target's bytes is the end.
fn relay(stream: &TcpStream, guard: impl FnOnce() + Send) {
    let _ = stream.set_nodelay(true);
    std::thread::scope(|threads| {
        threads.spawn(guard);
        threads.spawn(|| {
            copy(&mut io::stdin().lock(), &mut &*stream);
            let _ = stream.shutdown(Shutdown::Write);
        });
        let whole = copy(&mut &*stream, &mut io::stdout().lock());
        // Nothing more can be said to a target that has hung up, nor to a client that is gone, and standard input may
        // stay open for ever: the process ends here, and the other direction with it.
        vestibule_sys::process::exit_now(i32::from(!whole));
    });
}

/// Copies until the end of `from`; says whether that was reached.
fn copy(from: &mut impl Read, to: &mut impl Write) -> bool {
    let mut chunk = vec![0_u8; CHUNK];
    loop {
        match from.read(&mut chunk) {
            Ok(0) => return to.flush().is_ok(),
            Ok(n) => {
                if chunk.get(..n).is_none_or(|bytes| to.write_all(bytes).and_then(|()| to.flush()).is_err()) {
                    return false;
                }
            }
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(_) => return false,
        }
    }
}
