//! `PMIX_Ring` over put, barrier and get.

use pmi_board::session::{Ensemble, Error, MemberId};

/// One ring of one rank.
pub struct Ring {
    /// How many rings this rank has closed before.
    pub number: u32,
    /// The rank.
    pub rank: u32,
    /// The size of the group.
    pub size: u32,
}

impl Ring {
    /// Hands over what the neighbours shall see. The barrier comes next.
    pub fn put(
        &self,
        ensemble: &mut Ensemble,
        member: MemberId,
        count: i32,
        left: &[u8],
        right: &[u8],
    ) -> Result<(), Error> {
        ensemble.put(member, &self.key("count", self.rank), count.to_string().as_bytes())?;
        ensemble.put(member, &self.key("left", self.rank), left)?;
        ensemble.put(member, &self.key("right", self.rank), right)
    }

    /// After the barrier: the sum of the counts of all lower ranks, what the left neighbour gave to its right, and the
    /// right neighbour to its left.
    pub fn read(
        &self,
        ensemble: &Ensemble,
        member: MemberId,
    ) -> Result<(i32, Vec<u8>, Vec<u8>), Error> {
        let get = |what, rank| ensemble.get(member, &self.key(what, rank), <[u8]>::to_vec);
        let mut count = 0i32;
        for rank in 0..self.rank {
            let text = get("count", rank)?;
            let number: i32 =
                std::str::from_utf8(&text).ok().and_then(|text| text.parse().ok()).unwrap_or(0);
            count = count.saturating_add(number);
        }
        let (left, right) = ((self.rank + self.size - 1) % self.size, (self.rank + 1) % self.size);
        Ok((count, get("right", left)?, get("left", right)?))
    }

    fn key(&self, what: &str, rank: u32) -> Vec<u8> {
        format!("PMIX_Ring-{}-{what}-{rank}", self.number).into_bytes()
    }
}
