//! A session: packets in, answers out, in the order of the requests.

use std::io::{self, Read, Write};

use crate::attributes::Attributes;
use crate::handles::Handles;
use crate::log::{Level, Log, shown};
use crate::operation::{Operation, Permitted};
use crate::output::{Output, kind};
use crate::request::{Message, Request, RequestFields};
use crate::status::{Fault, Status};
use crate::users::Users;
use crate::wire::{Broken, Input};

/// The version of the protocol that is spoken: SSH_FILEXFER_VERSION.
const VERSION: u32 = 3;

/// Answers are sent when there are this many bytes of them, and whenever there is nothing left to answer. More would let
/// the client wait for what is ready; less would be a system call for every small answer.
const SEND_AT: usize = 64 * 1024;

/// Why a session ended before its client was done.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Ended {
    #[error("the client sent {0}")]
    Broken(#[from] Broken),
    #[error("can't read requests: {0}")]
    Read(io::Error),
    #[error("can't send answers: {0}")]
    Write(io::Error),
}

/// What there is to answer with.
pub(crate) enum Reply {
    Done,
    Handle(u32),
    Attributes(Attributes),
    /// A name alone, as bytes.
    Name(Vec<u8>),
    /// The answer is in the output already.
    Written,
}

/// The state of a session.
pub(crate) struct Server {
    pub(crate) handles: Handles,
    pub(crate) permitted: Permitted,
    pub(crate) log: Log,
    /// Read when first needed.
    pub(crate) users: Option<Users>,
    /// The client's version, once it said so.
    version: Option<u32>,
}

impl Server {
    pub(crate) fn new(permitted: Permitted, log: Log) -> Self {
        Server { handles: Handles::default(), permitted, log, users: None, version: None }
    }

    pub(crate) fn users(&mut self) -> &Users {
        self.users.get_or_insert_with(Users::load)
    }

    /// Answers requests until the client is done. Nothing is held back while waiting for more.
    pub(crate) fn serve(&mut self, requests: &mut impl Read, answers: &mut impl Write) -> Result<(), Ended> {
        let (mut input, mut output) = (Input::new(), Output::new());
        let ended = loop {
            let worked = self.work(&mut input, &mut output, answers);
            // What was asked before the client went wrong is answered.
            output.flush(answers).map_err(Ended::Write)?;
            if worked.is_err() {
                break worked;
            }
            if input.fill(requests).map_err(Ended::Read)? == 0 {
                break Ok(());
            }
        };
        for handle in self.handles.open() {
            self.log.line(Level::Info, format_args!("still open: \"{}\"", shown(handle.path())));
        }
        ended
    }

    /// Answers the requests that have come in whole.
    fn work(
        &mut self,
        input: &mut Input,
        output: &mut Output,
        answers: &mut impl Write,
    ) -> Result<(), Ended> {
        while let Some(packet) = input.next_packet()? {
            match Message::read(packet, self.version.is_some())? {
                Message::Init { version } => self.agree(version, output),
                Message::Request { id, operation, fields } => {
                    self.request(id, operation, fields, output, answers)?;
                }
                // OpenSSH's server is silent here, and its client would wait for ever.
                Message::Unknown { id } => self.fail(id, Status::Unsupported.into(), output),
            }
            if output.len() >= SEND_AT {
                output.flush(answers).map_err(Ended::Write)?;
            }
        }
        Ok(())
    }

    fn agree(&mut self, version: u32, output: &mut Output) {
        self.log.line(Level::Debug, format_args!("client has version {version}"));
        self.version = Some(version);
        let mut packet = output.packet(kind::VERSION);
        packet.u32(VERSION);
        for (name, version) in self.permitted.extensions() {
            packet.string(name.as_bytes());
            packet.string(version.as_bytes());
        }
        packet.send();
    }

