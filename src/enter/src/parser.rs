//! The unprivileged process that understands what others wrote: the store, an engine's answer, a container's users.
//!
//! It runs with the ids of the caller, without capabilities; after the store is read it can only read and write. The
//! worker believes nothing that would matter: which container a process belongs to and whether its namespaces are
//! another's than the bastion's is checked with the kernel.

use std::ffi::OsStr;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::os::unix::net::UnixStream;
use std::path::Path;

use vestibule::decide::Source;
use vestibule::decision::Decision;
use vestibule::messages::Refusal;
use vestibule::names::login::AccountName;
use vestibule::paths;
use vestibule::proof::Proof;
use vestibule::store::{Store, StoreError};
use vestibule::target::{
    Driver, ExecWay, Forward, HostKeys, Leader, LoginUser, Sftp, Target, TargetId, TcpAddress, Transport,
};
use vestibule::visit;
use vestibule::workspace::Workspace;
use vestibule_sys::{caps, fds, process, seccomp};

use crate::elsewhere;
use crate::engine::inspect::{self, Inspected};
use crate::refused::{OrRefuse, Refused};
use crate::users::{self, User, Wanted};
use crate::wake::Plan;
use crate::wire;

/// The worker's end.
pub(crate) struct Parser {
    socket: UnixStream,
    _process: process::Child,
}

/// What the worker needs to know of a target.
pub(crate) struct Facts {
    pub(crate) name: String,
    /// A name or numbers, or the account's name where the target says `{account}`.
    pub(crate) login_user: Vec<u8>,
    /// Whether it is the account's name.
    pub(crate) is_account: bool,
    /// `NAME=VALUE` and NUL, for each setting.
    pub(crate) env: Vec<u8>,
    /// Said on the terminal of a login shell.
    pub(crate) welcome: String,
    /// Whose SFTP server answers.
    pub(crate) sftp: Sftp,
    /// Whether any forward is granted, where forwards end in the target.
    pub(crate) forwards: bool,
    /// Whether the client's X display is let in.
    pub(crate) x11: bool,
    /// The workspace that it belongs to, if it does.
    pub(crate) workspace: Option<Workspace>,
    /// How it is started when it does not run.
    pub(crate) wake: Option<Plan>,
    pub(crate) way: Way,
}

/// Who a login is, and where it goes.
pub(crate) struct Login {
    pub(crate) target: TargetId,
    pub(crate) account: Option<AccountName>,
    pub(crate) proof: Proof,
    /// Which source listed the key.
    pub(crate) source: Source,
    pub(crate) facts: Facts,
}

/// How to get there.
pub(crate) enum Way {
    Namespace(Leader),
    Docker {
        engine: String,
        container: String,
    },
    DockerExec {
        engine: String,
        container: String,
        shell: String,
    },
    TcpContainer {
        engine: String,
        container: String,
        port: u16,
        published: bool,
    },
    TcpFixed,
    /// Bytes, to what a transport leads to.
    Stream(Transport),
    /// An SSH server behind a transport.
    Ssh {
        over: Transport,
        key: String,
        host_keys: HostKeys,
    },
}

impl Parser {
    /// Forks the process; it becomes `uid` and `gid`, and lets go of `not_for_it`. It ends when this is dropped.
    pub(crate) fn start(uid: u32, gid: u32, not_for_it: Option<BorrowedFd<'_>>) -> Result<Self, Refused> {
        let (ours, theirs) = UnixStream::pair().or_setup("socketpair")?;
        let process = process::fork_child(|| {
            fds::close_in_child(ours.as_fd());
            if let Some(fd) = not_for_it {
                fds::close_in_child(fd);
            }
            i32::from(child(&theirs, uid, gid).is_err())
        })
        .or_setup("fork")?;
        Ok(Parser { socket: ours, _process: process })
    }

