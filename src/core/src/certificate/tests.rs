use std::process::Command;

use super::*;
use crate::options::ClientAddress;
use crate::public_key::PublicKey;

/// The parts of a certificate, for those that `ssh-keygen` would not make.
pub(crate) struct Draft {
    pub(crate) kind: u32,
    pub(crate) serial: u64,
    pub(crate) id: Vec<u8>,
    pub(crate) principals: Vec<Vec<u8>>,
    pub(crate) from: u64,
    pub(crate) until: u64,
    pub(crate) critical: Vec<(&'static str, Vec<u8>)>,
    pub(crate) extensions: Vec<&'static str>,
}

impl Draft {
    pub(crate) fn of(principals: &[&str]) -> Draft {
        Draft {
            kind: 1,
            serial: 7,
            id: b"laptop".to_vec(),
            principals: principals.iter().map(|p| p.as_bytes().to_vec()).collect(),
            from: 0,
            until: u64::MAX,
            critical: Vec::new(),
            extensions: vec!["permit-pty"],
        }
    }

    /// The certificate, over a key of sevens, by an authority of eights; its signature is none.
    pub(crate) fn made(&self) -> Vec<u8> {
        let list = |all: Vec<Vec<u8>>| string(&all.concat());
        let option = |name: &str, data: &[u8]| [string(name.as_bytes()), string(data)].concat();
        [
            string(b"ssh-ed25519-cert-v01@openssh.com"),
            string(&[0; 32]),
            string(&[7; 32]),
            self.serial.to_be_bytes().to_vec(),
            self.kind.to_be_bytes().to_vec(),
            string(&self.id),
            list(self.principals.iter().map(|p| string(p)).collect()),
            self.from.to_be_bytes().to_vec(),
            self.until.to_be_bytes().to_vec(),
            list(self.critical.iter().map(|(name, data)| option(name, data)).collect()),
            list(self.extensions.iter().map(|name| option(name, b"")).collect()),
            string(b""),
            string(&authority()),
            string(b"unsigned"),
        ]
        .concat()
    }

    pub(crate) fn read(&self) -> Result<Certificate, CertificateError> {
        Certificate::parse(self.made())
    }
}

/// The wire form of the authority of drafts.
pub(crate) fn authority() -> Vec<u8> {
    [string(b"ssh-ed25519"), string(&[8; 32])].concat()
}

#[test]
fn what_ssh_keygen_makes_is_read() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name).display().to_string();
    let keygen = |args: &[&str]| {
        let made = Command::new("ssh-keygen").args(args).output().unwrap();
        assert!(made.status.success(), "{args:?}: {made:?}");
    };
    let print = |name: &str| {
        let text = std::fs::read_to_string(at(name)).unwrap();
        text.parse::<PublicKey>().unwrap().fingerprint()
    };
    keygen(&["-q", "-t", "ed25519", "-N", "", "-f", &at("ca")]);
    for (kind, bits) in
        [("ed25519", ""), ("rsa", "2048"), ("ecdsa", "256"), ("ecdsa", "384"), ("ecdsa", "521")]
    {
        let name = format!("{kind}{bits}");
        let size = if bits.is_empty() { vec![] } else { vec!["-b", bits] };
        keygen(&[&["-q", "-t", kind, "-N", "", "-f", &at(&name)][..], &size].concat());
        let options = [
            "-O",
            "clear",
            "-O",
            "permit-pty",
            "-O",
            "force-command=say \"hi\"",
            "-O",
            "source-address=10.0.0.0/8,192.0.2.1",
            "-O",
            "verify-required",
        ];
        let about = [
            "-q",
            "-s",
            &at("ca"),
            "-I",
            "the id",
            "-z",
            "18446744073709551615",
            "-n",
            "alice,user:bob",
            "-V",
            "20200101000000Z:20300101000000Z",
        ];
        keygen(&[&about[..], &options, &[&at(&format!("{name}.pub"))]].concat());
        let text = std::fs::read(at(&format!("{name}-cert.pub"))).unwrap();
        let base64 = text.split(|b| *b == b' ').nth(1).unwrap();
        let certificate = Certificate::read(base64).unwrap();
        assert_eq!(certificate.key, print(&format!("{name}.pub")), "{name}");
        assert_eq!(certificate.authority, print("ca.pub"));
        assert_eq!((certificate.serial, certificate.id.as_slice()), (u64::MAX, &b"the id"[..]));
        assert_eq!(certificate.principals, [b"alice".to_vec(), b"user:bob".to_vec()]);
        assert_eq!((certificate.from, certificate.until), (1_577_836_800, Some(1_893_456_000)));
        let options = &certificate.options;
        assert!(options.pty && options.verify_required);
        assert!(!options.port_forwarding && !options.agent_forwarding && !options.x11_forwarding);
        assert_eq!(options.command.as_deref(), Some(&b"say \"hi\""[..]));
        let from = options.from.as_ref().unwrap();
        assert!(from.matches(&ClientAddress::parse("10.1.2.3").unwrap()));
        assert!(!from.matches(&ClientAddress::parse("192.0.2.2").unwrap()));
        assert_eq!(certificate.to_base64().as_bytes(), base64);
    }
}

