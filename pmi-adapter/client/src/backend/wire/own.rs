//! What this rank has put and the server does not show it yet.

use std::collections::HashMap;

/// Pairs of this rank from put to barrier: servers show them after the barrier only, PMI shows them at once.
#[derive(Debug, Default)]
pub(super) struct Own {
    /// Put since the last barrier was entered.
    fresh: HashMap<Vec<u8>, Vec<u8>>,
    /// Put before that barrier, which has not opened yet as far as we know.
    entered: HashMap<Vec<u8>, Vec<u8>>,
}

impl Own {
    pub(super) fn put(&mut self, key: &[u8], value: &[u8]) {
        self.fresh.insert(key.to_vec(), value.to_vec());
    }

    pub(super) fn get(&self, key: &[u8]) -> Option<&[u8]> {
        self.fresh.get(key).or_else(|| self.entered.get(key)).map(Vec::as_slice)
    }

    pub(super) fn barrier_entered(&mut self) {
        self.entered.extend(self.fresh.drain());
    }

    pub(super) fn barrier_left(&mut self) {
        self.entered.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pairs_are_kept_until_the_barrier_that_carries_them_is_left() {
        let mut own = Own::default();
        own.put(b"a", b"1");
        own.barrier_entered();
        own.put(b"b", b"2");
        own.put(b"a", b"3");
        assert_eq!((own.get(b"a"), own.get(b"b")), (Some(&b"3"[..]), Some(&b"2"[..])));
        own.barrier_left();
        assert_eq!(own.get(b"a"), Some(&b"3"[..]));
        own.barrier_entered();
        own.barrier_left();
        assert_eq!((own.get(b"a"), own.get(b"b")), (None, None));
    }
}