    /// Reads the target's row, and that `account`, if one is named, may go there. To be asked once, first.
    pub(crate) fn target(&mut self, id: TargetId, account: Option<&AccountName>) -> Result<Facts, Refused> {
        let answer =
            self.ask(&[id.0.to_string().as_bytes(), account.map_or("", |a| a.as_str()).as_bytes()])?;
        decode(&mut answer.into_iter())
    }

    /// Finds out who a login that sshd has let in is: asks `keys-lookup`, and reads the row of the target that it names.
    /// To be asked once, first.
    pub(crate) fn login(&mut self, login: &[u8], auth_info: &[u8], client: &[u8]) -> Result<Login, Refused> {
        let mut fields = self.ask(&[b"login", login, auth_info, client])?.into_iter();
        let mut text = || String::from_utf8(fields.next().unwrap_or_default()).unwrap_or_default();
        let (id, proof, account, source) = (text(), text(), text(), text());
        let facts = decode(&mut fields)?;
        let wrong = |what: &str| Refused::setup(format_args!("the parsing process gave no {what}"));
        let account = Some(account).filter(|a| !a.is_empty());
        Ok(Login {
            target: TargetId(id.parse().map_err(|_| wrong("target"))?),
            proof: proof.parse().map_err(|_| wrong("proof"))?,
            account: account
                .map(|a| AccountName::try_from(a.as_str()))
                .transpose()
                .map_err(|_| wrong("account"))?,
            source: Source::of_word(&source).ok_or_else(|| wrong("source"))?,
            facts,
        })
    }

    /// Understands an engine's answer on `container`. `None` when the engine knows none of exactly that name or id.
    pub(crate) fn inspected(&mut self, container: &str, answer: &[u8]) -> Result<Option<Inspected>, Refused> {
        let fields = self.ask(&[b"inspect", container.as_bytes(), answer])?;
        Inspected::from_fields(fields).map_err(Refused::setup)
    }

    /// Understands an engine's answer that has no more than a status and, if it is an error, a message.
    pub(crate) fn status(&mut self, answer: &[u8]) -> Result<(u16, String), Refused> {
        let fields = self.ask(&[b"status", answer])?;
        let text = |n: usize| String::from_utf8_lossy(fields.get(n).map_or(&[], Vec::as_slice)).into_owned();
        match text(0).parse() {
            Ok(status) => Ok((status, text(1))),
            Err(_) => Err(Refused::setup(text(1))),
        }
    }

    /// Finds a user of this host, by the host's own files.
    pub(crate) fn user_of_host(
        &mut self,
        name: &str,
        passwd: &[u8],
        group: &[u8],
    ) -> Result<Option<User>, Refused> {
        self.find_user(b"user", name.as_bytes(), passwd, group)
    }

    /// Finds the container's user.
    pub(crate) fn user(
        &mut self,
        facts: &Facts,
        passwd: &[u8],
        group: &[u8],
    ) -> Result<Option<User>, Refused> {
        let kind: &[u8] = if facts.is_account { b"account" } else { b"user" };
        self.find_user(kind, &facts.login_user, passwd, group)
    }

    fn find_user(
        &mut self,
        kind: &[u8],
        wanted: &[u8],
        passwd: &[u8],
        group: &[u8],
    ) -> Result<Option<User>, Refused> {
        let fields = self.ask(&[kind, wanted, passwd, group])?;
        let [found, name, uid, gid, home, shell, groups] = &fields[..] else {
            return Err(Refused::setup("the parsing process gave no answer on the user"));
        };
        if found != b"found" {
            return Ok(None);
        }
        let numbers = |field: &[u8]| -> Vec<u32> {
            field.chunks_exact(4).filter_map(|c| c.try_into().ok().map(u32::from_ne_bytes)).collect()
        };
        let ([uid], [gid]) = (&numbers(uid)[..], &numbers(gid)[..]) else {
            return Err(Refused::setup("the parsing process gave no ids"));
        };
        Ok(Some(User {
            name: name.clone(),
            uid: *uid,
            gid: *gid,
            groups: numbers(groups),
            home: home.clone(),
            shell: shell.clone(),
        }))
    }

