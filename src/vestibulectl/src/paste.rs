//! Public keys as people paste them.
//!
//! Takes lines of authorized_keys in any of the usual spellings of text (CRLF, CR, a byte order mark, UTF-16, blanks
//! around) and the form that PuTTY exports (RFC 4716). What is something else is named, and so is the way out.

use anyhow::{Context, anyhow, bail};
use base64ct::{Base64, Encoding};
use vestibule::authorized_keys::{self, LineError};
use vestibule::policy::{self, Grant};
use vestibule::public_key::{PublicKey, PublicKeyError};

/// Bytes that a paste may have.
pub(crate) const MAX_BYTES: u64 = 1 << 20;

/// A key that was pasted.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Pasted {
    pub(crate) key: PublicKey,
    /// As they were written.
    pub(crate) options: Vec<u8>,
    pub(crate) comment: Vec<u8>,
}

/// Reads every key of a paste; a fault anywhere is one of all. The caller says what was read.
pub(crate) fn read(bytes: &[u8]) -> anyhow::Result<Vec<Pasted>> {
    let text = decode(bytes)?;
    refuse_others(&text)?;
    let lines = lines(&text);
    let mut keys = Vec::new();
    let mut at = 0;
    while let Some(line) = lines.get(at) {
        let number = at + 1;
        if line.starts_with(b"---- BEGIN SSH2 PUBLIC KEY") {
            let end = lines.iter().skip(at).position(|line| line.starts_with(b"---- END SSH2 PUBLIC KEY"));
            let end = end
                .with_context(|| format!("line {number}: the key has no '---- END SSH2 PUBLIC KEY ----'"))?;
            let inside = lines.get(at + 1..at + end).unwrap_or_default();
            keys.push(ssh2(inside).with_context(|| format!("line {number}"))?);
            at += end;
        } else {
            let next = lines.iter().skip(at + 1).find(|line| !line.is_empty()).copied();
            match authorized_keys::line(number, line) {
                None => {}
                Some(Ok(entry)) => keys.push(usable(number, &entry, next)?),
                Some(Err(problem)) => return Err(explain(number, &problem.why, line, next)),
            }
        }
        at += 1;
    }
    if keys.is_empty() {
        bail!("there is no key in it");
    }
    Ok(keys)
}

/// The lines, whatever ends them, without blanks around them.
fn lines(text: &[u8]) -> Vec<&[u8]> {
    let mut lines = Vec::new();
    let mut rest = Some(text);
    while let Some(text) = rest {
        let end = text.iter().position(|byte| matches!(byte, b'\n' | b'\r'));
        let (line, behind) = end.and_then(|end| text.split_at_checked(end)).unwrap_or((text, b""));
        lines.push(line.trim_ascii());
        rest = end.map(|_| behind.strip_prefix(b"\r\n").or_else(|| behind.get(1..)).unwrap_or_default());
    }
    lines
}

/// The text without what editors put around it, as bytes: a comment may be in any encoding.
fn decode(bytes: &[u8]) -> anyhow::Result<Vec<u8>> {
    let pairs = |bytes: &[u8], big: bool| {
        let unit = |pair: &[u8]| match *pair {
            [high, low] if big => u16::from_be_bytes([high, low]),
            [low, high] => u16::from_be_bytes([high, low]),
            _ => 0xfffd,
        };
        String::from_utf16(&bytes.chunks(2).map(unit).collect::<Vec<u16>>())
    };
    let utf16 = match bytes {
        [0xff, 0xfe, rest @ ..] => pairs(rest, false),
        [0xfe, 0xff, rest @ ..] => pairs(rest, true),
        [0xef, 0xbb, 0xbf, rest @ ..] => return Ok(rest.to_vec()),
        _ => return Ok(bytes.to_vec()),
    };
    Ok(utf16.context("is no text: it begins as UTF-16 and does not go on so")?.into_bytes())
}

