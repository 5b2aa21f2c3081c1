//! What of a line's options is left: options may only narrow what the target's policy grants.
//!
//! sshd gets a line that begins with `restrict`, which takes everything, and gives back what both the policy and the
//! line's writer allow. A command of the line never stands on it: vestibule runs it in the container.

use std::fmt::Display;
use std::io::Write;

use crate::options::{Options, Permit};

/// What a target's policy allows whoever enters it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Grant {
    /// A terminal.
    pub pty: bool,
    /// The client's agent.
    pub agent: bool,
    /// The client's X display.
    pub x11: bool,
    /// Whether a `command=` can be run; where it can't, a key that has one opens nothing.
    pub command: bool,
    /// Where the client's connections may go.
    pub open: Permits,
    /// Where the client may be listened for.
    pub listen: Permits,
}

/// What a kind of forward may name.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Permits {
    /// Nothing.
    #[default]
    Nowhere,
    /// One of these.
    Only(Vec<Permit>),
    /// Anything.
    Anywhere,
}

impl Permits {
    /// What both this and the `line` of a key allow. A line without permits allows anything.
    fn narrowed(&self, line: &[Permit]) -> Permits {
        let both = match self {
            Permits::Nowhere => return Permits::Nowhere,
            Permits::Only(none) if none.is_empty() => return Permits::Nowhere,
            _ if line.is_empty() => return self.clone(),
            Permits::Anywhere => line.to_vec(),
            Permits::Only(granted) => {
                let mut both: Vec<Permit> = Vec::new();
                for permit in granted.iter().flat_map(|granted| line.iter().filter_map(|p| granted.both(p))) {
                    if !both.contains(&permit) {
                        both.push(permit);
                    }
                }
                both
            }
        };
        if both.is_empty() { Permits::Nowhere } else { Permits::Only(both) }
    }

    /// Adds the options that say so, behind `port-forwarding`.
    fn put(&self, line: &mut Vec<u8>, name: &'static str) -> Result<(), Dropped> {
        match self {
            Permits::Nowhere => put(line, name, NOWHERE.as_bytes()),
            Permits::Only(permits) => permits.iter().try_for_each(|p| put(line, name, &p.to_value())),
            Permits::Anywhere => Ok(()),
        }
    }
}

/// What is left of a line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Narrowed {
    /// The options that sshd gets.
    pub options: Vec<u8>,
    /// The command to run in the container in place of what the client asks for.
    pub command: Option<Vec<u8>>,
    /// Whether the session may have a terminal.
    pub pty: bool,
    /// Whether the session may ask the client's agent.
    pub agent: bool,
    /// Whether the session may use the client's X display.
    pub x11: bool,
}

