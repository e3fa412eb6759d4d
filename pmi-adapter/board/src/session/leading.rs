//! What a rank does as the delegate of its board: it speaks with the server.

use std::net::SocketAddr;
use std::sync::atomic::{Ordering, fence};
use std::time::{Duration, Instant};

use pmi_protocol::exchange::{Exchange, Goal, Outcome, Start};
use pmi_protocol::limits::STALL_US;
use pmi_protocol::log::epoch_of_one_node;
use pmi_protocol::ranks::RankRanges;

use super::courier::{Courier, Logs, NoLogs, SWEEP, Watch};
use super::{ABORT_LIMIT, Error, SERVER_ADVICE, Session, check_deadline, lock};
use crate::{Delegate, Failure, Member, State};

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
        if self.board.opened() > epoch {
            delegate.step_down();
            return Ok(());
        }
        delegate.set_port(courier.port());
        fence(Ordering::SeqCst);
        let (ranks, up_end) = self.spoken_for(epoch);
        let start = Start {
            epoch,
            ranks,
            up_base: self.board.up_base(),
            up_end,
            visible: self.board.visible(),
        };
        if epoch > 0 && start.ranks.len() == self.config.size as usize {
            return self.open_ahead(courier, delegate, start);
        }
        let mut watch = BarrierWatch { session: self, deadline, start: start.clone() };
        let mut exchange = self.exchange(courier, goal.clone(), start);
        let outcome = courier.run(&mut exchange, &mut delegate, &mut watch)?;
        let mark = self.mark_of(outcome)?;
        delegate.up_release(watch.start.up_end);
        delegate.open_epoch(epoch, mark).map_err(|error| Error::System(error.to_string()))
    }

    /// All ranks of the group stand in the barrier, on this board: what the server will say is known. So the
    /// delegate writes it down itself and lets its peers go, and goes too. Before it enters the next barrier, or
    /// leaves, it sees to it that the server has followed ([`settle`](Self::settle)): the server is never more than
    /// one epoch behind, and nobody waits for it. That is also why a Leave must not come before: it is sent by the
    /// last rank of the board to finalize, after this one has settled.
    fn open_ahead(
        &self,
        courier: &mut Courier,
        mut delegate: Delegate<'_>,
        start: Start,
    ) -> Result<(), Error> {
        let mut sent = Sent { base: start.up_base, records: Vec::new() };
        delegate.up_read(start.up_base, (start.up_end - start.up_base) as usize, &mut sent.records);
        let node = self.identity.node;
        let bytes = epoch_of_one_node(node, start.up_base, &sent.records, start.epoch);
        let mark = start.visible + bytes.len() as u64;
        delegate.write_down(start.visible, &bytes)?;
        let (epoch, up_end) = (start.epoch, start.up_end);
        let start = Start { visible: mark, ..start };
        let mut exchange = self.exchange(courier, Goal::Barrier, start);
        // First the server, which works while this process wakes its peers.
        courier.transmit(&mut exchange, &sent);
        *lock(&self.ahead) = Some(Ahead { exchange, sent, epoch, mark });
        delegate.up_release(up_end);
        delegate.open_epoch(epoch, mark).map_err(|error| Error::System(error.to_string()))
    }

    /// Waits until the server has followed the epoch that this rank has opened ahead of it, if there is one.
    pub(super) fn settle(&self, deadline: Option<Instant>) -> Result<(), Error> {
        let Some(mut ahead) = lock(&self.ahead).take() else { return Ok(()) };
        let confirmed = self.with_courier(|courier| self.confirm(courier, &mut ahead, deadline));
        if let Err(error) = &confirmed {
            // The peers have gone on, and nobody can ship this epoch again: the job cannot go on without it.
            self.board.fail(&Failure { code: 1, rank: None, text: error.to_string() });
        }
        confirmed
    }

    fn confirm(
        &self,
        courier: &mut Courier,
        Ahead { exchange, sent, epoch, mark }: &mut Ahead,
        deadline: Option<Instant>,
    ) -> Result<(), Error> {
        let mut watch = ConfirmWatch { session: self, epoch: *epoch, deadline };
        let outcome = courier.run(exchange, sent, &mut watch)?;
        match self.mark_of(outcome)? {
            theirs if theirs == *mark => Ok(()),
            theirs => Err(Error::Refused(format!(
                "the server's log has {theirs} bytes and this node's {mark}: all processes and the server must be \
                 of one version of pmi-adapter"
            ))),
        }
    }

    fn exchange(&self, courier: &Courier, goal: Goal, start: Start) -> Exchange<SocketAddr> {
        let seed = self.identity.node ^ u64::from(start.epoch) << 32 ^ u64::from(self.config.rank);
        Exchange::new(self.identity.clone(), courier.servers(), goal, start, courier.now(), seed)
    }

    /// The ranks that an exchange speaks for, and the end of their up-log.
    fn spoken_for(&self, epoch: u32) -> (RankRanges, u64) {
        match epoch {
            0 => (RankRanges::from_ranks([self.config.rank]), 0),
            _ => self.board.arrivals(epoch),
        }
    }

    /// The mark with which an exchange has ended, if it has ended well.
    fn mark_of(&self, outcome: Outcome) -> Result<u64, Error> {
        match outcome {
            Outcome::Opened { mark } => Ok(mark),
            Outcome::Fault { text, refused: true, .. } => Err(Error::Refused(text)),
            Outcome::Fault { code, rank, text, .. } => {
                self.board.fail(&Failure { code, rank, text: text.clone() });
                Err(Error::Over(text))
            }
            Outcome::Acknowledged | Outcome::Silent => Err(Error::Timeout(format!(
                "no word from the server ({}): {SERVER_ADVICE}",
                self.addresses()
            ))),
        }
    }

    /// Looks at the peers, and complains once about a server that has been silent for long.
    fn sweep(&self, silent: Duration, epoch: u32) -> Result<(), Error> {
        let stall = Duration::from_micros(STALL_US);
        if silent >= stall && silent < stall + SWEEP {
            let (rank, addresses) = (self.config.rank, self.addresses());
            eprintln!("pmi: rank {rank}: no answer from the server at {addresses} yet");
        }
        match self.board.casualty() {
            Some(member) => Err(self.report_casualty(member, epoch)),
            None => Ok(()),
        }
    }

    /// The job is over, because others wait for this member.
    fn report_casualty(&self, Member { rank, state, .. }: Member, epoch: u32) -> Error {
        let text = match state {
            State::Dead => format!("rank {rank} died without PMI_Finalize"),
            _ => format!(
                "rank {rank} has called PMI_Finalize while rank {} waits in barrier {epoch}: \
                 all ranks must call PMI_Barrier equally often",
                self.config.rank
            ),
        };
        self.board.fail(&Failure { code: 1, rank: Some(rank), text: text.clone() });
        self.tell_abort(rank, Goal::Abort { code: 1, text: text.clone(), dead: true });
        Error::Over(text)
    }

    pub(super) fn tell_abort(&self, rank: u32, goal: Goal) {
        self.tell(RankRanges::from_ranks([rank]), goal, ABORT_LIMIT);
    }

    /// Tells the server something over a socket of its own, since another thread may hold the courier.
    pub(super) fn tell(&self, ranks: RankRanges, goal: Goal, limit: Duration) {
        let result = Courier::open(&self.config.servers).and_then(|mut courier| {
            let start = Start { epoch: 0, ranks, up_base: 0, up_end: 0, visible: 0 };
            let mut exchange = self.exchange(&courier, goal, start);
            courier.run(&mut exchange, &mut NoLogs, &mut Limit(Instant::now() + limit))
        });
        if let Err(error) = result {
            tracing::debug!(%error, "the server did not take note");
        }
    }
}

