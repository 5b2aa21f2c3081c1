//! Answers in HTTP/1.1 (RFC 9112): `httparse` reads the head; the body is by length, in chunks, or to the end.

use std::io::{self, BufRead, Read};

/// More than any engine sends.
const MAX_HEAD: usize = 64 << 10;
const MAX_HEADERS: usize = 64;

/// A status and how the body ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Head {
    pub(crate) status: u16,
    body: Body,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Body {
    Length(u64),
    Chunked,
    ToTheEnd,
}

/// Reads a head, and no byte behind it.
///
/// # Errors
/// `InvalidData` for what is none, `UnexpectedEof` for half of one.
pub(crate) fn read_head(from: &mut impl BufRead) -> io::Result<Head> {
    let mut head = Vec::new();
    loop {
        let line = from.by_ref().take((MAX_HEAD - head.len()) as u64).read_until(b'\n', &mut head)?;
        if line == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        if head.ends_with(b"\r\n\r\n") || head.ends_with(b"\n\n") {
            return parse_head(&head);
        }
    }
}

fn parse_head(head: &[u8]) -> io::Result<Head> {
    let mut headers = [httparse::EMPTY_HEADER; MAX_HEADERS];
    let mut response = httparse::Response::new(&mut headers);
    let whole = response.parse(head).map_err(io::Error::other)?.is_complete();
    let (true, Some(status)) = (whole, response.code) else {
        return Err(io::ErrorKind::InvalidData.into());
    };
    let mut body = if matches!(status, 100..200 | 204 | 304) { Body::Length(0) } else { Body::ToTheEnd };
    for header in response.headers.iter() {
        let value = std::str::from_utf8(header.value).unwrap_or_default().trim();
        if header.name.eq_ignore_ascii_case("transfer-encoding") && value.eq_ignore_ascii_case("chunked") {
            body = Body::Chunked;
        } else if header.name.eq_ignore_ascii_case("content-length") && body == Body::ToTheEnd {
            body = Body::Length(value.parse().map_err(|_| io::Error::from(io::ErrorKind::InvalidData))?);
        }
    }
    Ok(Head { status, body })
}

/// Reads the body that follows a head, at most `limit` bytes of it.
///
/// # Errors
/// `InvalidData` for a wrong chunk, or when there is more; `UnexpectedEof` when there is less.
pub(crate) fn read_body(from: &mut impl BufRead, head: Head, limit: u64) -> io::Result<Vec<u8>> {
    let mut body = Vec::new();
    match head.body {
        Body::Length(length) => take(from, length, limit, &mut body)?,
        Body::ToTheEnd => {
            from.take(limit + 1).read_to_end(&mut body)?;
        }
        Body::Chunked => loop {
            let mut line = Vec::new();
            from.by_ref().take(256).read_until(b'\n', &mut line)?;
            let size = std::str::from_utf8(&line).ok().and_then(|l| l.trim_end().split(';').next());
            let size = size.and_then(|s| u64::from_str_radix(s.trim(), 16).ok());
            let size = size.ok_or_else(|| io::Error::from(io::ErrorKind::InvalidData))?;
            take(from, size, limit - body.len() as u64, &mut body)?;
            let mut end = Vec::new();
            from.by_ref().take(2).read_to_end(&mut end)?;
            if end != b"\r\n" {
                return Err(io::ErrorKind::InvalidData.into());
            }
            if size == 0 {
                return Ok(body);
            }
        },
    }
    if body.len() as u64 > limit { Err(io::ErrorKind::InvalidData.into()) } else { Ok(body) }
}

fn take(from: &mut impl BufRead, length: u64, limit: u64, body: &mut Vec<u8>) -> io::Result<()> {
    if length > limit {
        return Err(io::ErrorKind::InvalidData.into());
    }
    let read = from.by_ref().take(length).read_to_end(body)? as u64;
    if read == length { Ok(()) } else { Err(io::ErrorKind::UnexpectedEof.into()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(answer: &[u8]) -> io::Result<(u16, Vec<u8>, usize)> {
        let mut from = answer;
        let head = read_head(&mut from)?;
        let body = read_body(&mut from, head, 1000)?;
        Ok((head.status, body, from.len()))
    }

    #[test]
    fn bodies_end_as_their_head_says() {
        assert_eq!(read(b"HTTP/1.0 200 OK\r\n\r\nall").unwrap(), (200, b"all".to_vec(), 0));
        assert_eq!(
            read(b"HTTP/1.1 404 No\r\nContent-Length: 3\r\n\r\nallMORE").unwrap(),
            (404, b"all".to_vec(), 4)
        );
        let chunked =
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2;x=y\r\nde\r\n0\r\n\r\nN";
        assert_eq!(read(chunked).unwrap(), (200, b"abcde".to_vec(), 1));
        assert_eq!(read(b"HTTP/1.1 101 UPGRADED\r\n\r\nraw").unwrap(), (101, b"".to_vec(), 3));
    }

    #[test]
    fn halves_and_lies_are_errors() {
        for answer in [
            b"".as_slice(),
            b"HTTP/1.1 200 OK\r\n",
            b"nonsense\r\n\r\n",
            b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc",
            b"HTTP/1.1 200 OK\r\nContent-Length: 99999\r\n\r\nabc",
            b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\nabc",
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nffffffffffffffff\r\nabc",
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabcX",
        ] {
            assert!(read(answer).is_err(), "{}", String::from_utf8_lossy(answer));
        }
    }

    #[test]
    fn any_bytes_are_read_without_a_fault() {
        proptest::proptest!(|(bytes: Vec<u8>, tail: Vec<u8>)| {
            let _ = read(&bytes);
            let _ = read(&[b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n".as_slice(), &tail].concat());
        });
    }
}
