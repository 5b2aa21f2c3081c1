//! The opening of a WebSocket: one request of HTTP/1.1 and its answer; RFC 6455, section 4.

use std::fs::File;
use std::io::{self, Read, Write};

use base64ct::{Base64, Encoding};

use crate::failure::Failure;
use crate::site::Site;
use crate::wire::Wire;
use crate::{answer, websocket};

/// Bytes of an answer's head.
const MAX_HEAD: usize = 16 << 10;
/// Headers of it.
const MAX_HEADERS: usize = 96;
/// Bytes of the body of an answer that opens nothing.
const MAX_BODY: usize = 4 << 10;
/// RFC 6455, section 1.3.
const GUID: &[u8] = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

/// The head of an answer, and what was read behind it.
#[derive(Debug, Default)]
pub(crate) struct Head {
    pub(crate) status: u16,
    /// Names in lower case.
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) rest: Vec<u8>,
}

impl Head {
    /// The first header of a name.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(found, _)| found == name).map(|(_, value)| value.as_str())
    }

    /// Whether one of the words of a header, of which there may be more than one, is this.
    fn says(&self, name: &str, word: &str) -> bool {
        let values = self.headers.iter().filter(|(found, _)| found == name);
        values.flat_map(|(_, value)| value.split(',')).any(|found| found.trim().eq_ignore_ascii_case(word))
    }
}

/// Asks for a WebSocket. Returns what was already sent over it.
pub(crate) fn open(wire: &mut Wire, site: &Site, path: &str) -> Result<Vec<u8>, Failure> {
    check_path(path).map_err(Failure::setup)?;
    let key = key().map_err(|e| Failure::setup(format_args!("'/dev/urandom': {e}")))?;
    let about = |words: &str| format!("the site '{}' {words}", vestibule::messages::shown(&site.name));
    let broken = |e: io::Error| {
        let words = match e.kind() {
            io::ErrorKind::TimedOut => "does not answer",
            io::ErrorKind::InvalidData => "does not answer by HTTP",
            _ => "hangs up without an answer",
        };
        Failure::unreachable(about(words), format_args!("the request for a WebSocket: {e}"))
    };
    wire.write_all(request(site, path, &key).as_bytes()).and_then(|()| wire.flush()).map_err(broken)?;
    let mut head = read_head(wire).map_err(broken)?;
    if head.status != 101 {
        read_body(wire, &mut head.rest);
        return Err(answer::refused(site, &head));
    }
    let fault = if !head.says("upgrade", "websocket") || !head.says("connection", "upgrade") {
        Some("it is an upgrade to something else")
    } else if head.header("sec-websocket-accept") != Some(accept(&key).as_str()) {
        Some("it is an answer to another request")
    } else if head.header("sec-websocket-extensions").is_some() {
        Some("it has an extension that was not asked for")
    } else if head.header("sec-websocket-protocol").is_some() {
        Some("it has a protocol that was not asked for")
    } else {
        None
    };
    match fault {
        None => Ok(head.rest),
        Some(fault) => Err(Failure::unreachable(about("does not open a WebSocket as it should"), fault)),
    }
}

/// A path is sent as it is, and means what `may_enter.websockets` was asked about.
fn check_path(path: &str) -> Result<(), &'static str> {
    if !path.starts_with('/') || path.starts_with("//") {
        return Err("the path does not begin with one '/'");
    }
    if path.len() > 2048 || !path.bytes().all(|b| b.is_ascii_graphic() && b != b'#' && b != b'\\') {
        return Err("the path has characters that have to be percent-encoded");
    }
    let plain = path.split(['?']).next().unwrap_or_default().to_ascii_lowercase().replace("%2e", ".");
    if plain.replace("%2f", "/").split('/').any(|part| part == "." || part == "..") {
        return Err("the path has '.' or '..' in it");
    }
    Ok(())
}

/// No `Origin`: that is for browsers. No subprotocol: jupyter-server-proxy takes any first one that is offered, and with
/// none a stream is a stream.
fn request(site: &Site, path: &str, key: &str) -> String {
    let token = site.token.as_ref().map(|token| format!("Authorization: token {}\r\n", token.expose()));
    format!(
        "GET {path} HTTP/1.1\r\nHost: {}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
         Sec-WebSocket-Key: {key}\r\nUser-Agent: vestibule/{}\r\n{}\r\n",
        site.origin.host_header(),
        env!("CARGO_PKG_VERSION"),
        token.unwrap_or_default(),
    )
}