/// Why a line opens nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Dropped {
    /// An option that would give more than a key may give here.
    #[error("the option '{0}' is not allowed here")]
    Forbidden(&'static str),
    /// A value that no line can carry, or that has control characters.
    #[error("the value of '{0}' has characters that it can't have")]
    Value(&'static str),
    /// `command=` where there is nothing to run it.
    #[error("the option 'command=' can't be kept: this target runs no commands")]
    Command,
}

/// A `permitopen=` or `permitlisten=` that nothing matches. sshd takes the absence of the option for "all", and a line
/// that gives one kind of forward back would give the other back with it. Port 1 is root's, and names in `.invalid` have
/// no address.
const NOWHERE: &str = "none.invalid:1";

/// Narrows `grant` by what a line's writer allows.
///
/// `user-rc` gives nothing, and `no-touch-required` would give something: they are left out.
///
/// # Errors
/// [`Dropped`] when the line must not be used at all.
pub fn narrow(options: &Options, grant: &Grant) -> Result<Narrowed, Dropped> {
    let forbidden = [
        (options.cert_authority, "cert-authority"),
        (!options.environment.is_empty(), "environment="),
        (options.tunnel, "tunnel="),
        (options.principals.is_some(), "principals="),
    ];
    if let Some((_, name)) = forbidden.iter().find(|(present, _)| *present) {
        return Err(Dropped::Forbidden(name));
    }
    if options.command.is_some() && !grant.command {
        return Err(Dropped::Command);
    }
    let mut line = b"restrict".to_vec();
    let pty = grant.pty && options.pty;
    if pty {
        line.extend_from_slice(b",pty");
    }
    let agent = grant.agent && options.agent_forwarding;
    if agent {
        line.extend_from_slice(b",agent-forwarding");
    }
    let x11 = grant.x11 && options.x11_forwarding;
    if x11 {
        line.extend_from_slice(b",x11-forwarding");
    }
    let narrowed = |granted: &Permits, line: &[Permit]| {
        if options.port_forwarding { granted.narrowed(line) } else { Permits::Nowhere }
    };
    let open = narrowed(&grant.open, &options.permit_open);
    let listen = narrowed(&grant.listen, &options.permit_listen);
    if (&open, &listen) != (&Permits::Nowhere, &Permits::Nowhere) {
        line.extend_from_slice(b",port-forwarding");
        open.put(&mut line, "permitopen")?;
        listen.put(&mut line, "permitlisten")?;
    }
    if let Some(from) = &options.from {
        put(&mut line, "from", from.as_bytes())?;
    }
    for time in &options.expiry_times {
        put(&mut line, "expiry-time", time.to_string().as_bytes())?;
    }
    if options.verify_required {
        line.extend_from_slice(b",verify-required");
    }
    Ok(Narrowed { options: line, command: options.command.clone(), pty, agent, x11 })
}

impl Narrowed {
    /// The same with its command on the line, for an sshd that is where the command is to run.
    ///
    /// # Errors
    /// [`Dropped::Value`] when no line can carry it.
    pub fn with_command(mut self) -> Result<Narrowed, Dropped> {
        if let Some(command) = &self.command {
            put(&mut self.options, "command", command)?;
        }
        Ok(self)
    }

    /// The line that sshd gets for a key or a principal, with its line feed. There is no comment on it: those bytes are
    /// somebody's.
    #[must_use]
    pub fn line(&self, of: &dyn Display) -> Vec<u8> {
        let mut line = self.options.clone();
        // Writing to a vector can't fail.
        let _ = writeln!(line, " {of}");
        line
    }
}

/// Adds `,NAME="VALUE"`.
fn put(line: &mut Vec<u8>, name: &'static str, value: &[u8]) -> Result<(), Dropped> {
    // A backslash before the last quote would be an escape: no line can have a value that ends in one.
    if value.iter().any(u8::is_ascii_control) || value.last() == Some(&b'\\') {
        return Err(Dropped::Value(name));
    }
    line.push(b',');
    line.extend_from_slice(name.as_bytes());
    line.extend_from_slice(b"=\"");
    for byte in value {
        if *byte == b'"' {
            line.push(b'\\');
        }
        line.push(*byte);
    }
    line.push(b'"');
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::authorized_keys;
    use crate::options::{AbsoluteTime, FromList, HostPort};
    use crate::public_key::tests::key;

    fn place(host: &str, port: u16) -> Permit {
        HostPort::new(host, port).unwrap().permit()
    }

    fn shell() -> Grant {
        Grant { pty: true, command: true, ..Grant::default() }
    }

    fn tcp() -> Grant {
        let open = Permits::Only(vec![place("10.1.2.3", 22), place("::1", 8080)]);
        Grant { pty: true, open, ..Grant::default() }
    }

    fn moved(open: Permits, listen: Permits) -> Grant {
        Grant { pty: true, command: true, open, listen, ..Grant::default() }
    }

    const OPEN_BOTH: &str = "restrict,pty,port-forwarding,permitopen=\"10.1.2.3:22\",\
        permitopen=\"[::1]:8080\",permitlisten=\"none.invalid:1\"";

    #[test]
    fn options_only_narrow() {
        let no_pty = Grant { pty: false, ..shell() };
        let with_agent = || Grant { agent: true, ..shell() };
        let with_x11 = || Grant { x11: true, ..shell() };
        let forbidden = |name| Err(Dropped::Forbidden(name));
        let table: Vec<(&str, Grant, Result<&str, Dropped>)> = vec![
            ("", shell(), Ok("restrict,pty")),
            ("", no_pty.clone(), Ok("restrict")),
            ("pty", no_pty, Ok("restrict")),
            ("no-pty", shell(), Ok("restrict")),
            ("restrict", shell(), Ok("restrict")),
            ("restrict,pty", shell(), Ok("restrict,pty")),
            ("pty,restrict", shell(), Ok("restrict")),
            ("agent-forwarding,x11-forwarding,user-rc,port-forwarding", shell(), Ok("restrict,pty")),
            ("", with_agent(), Ok("restrict,pty,agent-forwarding")),
            ("no-agent-forwarding", with_agent(), Ok("restrict,pty")),
            ("restrict,pty", with_agent(), Ok("restrict,pty")),
            ("restrict,agent-forwarding", with_agent(), Ok("restrict,agent-forwarding")),
            ("agent-forwarding,restrict", with_agent(), Ok("restrict")),
            ("", with_x11(), Ok("restrict,pty,x11-forwarding")),
            ("no-X11-forwarding", with_x11(), Ok("restrict,pty")),
            ("restrict,pty", with_x11(), Ok("restrict,pty")),
            ("restrict,x11-forwarding", with_x11(), Ok("restrict,x11-forwarding")),
            ("x11-forwarding", shell(), Ok("restrict,pty")),
            ("permitopen=\"*:*\",permitlisten=\"*:*\"", shell(), Ok("restrict,pty")),
            ("no-touch-required", shell(), Ok("restrict,pty")),
            ("verify-required", shell(), Ok("restrict,pty,verify-required")),
            ("from=\"10.0.0.0/8\"", shell(), Ok("restrict,pty,from=\"10.0.0.0/8\"")),
            ("from=\"\"", shell(), Ok("restrict,pty,from=\"\"")),
            (r#"from="a\"b\\c""#, shell(), Ok(r#"restrict,pty,from="a\"b\\c""#)),
            (r#"from="a\\"b""#, shell(), Ok(r#"restrict,pty,from="a\\"b""#)),
            ("from=\"a\tb\"", shell(), Err(Dropped::Value("from"))),
            ("from=\"a\rb\"", shell(), Err(Dropped::Value("from"))),
            ("from=\"a\x7f\"", shell(), Err(Dropped::Value("from"))),
            (
                "expiry-time=\"20300101\",expiry-time=\"20290101Z\"",
                shell(),
                Ok("restrict,pty,expiry-time=\"20300101\",expiry-time=\"20290101Z\""),
            ),
            ("command=\"x\"", shell(), Ok("restrict,pty")),
            ("command=\"x\"", tcp(), Err(Dropped::Command)),
            ("cert-authority", shell(), forbidden("cert-authority")),
            ("environment=\"A=b\"", shell(), forbidden("environment=")),
            ("tunnel=\"any\"", shell(), forbidden("tunnel=")),
            ("principals=\"a\"", shell(), forbidden("principals=")),
            // Forwards: what the policy grants, and of that what the line allows.
            ("", tcp(), Ok(OPEN_BOTH)),
            ("permitopen=\"*:*\"", tcp(), Ok(OPEN_BOTH)),
            ("restrict,pty,port-forwarding", tcp(), Ok(OPEN_BOTH)),
            ("restrict,pty,permitopen=\"*:*\"", tcp(), Ok("restrict,pty")),
            ("no-port-forwarding", tcp(), Ok("restrict,pty")),
            ("permitopen=\"10.1.2.3:23\"", tcp(), Ok("restrict,pty")),
            (
                "permitopen=\"other:1\",permitopen=\"[::1]:8080\"",
                tcp(),
                Ok("restrict,pty,port-forwarding,permitopen=\"[::1]:8080\",permitlisten=\"none.invalid:1\""),
            ),
        ];
        for (text, grant, want) in table {
            let options = Options::parse(text.as_bytes()).unwrap();
            let got = narrow(&options, &grant).map(|n| String::from_utf8(n.options).unwrap());
            assert_eq!(got.as_deref(), want.as_ref().copied(), "{text}");
        }
    }

    #[test]
    fn forwards_that_end_in_the_target_are_narrowed_too() {
        use Permits::{Anywhere, Nowhere, Only};
        let ports = || Only(vec![place("localhost", 80), place("localhost", 81)]);
        let table = [
            ("", Anywhere, Anywhere, "port-forwarding"),
            ("", Nowhere, Nowhere, ""),
            ("", Anywhere, Nowhere, "port-forwarding,permitlisten=\"none.invalid:1\""),
            ("", Nowhere, Anywhere, "port-forwarding,permitopen=\"none.invalid:1\""),
            ("no-port-forwarding", Anywhere, Anywhere, ""),
            ("restrict,pty", Anywhere, Anywhere, ""),
            (
                "permitopen=\"localhost:80\",permitlisten=\"81\"",
                Anywhere,
                Anywhere,
                "port-forwarding,permitopen=\"localhost:80\",permitlisten=\"*:81\"",
            ),
            (
                "permitopen=\"*:81\",permitopen=\"[::1]:*\",permitopen=\"localhost:*\"",
                ports(),
                Nowhere,
                "port-forwarding,permitopen=\"localhost:80\",permitopen=\"localhost:81\",\
                 permitlisten=\"none.invalid:1\"",
            ),
            (
                "permitopen=\"[::1]:*\"",
                Anywhere,
                Nowhere,
                "port-forwarding,permitopen=\"[::1]:*\",permitlisten=\"none.invalid:1\"",
            ),
            ("permitopen=\"localhost:82\"", ports(), Nowhere, ""),
            (
                "permitlisten=\"8080\"",
                Nowhere,
                Only(vec![Permit::any_host(8080)]),
                "port-forwarding,permitopen=\"none.invalid:1\",permitlisten=\"*:8080\"",
            ),
        ];
        for (text, open, listen, want) in table {
            let options = Options::parse(text.as_bytes()).unwrap();
            let got = narrow(&options, &moved(open, listen)).unwrap().options;
            let mut got = String::from_utf8(got).unwrap();
            got = got.replacen("restrict,pty", "", 1);
            assert_eq!(got.trim_start_matches(','), want, "{text}");
        }
    }

    #[test]
    fn a_command_is_kept_for_the_container() {
        let options = Options::parse(b"command=\"say \\\"\xff\\\"\",no-pty").unwrap();
        let narrowed = narrow(&options, &shell()).unwrap();
        assert_eq!(narrowed.command.as_deref(), Some(&b"say \"\xff\""[..]));
        assert!(!narrowed.pty);
    }

    /// What a line that was printed gives, seen with sshd's eyes.
    fn reread(line: &[u8]) -> Options {
        let text = line.strip_suffix(b"\n").unwrap();
        assert!(!text.iter().any(|b| matches!(b, 0 | b'\n' | b'\r')), "one line");
        let entry = authorized_keys::line(1, text).unwrap().unwrap();
        assert_eq!(entry.comment, b"");
        entry.options
    }

    proptest::proptest! {
        #[test]
        fn whatever_a_file_holds_a_printed_line_gives_no_more_than_the_policy(
            text in proptest::collection::vec(
                proptest::sample::select(vec![
                    &b"restrict"[..], b"pty", b"no-", b"port-forwarding", b",", b",", b",", b"command=\"", b"from=\"",
                    b"expiry-time=\"20300101\"", b"permitopen=\"", b"permitlisten=\"", b"10.1.2.3:22\"", b"*:*\"",
                    b"verify-required", b"agent-forwarding", b"x11-forwarding", b"user-rc", b"no-touch-required",
                    b"environment=\"A=b\"", b"cert-authority", b"\"", b"\\", b"\\\"", b" ", b"\t", b"\r", b"x", b"\xff",
                ]),
                0..16,
            ),
            pty: bool,
            agent: bool,
            x11: bool,
            forwards: bool,
        ) {
            let k = key("ssh-ed25519", &[7; 36]);
            let mut text = text.concat();
            text.extend(format!(" {k}").bytes());
            let places = if forwards { vec![place("10.1.2.3", 22)] } else { Vec::new() };
            let open = Permits::Only(places.clone());
            let grant = Grant { pty, agent, x11, command: true, open, ..Grant::default() };
            let Some(Ok(entry)) = authorized_keys::line(1, &text) else { return Ok(()) };
            let Ok(narrowed) = narrow(&entry.options, &grant) else { return Ok(()) };
            let line = narrowed.line(&entry.key);
            let got = reread(&line);
            let was = &entry.options;
            proptest::prop_assert!(got.restrict && got.touch_required);
            proptest::prop_assert!(!got.user_rc);
            proptest::prop_assert_eq!(got.x11_forwarding, x11 && was.x11_forwarding);
            proptest::prop_assert!(!got.cert_authority && !got.tunnel && got.environment.is_empty());
            proptest::prop_assert_eq!(&got.command, &None);
            proptest::prop_assert_eq!(got.pty, pty && was.pty);
            proptest::prop_assert_eq!(got.agent_forwarding, agent && was.agent_forwarding);
            proptest::prop_assert_eq!(got.verify_required, was.verify_required);
            proptest::prop_assert_eq!(got.from.as_ref().map(FromList::as_bytes), was.from.as_ref().map(FromList::as_bytes));
            let times = |o: &Options| o.expiry_times.iter().map(AbsoluteTime::to_string).collect::<Vec<_>>();
            proptest::prop_assert_eq!(times(&got), times(was));
            if got.port_forwarding {
                proptest::prop_assert!(was.port_forwarding && !got.permit_open.is_empty());
                proptest::prop_assert!(!got.permit_listen.iter().any(|p| p.host != b"none.invalid"));
                for permit in &got.permit_open {
                    proptest::prop_assert!(places.contains(permit));
                }
            }
        }
    }
}
