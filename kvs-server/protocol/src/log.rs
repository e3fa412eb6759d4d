//! The down-log of a process group: append-only, self-describing, recoverable.

use std::collections::HashMap;
use std::fmt;

use crate::limits::{KVSNAME_MAX, RECORD_HEADER_LEN, SIZE_MAX};
use crate::record::{Record, RecordKind, records};

/// Memory that holds a log and outlives a crash of the server.
pub trait LogMemory {
    /// What has been appended so far.
    fn bytes(&self) -> &[u8];

    /// Appends all parts, or, if the process dies half-way, none of them.
    fn append(&mut self, parts: &[&[u8]]);
}

impl LogMemory for Vec<u8> {
    fn bytes(&self) -> &[u8] {
        self
    }

    fn append(&mut self, parts: &[&[u8]]) {
        parts.iter().for_each(|part| self.extend_from_slice(part));
    }
}

/// What a process group is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupSpec {
    /// Its job name, which is its default kvsname.
    pub name: String,
    /// Number of ranks.
    pub size: u32,
    /// Most bytes that its log may have.
    pub ceiling: u64,
}

/// Why a log cannot be opened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LogError {
    /// The memory does not hold a log of ours.
    Corrupt,
    /// The memory holds the log of another group.
    OtherGroup(GroupSpec),
    /// The pairs given at the start do not fit below the ceiling.
    Full,
}

impl fmt::Display for LogError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            LogError::Corrupt => {
                write!(f, "the log memory holds something else; give an empty one")
            }
            LogError::OtherGroup(spec) => write!(
                f,
                "the log memory belongs to group {} with {} ranks; give an empty one",
                spec.name, spec.size
            ),
            LogError::Full => {
                write!(f, "the first pairs exceed the log's ceiling; raise the ceiling")
            }
        }
    }
}

impl std::error::Error for LogError {}

/// A group's down-log with its marks and the cursor of each node's up-log.
#[derive(Debug)]
pub struct Log<M> {
    memory: M,
    spec: GroupSpec,
    epoch: u32,
    mark: u64,
    previous_mark: u64,
    cursors: HashMap<u64, u64>,
}

/// Bytes that each piece of an up-log costs in the down-log beside its records.
pub const CHUNK_OVERHEAD: u64 = (RECORD_HEADER_LEN + 16) as u64;

/// Bytes that each epoch costs in the down-log.
pub const MARK_OVERHEAD: u64 = RECORD_HEADER_LEN as u64;

impl<M: LogMemory> Log<M> {
    /// Opens a group's log: begins it with `puts` if the memory is empty, else recovers it.
    pub fn open(memory: M, spec: GroupSpec, puts: &[(String, String)]) -> Result<Self, LogError> {
        let mut log =
            Log { memory, spec, epoch: 0, mark: 0, previous_mark: 0, cursors: HashMap::new() };
        if log.memory.bytes().is_empty() {
            log.begin(puts)?;
        } else {
            log.recover()?;
        }
        Ok(log)
    }

    fn begin(&mut self, puts: &[(String, String)]) -> Result<(), LogError> {
        let mut bytes = Vec::new();
        let value = encode_group(&self.spec);
        let name = self.spec.name.as_bytes();
        Record { kind: RecordKind::Group, space: 0, key: name, value: &value }
            .append_to(&mut bytes);
        for (key, value) in puts {
            let (key, value) = (key.as_bytes(), value.as_bytes());
            Record { kind: RecordKind::Put, space: 0, key, value }.append_to(&mut bytes);
        }
        if bytes.len() as u64 + MARK_OVERHEAD > self.spec.ceiling {
            return Err(LogError::Full);
        }
        append_mark(&mut bytes, 0);
        self.memory.append(&[&bytes]);
        self.mark = self.len();
        Ok(())
    }

    fn recover(&mut self) -> Result<(), LogError> {
        let bytes = self.memory.bytes();
        let (mut end, mut marked) = (0, false);
        for (at, record) in records(bytes) {
            end = at + record.encoded_len();
            match record.kind {
                RecordKind::Group => {
                    let found = decode_group(&record).ok_or(LogError::Corrupt)?;
                    if found != self.spec {
                        return Err(LogError::OtherGroup(found));
                    }
                }
                RecordKind::Chunk => {
                    let (offset, len) = decode_chunk(record.value).ok_or(LogError::Corrupt)?;
                    self.cursors.insert(record.space, offset + len);
                }
                RecordKind::Mark => {
                    self.epoch = record.space as u32;
                    self.previous_mark = self.mark;
                    (self.mark, marked) = (end as u64, true);
                }
                _ => {}
            }
        }
        let whole = marked && end == bytes.len();
        if whole { Ok(()) } else { Err(LogError::Corrupt) }
    }

