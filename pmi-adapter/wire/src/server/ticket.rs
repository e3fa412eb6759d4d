//! What must be kept of a request to answer it later.

use crate::Dialect;
use crate::limits::THREAD_ID_MAX;

/// Stands for one request until it is answered: which form the answer takes, and to which thread of the client it
/// goes. Barriers and waiting node attributes are answered later, and requests of PMI-2 threads in any order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ticket {
    pub(super) dialect: Dialect,
    pub(super) kind: Kind,
    pub(super) thread: Thread,
}

impl Ticket {
    /// The form of the request, and of its answer.
    pub fn dialect(&self) -> Dialect {
        self.dialect
    }

    /// Whether the client waits for an answer; only an abort has none.
    pub fn wants_answer(&self) -> bool {
        self.kind != Kind::Abort
    }
}

/// The kind of a request, which names the answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Init { version: u32 },
    InitAck,
    FullInit,
    Maxes,
    Appnum,
    UniverseSize,
    MyName,
    Put,
    Get,
    GetByIndex,
    Barrier,
    JobAttribute,
    PutNodeAttribute,
    GetNodeAttribute,
    Ring,
    Finalize,
    Abort,
    Publish,
    Unpublish,
    Lookup,
    Spawn,
    CreateSpace,
    DestroySpace,
    Connect,
    Disconnect,
    Unknown,
}

impl Kind {
    /// The command that answers in `dialect`. A request that belongs to the other dialect is answered in its own
    /// words, in the form that it came in.
    pub(super) fn answer(self, dialect: Dialect) -> &'static str {
        match (self, dialect) {
            (Self::MyName, Dialect::V1) => "my_kvsname",
            (Self::MyName, Dialect::V2) => "job-getid-response",
            (Self::Put, Dialect::V1) => "put_result",
            (Self::Put, Dialect::V2) => "kvs-put-response",
            (Self::Get, Dialect::V1) => "get_result",
            (Self::Get, Dialect::V2) => "kvs-get-response",
            (Self::Barrier, Dialect::V1) => "barrier_out",
            (Self::Barrier, Dialect::V2) => "kvs-fence-response",
            (Self::Finalize, Dialect::V1) => "finalize_ack",
            (Self::Finalize, Dialect::V2) => "finalize-response",
            (Self::Publish, Dialect::V1) => "publish_result",
            (Self::Publish, Dialect::V2) => "name-publish-response",
            (Self::Unpublish, Dialect::V1) => "unpublish_result",
            (Self::Unpublish, Dialect::V2) => "name-unpublish-response",
            (Self::Lookup, Dialect::V1) => "lookup_result",
            (Self::Lookup, Dialect::V2) => "name-lookup-response",
            (Self::Spawn, Dialect::V1) => "spawn_result",
            (Self::Spawn, Dialect::V2) => "spawn-response",
            _ => self.only_answer(),
        }
    }

    fn only_answer(self) -> &'static str {
        match self {
            Self::InitAck => "initack",
            Self::FullInit => "fullinit-response",
            Self::Maxes => "maxes",
            Self::Appnum => "appnum",
            Self::UniverseSize => "universe_size",
            Self::GetByIndex => "getbyidx_results",
            Self::JobAttribute => "info-getjobattr-response",
            Self::PutNodeAttribute => "info-putnodeattr-response",
            Self::GetNodeAttribute => "info-getnodeattr-response",
            Self::Ring => "ring-response",
            Self::CreateSpace => "newkvs",
            Self::DestroySpace => "kvs_destroyed",
            Self::Connect => "job-connect-response",
            Self::Disconnect => "job-disconnect-response",
            _ => "unknown_command",
        }
    }

    /// The name of the attribute of an answer that is one number.
    pub(super) fn number_name(self) -> &'static str {
        if self == Self::Appnum { "appnum" } else { "size" }
    }
}

/// A PMI-2 `thrid`: opaque bytes that the client gets back; empty if it sent none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Thread {
    bytes: [u8; THREAD_ID_MAX],
    length: usize,
}

impl Thread {
    pub(super) const NONE: Self = Self { bytes: [0; THREAD_ID_MAX], length: 0 };

    /// `None` if it is too long to be kept.
    pub(super) fn new(id: &[u8]) -> Option<Self> {
        let mut thread = Self { length: id.len(), ..Self::NONE };
        thread.bytes.get_mut(..id.len())?.copy_from_slice(id);
        Some(thread)
    }

    pub(super) fn as_bytes(&self) -> &[u8] {
        &self.bytes[..self.length]
    }
}
