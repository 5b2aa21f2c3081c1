//! `sftp-server`: the SFTP server that is executed inside a container, whatever its image holds.
//!
//! It speaks version 3 of the protocol (draft-ietf-secsh-filexfer-02) with OpenSSH's extensions on standard input and
//! output, as OpenSSH's server does: the same answers, messages, limits and command line. It runs as the container's
//! user and can do what that user can; there is nothing to protect here but the session itself.
//!
//! Where it differs from OpenSSH's server: a type of packet that it does not know is answered instead of ignored, what
//! was asked before the end of the input is answered, a name with a NUL in it is a bad message and not the end of the
//! session, times before 1970 are shown as 1970, a rename without overwriting has no race where the kernel knows one, and
//! a copy that comes to the end of the file too early is always told so.

#![forbid(unsafe_code)]

mod args;
mod attributes;
mod extensions;
mod files;
mod handles;
mod listing;
mod log;
mod long_name;
mod names;
mod operation;
mod output;
mod real_path;
mod request;
mod request_line;
mod server;
mod status;
mod streams;
mod users;
mod wire;

use std::ffi::OsString;
use std::io::{self, Write};
use std::os::unix::ffi::OsStringExt;
use std::process::ExitCode;

use nix::sys::resource::{Resource, getrlimit, setrlimit};
use vestibule_sys::process;

use args::{Options, Task};
use log::{Level, say};
use server::{Ended, Server};
use streams::{Answers, Requests};

/// The command line is wrong, or reading or writing failed.
const FAILED: u8 = 1;
/// The client does not speak the protocol. OpenSSH's server has the same.
const BROKEN: u8 = 255;

fn main() -> ExitCode {
    let done = match args::parse(lexopt::Parser::from_env()) {
        Ok(Task::Serve(options)) => return serve(&options),
        Ok(Task::Help) => print(args::USAGE),
        Ok(Task::Version) => print(concat!("sftp-server ", env!("CARGO_PKG_VERSION"), "\n")),
        Ok(Task::Requests) => {
            print(&operation::TABLE.iter().map(|e| format!("{}\n", e.name)).collect::<String>())
        }
        Err(e) => {
            say(format_args!("{e}\n{}", args::USAGE.trim_end()));
            return ExitCode::from(FAILED);
        }
    };
    if done.is_ok() { ExitCode::SUCCESS } else { ExitCode::from(FAILED) }
}

fn serve(options: &Options) -> ExitCode {
    let mut server = Server::new(options.permitted, options.log);
    if let Err(what) = prepare(options, &mut server) {
        say(format_args!("{what}"));
        return ExitCode::from(FAILED);
    }
    match server.serve(&mut Requests, &mut Answers) {
        Ok(()) => ExitCode::SUCCESS,
        // The client is gone: nobody is left to be told.
        Err(Ended::Write(e)) if e.kind() == io::ErrorKind::BrokenPipe => ExitCode::SUCCESS,
        Err(ended @ Ended::Broken(_)) => {
            say(format_args!("{ended}"));
            ExitCode::from(BROKEN)
        }
        Err(ended) => {
            say(format_args!("{ended}"));
            ExitCode::from(FAILED)
        }
    }
}

fn prepare(options: &Options, server: &mut Server) -> Result<(), String> {
    // Otherwise a client that may only transfer files could write into this process through /proc/self/mem.
    process::set_dumpable(false).map_err(|e| format!("PR_SET_DUMPABLE: {e}"))?;
    // Executed from memory it would be called by the number of a descriptor.
    let _ = nix::sys::prctl::set_name(c"sftp-server");
    // Every handle is a descriptor, and nothing here or after this minds large numbers.
    if let Ok((_, most)) = getrlimit(Resource::RLIMIT_NOFILE) {
        let _ = setrlimit(Resource::RLIMIT_NOFILE, most, most); // with the old limit there are fewer handles
    }
    if let Some(umask) = options.umask {
        nix::sys::stat::umask(umask);
    }
    let Some(start) = &options.start else { return Ok(()) };
    let users = server.users();
    let start = args::expand(start, |letter| match letter {
        b'd' => users.own_home().map(|home| home.into_os_string().into_vec()),
        b'u' => users.own_name().map(<[u8]>::to_vec),
        b'U' => Some(nix::unistd::getuid().to_string().into_bytes()),
        _ => None,
    })
    .map(OsString::from_vec)
    .map_err(|e| format!("-d: {e}"))?;
    if let Err(e) = std::env::set_current_dir(&start) {
        // As OpenSSH's: the session begins where it would have without.
        server.log.line(Level::Error, format_args!("can't change to '{}': {e}", start.display()));
    }
    Ok(())
}

fn print(text: &str) -> io::Result<()> {
    let mut stdout = io::stdout().lock();
    stdout.write_all(text.as_bytes())?;
    stdout.flush()
}
