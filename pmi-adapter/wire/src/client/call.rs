//! What a client asks for.

/// One call to a server. Several at once are not possible, except that others may be made while a
/// [`Call::Barrier`] waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Call<'a> {
    /// The first call on every connection but one through `PMI_PORT`; asks for PMI 1.1 (Slurm accepts no other 1.x)
    /// or 2.0. Answer: [`Answer::Init`](super::Answer::Init).
    Init,
    /// Before [`Call::Init`], on a PMI-1 connection through `PMI_PORT`. Answer:
    /// [`Answer::Identity`](super::Answer::Identity).
    InitAck {
        /// What stands in `PMI_ID`.
        id: &'a [u8],
    },
    /// After [`Call::Init`], PMI-2 only. Answer: [`Answer::Identity`](super::Answer::Identity).
    FullInit {
        /// `PMI_ID` if there is one, else `PMI_RANK`.
        rank: u32,
        /// `PMI_JOBID`, if there is one; Slurm wants it.
        job: Option<&'a [u8]>,
    },
    /// PMI-1 only. Answer: [`Answer::Maxes`](super::Answer::Maxes).
    Maxes,
    /// PMI-1 only. Answer: [`Answer::Number`](super::Answer::Number).
    Appnum,
    /// PMI-1; in PMI-2 the job attribute `universeSize` has it. Answer: [`Answer::Number`](super::Answer::Number).
    UniverseSize,
    /// The kvsname or job id. Answer: [`Answer::Name`](super::Answer::Name).
    MyName,
    /// Answer: [`Answer::Done`](super::Answer::Done).
    Put {
        /// The kvsname; not sent in PMI-2.
        space: &'a [u8],
        /// The key.
        key: &'a [u8],
        /// The value.
        value: &'a [u8],
    },
    /// In PMI-2 only after the first [`Call::Barrier`], and always with the server's own kvsname: Hydra ends the job
    /// otherwise. Answer: [`Answer::Value`](super::Answer::Value) or [`Answer::NotFound`](super::Answer::NotFound).
    Get {
        /// The kvsname or job id.
        space: &'a [u8],
        /// The key.
        key: &'a [u8],
        /// The rank that put it, if known; PMI-2 only.
        source: Option<u32>,
    },
    /// A barrier; in PMI-2 a fence. Answer: [`Answer::Barrier`](super::Answer::Barrier).
    Barrier,
    /// PMI-2 only. Answer: [`Answer::Value`](super::Answer::Value) or [`Answer::NotFound`](super::Answer::NotFound).
    JobAttribute {
        /// The attribute.
        key: &'a [u8],
    },
    /// PMI-2 only. Answer: [`Answer::Done`](super::Answer::Done).
    PutNodeAttribute {
        /// The attribute.
        key: &'a [u8],
        /// Its value.
        value: &'a [u8],
    },
    /// PMI-2 only. Answer: [`Answer::Value`](super::Answer::Value) or [`Answer::NotFound`](super::Answer::NotFound).
    GetNodeAttribute {
        /// The attribute.
        key: &'a [u8],
        /// Whether to wait until somebody has put it.
        wait: bool,
    },
    /// PMI-2 of Slurm and ours only. Answer: [`Answer::Ring`](super::Answer::Ring).
    Ring {
        /// What this process adds to the running count.
        count: i32,
        /// What it gives to its left neighbour.
        left: &'a [u8],
        /// What it gives to its right neighbour.
        right: &'a [u8],
    },
    /// The last call. Answer: [`Answer::Done`](super::Answer::Done).
    Finalize,
    /// Ends the whole job; there is no answer. The message is written as the dialect can carry it, cut if need be.
    Abort {
        /// The exit code.
        code: i32,
        /// Why.
        message: &'a [u8],
    },
}
