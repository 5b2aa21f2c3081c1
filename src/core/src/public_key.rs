//! Public keys as text and as wire form.
//!
//! A key here is a type name and a blob, and nothing is known of any algorithm: OpenSSH adds types (ML-DSA in 10.4),
//! and which of them count is for sshd to say. What makes a key valid is what RFC 4253, section 6.6 asks of every
//! blob: it begins with its type's name. The `ssh-key` crate refuses types that it does not know and that have no
//! domain behind an `@`, so only its SHA-256 is used; base64 is read as `b64_pton` of OpenSSH reads it.

use std::fmt;
use std::str::FromStr;

use base64ct::{Base64, Encoding};
use ssh_key::sha2::{Digest, Sha256};

use crate::fingerprint::Fingerprint;

/// Bytes that a key's blob has at most. An RSA key of 16384 bits has 2 KiB, one of SLH-DSA or ML-DSA less than 8.
pub const MAX_BLOB: usize = 16 * 1024;
/// Bytes that a type's name has at most; RFC 4251, section 6 allows 64.
const MAX_TYPE: usize = 64;
/// How OpenSSH ends the type names of certificates.
const CERTIFICATE: &str = "-cert-v01@openssh.com";
/// Signature algorithms that sshd takes for the type of key that makes them (`sshkey_read` in sshkey.c).
const ALIASES: [(&str, &str); 3] = [
    ("rsa-sha2-256", "ssh-rsa"),
    ("rsa-sha2-512", "ssh-rsa"),
    ("webauthn-sk-ecdsa-sha2-nistp256@openssh.com", "sk-ecdsa-sha2-nistp256@openssh.com"),
];

/// A public key: printable, and what its blob says it is.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct PublicKey {
    key_type: String,
    blob: Vec<u8>,
}

/// Why a text is no public key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PublicKeyError {
    /// There is no `TYPE BASE64`.
    #[error("no public key: want 'TYPE BASE64', for example 'ssh-ed25519 AAAA...'")]
    Missing,
    /// The type has bytes that no type's name has.
    #[error("the key's type is not a name")]
    Type,
    /// The second word is not padded base64.
    #[error("the key is not valid base64; it may have been cut or wrapped")]
    Base64,
    /// The blob is longer than [`MAX_BLOB`].
    #[error("the key is longer than {MAX_BLOB} bytes")]
    TooLong,
    /// The blob says that it is of another type.
    #[error("the key's type is not the one that its base64 holds")]
    Mismatch,
    /// It is a certificate, which no list of keys can hold.
    #[error("this is a certificate, not a public key; use the key that it was made from")]
    Certificate,
}

impl PublicKey {
    /// Reads `TYPE BASE64` at the start of `text`, as `sshkey_read` does; spaces and tabs separate. Returns the key and
    /// what follows it.
    ///
    /// # Errors
    /// See [`PublicKeyError`].
    pub fn read(text: &[u8]) -> Result<(Self, &[u8]), PublicKeyError> {
        let (key_type, rest) = word(text);
        let (base64, rest) = word(rest);
        if key_type.is_empty() || base64.is_empty() {
            return Err(PublicKeyError::Missing);
        }
        let key_type = std::str::from_utf8(key_type).map_err(|_| PublicKeyError::Type)?;
        // Most lines with options end here, before anything is decoded.
        if key_type.len() > MAX_TYPE || !key_type.bytes().all(|b| b.is_ascii_graphic() && b != b'"') {
            return Err(PublicKeyError::Type);
        }
        if key_type.ends_with(CERTIFICATE) && base64.starts_with(b"AAAA") {
            return Err(PublicKeyError::Certificate);
        }
        if base64.len() > MAX_BLOB / 3 * 4 + 64 {
            return Err(PublicKeyError::TooLong);
        }
        let blob = decode(base64)?;
        let inner = inner_type(&blob).ok_or(PublicKeyError::Mismatch)?;
        let alias = ALIASES.iter().any(|(name, of)| *name == key_type && of.as_bytes() == inner);
        if inner != key_type.as_bytes() && !alias {
            return Err(PublicKeyError::Mismatch);
        }
        let key_type = std::str::from_utf8(inner).map_err(|_| PublicKeyError::Type)?.to_owned();
        Ok((PublicKey { key_type, blob }, rest))
    }