    fn request(
        &mut self,
        id: u32,
        operation: Operation,
        fields: RequestFields<'_>,
        output: &mut Output,
        answers: &mut impl Write,
    ) -> Result<(), Ended> {
        if !self.permitted.permits(operation) {
            self.log.line(Level::Error, format_args!("request {id}: {operation:?} is not permitted"));
            self.fail(id, Status::PermissionDenied.into(), output);
            return Ok(());
        }
        let request = Request::read(operation, fields)?;
        let level = if request.is_noted() { Level::Info } else { Level::Debug };
        self.log.line(level, format_args!("request {id}: {request}"));
        if request.may_take_long() {
            output.flush(answers).map_err(Ended::Write)?;
        }
        match self.carry_out(id, request, output) {
            Ok(reply) => self.reply(id, reply, output),
            Err(fault) => self.fail(id, fault, output),
        }
        Ok(())
    }

    /// Each request to its function; those of files are in `files`, of names in `names`, of directories in `listing`, and
    /// the rest in `extensions`.
    fn carry_out(&mut self, id: u32, request: Request<'_>, output: &mut Output) -> Result<Reply, Fault> {
        match request {
            Request::Open { path, flags, attributes } => self.open(path, flags, &attributes),
            Request::Close { handle } => self.close(handle),
            Request::Read { handle, offset, length } => self.read(id, handle, offset, length, output),
            Request::Write { handle, offset, data } => self.write(handle, offset, data),
            Request::Fstat { handle } => self.fstat(handle),
            Request::Fsetstat { handle, attributes } => self.fsetstat(handle, &attributes),
            Request::Fsync { handle } => self.fsync(handle),
            Request::CopyData { from, from_offset, length, to, to_offset } => {
                self.copy_data((from, from_offset), length, (to, to_offset))
            }
            Request::Opendir { path } => self.opendir(path),
            Request::Readdir { handle } => self.readdir(id, handle, output),
            Request::Lstat { path } => crate::names::lstat(path),
            Request::Stat { path } => crate::names::stat(path),
            Request::Setstat { path, attributes } => crate::names::setstat(path, &attributes),
            Request::Lsetstat { path, attributes } => crate::names::lsetstat(path, &attributes),
            Request::Remove { path } => crate::names::remove(path),
            Request::Mkdir { path, attributes } => crate::names::mkdir(path, &attributes),
            Request::Rmdir { path } => crate::names::rmdir(path),
            Request::Realpath { path } => crate::names::realpath(path),
            Request::Rename { old, new } => crate::names::rename(old, new),
            Request::PosixRename { old, new } => crate::names::posix_rename(old, new),
            Request::Hardlink { old, new } => crate::names::hardlink(old, new),
            Request::Readlink { path } => crate::names::readlink(path),
            Request::Symlink { target, link } => crate::names::symlink(target, link),
            Request::Statvfs { path } => crate::extensions::statvfs(id, path, output),
            Request::Fstatvfs { handle } => self.fstatvfs(id, handle, output),
            Request::Limits => crate::extensions::limits(id, output),
            Request::ExpandPath { path } => self.expand_path(path),
            Request::HomeDirectory { user } => self.home_directory(user),
            Request::UsersGroupsById { users, groups } => {
                self.users_groups_by_id(id, &users, &groups, output)
            }
        }
    }

    fn reply(&self, id: u32, reply: Reply, output: &mut Output) {
        match reply {
            Reply::Done => output.status(id, Status::Ok.into(), self.version.unwrap_or(VERSION)),
            Reply::Handle(number) => {
                let mut packet = output.answer(kind::HANDLE, id);
                packet.string(&number.to_be_bytes());
                packet.send();
            }
            Reply::Attributes(attributes) => {
                let mut packet = output.answer(kind::ATTRS, id);
                packet.attributes(&attributes);
                packet.send();
            }
            Reply::Name(name) => {
                let mut packet = output.answer(kind::NAME, id);
                packet.u32(1);
                packet.string(&name); // the name, and the long name
                packet.string(&name);
                packet.attributes(&Attributes::default());
                packet.send();
            }
            Reply::Written => {}
        }
    }

    fn fail(&self, id: u32, fault: Fault, output: &mut Output) {
        if fault.status != Status::Eof {
            self.log.line(Level::Info, format_args!("request {id}: answered \"{}\"", fault.message));
        }
        output.status(id, fault, self.version.unwrap_or(VERSION));
    }
}
