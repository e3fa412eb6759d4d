//! The index over the visible down-log: which record is the current one of a (space, key).
//!
//! A table of words, `tag << 32 | offset + 1`, with open addressing: the tag is half of the key's hash, its
//! low bits choose the first word to look at, and zero ends the search. Words are only ever added or pointed at
//! a later record. When a table is half full the delegate fills one twice as long, which has its own place in
//! the segment, and switches to it by storing its length: a reader sees the one or the other.

use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};

use pmi_protocol::log::chunk_end_of;
use pmi_protocol::record::{Record, RecordKind, records};

use crate::layout::FIRST_TABLE;
use crate::segment::Segment;
use crate::turnstile::Lead;

/// The bytes that the server sent are not a sequence of whole records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BadLog {
    /// Where the first bad record begins.
    pub offset: u64,
}

impl std::fmt::Display for BadLog {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "the server's log is damaged at offset {}: run the same version on all hosts",
            self.offset
        )
    }
}

impl std::error::Error for BadLog {}

/// Both halves of a 128-bit product, folded.
fn fold(a: u64, b: u64) -> u64 {
    let product = u128::from(a) * u128::from(b);
    product as u64 ^ (product >> 64) as u64
}

/// Tag of a key: a multiply-and-fold hash, eight bytes at a time. The constants are odd with balanced bits.
pub fn tag_of(space: u64, key: &[u8]) -> u32 {
    const STEP: u64 = 0xA24B_AED4_963E_E407;
    const START: u64 = 0x9FB2_1C65_1E98_DF25;
    let (words, rest) = key.as_chunks::<8>();
    let mut last = [0; 8];
    last[..rest.len()].copy_from_slice(rest);
    let start = fold(space ^ START, key.len() as u64 ^ STEP);
    let whole = words.iter().fold(start, |hash, word| fold(hash ^ u64::from_le_bytes(*word), STEP));
    let hash = fold(whole ^ u64::from_le_bytes(last), START);
    (hash ^ hash >> 32) as u32
}

fn word_of(tag: u32, offset: u64) -> u64 {
    u64::from(tag) << 32 | (offset + 1)
}

fn tag_in(word: u64) -> u32 {
    (word >> 32) as u32
}

fn offset_in(word: u64) -> u64 {
    u64::from(word as u32) - 1
}

/// The words where a tag may stand, in order. Each once, so that a search of a full table ends.
fn candidates(table: &[AtomicU64], tag: u32) -> impl Iterator<Item = &AtomicU64> {
    let first = tag as usize & (table.len() - 1);
    table[first..].iter().chain(&table[..first])
}

/// The record at `offset`, if it is one of this key.
fn record_at<'a>(log: &'a [u8], offset: u64, space: u64, key: &[u8]) -> Option<Record<'a>> {
    let record = Record::parse(log.get(offset as usize..)?)?;
    (record.space == space && record.key == key && record.kind.is_nodes()).then_some(record)
}

/// The current record of a key and its offset.
pub fn lookup<'a>(segment: &'a Segment, space: u64, key: &[u8]) -> Option<(u64, Record<'a>)> {
    let log = segment.visible_log();
    let tag = tag_of(space, key);
    let table = &segment.header().reading.table;
    loop {
        let words = table.load(Acquire);
        if words == 0 {
            return None;
        }
        let found = search(segment.table(words), tag, log, space, key);
        // A table that was replaced meanwhile has lost its memory: what it lacked says nothing.
        if found.is_some() || table.load(Acquire) == words {
            return found;
        }
    }
}

fn search<'a>(
    table: &[AtomicU64],
    tag: u32,
    log: &'a [u8],
    space: u64,
    key: &[u8],
) -> Option<(u64, Record<'a>)> {
    candidates(table, tag)
        .map(|word| word.load(Relaxed))
        .take_while(|word| *word != 0)
        .filter(|word| tag_in(*word) == tag)
        .map(offset_in)
        .find_map(|offset| Some((offset, record_at(log, offset, space, key)?)))
}

/// The first current Put record of a space at or after `cursor`, and the cursor behind it.
pub fn next_record<'a>(segment: &'a Segment, space: u64, cursor: u64) -> Option<(u64, Record<'a>)> {
    let rest = segment.visible_log().get(usize::try_from(cursor).ok()?..)?;
    records(rest)
        .map(|(at, record)| (cursor + at as u64, record))
        .filter(|(_, record)| record.kind == RecordKind::Put && record.space == space)
        .find(|(offset, record)| {
            lookup(segment, space, record.key).is_some_and(|(current, _)| current == *offset)
        })
        .map(|(offset, record)| (offset + record.encoded_len() as u64, record))
}

/// Indexes the records between the visible mark and `mark`. Doing it again, after a delegate died over it,
/// changes nothing. Returns how much of this node's up-log the log has, if these records tell.
pub fn extend(segment: &Segment, lead: &mut Lead, mark: u64) -> Result<Option<u64>, BadLog> {
    let (mut at, mut cursor) = (segment.visible_log().len() as u64, None);
    while at < mark {
        let log = segment.staged_log(lead, mark);
        let rest = log.get(at as usize..).unwrap_or(&[]);
        let record = Record::parse(rest).ok_or(BadLog { offset: at })?;
        let next = at + record.encoded_len() as u64;
        if record.kind.is_nodes() {
            let tag = tag_of(record.space, record.key);
            insert(segment, table_in_use(segment), log, tag, at, &record);
            grow_when_half_full(segment, lead);
        } else {
            cursor = chunk_end_of(segment.founding().node_id, &record).or(cursor);
        }
        at = next;
    }
    Ok(cursor)
}

fn table_in_use(segment: &Segment) -> &[AtomicU64] {
    let table = &segment.header().reading.table;
    if table.load(Acquire) == 0 {
        table.store(FIRST_TABLE, Release);
    }
    segment.table(table.load(Acquire))
}

fn insert(
    segment: &Segment,
    table: &[AtomicU64],
    log: &[u8],
    tag: u32,
    offset: u64,
    record: &Record<'_>,
) {
    for word in candidates(table, tag) {
        let present = word.load(Relaxed);
        if present == 0 {
            word.store(word_of(tag, offset), Release);
            segment.header().reading.entries.fetch_add(1, Relaxed);
            return;
        }
        let same = tag_in(present) == tag
            && record_at(log, offset_in(present), record.space, record.key).is_some();
        if same {
            word.store(word_of(tag, offset.max(offset_in(present))), Release);
            return;
        }
    }
    unreachable!("the largest table has a word for every record that the log can hold");
}

fn grow_when_half_full(segment: &Segment, lead: &mut Lead) {
    let reading = &segment.header().reading;
    let words = reading.table.load(Acquire);
    if reading.entries.load(Relaxed) * 2 < words || words == segment.largest_table() {
        return;
    }
    let longer = segment.table(words * 2);
    // A delegate may have died while it filled this.
    longer.iter().filter(|word| word.load(Relaxed) != 0).for_each(|word| word.store(0, Relaxed));
    let entries = segment
        .table(words)
        .iter()
        .map(|word| word.load(Relaxed))
        .filter(|word| *word != 0)
        .inspect(|word| move_word(longer, *word))
        .count();
    reading.entries.store(entries as u64, Relaxed);
    reading.table.store(words * 2, Release);
    segment.discard_table(lead, words);
}

fn move_word(table: &[AtomicU64], word: u64) {
    let free = candidates(table, tag_in(word)).find(|place| place.load(Relaxed) == 0);
    free.expect("half of the table is free").store(word, Relaxed);
}
