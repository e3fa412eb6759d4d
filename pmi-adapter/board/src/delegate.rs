//! The delegate's rights: what only one process on the board may do at a time.

use std::sync::atomic::Ordering::SeqCst;

use crate::board::Board;
use crate::index::{self, BadLog};
use crate::turnstile::Lead;

/// The down-log would grow beyond its ceiling.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CeilingExceeded {
    /// End of the bytes that did not fit.
    pub end: u64,
    /// Bytes that the down-log can hold.
    pub ceiling: u64,
}

impl std::fmt::Display for CeilingExceeded {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let CeilingExceeded { end, ceiling } = self;
        write!(
            f,
            "the job's log needs {end} bytes and this node's board holds {ceiling}: \
             give all processes the same, larger PMI_KVS_LOG_CEILING"
        )
    }
}

impl std::error::Error for CeilingExceeded {}

/// The right to speak for the node. Dropping it without [`open_epoch`](Self::open_epoch) or
/// [`step_down`](Self::step_down) resigns: one of those who wait takes over.
#[derive(Debug)]
pub struct Delegate<'a> {
    board: &'a Board,
    /// Present until drop.
    lead: Option<Lead>,
}

impl<'a> Delegate<'a> {
    pub(crate) fn new(board: &'a Board, lead: Lead) -> Delegate<'a> {
        Delegate { board, lead: Some(lead) }
    }

    fn lead(&mut self) -> &mut Lead {
        self.lead.as_mut().expect("present until drop")
    }

    /// Announces where this delegate listens: a UDP port on loopback. Look at the arrivals after this, not before:
    /// then whoever is not among them sees the port.
    pub fn set_port(&mut self, port: u16) {
        self.board.shared().header().people.port.store(port.into(), SeqCst);
    }

    /// Appends the up-log's bytes `[offset, offset + len)` to `out`, as far as they are committed and not released.
    pub fn up_read(&self, offset: u64, len: usize, out: &mut Vec<u8>) {
        let lead = self.lead.as_ref().expect("present until drop");
        let end = self.board.up_end().min(offset.saturating_add(len as u64));
        if offset >= self.board.up_base() && offset < end {
            self.board.shared().segment().read_ring(lead, offset, (end - offset) as usize, out);
        }
    }

    /// The server holds everything below `to`: gives up the space, and the memory when there is enough of it.
    pub fn up_release(&mut self, to: u64) {
        let shared = self.board.shared();
        let reclaim = |from, to| shared.segment().discard_ring(from, to);
        shared.header().uplog.release(self.lead(), to, reclaim);
    }

    /// Copies bytes of the server's log into the down-log. They stay invisible until
    /// [`open_epoch`](Self::open_epoch). What is visible already is skipped.
    pub fn down_write(&mut self, offset: u64, bytes: &[u8]) -> Result<(), CeilingExceeded> {
        let segment = self.board.shared().segment();
        let written = segment.write_log(self.lead(), offset, bytes);
        let end = offset.saturating_add(bytes.len() as u64);
        let ceiling = segment.founding().ceiling;
        if written { Ok(()) } else { Err(CeilingExceeded { end, ceiling }) }
    }

    /// Indexes the down-log up to `mark`, makes it visible, opens `epoch` and wakes everybody. All bytes below
    /// `mark` must have been written. For an epoch that is open already, and a mark that is visible already, it
    /// only gives up the lead.
    ///
    /// The up-log is released as far as the log says that the server has it. That may be less than the delegate has
    /// sent: the server may have opened the epoch on the word of an earlier one, before the last commits.
    ///
    /// # Errors
    /// The bytes are not whole records. The lead is given up; the job should be failed.
    pub fn open_epoch(mut self, epoch: u32, mark: u64) -> Result<(), BadLog> {
        let board = self.board;
        let segment = board.shared().segment();
        if let Some(cursor) = index::extend(segment, self.lead(), mark)? {
            self.up_release(cursor);
        }
        segment.publish(self.lead(), mark);
        self.set_port(0);
        if let Some(lead) = self.lead.take() {
            board.turnstile().open(lead, epoch, board.shared());
        }
        Ok(())
    }

    /// Gives up the lead because there is nothing left to do, waking nobody.
    pub fn step_down(mut self) {
        self.set_port(0);
        if let Some(lead) = self.lead.take() {
            self.board.turnstile().step_down(lead);
        }
    }
}

impl Drop for Delegate<'_> {
    fn drop(&mut self) {
        let Some(lead) = self.lead.take() else { return };
        if self.board.is_owner() {
            self.board.shared().header().people.port.store(0, SeqCst);
            self.board.turnstile().resign(lead, self.board.shared());
        }
    }
}