    /// What group it belongs to.
    pub fn spec(&self) -> &GroupSpec {
        &self.spec
    }

    /// Length in bytes, marked or not.
    pub fn len(&self) -> u64 {
        self.memory.bytes().len() as u64
    }

    /// A log is never empty: it begins with its group.
    pub fn is_empty(&self) -> bool {
        false
    }

    /// The epoch that is open: the number of the last mark.
    pub fn epoch(&self) -> u32 {
        self.epoch
    }

    /// The mark of the open epoch.
    pub fn mark(&self) -> u64 {
        self.mark
    }

    /// The mark of the epoch before.
    pub fn previous_mark(&self) -> u64 {
        self.previous_mark
    }

    /// How much of a node's up-log is in the log.
    pub fn cursor(&self, node: u64) -> u64 {
        self.cursors.get(&node).copied().unwrap_or(0)
    }

    /// Bytes that may still be appended.
    pub fn room(&self) -> u64 {
        self.spec.ceiling.saturating_sub(self.len())
    }

    /// The bytes [from, to), cut to what is marked.
    pub fn marked(&self, from: u64, to: u64) -> &[u8] {
        let to = to.min(self.mark);
        self.memory.bytes().get(from as usize..to as usize).unwrap_or(&[])
    }

    /// Appends the next piece of a node's up-log: whole records, checked by the caller.
    pub fn append_chunk(&mut self, node: u64, records: &[u8]) {
        let offset = self.cursor(node);
        let mut header = Vec::with_capacity(CHUNK_OVERHEAD as usize);
        append_chunk_header(&mut header, node, offset, records.len());
        self.memory.append(&[&header, records]);
        self.cursors.insert(node, offset + records.len() as u64);
    }

    /// Ends the collection of the next epoch and opens it.
    pub fn append_mark(&mut self) {
        let mut bytes = Vec::with_capacity(MARK_OVERHEAD as usize);
        append_mark(&mut bytes, self.epoch + 1);
        self.memory.append(&[&bytes]);
        self.epoch += 1;
        self.previous_mark = self.mark;
        self.mark = self.len();
    }
}

/// What an epoch adds to the log when all ranks of the group live on one node, whose up-log has `records` from
/// `offset` on: byte for byte what the server appends.
pub fn epoch_of_one_node(node: u64, offset: u64, records: &[u8], epoch: u32) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(records.len() + (CHUNK_OVERHEAD + MARK_OVERHEAD) as usize);
    if !records.is_empty() {
        append_chunk_header(&mut bytes, node, offset, records.len());
        bytes.extend_from_slice(records);
    }
    append_mark(&mut bytes, epoch);
    bytes
}

fn append_chunk_header(log: &mut Vec<u8>, node: u64, offset: u64, len: usize) {
    let value = encode_chunk(offset, len as u64);
    Record { kind: RecordKind::Chunk, space: node, key: b"", value: &value }.append_to(log);
}

fn append_mark(log: &mut Vec<u8>, epoch: u32) {
    Record { kind: RecordKind::Mark, space: u64::from(epoch), key: b"", value: b"" }.append_to(log);
}

fn encode_group(spec: &GroupSpec) -> [u8; 12] {
    let mut value = [0; 12];
    value[..4].copy_from_slice(&spec.size.to_le_bytes());
    value[4..].copy_from_slice(&spec.ceiling.to_le_bytes());
    value
}

/// Reads the `Group` record that begins every down-log.
pub fn decode_group(record: &Record) -> Option<GroupSpec> {
    let name = std::str::from_utf8(record.key).ok()?.to_owned();
    let (size, ceiling) = record.value.split_first_chunk::<4>()?;
    let spec = GroupSpec {
        name,
        size: u32::from_le_bytes(*size),
        ceiling: u64::from_le_bytes(ceiling.try_into().ok()?),
    };
    let sane =
        record.kind == RecordKind::Group && spec.size <= SIZE_MAX && spec.name.len() <= KVSNAME_MAX;
    sane.then_some(spec)
}

