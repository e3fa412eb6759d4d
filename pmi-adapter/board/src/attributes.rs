//! Node attributes: pairs that the ranks of one node share at once, without a barrier and without the server.
//!
//! Records are only ever appended. Those whose names have the same hash form a chain, newest first:
//!
//! ```text
//! head -> newest record -> … -> oldest record -> 0
//! ```
//!
//! A writer *reserves* room, fills in its record, and *publishes* it by exchanging the chain's head. Both are one
//! atomic operation, so there is no lock that a dying writer could keep: before the exchange it leaves a gap that
//! nobody sees, after it a whole record. A reader takes the first record of its name.

use std::sync::atomic::Ordering::{Acquire, Relaxed};
use std::sync::atomic::{AtomicU32, AtomicU64};
use std::time::Duration;

use pmi_protocol::limits::{KEY_MAX, VALUE_MAX};

use crate::Board;
use crate::index;
use crate::kernel::{Kernel, Woken, Word};
use crate::segment::AttributeRecord;

/// Bytes for the node's attributes, those that were replaced included. Sparse. MPI libraries put one per shared
/// memory segment, of some hundred bytes: this is enough for fifty thousand.
pub const CAPACITY: u64 = 8 << 20;

/// Number of chains: their heads fill one small page. A few thousand names make chains of ten.
pub const CHAINS: u64 = 512;

/// Bytes of a record before its name: the link to the next record, and the two lengths.
pub const HEAD_LEN: u64 = 16;

/// Records begin at multiples of this, for their first two words.
const ALIGN: u64 = 8;

const _: () = {
    assert!(CHAINS.is_power_of_two(), "a hash is cut to a chain's number by a mask");
    assert!(KEY_MAX + VALUE_MAX <= u32::MAX as usize, "lengths fit half a word");
    assert!(CAPACITY >= 1024 * (HEAD_LEN + (KEY_MAX + VALUE_MAX) as u64), "room for large ones");
};

/// The node's attributes have no room left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AttributesFull {
    /// Bytes that were to be put.
    pub wanted: u64,
}

impl std::fmt::Display for AttributesFull {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "{} bytes do not fit: the attributes of a node, those that were replaced included, have {CAPACITY} \
             bytes. Put what changes often as key-value pairs",
            self.wanted
        )
    }
}

impl std::error::Error for AttributesFull {}

/// Proof that nobody else writes to a piece of the attributes: only [`Attributes::reserve`] makes one.
#[derive(Debug)]
pub struct Reservation {
    place: u64,
    len: u64,
}

impl Reservation {
    /// Where it begins, in bytes from the first record.
    pub fn place(&self) -> u64 {
        self.place
    }

    /// Its bytes, a multiple of eight.
    pub fn len(&self) -> u64 {
        self.len
    }
}

/// How a chain names a record: its place + 1, so that 0 ends the chain.
pub fn link_of(place: u64) -> u64 {
    place + 1
}

/// The words of the attributes, beside the chains and records. All zero is the empty state.
#[derive(Debug, Default)]
#[repr(C, align(64))]
pub struct Attributes<W32 = AtomicU32, W64 = AtomicU64> {
    /// The futex word; changes with every put, and when the job fails.
    turn: W32,
    reserved: u32,
    /// Where the next record goes.
    end: W64,
    reserved2: [u64; 6],
}

impl<W32: Word<u32>, W64: Word<u64>> Attributes<W32, W64> {
    /// A number that differs after every event. Read it before looking for an attribute, and wait for it to change.
    pub fn turn(&self) -> u32 {
        self.turn.load(Acquire)
    }

    /// Reserves room for `len` bytes.
    pub fn reserve(&self, len: u64) -> Result<Reservation, AttributesFull> {
        let rounded = len.next_multiple_of(ALIGN);
        loop {
            let place = self.end.load(Relaxed);
            if place + rounded > CAPACITY {
                return Err(AttributesFull { wanted: len });
            }
            if self.end.replace(place, place + rounded) {
                return Ok(Reservation { place, len: rounded });
            }
        }
    }

    /// Puts a complete record before all others of its chain, and wakes whoever waits. `next` is the record's own link.
    pub fn publish(
        &self,
        reservation: Reservation,
        head: &W64,
        next: &W64,
        kernel: &impl Kernel<W32>,
    ) {
        let link = link_of(reservation.place);
        loop {
            let first = head.load(Relaxed);
            next.store(first, Relaxed);
            if head.replace(first, link) {
                break;
            }
        }
        self.announce(kernel);
    }

    /// Makes whoever waits look again. Comes after the event, so that whoever read the old word does not fall asleep.
    pub fn announce(&self, kernel: &impl Kernel<W32>) {
        self.turn.fetch_add(1);
        kernel.wake(&self.turn, u32::MAX);
    }

