//! The lines of a file of authorized_keys, read as sshd reads them.
//!
//! Written after `auth_check_authkeys_file` and `auth_check_authkey_line` of OpenSSH's auth2-pubkeyfile.c. A file may
//! come from anybody: what can't be read is a [`Problem`] with the line's number and a reason, never with its bytes.

use crate::options::{Options, OptionsError, span};
use crate::public_key::{PublicKey, PublicKeyError, skip_blanks};

/// A line that holds a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry<'a> {
    /// Counted from 1.
    pub line: usize,
    /// What stands before the key, as it was written; empty when nothing does.
    pub options_text: &'a [u8],
    /// The same, read.
    pub options: Options,
    /// The key.
    pub key: PublicKey,
    /// What stands behind the key, without blanks around it. Any bytes.
    pub comment: &'a [u8],
}

/// A line that sshd passes over although it is neither blank nor a comment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// Counted from 1.
    pub line: usize,
    /// What is wrong.
    pub why: LineError,
    /// The key, when the line has one and its options are at fault.
    pub key: Option<PublicKey>,
}

/// What can be wrong with a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum LineError {
    /// There is no key at its start nor behind what would be its options.
    #[error("{0}")]
    Key(#[from] PublicKeyError),
    /// A quote is never closed.
    #[error("invalid key option string: missing end quote")]
    Quotes,
    /// The key's options are none.
    #[error("bad key options: {0}")]
    Options(#[from] OptionsError),
}

/// The lines of a file that are neither blank nor comments.
pub fn lines(file: &[u8]) -> impl Iterator<Item = Result<Entry<'_>, Problem>> {
    file.split(|b| *b == b'\n').enumerate().filter_map(|(index, text)| line(index + 1, text))
}

/// Reads one line, with or without its line feed; `None` when it is blank or a comment.
#[must_use]
pub fn line(number: usize, text: &[u8]) -> Option<Result<Entry<'_>, Problem>> {
    // For sshd a line ends at a NUL; what stands behind one is as if it were not there.
    let end = text.iter().position(|b| matches!(b, 0 | b'\n')).unwrap_or(text.len());
    let text = skip_blanks(text.get(..end).unwrap_or(text));
    match text.first() {
        None | Some(b'#') => None,
        Some(_) => Some(entry(number, text)),
    }
}

