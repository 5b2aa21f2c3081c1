//! The letters of the options grammar: names, quotes and where a list of options ends.

use super::OptionsError;

/// The length of the options that `text` begins with: up to the first space or tab that is in no quotes
/// (`sshkey_advance_past_options` in authfile.c). `None` when a quote stays open.
#[must_use]
pub fn span(text: &[u8]) -> Option<usize> {
    let mut quoted = false;
    let mut bytes = text.iter().enumerate().peekable();
    while let Some((at, byte)) = bytes.next() {
        match byte {
            b'\\' if matches!(bytes.peek(), Some((_, b'"'))) => {
                bytes.next();
            }
            b'"' => quoted = !quoted,
            b' ' | b'\t' if !quoted => return Some(at),
            _ => {}
        }
    }
    (!quoted).then_some(text.len())
}

/// A decimal number from 0 to `max` as `strtonum(3)` reads one: blanks before it and a sign are skipped.
pub(super) fn number(text: &[u8], max: i64) -> Option<i64> {
    let start = text.iter().position(|b| !matches!(b, b' ' | 0x09..=0x0d))?;
    let text = std::str::from_utf8(text.get(start..)?).ok()?;
    text.parse::<i64>().ok().filter(|n| (0..=max).contains(n))
}

/// A place in a list of options.
pub(super) struct Scanner<'a>(&'a [u8]);

impl<'a> Scanner<'a> {
    pub(super) fn new(text: &'a [u8]) -> Self {
        Scanner(text)
    }

    /// What is not read yet.
    pub(super) fn rest(&self) -> &'a [u8] {
        self.0
    }

    /// Whether the list ends here: at the end of the text or at a blank.
    pub(super) fn at_end(&self) -> bool {
        matches!(self.0.first(), None | Some(b' ' | b'\t'))
    }

    /// Skips `text`, upper or lower case, if it stands here.
    pub(super) fn skip(&mut self, text: &[u8]) -> bool {
        match self.0.split_at_checked(text.len()) {
            Some((head, rest)) if head.eq_ignore_ascii_case(text) => {
                self.0 = rest;
                true
            }
            _ => false,
        }
    }

    /// `opt_flag` without negation.
    pub(super) fn flag(&mut self, name: &str) -> bool {
        self.skip(name.as_bytes())
    }

    /// `opt_flag` with `no-` before it or not.
    pub(super) fn switch(&mut self, name: &str) -> Option<bool> {
        let here = self.0;
        let negated = self.skip(b"no-");
        if self.skip(name.as_bytes()) {
            return Some(!negated);
        }
        self.0 = here;
        None
    }

    /// `opt_match`: the name of an option that has a value, and its `=`.
    pub(super) fn name(&mut self, name: &str) -> bool {
        let here = self.0;
        if self.skip(name.as_bytes()) && self.skip(b"=") {
            return true;
        }
        self.0 = here;
        false
    }

    /// `opt_dequote`: a value in double quotes, in which `\"` is a quote and every other `\` is itself.
    pub(super) fn value(&mut self) -> Result<Vec<u8>, OptionsError> {
        let mut rest = self.0.strip_prefix(b"\"").ok_or(OptionsError::StartQuote)?;
        let mut value = Vec::new();
        loop {
            rest = match rest {
                [] => return Err(OptionsError::EndQuote),
                [b'"', after @ ..] => {
                    self.0 = after;
                    return Ok(value);
                }
                [b'\\', b'"', after @ ..] => {
                    value.push(b'"');
                    after
                }
                [byte, after @ ..] => {
                    value.push(*byte);
                    after
                }
            };
        }
    }
}
