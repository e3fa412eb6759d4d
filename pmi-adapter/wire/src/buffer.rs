//! The bytes that have come in and are not used yet.

use std::ops::Range;

use crate::limits::{BUFFER_MAX, HEADER, MESSAGE_MAX};

/// Bytes that [`Buffer::room`] offers at least: more than one ordinary request, so that one read gets it.
const ROOM_MIN: usize = 2048;

/// What the buffer begins with.
const START: usize = 4096;

const _: () = assert!(ROOM_MIN <= START && BUFFER_MAX.is_multiple_of(START));
const _: () = assert!((BUFFER_MAX / START).is_power_of_two());
const _: () = assert!(HEADER + MESSAGE_MAX + ROOM_MIN <= BUFFER_MAX);

#[derive(Debug, Default)]
pub(crate) struct Buffer {
    bytes: Vec<u8>,
    /// The unused bytes; what lies behind them is room.
    filled: Range<usize>,
}

impl Buffer {
    pub(crate) fn room(&mut self) -> &mut [u8] {
        if self.bytes.len() - self.filled.end < ROOM_MIN {
            self.compact();
        }
        if self.bytes.len() - self.filled.end < ROOM_MIN {
            self.bytes.resize((self.bytes.len() * 2).max(START), 0);
        }
        &mut self.bytes[self.filled.end..]
    }

    fn compact(&mut self) {
        self.bytes.copy_within(self.filled.clone(), 0);
        self.filled = 0..self.filled.len();
    }

    /// # Panics
    /// If there was less room than `n`.
    pub(crate) fn advance(&mut self, n: usize) {
        assert!(
            n <= self.bytes.len() - self.filled.end,
            "{n} bytes are more than there was room for"
        );
        self.filled.end += n;
    }

    pub(crate) fn unused(&self) -> &[u8] {
        &self.bytes[self.filled.clone()]
    }

    /// Uses up the first `n` of [`Self::unused`].
    pub(crate) fn consume(&mut self, n: usize) {
        self.filled.start += n;
        if self.filled.is_empty() {
            self.filled = 0..0;
        }
    }

    pub(crate) fn clear(&mut self) {
        self.filled = 0..0;
    }

    pub(crate) fn capacity(&self) -> usize {
        self.bytes.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fill(buffer: &mut Buffer, bytes: &[u8]) {
        for piece in bytes.chunks(ROOM_MIN) {
            buffer.room()[..piece.len()].copy_from_slice(piece);
            buffer.advance(piece.len());
        }
    }

    #[test]
    fn keeps_unused_bytes_when_it_makes_room() {
        let mut buffer = Buffer::default();
        fill(&mut buffer, &[1; 3000]);
        buffer.consume(2900);
        fill(&mut buffer, &[2; 5000]);
        assert_eq!(buffer.unused(), [&[1; 100][..], &[2; 5000]].concat());
    }

    #[test]
    fn does_not_grow_while_it_is_emptied() {
        let mut buffer = Buffer::default();
        for _ in 0..1000 {
            fill(&mut buffer, &[3; 1500]);
            buffer.consume(1500);
        }
        assert_eq!(buffer.capacity(), START);
    }

    #[test]
    #[should_panic(expected = "more than there was room for")]
    fn refuses_to_be_filled_beyond_its_room() {
        Buffer::default().advance(1);
    }
}
