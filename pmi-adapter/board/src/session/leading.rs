//! What a rank does as the delegate of its board: it speaks with the server, and waits for it.

use std::net::SocketAddr;
use std::sync::atomic::{Ordering, fence};
use std::time::{Duration, Instant};

use pmi_protocol::exchange::{Exchange, Goal, Start};

use super::courier::{Courier, Watch};
use super::node::{Ahead, Node};
use super::{Error, Session, check_deadline, lock};
use crate::{Delegate, Failure};

impl Session {
    /// Conducts the exchange of an epoch for the whole board.
    pub(super) fn conduct(
        &self,
        courier: &mut Courier,
        mut delegate: Delegate<'_>,
        epoch: u32,
        goal: &Goal,
        deadline: Option<Instant>,
    ) -> Result<(), Error> {
        let node = &self.node;
        if node.board.opened() > epoch {
            delegate.step_down();
            return Ok(());
        }
        delegate.set_port(courier.port());
        fence(Ordering::SeqCst);
        let start = node.start(epoch);
        if node.is_complete(&start) {
            let keep = |ahead| *lock(&self.ahead) = Some(ahead);
            return node.open_ahead(courier, delegate, start, keep);
        }
        let mut watch = BarrierWatch { node, deadline, start: start.clone() };
        let mut exchange = node.exchange(courier, goal.clone(), start);
        let outcome = courier.run(&mut exchange, &mut delegate, &mut watch)?;
        let mark = node.mark_of(outcome)?;
        delegate.open_epoch(epoch, mark).map_err(|error| Error::System(error.to_string()))?;
        node.tend_line(courier, &mut exchange);
        Ok(())
    }

    /// Waits until the server has followed the epoch that this rank has opened ahead of it, if there is one.
    pub(super) fn settle(&self, deadline: Option<Instant>) -> Result<(), Error> {
        let Some(mut ahead) = lock(&self.ahead).take() else { return Ok(()) };
        let confirmed = self.with_courier(|courier| self.confirm(courier, &mut ahead, deadline));
        if let Err(error) = &confirmed {
            // The peers have gone on, and nobody can ship this epoch again: the job cannot go on without it.
            self.node.board.fail(&Failure { code: 1, rank: None, text: error.to_string() });
        }
        confirmed
    }

    fn confirm(
        &self,
        courier: &mut Courier,
        Ahead { exchange, sent, epoch, mark }: &mut Ahead,
        deadline: Option<Instant>,
    ) -> Result<(), Error> {
        let mut watch = ConfirmWatch { node: &self.node, epoch: *epoch, deadline };
        let outcome = courier.run(exchange, sent, &mut watch)?;
        self.node.compare_marks(outcome, *mark)?;
        self.node.tend_line(courier, exchange);
        Ok(())
    }
}

/// Looks after the barrier while its delegate waits for the server.
struct BarrierWatch<'a> {
    node: &'a Node,
    deadline: Option<Instant>,
    /// What the exchange speaks for by now.
    start: Start,
}

impl Watch for BarrierWatch<'_> {
    fn look(
        &mut self,
        courier: &Courier,
        exchange: &mut Exchange<SocketAddr>,
    ) -> Result<(), Error> {
        self.node.check_over()?;
        check_deadline(self.deadline, self.start.epoch)?;
        if self.start.epoch > 0 {
            self.node.extend(exchange, &mut self.start, courier);
        }
        Ok(())
    }

    fn sweep(
        &mut self,
        courier: &Courier,
        exchange: &mut Exchange<SocketAddr>,
        silent: Duration,
    ) -> Result<(), Error> {
        self.node.tend_line(courier, exchange);
        self.node.sweep(silent, self.start.epoch)
    }

    fn deadline(&self) -> Option<Instant> {
        self.deadline
    }
}

/// Looks after an epoch that is open, while the rank that opened it waits for the server to follow.
struct ConfirmWatch<'a> {
    node: &'a Node,
    epoch: u32,
    deadline: Option<Instant>,
}

impl Watch for ConfirmWatch<'_> {
    fn look(&mut self, _: &Courier, _: &mut Exchange<SocketAddr>) -> Result<(), Error> {
        self.node.check_over()?;
        // All ranks have arrived: whatever is late is the server.
        check_deadline(self.deadline, 0)
    }

    fn sweep(
        &mut self,
        courier: &Courier,
        exchange: &mut Exchange<SocketAddr>,
        silent: Duration,
    ) -> Result<(), Error> {
        self.node.tend_line(courier, exchange);
        self.node.sweep(silent, self.epoch)
    }

    fn deadline(&self) -> Option<Instant> {
        self.deadline
    }
}