#[test]
fn what_has_no_end_has_none_and_what_has_no_extension_allows_nothing() {
    let certificate =
        Draft { extensions: vec!["no-touch-required", "of-tomorrow@example"], ..Draft::of(&["a"]) };
    let certificate = certificate.read().unwrap();
    assert_eq!((certificate.from, certificate.until), (0, None));
    assert!(!certificate.options.pty);
    assert_eq!(certificate.principals, [b"a".to_vec()]);
}

#[test]
fn what_is_none_says_why() {
    use CertificateError as E;
    let draft = || Draft::of(&["alice"]);
    let source = |list: &[u8]| vec![("source-address", string(list))];
    let table: Vec<(Draft, Result<(), E>)> = vec![
        (draft(), Ok(())),
        (Draft { kind: 2, ..draft() }, Err(E::Host)),
        (Draft { kind: 0, ..draft() }, Err(E::Damaged)),
        (Draft { principals: vec![b"p".to_vec(); 256], ..draft() }, Ok(())),
        (Draft { principals: vec![b"p".to_vec(); 257], ..draft() }, Err(E::TooManyPrincipals)),
        (Draft { critical: vec![("of-tomorrow", vec![])], ..draft() }, Err(E::Critical)),
        (Draft { critical: vec![("verify-required", vec![]); 2], ..draft() }, Err(E::Critical)),
        (Draft { critical: vec![("force-command", string(b"x")); 2], ..draft() }, Err(E::Critical)),
        (Draft { critical: vec![("force-command", b"x".to_vec())], ..draft() }, Err(E::Damaged)),
        (
            Draft { critical: vec![("force-command", [string(b"x"), string(b"y")].concat())], ..draft() },
            Err(E::Damaged),
        ),
        (Draft { critical: source(b"10.0.0.0/8"), ..draft() }, Ok(())),
        (Draft { critical: source(b"10.0.0.1/8"), ..draft() }, Err(E::SourceAddress)),
        (Draft { critical: source(b"!10.0.0.0/8"), ..draft() }, Err(E::SourceAddress)),
        (Draft { critical: source(b"*"), ..draft() }, Err(E::SourceAddress)),
        (Draft { critical: source(b""), ..draft() }, Err(E::SourceAddress)),
    ];
    for (n, (draft, want)) in table.into_iter().enumerate() {
        assert_eq!(draft.read().map(drop), want, "{n}");
    }
    let blob = draft().made();
    for cut in 0..blob.len() {
        assert!(Certificate::parse(blob[..cut].to_vec()).is_err(), "{cut}");
    }
    assert_eq!(Certificate::parse([&blob[..], b"x"].concat()), Err(E::Damaged));
    assert_eq!(Certificate::parse(string(b"ssh-ed25519")), Err(E::Type));
    assert_eq!(Certificate::parse(string(b"ssh-mldsa-44-cert-v01@openssh.com")), Err(E::Type));
    assert_eq!(Certificate::read(b"AAAA!"), Err(E::Base64));
    assert_eq!(Certificate::read(&vec![b'A'; 2 * MAX_BLOB]), Err(E::TooLong));
}

proptest::proptest! {
    #[test]
    fn any_bytes_are_read_without_a_panic(bytes: Vec<u8>) {
        let _ = Certificate::parse(bytes.clone());
        let _ = Certificate::parse([string(b"ssh-ed25519-cert-v01@openssh.com"), bytes].concat());
    }

    #[test]
    fn a_certificate_with_some_bytes_changed_is_read_without_a_panic(at in 0_usize..300, byte: u8) {
        let mut blob = Draft::of(&["alice", "bob"]).made();
        if let Some(place) = blob.get_mut(at) {
            *place = byte;
        }
        let _ = Certificate::parse(blob);
    }
}
