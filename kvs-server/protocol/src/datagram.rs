//! Datagrams to bytes and back. `ARCHITECTURE.md` ("Datagrams") draws them.

use crate::key::{Direction, Keys, TAG_LEN, tags_match};
use crate::limits::{DATAGRAM_MAX, HEADER_LEN, RANGE_LEN, RANGES_MAX, SIZE_MAX};
use crate::ranks::RankRange;

const MAGIC_AND_VERSION: [u8; 4] = *b"PMI\x01";
const TAG_AT: usize = HEADER_LEN - TAG_LEN;

/// What a datagram says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Kind {
    /// A node introduces itself.
    Hello = 1,
    /// Up-log bytes and arrivals.
    Up = 2,
    /// A node wants down-log bytes.
    Pull = 3,
    /// Ranks have finalized.
    Leave = 4,
    /// A rank called `PMI_Abort`, or a peer found it dead.
    Abort = 5,
    /// The server has it.
    Ack = 16,
    /// An epoch is open.
    Release = 17,
    /// Down-log bytes that were pulled.
    Data = 18,
    /// The group is over, or the node is refused.
    Fault = 19,
}

impl Kind {
    fn from_byte(byte: u8) -> Option<Self> {
        use Kind::*;
        [Hello, Up, Pull, Leave, Abort, Ack, Release, Data, Fault]
            .into_iter()
            .find(|kind| *kind as u8 == byte)
    }

    /// The direction in which this kind travels.
    pub fn direction(self) -> Direction {
        if (self as u8) < Kind::Ack as u8 { Direction::Up } else { Direction::Down }
    }
}

/// Flag of `Up`: answer with an Ack even if nothing else is to say.
pub const WANT_ACK: u8 = 1;
/// Flag of `Hello`: the board is private to one process.
pub const PRIVATE: u8 = 1;
/// Flag of `Abort`: the rank did not call it, a peer found it dead.
pub const DEAD: u8 = 1;
/// Flag of `Fault`: this node is turned away, the group goes on.
pub const REFUSED: u8 = 1;

/// Flag of `Ack` and `Release`: the server listens for lifelines and holds none of this node.
pub const UNWATCHED: u8 = 0x40;
/// Flag of `Ack` and `Release`: the server holds the node's lifeline.
pub const WATCHED: u8 = 0x80;
/// The rest of the flags of an `Ack`: the kind that it answers.
pub const KIND_MASK: u8 = !(UNWATCHED | WATCHED);

const _: () =
    assert!(Kind::Fault as u8 & KIND_MASK == Kind::Fault as u8, "kinds fit beside the flags");

/// The fixed part of a datagram, less what the codec fills in itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// What it says.
    pub kind: Kind,
    /// Flags, by kind.
    pub flags: u8,
    /// Number of the process group.
    pub group: u64,
    /// Number of the node.
    pub node: u64,
    /// Offset in the log of the bytes in the body.
    pub offset: u64,
    /// Up: end of the up-log that arrivals cover. Down: the epoch's mark, or a cursor.
    pub mark: u64,
    /// The epoch that the datagram is about.
    pub epoch: u32,
    /// Down: the server's incarnation. Up: the local TCP port of the node's lifeline, or zero.
    pub incarnation: u32,
}

/// A datagram that has been authenticated and parsed.
#[derive(Clone, Copy, Debug)]
pub struct Datagram<'a> {
    /// The fixed part.
    pub header: Header,
    ranges: &'a [u8],
    /// The bytes behind the ranges.
    pub bytes: &'a [u8],
}

impl<'a> Datagram<'a> {
    /// The rank ranges. Each is ascending and below `SIZE_MAX`.
    pub fn ranges(&self) -> impl Iterator<Item = RankRange> + 'a {
        self.ranges.chunks_exact(RANGE_LEN).map(read_range)
    }

    /// The only rank of a datagram that is about one, if any.
    pub fn rank(&self) -> Option<u32> {
        self.ranges().next().map(|range| range.first)
    }
}

fn read_range(bytes: &[u8]) -> RankRange {
    RankRange { first: read_u32(bytes, 0), last: read_u32(bytes, 4) }
}

fn read_u32(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes[at..at + 4].try_into().expect("four bytes"))
}

fn read_u64(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(bytes[at..at + 8].try_into().expect("eight bytes"))
}

/// Why bytes are not a datagram for us. Never answered, only counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rejected {
    /// Not our format, or not whole.
    Malformed,
    /// Ours by its looks, but made without the job secret, or for the other direction.
    Forged,
}