fn encode_chunk(offset: u64, len: u64) -> [u8; 16] {
    let mut value = [0; 16];
    value[..8].copy_from_slice(&offset.to_le_bytes());
    value[8..].copy_from_slice(&len.to_le_bytes());
    value
}

/// Where the piece of `node`'s up-log ends that follows this record, if it is the head of one.
pub fn chunk_end_of(node: u64, record: &Record) -> Option<u64> {
    let ours = record.kind == RecordKind::Chunk && record.space == node;
    ours.then(|| decode_chunk(record.value)).flatten().map(|(offset, len)| offset + len)
}

fn decode_chunk(value: &[u8]) -> Option<(u64, u64)> {
    let (offset, len) = value.split_first_chunk::<8>()?;
    let (offset, len) = (u64::from_le_bytes(*offset), u64::from_le_bytes(len.try_into().ok()?));
    offset.checked_add(len).map(|_| (offset, len))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn spec() -> GroupSpec {
        GroupSpec { name: "job".into(), size: 3, ceiling: 1 << 20 }
    }

    fn put(key: &[u8]) -> Vec<u8> {
        let mut bytes = Vec::new();
        Record { kind: RecordKind::Put, space: 0, key, value: b"v" }.append_to(&mut bytes);
        bytes
    }

    #[test]
    fn a_log_of_another_group_or_of_nothing_is_refused() {
        let memory = Log::open(Vec::new(), spec(), &[]).unwrap().memory;
        let other = GroupSpec { size: 4, ..spec() };
        assert_eq!(Log::open(memory.clone(), other, &[]).err(), Some(LogError::OtherGroup(spec())));
        assert_eq!(Log::open(vec![9; 40], spec(), &[]).err(), Some(LogError::Corrupt));
        let cut = memory[..memory.len() - 1].to_vec();
        assert_eq!(Log::open(cut, spec(), &[]).err(), Some(LogError::Corrupt));
        let small = GroupSpec { ceiling: 10, ..spec() };
        assert_eq!(Log::open(Vec::new(), small, &[]).err(), Some(LogError::Full));
    }

    #[test]
    fn a_node_that_has_all_ranks_knows_what_the_server_appends() {
        let mut log = Log::open(Vec::new(), spec(), &[]).unwrap();
        let mut foreseen = log.memory.clone();
        for (epoch, records) in [(1, put(b"a")), (2, Vec::new()), (3, put(b"bb"))] {
            foreseen.extend(epoch_of_one_node(7, log.cursor(7), &records, epoch));
            if !records.is_empty() {
                log.append_chunk(7, &records);
            }
            log.append_mark();
        }
        assert_eq!(log.memory, foreseen);
    }

    #[test]
    fn first_pairs_are_marked_at_once_and_chunks_only_with_their_epoch() {
        let puts = [("k".to_owned(), "v".to_owned())];
        let mut log = Log::open(Vec::new(), spec(), &puts).unwrap();
        assert_eq!((log.epoch(), log.mark()), (0, log.len()));
        let first = log.mark();
        log.append_chunk(7, &put(b"a"));
        assert_eq!(log.marked(first, u64::MAX), b"");
        log.append_mark();
        assert_eq!((log.epoch(), log.previous_mark(), log.mark()), (1, first, log.len()));
        assert!(!log.marked(first, u64::MAX).is_empty());
        assert_eq!(log.marked(9999, 99999), b"");
    }

    proptest! {
        #[test]
        fn recovery_finds_what_was_appended(steps in proptest::collection::vec((0..4u64, 0..9usize), 0..40)) {
            let mut log = Log::open(Vec::new(), spec(), &[]).unwrap();
            for (node, len) in steps {
                match node {
                    0 => log.append_mark(),
                    _ => log.append_chunk(node, &put(&b"kkkkkkkkk"[..len])),
                }
            }
            let again = Log::open(log.memory.clone(), spec(), &[]).unwrap();
            prop_assert_eq!(again.epoch(), log.epoch());
            prop_assert_eq!(again.mark(), log.mark());
            prop_assert_eq!(again.previous_mark(), log.previous_mark());
            prop_assert_eq!(&again.cursors, &log.cursors);
        }
    }
}
