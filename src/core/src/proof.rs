//! What somebody came in by: what a client shows to sshd ([`Credential`]), and what of it let a session in ([`Proof`]).
//!
//! A credential is whole, as sshd wrote it, and is read by programs without privileges only. A proof goes on from there:
//! to `enter`, which is privileged, and to whoever stays beside a session to end it when its proof is taken away. It is a
//! few words of fixed form. A key is its own proof.

use std::fmt;
use std::str::FromStr;

use base64ct::{Base64Unpadded, Encoding};

use crate::certificate::{Certificate, CertificateError};
use crate::fingerprint::{Fingerprint, NotAFingerprint};

/// What a client shows to sshd, and has proved to own once sshd has let it in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Credential {
    /// A public key.
    Key(Fingerprint),
    /// A certificate, over a key.
    Certificate(Box<Certificate>),
}

/// What let somebody in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Proof {
    /// A public key.
    Key(Fingerprint),
    /// A certificate, by one of its principals.
    Certificate(Box<Certified>),
}

/// What has to be known of a certificate while somebody is inside by it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Certified {
    /// The key that was certified.
    pub key: Fingerprint,
    /// The key that signed it.
    pub authority: Fingerprint,
    /// The number that the authority gave it; 0 for none.
    pub serial: u64,
    /// From this second on (since 1970) it counts no more.
    pub until: Option<i64>,
    /// Its principal that opened the target.
    pub principal: Vec<u8>,
    /// The name that the authority gave it.
    pub id: Vec<u8>,
}

/// Why a text is no credential.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum CredentialError {
    /// It begins as a fingerprint, and is none.
    #[error(transparent)]
    Fingerprint(#[from] NotAFingerprint),
    /// It does not, and is no certificate.
    #[error(transparent)]
    Certificate(#[from] CertificateError),
}

/// The text is no proof.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a proof: want a fingerprint, or the words of a certificate")]
pub struct NotAProof;

impl Credential {
    /// Reads what sshd says: a fingerprint (`%f`), or a certificate in base64 (`%k`).
    ///
    /// # Errors
    /// [`CredentialError`].
    pub fn read(text: &[u8]) -> Result<Credential, CredentialError> {
        // What is neither is more likely to be a bad fingerprint: a certificate begins with three zero bytes.
        if text.starts_with(b"AAAA") {
            return Ok(Credential::Certificate(Box::new(Certificate::read(text)?)));
        }
        let text = std::str::from_utf8(text).map_err(|_| NotAFingerprint)?;
        Ok(Credential::Key(text.parse()?))
    }

    /// The key, or the one that was certified.
    #[must_use]
    pub fn key(&self) -> Fingerprint {
        match self {
            Credential::Key(key) => *key,
            Credential::Certificate(certificate) => certificate.key,
        }
    }

    /// The certificate, if it is one.
    #[must_use]
    pub fn certificate(&self) -> Option<&Certificate> {
        match self {
            Credential::Key(_) => None,
            Credential::Certificate(certificate) => Some(certificate),
        }
    }

    /// What [`read`](Self::read) takes.
    #[must_use]
    pub fn to_argument(&self) -> String {
        match self {
            Credential::Key(key) => key.to_string(),
            Credential::Certificate(certificate) => certificate.to_base64(),
        }
    }
}

impl fmt::Display for Credential {
    /// For the log, behind `fingerprint=`: `SHA256:...`, and of a certificate what else says which.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Credential::Key(key) => write!(f, "{key}"),
            Credential::Certificate(certificate) => write!(f, "{certificate}"),
        }
    }
}

impl Proof {
    /// The key, or the one that was certified.
    #[must_use]
    pub fn key(&self) -> &Fingerprint {
        match self {
            Proof::Key(key) => key,
            Proof::Certificate(certified) => &certified.key,
        }
    }
}

/// In front of the words of a certificate.
const CERTIFICATE: &str = "certificate";

