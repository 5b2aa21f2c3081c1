//! OpenSSH's user certificates, as a client shows them: `PROTOCOL.certkeys` of OpenSSH.
//!
//! sshd has checked the signature before anybody here sees one, and it checks what the certificate says of itself: how
//! long it is valid, from where it may be used. Here it is read once more for what vestibule decides by, and what a login
//! was let in by must hold when its session begins. Strictly: a critical option that nobody knows, or one that is there
//! twice, makes it none.

use std::fmt;

use base64ct::{Base64, Encoding};
use ssh_key::sha2::{Digest, Sha256};
use vestibule_names::login::Escaped;

use crate::fingerprint::Fingerprint;
use crate::options::{FromList, Options};
use crate::proof::Certified;

/// Bytes that a certificate has at most; `execve(2)` takes twice as many in an argument.
pub const MAX_BLOB: usize = 48 << 10;
/// More principals than this are an error (`SSHKEY_CERT_MAX_PRINCIPALS`).
const MAX_PRINCIPALS: usize = 256;
/// Behind the name of a key's type stands this, where OpenSSH has a domain already in its place.
const SUFFIX: &[u8] = b"-cert-v01@openssh.com";
/// What a key of a type consists of: so many strings. A type that is new has to be told here.
const TYPES: [(&str, usize); 8] = [
    ("ssh-ed25519", 1),
    ("ssh-rsa", 2),
    ("ecdsa-sha2-nistp256", 2),
    ("ecdsa-sha2-nistp384", 2),
    ("ecdsa-sha2-nistp521", 2),
    ("sk-ssh-ed25519@openssh.com", 2),
    ("sk-ecdsa-sha2-nistp256@openssh.com", 3),
    ("ssh-dss", 4),
];

/// A user's certificate.
#[derive(Clone, PartialEq, Eq)]
pub struct Certificate {
    blob: Vec<u8>,
    /// The key that was certified.
    pub key: Fingerprint,
    /// The key that signed it.
    pub authority: Fingerprint,
    /// The number that the authority gave it; 0 for none.
    pub serial: u64,
    /// The name that the authority gave it, for logs; any bytes.
    pub id: Vec<u8>,
    /// Who it is for; any bytes.
    pub principals: Vec<Vec<u8>>,
    /// The first second (since 1970) at which it counts.
    pub from: i64,
    /// The first at which it does not any more.
    pub until: Option<i64>,
    /// What it allows, as a line of `authorized_keys` would say it.
    pub options: Options,
}

/// Why bytes are no certificate of a user.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum CertificateError {
    /// It is not base64.
    #[error("the certificate is not valid base64")]
    Base64,
    /// The blob is longer than [`MAX_BLOB`].
    #[error("the certificate is longer than {MAX_BLOB} bytes")]
    TooLong,
    /// Its type is none that is known.
    #[error("this is no certificate of a known type")]
    Type,
    /// It ends too early or too late, or has other bytes than OpenSSH writes.
    #[error("the certificate is damaged")]
    Damaged,
    /// It is a host's.
    #[error("this is a host's certificate")]
    Host,
    /// More than sshd takes.
    #[error("the certificate has more than {MAX_PRINCIPALS} principals")]
    TooManyPrincipals,
    /// A critical option that nobody knows, or that is there twice.
    #[error("the certificate has a critical option that is not known")]
    Critical,
    /// A source address that is no list of addresses.
    #[error("the certificate's source-address is none")]
    SourceAddress,
}

impl Certificate {
    /// Reads a certificate in base64, as sshd's `%k` has it.
    ///
    /// # Errors
    /// [`CertificateError`].
    pub fn read(base64: &[u8]) -> Result<Certificate, CertificateError> {
        if base64.len() > MAX_BLOB / 3 * 4 + 4 {
            return Err(CertificateError::TooLong);
        }
        let text = std::str::from_utf8(base64).map_err(|_| CertificateError::Base64)?;
        Self::parse(Base64::decode_vec(text).map_err(|_| CertificateError::Base64)?)
    }

    fn parse(blob: Vec<u8>) -> Result<Certificate, CertificateError> {
        let mut all = Reader(&blob);
        let (plain, strings) = plain_type(all.string()?).ok_or(CertificateError::Type)?;
        let _nonce = all.string()?;
        let mut key = string(plain.as_bytes());
        for _ in 0..strings {
            key.extend(string(all.string()?));
        }
        let serial = all.number()?;
        match all.kind()? {
            1 => {}
            2 => return Err(CertificateError::Host),
            _ => return Err(CertificateError::Damaged),
        }
        let id = all.string()?.to_vec();
        let mut names = Reader(all.string()?);
        let mut principals = Vec::new();
        while !names.0.is_empty() {
            if principals.len() == MAX_PRINCIPALS {
                return Err(CertificateError::TooManyPrincipals);
            }
            principals.push(names.string()?.to_vec());
        }
        let from = all.number()?;
        let until = all.number()?;
        let options = options(all.string()?, all.string()?)?;
        let _reserved = all.string()?;
        let authority = fingerprint(all.string()?);
        let _signature = all.string()?;
        if !all.0.is_empty() {
            return Err(CertificateError::Damaged);
        }
        Ok(Certificate {
            key: fingerprint(&key),
            authority,
            serial,
            id,
            principals,
            // Beyond what a clock can say is never, or for ever.
            from: i64::try_from(from).unwrap_or(i64::MAX),
            until: i64::try_from(until).ok(),
            options,
            blob,
        })
    }

