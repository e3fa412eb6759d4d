//! What a server answers.

/// The answer to a request. [`Request`](super::Request) says which belong to which; another one is written as well
/// as the request's own form allows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reply<'a> {
    /// The version we speak: 1.1 to any 1.x, 2.0 to any 2.x, and rc=-1 to others.
    Init,
    /// Who the client is.
    Identity {
        /// Its rank in its group.
        rank: u32,
        /// The size of its group.
        size: u32,
        /// The index of its program; PMI-2 only, PMI-1 asks for it separately.
        appnum: i32,
        /// The job that spawned its group (PMI-2).
        spawner: Option<&'a [u8]>,
    },
    /// The lengths in [`limits`](crate::limits).
    Maxes,
    /// An appnum or a universe size.
    Number(i64),
    /// A kvsname or job id.
    Name(&'a [u8]),
    /// The value of a key or attribute, or the port of a service.
    Value(&'a [u8]),
    /// There is no such key, attribute or service.
    NotFound {
        /// What was asked for; PMI-1 repeats it.
        key: &'a [u8],
    },
    /// One pair of a space, for `getbyidx`.
    Pair {
        /// The key.
        key: &'a [u8],
        /// Its value.
        value: &'a [u8],
        /// The index to ask for next.
        next: u32,
    },
    /// It is done.
    Done,
    /// The outcome of a ring.
    Ring {
        /// The sum of the counts of all processes to the left.
        count: i32,
        /// What the left neighbour gave to its right.
        left: &'a [u8],
        /// What the right neighbour gave to its left.
        right: &'a [u8],
    },
    /// The new processes are started, or some of them.
    Spawned {
        /// The new group's job id.
        job: &'a [u8],
        /// One error code for each process; empty: none failed.
        errors: &'a [i32],
    },
    /// It could not be done. Clients give up then, some of them without a word: say so to the user as well.
    Failed {
        /// Not 0. -1 is PMI_FAIL.
        code: i32,
        /// Why. PMI-1 carries it with underscores instead of spaces.
        text: &'a str,
    },
}
