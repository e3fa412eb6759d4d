//! The `name=value` attributes of a message, in both dialects.

use std::borrow::Cow;

use crate::violation::excerpt;
use crate::{Dialect, Text, Violation, scan};

/// Attributes whose value runs to the end of a PMI-1 line, whatever is in it.
const TO_THE_END: [&[u8]; 3] = [b"value", b"val", b"message"];

/// The attributes of one message, in their order; an iterator over them.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Attributes<'a> {
    dialect: Dialect,
    rest: &'a [u8],
}

/// One attribute.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Attribute<'a> {
    pub(crate) name: &'a [u8],
    /// As it stands in the message, escapes and all.
    raw: &'a [u8],
    escaped: bool,
}

impl<'a> Attribute<'a> {
    pub(crate) fn text(&self) -> Text<'a> {
        if self.escaped { Cow::Owned(without_escapes(self.raw)) } else { Cow::Borrowed(self.raw) }
    }
}

/// Puts one `;` where two are. In each pair the second is dropped.
fn without_escapes(raw: &[u8]) -> Vec<u8> {
    let mut text = Vec::with_capacity(raw.len());
    let mut bytes = raw.iter().peekable();
    while let Some(byte) = bytes.next() {
        text.push(*byte);
        if *byte == b';' {
            bytes.next_if_eq(&&b';');
        }
    }
    text
}

/// The command of a message and its attributes. Those of a PMI-1 spawn request are [`Attributes::lines`] instead.
pub(crate) fn open(dialect: Dialect, body: &[u8]) -> Result<(&[u8], Attributes<'_>), Violation> {
    if let Some(rest) = body.strip_prefix(b"mcmd=").filter(|_| dialect == Dialect::V1) {
        let command = &rest[..scan::find(rest, b'\n').unwrap_or(rest.len())];
        return Ok((command, Attributes { dialect, rest: &[] }));
    }
    let mut attributes = Attributes { dialect, rest: body };
    match attributes.next() {
        Some(first) if first.name == b"cmd" && !first.raw.is_empty() => Ok((first.raw, attributes)),
        _ => Err(Violation::NoCommand(excerpt(body))),
    }
}

impl<'a> Attributes<'a> {
    /// The lines of a PMI-1 spawn request.
    pub(crate) fn lines(body: &'a [u8]) -> impl Iterator<Item = Attribute<'a>> {
        body.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()).map(|line| {
            let equals = scan::find(line, b'=').unwrap_or(line.len());
            let raw = line.get(equals + 1..).unwrap_or_default();
            Attribute { name: &line[..equals], raw, escaped: false }
        })
    }

    pub(crate) fn dialect(&self) -> Dialect {
        self.dialect
    }

    /// The first attribute of that name.
    pub(crate) fn find(mut self, name: &str) -> Option<Attribute<'a>> {
        self.by_ref().find(|attribute| attribute.name == name.as_bytes())
    }

    /// Its value, if it is there.
    pub(crate) fn text(self, name: &str) -> Option<Text<'a>> {
        self.find(name).map(|attribute| attribute.text())
    }

    /// Its value as a number, if it is there and is one.
    pub(crate) fn number(self, name: &str) -> Option<i64> {
        self.find(name).and_then(|attribute| scan::number(attribute.raw))
    }

    /// Its value as a truth value, if it is there and is one.
    pub(crate) fn truth(self, name: &str) -> Option<bool> {
        self.find(name).and_then(|attribute| scan::truth(attribute.raw))
    }

    /// Words between blanks. A word without `=` goes on with the value before it, so that `service=my service` is
    /// read as MPICH means it.
    fn next_word(&mut self) -> Option<Attribute<'a>> {
        let blanks = self.rest.iter().take_while(|byte| **byte == b' ').count();
        let rest = &self.rest[blanks..];
        if rest.is_empty() {
            return None;
        }
        let stop = rest.iter().position(|byte| matches!(byte, b'=' | b' ')).unwrap_or(rest.len());
        let (name, rest) = rest.split_at(stop);
        let Some(value) = rest.strip_prefix(b"=") else {
            self.rest = rest;
            return Some(Attribute { name, raw: &[], escaped: false });
        };
        let raw = if TO_THE_END.contains(&name) { value } else { words_of_value(value) };
        self.rest = &value[raw.len()..];
        Some(Attribute { name, raw, escaped: false })
    }

    /// Attributes that each end with `;`, which is doubled inside values. What cannot be one is the tail of the
    /// message: MPICH 4.0.2 sends six bytes of whatever was in its memory.
    fn next_attribute(&mut self) -> Option<Attribute<'a>> {
        let equals = scan::find(self.rest, b'=')?;
        let (name, value) = (&self.rest[..equals], &self.rest[equals + 1..]);
        if name.iter().any(|byte| matches!(byte, b';' | 0)) {
            return None;
        }
        let (mut length, mut escaped) = (scan::find(value, b';')?, false);
        while value.get(length + 1) == Some(&b';') {
            escaped = true;
            length += 2;
            length += scan::find(value.get(length..)?, b';')?;
        }
        self.rest = &value[length + 1..];
        Some(Attribute { name, raw: &value[..length], escaped })
    }
}

/// A PMI-1 value: up to the blanks before the next word that has a `=`.
fn words_of_value(line: &[u8]) -> &[u8] {
    let mut end = scan::find(line, b' ').unwrap_or(line.len());
    let mut value = &line[..end];
    while end < line.len() {
        let word = &line[end + 1..];
        let word = &word[..scan::find(word, b' ').unwrap_or(word.len())];
        if scan::find(word, b'=').is_some() {
            break;
        }
        end += 1 + word.len();
        value = if word.is_empty() { value } else { &line[..end] };
    }
    value
}

impl<'a> Iterator for Attributes<'a> {
    type Item = Attribute<'a>;

    fn next(&mut self) -> Option<Attribute<'a>> {
        match self.dialect {
            Dialect::V1 => self.next_word(),
            Dialect::V2 => self.next_attribute(),
        }
    }
}

#[cfg(test)]
mod tests;
