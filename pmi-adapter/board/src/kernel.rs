//! What the shared-memory algorithms ask of a machine: atomic words and a kernel.
//!
//! [`Turnstile`](crate::turnstile::Turnstile), [`Latch`](crate::latch::Latch) and
//! [`UpLog`](crate::uplog::UpLog) are generic over these traits, so that the model checker runs the very code
//! that ships.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

/// An atomic number of type `T`, valid when all its bytes are zero.
pub trait Word<T> {
    /// Atomic load.
    fn load(&self, order: Ordering) -> T;
    /// Atomic store.
    fn store(&self, value: T, order: Ordering);
    /// Atomic exchange, acquire and release.
    fn swap(&self, value: T) -> T;
    /// Atomic addition, sequentially consistent; returns the value before.
    fn fetch_add(&self, value: T) -> T;
    /// Atomic compare-and-exchange, acquire and release; true if `new` was stored.
    fn replace(&self, current: T, new: T) -> bool;
}

macro_rules! impl_word {
    ($atomic:ty, $number:ty) => {
        impl Word<$number> for $atomic {
            fn load(&self, order: Ordering) -> $number {
                <$atomic>::load(self, order)
            }
            fn store(&self, value: $number, order: Ordering) {
                <$atomic>::store(self, value, order)
            }
            fn swap(&self, value: $number) -> $number {
                <$atomic>::swap(self, value, Ordering::AcqRel)
            }
            fn fetch_add(&self, value: $number) -> $number {
                <$atomic>::fetch_add(self, value, Ordering::SeqCst)
            }
            fn replace(&self, current: $number, new: $number) -> bool {
                self.compare_exchange(current, new, Ordering::AcqRel, Ordering::Acquire).is_ok()
            }
        }
    };
}
impl_word!(AtomicU32, u32);
impl_word!(AtomicU64, u64);

/// How a futex wait ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Woken {
    /// The word differs, somebody woke us, or a signal came: look again.
    LookAgain,
    /// Patience has ended.
    TimedOut,
}

/// Shared futexes and the liveness of slots.
pub trait Kernel<W> {
    /// Sleeps while `word` holds `expected`, until woken, for at most `patience`.
    fn wait(&self, word: &W, expected: u32, patience: Duration) -> Woken;
    /// Wakes up to `count` sleepers of `word`.
    fn wake(&self, word: &W, count: u32);
    /// Does the process that claimed the slot still live?
    fn is_alive(&self, slot: u32) -> bool;
}

/// A slot as the words of turnstile and latch name it: index + 1, so that 0 means nobody.
pub type Holder = u32;

/// Slot index of a holder.
pub fn slot_of(holder: Holder) -> u32 {
    holder - 1
}
