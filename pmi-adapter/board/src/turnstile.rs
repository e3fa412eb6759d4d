//! The barrier of a node: who has arrived, who leads, and the word that everybody sleeps on.
//!
//! `opened` counts the epochs that are open. A slot *arrives* in the next one; one slot *leads* (is the
//! delegate) and *opens* it. Every step is one atomic operation, so a process may die between any two:
//!
//! * before it leads: its arrival stands or not, nothing else happened;
//! * while it leads: `leader` names a slot whose record lock is free, and anybody may replace it;
//! * after `opened` moved but before the wake-up: sleepers find out when their patience ends.
//!
//! `opened` moves before `leader` is given up. In the other order a second delegate could find the lead free and
//! conduct the exchange of the same epoch again.

use std::sync::atomic::Ordering::{Acquire, Release, SeqCst};
use std::sync::atomic::{AtomicU32, AtomicU64};
use std::time::Duration;

use crate::kernel::{Holder, Kernel, Woken, Word, slot_of};

/// Nobody leads, and nobody is asked to.
const FREE: Holder = 0;
/// Nobody leads, because the last delegate gave up: somebody who waits should take over.
const VACANT: Holder = u32::MAX;

/// How a wait for an epoch ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wait {
    /// The epoch is open.
    Opened,
    /// The job has failed; see [`Board::failure`](crate::Board::failure).
    Failed,
    /// The delegate gave up without a result: try to lead.
    Vacant,
    /// Patience has ended. Look for the dead, and try to lead.
    TimedOut,
}

/// Proof that this process leads: only [`Turnstile::try_lead`] makes one.
#[derive(Debug)]
pub struct Lead {
    holder: Holder,
}

/// The words of the barrier. All zero is its initial state.
#[derive(Debug, Default)]
#[repr(C, align(64))]
pub struct Turnstile<W32 = AtomicU32, W64 = AtomicU64> {
    /// The futex word; changes with every event that a sleeper must see.
    turn: W32,
    /// Number of open epochs.
    opened: W32,
    /// The delegate.
    leader: W32,
    /// Non-zero when the job has failed.
    failed: W32,
    reserved: [u64; 6],
    /// Epochs arrived in, summed over all slots. Never reset, so a slow arrival cannot count for a later epoch.
    arrived: W64,
    reserved2: [u64; 7],
}

impl<W32: Word<u32>, W64: Word<u64>> Turnstile<W32, W64> {
    /// Number of open epochs.
    pub fn opened(&self) -> u32 {
        self.opened.load(Acquire)
    }

    /// Notes that a slot stands in barrier `epoch`; `standing` is the slot's own word and holds epoch + 1.
    /// Returns the arrivals of all slots in all epochs. An arrival that is repeated changes nothing.
    ///
    /// A slot that joined late counts as if it had stood in the earlier epochs too.
    pub fn arrive(&self, standing: &W32, epoch: u32) -> u64 {
        let before = standing.load(SeqCst);
        if before > epoch {
            return self.arrived.load(SeqCst);
        }
        standing.store(epoch + 1, SeqCst);
        let missed = u64::from(epoch + 1 - before);
        self.arrived.fetch_add(missed) + missed
    }

    /// Becomes the delegate if there is none, or if the present one is dead.
    pub fn try_lead(&self, me: Holder, kernel: &impl Kernel<W32>) -> Option<Lead> {
        let present = self.leader.load(Acquire);
        let may = match present {
            FREE | VACANT => true,
            holder => holder != me && !kernel.is_alive(slot_of(holder)),
        };
        (may && self.leader.replace(present, me)).then_some(Lead { holder: me })
    }

    /// Has the last delegate given up, without another one having come since?
    pub fn is_vacant(&self) -> bool {
        self.leader.load(Acquire) == VACANT
    }

    /// Opens `epoch`, unless it is open already, gives up the lead and wakes everybody.
    pub fn open(&self, lead: Lead, epoch: u32, kernel: &impl Kernel<W32>) {
        debug_assert_eq!(self.leader.load(Acquire), lead.holder);
        if self.opened.load(Acquire) <= epoch {
            self.opened.store(epoch + 1, Release);
        }
        self.leader.store(FREE, Release);
        self.announce(u32::MAX, kernel);
    }

    /// Gives up the lead without a result and wakes one sleeper, who takes over.
    pub fn resign(&self, lead: Lead, kernel: &impl Kernel<W32>) {
        debug_assert_eq!(self.leader.load(Acquire), lead.holder);
        self.leader.store(VACANT, Release);
        self.announce(1, kernel);
    }

    /// Gives up the lead when there is nothing left to lead, without a wake-up.
    pub fn step_down(&self, lead: Lead) {
        debug_assert_eq!(self.leader.load(Acquire), lead.holder);
        self.leader.store(FREE, Release);
    }

    /// Marks the job as failed and wakes everybody.
    pub fn fail(&self, kernel: &impl Kernel<W32>) {
        self.failed.store(1, Release);
        self.announce(u32::MAX, kernel);
    }

    /// Sleeps until `epoch` is open, or until one of the other reasons to return. Patience begins anew when an event
    /// was none of these: to read the clock for each wait costs more than that is worth.
    pub fn wait_opened(&self, epoch: u32, patience: Duration, kernel: &impl Kernel<W32>) -> Wait {
        loop {
            let turn = self.turn.load(Acquire);
            if let Some(reason) = self.reason_to_return(epoch) {
                return reason;
            }
            if kernel.wait(&self.turn, turn, patience) == Woken::TimedOut {
                return self.reason_to_return(epoch).unwrap_or(Wait::TimedOut);
            }
        }
    }

    fn reason_to_return(&self, epoch: u32) -> Option<Wait> {
        match self {
            _ if self.opened() > epoch => Some(Wait::Opened),
            _ if self.failed.load(Acquire) != 0 => Some(Wait::Failed),
            _ if self.is_vacant() => Some(Wait::Vacant),
            _ => None,
        }
    }

    /// Changes the futex word *after* the event, so that whoever reads the new word sees the event, and whoever
    /// read the old one does not fall asleep.
    fn announce(&self, count: u32, kernel: &impl Kernel<W32>) {
        self.turn.fetch_add(1);
        kernel.wake(&self.turn, count);
    }
}