fn key() -> io::Result<String> {
    let mut random = [0_u8; 16];
    File::open("/dev/urandom")?.read_exact(&mut random)?;
    Ok(Base64::encode_string(&random))
}

fn accept(key: &str) -> String {
    let mut digest = ring::digest::Context::new(&ring::digest::SHA1_FOR_LEGACY_USE_ONLY);
    digest.update(key.as_bytes());
    digest.update(GUID);
    Base64::encode_string(digest.finish().as_ref())
}

/// Reads an answer's head, and no more than one read behind it.
///
/// # Errors
/// `InvalidData` for what is no head of an answer, or too long; otherwise as read(2).
pub(crate) fn read_head(from: &mut (impl Read + ?Sized)) -> io::Result<Head> {
    let mut read = Vec::new();
    let mut chunk = [0_u8; 4096];
    loop {
        match from.read(&mut chunk) {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(n) => read.extend_from_slice(chunk.get(..n).unwrap_or_default()),
            Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
            Err(e) => return Err(e),
        }
        if let Some(head) = parse(&read)? {
            return Ok(head);
        }
        if read.len() > MAX_HEAD {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "the answer has too many bytes"));
        }
    }
}

fn parse(read: &[u8]) -> io::Result<Option<Head>> {
    let mut headers = [httparse::EMPTY_HEADER; MAX_HEADERS];
    let mut response = httparse::Response::new(&mut headers);
    let no_http = |e: httparse::Error| io::Error::new(io::ErrorKind::InvalidData, e.to_string());
    let httparse::Status::Complete(length) = response.parse(read).map_err(no_http)? else { return Ok(None) };
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    Ok(Some(Head {
        status: response.code.unwrap_or_default(),
        headers: response
            .headers
            .iter()
            .map(|header| (header.name.to_ascii_lowercase(), text(header.value)))
            .collect(),
        rest: read.get(length..).unwrap_or_default().to_vec(),
    }))
}

/// Reads of the body what comes, to a size and within a moment: it is for people.
fn read_body(wire: &mut Wire, body: &mut Vec<u8>) {
    wire.wait_until(std::time::Instant::now() + websocket::MOMENT);
    let mut chunk = [0_u8; 1024];
    while body.len() < MAX_BODY {
        // What is said whole needs no end.
        if serde_json::from_slice::<serde_json::Value>(body).is_ok() {
            return;
        }
        match wire.read(&mut chunk) {
            Ok(n @ 1..) => body.extend_from_slice(chunk.get(..n).unwrap_or_default()),
            _ => return,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_answer_to_the_key_is_that_of_the_rfc() {
        assert_eq!(accept("dGhlIHNhbXBsZSBub25jZQ=="), "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
    }

    #[test]
    fn a_path_is_straight() {
        for (path, fine) in [
            ("/user/ada/sshd/", true),
            ("/user/a%20b/sshd/?x=../y", true),
            ("/", true),
            ("", false),
            ("user", false),
            ("//evil.example/", false),
            ("/a b", false),
            ("/a\r\nX: y", false),
            ("/a/../b", false),
            ("/a/%2e%2E/b", false),
            ("/a%2f..%2Fb", false),
            ("/a/.", false),
            ("/a#b", false),
            ("/a\\..\\b", false),
        ] {
            assert_eq!(check_path(path).is_ok(), fine, "{path:?}");
        }
    }

    #[test]
    fn a_head_is_read_in_pieces_and_what_is_behind_it_is_kept() {
        let answer = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: WebSocket\r\nConnection: keep-alive, Upgrade\r\n\r\n\x82\x01x";
        let head = parse(answer).unwrap().unwrap();
        assert_eq!((head.status, head.rest.as_slice()), (101, &b"\x82\x01x"[..]));
        assert!(head.says("upgrade", "websocket") && head.says("connection", "upgrade"));
        assert!(parse(&answer[..40]).unwrap().is_none());
        let mut endless = io::repeat(b'a').take(1 << 20);
        assert_eq!(read_head(&mut endless).unwrap_err().kind(), io::ErrorKind::InvalidData);
        let mut long = (&b"HTTP/1.1 200 OK\r\nX: "[..]).chain(io::repeat(b'a'));
        assert_eq!(read_head(&mut long).unwrap_err().kind(), io::ErrorKind::InvalidData);
    }

    proptest! {
        #[test]
        fn any_bytes_are_a_head_or_none(bytes in proptest::collection::vec(any::<u8>(), 0..512)) {
            let _ = parse(&bytes);
            let _ = parse(&[&b"HTTP/1.1 400 x\r\n"[..], &bytes].concat());
        }
    }
}
