//! The control channel between a server and its launcher: JSON objects, one a line, both ways.
//!
//! The channel is a socket inherited by the server (`--control-fd`), or its standard input and output. Its
//! end is also the server's lifeline: when the launcher is gone, the server ends.

use serde::{Deserialize, Serialize};

/// What a launcher says to its server.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "command", rename_all = "kebab-case", rename_all_fields = "kebab-case")]
pub enum Command {
    /// Open a further process group on the same server.
    AddGroup {
        /// Its job name, which is its default kvsname.
        group: String,
        /// Its number of ranks.
        size: u32,
        /// Pairs that every rank sees from the start.
        #[serde(default)]
        puts: Vec<(String, String)>,
    },
    /// A rank's process has ended, as its launcher saw it: ended without `PMI_Finalize`, by a signal, or with
    /// an exit code that fails the job. The group is over.
    Fail {
        /// Job name of the group.
        group: String,
        /// The rank.
        rank: u32,
        /// Exit code that the job shall have.
        code: i32,
        /// One line that says what happened, for the ranks that are released with an error.
        message: String,
    },
    /// A rank's process has exited with code 0. The server answers with `Fault` if the rank had joined over a
    /// private board and never finalized; otherwise it says nothing.
    Exited {
        /// Job name of the group.
        group: String,
        /// The rank.
        rank: u32,
    },
    /// Send a `Statistics` event now.
    Statistics,
    /// Send a last `Statistics` event and end.
    Shutdown,
}

/// What a server says to its launcher.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "kebab-case", rename_all_fields = "kebab-case")]
pub enum Event {
    /// The server answers on these addresses (`host:port`).
    Ready {
        /// Values for `PMI_KVS_SERVER`.
        addresses: Vec<String>,
        /// 1 at first start, one more after each restart on the same log memory.
        incarnation: u32,
    },
    /// A rank called `PMI_Abort`.
    Abort {
        /// Job name of the group.
        group: String,
        /// The rank.
        rank: u32,
        /// Its host, where known.
        host: Option<String>,
        /// Its exit code.
        code: i32,
        /// Its message.
        message: String,
    },
    /// The group is over for another reason: a rank died, two ranks claim one number, the log is full.
    Fault {
        /// Job name of the group.
        group: String,
        /// The rank at fault, where there is one.
        rank: Option<u32>,
        /// A host of the job does not answer any more: whoever ends the job need not wait for it.
        unanswered: bool,
        /// What happened and what to do next.
        message: String,
    },
    /// A node's host does not answer any more. The group goes on until a barrier waits.
    Lost {
        /// Job name of the group.
        group: String,
        /// Which host, with which ranks, and what follows.
        message: String,
    },
    /// A node was turned away, the group goes on: a size that contradicts the group's, an unknown job name.
    Refused {
        /// Job name of the group that it asked for, where known.
        group: Option<String>,
        /// What happened and what to do next.
        message: String,
    },
    /// A barrier has been waiting for a while.
    Stalled {
        /// Job name of the group.
        group: String,
        /// Number of the barrier, counted from 1.
        barrier: u32,
        /// Whole seconds since its first arrival.
        waited_seconds: u64,
        /// The ranks it waits for, as `0-3,7`.
        missing: String,
        /// Hosts of those missing ranks that have joined.
        hosts: Vec<String>,
    },
    /// Every rank of the group has finalized.
    Finalized {
        /// Job name of the group.
        group: String,
    },
    /// A command could not be carried out.
    Error {
        /// Why, and what to do next.
        message: String,
    },
    /// Counters since the server's start.
    Statistics(Statistics),
}

/// Counters of a server since its start.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Statistics {
    /// Datagrams received and accepted.
    pub datagrams_in: u64,
    /// Bytes of the datagrams received and accepted.
    pub bytes_in: u64,
    /// Datagrams sent.
    pub datagrams_out: u64,
    /// Bytes of the datagrams sent.
    pub bytes_out: u64,
    /// Datagrams dropped because they were not well formed or did not authenticate.
    pub dropped: u64,
    /// Datagrams that said nothing new (resent or duplicated).
    pub repeated: u64,
    /// Barriers released, over all groups.
    pub barriers: u64,
    /// Nodes that have joined, over all groups.
    pub nodes: u64,
    /// Bytes of all logs.
    pub log_bytes: u64,
}