    /// Sleeps until the turn is not `seen`, for at most `patience`. True if it is not.
    pub fn wait(&self, seen: u32, patience: Duration, kernel: &impl Kernel<W32>) -> bool {
        while self.turn() == seen {
            if kernel.wait(&self.turn, seen, patience) == Woken::TimedOut {
                return self.turn() != seen;
            }
        }
        true
    }
}

impl Board {
    /// Puts a node attribute: at once visible to all processes on the board. A later put of a name replaces.
    ///
    /// # Errors
    /// There is no room left.
    ///
    /// # Panics
    /// Name or value exceed `KEY_MAX` or `VALUE_MAX`.
    pub fn put_attribute(&self, name: &[u8], value: &[u8]) -> Result<(), AttributesFull> {
        assert!(name.len() <= KEY_MAX && value.len() <= VALUE_MAX);
        let (shared, segment) = (self.shared(), self.shared().segment());
        let attributes = &shared.header().attributes;
        let mut room = attributes.reserve(HEAD_LEN + (name.len() + value.len()) as u64)?;
        let next = segment.write_attribute(&mut room, name, value);
        attributes.publish(room, self.chain(name), next, shared);
        Ok(())
    }

    /// Calls `read` with the value of a node attribute. No system call.
    pub fn attribute<R>(&self, name: &[u8], read: impl FnOnce(&[u8]) -> R) -> Option<R> {
        let segment = self.shared().segment();
        let at = |link| segment.attribute(link);
        let newest = at(self.chain(name).load(Acquire));
        let mut chain = std::iter::successors(newest, |record| at(record.next));
        let found: Option<AttributeRecord<'_>> = chain.find(|record| record.name == name);
        found.map(|record| read(record.value))
    }

    /// A number that changes with every node attribute that is put, and when the job fails. Read it *before* looking
    /// for an attribute; then nothing is missed by [`wait_attributes`](Self::wait_attributes).
    pub fn attributes_turn(&self) -> u32 {
        self.shared().header().attributes.turn()
    }

    /// Sleeps until [`attributes_turn`](Self::attributes_turn) is not `seen`, for at most `patience`; true if it is not.
    pub fn wait_attributes(&self, seen: u32, patience: Duration) -> bool {
        let shared = self.shared();
        shared.header().attributes.wait(seen, patience, shared)
    }

    fn chain(&self, name: &[u8]) -> &AtomicU64 {
        let number = u64::from(index::tag_of(0, name)) & (CHAINS - 1);
        &self.shared().segment().attribute_chains()[number as usize]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::BoardConfig;

    fn board() -> Board {
        let config = BoardConfig {
            secret: &[5; 32],
            job: "attributes",
            node: None,
            size: 1,
            local_size: None,
            log_ceiling: 1 << 20,
            share: false,
        };
        Board::open(&config).unwrap()
    }

    fn value(board: &Board, name: &[u8]) -> Option<Vec<u8>> {
        board.attribute(name, <[u8]>::to_vec)
    }

    #[test]
    fn a_later_put_replaces_and_any_bytes_come_back() {
        let board = board();
        assert_eq!(value(&board, b"name"), None);
        let bytes: Vec<u8> = (0..=255).collect();
        for (name, put) in
            [(&b"name"[..], &b"1"[..]), (b"other", b""), (&bytes, &bytes), (b"name", b"22")]
        {
            board.put_attribute(name, put).unwrap();
            assert_eq!(value(&board, name).as_deref(), Some(put));
        }
        assert_eq!(value(&board, b"other").as_deref(), Some(&b""[..]));
        assert_eq!(value(&board, b"nam"), None);
    }

    #[test]
    fn many_names_share_the_chains() {
        let board = board();
        let names = || (0..3 * CHAINS).map(|number| format!("name-{number}"));
        names().for_each(|name| board.put_attribute(name.as_bytes(), name.as_bytes()).unwrap());
        for name in names() {
            assert_eq!(value(&board, name.as_bytes()).as_deref(), Some(name.as_bytes()));
        }
    }

    #[test]
    fn a_full_area_says_so_and_keeps_what_it_has() {
        let board = board();
        let (name, large) = ([b'n'; KEY_MAX], [b'v'; VALUE_MAX]);
        let puts = (0..).take_while(|_| board.put_attribute(&name, &large).is_ok()).count() as u64;
        assert_eq!(puts, CAPACITY / (HEAD_LEN + (KEY_MAX + VALUE_MAX) as u64));
        assert!(board.put_attribute(&name, &large).is_err());
        assert_eq!(value(&board, &name).as_deref(), Some(&large[..]));
    }

    #[test]
    fn a_put_and_a_failure_change_the_turn() {
        let board = board();
        let seen = board.attributes_turn();
        assert!(!board.wait_attributes(seen, Duration::from_millis(1)));
        board.put_attribute(b"name", b"value").unwrap();
        assert!(board.wait_attributes(seen, Duration::MAX));
        let seen = board.attributes_turn();
        board.fail(&crate::Failure { code: 1, rank: None, text: "over".into() });
        assert!(board.wait_attributes(seen, Duration::MAX));
    }
}