fn entry(line: usize, text: &[u8]) -> Result<Entry<'_>, Problem> {
    let problem = |why, key| Problem { line, why, key };
    // A key first: options are looked for only where no key is.
    if let Ok((key, comment)) = PublicKey::read(text) {
        let options = Options::default();
        return Ok(Entry { line, options_text: b"", options, key, comment: comment.trim_ascii() });
    }
    let end = span(text).ok_or_else(|| problem(LineError::Quotes, None))?;
    let (options_text, rest) = text.split_at_checked(end).unwrap_or((text, b""));
    let (key, comment) = PublicKey::read(skip_blanks(rest)).map_err(|why| {
        // `ssh-ed25519 AAAA...` that is cut has no second key either; the first reading knows more.
        let first = PublicKey::read(text).map_or_else(|first| first, |_| why);
        let looks_like_key = !matches!(first, PublicKeyError::Type | PublicKeyError::Missing);
        problem(
            LineError::Key(if looks_like_key && why == PublicKeyError::Missing { first } else { why }),
            None,
        )
    })?;
    match Options::read(text) {
        Ok((options, rest)) if text.len() - rest.len() == end => {
            Ok(Entry { line, options_text, options, key, comment: comment.trim_ascii() })
        }
        Ok(_) => Err(problem(LineError::Quotes, Some(key))),
        Err(why) => Err(problem(LineError::Options(why), Some(key))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::public_key::tests::key;

    fn k() -> String {
        key("ssh-ed25519", &[7; 36])
    }

    /// For each line of a file: its number and what was found, `ok OPTIONS|COMMENT` or the reason.
    fn read(file: &[u8]) -> Vec<(usize, String)> {
        let show = |found: Result<Entry<'_>, Problem>| match found {
            Ok(e) => (e.line, format!("ok {}|{}", e.options_text.escape_ascii(), e.comment.escape_ascii())),
            Err(p) => (p.line, p.why.to_string()),
        };
        lines(file).map(show).collect()
    }

    #[test]
    fn a_line_is_read_as_sshd_reads_it() {
        let k = k();
        let cut = "the key is not valid base64; it may have been cut or wrapped";
        let table: Vec<(Vec<u8>, Option<&str>)> = vec![
            (k.clone().into(), Some("ok |")),
            (format!("{k} me").into(), Some("ok |me")),
            (format!("{k} me\r").into(), Some("ok |me")),
            (format!("{k}\r").into(), Some("ok |")),
            (format!(" \t {k}  a  b ").into(), Some("ok |a  b")),
            (format!("{}\t\t{}", "ssh-ed25519", &k[12..]).into(), Some("ok |")),
            (format!("no-pty {k}").into(), Some("ok no-pty|")),
            (format!("no-pty\t {k}\tc").into(), Some("ok no-pty|c")),
            (format!("command=\"a b\",no-pty {k} c").into(), Some(r#"ok command=\"a b\",no-pty|c"#)),
            (format!("no-pty, {k}").into(), Some("ok no-pty,|")),
            // What a NUL hides.
            (format!("{k} c\0\n").into(), Some("ok |c")),
            (format!("{k}\0hidden").into(), Some("ok |")),
            (format!("\0{k}").into(), None),
            (format!("no-pty\0 {k}").into(), Some(NO_KEY)),
            // Nothing.
            ("".into(), None),
            (" \t".into(), None),
            ("# no".into(), None),
            (format!("  #{k}").into(), None),
            (format!("#{k}").into(), None),
            // Problems.
            ("\r".into(), Some(NO_KEY)),
            (format!("\r{k}").into(), Some(NO_KEY)),
            (format!("\u{feff}{k}").into(), Some(NO_KEY)),
            (format!("unheard-of {k}").into(), Some("bad key options: unknown key option")),
            (format!("no-pty no-user-rc {k}").into(), Some(cut)),
            (format!("no-pty , {k}").into(), Some(cut)),
            (format!("command=\"a {k}").into(), Some("invalid key option string: missing end quote")),
            (format!("\" {k}").into(), Some("invalid key option string: missing end quote")),
            (format!("command=a {k}").into(), Some("bad key options: missing start quote")),
            (format!("command=\"a\"b {k}").into(), Some("bad key options: unknown key option")),
            (format!("command=\"a\"\\\" {k}").into(), Some("bad key options: unknown key option")),
            (k[..k.len() - 3].into(), Some(cut)),
            ("ssh-ed25519".into(), Some(NO_KEY)),
            ("-----BEGIN OPENSSH PRIVATE KEY-----".into(), Some(cut)),
            (b"\xff\xfe\x01".into(), Some(NO_KEY)),
        ];
        for (text, want) in table {
            let got = line(3, &text).map(|found| match found {
                Ok(e) => format!("ok {}|{}", e.options_text.escape_ascii(), e.comment.escape_ascii()),
                Err(p) => p.why.to_string(),
            });
            assert_eq!(got.as_deref(), want, "{}", text.escape_ascii());
        }
    }

    const NO_KEY: &str = "no public key: want 'TYPE BASE64', for example 'ssh-ed25519 AAAA...'";

    #[test]
    fn a_file_has_numbered_lines_with_or_without_a_last_line_feed() {
        let k = k();
        for end in ["", "\n", "\n\n", "\n# end"] {
            let file = format!("# first\n\n{k} a\n{k}\n  \nno-pty {k} c{end}");
            let want = [(3, "ok |a"), (4, "ok |"), (6, "ok no-pty|c")].map(|(n, t)| (n, t.to_owned()));
            assert_eq!(read(file.as_bytes()), want, "{end:?}");
        }
    }

    #[test]
    fn a_line_of_one_megabyte_is_a_line() {
        let k = k();
        let comment = "c".repeat(1 << 20);
        let blanks = " ".repeat(1 << 20);
        let file = format!("{k} {comment}\n{blanks}{k}\n{comment} {k}\n{k} last\n");
        let found: Vec<_> =
            lines(file.as_bytes()).map(|l| l.map(|e| e.comment.len()).map_err(|p| p.line)).collect();
        assert_eq!(found, [Ok(1 << 20), Ok(0), Err(3), Ok(4)]);
    }

    #[test]
    fn a_key_whose_options_are_at_fault_is_known() {
        let k = k();
        let problem = line(1, format!("frm=\"x\" {k}").as_bytes()).unwrap().unwrap_err();
        assert_eq!(problem.key.unwrap().to_string(), k);
    }

    #[test]
    fn options_are_no_key_even_if_they_look_like_one() {
        // `restrict` as the type of a key: its blob is another key's than any that sshd knows.
        let odd = key("restrict", &[1]);
        let entry = line(1, odd.as_bytes()).unwrap().unwrap();
        assert_eq!((entry.options, entry.key.key_type()), (Options::default(), "restrict"));
    }

    proptest::proptest! {
        #[test]
        fn any_bytes_are_read_without_a_panic(file: Vec<u8>) {
            for found in lines(&file) {
                let _ = found;
            }
        }
    }
}