    /// The type's name, as the blob has it.
    #[must_use]
    pub fn key_type(&self) -> &str {
        &self.key_type
    }

    /// The wire form, as RFC 4253 has it.
    #[must_use]
    pub fn blob(&self) -> &[u8] {
        &self.blob
    }

    /// The SHA-256 of the wire form, as sshd logs it.
    #[must_use]
    pub fn fingerprint(&self) -> Fingerprint {
        Fingerprint(Sha256::digest(&self.blob).into())
    }
}

impl FromStr for PublicKey {
    type Err = PublicKeyError;

    /// Takes `TYPE BASE64` and ignores a comment behind it.
    fn from_str(text: &str) -> Result<Self, PublicKeyError> {
        Self::read(text.trim().as_bytes()).map(|(key, _comment)| key)
    }
}

impl fmt::Display for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.key_type, Base64::encode_string(&self.blob))
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PublicKey({} {})", self.key_type, self.fingerprint())
    }
}

/// Splits off the first word; returns it and what follows with leading blanks skipped.
fn word(text: &[u8]) -> (&[u8], &[u8]) {
    let end = text.iter().position(|b| matches!(b, b' ' | b'\t')).unwrap_or(text.len());
    let (word, rest) = text.split_at_checked(end).unwrap_or((text, &[]));
    (word, skip_blanks(rest))
}

/// `text` without the spaces and tabs that it begins with.
pub(crate) fn skip_blanks(text: &[u8]) -> &[u8] {
    let start = text.iter().position(|b| !matches!(b, b' ' | b'\t')).unwrap_or(text.len());
    text.get(start..).unwrap_or_default()
}

/// Base64 with padding, anything that C's `isspace` takes for a blank skipped, as `b64_pton` does: a CR before the line
/// feed is one.
fn decode(base64: &[u8]) -> Result<Vec<u8>, PublicKeyError> {
    let is_space = |b: &u8| matches!(b, b' ' | b'\t' | b'\n' | b'\r' | 0x0b | 0x0c);
    let compact: Vec<u8> = base64.iter().copied().filter(|b| !is_space(b)).collect();
    let text = std::str::from_utf8(&compact).map_err(|_| PublicKeyError::Base64)?;
    let blob = Base64::decode_vec(text).map_err(|_| PublicKeyError::Base64)?;
    if blob.len() > MAX_BLOB { Err(PublicKeyError::TooLong) } else { Ok(blob) }
}

