//! The connection to a site: its addresses one after the other, a proxy if the configuration has one, TLS.
//!
//! No variable of the environment has a say in it.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use rustls::pki_types::ServerName;
use rustls::{ClientConnection, StreamOwned};
use vestibule::messages::shown;
use vestibule::visit;

use crate::failure::Failure;
use crate::handshake::{self, Head};
use crate::origin::Origin;
use crate::site::Site;
use crate::trust;
use crate::wire::{Timed, Wire};

/// For each address; the next may be another machine.
const CONNECT_WITHIN: Duration = Duration::from_secs(10);

/// Connects to a site.
pub(crate) fn dial(site: &Site, until: Instant) -> Result<Wire, Failure> {
    let name = shown(&site.name);
    let tcp = match &site.proxy {
        None => connect(&site.origin, until).map_err(|(words, cause)| {
            Failure::unreachable(format_args!("the site '{name}' {words}"), cause)
        })?,
        Some(proxy) => {
            let about = |words: &str| format!("the proxy on the way to the site '{name}' {words}");
            let tcp =
                connect(proxy, until).map_err(|(words, cause)| Failure::unreachable(about(words), cause))?;
            through(Timed::new(tcp, until), &site.origin)
                .map_err(|(words, cause)| Failure::unreachable(about(&words), cause))?
        }
    };
    let _ = tcp.set_nodelay(true);
    let timed = Timed::new(tcp, until);
    if !site.origin.tls {
        return Ok(Wire::Plain(timed));
    }
    let config = trust::client_config(site.ca_file.as_deref()).map_err(Failure::setup)?;
    let server = ServerName::try_from(site.origin.host.clone()).map_err(Failure::setup)?;
    let connection = ClientConnection::new(config, server).map_err(Failure::setup)?;
    let mut tls = StreamOwned::new(connection, timed);
    while tls.conn.is_handshaking() {
        tls.conn.complete_io(&mut tls.sock).map_err(|e| no_tls(&name, &e))?;
    }
    Ok(Wire::Tls(Box::new(tls)))
}

fn no_tls(name: &str, e: &io::Error) -> Failure {
    let tls = e.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
    let words = match tls {
        Some(rustls::Error::InvalidCertificate(_)) => "has a certificate that is not trusted",
        Some(_) => "does not speak TLS as it should",
        None if e.kind() == io::ErrorKind::TimedOut => "does not answer",
        None => "hangs up before TLS is agreed upon",
    };
    let cause = tls.map_or_else(|| e.to_string(), ToString::to_string);
    Failure::unreachable(format_args!("the site '{name}' {words}"), format_args!("TLS: {cause}"))
}

/// Words behind a name, and the cause.
type Fault<W> = (W, String);

fn connect(to: &Origin, until: Instant) -> Result<TcpStream, Fault<&'static str>> {
    let addresses: Vec<SocketAddr> = visit::addresses_of(&to.host, to.port)
        .map_err(|cause| ("has an address that is not known", cause))?;
    let mut tried = Vec::new();
    let mut last = None;
    for address in &addresses {
        let left = until.saturating_duration_since(Instant::now()).min(CONNECT_WITHIN);
        if left.is_zero() {
            break;
        }
        match TcpStream::connect_timeout(address, left) {
            Ok(tcp) => return Ok(tcp),
            Err(e) => {
                tried.push(format!("{address}: {e}"));
                last = Some(e.kind());
            }
        }
    }
    let words = match last {
        None => "has no address",
        Some(io::ErrorKind::ConnectionRefused) => "is not running",
        Some(io::ErrorKind::TimedOut) => "does not answer",
        Some(_) => "can't be connected to",
    };
    Err((words, tried.join("; ")))
}

/// Has a proxy connect to the site: CONNECT of RFC 9110, section 9.3.6. It gets no token and sees none.
fn through(mut proxy: Timed, to: &Origin) -> Result<TcpStream, Fault<String>> {
    let place = to.with_port();
    let request = format!("CONNECT {place} HTTP/1.1\r\nHost: {place}\r\n\r\n");
    let head = proxy
        .write_all(request.as_bytes())
        .map_err(|e| e.to_string())
        .and_then(|()| handshake::read_head(&mut proxy as &mut dyn Read).map_err(|e| e.to_string()));
    match head {
        Ok(Head { status: 200..=299, rest, .. }) if rest.is_empty() => Ok(proxy.into_tcp()),
        Ok(Head { status: 200..=299, .. }) => {
            Err(("talks before it is asked".to_owned(), "bytes behind its answer".to_owned()))
        }
        Ok(Head { status, .. }) => Err((format!("answers {status}"), format!("CONNECT {place}: {status}"))),
        Err(e) => Err(("gives no answer".to_owned(), format!("CONNECT {place}: {e}"))),
    }
}
