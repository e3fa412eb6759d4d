//! Which bytes of a log have come in, where datagrams may be lost, repeated and reordered.

/// Most separate pieces kept beyond the contiguous part; further ones are forgotten and come again.
const PIECES_MAX: usize = 256;

/// A contiguous start of a log, and pieces beyond it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Received {
    upto: u64,
    beyond: Vec<(u64, u64)>,
}

impl Received {
    /// Everything below `upto` has come in.
    pub fn new(upto: u64) -> Self {
        Received { upto, beyond: Vec::new() }
    }

    /// The end of the contiguous part.
    pub fn upto(&self) -> u64 {
        self.upto
    }

    /// Notes that [from, to) has come in; false if that was known, or cannot be remembered.
    pub fn insert(&mut self, from: u64, to: u64) -> bool {
        let known = self.covers(from, to);
        if known || (from > self.upto && self.beyond.len() >= PIECES_MAX) {
            return false;
        }
        self.beyond.push((from, to));
        self.beyond.sort_unstable();
        self.merge();
        true
    }

    fn covers(&self, from: u64, to: u64) -> bool {
        from >= to || to <= self.upto || self.beyond.iter().any(|(a, b)| *a <= from && to <= *b)
    }

    fn merge(&mut self) {
        let mut merged: Vec<(u64, u64)> = Vec::with_capacity(self.beyond.len());
        for &(from, to) in &self.beyond {
            match merged.last_mut() {
                _ if from <= self.upto => self.upto = self.upto.max(to),
                Some(last) if from <= last.1 => last.1 = last.1.max(to),
                _ => merged.push((from, to)),
            }
        }
        self.beyond = merged;
    }

    /// The first gap below `end`, if there is one.
    pub fn gap(&self, end: u64) -> Option<(u64, u64)> {
        let to = self.beyond.first().map_or(end, |piece| piece.0.min(end));
        (self.upto < to).then_some((self.upto, to))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn it_agrees_with_a_set_of_bytes(pieces in proptest::collection::vec((0..60u64, 0..12u64), 0..30)) {
            let mut received = Received::new(5);
            let mut bytes: std::collections::BTreeSet<u64> = (0..5).collect();
            for (from, len) in pieces {
                let new = (from..from + len).any(|at| !bytes.contains(&at));
                prop_assert_eq!(received.insert(from, from + len), new);
                bytes.extend(from..from + len);
            }
            let upto = (0..).find(|at| !bytes.contains(at)).unwrap();
            prop_assert_eq!(received.upto(), upto);
            let gap_end = (upto..100).find(|at| bytes.contains(at)).unwrap_or(100);
            prop_assert_eq!(received.gap(100), Some((upto, gap_end)));
            prop_assert_eq!(received.gap(upto), None);
        }
    }
}
