//! Standard output: text with untrusted parts made harmless, tables, and JSON.

use std::fmt::{self, Write as _};
use std::io::{self, StdoutLock, Write};
use std::ops::ControlFlow;

use serde::Serialize;
use vestibule::messages::drives_terminal;

/// Standard output, locked and buffered. Errors are kept until [`finish`](Output::finish), so that a list can be told
/// to stop.
pub(crate) struct Output {
    out: io::BufWriter<StdoutLock<'static>>,
    fault: Option<io::Error>,
    items: usize,
}

impl Output {
    pub(crate) fn new() -> Output {
        Output { out: io::BufWriter::new(io::stdout().lock()), fault: None, items: 0 }
    }

    /// One line of text. The caller has put what comes from outside into [`Shown`].
    pub(crate) fn line(&mut self, line: fmt::Arguments<'_>) -> ControlFlow<()> {
        self.keep(|out| writeln!(out, "{line}"))
    }

    /// One element of a JSON array that [`end_array`](Self::end_array) closes.
    pub(crate) fn element(&mut self, value: &impl Serialize) -> ControlFlow<()> {
        let first = self.items == 0;
        self.items += 1;
        self.keep(|out| {
            out.write_all(if first { b"[\n" } else { b",\n" })?;
            serde_json::to_writer(out, value).map_err(io::Error::from)
        })
    }

    pub(crate) fn end_array(&mut self) {
        let empty = self.items == 0;
        let _ = self.keep(|out| out.write_all(if empty { b"[]\n" } else { b"\n]\n" }));
    }

    /// A JSON value of its own.
    pub(crate) fn json(&mut self, value: &impl Serialize) {
        let _ = self.keep(|out| {
            serde_json::to_writer_pretty(&mut *out, value)?;
            out.write_all(b"\n")
        });
    }

    fn keep(
        &mut self,
        write: impl FnOnce(&mut io::BufWriter<StdoutLock<'static>>) -> io::Result<()>,
    ) -> ControlFlow<()> {
        if self.fault.is_none() {
            self.fault = write(&mut self.out).err();
        }
        if self.fault.is_some() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    }

    /// # Errors
    /// What could not be written; [`is_closed`] tells a closed pipe.
    pub(crate) fn finish(mut self) -> anyhow::Result<()> {
        match self.fault.take().map_or_else(|| self.out.flush(), Err) {
            Ok(()) => Ok(()),
            Err(error) => Err(anyhow::Error::new(error).context("can't write to standard output")),
        }
    }
}

/// Says one line.
pub(crate) fn say(line: fmt::Arguments<'_>) -> anyhow::Result<()> {
    let mut out = Output::new();
    let _ = out.line(line);
    out.finish()
}

/// Says something beside the point, on standard error.
pub(crate) fn remark(line: fmt::Arguments<'_>) {
    // Nothing depends on it.
    let _ = writeln!(io::stderr(), "vestibulectl: {line}");
}

/// Whether an error means that nobody reads our output any more, which is no fault.
pub(crate) fn is_closed(error: &anyhow::Error) -> bool {
    error.chain().any(|cause| {
        cause.downcast_ref::<io::Error>().is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
    })
}

/// Bytes from outside as one harmless line: what is no printable character is escaped. Nothing is `-`.
pub(crate) struct Shown<'a>(pub(crate) &'a [u8]);

impl fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() {
            return f.pad("-");
        }
        let mut text = String::with_capacity(self.0.len());
        for chunk in self.0.utf8_chunks() {
            for character in chunk.valid().chars() {
                if drives_terminal(character) {
                    write!(text, "{}", character.escape_unicode())?;
                } else {
                    text.push(character);
                }
            }
            for byte in chunk.invalid() {
                write!(text, "\\x{byte:02x}")?;
            }
        }
        f.pad(&text)
    }
}

/// Bytes from outside as JSON has them: text, with U+FFFD for what is none.
pub(crate) fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_could_move_the_cursor_is_escaped() {
        let shown = |bytes: &[u8]| Shown(bytes).to_string();
        assert_eq!(shown(b"alice@laptop"), "alice@laptop");
        assert_eq!(shown("Zoë".as_bytes()), "Zoë");
        assert_eq!(shown(b"\x1b[2J\r\n\t"), "\\u{1b}[2J\\u{d}\\u{a}\\u{9}");
        assert_eq!(shown(b"a\xff\x9bz"), "a\\xff\\x9bz");
        assert_eq!(shown("\u{202e}live".as_bytes()), "\\u{202e}live");
        assert_eq!(shown(b""), "-");
        assert_eq!(format!("{:4}|", Shown(b"a")), "a   |");
    }
}
