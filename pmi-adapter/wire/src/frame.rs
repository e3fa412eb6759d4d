//! Where one message ends and the next begins.

use std::ops::Range;

use crate::buffer::Buffer;
use crate::limits::{HEADER, LINE_MAX, MESSAGE_MAX, SPAWN_COMMANDS_MAX, SPAWN_MAX};
use crate::scan;
use crate::violation::excerpt;
use crate::{Dialect, Violation};

/// A whole message, as a range of what [`Frames`] holds; good until the next one is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Frame {
    pub(crate) dialect: Dialect,
    /// Without the newline, or without the length.
    pub(crate) body: Range<usize>,
}

/// Cuts what comes in into messages. The first byte of each tells its dialect: PMI-1 lines begin with a letter, PMI-2
/// messages with the digits or blanks of their length.
#[derive(Debug, Default)]
pub(crate) struct Frames {
    buffer: Buffer,
    /// Bytes of the message that was given last. They stay until the next one is asked for.
    held: usize,
    /// How much of the first unused message has been looked at already.
    looked: usize,
    spawn: SpawnSoFar,
}

/// What is known of a PMI-1 spawn request that has come in partly.
#[derive(Clone, Copy, Debug, Default)]
struct SpawnSoFar {
    total: Option<usize>,
    ended: usize,
}

impl Frames {
    pub(crate) fn room(&mut self) -> &mut [u8] {
        self.buffer.room()
    }

    pub(crate) fn advance(&mut self, n: usize) {
        self.buffer.advance(n);
    }

    pub(crate) fn get(&self, range: Range<usize>) -> &[u8] {
        &self.buffer.unused()[range]
    }

    /// Is there more than the message that was given last?
    pub(crate) fn is_amid(&self) -> bool {
        self.buffer.unused().len() > self.held
    }

    /// Bytes of memory that are in use for what comes in.
    pub(crate) fn capacity(&self) -> usize {
        self.buffer.capacity()
    }

    /// Forgets what has come in.
    pub(crate) fn clear(&mut self) {
        self.buffer.clear();
        self.held = 0;
    }

    /// The next whole message.
    pub(crate) fn next(&mut self) -> Result<Option<Frame>, Violation> {
        self.buffer.consume(std::mem::take(&mut self.held));
        match self.buffer.unused() {
            [] => Ok(None),
            [b'0'..=b'9' | b' ', ..] => self.cut_message(),
            [b'm', ..] => self.cut_spawn(),
            [b'c', ..] => self.cut_line(),
            other => Err(Violation::NoCommand(excerpt(other))),
        }
    }

    fn cut_line(&mut self) -> Result<Option<Frame>, Violation> {
        let unused = self.buffer.unused();
        let Some(found) = scan::find(&unused[self.looked..], b'\n') else {
            self.looked = unused.len();
            return if unused.len() < LINE_MAX { Ok(None) } else { Err(Violation::LineTooLong) };
        };
        let length = self.looked + found;
        if length >= LINE_MAX {
            return Err(Violation::LineTooLong);
        }
        Ok(Some(self.hold(Dialect::V1, 0..length, length + 1)))
    }

    /// The blocks of a spawn request are one message: they come one after the other, and get one answer.
    fn cut_spawn(&mut self) -> Result<Option<Frame>, Violation> {
        loop {
            let unused = self.buffer.unused();
            let Some(found) = scan::find(&unused[self.looked..], b'\n') else {
                return if unused.len() < SPAWN_MAX {
                    Ok(None)
                } else {
                    Err(Violation::SpawnTooLong)
                };
            };
            let line = &unused[self.looked..self.looked + found];
            let end = self.looked + found + 1;
            if end > SPAWN_MAX {
                return Err(Violation::SpawnTooLong);
            }
            if self.spawn.line(line)? {
                return Ok(Some(self.hold(Dialect::V1, 0..end, end)));
            }
            self.looked = end;
        }
    }

    fn cut_message(&mut self) -> Result<Option<Frame>, Violation> {
        let unused = self.buffer.unused();
        let Some(header) = unused.first_chunk::<HEADER>() else {
            return Ok(None);
        };
        let length = announced(header)?;
        let end = HEADER + length;
        if unused.len() < end {
            return Ok(None);
        }
        Ok(Some(self.hold(Dialect::V2, HEADER..end, end)))
    }

    fn hold(&mut self, dialect: Dialect, body: Range<usize>, length: usize) -> Frame {
        (self.held, self.looked, self.spawn) = (length, 0, SpawnSoFar::default());
        Frame { dialect, body }
    }
}

/// The length in a header. MPICH 4.0.2 and Slurm's library write the digits first, Hydra writes them last.
fn announced(header: &[u8; HEADER]) -> Result<usize, Violation> {
    let digits = header.trim_ascii();
    let length = scan::number(digits).and_then(|length| usize::try_from(length).ok());
    match length {
        None | Some(0) => Err(Violation::BadLength(*header)),
        Some(length) if length > MESSAGE_MAX => Err(Violation::MessageTooLong(length)),
        Some(length) => Ok(length),
    }
}

impl SpawnSoFar {
    /// Whether this line is the last one of the request.
    fn line(&mut self, line: &[u8]) -> Result<bool, Violation> {
        if let Some(total) = line.strip_prefix(b"totspawns=") {
            let total = scan::number(total).and_then(|total| usize::try_from(total).ok());
            let possible = total.filter(|total| (1..=SPAWN_COMMANDS_MAX).contains(total));
            self.total = Some(
                possible.ok_or(Violation::BadSpawn("is for an impossible number of commands"))?,
            );
        }
        if line != b"endcmd" {
            return Ok(false);
        }
        self.ended += 1;
        Ok(self.ended >= self.total.unwrap_or(1))
    }
}