impl fmt::Display for Proof {
    /// A key's fingerprint; or, with commas between, `certificate`, the fingerprints of its key and its authority, its
    /// serial number, its end or `-`, and its principal and its name in unpadded base64.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let certified = match self {
            Proof::Key(key) => return write!(f, "{key}"),
            Proof::Certificate(certified) => certified,
        };
        let Certified { key, authority, serial, until, principal, id } = &**certified;
        write!(f, "{CERTIFICATE},{key},{authority},{serial},")?;
        match until {
            Some(until) => write!(f, "{until}")?,
            None => f.write_str("-")?,
        }
        write!(f, ",{},{}", Base64Unpadded::encode_string(principal), Base64Unpadded::encode_string(id))
    }
}

impl FromStr for Proof {
    type Err = NotAProof;

    fn from_str(text: &str) -> Result<Proof, NotAProof> {
        let mut words = text.split(',');
        let first = words.next().unwrap_or_default();
        if first != CERTIFICATE {
            let key = text.parse().map_err(|NotAFingerprint| NotAProof)?;
            return Ok(Proof::Key(key));
        }
        let mut word = || words.next().ok_or(NotAProof);
        let bytes = |text: &str| Base64Unpadded::decode_vec(text).map_err(|_| NotAProof);
        let key = word()?.parse().map_err(|NotAFingerprint| NotAProof)?;
        let authority = word()?.parse().map_err(|NotAFingerprint| NotAProof)?;
        let serial = word()?.parse().map_err(|_| NotAProof)?;
        let until = match word()? {
            "-" => None,
            number => Some(number.parse().map_err(|_| NotAProof)?),
        };
        let (principal, id) = (bytes(word()?)?, bytes(word()?)?);
        match words.next() {
            None => {
                Ok(Proof::Certificate(Box::new(Certified { key, authority, serial, until, principal, id })))
            }
            Some(_) => Err(NotAProof),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = "SHA256:47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU";

    #[test]
    fn a_key_is_its_fingerprint() {
        let proof: Proof = KEY.parse().unwrap();
        assert_eq!((proof.to_string().as_str(), proof.key().to_string().as_str()), (KEY, KEY));
        let credential = Credential::read(KEY.as_bytes()).unwrap();
        assert_eq!((credential.to_argument().as_str(), credential.to_string().as_str()), (KEY, KEY));
    }

    #[test]
    fn a_certificate_is_read_as_it_was_written() {
        for (until, serial) in [(None, 0), (Some(-1), 7), (Some(i64::MAX), u64::MAX)] {
            let proof = Proof::Certificate(Box::new(Certified {
                key: Fingerprint([1; 32]),
                authority: Fingerprint([2; 32]),
                serial,
                until,
                principal: b"user:a,b\n\xff".to_vec(),
                id: Vec::new(),
            }));
            assert_eq!(proof.to_string().parse(), Ok(proof));
        }
    }

    #[test]
    fn what_is_none_is_refused() {
        let whole = format!("certificate,{KEY},{KEY},1,-,YQ,YQ");
        assert!(whole.parse::<Proof>().is_ok());
        for text in [
            "",
            "certificate",
            "certificate,",
            &whole[1..],
            &whole[..whole.len() - 3],
            &format!("{whole},"),
            &format!("{whole}="),
            &format!("{KEY},"),
            &format!("certificate,{KEY},{KEY},-1,-,YQ,YQ"),
            &format!("certificate,{KEY},{KEY},1,,YQ,YQ"),
            &format!("certificate,{KEY},x,1,-,YQ,YQ"),
        ] {
            assert_eq!(text.parse::<Proof>(), Err(NotAProof), "{text}");
        }
        assert_eq!(Credential::read(b"x"), Err(CredentialError::Fingerprint(NotAFingerprint)));
        assert!(matches!(Credential::read(b"AAAA"), Err(CredentialError::Certificate(_))));
    }
}
