//! The machine of the model: words, futexes, and mortal processes.

use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::Ordering::{self, AcqRel, Acquire, Relaxed, SeqCst};
use std::time::Duration;

use loom::sync::atomic::{AtomicU32, AtomicU64};
use loom::sync::{Condvar, Mutex};

use crate::kernel::{Kernel, Woken, Word};

loom::thread_local! {
    /// Accesses to shared memory that the running process still makes before it dies; `None`: it is immortal.
    static FUEL: Cell<Option<u32>> = Cell::new(None);
}

/// What a dying process throws.
struct Died;

fn burn_fuel() {
    FUEL.with(|fuel| match fuel.get() {
        Some(0) => resume_unwind(Box::new(Died)),
        left => fuel.set(left.map(|left| left - 1)),
    });
}

/// An atomic word in the shared memory of the model.
#[derive(Debug, Default)]
pub struct Cell32(AtomicU32);

/// The same of 64 bits.
#[derive(Debug, Default)]
pub struct Cell64(AtomicU64);

macro_rules! impl_word {
    ($cell:ty, $number:ty) => {
        impl Word<$number> for $cell {
            fn load(&self, order: Ordering) -> $number {
                burn_fuel();
                self.0.load(order)
            }
            fn store(&self, value: $number, order: Ordering) {
                burn_fuel();
                self.0.store(value, order);
            }
            fn swap(&self, value: $number) -> $number {
                burn_fuel();
                self.0.swap(value, AcqRel)
            }
            fn fetch_add(&self, value: $number) -> $number {
                burn_fuel();
                self.0.fetch_add(value, SeqCst)
            }
            fn replace(&self, current: $number, new: $number) -> bool {
                burn_fuel();
                self.0.compare_exchange(current, new, AcqRel, Acquire).is_ok()
            }
        }
    };
}
impl_word!(Cell32, u32);
impl_word!(Cell64, u64);

/// So many waits of a process end for lack of patience once somebody has died: enough for every epoch that a model
/// still has to open. Without a limit the model would never end.
const PATIENCES: u32 = 3;

/// Futexes and the register of deaths, for up to four processes.
#[derive(Default)]
pub struct Machine {
    dead: Mutex<[bool; 4]>,
    sleepers: Condvar,
    /// How many waits of each process have ended for lack of patience.
    impatient: [AtomicU32; 4],
}

/// The machine as one process sees it.
pub struct View<'a> {
    pub machine: &'a Machine,
    pub slot: u32,
}

impl Machine {
    /// Lives a life that ends by itself, or after so many accesses. False if it ended early.
    pub fn live(&self, slot: u32, fuel: Option<u32>, life: impl FnOnce(&View<'_>)) -> bool {
        FUEL.with(|cell| cell.set(fuel));
        let view = View { machine: self, slot };
        let end = catch_unwind(AssertUnwindSafe(|| life(&view)));
        FUEL.with(|cell| cell.set(None));
        match end {
            Ok(()) => true,
            Err(cause) if cause.is::<Died>() => {
                self.dead.lock().unwrap()[slot as usize] = true;
                self.sleepers.notify_all();
                false
            }
            Err(cause) => resume_unwind(cause),
        }
    }

    /// Has this process died?
    pub fn is_dead(&self, slot: u32) -> bool {
        self.dead.lock().unwrap()[slot as usize]
    }
}

impl Kernel<Cell32> for View<'_> {
    fn wait(&self, word: &Cell32, expected: u32, _patience: Duration) -> Woken {
        burn_fuel();
        let impatient = &self.machine.impatient[self.slot as usize];
        let dead = self.machine.dead.lock().unwrap();
        let was_quiet = !dead.contains(&true);
        if word.0.load(SeqCst) != expected {
            return Woken::LookAgain;
        }
        let ends = |dead: &[bool; 4]| dead.contains(&true) && impatient.load(Relaxed) < PATIENCES;
        let dead = match ends(&dead) {
            true => dead,
            false => self.machine.sleepers.wait(dead).unwrap(),
        };
        // A wake-up after a death, too, may come too late: the worse case for those who wait.
        if ends(&dead) && (was_quiet || word.0.load(SeqCst) == expected) {
            impatient.fetch_add(1, Relaxed);
            return Woken::TimedOut;
        }
        Woken::LookAgain
    }

    fn wake(&self, _word: &Cell32, count: u32) {
        burn_fuel();
        // Every model sleeps on one word only. The lock is what makes a real futex atomic.
        let _dead = self.machine.dead.lock().unwrap();
        match count {
            1 => self.machine.sleepers.notify_one(),
            _ => self.machine.sleepers.notify_all(),
        }
    }

    fn is_alive(&self, slot: u32) -> bool {
        burn_fuel();
        !self.machine.is_dead(slot)
    }
}
