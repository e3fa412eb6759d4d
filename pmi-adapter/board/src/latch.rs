//! A lock in shared memory that survives its holder.
//!
//! The word names the holder's slot. Whoever has waited for a while asks the kernel whether that slot still
//! lives, and takes the lock from a dead one. What the lock protects must therefore be whole at every
//! instruction: see [`UpLog`](crate::uplog::UpLog).

use std::sync::atomic::AtomicU32;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use crate::kernel::{Holder, Kernel, Woken, Word, slot_of};

/// Set while somebody may be asleep on the word.
const WAITED: u32 = 1 << 31;

/// How long to wait before asking whether the holder lives. The lock is held for microseconds: longer means
/// that the holder is dead or has lost its processor.
const PATIENCE: Duration = Duration::from_millis(10);

/// Proof that this process holds the latch: only [`Latch::lock`] makes one.
#[derive(Debug)]
pub struct Held(());

/// The lock word. Zero is free.
#[derive(Debug, Default)]
#[repr(transparent)]
pub struct Latch<W = AtomicU32> {
    word: W,
}

impl<W: Word<u32>> Latch<W> {
    /// Takes the lock, from a dead holder if need be. Not re-entrant.
    pub fn lock(&self, me: Holder, kernel: &impl Kernel<W>) -> Held {
        let mut mine = me;
        loop {
            let seen = self.word.load(Relaxed);
            if seen == 0 {
                if self.word.replace(0, mine) {
                    return Held(());
                }
                continue;
            }
            if seen & WAITED == 0 && !self.word.replace(seen, seen | WAITED) {
                continue;
            }
            // There may be other sleepers whom our unlock has to wake.
            mine = me | WAITED;
            if self.sleep_or_steal(seen | WAITED, mine, kernel) {
                return Held(());
            }
        }
    }

    /// Sleeps on the word; true if its holder turned out dead and the lock is now ours.
    fn sleep_or_steal(&self, seen: u32, mine: u32, kernel: &impl Kernel<W>) -> bool {
        kernel.wait(&self.word, seen, PATIENCE) == Woken::TimedOut
            && !kernel.is_alive(slot_of(seen & !WAITED))
            && self.word.replace(seen, mine)
    }

    /// Frees the lock and wakes one sleeper, if there may be any.
    pub fn unlock(&self, held: Held, kernel: &impl Kernel<W>) {
        let Held(()) = held;
        if self.word.swap(0) & WAITED != 0 {
            kernel.wake(&self.word, 1);
        }
    }
}
