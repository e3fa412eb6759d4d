//! Writing messages, in both dialects.

use std::io::Write;

use crate::limits::HEADER;
use crate::{Dialect, scan};

/// Appends one message to `out`.
pub(crate) struct Composer<'o> {
    dialect: Dialect,
    out: &'o mut Vec<u8>,
    start: usize,
}

impl<'o> Composer<'o> {
    pub(crate) fn new(dialect: Dialect, command: &str, out: &'o mut Vec<u8>) -> Self {
        let start = out.len();
        if dialect == Dialect::V2 {
            out.extend_from_slice(&[b' '; HEADER]);
        }
        out.extend_from_slice(b"cmd=");
        out.extend_from_slice(command.as_bytes());
        let mut composer = Self { dialect, out, start };
        composer.end_attribute();
        composer
    }

    fn end_attribute(&mut self) {
        if self.dialect == Dialect::V2 {
            self.out.push(b';');
        }
    }

    fn name(&mut self, name: &str) {
        if self.dialect == Dialect::V1 {
            self.out.push(b' ');
        }
        self.out.extend_from_slice(name.as_bytes());
        self.out.push(b'=');
    }

    /// A value as it is, but for the `;` that PMI-2 doubles.
    pub(crate) fn text(&mut self, name: &str, text: &[u8]) -> &mut Self {
        self.name(name);
        match self.dialect {
            Dialect::V1 => self.out.extend_from_slice(text),
            Dialect::V2 => self.escaped(text),
        }
        self.end_attribute();
        self
    }

    fn escaped(&mut self, mut text: &[u8]) {
        while let Some(at) = scan::find(text, b';') {
            self.out.extend_from_slice(&text[..=at]);
            self.out.push(b';');
            text = &text[at + 1..];
        }
        self.out.extend_from_slice(text);
    }

    pub(crate) fn number(&mut self, name: &str, number: impl Into<i64>) -> &mut Self {
        self.name(name);
        let number: i64 = number.into();
        // Writing to a vector cannot fail.
        let _ = write!(self.out, "{number}");
        self.end_attribute();
        self
    }

    pub(crate) fn truth(&mut self, name: &str, truth: bool) -> &mut Self {
        self.text(name, if truth { b"TRUE" } else { b"FALSE" })
    }

    /// Ends the message and says how long it is, header or newline included.
    pub(crate) fn finish(&mut self) -> usize {
        match self.dialect {
            Dialect::V1 => self.out.push(b'\n'),
            Dialect::V2 => self.fill_header(),
        }
        self.out.len() - self.start
    }

    /// Digits last, as Hydra writes them. Who may write more than six digits can tell looks at what
    /// [`Self::finish`] says.
    fn fill_header(&mut self) {
        let mut rest = self.out.len() - self.start - HEADER;
        for place in self.out[self.start..self.start + HEADER].iter_mut().rev() {
            if rest == 0 {
                break;
            }
            *place = b'0' + (rest % 10) as u8;
            rest /= 10;
        }
    }
}
