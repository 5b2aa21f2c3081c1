//! How our own processes talk: a message is a count of fields, each a length and that many bytes.
//!
//! One side is privileged and the other may be lying, so reading a message must be too simple to get wrong.

use std::io::{self, Read, Write};

/// More fields than any message has.
const MAX_FIELDS: u32 = 64;
/// More bytes than any field has: the largest is an engine's answer.
const MAX_FIELD: u32 = 16 << 20;

/// Writes one message.
///
/// # Errors
/// As write(2).
pub fn send(mut to: impl Write, fields: &[&[u8]]) -> io::Result<()> {
    let number = |n: usize| u32::try_from(n).map_err(io::Error::other);
    let mut message = number(fields.len())?.to_ne_bytes().to_vec();
    for field in fields {
        message.extend(number(field.len())?.to_ne_bytes());
        message.extend_from_slice(field);
    }
    to.write_all(&message)
}

/// Reads one message.
///
/// # Errors
/// As read(2); `UnexpectedEof` when the other side went away, `InvalidData` for sizes out of bounds.
pub fn receive(mut from: impl Read) -> io::Result<Vec<Vec<u8>>> {
    let count = bounded(&mut from, MAX_FIELDS)?;
    (0..count)
        .map(|_| {
            let length = bounded(&mut from, MAX_FIELD)?;
            let mut field = Vec::new();
            from.by_ref().take(u64::from(length)).read_to_end(&mut field)?;
            if field.len() == length as usize { Ok(field) } else { Err(io::ErrorKind::UnexpectedEof.into()) }
        })
        .collect()
}

fn bounded(from: &mut impl Read, bound: u32) -> io::Result<u32> {
    let mut bytes = [0_u8; 4];
    from.read_exact(&mut bytes)?;
    let number = u32::from_ne_bytes(bytes);
    if number <= bound { Ok(number) } else { Err(io::ErrorKind::InvalidData.into()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_sent_is_received_and_nonsense_is_refused() {
        let mut bytes = Vec::new();
        send(&mut bytes, &[b"one", b"", &[0; 300]]).unwrap();
        assert_eq!(receive(&bytes[..]).unwrap(), [b"one".to_vec(), vec![], vec![0; 300]]);
        assert!(receive(&bytes[..bytes.len() - 1]).is_err());
        assert!(receive(&[255; 8][..]).is_err());
        assert!(receive(&[1, 0, 0, 0, 255, 255, 255, 255][..]).is_err());
    }
}
