//! A rank's own puts that are not in the log's visible part yet.

use std::collections::{BTreeMap, HashSet};

use pmi_protocol::record::{Record, RecordKind};

/// Bytes that are kept for the next puts of a space after a commit.
const KEPT: usize = 64 * 1024;

struct Own {
    value: Vec<u8>,
    state: State,
}

/// How far an own value has come.
#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Put,
    Committed,
    /// Committed before the rank entered the barrier that it is in.
    Sealed,
}

/// What one rank has put since the last barrier.
#[derive(Default)]
pub(super) struct Puts {
    /// Records of each space that wait for commit.
    pending: BTreeMap<u64, Vec<u8>>,
    /// The newest value of each own key: visible to the rank at once.
    own: BTreeMap<u64, BTreeMap<Vec<u8>, Own>>,
    destroyed: HashSet<u64>,
}

impl Puts {
    pub fn put(&mut self, space: u64, key: &[u8], value: &[u8]) {
        let pending = self.pending.entry(space).or_default();
        Record { kind: RecordKind::Put, space, key, value }.append_to(pending);
        let own = Own { value: value.to_vec(), state: State::Put };
        self.own.entry(space).or_default().insert(key.to_vec(), own);
    }

    /// The records of a space that wait for commit.
    pub fn pending(&self, space: u64) -> Option<&[u8]> {
        self.pending.get(&space).map(Vec::as_slice).filter(|records| !records.is_empty())
    }

    /// The records of a space are in the up-log.
    pub fn committed(&mut self, space: u64) {
        self.pending.entry(space).and_modify(|records| {
            records.clear();
            records.shrink_to(KEPT);
        });
        advance(self.own.entry(space).or_default(), State::Put, State::Committed);
    }

    /// The rank enters a barrier. What it commits while it is in there may be too late for it.
    pub fn seal(&mut self) {
        self.own.values_mut().for_each(|keys| advance(keys, State::Committed, State::Sealed));
    }

    /// A barrier has been passed: the log now says what the keys are worth that were committed before it.
    pub fn released(&mut self) {
        for keys in self.own.values_mut() {
            keys.retain(|_, own| own.state != State::Sealed);
        }
    }

    /// Does the log have everything?
    pub fn is_empty(&self) -> bool {
        self.own.values().all(BTreeMap::is_empty)
    }

    /// The rank's own value of a key, if it is newer than the log.
    pub fn own(&self, space: u64, key: &[u8]) -> Option<&[u8]> {
        self.own.get(&space)?.get(key).map(|own| own.value.as_slice())
    }

    /// All own pairs of a space that are newer than the log, by key.
    pub fn all_own(&self, space: u64) -> impl Iterator<Item = (&[u8], &[u8])> {
        let keys = self.own.get(&space).into_iter().flatten();
        keys.map(|(key, own)| (key.as_slice(), own.value.as_slice()))
    }

    /// Forgets a space.
    pub fn destroy(&mut self, space: u64) {
        self.pending.remove(&space);
        self.own.remove(&space);
        self.destroyed.insert(space);
    }

    pub fn is_destroyed(&self, space: u64) -> bool {
        self.destroyed.contains(&space)
    }
}

fn advance(keys: &mut BTreeMap<Vec<u8>, Own>, from: State, to: State) {
    keys.values_mut().filter(|own| own.state == from).for_each(|own| own.state = to);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn own_puts_are_seen_until_the_log_has_them() {
        let mut puts = Puts::default();
        puts.put(0, b"k", b"1");
        puts.put(0, b"k", b"2");
        assert_eq!(puts.own(0, b"k"), Some(&b"2"[..]));
        puts.released();
        assert_eq!(puts.own(0, b"k"), Some(&b"2"[..]), "not committed: the log does not have it");
        puts.committed(0);
        assert!(puts.pending(0).is_none());
        puts.put(0, b"later", b"3");
        puts.seal();
        puts.released();
        assert_eq!((puts.own(0, b"k"), puts.own(0, b"later")), (None, Some(&b"3"[..])));
        assert_eq!(puts.all_own(0).count(), 1);
    }

    #[test]
    fn what_is_committed_inside_a_barrier_is_kept_until_the_next() {
        let mut puts = Puts::default();
        puts.put(0, b"before", b"1");
        puts.committed(0);
        puts.seal();
        puts.put(0, b"inside", b"2");
        puts.committed(0);
        puts.released();
        assert_eq!((puts.own(0, b"before"), puts.own(0, b"inside")), (None, Some(&b"2"[..])));
    }

    #[test]
    fn a_destroyed_space_is_forgotten() {
        let mut puts = Puts::default();
        puts.put(7, b"k", b"1");
        puts.destroy(7);
        assert!(puts.is_destroyed(7) && puts.pending(7).is_none() && puts.own(7, b"k").is_none());
    }
}
