//! What the segment looks like.
//!
//! ```text
//! header | slots | node attributes | up-log ring | down-log | index tables
//! ```
//!
//! Everything is sparse: the file is as long as the job could ever need, and only pages that were touched take
//! memory. All bytes zero is the valid initial state of all of it but [`Identity`].

use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use std::sync::atomic::{AtomicU32, AtomicU64};

use pmi_protocol::limits::{LOG_CEILING_MAX, RECORD_HEADER_LEN, SIZE_MAX};

use crate::attributes::{self, Attributes};
use crate::failure::FailureCell;
use crate::turnstile::Turnstile;
use crate::uplog::{CAPACITY, UpLog};

/// Most processes that share a board: the largest hosts have a few thousand hardware threads.
pub const SLOTS_MAX: u32 = 1 << 16;

/// So many slots stand watch: the first ones, and of the others each so many-th.
///
/// A futex wait with a time limit costs about 15 % more than one without. A few watchers are enough to find the
/// dead; one would not be, since it may be the one who dies.
pub const WATCH: u32 = 8;

/// Regions start at multiples of this: the largest page size in use, so that pages of one region can be given
/// back without touching another.
const REGION: u64 = 1 << 16;

/// Words of the first index table: one small page.
pub const FIRST_TABLE: u64 = 512;

/// Bytes of the heads of the node attributes' chains.
pub const ATTRIBUTE_HEADS_LEN: u64 = attributes::CHAINS * 8;

const MAGIC: u64 = u64::from_le_bytes(*b"PMIBOARD");
/// Changes with every change of anything in this module, so that two builds never share a board.
const VERSION: u32 = 3;

/// Who the segment belongs to. Written once, before anybody else can see the segment.
#[derive(Debug, Default)]
#[repr(C, align(64))]
pub struct Identity {
    magic: AtomicU64,
    version: AtomicU32,
    size: AtomicU32,
    ceiling: AtomicU64,
    node_id: AtomicU64,
    tag: [AtomicU64; 2],
    pid_namespace: AtomicU64,
    reserved: u64,
}

/// The values of an [`Identity`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Founding {
    /// Ranks of the process group.
    pub size: u32,
    /// Bytes that the down-log can hold.
    pub ceiling: u64,
    /// The node's random number.
    pub node_id: u64,
    /// Derived from job name and secret.
    pub tag: [u64; 2],
    /// Inode of the creator's pid namespace: process ids mean nothing in another.
    pub pid_namespace: u64,
}

impl Identity {
    /// Fills in a new segment.
    pub fn found(&self, founding: &Founding) {
        self.version.store(VERSION, Relaxed);
        self.size.store(founding.size, Relaxed);
        self.ceiling.store(founding.ceiling, Relaxed);
        self.node_id.store(founding.node_id, Relaxed);
        self.tag.iter().zip(founding.tag).for_each(|(word, value)| word.store(value, Relaxed));
        self.pid_namespace.store(founding.pid_namespace, Relaxed);
        self.magic.store(MAGIC, Release);
    }

    /// Reads it back; `None` if this is not a board of this version with sensible numbers.
    pub fn read(&self) -> Option<Founding> {
        let ours = self.magic.load(Acquire) == MAGIC && self.version.load(Relaxed) == VERSION;
        let founding = Founding {
            size: self.size.load(Relaxed),
            ceiling: self.ceiling.load(Relaxed),
            node_id: self.node_id.load(Relaxed),
            tag: [self.tag[0].load(Relaxed), self.tag[1].load(Relaxed)],
            pid_namespace: self.pid_namespace.load(Relaxed),
        };
        (ours && founding.size <= SIZE_MAX && founding.ceiling <= LOG_CEILING_MAX)
            .then_some(founding)
    }
}

/// The published part of the down-log and its index.
#[derive(Debug, Default)]
#[repr(C, align(64))]
pub struct Reading {
    /// The mark: the length of the down-log that everybody may read.
    pub visible: AtomicU64,
    /// Words of the index table in use; 0 before the first record.
    pub table: AtomicU64,
    /// Entries in the table.
    pub entries: AtomicU64,
    reserved: [u64; 5],
}

/// Who is there.
#[derive(Debug, Default)]
#[repr(C, align(64))]
pub struct People {
    /// Slots handed out so far.
    pub slots: AtomicU32,
    /// First slot found dead, + 1.
    pub casualty: AtomicU32,
    /// When somebody last looked for the dead, in milliseconds of the monotonic clock.
    pub swept: AtomicU64,
    /// UDP port on loopback where the present delegate can be poked.
    pub port: AtomicU32,
    reserved: u32,
    /// The node's lifeline, in the words of the session; zero: none.
    pub line: AtomicU64,
    reserved2: [u64; 4],
}

