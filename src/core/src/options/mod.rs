//! Key options: what stands before the key in a line of authorized_keys.
//!
//! Written after `sshauthopt_parse` of OpenSSH's auth-options.c, with `opt_flag`, `opt_match` and `opt_dequote` of its
//! misc.c: the same options, the same quoting, the same order, the same errors. Values are bytes; nothing in OpenSSH
//! asks for UTF-8. What an option may do here is for [`crate::policy`] to say: this room only reads.
//!
//! Two things are read more strictly than sshd reads them, and both only cost the line that has them: a port must be a
//! number (sshd also takes a name of `/etc/services`), and a time has digits only (`strptime` skips blanks).

mod from;
mod permit;
mod scan;
mod time;

pub use from::{ClientAddress, FromList};
pub use permit::{HostPort, Permit, PortMatch};
pub use scan::span;
pub use time::{AbsoluteTime, Clock};

use scan::Scanner;

/// More `permitopen=` or `permitlisten=` than this are an error (`SSH_AUTHOPT_PERMIT_MAX`).
const MAX_PERMITS: usize = 4096;
/// More `environment=` than this are an error (`SSH_AUTHOPT_ENV_MAX`).
const MAX_ENVIRONMENT: usize = 1024;

/// The options of one line, with sshd's defaults for what the line does not say. Flags hold what is left when the list
/// has been read from left to right.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    /// `restrict` was there. The flags below have its effect already.
    pub restrict: bool,
    /// `cert-authority`: the key signs certificates and opens nothing itself.
    pub cert_authority: bool,
    /// TCP and unix-socket forwarding.
    pub port_forwarding: bool,
    /// Forwarding of the client's agent.
    pub agent_forwarding: bool,
    /// Forwarding of the client's X display.
    pub x11_forwarding: bool,
    /// A terminal.
    pub pty: bool,
    /// Execution of `~/.ssh/rc`.
    pub user_rc: bool,
    /// A security key must see its owner's touch. sshd's default.
    pub touch_required: bool,
    /// A security key must see its owner's PIN or finger.
    pub verify_required: bool,
    /// `command=`, quotes resolved.
    pub command: Option<Vec<u8>>,
    /// `principals=`, quotes resolved.
    pub principals: Option<Vec<u8>>,
    /// `from=`: where the client must be.
    pub from: Option<FromList>,
    /// Every `expiry-time=`; the earliest counts.
    pub expiry_times: Vec<AbsoluteTime>,
    /// Every `environment=`, as `NAME=value`.
    pub environment: Vec<Vec<u8>>,
    /// Every `permitopen=`; none allows all.
    pub permit_open: Vec<Permit>,
    /// Every `permitlisten=`; none allows all.
    pub permit_listen: Vec<Permit>,
    /// `tunnel=` was there.
    pub tunnel: bool,
}

