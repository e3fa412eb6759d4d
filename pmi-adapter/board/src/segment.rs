//! Typed, checked access to a mapped segment: the only place that turns its addresses into references.
//!
//! Words are atomics. Log bytes are not, and follow one rule each:
//!
//! * down-log bytes below the mark never change again, and anybody may borrow them; beyond the mark only the
//!   delegate reads and writes, and [`Lead`] proves that this is it;
//! * up-log bytes beyond `end` are written by whoever holds the latch ([`Held`]), and those in `[base, end)`
//!   are read by the delegate;
//! * the bytes of a node attribute are written by whoever has reserved them ([`Reservation`]), never change once a
//!   chain leads to them, and anybody who came that way may borrow them.
//!
//! The proofs hold between processes as they do between threads, as long as every process on the board runs
//! this code. A process of the same user that does not can write anything anywhere, as it could with `ptrace`;
//! even then offsets are checked and nothing outside the mapping is touched.

use std::ptr::NonNull;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};

use crate::attributes::{self, HEAD_LEN, Reservation};
use crate::latch::Held;
use crate::layout::{
    ATTRIBUTE_HEADS_LEN, FIRST_TABLE, Founding, Geometry, Header, SLOTS_MAX, SlotCell,
};
use crate::sys::memory::Mapping;
use crate::turnstile::Lead;
use crate::uplog::CAPACITY;

/// Bytes of each log that are mapped ahead: what a hundred ranks put that have little to say.
const FIRST_BYTES: u64 = 16 * 1024;

/// A node attribute in its chain.
#[derive(Clone, Copy, Debug)]
pub struct AttributeRecord<'a> {
    /// Link to the next, older record of the chain.
    pub next: u64,
    /// Its name.
    pub name: &'a [u8],
    /// Its value.
    pub value: &'a [u8],
}

/// A board's memory, mapped.
#[derive(Debug)]
pub struct Segment {
    mapping: Mapping,
    geometry: Geometry,
    founding: Founding,
}

impl Segment {
    /// Makes a new segment of memory that is all zero and nobody else's yet.
    pub fn found(mapping: Mapping, founding: Founding) -> Segment {
        let geometry = Geometry::new(founding.ceiling);
        assert!(mapping.len() as u64 >= geometry.len);
        let segment = Segment { mapping, geometry, founding };
        segment.header().identity.found(&founding);
        segment
    }

    /// Opens a segment that another process made; `None` if the memory is something else.
    pub fn attach(mapping: Mapping) -> Option<Segment> {
        if mapping.len() < size_of::<Header>() {
            return None;
        }
        // SAFETY: long enough, page-aligned, and a Header is valid whatever its bytes.
        let founding = unsafe { mapping.start().cast::<Header>().as_ref() }.identity.read()?;
        let geometry = Geometry::new(founding.ceiling);
        let whole = mapping.len() as u64 == geometry.len;
        whole.then_some(Segment { mapping, geometry, founding })
    }

    /// Maps what a small exchange touches: the first page of slots and of the index, and the start of both logs.
    pub fn populate(&self) {
        let it = &self.geometry;
        let log = FIRST_BYTES.min(it.ceiling);
        let table = FIRST_TABLE * 8;
        for (from, len) in
            [(it.slots, table), (it.up, FIRST_BYTES), (it.down, log), (it.index + table, table)]
        {
            self.mapping.populate(from, len);
        }
    }

    /// What its maker wrote into it.
    pub fn founding(&self) -> &Founding {
        &self.founding
    }

    /// Words of the largest index table there is room for.
    pub fn largest_table(&self) -> u64 {
        self.geometry.largest_table
    }

    fn at<T>(&self, offset: u64) -> NonNull<T> {
        assert!(offset <= self.mapping.len() as u64);
        // SAFETY: inside the mapping, or one past its end.
        unsafe { self.mapping.start().add(offset as usize) }.cast()
    }

    /// The head.
    pub fn header(&self) -> &Header {
        // SAFETY: the mapping begins with a Header; it is page-aligned and made of atomics, valid for all bytes.
        unsafe { self.at::<Header>(0).as_ref() }
    }

