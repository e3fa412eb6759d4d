//! Records, the unit of every log. `ARCHITECTURE.md` ("The log") draws the bytes.

use crate::limits::{KEY_MAX, RECORD_HEADER_LEN, SIZE_MAX, VALUE_MAX};

/// What a record says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum RecordKind {
    /// A (key, value) pair of a space.
    Put = 1,
    /// `PMI_KVS_Create`: the space exists from here on.
    Create = 2,
    /// `PMI_KVS_Destroy`: the space is gone from here on.
    Destroy = 3,
    /// First record of a down-log: kvsname, size, ceiling. Server only.
    Group = 4,
    /// The records that follow come from one node's up-log. Server only.
    Chunk = 5,
    /// End of an epoch. Server only.
    Mark = 6,
}

impl RecordKind {
    fn from_byte(byte: u8) -> Option<Self> {
        use RecordKind::*;
        [Put, Create, Destroy, Group, Chunk, Mark].into_iter().find(|kind| *kind as u8 == byte)
    }

    /// May a node write this kind into its up-log?
    pub fn is_nodes(self) -> bool {
        matches!(self, RecordKind::Put | RecordKind::Create | RecordKind::Destroy)
    }
}

/// One record, borrowed from the log that holds it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Record<'a> {
    /// What it says.
    pub kind: RecordKind,
    /// The space it belongs to (0: the group's own); node id or epoch in the server's records.
    pub space: u64,
    /// The key; empty in `Create` and `Destroy`.
    pub key: &'a [u8],
    /// The value, any bytes but NUL where it comes through the C ABI.
    pub value: &'a [u8],
}

impl<'a> Record<'a> {
    /// Bytes that the record takes in a log.
    pub fn encoded_len(&self) -> usize {
        RECORD_HEADER_LEN + self.key.len() + self.value.len()
    }

    /// Appends the record's bytes to `log`.
    ///
    /// # Panics
    /// If key or value are longer than their limits; callers check these at the edge.
    pub fn append_to(&self, log: &mut Vec<u8>) {
        assert!(self.key.len() <= KEY_MAX && self.value.len() <= VALUE_MAX);
        log.extend_from_slice(&[self.kind as u8, 0]);
        log.extend_from_slice(&(self.key.len() as u16).to_le_bytes());
        log.extend_from_slice(&(self.value.len() as u32).to_le_bytes());
        log.extend_from_slice(&self.space.to_le_bytes());
        log.extend_from_slice(self.key);
        log.extend_from_slice(self.value);
    }

    /// Reads the record at the start of `bytes`. `None` if it is not whole or not well formed.
    pub fn parse(bytes: &'a [u8]) -> Option<Record<'a>> {
        let (header, rest) = bytes.split_at_checked(RECORD_HEADER_LEN)?;
        let kind = RecordKind::from_byte(header[0])?;
        let key_len = u16::from_le_bytes([header[2], header[3]]) as usize;
        let value_len = u32::from_le_bytes(header[4..8].try_into().ok()?) as usize;
        if header[1] != 0 || key_len > KEY_MAX || value_len > VALUE_MAX {
            return None;
        }
        let space = u64::from_le_bytes(header[8..16].try_into().ok()?);
        let (key, rest) = rest.split_at_checked(key_len)?;
        let value = rest.get(..value_len)?;
        Some(Record { kind, space, key, value })
    }
}

/// Walks over the records of a piece of log, yielding each with its offset in the piece. Ends at the first
/// byte that does not begin a whole record.
pub fn records(log: &[u8]) -> impl Iterator<Item = (usize, Record<'_>)> {
    let mut at = 0;
    std::iter::from_fn(move || {
        let record = Record::parse(log.get(at..)?)?;
        let here = at;
        at += record.encoded_len();
        Some((here, record))
    })
}

/// Is `log` a sequence of whole records that a node may write?
pub fn is_up_log(log: &[u8]) -> bool {
    let whole = records(log)
        .take_while(|(_, record)| record.kind.is_nodes())
        .map(|(_, record)| record.encoded_len())
        .sum::<usize>();
    whole == log.len()
}

/// Number of the space that rank `rank` makes as its `serial`-th.
pub fn space_number(rank: u32, serial: u32) -> u64 {
    (u64::from(rank) + 1) << 32 | u64::from(serial)
}

/// The kvsname of a space: the job's name for space 0, `<job>.<rank>.<serial>` for a created one.
pub fn space_name(job: &str, space: u64) -> String {
    match space {
        0 => job.to_owned(),
        _ => format!("{job}.{}.{}", (space >> 32) - 1, space as u32),
    }
}

/// The space that a kvsname stands for, or `None` if it is not one of this job's.
pub fn space_of_name(job: &str, name: &[u8]) -> Option<u64> {
    let rest = name.strip_prefix(job.as_bytes())?;
    if rest.is_empty() {
        return Some(0);
    }
    let rest = std::str::from_utf8(rest).ok()?.strip_prefix('.')?;
    let (rank, serial) = rest.split_once('.')?;
    let (rank, serial) = (decimal(rank)?, decimal(serial)?);
    (rank < SIZE_MAX).then(|| space_number(rank, serial))
}

/// A number as `space_name` writes it: digits only, no leading zero, so that each space has one name.
fn decimal(text: &str) -> Option<u32> {
    let number: u32 = text.parse().ok()?;
    (number.to_string() == text).then_some(number)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn space_names_are_found_again_and_others_refused() {
        for space in
            [0, space_number(0, 0), space_number(7, 12), space_number(SIZE_MAX - 1, u32::MAX)]
        {
            assert_eq!(space_of_name("job", space_name("job", space).as_bytes()), Some(space));
        }
        for name in
            ["", "jo", "jobx", "job.", "job.1", "job.1.", "job.01.1", "job.1.2.3", "job.-1.0"]
        {
            assert_eq!(space_of_name("job", name.as_bytes()), None, "{name}");
        }
    }

    proptest! {
        #[test]
        fn records_survive_the_log(
            space: u64,
            key in proptest::collection::vec(any::<u8>(), 0..=KEY_MAX),
            value in proptest::collection::vec(any::<u8>(), 0..=VALUE_MAX),
        ) {
            let record = Record { kind: RecordKind::Put, space, key: &key, value: &value };
            let mut log = Vec::new();
            record.append_to(&mut log);
            record.append_to(&mut log);
            prop_assert!(is_up_log(&log));
            prop_assert!(!is_up_log(&log[..log.len() - 1]));
            let found: Vec<_> = records(&log).collect();
            prop_assert_eq!(found, vec![(0, record), (record.encoded_len(), record)]);
        }

        #[test]
        fn any_bytes_are_read_without_a_panic(bytes: Vec<u8>) {
            let total: usize = records(&bytes).map(|(_, record)| record.encoded_len()).sum();
            prop_assert!(total <= bytes.len());
        }
    }
}