    /// Ends the process, whoever else has a copy of the socket.
    pub(crate) fn end(self) {
        let _ = self.socket.shutdown(std::net::Shutdown::Both);
    }

    fn ask(&mut self, question: &[&[u8]]) -> Result<Vec<Vec<u8>>, Refused> {
        wire::send(&self.socket, question)
            .and_then(|()| wire::receive(&self.socket))
            .or_setup("the parsing process")
    }
}

/// Reads an answer on a target.
fn decode(fields: &mut std::vec::IntoIter<Vec<u8>>) -> Result<Facts, Refused> {
    let mut text = || String::from_utf8(fields.next().unwrap_or_default()).unwrap_or_default();
    let status = text();
    let cause = text();
    match status.as_str() {
        "ok" => {}
        "denied" => return Err(Refused::new(Refusal::Denied, cause)),
        "account" => return Err(Refused::new(Refusal::AccountNeeded, cause)),
        "store" => return Err(Refused::new(Refusal::Store, cause)),
        "closed" => return Err(Refused::new(closed(&text(), text(), text()), cause)),
        "setup" => return Err(Refused::setup(cause)),
        _ => return Err(Refused::setup("the parsing process gave no answer on the target")),
    }
    let (name, login_user, whose, env) = (text(), text().into_bytes(), text(), text().into_bytes());
    let sftp = match text().as_str() {
        "own" => Sftp::Own,
        "image" => Sftp::Image,
        _ => Sftp::None,
    };
    let welcome = text();
    let (forwards, x11) = (text() == "forwards", text() == "x11");
    let workspace = Some(text()).filter(|name| !name.is_empty());
    let workspace = workspace.map(|name| Workspace::try_from(name.as_str())).transpose();
    let workspace = workspace.map_err(Refused::setup)?;
    let wake = Plan::from_fields([text(), text(), text(), text(), text()]).map_err(Refused::setup)?;
    let way = text();
    let (one, two, three, four, five, six, seven) = (text(), text(), text(), text(), text(), text(), text());
    let way = match way.as_str() {
        "pid-file" => Way::Namespace(Leader::PidFile(one)),
        "machine" => Way::Namespace(Leader::Machine(one)),
        "lxc" => Way::Namespace(Leader::Lxc(one)),
        "cgroup" => Way::Namespace(Leader::Cgroup(one)),
        "docker" => Way::Docker { engine: one, container: two },
        "docker-exec" => Way::DockerExec { engine: one, container: two, shell: three },
        "tcp" => Way::TcpFixed,
        "tcp-container" => Way::TcpContainer {
            engine: one,
            container: two,
            port: three.parse().map_err(|_| Refused::setup("the parsing process gave no port"))?,
            published: four == "published",
        },
        "stream" => {
            Way::Stream(elsewhere::from_fields([one, two, three, four, five]).map_err(Refused::setup)?)
        }
        "ssh" => Way::Ssh {
            over: elsewhere::from_fields([one, two, three, four, five]).map_err(Refused::setup)?,
            key: six,
            host_keys: elsewhere::keys_from_field(&seven).map_err(Refused::setup)?,
        },
        _ => return Err(Refused::setup("the parsing process gave no driver")),
    };
    let is_account = whose == "account";
    Ok(Facts { name, login_user, is_account, env, welcome, sftp, forwards, x11, workspace, wake, way })
}

/// Why a target is closed to everybody.
fn closed(word: &str, target: String, start_at: String) -> Refusal {
    match word {
        "workspace" => Refusal::WorkspaceClosed { target },
        _ if start_at.is_empty() => Refusal::NotRunning { target },
        _ => Refusal::NotStarted { target, start_at },
    }
}