/// Appends a sealed datagram to `out`.
///
/// # Panics
/// If it is beyond `RANGES_MAX` or `DATAGRAM_MAX`; the state machines stay below.
pub fn encode(keys: &Keys, header: &Header, ranges: &[RankRange], bytes: &[u8], out: &mut Vec<u8>) {
    let start = out.len();
    assert!(ranges.len() <= RANGES_MAX);
    out.extend_from_slice(&MAGIC_AND_VERSION);
    out.extend_from_slice(&[header.kind as u8, header.flags]);
    out.extend_from_slice(&(ranges.len() as u16).to_le_bytes());
    for number in [header.group, header.node, header.offset, header.mark] {
        out.extend_from_slice(&number.to_le_bytes());
    }
    out.extend_from_slice(&header.epoch.to_le_bytes());
    out.extend_from_slice(&header.incarnation.to_le_bytes());
    out.extend_from_slice(&[0; TAG_LEN]);
    for range in ranges {
        out.extend_from_slice(&range.first.to_le_bytes());
        out.extend_from_slice(&range.last.to_le_bytes());
    }
    out.extend_from_slice(bytes);
    let datagram = &mut out[start..];
    assert!(datagram.len() <= DATAGRAM_MAX);
    let tag = tag_of(keys, header.kind.direction(), datagram);
    datagram[TAG_AT..HEADER_LEN].copy_from_slice(&tag);
}

fn tag_of(keys: &Keys, direction: Direction, datagram: &[u8]) -> [u8; TAG_LEN] {
    keys.tag(direction, [&datagram[..TAG_AT], &datagram[HEADER_LEN..]])
}

/// Parses and authenticates a datagram that came in `direction`.
pub fn decode<'a>(
    keys: &Keys,
    direction: Direction,
    datagram: &'a [u8],
) -> Result<Datagram<'a>, Rejected> {
    let (header, body) = datagram.split_at_checked(HEADER_LEN).ok_or(Rejected::Malformed)?;
    if header[..4] != MAGIC_AND_VERSION || datagram.len() > DATAGRAM_MAX {
        return Err(Rejected::Malformed);
    }
    let tag: &[u8; TAG_LEN] = header[TAG_AT..].try_into().expect("the header ends with the tag");
    if !tags_match(tag, &tag_of(keys, direction, datagram)) {
        return Err(Rejected::Forged);
    }
    parse(header, body)
        .filter(|parsed| parsed.header.kind.direction() == direction)
        .ok_or(Rejected::Malformed)
}

fn parse<'a>(header: &[u8], body: &'a [u8]) -> Option<Datagram<'a>> {
    let count = u16::from_le_bytes([header[6], header[7]]) as usize;
    let (ranges, bytes) = body.split_at_checked(count * RANGE_LEN)?;
    let valid = |range: RankRange| range.first <= range.last && range.last < SIZE_MAX;
    if count > RANGES_MAX || !ranges.chunks_exact(RANGE_LEN).map(read_range).all(valid) {
        return None;
    }
    let header = Header {
        kind: Kind::from_byte(header[4])?,
        flags: header[5],
        group: read_u64(header, 8),
        node: read_u64(header, 16),
        offset: read_u64(header, 24),
        mark: read_u64(header, 32),
        epoch: read_u32(header, 40),
        incarnation: read_u32(header, 44),
    };
    Some(Datagram { header, ranges, bytes })
}

/// Datagrams waiting to be sent, in one buffer, each with its addressee.
#[derive(Debug)]
pub struct Outbox<P> {
    bytes: Vec<u8>,
    sends: Vec<(P, std::ops::Range<usize>)>,
}

impl<P> Default for Outbox<P> {
    fn default() -> Self {
        Outbox { bytes: Vec::new(), sends: Vec::new() }
    }
}

impl<P: Copy> Outbox<P> {
    /// Seals a datagram for `to`.
    pub fn push(
        &mut self,
        to: P,
        keys: &Keys,
        header: &Header,
        ranges: &[RankRange],
        bytes: &[u8],
    ) {
        let start = self.bytes.len();
        encode(keys, header, ranges, bytes, &mut self.bytes);
        self.sends.push((to, start..self.bytes.len()));
    }

    /// The datagrams in the order in which they were pushed.
    pub fn iter(&self) -> impl Iterator<Item = (P, &[u8])> {
        self.sends.iter().map(|(to, range)| (*to, &self.bytes[range.clone()]))
    }

    /// Number of datagrams.
    pub fn len(&self) -> usize {
        self.sends.len()
    }

    /// Is there nothing to send?
    pub fn is_empty(&self) -> bool {
        self.sends.is_empty()
    }

    /// Forgets all datagrams, keeps the memory.
    pub fn clear(&mut self) {
        self.bytes.clear();
        self.sends.clear();
    }
}

/// The body of an `Abort` or a `Fault`: an exit code and a text.
pub fn encode_reason(code: i32, text: &str) -> Vec<u8> {
    let mut bytes = code.to_le_bytes().to_vec();
    bytes.extend_from_slice(cut(text, crate::limits::TEXT_MAX).as_bytes());
    bytes
}