/// The head of the segment. Words that different ranks write at the same time lie on different cache lines.
#[derive(Debug, Default)]
#[repr(C)]
pub struct Header {
    /// Constant.
    pub identity: Identity,
    /// The barrier.
    pub turnstile: Turnstile,
    /// The up-log's words.
    pub uplog: UpLog,
    /// The down-log's words.
    pub reading: Reading,
    /// Slots and liveness.
    pub people: People,
    /// Why the job is over.
    pub failure: FailureCell,
    /// The node attributes' words.
    pub attributes: Attributes,
}

/// One process on the board. A cache line of its own.
#[derive(Debug, Default)]
#[repr(C, align(64))]
pub struct SlotCell {
    /// A [`State`](crate::State), or 0 while unclaimed.
    pub state: AtomicU32,
    /// Its rank.
    pub rank: AtomicU32,
    /// Its process id.
    pub pid: AtomicU32,
    /// The epoch it stands in, + 1.
    pub standing: AtomicU32,
    reserved: [u64; 6],
}

const _: () = {
    assert!(size_of::<Identity>() == 64);
    assert!(size_of::<Turnstile>() == 128 && align_of::<Turnstile>() == 64);
    assert!(size_of::<UpLog>() == 128 && align_of::<UpLog>() == 64);
    assert!(size_of::<Reading>() == 64 && size_of::<People>() == 64);
    assert!(size_of::<FailureCell>() == 576);
    assert!(size_of::<Attributes>() == 64 && align_of::<Attributes>() == 64);
    assert!(size_of::<Header>() == 64 + 128 + 128 + 64 + 64 + 576 + 64);
    assert!(size_of::<Header>() as u64 <= REGION);
    assert!(size_of::<SlotCell>() == 64 && align_of::<SlotCell>() == 64);
    assert!(CAPACITY.is_multiple_of(REGION));
};

/// Where the regions of a segment lie, in bytes from its start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Geometry {
    /// First slot.
    pub slots: u64,
    /// Node attributes: the heads of their chains, then the records.
    pub attributes: u64,
    /// Up-log ring.
    pub up: u64,
    /// Down-log.
    pub down: u64,
    /// Bytes of the down-log.
    pub ceiling: u64,
    /// Index tables: the one of *n* words lies at word *n*.
    pub index: u64,
    /// Words of the largest index table.
    pub largest_table: u64,
    /// Bytes of the whole segment.
    pub len: u64,
}

impl Geometry {
    /// The layout for a log of at most `ceiling` bytes.
    pub fn new(ceiling: u64) -> Geometry {
        let slots = REGION;
        let attributes = slots + u64::from(SLOTS_MAX) * size_of::<SlotCell>() as u64;
        let up = (attributes + ATTRIBUTE_HEADS_LEN + attributes::CAPACITY).next_multiple_of(REGION);
        let down = up + CAPACITY;
        let index = down + ceiling.next_multiple_of(REGION);
        // No log has more records than this, so the largest table always has a word for one more.
        let records = ceiling / RECORD_HEADER_LEN as u64;
        let largest_table = records.next_power_of_two().max(FIRST_TABLE);
        let len = (index + 2 * largest_table * 8).next_multiple_of(REGION);
        Geometry { slots, attributes, up, down, ceiling, index, largest_table, len }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use pmi_protocol::limits::{LOG_CEILING_DEFAULT, LOG_CEILING_MIN};

    #[test]
    fn regions_are_aligned_and_the_default_fits_a_modest_address_space() {
        for ceiling in [LOG_CEILING_MIN, LOG_CEILING_DEFAULT, LOG_CEILING_MAX] {
            let it = Geometry::new(ceiling);
            for start in [it.slots, it.attributes, it.up, it.down, it.index, it.len] {
                assert_eq!(start % REGION, 0, "{it:?}");
            }
        }
        assert!(Geometry::new(LOG_CEILING_DEFAULT).len < 600 << 20);
    }

    #[test]
    fn an_identity_is_read_back_and_a_foreign_one_refused() {
        let founding =
            Founding { size: 4, ceiling: 4096, node_id: 7, tag: [1, 2], pid_namespace: 9 };
        let identity = Identity::default();
        assert_eq!(identity.read(), None);
        identity.found(&founding);
        assert_eq!(identity.read(), Some(founding));
        identity.version.store(VERSION + 1, Relaxed);
        assert_eq!(identity.read(), None);
    }
}
