//! Split barriers: a rank enters, does something else, and waits later. Without a thread.
//!
//! To enter a barrier is a mark on the board; no rank has to be inside the library for it to stay. The last rank of the
//! node to enter sends the node's arrival, once, and goes; or, if all ranks of the group are on this board, opens the
//! epoch ahead of the server. Datagrams are idempotent, so whoever waits first takes the lead and repeats what may have
//! been lost. What nobody does while no rank of the node is inside the library: repeat a lost datagram, and take in the
//! server's answer.

use std::sync::MutexGuard;
use std::time::{Duration, Instant};

use pmi_protocol::exchange::Goal;

use super::courier::Courier;
use super::{Error, Session, lock};
use crate::{Arrival, Delegate};

/// Between two looks of a rank that only asks: each costs a few datagrams if nobody else moves things on.
const LOOK_INTERVAL: Duration = Duration::from_millis(5);

/// How long such a look may wait for the server's answer.
const GLANCE: Duration = Duration::from_millis(1);

/// When a rank that only asks has last looked for the server's answer.
#[derive(Default)]
pub(super) struct Glances {
    last: Option<Instant>,
}

impl Glances {
    fn is_due(&mut self) -> bool {
        let now = Instant::now();
        let due = self.last.is_none_or(|last| now >= last + LOOK_INTERVAL);
        if due {
            self.last = Some(now);
        }
        due
    }
}

impl Session {
    /// Enters the next barrier and returns. What was committed before is in it. Each call must be followed by
    /// [`finish_barrier`](Self::finish_barrier) before the next call of this or of [`barrier`](Self::barrier).
    ///
    /// If this rank has opened the epoch before ahead of the server, it waits until the server has followed.
    pub fn begin_barrier(&self) -> Result<(), Error> {
        let next = lock(&self.barrier);
        self.node.check_over()?;
        self.settle(self.deadline())?;
        lock(&self.puts).seal();
        if self.arrive(*next) || !self.node.knows_peers() {
            self.dispatch(&next)?;
        }
        Ok(())
    }

    /// Sends the node's arrival and does not wait for the answer.
    fn dispatch(&self, epoch: &MutexGuard<'_, u32>) -> Result<(), Error> {
        let Some(delegate) = self.node.board.try_lead(&self.slot) else { return Ok(()) };
        self.with_courier(|courier| self.send_once(courier, delegate, **epoch))
    }

    fn send_once(
        &self,
        courier: &mut Courier,
        delegate: Delegate<'_>,
        epoch: u32,
    ) -> Result<(), Error> {
        if self.node.board.opened() > epoch {
            delegate.step_down();
            return Ok(());
        }
        let start = self.node.start(epoch);
        if self.node.is_complete(&start) {
            let keep = |ahead| *lock(&self.ahead) = Some(ahead);
            return self.node.open_ahead(courier, delegate, start, keep);
        }
        let mut exchange = self.node.exchange(courier, Goal::Barrier, start);
        courier.transmit(&mut exchange, &delegate);
        // The delegate resigns here: somebody who waits takes over, or whoever waits first.
        Ok(())
    }

    /// Has the barrier opened that [`begin_barrier`](Self::begin_barrier) has entered? Waits for a millisecond at most,
    /// every few milliseconds, where nobody else looks for the server's answer: so a rank that does nothing but ask gets
    /// it, too.
    pub fn test_barrier(&self) -> Result<bool, Error> {
        let next = lock(&self.barrier);
        self.node.check_over()?;
        let is_open = || self.node.board.opened() > *next;
        if is_open() || !lock(&self.glances).is_due() {
            return Ok(is_open());
        }
        if let Some(member) = self.node.board.casualty() {
            return Err(self.node.report_casualty(member, *next));
        }
        self.glance(*next)?;
        Ok(is_open())
    }

    /// Leads for a moment, if all of this node have arrived and nobody leads.
    fn glance(&self, epoch: u32) -> Result<(), Error> {
        // To arrive again changes nothing, and tells whether all are there.
        let complete = self.node.board.arrive(&self.slot, epoch) == Arrival::Last;
        if !complete && self.node.knows_peers() {
            return Ok(());
        }
        let Some(delegate) = self.node.board.try_lead(&self.slot) else { return Ok(()) };
        let deadline = Some(Instant::now() + GLANCE);
        let conduct = |courier: &mut Courier| {
            self.conduct(courier, delegate, epoch, &Goal::Barrier, deadline)
        };
        match self.with_courier(conduct) {
            Err(Error::Timeout(_)) => Ok(()),
            outcome => outcome,
        }
    }

    /// Waits in the barrier that [`begin_barrier`](Self::begin_barrier) has entered. On an error the job is over for
    /// this rank, as with [`barrier`](Self::barrier).
    pub fn finish_barrier(&self) -> Result<(), Error> {
        let mut next = lock(&self.barrier);
        if self.node.board.opened() <= *next {
            // Those who stand watch in other barriers may be outside the library.
            self.pass(*next, Goal::Barrier, true)?;
        }
        self.passed(&mut next);
        Ok(())
    }
}