/// Why a list of options is none. sshd passes such a line over. The words are sshd's own where it has some.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum OptionsError {
    /// Something that is no option, or no comma between two.
    #[error("unknown key option")]
    Unknown,
    /// The list ends in a comma.
    #[error("unexpected end of options")]
    End,
    /// A value without its first quote.
    #[error("missing start quote")]
    StartQuote,
    /// A value without its last quote.
    #[error("missing end quote")]
    EndQuote,
    /// An option that may stand once is there twice.
    #[error("multiple '{0}=' clauses")]
    Multiple(&'static str),
    /// `expiry-time=` is no time.
    #[error("invalid expiry-time, want YYYYMMDD[HHMM[SS]][Z]")]
    Expiry,
    /// `environment=` is not `NAME=value`.
    #[error("invalid environment string")]
    Environment,
    /// The host of a `permitopen=` or `permitlisten=` is none.
    #[error("invalid permission hostname")]
    PermitHost,
    /// The port of a `permitopen=` or `permitlisten=` is none.
    #[error("invalid permission port, want a number from 1 to 65535 or '*'")]
    PermitPort,
    /// `tunnel=` is neither `any` nor a number.
    #[error("invalid tun device")]
    Tunnel,
    /// More of one kind than sshd takes.
    #[error("too many '{0}=' clauses")]
    TooMany(&'static str),
}

impl Default for Options {
    /// What a line without options allows: everything.
    fn default() -> Self {
        Options {
            restrict: false,
            cert_authority: false,
            port_forwarding: true,
            agent_forwarding: true,
            x11_forwarding: true,
            pty: true,
            user_rc: true,
            touch_required: true,
            verify_required: false,
            command: None,
            principals: None,
            from: None,
            expiry_times: Vec::new(),
            environment: Vec::new(),
            permit_open: Vec::new(),
            permit_listen: Vec::new(),
            tunnel: false,
        }
    }
}

impl Options {
    /// Reads options up to the first blank that is in no quotes, and returns them with what follows them, that blank
    /// first. An empty list is the default.
    ///
    /// # Errors
    /// See [`OptionsError`].
    pub fn read(text: &[u8]) -> Result<(Self, &[u8]), OptionsError> {
        let mut options = Options::default();
        let mut scanner = Scanner::new(text);
        while !scanner.at_end() {
            options.one(&mut scanner)?;
            if scanner.at_end() {
                break;
            }
            // What matched nothing stands here too, and so does what follows a name that an option begins with.
            if !scanner.skip(b",") {
                return Err(OptionsError::Unknown);
            }
            // A blank may follow a last comma, the end may not: sshd has it so.
            if scanner.rest().is_empty() {
                return Err(OptionsError::End);
            }
        }
        Ok((options, scanner.rest()))
    }

    /// Reads a text that holds options and nothing else, as the store has them.
    ///
    /// # Errors
    /// See [`OptionsError`]; blanks outside quotes are [`OptionsError::Unknown`].
    pub fn parse(text: &[u8]) -> Result<Self, OptionsError> {
        match Self::read(text)? {
            (options, []) => Ok(options),
            _ => Err(OptionsError::Unknown),
        }
    }

    /// Whether sshd looks at more than the key before it takes the line.
    #[must_use]
    pub fn is_conditional(&self) -> bool {
        self.from.is_some() || !self.expiry_times.is_empty()
    }

    /// Reads one option if one stands here. The order is sshd's.
    fn one(&mut self, scanner: &mut Scanner<'_>) -> Result<(), OptionsError> {
        if scanner.flag("restrict") {
            self.restrict = true;
            self.port_forwarding = false;
            self.agent_forwarding = false;
            self.x11_forwarding = false;
            self.pty = false;
            self.user_rc = false;
        } else if scanner.flag("cert-authority") {
            self.cert_authority = true;
        } else if let Some(on) = scanner.switch("port-forwarding") {
            self.port_forwarding = on;
        } else if let Some(on) = scanner.switch("agent-forwarding") {
            self.agent_forwarding = on;
        } else if let Some(on) = scanner.switch("x11-forwarding") {
            self.x11_forwarding = on;
        } else if let Some(on) = scanner.switch("touch-required") {
            self.touch_required = on;
        } else if let Some(on) = scanner.switch("verify-required") {
            self.verify_required = on;
        } else if let Some(on) = scanner.switch("pty") {
            self.pty = on;
        } else if let Some(on) = scanner.switch("user-rc") {
            self.user_rc = on;
        } else if scanner.name("command") {
            once(&mut self.command, "command", || scanner.value())?;
        } else if scanner.name("principals") {
            once(&mut self.principals, "principals", || scanner.value())?;
        } else if scanner.name("from") {
            once(&mut self.from, "from", || scanner.value().map(FromList::new))?;
        } else if scanner.name("expiry-time") {
            let time = AbsoluteTime::parse(&scanner.value()?).ok_or(OptionsError::Expiry)?;
            self.expiry_times.push(time);
        } else if scanner.name("environment") {
            let value = environment(scanner.value()?)?;
            push(&mut self.environment, value, MAX_ENVIRONMENT, "environment")?;
        } else if scanner.name("permitopen") {
            push(&mut self.permit_open, Permit::open(&scanner.value()?)?, MAX_PERMITS, "permitopen")?;
        } else if scanner.name("permitlisten") {
            push(&mut self.permit_listen, Permit::listen(&scanner.value()?)?, MAX_PERMITS, "permitlisten")?;
        } else if scanner.name("tunnel") {
            let value = scanner.value()?;
            if !value.eq_ignore_ascii_case(b"any") && scan::number(&value, 0x7fff_fffd).is_none() {
                return Err(OptionsError::Tunnel);
            }
            self.tunnel = true;
        }
        Ok(())
    }
}

/// Fills in an option that may stand once.
fn once<T>(
    slot: &mut Option<T>,
    name: &'static str,
    read: impl FnOnce() -> Result<T, OptionsError>,
) -> Result<(), OptionsError> {
    if slot.is_some() {
        return Err(OptionsError::Multiple(name));
    }
    *slot = Some(read()?);
    Ok(())
}

fn push<T>(list: &mut Vec<T>, value: T, max: usize, name: &'static str) -> Result<(), OptionsError> {
    if list.len() > max {
        return Err(OptionsError::TooMany(name));
    }
    list.push(value);
    Ok(())
}

/// `NAME=value`, where the name has letters, digits and `_` only (`valid_env_name`).
fn environment(value: Vec<u8>) -> Result<Vec<u8>, OptionsError> {
    let name = value.iter().position(|b| *b == b'=').and_then(|end| value.get(..end)).unwrap_or_default();
    if name.is_empty() || !name.iter().all(|b| b.is_ascii_alphanumeric() || *b == b'_') {
        return Err(OptionsError::Environment);
    }
    Ok(value)
}

#[cfg(test)]
mod tests;