/// The string that a blob begins with: four bytes of length and that many of text (RFC 4251, section 5).
fn inner_type(blob: &[u8]) -> Option<&[u8]> {
    let (length, rest) = blob.split_first_chunk::<4>()?;
    rest.get(..usize::try_from(u32::from_be_bytes(*length)).ok()?)
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A key of any type with a blob of its own.
    pub(crate) fn key(key_type: &str, body: &[u8]) -> String {
        let mut blob = u32::try_from(key_type.len()).unwrap().to_be_bytes().to_vec();
        blob.extend(key_type.as_bytes());
        blob.extend(body);
        format!("{key_type} {}", Base64::encode_string(&blob))
    }

    const ED25519: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIF3sq8zyqC3Xd5+F2SZRpIJtzFn2V4gMEHrUwHhEDdXa";

    #[test]
    fn a_key_of_ssh_keygen_has_the_fingerprint_that_ssh_keygen_says() {
        let key: PublicKey = ED25519.parse().unwrap();
        assert_eq!(key.to_string(), ED25519);
        assert_eq!(key.fingerprint().to_string(), ED25519_FP);
    }

    const ED25519_FP: &str = "SHA256:iSAa7lwpaL70TtW7Ecxlzrh6D/2szgBUfbSKWNMjalU";

    #[test]
    fn types_that_nobody_knows_yet_are_keys() {
        for name in ["ssh-mldsa-44", "ssh-mldsa44-ed25519@openssh.com", "sk-ssh-ed25519@openssh.com", "x"] {
            let text = key(name, &[0, 0, 0, 1, 7]);
            let (read, rest) = PublicKey::read(text.as_bytes()).unwrap();
            assert_eq!((read.key_type(), rest), (name, &b""[..]));
            assert_eq!(read.to_string(), text);
        }
    }

    #[test]
    fn what_follows_the_key_is_left() {
        let text = format!("{ED25519} \t me@home \n");
        let (_, rest) = PublicKey::read(text.as_bytes()).unwrap();
        assert_eq!(rest, b"me@home \n");
    }

    #[test]
    fn a_carriage_return_and_other_blanks_in_base64_are_skipped_as_sshd_skips_them() {
        for text in
            [format!("{ED25519}\r\n"), format!("{ED25519}\n"), ED25519.replace("IF3s", "I\x0bF\x0c3s")]
        {
            let (key, rest) = PublicKey::read(text.as_bytes()).unwrap();
            assert_eq!((key.to_string().as_str(), rest), (ED25519, &b""[..]), "{text:?}");
        }
    }

    #[test]
    fn a_signature_algorithm_stands_for_its_key_type() {
        let rsa = key("ssh-rsa", &[0, 0, 0, 1, 3]);
        let alias = rsa.replace("ssh-rsa", "rsa-sha2-512");
        assert_eq!(PublicKey::read(alias.as_bytes()).unwrap().0.to_string(), rsa);
    }

    #[test]
    fn what_is_no_key_says_why() {
        use PublicKeyError as E;
        let certificate = key("ssh-ed25519-cert-v01@openssh.com", b"x");
        let long = key("ssh-rsa", &vec![1; MAX_BLOB]);
        let longer = key("ssh-rsa", &vec![1; 4 * MAX_BLOB]);
        let other = ED25519.replace("ssh-ed25519", "ssh-rsa");
        let unpadded = key("ssh-rsa", &[1, 2]).trim_end_matches('=').to_owned();
        let table: &[(&str, E)] = &[
            ("", E::Missing),
            (" ", E::Missing),
            ("ssh-ed25519", E::Missing),
            ("ssh-ed25519 ", E::Missing),
            ("ssh-ed25519 AAAA", E::Mismatch),
            ("ssh-ed25519 AAA", E::Base64),
            ("ssh-ed25519 AAAA=", E::Base64),
            ("ssh-ed25519 AAAB====", E::Base64),
            ("ssh-ed25519 \u{e9}\u{e9}", E::Base64),
            ("ssh-ed25519 /////w==", E::Mismatch),
            ("from=\"a b\" AAAA", E::Type),
            ("s\u{e9}h AAAA", E::Type),
            (&other, E::Mismatch),
            (&certificate, E::Certificate),
            (&long, E::TooLong),
            (&longer, E::TooLong),
            (&unpadded, E::Base64),
        ];
        for (text, want) in table {
            let got = PublicKey::read(text.as_bytes()).map(|(k, _)| k);
            assert_eq!(got, Err(*want), "{}", text.get(..40).unwrap_or(text));
        }
        assert_eq!(PublicKey::read(b"\xff AAAA"), Err(E::Type));
    }

    #[test]
    fn bits_behind_the_last_byte_must_be_zero_as_for_sshd() {
        // The last character of "...Zw==" carries four bits that count for nothing.
        assert!(PublicKey::read(b"x AAAAAXhnZw==").is_ok());
        assert_eq!(PublicKey::read(b"x AAAAAXhnZx=="), Err(PublicKeyError::Base64));
    }

    proptest::proptest! {
        #[test]
        fn any_bytes_are_read_without_a_panic_and_what_is_read_is_written_and_read_again(text: Vec<u8>) {
            if let Ok((key, _)) = PublicKey::read(&text) {
                let again: PublicKey = key.to_string().parse().unwrap();
                proptest::prop_assert_eq!(again, key);
            }
        }
    }
}
