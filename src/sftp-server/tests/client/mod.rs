//! A small client that speaks over pipes to a server: this one's, or OpenSSH's.

#![allow(dead_code, reason = "each test program uses a part of it")]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by a panic, and clippy knows tests by their attribute only"
)]

use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, ExitStatus, Stdio};

pub(crate) const OURS: &str = env!("CARGO_BIN_EXE_sftp-server");
pub(crate) const OPENSSH: &str = "/usr/lib/openssh/sftp-server";

pub(crate) const READ: u32 = 1;
pub(crate) const WRITE: u32 = 2;
pub(crate) const APPEND: u32 = 4;
pub(crate) const CREATE: u32 = 8;
pub(crate) const TRUNCATE: u32 = 16;
pub(crate) const EXCLUSIVE: u32 = 32;

/// The fields of a request, put together.
#[derive(Debug, Clone, Default)]
pub(crate) struct Body(pub(crate) Vec<u8>);

impl Body {
    pub(crate) fn u32(mut self, number: u32) -> Self {
        self.0.extend(number.to_be_bytes());
        self
    }

    pub(crate) fn u64(mut self, number: u64) -> Self {
        self.0.extend(number.to_be_bytes());
        self
    }

    pub(crate) fn string(self, bytes: impl AsRef<[u8]>) -> Self {
        let bytes = bytes.as_ref();
        let mut body = self.u32(u32::try_from(bytes.len()).unwrap());
        body.0.extend(bytes);
        body
    }

    pub(crate) fn attributes(self, attributes: Attributes) -> Self {
        let Attributes { size, owner, mode, times } = attributes;
        let flags = u32::from(size.is_some())
            | u32::from(owner.is_some()) << 1
            | u32::from(mode.is_some()) << 2
            | u32::from(times.is_some()) << 3;
        let mut body = self.u32(flags);
        body = size.map_or(body.clone(), |s| body.u64(s));
        body = owner.map_or(body.clone(), |(u, g)| body.u32(u).u32(g));
        body = mode.map_or(body.clone(), |m| body.u32(m));
        times.map_or(body.clone(), |(a, m)| body.u32(a).u32(m))
    }
}

pub(crate) fn body() -> Body {
    Body::default()
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Attributes {
    pub(crate) size: Option<u64>,
    pub(crate) owner: Option<(u32, u32)>,
    pub(crate) mode: Option<u32>,
    pub(crate) times: Option<(u32, u32)>,
}

/// An answer, taken apart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Answer {
    Version { version: u32, extensions: Vec<(String, String)> },
    Status { code: u32, message: String },
    Handle(Vec<u8>),
    Data(Vec<u8>),
    Names(Vec<(Vec<u8>, Vec<u8>, Attributes)>),
    Attributes(Attributes),
    Extended(Vec<u8>),
}

impl Answer {
    pub(crate) fn code(&self) -> u32 {
        match self {
            Answer::Status { code, .. } => *code,
            other => panic!("no status: {other:?}"),
        }
    }

    pub(crate) fn handle(self) -> Vec<u8> {
        match self {
            Answer::Handle(handle) => handle,
            other => panic!("no handle: {other:?}"),
        }
    }

    pub(crate) fn attributes(self) -> Attributes {
        match self {
            Answer::Attributes(attributes) => attributes,
            other => panic!("no attributes: {other:?}"),
        }
    }

    /// The only name of an answer.
    pub(crate) fn name(self) -> Vec<u8> {
        match self {
            Answer::Names(names) if names.len() == 1 => names[0].0.clone(),
            other => panic!("not one name: {other:?}"),
        }
    }
}

pub(crate) struct Client {
    child: Child,
    pub(crate) input: Option<ChildStdin>,
    pub(crate) output: ChildStdout,
    next_id: u32,
}

impl Client {
    /// Starts a server in a directory, with the umask 022.
    pub(crate) fn start(program: &str, args: &[&str], place: &Path) -> Client {
        assert!(Path::new(program).exists(), "{program} is missing: install openssh-sftp-server");
        let mut command = Command::new(program);
        command.args(args).current_dir(place).stdin(Stdio::piped()).stdout(Stdio::piped());
        command.env("TZ", "Europe/Berlin").arg0("sftp-server").stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let (input, output) = (child.stdin.take(), child.stdout.take().unwrap());
        Client { child, input, output, next_id: 0xffff_fff0 }
    }

    /// Starts a server and agrees on the version.
    pub(crate) fn open(program: &str, args: &[&str], place: &Path) -> Client {
        let mut client = Client::start(program, args, place);
        assert!(matches!(client.hello(3), Answer::Version { version: 3, .. }));
        client
    }

    pub(crate) fn hello(&mut self, version: u32) -> Answer {
        self.send_packet(&[&[1][..], &version.to_be_bytes()].concat());
        self.receive().unwrap().1
    }

    pub(crate) fn send_raw(&mut self, bytes: &[u8]) {
        self.input.as_mut().unwrap().write_all(bytes).unwrap();
    }

    pub(crate) fn send_packet(&mut self, packet: &[u8]) {
        let length = u32::try_from(packet.len()).unwrap().to_be_bytes();
        self.send_raw(&[&length, packet].concat());
    }

