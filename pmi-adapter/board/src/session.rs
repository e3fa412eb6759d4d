//! The session of one rank with the key-value server of its job, through the board of its node.

use std::net::SocketAddr;
use std::time::Duration;

/// What a rank must know to join its job.
#[derive(Clone, Debug)]
pub struct Config {
    /// This process's rank.
    pub rank: u32,
    /// Number of ranks in the process group.
    pub size: u32,
    /// Job name, which is the default kvsname.
    pub job: String,
    /// The job's 256-bit key.
    pub secret: [u8; 32],
    /// Every address of the server; all are tried at once, the first to answer wins.
    pub servers: Vec<SocketAddr>,
    /// How many ranks of the group run on this node, where known. A hint.
    pub local_size: Option<u32>,
    /// Longest time that a call may wait; `None`: as long as progress is possible.
    pub timeout: Option<Duration>,
    /// Ceiling of the log in bytes.
    pub log_ceiling: u64,
    /// May the board be shared with other processes? `false` gives a private board.
    pub share: bool,
}

/// Why a call failed. The text of each says what to do next.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Error {
    /// The kvsname is not one of this job's, or its space has been destroyed.
    NoSuchSpace,
    /// The space has no such key.
    NoSuchKey,
    /// The key is empty or longer than its limit.
    KeyLength,
    /// The value is longer than its limit.
    ValueLength,
    /// The log is full.
    Full(String),
    /// The job is over: a rank died or called `PMI_Abort`.
    Over(String),
    /// `PMI_TIMEOUT` has passed, or the server is silent.
    Timeout(String),
    /// The job turned this rank away: wrong size, rank taken, ….
    Refused(String),
    /// The operating system did.
    System(String),
}

/// A rank's session. All methods may be called from any thread; barriers are taken one at a time.
pub struct Session {}

impl Session {
    /// Joins the job: attaches to the board, or makes it, and greets the server unless a peer has done so.
    pub fn join(config: Config) -> Result<Session, Error> {
        let _ = config;
        todo!()
    }

    /// The default kvsname.
    pub fn kvsname(&self) -> &str {
        todo!()
    }

    /// `PMI_KVS_Create`: makes a space and returns its kvsname, usable by all ranks at once.
    pub fn create_space(&self) -> Result<String, Error> {
        todo!()
    }

    /// `PMI_KVS_Destroy`. The group's own space cannot be destroyed (`NoSuchSpace`).
    pub fn destroy_space(&self, kvsname: &[u8]) -> Result<(), Error> {
        let _ = kvsname;
        todo!()
    }

    /// `PMI_KVS_Put`.
    pub fn put(&self, kvsname: &[u8], key: &[u8], value: &[u8]) -> Result<(), Error> {
        let _ = (kvsname, key, value);
        todo!()
    }

    /// `PMI_KVS_Commit`.
    pub fn commit(&self, kvsname: &[u8]) -> Result<(), Error> {
        let _ = kvsname;
        todo!()
    }

    /// `PMI_KVS_Get`: calls `read` with the value.
    pub fn get<R>(&self, kvsname: &[u8], key: &[u8], read: impl FnOnce(&[u8]) -> R) -> Result<R, Error> {
        let _ = (kvsname, key, read);
        todo!()
    }

    /// The pair of a space that follows `cursor` (0: the first), with the cursor of the next; `None` at the end.
    /// Calls `read` with key and value.
    pub fn next_pair<R>(
        &self,
        kvsname: &[u8],
        cursor: u64,
        read: impl FnOnce(&[u8], &[u8]) -> R,
    ) -> Result<Option<(u64, R)>, Error> {
        let _ = (kvsname, cursor, read);
        todo!()
    }

    /// `PMI_Barrier`.
    pub fn barrier(&self) -> Result<(), Error> {
        todo!()
    }

    /// `PMI_Abort`'s message to the job: returns when the server knows, or after two seconds.
    pub fn abort(&self, code: i32, text: &str) {
        let _ = (code, text);
        todo!()
    }

    /// `PMI_Finalize`. Dropping a session without it means that the rank died.
    pub fn finalize(&self) -> Result<(), Error> {
        todo!()
    }
}