/// What the child does until the worker goes away.
fn child(socket: &UnixStream, uid: u32, gid: u32) -> io::Result<()> {
    // The store is for the group of its directory; `vestibule-keys` has that as a supplementary group only.
    let readers = std::fs::metadata(paths::STATE_DIR)?.gid();
    process::become_user(uid, gid, &[gid, readers])?;
    caps::drop_all()?;
    process::set_dumpable(false)?;
    let question = wire::receive(socket)?;
    let answer = match &question[..] {
        [word, login, auth_info, client] if word == b"login" => visit(login, auth_info, client),
        _ => target(&question),
    };
    seccomp::allow_only_parsing()?;
    let fields: Vec<&[u8]> = answer.iter().map(Vec::as_slice).collect();
    wire::send(socket, &fields)?;
    loop {
        let question = wire::receive(socket)?;
        let question: Vec<&[u8]> = question.iter().map(Vec::as_slice).collect();
        let answer = match question[..] {
            [b"inspect", container, answer] => inspect::to_fields(container, answer),
            [b"status", answer] => inspect::status_to_fields(answer),
            [b"user", wanted, passwd, group] => user(Wanted::Fixed(wanted), passwd, group),
            [b"account", wanted, passwd, group] => user(Wanted::Account(wanted), passwd, group),
            _ => return Ok(()),
        };
        let fields: Vec<&[u8]> = answer.iter().map(Vec::as_slice).collect();
        wire::send(socket, &fields)?;
    }
}

fn user(wanted: Wanted<'_>, passwd: &[u8], group: &[u8]) -> Vec<Vec<u8>> {
    let bytes = |n: u32| n.to_ne_bytes().to_vec();
    match users::find(wanted, passwd, group) {
        None => vec![b"none".to_vec(), vec![], vec![], vec![], vec![], vec![], vec![]],
        Some(user) => {
            let groups = user.groups.iter().flat_map(|g| g.to_ne_bytes()).collect();
            vec![
                b"found".to_vec(),
                user.name,
                bytes(user.uid),
                bytes(user.gid),
                user.home,
                user.shell,
                groups,
            ]
        }
    }
}

/// The answer on a target: a status, the cause for the log, and the facts.
fn target(question: &[Vec<u8>]) -> Vec<Vec<u8>> {
    let text = |n: usize| question.get(n).and_then(|f| std::str::from_utf8(f).ok()).unwrap_or_default();
    let (id, account) =
        (text(0).parse().map_or(TargetId(-1), TargetId), Some(text(1)).filter(|a| !a.is_empty()));
    let refuse = |status: &str, cause: String| vec![status.as_bytes().to_vec(), cause.into_bytes()];
    match facts(id, account) {
        Ok(Some(target)) => match login_user(&target, account) {
            Some(user) => encode(target, user),
            None => {
                refuse("account", "the target's login user is {account}, and there is no account".to_owned())
            }
        },
        Ok(None) => refuse("denied", format!("no target {} or no live grant to it", id.0)),
        Err(e) => refuse("store", e.to_string()),
    }
}

/// The answer on a login: the target's number, the proof and the account, and then as on a target.
fn visit(login: &[u8], auth_info: &[u8], client: &[u8]) -> Vec<Vec<u8>> {
    let client = String::from_utf8_lossy(client);
    let (mut who, mut answer) = (Vec::new(), Vec::new());
    let mut refuse =
        |status: &str, cause: String| answer = vec![status.as_bytes().to_vec(), cause.into_bytes()];
    match visit::accepted(auth_info) {
        None => refuse("denied", "sshd names no public key and no certificate".to_owned()),
        Some(shown) => match visit::ask(OsStr::from_bytes(login), &shown, visit::client_address(&client)) {
            Err(cause) => refuse("setup", cause),
            Ok(Decision {
                granted: true, target_id: Some(id), proof: Some(proof), account, source, ..
            }) => {
                let account = account.unwrap_or_default().into_bytes();
                let id = id.0.to_string().into_bytes();
                answer = target(&[id.clone(), account.clone()]);
                who = vec![id, proof.into_bytes(), account, source.unwrap_or_default().into_bytes()];
            }
            Ok(decision) => {
                let is_closed = decision.closed().is_some();
                let Decision { reason, detail, target, start_at, .. } = decision;
                let reason = reason.unwrap_or_default();
                let status = match reason.as_str() {
                    _ if is_closed => "closed",
                    "store" => "store",
                    _ => "denied",
                };
                refuse(status, format!("{reason}: {}", detail.unwrap_or_default()));
                if is_closed {
                    answer.extend([reason, target.unwrap_or_default(), start_at].map(String::into_bytes));
                }
            }
        },
    }
    who.resize(4, Vec::new());
    who.into_iter().chain(answer).collect()
}