    /// All slots, claimed or not.
    pub fn slots(&self) -> &[SlotCell] {
        let first = self.at::<SlotCell>(self.geometry.slots);
        // SAFETY: the region holds SLOTS_MAX slots, aligned, made of atomics, valid for all bytes.
        unsafe { std::slice::from_raw_parts(first.as_ptr(), SLOTS_MAX as usize) }
    }

    /// The index table of `words` words, which must be a power of two within bounds.
    pub fn table(&self, words: u64) -> &[AtomicU64] {
        assert!(words.is_power_of_two() && words <= self.geometry.largest_table);
        let first = self.at::<AtomicU64>(self.geometry.index + words * 8);
        // SAFETY: the region holds twice the largest table, aligned; words are atomic.
        unsafe { std::slice::from_raw_parts(first.as_ptr(), words as usize) }
    }

    /// Gives back the memory of a table that is out of use: its words read as zero from then on.
    pub fn discard_table(&self, _lead: &mut Lead, words: u64) {
        let table = self.table(words);
        let offset = self.geometry.index + words * 8;
        // SAFETY: only atomics are borrowed there, and readers expect zeros once the table was replaced. Tables
        // shorter than a large page are left alone by `madvise`, which refuses unaligned ranges.
        unsafe { self.mapping.discard(offset, size_of_val(table) as u64) }
    }

    fn down(&self, end: u64) -> &[u8] {
        let end = end.min(self.geometry.ceiling) as usize;
        // SAFETY: inside the mapping. The callers see to it that nobody writes below `end`.
        unsafe { std::slice::from_raw_parts(self.at(self.geometry.down).as_ptr(), end) }
    }

    /// The part of the down-log that everybody may read.
    pub fn visible_log(&self) -> &[u8] {
        // Written before the mark moved, and `write_log` leaves what is below the mark alone for ever.
        self.down(self.header().reading.visible.load(Acquire))
    }

    /// The down-log up to `end`, visible or not; the shared borrow of the lead keeps writers away.
    pub fn staged_log<'a>(&'a self, _lead: &'a Lead, end: u64) -> &'a [u8] {
        self.down(end)
    }

    /// Writes into the down-log, beyond the mark: what is below it is skipped. False if the log would grow beyond
    /// its ceiling.
    pub fn write_log(&self, _lead: &mut Lead, offset: u64, bytes: &[u8]) -> bool {
        let fits =
            offset.checked_add(bytes.len() as u64).is_some_and(|end| end <= self.geometry.ceiling);
        if !fits {
            return false;
        }
        let known = self.header().reading.visible.load(Acquire).saturating_sub(offset);
        let new = bytes.get(known as usize..).unwrap_or(&[]);
        let place = self.at::<u8>(self.geometry.down + offset + known.min(bytes.len() as u64));
        // SAFETY: inside the mapping as checked above; beyond the mark only the delegate touches anything.
        unsafe { place.as_ptr().copy_from_nonoverlapping(new.as_ptr(), new.len()) }
        true
    }

    /// Moves the mark, never backwards: everything below it is complete and indexed.
    pub fn publish(&self, _lead: &mut Lead, mark: u64) {
        let visible = &self.header().reading.visible;
        if mark > visible.load(Acquire) {
            visible.store(mark.min(self.geometry.ceiling), Release);
        }
    }

    /// The pieces of `[offset, offset + len)` of the up-log in the ring: place and length of each.
    fn ring(&self, offset: u64, len: usize) -> [(NonNull<u8>, usize); 2] {
        assert!(len as u64 <= CAPACITY);
        let start = offset % CAPACITY;
        let first = len.min((CAPACITY - start) as usize);
        let up = self.geometry.up;
        [(self.at(up + start), first), (self.at(up), len - first)]
    }

