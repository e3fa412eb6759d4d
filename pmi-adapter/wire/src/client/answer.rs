//! What servers answer.

use crate::Text;

use super::Unsendable;

/// The answer to a [`Call`](super::Call).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer<'a> {
    /// The version that the server speaks.
    Init {
        /// 1 or 2.
        version: u32,
        /// For 1: 1 or, with Hydra 5, 2.
        subversion: u32,
    },
    /// Who we are.
    Identity {
        /// Our rank.
        rank: u32,
        /// The size of our group.
        size: u32,
        /// The index of our program; PMI-2 only, -1 under Slurm.
        appnum: Option<i32>,
        /// The job that spawned ours; PMI-2 only.
        spawner: Option<Text<'a>>,
    },
    /// The lengths that the server can carry.
    Maxes(Maxima),
    /// An appnum or a universe size.
    Number(i64),
    /// A kvsname or job id.
    Name(Text<'a>),
    /// The value of a key or attribute.
    Value(Text<'a>),
    /// There is no such key or attribute.
    NotFound,
    /// It is done.
    Done,
    /// Everybody has come to the barrier.
    Barrier,
    /// The outcome of a ring.
    Ring {
        /// The sum of the counts of all processes to the left.
        count: i32,
        /// From the left neighbour.
        left: Text<'a>,
        /// From the right neighbour.
        right: Text<'a>,
    },
    /// The server could not do it.
    Failed {
        /// Not 0.
        rc: i64,
        /// What the server says of it; may be empty.
        text: Text<'a>,
    },
}

/// The lengths that a server announced. Each counts the terminating NUL of a C string, so what can be carried is
/// one byte shorter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Maxima {
    /// Of a kvsname.
    pub kvsname: usize,
    /// Of a key.
    pub key: usize,
    /// Of a value.
    pub value: usize,
}

impl Maxima {
    /// Whether the server can carry this pair whole. Hydra 4.0.2 and gforker lose what is longer, without an error.
    ///
    /// # Errors
    /// The part that is too long, and what would do.
    pub fn check(&self, key: &[u8], value: &[u8]) -> Result<(), Unsendable> {
        for (field, bytes, limit) in [("key", key, self.key), ("value", value, self.value)] {
            if bytes.len() >= limit {
                let limit = limit.saturating_sub(1);
                return Err(Unsendable::TooLong { field, length: bytes.len(), limit });
            }
        }
        Ok(())
    }
}
