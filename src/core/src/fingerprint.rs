//! The SHA-256 fingerprint of a public key, as sshd's `%f` gives it.

use std::fmt;
use std::str::FromStr;

use base64ct::{Base64Unpadded, Encoding};

/// SHA-256 over a public key's wire form (`sshkey_fingerprint` in OpenSSH's sshkey.c), 32 bytes.
///
/// Written `SHA256:` and 43 characters of unpadded base64.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Fingerprint(pub [u8; 32]);

/// The text is no SHA-256 fingerprint.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a fingerprint: want 'SHA256:' and 43 characters of base64")]
pub struct NotAFingerprint;

impl FromStr for Fingerprint {
    type Err = NotAFingerprint;

    /// Takes the text with or without trailing `=` padding.
    ///
    /// # Errors
    /// [`NotAFingerprint`] for anything but 32 bytes behind `SHA256:`.
    fn from_str(text: &str) -> Result<Self, NotAFingerprint> {
        let base64 = text.strip_prefix("SHA256:").ok_or(NotAFingerprint)?.trim_end_matches('=');
        let mut bytes = [0_u8; 32];
        match Base64Unpadded::decode(base64, &mut bytes) {
            Ok(decoded) if decoded.len() == 32 => Ok(Fingerprint(bytes)),
            _ => Err(NotAFingerprint),
        }
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SHA256:{}", Base64Unpadded::encode_string(&self.0))
    }
}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_it_writes() {
        let text = "SHA256:47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU";
        let fp: Fingerprint = text.parse().unwrap();
        assert_eq!(fp.to_string(), text);
        assert_eq!(format!("{text}=").parse::<Fingerprint>(), Ok(fp));
    }

    #[test]
    fn refuses_what_is_none() {
        for text in [
            "",
            "SHA256:",
            "MD5:00:11",
            "SHA256:AAAA",
            "47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU",
            "SHA256:\0",
        ] {
            assert_eq!(text.parse::<Fingerprint>(), Err(NotAFingerprint), "{text:?}");
        }
    }
}