fn facts(id: TargetId, account: Option<&str>) -> Result<Option<Target>, StoreError> {
    let store = Store::open_read(Path::new(paths::STORE))?;
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).map_or(0, |d| d.as_secs());
    let now = i64::try_from(now).unwrap_or(i64::MAX);
    match account {
        Some(account) if !store.grant_alive(account, id, now)? => Ok(None),
        _ => store.target(id),
    }
}

fn login_user(target: &Target, account: Option<&str>) -> Option<String> {
    match &target.login_user {
        LoginUser::Fixed(user) => Some(user.clone()),
        LoginUser::Account => account.map(str::to_owned),
    }
}

fn encode(target: Target, user: String) -> Vec<Vec<u8>> {
    let env: String = target.policy.env.iter().map(|(name, value)| format!("{name}={value}\0")).collect();
    let way: Vec<String> = match target.driver {
        Driver::Namespace { leader: Leader::PidFile(file) } => vec!["pid-file".to_owned(), file],
        Driver::Namespace { leader: Leader::Machine(name) } => vec!["machine".to_owned(), name],
        Driver::Namespace { leader: Leader::Lxc(name) } => vec!["lxc".to_owned(), name],
        Driver::Namespace { leader: Leader::Cgroup(path) } => vec!["cgroup".to_owned(), path],
        Driver::Docker { engine, container, exec: ExecWay::Namespaces, .. } => {
            vec!["docker".to_owned(), engine, container]
        }
        Driver::Docker { engine, container, exec: ExecWay::Engine, shell } => {
            vec!["docker-exec".to_owned(), engine, container, shell.unwrap_or_else(|| "/bin/sh".to_owned())]
        }
        Driver::Tcp { address: TcpAddress::Fixed { .. } } => vec!["tcp".to_owned()],
        Driver::Tcp { address: TcpAddress::Container { engine, container, port, published } } => {
            let whose = if published { "published" } else { "own" };
            vec!["tcp-container".to_owned(), engine, container, port.to_string(), whose.to_owned()]
        }
        Driver::Stream { over } => [vec!["stream".to_owned()], elsewhere::to_fields(&over)].concat(),
        Driver::Ssh { over, key, host_keys } => {
            let known = elsewhere::keys_to_field(&host_keys);
            [vec!["ssh".to_owned()], elsewhere::to_fields(&over), vec![key, known]].concat()
        }
    };
    let whose = if target.login_user == LoginUser::Account { "account" } else { "fixed" };
    let sftp = target.policy.sftp.as_str().to_owned();
    let wake = Plan::to_fields(&target.policy);
    let welcome = target.policy.welcome;
    let name = target.name.as_str().to_owned();
    let forwards = if target.policy.forward == Forward::None { "" } else { "forwards" };
    let x11 = if target.policy.x11 { "x11" } else { "" };
    let workspace = target.policy.workspace.as_ref().map_or("", |workspace| workspace.as_str());
    let head =
        ["ok", "", &name, &user, whose, &env, &sftp, &welcome, forwards, x11, workspace].map(str::to_owned);
    head.into_iter().chain(wake).chain(way).map(String::into_bytes).collect()
}
