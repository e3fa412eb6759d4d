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
