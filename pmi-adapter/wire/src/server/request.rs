//! What clients ask for.

use crate::Text;

/// One request of a client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Request<'a> {
    /// The first line of every connection (PMI-1 `init`). Answer: [`Reply::Init`](super::Reply::Init).
    Init {
        /// 1 or 2; others are refused by the answer.
        version: u32,
        /// 0, 1 or 2 in the field.
        subversion: u32,
    },
    /// Who speaks, on a connection made through `PMI_PORT` (PMI-1 `initack`, before `init`): the client's `PMI_ID`.
    /// Answer: [`Reply::Identity`](super::Reply::Identity).
    InitAck {
        /// What stood in `PMI_ID`.
        id: Text<'a>,
    },
    /// Who speaks, in PMI-2 (`fullinit`, after `init`). Answer: [`Reply::Identity`](super::Reply::Identity).
    FullInit {
        /// `pmirank`, `srcid` (NVSHMEM on `PMI_PORT`) or `pmiid`: the client's `PMI_ID` if it has one, else its
        /// `PMI_RANK`.
        id: Option<Text<'a>>,
        /// The client's `PMI_JOBID`.
        job: Option<Text<'a>>,
        /// Whether requests of several threads may be outstanding at once.
        threaded: bool,
    },
    /// `get_maxes`. Answer: [`Reply::Maxes`](super::Reply::Maxes).
    Maxes,
    /// `get_appnum`. Answer: [`Reply::Number`](super::Reply::Number).
    Appnum,
    /// `get_universe_size`. Answer: [`Reply::Number`](super::Reply::Number).
    UniverseSize,
    /// The kvsname or job id of the group (`get_my_kvsname`, `job-getid`). Answer: [`Reply::Name`](super::Reply::Name).
    MyName,
    /// `put`, `kvs-put`. Answer: [`Reply::Done`](super::Reply::Done).
    Put {
        /// The kvsname; `None` is the group's own.
        space: Option<Text<'a>>,
        /// The key.
        key: Text<'a>,
        /// The value; may be empty.
        value: Text<'a>,
    },
    /// `get`, `kvs-get`. Answer: [`Reply::Value`](super::Reply::Value) or [`Reply::NotFound`](super::Reply::NotFound).
    Get {
        /// The kvsname or job id; `None`, which NVSHMEM sends as an empty one, is the group's own.
        space: Option<Text<'a>>,
        /// The key.
        key: Text<'a>,
        /// The rank that put it, if the client knows (PMI-2 `srcid`, -1 is unknown). A hint.
        source: Option<u32>,
    },
    /// `getbyidx` of old PMI-1 clients. Answer: [`Reply::Pair`](super::Reply::Pair) or
    /// [`Reply::NotFound`](super::Reply::NotFound) past the last one.
    GetByIndex {
        /// The kvsname.
        space: Option<Text<'a>>,
        /// Counted from 0.
        index: u32,
    },
    /// `barrier_in`, `kvs-fence`. Answer, when everybody has come: [`Reply::Done`](super::Reply::Done).
    Barrier {
        /// The ranks that take part, as only clients of a PMI 1.2 server ask: we answer 1.1, so `None`.
        group: Option<Text<'a>>,
    },
    /// `info-getjobattr`. Answer: [`Reply::Value`](super::Reply::Value) or [`Reply::NotFound`](super::Reply::NotFound).
    JobAttribute {
        /// For example `PMI_process_mapping` or `universeSize`.
        key: Text<'a>,
    },
    /// `info-putnodeattr`. Answer: [`Reply::Done`](super::Reply::Done).
    PutNodeAttribute {
        /// The attribute, seen by the processes of this node only.
        key: Text<'a>,
        /// Its value.
        value: Text<'a>,
    },
    /// `info-getnodeattr`. Answer: [`Reply::Value`](super::Reply::Value) or [`Reply::NotFound`](super::Reply::NotFound).
    GetNodeAttribute {
        /// The attribute.
        key: Text<'a>,
        /// Whether the answer shall wait until somebody has put it.
        wait: bool,
    },
    /// `ring` of Slurm's PMI-2. Answer, when everybody has come: [`Reply::Ring`](super::Reply::Ring).
    Ring {
        /// What this process adds to the running count.
        count: i32,
        /// What it gives to its left neighbour.
        left: Text<'a>,
        /// What it gives to its right neighbour.
        right: Text<'a>,
    },
    /// `finalize`. Answer: [`Reply::Done`](super::Reply::Done); the client closes the connection then.
    Finalize,
    /// `abort`. There is no answer.
    Abort {
        /// The exit code to end with; 1 if the client gave none.
        code: i32,
        /// Why; may be empty.
        message: Text<'a>,
        /// Whether the whole job ends (PMI-2 `isworld`); PMI-1 knows nothing else.
        world: bool,
    },
    /// `publish_name`, `name-publish`. Answer: [`Reply::Done`](super::Reply::Done).
    Publish {
        /// The service's name, which may have spaces.
        service: Text<'a>,
        /// Where to find it.
        port: Text<'a>,
    },
    /// `unpublish_name`, `name-unpublish`. Answer: [`Reply::Done`](super::Reply::Done).
    Unpublish {
        /// The service's name.
        service: Text<'a>,
    },
    /// `lookup_name`, `name-lookup`. Answer: [`Reply::Value`](super::Reply::Value) or
    /// [`Reply::NotFound`](super::Reply::NotFound).
    Lookup {
        /// The service's name.
        service: Text<'a>,
    },
    /// `spawn`. Answer: [`Reply::Spawned`](super::Reply::Spawned).
    Spawn(Spawn<'a>),
    /// `create_kvs`. Answer: [`Reply::Name`](super::Reply::Name).
    CreateSpace,
    /// `destroy_kvs`. Answer: [`Reply::Done`](super::Reply::Done).
    DestroySpace {
        /// The kvsname.
        space: Text<'a>,
    },
    /// `job-connect`. Answer: [`Reply::Done`](super::Reply::Done).
    Connect {
        /// The other job.
        job: Text<'a>,
    },
    /// `job-disconnect`. Answer: [`Reply::Done`](super::Reply::Done).
    Disconnect {
        /// The other job.
        job: Text<'a>,
    },
    /// A command that this protocol does not have. Answer: [`Reply::Failed`](super::Reply::Failed).
    Unknown {
        /// Its name.
        command: Text<'a>,
    },
}

/// A request to start more processes, as one group.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Spawn<'a> {
    /// What to run; the index is the appnum.
    pub commands: Vec<Command<'a>>,
    /// Pairs that the new group finds in its key-value space.
    pub preputs: Vec<(Text<'a>, Text<'a>)>,
}

/// One program of a spawn request.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Command<'a> {
    /// The program.
    pub program: Text<'a>,
    /// Its arguments, without the program.
    pub arguments: Vec<Text<'a>>,
    /// How many processes.
    pub processes: u32,
    /// MPI info keys and values (`wdir`, `host`, …).
    pub infos: Vec<(Text<'a>, Text<'a>)>,
}

impl Spawn<'_> {
    /// Processes of all commands together.
    pub fn processes(&self) -> u64 {
        self.commands.iter().map(|command| u64::from(command.processes)).sum()
    }
}
