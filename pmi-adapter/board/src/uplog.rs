//! The up-log's bookkeeping: a ring with absolute offsets that only ever grow.
//!
//! ```text
//!   room <= base <= end <= room + capacity
//! ```
//!
//! Records are written beyond `end` under a [`Latch`] and become visible all at once when `end` moves; a
//! process that dies before leaves nothing. `base` is where the delegate reads next. The pages of `[room,
//! base)` go back to the kernel before `room` moves, because writers may use them again from then on.

use std::sync::atomic::Ordering::{Acquire, Release};
use std::sync::atomic::{AtomicU32, AtomicU64};

use crate::kernel::{Holder, Kernel, Word};
use crate::latch::{Held, Latch};
use crate::turnstile::Lead;

/// Bytes of the ring. Sparse: only what is in flight takes memory. Rank processes that put more than this
/// between two barriers make the delegate ship in between.
pub const CAPACITY: u64 = 64 << 20;

/// Pages are given back in pieces of this size: each costs a system call and a page fault for the next lap.
pub const RECLAIM: u64 = 1 << 20;

const _: () = {
    assert!(CAPACITY.is_multiple_of(RECLAIM), "a piece never wraps around the end of the ring");
    assert!(
        RECLAIM as usize >= 64 * pmi_protocol::limits::RECORD_MAX,
        "there is always room for records"
    );
};

/// The up-log cannot take the records until the server has got some of the earlier ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UpLogFull {
    /// Bytes that were to be committed.
    pub wanted: u64,
    /// Bytes that would have fitted.
    pub room: u64,
}

impl std::fmt::Display for UpLogFull {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let UpLogFull { wanted, room } = self;
        write!(
            f,
            "the node's up-log has {room} bytes left, {wanted} are needed: \
             commit less at once, or pass a barrier in between"
        )
    }
}

impl std::error::Error for UpLogFull {}

/// The ring's words. All zero is the empty ring.
#[derive(Debug, Default)]
#[repr(C, align(64))]
pub struct UpLog<W32 = AtomicU32, W64 = AtomicU64> {
    latch: Latch<W32>,
    reserved: u32,
    end: W64,
    reserved2: [u64; 6],
    base: W64,
    room: W64,
    reserved3: [u64; 6],
}

impl<W32: Word<u32>, W64: Word<u64>> UpLog<W32, W64> {
    /// End of what is committed.
    pub fn end(&self) -> u64 {
        self.end.load(Acquire)
    }

    /// Start of what the server may still lack.
    pub fn base(&self) -> u64 {
        self.base.load(Acquire)
    }

    /// Commits `len` bytes that `write` puts at the offset it is told.
    pub fn append(
        &self,
        me: Holder,
        kernel: &impl Kernel<W32>,
        len: u64,
        write: impl FnOnce(&mut Held, u64),
    ) -> Result<(), UpLogFull> {
        let mut held = self.latch.lock(me, kernel);
        let end = self.end.load(Acquire);
        let room = self.room.load(Acquire) + CAPACITY - end;
        if len <= room {
            write(&mut held, end);
            self.end.store(end + len, Release);
        }
        self.latch.unlock(held, kernel);
        if len <= room { Ok(()) } else { Err(UpLogFull { wanted: len, room }) }
    }

    /// Gives up everything below `to`; `reclaim` returns whole pieces `[from, to)` of the ring to the kernel.
    pub fn release(&self, _lead: &mut Lead, to: u64, reclaim: impl FnOnce(u64, u64)) {
        let to = to.min(self.end());
        if to <= self.base() {
            return;
        }
        self.base.store(to, Release);
        let (from, to) = (self.room.load(Acquire), to / RECLAIM * RECLAIM);
        if to > from {
            reclaim(from, to);
            self.room.store(to, Release);
        }
    }
}

#[cfg(test)]
mod tests {
    use nix::sys::signal::{Signal, raise};

    use crate::{Board, BoardConfig};

    const JOB: &str = "PMI_BOARD_TEST_LATCH_JOB";

    fn open(job: &str) -> Board {
        let (secret, local_size) = (&[3; 32], Some(2));
        let log_ceiling = 1 << 20;
        let config =
            BoardConfig { secret, job, node: None, size: 2, local_size, log_ceiling, share: true };
        Board::open(&config).unwrap()
    }

    /// Not a test by itself: dies while it holds the latch.
    #[test]
    fn victim() {
        let Ok(job) = std::env::var(JOB) else { return };
        let board = open(&job);
        let slot = board.claim(1).unwrap();
        let die = |_: &mut _, _| raise(Signal::SIGKILL).unwrap();
        let shared = board.shared();
        shared.header().uplog.append(slot.holder(), shared, 8, die).unwrap();
    }

    #[test]
    fn the_latch_is_taken_from_a_dead_process_and_its_commit_never_was() {
        let job = format!("latch-{}", std::process::id());
        let board = open(&job);
        let slot = board.claim(0).unwrap();
        let status = std::process::Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "uplog::tests::victim"])
            .env(JOB, &job)
            .stdout(std::process::Stdio::null())
            .status()
            .unwrap();
        assert_eq!(std::os::unix::process::ExitStatusExt::signal(&status), Some(9));
        board.commit(&slot, b"survivor").unwrap();
        assert_eq!(board.up_end(), 8);
    }
}
