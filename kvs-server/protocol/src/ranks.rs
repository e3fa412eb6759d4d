//! Sets of ranks, kept as ranges, and the bitset of arrivals.

use std::fmt;

/// An inclusive range of ranks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct RankRange {
    /// Lowest rank of the range.
    pub first: u32,
    /// Highest rank of the range.
    pub last: u32,
}

/// Ranks as sorted, disjoint, non-adjacent ranges. Displays as `0-3,7`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RankRanges(Vec<RankRange>);

impl RankRanges {
    /// Builds the ranges of any list of ranks, in any order, repeated or not.
    pub fn from_ranks(ranks: impl IntoIterator<Item = u32>) -> Self {
        let mut ranks: Vec<u32> = ranks.into_iter().collect();
        ranks.sort_unstable();
        let mut ranges = RankRanges::default();
        ranks.into_iter().for_each(|rank| ranges.push_sorted(rank));
        ranges
    }

    fn push_sorted(&mut self, rank: u32) {
        match self.0.last_mut() {
            Some(range) if rank <= range.last => {}
            Some(range) if rank == range.last + 1 => range.last = rank,
            _ => self.0.push(RankRange { first: rank, last: rank }),
        }
    }

    /// The ranges, ascending.
    pub fn as_slice(&self) -> &[RankRange] {
        &self.0
    }

    /// All ranks, ascending.
    pub fn iter(&self) -> impl Iterator<Item = u32> + '_ {
        self.0.iter().flat_map(|range| range.first..=range.last)
    }

    /// Number of ranks.
    pub fn len(&self) -> usize {
        self.0.iter().map(|range| (range.last - range.first) as usize + 1).sum()
    }

    /// True if there is no rank at all.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl fmt::Display for RankRanges {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, range) in self.0.iter().enumerate() {
            let comma = if index == 0 { "" } else { "," };
            match range {
                RankRange { first, last } if first == last => write!(f, "{comma}{first}")?,
                RankRange { first, last } => write!(f, "{comma}{first}-{last}")?,
            }
        }
        Ok(())
    }
}

/// One bit a rank, with its population count: a repeated arrival cannot count twice.
#[derive(Clone, Debug)]
pub struct RankSet {
    words: Vec<u64>,
    size: u32,
    count: u32,
}

impl RankSet {
    /// The empty set over ranks `0..size`.
    pub fn new(size: u32) -> Self {
        RankSet { words: vec![0; (size as usize).div_ceil(64)], size, count: 0 }
    }

    /// Adds a rank; true if it was not there before.
    pub fn insert(&mut self, rank: u32) -> bool {
        // One branch, and no number made from its condition: rustc 1.95 loses the count of
        // `count += u32::from(word & bit == 0)` when this is inlined into a caller that tests the result
        // (rust-lang/rust#158206).
        let (word, bit) = (&mut self.words[rank as usize / 64], 1 << (rank % 64));
        if *word & bit != 0 {
            return false;
        }
        *word |= bit;
        self.count += 1;
        true
    }

    /// Is the rank in the set?
    pub fn contains(&self, rank: u32) -> bool {
        rank < self.size && self.words[rank as usize / 64] & (1 << (rank % 64)) != 0
    }

    /// Number of ranks in the set.
    pub fn count(&self) -> u32 {
        self.count
    }

    /// Does the set hold every rank?
    pub fn is_full(&self) -> bool {
        self.count == self.size
    }

    /// Empties the set.
    pub fn clear(&mut self) {
        self.words.fill(0);
        self.count = 0;
    }

    /// The lowest rank of the set.
    pub fn first(&self) -> Option<u32> {
        let word = self.words.iter().position(|word| *word != 0)?;
        Some(word as u32 * 64 + self.words[word].trailing_zeros())
    }

    /// The ranks that are not in the set.
    pub fn missing(&self) -> RankRanges {
        RankRanges::from_ranks((0..self.size).filter(|rank| !self.contains(*rank)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_merged_and_displayed() {
        let ranges = RankRanges::from_ranks([7, 0, 2, 1, 3, 2, 9]);
        assert_eq!(ranges.to_string(), "0-3,7,9");
        assert_eq!(ranges.len(), 6);
        assert_eq!(ranges.iter().collect::<Vec<_>>(), [0, 1, 2, 3, 7, 9]);
        assert!(RankRanges::from_ranks([]).is_empty());
    }

    #[test]
    fn every_new_rank_of_a_range_is_counted() {
        let (mut set, mut new) = (RankSet::new(9), 0);
        for rank in [(0, 3), (2, 8)].into_iter().flat_map(|(first, last)| first..=last) {
            if set.insert(std::hint::black_box(rank)) {
                new += 1;
            }
        }
        assert_eq!((set.count(), new, set.is_full()), (9, 9, true));
    }

    #[test]
    fn a_repeated_arrival_counts_once() {
        let mut set = RankSet::new(70);
        assert!(set.insert(69) && !set.insert(69) && set.insert(0));
        assert_eq!((set.count(), set.is_full()), (2, false));
        assert_eq!(set.missing().to_string(), "1-68");
        assert_eq!(set.first(), Some(0));
        set.clear();
        assert!(set.insert(69));
        assert_eq!(set.first(), Some(69));
        set.clear();
        assert_eq!(set.first(), None);
        assert!(!set.contains(69) && !set.contains(1000));
    }
}