/// Reads what `encode_reason` wrote.
pub fn decode_reason(bytes: &[u8]) -> Option<(i32, String)> {
    let (code, text) = bytes.split_first_chunk::<4>()?;
    Some((i32::from_le_bytes(*code), String::from_utf8_lossy(text).into_owned()))
}

/// The body of a `Hello`: the size as the node sees it, and its host name.
pub fn encode_hello(size: u32, host: &str) -> Vec<u8> {
    let mut bytes = size.to_le_bytes().to_vec();
    bytes.extend_from_slice(cut(host, crate::limits::HOST_MAX).as_bytes());
    bytes
}

/// Reads what `encode_hello` wrote.
pub fn decode_hello(bytes: &[u8]) -> Option<(u32, String)> {
    let (size, host) = bytes.split_first_chunk::<4>()?;
    Some((u32::from_le_bytes(*size), String::from_utf8_lossy(host).into_owned()))
}

/// The longest start of `text` of at most `limit` bytes that ends at a character.
fn cut(text: &str, limit: usize) -> &str {
    let end = (0..=limit.min(text.len())).rev().find(|at| text.is_char_boundary(*at));
    &text[..end.unwrap_or(0)]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::key::Secret;
    use proptest::prelude::*;

    fn keys(byte: u8) -> Keys {
        Keys::derive(&Secret::new([byte; 32]))
    }

    fn header(kind: Kind) -> Header {
        Header { kind, flags: 3, group: 1, node: 2, offset: 3, mark: 4, epoch: 5, incarnation: 6 }
    }

    fn sealed(kind: Kind) -> Vec<u8> {
        let mut out = Vec::new();
        encode(&keys(1), &header(kind), &[RankRange { first: 2, last: 9 }], b"bytes", &mut out);
        out
    }

    #[test]
    fn only_the_right_key_and_direction_are_accepted() {
        let datagram = sealed(Kind::Up);
        assert!(decode(&keys(1), Direction::Up, &datagram).is_ok());
        for (key, direction) in [(2, Direction::Up), (1, Direction::Down)] {
            let result = decode(&keys(key), direction, &datagram);
            assert_eq!(result.err(), Some(Rejected::Forged));
        }
    }

    #[test]
    fn every_truncation_and_every_flipped_bit_is_rejected() {
        let datagram = sealed(Kind::Up);
        for len in 0..datagram.len() {
            assert!(decode(&keys(1), Direction::Up, &datagram[..len]).is_err());
        }
        for bit in 0..datagram.len() * 8 {
            let mut mutated = datagram.clone();
            mutated[bit / 8] ^= 1 << (bit % 8);
            assert!(decode(&keys(1), Direction::Up, &mutated).is_err(), "bit {bit}");
        }
    }

    #[test]
    fn texts_are_cut_at_characters() {
        let (code, text) = decode_reason(&encode_reason(-3, &"ä".repeat(400))).unwrap();
        assert_eq!((code, text.as_str()), (-3, "ä".repeat(256).as_str()));
        assert_eq!(decode_hello(&encode_hello(4, "node1")), Some((4, "node1".into())));
        assert_eq!(decode_reason(b"abc"), None);
    }

    proptest! {
        #[test]
        fn datagrams_survive_the_wire(
            group: u64, node: u64, offset: u64, mark: u64, epoch: u32, flags: u8,
            ranges in proptest::collection::vec((0..SIZE_MAX, 0..SIZE_MAX), 0..RANGES_MAX),
            bytes in proptest::collection::vec(any::<u8>(), 0..2000),
        ) {
            let header = Header { kind: Kind::Data, flags, group, node, offset, mark, epoch, incarnation: 1 };
            let ranges: Vec<_> =
                ranges.iter().map(|(a, b)| RankRange { first: *a.min(b), last: *a.max(b) }).collect();
            let mut out = Vec::new();
            encode(&keys(1), &header, &ranges, &bytes, &mut out);
            let parsed = decode(&keys(1), Direction::Down, &out).unwrap();
            prop_assert_eq!(parsed.header, header);
            prop_assert_eq!(parsed.ranges().collect::<Vec<_>>(), ranges);
            prop_assert_eq!(parsed.bytes, &bytes);
        }

        #[test]
        fn sealed_nonsense_is_parsed_without_a_panic(mut datagram: Vec<u8>) {
            datagram.resize(datagram.len().max(HEADER_LEN), 0);
            datagram[..4].copy_from_slice(&MAGIC_AND_VERSION);
            let tag = tag_of(&keys(1), Direction::Up, &datagram);
            datagram[TAG_AT..HEADER_LEN].copy_from_slice(&tag);
            let _ = decode(&keys(1), Direction::Up, &datagram);
        }
    }
}