    /// What [`read`](Self::read) takes.
    #[must_use]
    pub fn to_base64(&self) -> String {
        Base64::encode_string(&self.blob)
    }

    /// What is left of one by which somebody is inside: that alone has to hold still.
    #[must_use]
    pub fn of_certified(certified: &Certified) -> Certificate {
        Certificate {
            blob: Vec::new(),
            key: certified.key,
            authority: certified.authority,
            serial: certified.serial,
            id: certified.id.clone(),
            principals: vec![certified.principal.clone()],
            from: i64::MIN,
            until: certified.until,
            options: Options::default(),
        }
    }

    /// What is kept of it while somebody is inside by this principal.
    #[must_use]
    pub fn certified(&self, principal: &[u8]) -> Certified {
        Certified {
            key: self.key,
            authority: self.authority,
            serial: self.serial,
            until: self.until,
            principal: principal.to_vec(),
            id: self.id.clone(),
        }
    }
}

impl fmt::Display for Certificate {
    /// The key's fingerprint, then `authority=`, `serial=` and `id=`, for the log.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Certificate { key, authority, serial, id, .. } = self;
        write!(f, "{key} authority={authority} serial={serial} id=\"{}\"", Escaped::new(id))
    }
}

impl fmt::Debug for Certificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Certificate({self})")
    }
}

/// The type of the key in a certificate of this type, and of how many strings it consists.
fn plain_type(of: &[u8]) -> Option<(&'static str, usize)> {
    let bare = of.strip_suffix(SUFFIX)?;
    TYPES
        .into_iter()
        .find(|(name, _)| name.split_once('@').map_or(*name, |(name, _)| name).as_bytes() == bare)
}

fn fingerprint(blob: &[u8]) -> Fingerprint {
    Fingerprint(Sha256::digest(blob).into())
}

/// A string with its length in front.
fn string(bytes: &[u8]) -> Vec<u8> {
    // No certificate is as long as that.
    let mut all = u32::try_from(bytes.len()).unwrap_or(u32::MAX).to_be_bytes().to_vec();
    all.extend(bytes);
    all
}

/// What critical options and extensions allow together (`cert_option_list` in auth-options.c). What no extension gives
/// is not allowed; an extension that nobody knows gives nothing.
fn options(critical: &[u8], extensions: &[u8]) -> Result<Options, CertificateError> {
    let mut options = Options {
        restrict: true,
        port_forwarding: false,
        agent_forwarding: false,
        x11_forwarding: false,
        pty: false,
        user_rc: false,
        ..Options::default()
    };
    let mut critical = Reader(critical);
    while !critical.0.is_empty() {
        let (name, data) = (critical.string()?, critical.string()?);
        let fresh = match name {
            b"force-command" => options.command.replace(Reader(data).only()?.to_vec()).is_none(),
            b"source-address" => {
                let addresses = Reader(data).only()?;
                let list = FromList::of_addresses(addresses).ok_or(CertificateError::SourceAddress)?;
                options.from.replace(list).is_none()
            }
            b"verify-required" if data.is_empty() => !std::mem::replace(&mut options.verify_required, true),
            _ => false,
        };
        if !fresh {
            return Err(CertificateError::Critical);
        }
    }
    let mut extensions = Reader(extensions);
    while !extensions.0.is_empty() {
        let (name, _) = (extensions.string()?, extensions.string()?);
        match name {
            b"permit-X11-forwarding" => options.x11_forwarding = true,
            b"permit-agent-forwarding" => options.agent_forwarding = true,
            b"permit-port-forwarding" => options.port_forwarding = true,
            b"permit-pty" => options.pty = true,
            _ => {}
        }
    }
    Ok(options)
}

/// Takes values off the front.
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take<const N: usize>(&mut self) -> Result<[u8; N], CertificateError> {
        let (taken, rest) = self.0.split_first_chunk::<N>().ok_or(CertificateError::Damaged)?;
        self.0 = rest;
        Ok(*taken)
    }

    fn number(&mut self) -> Result<u64, CertificateError> {
        self.take().map(u64::from_be_bytes)
    }

    fn kind(&mut self) -> Result<u32, CertificateError> {
        self.take().map(u32::from_be_bytes)
    }

    fn string(&mut self) -> Result<&'a [u8], CertificateError> {
        let length = usize::try_from(self.kind()?).map_err(|_| CertificateError::Damaged)?;
        let (taken, rest) = self.0.split_at_checked(length).ok_or(CertificateError::Damaged)?;
        self.0 = rest;
        Ok(taken)
    }

    /// The one string that there is.
    fn only(mut self) -> Result<&'a [u8], CertificateError> {
        let only = self.string()?;
        if self.0.is_empty() { Ok(only) } else { Err(CertificateError::Damaged) }
    }
}

#[cfg(test)]
pub(crate) mod tests;