/// Looks after the barrier while its delegate waits for the server.
struct BarrierWatch<'a> {
    session: &'a Session,
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
        self.session.check_over()?;
        check_deadline(self.deadline, self.start.epoch)?;
        if self.start.epoch == 0 {
            return Ok(());
        }
        let (ranks, up_end) = self.session.board.arrivals(self.start.epoch);
        // Commits without an arrival wait for the next exchange: the server may release this one without them.
        if ranks != self.start.ranks {
            exchange.extend(ranks.clone(), up_end, courier.now());
            (self.start.ranks, self.start.up_end) = (ranks, up_end);
        }
        Ok(())
    }

    fn sweep(&mut self, silent: Duration) -> Result<(), Error> {
        self.session.sweep(silent, self.start.epoch)
    }

    fn deadline(&self) -> Option<Instant> {
        self.deadline
    }
}

/// Looks after an epoch that is open, while the rank that opened it waits for the server to follow.
struct ConfirmWatch<'a> {
    session: &'a Session,
    epoch: u32,
    deadline: Option<Instant>,
}

impl Watch for ConfirmWatch<'_> {
    fn look(&mut self, _: &Courier, _: &mut Exchange<SocketAddr>) -> Result<(), Error> {
        self.session.check_over()?;
        // All ranks have arrived: whatever is late is the server.
        check_deadline(self.deadline, 0)
    }

    fn sweep(&mut self, silent: Duration) -> Result<(), Error> {
        self.session.sweep(silent, self.epoch)
    }

    fn deadline(&self) -> Option<Instant> {
        self.deadline
    }
}

/// An epoch that is open on the board, and not yet confirmed by the server.
pub(super) struct Ahead {
    exchange: Exchange<SocketAddr>,
    sent: Sent,
    epoch: u32,
    mark: u64,
}

/// Up-log bytes of an epoch that is open already; its down-log bytes are known.
struct Sent {
    base: u64,
    records: Vec<u8>,
}

impl Logs for Sent {
    fn read_up(&self, offset: u64, len: usize, out: &mut Vec<u8>) {
        let from = offset.saturating_sub(self.base) as usize;
        out.extend_from_slice(self.records.get(from..from + len).unwrap_or(&[]));
    }

    fn write_down(&mut self, _: u64, _: &[u8]) -> Result<(), Error> {
        Ok(())
    }
}

/// Only watches the time.
struct Limit(Instant);

impl Watch for Limit {
    fn look(&mut self, _: &Courier, _: &mut Exchange<SocketAddr>) -> Result<(), Error> {
        check_deadline(Some(self.0), 0)
    }

    fn sweep(&mut self, _: Duration) -> Result<(), Error> {
        Ok(())
    }

    fn deadline(&self) -> Option<Instant> {
        Some(self.0)
    }
}