    /// Sends a request and gives its number.
    pub(crate) fn send(&mut self, kind: u8, body: &Body) -> u32 {
        self.next_id = self.next_id.wrapping_add(1);
        let id = self.next_id;
        self.send_packet(&[&[kind][..], &id.to_be_bytes(), &body.0].concat());
        id
    }

    /// The next answer, with the number of its request. `None` at the end.
    pub(crate) fn receive(&mut self) -> Option<(u32, Answer)> {
        let mut length = [0; 4];
        self.output.read_exact(&mut length).ok()?;
        let mut packet = vec![0; usize::try_from(u32::from_be_bytes(length)).unwrap()];
        self.output.read_exact(&mut packet).ok()?;
        Some(take_apart(&packet))
    }

    pub(crate) fn ask(&mut self, kind: u8, body: &Body) -> Answer {
        let id = self.send(kind, body);
        let (answered, answer) = self.receive().expect("no answer");
        assert_eq!(answered, id);
        answer
    }

    pub(crate) fn extended(&mut self, name: &str, rest: &Body) -> Answer {
        let mut request = body().string(name);
        request.0.extend(&rest.0);
        self.ask(200, &request)
    }

    pub(crate) fn open_file(&mut self, path: impl AsRef<[u8]>, flags: u32) -> Answer {
        self.ask(3, &body().string(path).u32(flags).u32(0))
    }

    pub(crate) fn close(&mut self, handle: &[u8]) -> Answer {
        self.ask(4, &body().string(handle))
    }

    pub(crate) fn read(&mut self, handle: &[u8], offset: u64, length: u32) -> Answer {
        self.ask(5, &body().string(handle).u64(offset).u32(length))
    }

    pub(crate) fn write(&mut self, handle: &[u8], offset: u64, data: &[u8]) -> Answer {
        self.ask(6, &body().string(handle).u64(offset).string(data))
    }

    /// All entries of a directory.
    pub(crate) fn list(&mut self, path: impl AsRef<[u8]>) -> Vec<(Vec<u8>, Vec<u8>, Attributes)> {
        let handle = self.ask(11, &body().string(path)).handle();
        let mut all = Vec::new();
        while let Answer::Names(names) = self.ask(12, &body().string(&handle)) {
            all.extend(names);
        }
        assert_eq!(self.close(&handle).code(), 0);
        all
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Closes the server's input and gives what it still says, on both ways, and how it ends.
    pub(crate) fn finish(mut self) -> (Vec<u8>, String, ExitStatus) {
        drop(self.input.take());
        let (mut rest, mut errors) = (Vec::new(), String::new());
        self.output.read_to_end(&mut rest).unwrap();
        self.child.stderr.take().unwrap().read_to_string(&mut errors).unwrap();
        (rest, errors, self.child.wait().unwrap())
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

struct Parts<'a>(&'a [u8]);

impl Parts<'_> {
    fn u32(&mut self) -> u32 {
        let (number, rest) = self.0.split_first_chunk().unwrap();
        self.0 = rest;
        u32::from_be_bytes(*number)
    }

    fn u64(&mut self) -> u64 {
        u64::from(self.u32()) << 32 | u64::from(self.u32())
    }

    fn string(&mut self) -> Vec<u8> {
        let length = usize::try_from(self.u32()).unwrap();
        let (string, rest) = self.0.split_at(length);
        self.0 = rest;
        string.to_vec()
    }

    fn text(&mut self) -> String {
        String::from_utf8(self.string()).unwrap()
    }

    fn attributes(&mut self) -> Attributes {
        let flags = self.u32();
        assert_eq!(flags & !0xf, 0);
        Attributes {
            size: (flags & 1 != 0).then(|| self.u64()),
            owner: (flags & 2 != 0).then(|| (self.u32(), self.u32())),
            mode: (flags & 4 != 0).then(|| self.u32()),
            times: (flags & 8 != 0).then(|| (self.u32(), self.u32())),
        }
    }
}

/// The number of an answer (for a version: 0) and what it says. All of the packet must be of use.
pub(crate) fn take_apart(packet: &[u8]) -> (u32, Answer) {
    let mut parts = Parts(&packet[1..]);
    let id = if packet[0] == 2 { 0 } else { parts.u32() };
    let answer = match packet[0] {
        2 => {
            let version = parts.u32();
            let mut extensions = Vec::new();
            while !parts.0.is_empty() {
                extensions.push((parts.text(), parts.text()));
            }
            Answer::Version { version, extensions }
        }
        101 => {
            let code = parts.u32();
            let message = parts.text();
            assert_eq!(parts.text(), "");
            Answer::Status { code, message }
        }
        102 => Answer::Handle(parts.string()),
        103 => Answer::Data(parts.string()),
        104 => {
            let count = parts.u32();
            Answer::Names((0..count).map(|_| (parts.string(), parts.string(), parts.attributes())).collect())
        }
        105 => Answer::Attributes(parts.attributes()),
        201 => Answer::Extended(std::mem::take(&mut parts.0).to_vec()),
        other => panic!("packet type {other}"),
    };
    assert!(parts.0.is_empty(), "{} bytes too many", parts.0.len());
    (id, answer)
}

/// A directory that everybody may use, gone with the value.
pub(crate) fn place() -> tempfile::TempDir {
    let place = tempfile::tempdir().unwrap();
    std::fs::set_permissions(place.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
    place
}
