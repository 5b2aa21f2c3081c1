//! `keys-lookup`, sshd's AuthorizedKeysCommand: the authorized_keys line of one key for one login name.
//!
//! sshd asks it for every key that a client offers, and reads what it prints. `route-session` asks it once more, with
//! `--decide`, when sshd has let somebody in. What is decided stands in `vestibule::decide`; here it is asked for,
//! logged and printed.

#![cfg_attr(not(test), no_main)]
#![forbid(unsafe_code)]

mod args;
mod audit;
mod lookup;
mod moved;
mod output;
mod stay;

use vestibule_sys::entry::ExitCode;

use args::Args;

vestibule_sys::program!(program);

fn program() -> ExitCode {
    match Args::parse(std::env::args_os().skip(1)) {
        Ok(Args::Help) => output::print(args::HELP.as_bytes()),
        Ok(Args::Version) => {
            output::print(concat!("keys-lookup ", env!("CARGO_PKG_VERSION"), "\n").as_bytes())
        }
        Ok(Args::Lookup(request)) => lookup::run(&request),
        Err(why) => output::usage(&why),
    }
}
