use super::*;

fn with(change: impl FnOnce(&mut Options)) -> Result<Options, OptionsError> {
    let mut options = Options::default();
    change(&mut options);
    Ok(options)
}

fn restricted(change: impl FnOnce(&mut Options)) -> Result<Options, OptionsError> {
    with(|o| {
        o.restrict = true;
        (o.port_forwarding, o.agent_forwarding, o.x11_forwarding, o.pty, o.user_rc) =
            (false, false, false, false, false);
        change(o);
    })
}

fn permit(host: &str, port: PortMatch) -> Permit {
    Permit { host: host.into(), port }
}

fn time(text: &str) -> AbsoluteTime {
    AbsoluteTime::parse(text.as_bytes()).unwrap()
}

fn from(text: &str) -> Option<FromList> {
    Some(FromList::new(text.into()))
}

/// What sshd reads, and what is left for the key.
#[test]
fn options_are_read_as_sshd_reads_them() {
    use PortMatch::{Any, Is};
    let table: Vec<(&str, Result<Options, OptionsError>, &str)> = vec![
        ("", with(|_| {}), ""),
        (" ssh-ed25519", with(|_| {}), " ssh-ed25519"),
        ("\tssh-ed25519", with(|_| {}), "\tssh-ed25519"),
        ("no-pty", with(|o| o.pty = false), ""),
        ("NO-PTY", with(|o| o.pty = false), ""),
        ("no-pty k", with(|o| o.pty = false), " k"),
        ("pty", with(|_| {}), ""),
        ("no-port-forwarding", with(|o| o.port_forwarding = false), ""),
        ("No-Agent-Forwarding", with(|o| o.agent_forwarding = false), ""),
        ("no-X11-forwarding", with(|o| o.x11_forwarding = false), ""),
        ("no-user-rc", with(|o| o.user_rc = false), ""),
        ("no-touch-required", with(|o| o.touch_required = false), ""),
        ("no-touch-required,touch-required", with(|_| {}), ""),
        ("verify-required", with(|o| o.verify_required = true), ""),
        ("verify-required,no-verify-required", with(|_| {}), ""),
        ("restrict", restricted(|_| {}), ""),
        ("ReStRiCt k", restricted(|_| {}), " k"),
        // What stands behind restrict counts, what stands before it does not.
        ("restrict,pty", restricted(|o| o.pty = true), ""),
        ("pty,restrict", restricted(|_| {}), ""),
        ("restrict,pty,restrict", restricted(|_| {}), ""),
        ("restrict,pty,no-pty", restricted(|_| {}), ""),
        (
            "restrict,port-forwarding,x11-forwarding",
            restricted(|o| (o.port_forwarding, o.x11_forwarding) = (true, true)),
            "",
        ),
        ("no-touch-required,restrict", restricted(|o| o.touch_required = false), ""),
        ("cert-authority", with(|o| o.cert_authority = true), ""),
        // Commas: more than one between two options, one before all, one before a blank; none at the end.
        ("no-pty,,no-user-rc", with(|o| (o.pty, o.user_rc) = (false, false)), ""),
        (",no-pty", with(|o| o.pty = false), ""),
        ("no-pty, k", with(|o| o.pty = false), " k"),
        ("no-pty,", Err(OptionsError::End), ""),
        (",", Err(OptionsError::End), ""),
        (", k", with(|_| {}), " k"),
        // Not options.
        ("no-restrict", Err(OptionsError::Unknown), ""),
        ("no-cert-authority", Err(OptionsError::Unknown), ""),
        ("no-no-pty", Err(OptionsError::Unknown), ""),
        ("nopty", Err(OptionsError::Unknown), ""),
        ("ptyx", Err(OptionsError::Unknown), ""),
        ("pty=\"yes\"", Err(OptionsError::Unknown), ""),
        ("restrict=\"\"", Err(OptionsError::Unknown), ""),
        ("restrict;pty", Err(OptionsError::Unknown), ""),
        ("restrict\rpty", Err(OptionsError::Unknown), ""),
        ("zos-key-ring-label=\"x\"", Err(OptionsError::Unknown), ""),
        ("\"", Err(OptionsError::Unknown), ""),
        ("no-pty,unheard-of", Err(OptionsError::Unknown), ""),
        ("ssh-ed25519", Err(OptionsError::Unknown), ""),
        // Values and their quotes.
        ("command=\"a b\"", with(|o| o.command = Some(b"a b".into())), ""),
        ("COMMAND=\"a\" k", with(|o| o.command = Some(b"a".into())), " k"),
        ("command=\"\"", with(|o| o.command = Some(Vec::new())), ""),
        (r#"command="say \"hi\"""#, with(|o| o.command = Some(br#"say "hi""#.into())), ""),
        (r#"command="a\\b\n\t""#, with(|o| o.command = Some(br"a\\b\n\t".into())), ""),
        (r#"command="a\\" k"#, Err(OptionsError::EndQuote), ""),
        (r#"command="a\\"" k"#, with(|o| o.command = Some(br#"a\""#.into())), " k"),
        ("command=\"a,b\",no-pty", with(|o| (o.command, o.pty) = (Some(b"a,b".into()), false)), ""),
        ("command=\"a", Err(OptionsError::EndQuote), ""),
        ("command=\"a\\\"", Err(OptionsError::EndQuote), ""),
        ("command=a", Err(OptionsError::StartQuote), ""),
        ("command=", Err(OptionsError::StartQuote), ""),
        ("command='a'", Err(OptionsError::StartQuote), ""),
        ("command", Err(OptionsError::Unknown), ""),
        ("command =\"a\"", Err(OptionsError::Unknown), ""),
        ("command=\"a\"b", Err(OptionsError::Unknown), ""),
        ("command=\"a\"\"b\"", Err(OptionsError::Unknown), ""),
        ("command=\"a\",command=\"a\"", Err(OptionsError::Multiple("command")), ""),
        ("no-command=\"a\"", Err(OptionsError::Unknown), ""),
        ("principals=\"a,b\"", with(|o| o.principals = Some(b"a,b".into())), ""),
        ("principals=\"a\",principals=\"b\"", Err(OptionsError::Multiple("principals")), ""),
        ("from=\"10.0.0.0/8,!*.evil\"", with(|o| o.from = from("10.0.0.0/8,!*.evil")), ""),
        ("from=\"\"", with(|o| o.from = from("")), ""),
        ("from=\"a\",from=\"b\"", Err(OptionsError::Multiple("from")), ""),
        ("from=\"a\",from=b", Err(OptionsError::Multiple("from")), ""),
        ("expiry-time=\"20300101\"", with(|o| o.expiry_times = vec![time("20300101")]), ""),
        (
            "expiry-time=\"20300101Z\",Expiry-Time=\"20290101\"",
            with(|o| o.expiry_times = vec![time("20300101Z"), time("20290101")]),
            "",
        ),
        ("expiry-time=\"2030\"", Err(OptionsError::Expiry), ""),
        ("expiry-time=\"\"", Err(OptionsError::Expiry), ""),
        ("expiry-time=20300101", Err(OptionsError::StartQuote), ""),
        ("environment=\"A_1=b c\"", with(|o| o.environment = vec![b"A_1=b c".into()]), ""),
        ("environment=\"A=\"", with(|o| o.environment = vec![b"A=".into()]), ""),
        ("environment=\"A\"", Err(OptionsError::Environment), ""),
        ("environment=\"=b\"", Err(OptionsError::Environment), ""),
        ("environment=\"A-B=c\"", Err(OptionsError::Environment), ""),
        ("permitopen=\"h:80\"", with(|o| o.permit_open = vec![permit("h", Is(80))]), ""),
        (
            "permitopen=\"h:80\",permitopen=\"*:*\"",
            with(|o| o.permit_open = vec![permit("h", Is(80)), permit("*", Any)]),
            "",
        ),
        ("permitopen=\"[::1]:80\"", with(|o| o.permit_open = vec![permit("::1", Is(80))]), ""),
        ("permitopen=\"h/80\"", with(|o| o.permit_open = vec![permit("h", Is(80))]), ""),
        ("permitopen=\":80\"", with(|o| o.permit_open = vec![permit("", Is(80))]), ""),
        ("permitopen=\"h:+80\"", with(|o| o.permit_open = vec![permit("h", Is(80))]), ""),
        ("permitopen=\"h: 80\"", with(|o| o.permit_open = vec![permit("h", Is(80))]), ""),
        ("permitopen=\"80\"", Err(OptionsError::PermitPort), ""),
        ("permitopen=\"h\"", Err(OptionsError::PermitPort), ""),
        ("permitopen=\"h:\"", Err(OptionsError::PermitPort), ""),
        ("permitopen=\"h:0\"", Err(OptionsError::PermitPort), ""),
        ("permitopen=\"h:65536\"", Err(OptionsError::PermitPort), ""),
        ("permitopen=\"h:-1\"", Err(OptionsError::PermitPort), ""),
        ("permitopen=\"h:80 \"", Err(OptionsError::PermitPort), ""),
        ("permitopen=\"h:8x\"", Err(OptionsError::PermitPort), ""),
        ("permitopen=\"::1:80\"", Err(OptionsError::PermitPort), ""),
        ("permitopen=\"[::1:80\"", Err(OptionsError::PermitHost), ""),
        ("permitopen=\"[::1]80\"", Err(OptionsError::PermitHost), ""),
        ("permitopen=\"\"", Err(OptionsError::PermitPort), ""),
        ("permitlisten=\"80\"", with(|o| o.permit_listen = vec![permit("*", Is(80))]), ""),
        ("permitlisten=\"*\"", with(|o| o.permit_listen = vec![permit("*", Any)]), ""),
        ("permitlisten=\"localhost:80\"", with(|o| o.permit_listen = vec![permit("localhost", Is(80))]), ""),
        ("permitlisten=\"\"", Err(OptionsError::PermitPort), ""),
        ("permitlisten=\"none\"", Err(OptionsError::PermitPort), ""),
        ("tunnel=\"0\"", with(|o| o.tunnel = true), ""),
        ("tunnel=\"ANY\"", with(|o| o.tunnel = true), ""),
        ("tunnel=\"2147483645\"", with(|o| o.tunnel = true), ""),
        ("tunnel=\"2147483646\"", Err(OptionsError::Tunnel), ""),
        ("tunnel=\"0:1\"", Err(OptionsError::Tunnel), ""),
        ("tunnel=\"\"", Err(OptionsError::Tunnel), ""),
        ("tunnel=\"-1\"", Err(OptionsError::Tunnel), ""),
    ];
    for (text, want, rest) in table {
        assert_eq!(Options::read(text.as_bytes()), want.map(|o| (o, rest.as_bytes())), "{text}");
    }
}

#[test]
fn values_need_not_be_text() {
    let (options, _) = Options::read(b"command=\"\xff\x01\n\"").unwrap();
    assert_eq!(options.command.as_deref(), Some(&b"\xff\x01\n"[..]));
}

#[test]
fn a_host_has_1024_bytes_at_most() {
    let with = |n: usize| format!("permitopen=\"{}:1\"", "h".repeat(n));
    assert!(Options::parse(with(1024).as_bytes()).is_ok());
    assert_eq!(Options::parse(with(1025).as_bytes()), Err(OptionsError::PermitHost));
}

#[test]
fn there_is_an_end_to_permits() {
    let many = |n: usize| vec!["permitopen=\"h:1\""; n].join(",");
    assert!(Options::parse(many(MAX_PERMITS + 1).as_bytes()).is_ok());
    assert_eq!(Options::parse(many(MAX_PERMITS + 2).as_bytes()), Err(OptionsError::TooMany("permitopen")));
}

#[test]
fn the_stores_options_hold_no_key() {
    assert_eq!(Options::parse(b"no-pty ssh-ed25519"), Err(OptionsError::Unknown));
    assert_eq!(Options::parse(b""), Ok(Options::default()));
}

#[test]
fn the_span_of_options_ends_at_the_first_blank_in_no_quotes() {
    let table = [
        ("", Some(0)),
        ("a b", Some(1)),
        ("a\tb", Some(1)),
        ("a=\"b c\",d e", Some(9)),
        (r#"a="b\" c" d"#, Some(9)),
        (r#"a\" b"#, Some(3)),
        (r#"a\\" b" c"#, Some(4)),
        (r#"a=" \\" b c"#, None),
        ("a=\"b c", None),
        ("\"", None),
        ("a", Some(1)),
    ];
    for (text, want) in table {
        assert_eq!(span(text.as_bytes()), want, "{text}");
    }
}

#[test]
fn a_permit_allows_what_it_names_byte_by_byte() {
    let place = HostPort::new("db.example", 5432).unwrap();
    for (permit, want) in [
        ("db.example:5432", true),
        ("db.example:*", true),
        ("*:5432", true),
        ("*:*", true),
        ("DB.example:5432", false),
        ("*.example:5432", false),
        ("db.example:5433", false),
        ("[db.example]:5432", true),
    ] {
        assert_eq!(Permit::open(permit.as_bytes()).unwrap().allows(&place), want, "{permit}");
    }
}

#[test]
fn a_place_is_printed_as_sshd_reads_it() {
    for (host, port, want) in [
        ("db.example", 22, Some("db.example:22")),
        ("::1", 22, Some("[::1]:22")),
        ("10.0.0.1", 1, Some("10.0.0.1:1")),
    ] {
        assert_eq!(HostPort::new(host, port).map(|p| p.to_string()).as_deref(), want);
    }
    for (host, port) in
        [("", 22), ("h", 0), ("*", 22), ("a\"b", 22), ("a b", 22), ("a,b", 22), ("\u{e9}", 22)]
    {
        assert_eq!(HostPort::new(host, port), None, "{host}");
    }
}

proptest::proptest! {
    #[test]
    fn options_that_are_read_end_where_their_span_ends(
        text in "((restrict|no-|pty|,|command=|from=|\"|\\\\| |\t|a|permitopen=|h:1|tunnel=|0)){0,12}"
    ) {
        if let Ok((_, rest)) = Options::read(text.as_bytes()) {
            proptest::prop_assert_eq!(span(text.as_bytes()), Some(text.len() - rest.len()));
        }
    }

    #[test]
    fn any_bytes_are_read_without_a_panic(text: Vec<u8>) {
        let _ = Options::read(&text);
        let _ = span(&text);
    }
}