/// Names what is pasted by mistake. A private key first: it must not be looked at any further, nor shown.
fn refuse_others(text: &[u8]) -> anyhow::Result<()> {
    let holds = |what: &str| text.windows(what.len()).any(|part| part == what.as_bytes());
    if holds("PRIVATE KEY-----") || holds("PuTTY-User-Key-File-") || holds("BEGIN SSH2 ENCRYPTED PRIVATE KEY")
    {
        bail!(
            "this is a private key: give it to nobody, and make a new one if others have seen it; the public key is in the file with '.pub' behind its name, or is printed by 'ssh-keygen -y -f FILE'"
        );
    }
    if holds("BEGIN PUBLIC KEY-----") {
        bail!("this is a key in PEM form; 'ssh-keygen -i -m PKCS8 -f FILE' makes a line for ssh of it");
    }
    if holds("BEGIN RSA PUBLIC KEY-----") {
        bail!("this is a key in PEM form; 'ssh-keygen -i -m PEM -f FILE' makes a line for ssh of it");
    }
    if holds("BEGIN CERTIFICATE-----") || holds("BEGIN PGP PUBLIC KEY") {
        bail!("this is no key of ssh");
    }
    if text.contains(&0) {
        bail!("is no text: it holds NUL bytes");
    }
    Ok(())
}

fn usable(number: usize, entry: &authorized_keys::Entry<'_>, next: Option<&[u8]>) -> anyhow::Result<Pasted> {
    if !is_whole(entry.key.blob()) {
        if next.is_some_and(is_rest) {
            return Err(wrapped(number));
        }
        bail!("line {number}: the key is cut; paste all of it");
    }
    // As a login would see it: options that drop a line there are refused here.
    let grant = Grant { pty: true, agent: true, x11: true, command: true, ..Grant::default() };
    if let Err(why) = policy::narrow(&entry.options, &grant) {
        bail!("line {number}: the key's options would keep it from ever counting: {why}");
    }
    Ok(Pasted {
        key: entry.key.clone(),
        options: entry.options_text.to_vec(),
        comment: entry.comment.to_vec(),
    })
}

/// Says what is wrong with a line, without its bytes.
fn explain(number: usize, why: &LineError, line: &[u8], next: Option<&[u8]>) -> anyhow::Error {
    let cut = matches!(
        why,
        LineError::Key(PublicKeyError::Base64 | PublicKeyError::Mismatch | PublicKeyError::Missing)
    );
    if cut && (next.is_some_and(is_rest) || is_rest(line)) {
        return wrapped(number);
    }
    anyhow!("line {number}: {why}")
}

fn wrapped(number: usize) -> anyhow::Error {
    anyhow!("line {number}: the key is wrapped over several lines; paste it as one line")
}

/// Whether a line looks like the rest of a key: base64 and nothing else.
fn is_rest(line: &[u8]) -> bool {
    line.len() >= 4
        && line.iter().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/' | b'='))
}

/// Whether a key's wire form ends where its last part ends. Every type so far is a row of strings (RFC 4251, section 5).
fn is_whole(mut blob: &[u8]) -> bool {
    while let Some((length, rest)) = blob.split_first_chunk::<4>() {
        let part = usize::try_from(u32::from_be_bytes(*length)).ok().and_then(|length| rest.get(length..));
        let Some(behind) = part else { return false };
        blob = behind;
    }
    blob.is_empty()
}

/// The inside of RFC 4716, section 3: headers, then base64.
fn ssh2(lines: &[&[u8]]) -> anyhow::Result<Pasted> {
    let (mut comment, mut base64) = (Vec::new(), Vec::new());
    let mut in_header = false;
    let mut header: Vec<u8> = Vec::new();
    for line in lines {
        if in_header || line.contains(&b':') {
            in_header = line.ends_with(b"\\");
            header.extend_from_slice(line.strip_suffix(b"\\").unwrap_or(line));
            if !in_header {
                if let Some(value) = value_of(&header, b"comment:") {
                    comment = value;
                }
                header.clear();
            }
        } else {
            base64.extend_from_slice(line);
        }
    }
    let text = str::from_utf8(&base64).ok();
    let blob = text.and_then(|text| Base64::decode_vec(text).ok()).context("the key is not valid base64")?;
    let length = blob.first_chunk::<4>().map_or(0, |bytes| u32::from_be_bytes(*bytes));
    let key_type = usize::try_from(length).ok().and_then(|length| blob.get(4..)?.get(..length));
    let line = [key_type.context("the key is damaged")?, b" ", &base64].concat();
    let (key, _) = PublicKey::read(&line)?;
    if !is_whole(key.blob()) {
        bail!("the key is cut; paste all of it");
    }
    Ok(Pasted { key, options: Vec::new(), comment })
}

fn value_of(header: &[u8], name: &[u8]) -> Option<Vec<u8>> {
    let (found, value) = header.split_at_checked(name.len())?;
    let value = value.trim_ascii();
    let value = value.strip_prefix(b"\"").and_then(|value| value.strip_suffix(b"\"")).unwrap_or(value);
    found.eq_ignore_ascii_case(name).then(|| value.to_vec())
}