    /// Writes into the up-log, beyond its end and within its room, which the caller has checked.
    pub fn write_ring(&self, _held: &mut Held, offset: u64, bytes: &[u8]) {
        let [(first, len), (second, rest)] = self.ring(offset, bytes.len());
        // SAFETY: both pieces lie inside the ring; nobody reads beyond the end, and the latch keeps other writers
        // away.
        unsafe {
            first.as_ptr().copy_from_nonoverlapping(bytes.as_ptr(), len);
            second.as_ptr().copy_from_nonoverlapping(bytes[len..].as_ptr(), rest);
        }
    }

    /// Appends up-log bytes to `out`; the caller has checked that they lie between base and end.
    pub fn read_ring(&self, _lead: &Lead, offset: u64, len: usize, out: &mut Vec<u8>) {
        for (piece, len) in self.ring(offset, len) {
            // SAFETY: inside the ring. Between base and end nobody writes, and base moves only by the delegate.
            out.extend_from_slice(unsafe { std::slice::from_raw_parts(piece.as_ptr(), len) });
        }
    }

    /// Gives back the memory of `[from, to)` of the up-log, whole pages below its base.
    pub fn discard_ring(&self, from: u64, to: u64) {
        for (piece, len) in self.ring(from, (to - from) as usize) {
            // SAFETY: below the base nobody reads, and nobody writes before `room` has moved past it.
            unsafe {
                let offset = piece.offset_from_unsigned(self.mapping.start());
                self.mapping.discard(offset as u64, len as u64);
            }
        }
    }

    /// The heads of the node attributes' chains.
    pub fn attribute_chains(&self) -> &[AtomicU64] {
        let first = self.at::<AtomicU64>(self.geometry.attributes);
        // SAFETY: the region begins with so many words, aligned, made of atomics, valid for all bytes.
        unsafe { std::slice::from_raw_parts(first.as_ptr(), attributes::CHAINS as usize) }
    }

    fn attribute_bytes(&self, place: u64) -> NonNull<u8> {
        self.at(self.geometry.attributes + ATTRIBUTE_HEADS_LEN + place)
    }

    /// The first two words of a record: its link, and its lengths.
    fn attribute_words(&self, place: u64) -> &[AtomicU64; 2] {
        assert!(place.is_multiple_of(8) && place <= attributes::CAPACITY - HEAD_LEN);
        // SAFETY: inside the region as just checked, aligned, made of atomics, valid for all bytes.
        unsafe { self.attribute_bytes(place).cast().as_ref() }
    }

    /// Fills in a record that nobody can see yet. Returns its link.
    pub fn write_attribute(&self, room: &mut Reservation, name: &[u8], value: &[u8]) -> &AtomicU64 {
        assert!(HEAD_LEN + (name.len() + value.len()) as u64 <= room.len());
        let [next, lengths] = self.attribute_words(room.place());
        lengths.store(name.len() as u64 | (value.len() as u64) << 32, Relaxed);
        let start = self.attribute_bytes(room.place() + HEAD_LEN);
        // SAFETY: both pieces lie inside the reservation as checked above, which lies inside the region, and nobody
        // else reads or writes it before it is published.
        unsafe {
            start.as_ptr().copy_from_nonoverlapping(name.as_ptr(), name.len());
            let start = start.as_ptr().add(name.len());
            start.copy_from_nonoverlapping(value.as_ptr(), value.len());
        }
        next
    }

    /// The record that a link in a chain leads to; `None` at its end.
    pub fn attribute(&self, link: u64) -> Option<AttributeRecord<'_>> {
        let place = link.checked_sub(1)?;
        let [next, lengths] = self.attribute_words(place);
        let lengths = lengths.load(Relaxed);
        let (name, value) = (lengths & u64::from(u32::MAX), lengths >> 32);
        assert!(place + HEAD_LEN + name + value <= attributes::CAPACITY);
        let bytes = |from, len| {
            let start = self.attribute_bytes(place + HEAD_LEN + from);
            // SAFETY: inside the region as just checked; a published record, which never changes again.
            unsafe { std::slice::from_raw_parts(start.as_ptr(), len as usize) }
        };
        Some(AttributeRecord {
            next: next.load(Relaxed),
            name: bytes(0, name),
            value: bytes(name, value),
        })
    }
}
