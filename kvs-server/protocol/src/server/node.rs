//! What the server knows of one node.

use std::collections::HashSet;

use crate::limits::WINDOW_MAX;
use crate::log::CHUNK_OVERHEAD;
use crate::ranks::RankRanges;
use crate::received::Received;

/// One node of a group.
#[derive(Debug)]
pub(crate) struct Node<P> {
    pub id: u64,
    /// Where its last datagram came from.
    pub peer: P,
    pub host: Option<String>,
    pub private: bool,
    /// The connection that it says is its lifeline.
    pub line: Option<P>,
    /// Does the server hold that connection?
    pub watched: bool,
    /// Up-log bytes [base, base + staged.len()) that are not in the log yet, with holes.
    base: u64,
    staged: Vec<u8>,
    received: Received,
    /// Up-log bytes below this belong to ranks that have arrived.
    pub arrived_end: u64,
}

impl<P> Node<P> {
    /// A node whose up-log is in the down-log up to `cursor`.
    pub fn new(id: u64, peer: P, cursor: u64) -> Self {
        Node {
            id,
            peer,
            host: None,
            private: false,
            line: None,
            watched: false,
            base: cursor,
            staged: Vec::new(),
            received: Received::new(cursor),
            arrived_end: cursor,
        }
    }

    /// The node's name in messages.
    pub fn host(&self) -> &str {
        self.host.as_deref().unwrap_or("an unknown host")
    }

    /// How much of the up-log has come in without a gap.
    pub fn cursor(&self) -> u64 {
        self.received.upto()
    }

    /// Where the bytes begin that are not in the log yet.
    pub fn base(&self) -> u64 {
        self.base
    }

    /// Up-log bytes of the arrived ranks.
    fn pending(&self) -> u64 {
        self.arrived_end - self.base
    }

    /// What the arrived ranks of the node add to the log.
    pub fn cost(&self) -> u64 {
        if self.pending() > 0 { self.pending() + CHUNK_OVERHEAD } else { 0 }
    }

    /// Keeps up-log bytes below `limit`; false if they say nothing new. Bytes further ahead than a node may
    /// send are not kept, so that nobody makes the server allocate without bound.
    pub fn stage(&mut self, offset: u64, bytes: &[u8], limit: u64) -> bool {
        let end = offset.saturating_add(bytes.len() as u64);
        let limit = limit.min(self.cursor() + 2 * WINDOW_MAX);
        if end > limit || !self.received.insert(offset, end) {
            return false;
        }
        let skip = self.base.saturating_sub(offset) as usize;
        let at = offset.max(self.base) - self.base;
        let needed = (end - self.base) as usize;
        self.staged.resize(self.staged.len().max(needed), 0);
        self.staged[at as usize..needed].copy_from_slice(&bytes[skip..]);
        true
    }

    /// The bytes of the arrived ranks.
    pub fn arrived_bytes(&self) -> &[u8] {
        &self.staged[..self.pending() as usize]
    }

    /// The arrived bytes are in the log now.
    pub fn logged(&mut self) {
        self.staged.drain(..self.pending() as usize);
        self.base = self.arrived_end;
    }
}

/// Names of the hosts of `ranks`, each once, in rank order. `owners` has the index + 1 of each rank's node.
pub(crate) fn hosts_of<P>(nodes: &[Node<P>], owners: &[u32], ranks: &RankRanges) -> Vec<String> {
    let mut seen = HashSet::new();
    let indices = ranks.iter().filter_map(|rank| owners[rank as usize].checked_sub(1));
    let hosts = indices.filter_map(|index| nodes[index as usize].host.as_deref());
    hosts.filter(|host| seen.insert(*host)).map(str::to_owned).collect()
}
