//! Several ranks of one process, for an event loop: nothing here ever waits.
//!
//! A process that speaks for others (a bridge) joins, commits and arrives for each of them, calls
//! [`Ensemble::advance`] whenever the socket is readable or [`Ensemble::deadline`] has come, and hears who may go on.
//! Where a rank of another process leads the node's barrier, [`Ensemble::waits_for`] says so: somebody has to sleep
//! on the board then ([`crate::Board::wait_opened`]), and call `advance` afterwards.

use std::net::SocketAddr;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::atomic::{Ordering, fence};
use std::time::{Duration, Instant};

use pmi_protocol::exchange::{Exchange, Goal, Start};

use super::courier::{Courier, SWEEP};
use super::node::{Ahead, Node};
use super::puts::Puts;
use super::{
    Config, Error, PATIENCE_LATER, check_deadline, check_key, check_pair, first_patience, spread,
};
use crate::{Arrival, Board, Delegate, Failure, Slot};

/// A rank of the ensemble: its number in the order of joining.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct MemberId(usize);

impl MemberId {
    /// How many have joined before.
    pub fn number(self) -> usize {
        self.0
    }
}

struct Seat {
    slot: Slot,
    puts: Puts,
    /// Is there anything in `puts`?
    has_own: bool,
}

/// An exchange that this process conducts for its board.
struct Leading {
    delegate: Delegate<'static>,
    exchange: Exchange<SocketAddr>,
    /// What the exchange speaks for by now.
    start: Start,
    patrol: Patrol,
}

/// An epoch that the server has to confirm.
struct Unconfirmed {
    ahead: Ahead,
    patrol: Patrol,
}

/// When the server was heard last, and when to look at the peers next.
struct Patrol {
    heard: Instant,
    sweep: Instant,
}

impl Patrol {
    fn begin() -> Patrol {
        let now = Instant::now();
        Patrol { heard: now, sweep: now + SWEEP }
    }

    /// Looks at the server's silence and at the peers, if it is time to.
    fn look(
        &mut self,
        answered: bool,
        node: &Node,
        epoch: u32,
        (courier, exchange): (&Courier, &mut Exchange<SocketAddr>),
    ) -> Result<(), Error> {
        let now = Instant::now();
        if answered {
            self.heard = now;
        }
        if now < self.sweep {
            return Ok(());
        }
        self.sweep = now + SWEEP;
        node.tend_line(courier, exchange);
        node.sweep(now - self.heard, epoch)
    }
}

/// Those of the ensemble who stand in the barrier that is being collected.
struct Standing {
    epoch: u32,
    since: Instant,
    /// When to go ahead, or to look again, although others have not come.
    patience: Instant,
    /// Should this process lead, if nobody does?
    lead: bool,
}

/// The ranks that this process speaks for.
pub struct Ensemble {
    node: &'static Node,
    courier: Courier,
    seats: Vec<Seat>,
    /// Ranks that are to arrive as soon as the epoch opened ahead is confirmed, and since when.
    entering: Vec<(MemberId, Instant)>,
    waiting: Vec<MemberId>,
    standing: Option<Standing>,
    leading: Option<Leading>,
    ahead: Option<Unconfirmed>,
    released: Vec<MemberId>,
}

impl Ensemble {
    /// Attaches to the board of the node, or makes it. `config.rank` is one of those who will join. The board stays
    /// mapped until the process ends.
    pub fn open(config: Config) -> Result<Ensemble, Error> {
        let courier = Courier::open(&config.servers)?;
        let node = Node::open(config)?;
        node.board.populate();
        Ok(Ensemble {
            node: Box::leak(Box::new(node)),
            courier,
            seats: Vec::new(),
            entering: Vec::new(),
            waiting: Vec::new(),
            standing: None,
            leading: None,
            ahead: None,
            released: Vec::new(),
        })
    }

    /// The board of the node.
    pub fn board(&self) -> &'static Board {
        &self.node.board
    }

    pub(super) fn node(&self) -> &Node {
        self.node
    }

    /// The default kvsname.
    pub fn kvsname(&self) -> &'static str {
        &self.node.config.job
    }

    /// Readable when the server, or an early arrival of another process, has something to say.
    pub fn socket(&self) -> BorrowedFd<'_> {
        self.courier.as_fd()
    }

    pub(super) fn slot(&self, member: MemberId) -> &Slot {
        &self.seats[member.0].slot
    }

    /// Claims the place of a rank. It has joined when it is [released](Self::take_released).
    pub fn join(&mut self, rank: u32) -> Result<MemberId, Error> {
        self.node.check_over()?;
        let slot = self.node.claim(rank)?;
        self.seats.push(Seat { slot, puts: Puts::default(), has_own: false });
        let member = MemberId(self.seats.len() - 1);
        if self.node.has_peers_to_introduce() {
            self.node.introduce_peers(&self.courier);
        }
        match self.node.board.opened() {
            0 => self.stand(member, 0, true),
            _ => self.released.push(member),
        }
        Ok(member)
    }

    /// Puts a pair into the group's own space: others see it after the next barrier.
    pub fn put(&mut self, member: MemberId, key: &[u8], value: &[u8]) -> Result<(), Error> {
        check_pair(key, value)?;
        let seat = &mut self.seats[member.0];
        seat.puts.put(0, key, value);
        seat.has_own = true;
        Ok(())
    }

    /// Calls `read` with the value of a key in the group's own space.
    pub fn get<R>(
        &self,
        member: MemberId,
        key: &[u8],
        read: impl FnOnce(&[u8]) -> R,
    ) -> Result<R, Error> {
        check_key(key)?;
        let seat = &self.seats[member.0];
        if let Some(value) = seat.has_own.then(|| seat.puts.own(0, key)).flatten() {
            return Ok(read(value));
        }
        self.node.board.lookup(0, key, |record| read(record.value)).ok_or(Error::NoSuchKey)
    }

    /// Commits what the rank has put, and enters the barrier for it.
    pub fn enter(&mut self, member: MemberId) -> Result<(), Error> {
        self.node.check_over()?;
        let seat = &mut self.seats[member.0];
        if let Some(bytes) = seat.puts.pending(0) {
            self.node.commit(&seat.slot, bytes)?;
            seat.puts.committed(0);
        }
        seat.puts.seal();
        match self.ahead {
            None => self.arrive(member),
            // Nobody enters an epoch before the server has followed the last one.
            Some(_) => self.entering.push((member, Instant::now())),
        }
        Ok(())
    }

    fn arrive(&mut self, member: MemberId) {
        let board = &self.node.board;
        let epoch = board.opened();
        let last = board.arrive(&self.seats[member.0].slot, epoch) == Arrival::Last;
        // Either the delegate sees this arrival, or this rank sees its port: see `Session::arrive`.
        fence(Ordering::SeqCst);
        let port = board.delegate_port();
        if port != 0 && port != self.courier.port() && (last || !self.node.knows_peers()) {
            self.courier.poke(port);
        }
        self.stand(member, epoch, last);
    }

    fn stand(&mut self, member: MemberId, epoch: u32, lead: bool) {
        let now = Instant::now();
        self.waiting.push(member);
        let patience = spread(first_patience(self.node), self.node.config.rank);
        let standing = Standing { epoch, since: now, patience: now + patience, lead: false };
        self.standing.get_or_insert(standing).lead |= lead;
    }

    /// The rank has left in order. True if it was the last of the board.
    pub fn finalize(&mut self, member: MemberId) -> bool {
        self.node.board.release(&self.seats[member.0].slot)
    }

    /// All ranks of the board have left: tells the server. Waits for its answer for as long as `patience`.
    pub fn leave(&mut self, patience: Duration) {
        let limit = Instant::now() + patience;
        while self.ahead.is_some() && Instant::now() < limit && self.advance().is_ok() {
            if self.courier.sleep(Duration::from_millis(10)).is_err() {
                break;
            }
        }
        self.node.leave(patience);
    }

    /// The rank's process has ended without leaving: marks it as dead, for all on the board to see.
    pub fn lose(&mut self, member: MemberId) {
        // It may be the one in whose name this process leads: then another one shall. Before it is dead, or a peer
        // might have taken the lead already.
        self.leading = None;
        self.node.board.declare_dead(&self.seats[member.0].slot);
        self.waiting.retain(|other| *other != member);
        self.entering.retain(|(other, _)| *other != member);
    }

    /// Ends the job because a rank has died, unless it is over already. Waits for the server for two seconds.
    pub fn report_lost(&mut self) {
        if let (None, Some(casualty)) = (self.node.board.failure(), self.node.board.casualty()) {
            self.node.report_casualty(casualty, self.node.board.opened());
        }
    }

    /// Ends the job because of this rank. Waits for the server for two seconds.
    pub fn fail(&mut self, rank: u32, text: &str) {
        self.node.give_up(rank, text.to_owned());
    }

    /// Nobody waits any more: they have been told that the barrier has failed.
    pub fn drop_waiting(&mut self) {
        self.waiting.clear();
        self.entering.clear();
        (self.standing, self.leading) = (None, None);
    }

    /// `PMI_Abort` of a rank. Waits for the server for two seconds.
    pub fn abort(&mut self, member: MemberId, code: i32, text: &str) {
        self.node.abort(self.seats[member.0].slot.rank(), code, text);
    }

    /// The ranks that may go on since the last call: they have joined, or passed the barrier.
    pub fn take_released(&mut self) -> impl Iterator<Item = MemberId> + '_ {
        self.released.drain(..)
    }

    /// The epoch that ranks of this process wait for while another process leads.
    pub fn waits_for(&self) -> Option<u32> {
        let all_here = self.node.config.local_size == Some(self.seats.len() as u32);
        let follows = self.leading.is_none() && !all_here;
        self.standing.as_ref().filter(|_| follows).map(|standing| standing.epoch)
    }

    /// When to call [`advance`](Self::advance) at the latest.
    pub fn deadline(&self) -> Option<Instant> {
        let leading = self.leading.as_ref();
        let due = |exchange| self.courier.due(exchange);
        [
            leading.map(|leading| due(&leading.exchange).min(leading.patrol.sweep)),
            self.ahead.as_ref().map(|unconfirmed| due(&unconfirmed.ahead.exchange)),
            self.standing.as_ref().filter(|_| leading.is_none()).map(|standing| standing.patience),
            self.time_limit(),
        ]
        .into_iter()
        .flatten()
        .min()
    }

    fn time_limit(&self) -> Option<Instant> {
        let entering = self.entering.first().map(|(_, since)| *since);
        let since = self.standing.as_ref().map(|standing| standing.since).or(entering)?;
        Some(since + self.node.config.timeout?)
    }

    /// Goes on as far as possible. An error is the end for all who wait: of the job, unless its text says that the
    /// server refuses this node.
    pub fn advance(&mut self) -> Result<(), Error> {
        self.node.check_over()?;
        if self.ahead.is_some() {
            self.confirm()?;
        }
        match self.leading {
            Some(_) => self.conduct()?,
            None => {
                if let Some(end) = self.courier.listen(&self.node.identity) {
                    self.node.mark_of(end)?;
                }
            }
        }
        while self.standing.is_some() {
            if self.release_if_open() {
                break;
            }
            if self.leading.is_some() || !self.wants_to_lead() || !self.lead()? {
                break;
            }
        }
        let epoch = self.standing.as_ref().map_or(0, |standing| standing.epoch);
        check_deadline(self.time_limit(), epoch)
    }

    /// Lets those go who wait, if their epoch is open.
    fn release_if_open(&mut self) -> bool {
        let opened = self.node.board.opened();
        let closed = self.standing.as_ref().is_some_and(|standing| standing.epoch >= opened);
        if closed && !self.waiting.is_empty() {
            return false;
        }
        for member in self.waiting.drain(..) {
            let seat = &mut self.seats[member.0];
            seat.puts.released();
            seat.has_own = !seat.puts.is_empty();
            self.released.push(member);
        }
        self.standing = None;
        true
    }

    fn wants_to_lead(&mut self) -> bool {
        let now = Instant::now();
        let Some(standing) = &mut self.standing else { return false };
        if standing.patience <= now {
            standing.patience = now + PATIENCE_LATER;
            standing.lead = true;
        }
        // Whoever has given up, a split barrier's dispatcher for one, has woken one sleeper, which may be ours.
        standing.lead |= self.node.board.is_vacant();
        standing.lead && self.ahead.is_none()
    }

    /// Leads the barrier, if nobody else does. True if something has come of it.
    fn lead(&mut self) -> Result<bool, Error> {
        let node = self.node;
        let epoch = self.standing.as_ref().map_or(0, |standing| standing.epoch);
        let slot = &self.seats[self.waiting[0].0].slot;
        let Some(mut delegate) = node.board.try_lead(slot) else {
            self.look_at_peers(epoch)?;
            return Ok(false);
        };
        if node.board.opened() > epoch {
            delegate.step_down();
            return Ok(true);
        }
        delegate.set_port(self.courier.port());
        fence(Ordering::SeqCst);
        let start = node.start(epoch);
        if node.is_complete(&start) {
            let unconfirmed = &mut self.ahead;
            let keep = |ahead| *unconfirmed = Some(Unconfirmed { ahead, patrol: Patrol::begin() });
            node.open_ahead(&mut self.courier, delegate, start, keep)?;
            return Ok(true);
        }
        let goal = if epoch == 0 { Goal::Join } else { Goal::Barrier };
        let exchange = node.exchange(&self.courier, goal, start.clone());
        self.leading = Some(Leading { delegate, exchange, start, patrol: Patrol::begin() });
        self.conduct()?;
        Ok(true)
    }

    /// Somebody else leads: but is everybody alive?
    fn look_at_peers(&mut self, epoch: u32) -> Result<(), Error> {
        if let Some(standing) = &mut self.standing {
            standing.lead = false;
        }
        self.node.sweep(Duration::ZERO, epoch)
    }

    fn conduct(&mut self) -> Result<(), Error> {
        let Some(mut leading) = self.leading.take() else { return Ok(()) };
        let Leading { delegate, exchange, start, patrol } = &mut leading;
        let answered = self.courier.receive(exchange, delegate)?;
        if start.epoch > 0 && exchange.outcome().is_none() {
            self.node.extend(exchange, start, &self.courier);
        }
        self.courier.transmit(exchange, delegate);
        if let Some(outcome) = exchange.outcome() {
            self.courier.keep_servers(exchange);
            let mark = self.node.mark_of(outcome.clone())?;
            let Leading { delegate, start, mut exchange, .. } = leading;
            delegate
                .open_epoch(start.epoch, mark)
                .map_err(|error| Error::System(error.to_string()))?;
            self.node.tend_line(&self.courier, &mut exchange);
            return Ok(());
        }
        patrol.look(answered, self.node, start.epoch, (&self.courier, exchange))?;
        self.leading = Some(leading);
        Ok(())
    }

    /// Has the server followed the epoch that was opened ahead of it?
    fn confirm(&mut self) -> Result<(), Error> {
        let Some(mut unconfirmed) = self.ahead.take() else { return Ok(()) };
        match self.follow(&mut unconfirmed) {
            Ok(true) => {
                for (member, _) in std::mem::take(&mut self.entering) {
                    self.arrive(member);
                }
                Ok(())
            }
            Ok(false) => {
                self.ahead = Some(unconfirmed);
                Ok(())
            }
            Err(error) => {
                // The ranks have gone on, and nobody can ship this epoch again: the job cannot go on without it.
                self.node.board.fail(&Failure { code: 1, rank: None, text: error.to_string() });
                Err(error)
            }
        }
    }

    fn follow(&mut self, Unconfirmed { ahead, patrol }: &mut Unconfirmed) -> Result<bool, Error> {
        let Ahead { exchange, sent, epoch, mark } = ahead;
        let answered = self.courier.receive(exchange, sent)?;
        self.courier.transmit(exchange, sent);
        let Some(outcome) = exchange.outcome() else {
            let led = (&self.courier, exchange);
            return patrol.look(answered, self.node, *epoch, led).map(|()| false);
        };
        let confirmed = self.node.compare_marks(outcome.clone(), *mark);
        self.courier.keep_servers(exchange);
        self.node.tend_line(&self.courier, exchange);
        confirmed.map(|()| true)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Rank 0 of three, on a board of its own, with a server that never answers.
    fn ensemble() -> Ensemble {
        let config = Config {
            rank: 0,
            size: 3,
            job: "ensemble".into(),
            secret: [3; 32],
            node: None,
            servers: vec![SocketAddr::from(([127, 0, 0, 1], 9))],
            local_size: Some(3),
            timeout: None,
            log_ceiling: 1 << 20,
            share: false,
        };
        Ensemble::open(config).unwrap()
    }

    #[test]
    fn the_lead_of_one_who_gives_up_is_taken_over_at_once() {
        let mut ensemble = ensemble();
        let board = ensemble.board();
        let peer = board.claim(1).unwrap();
        let delegate = board.try_lead(&peer).unwrap();
        ensemble.join(0).unwrap();
        ensemble.advance().unwrap();
        assert_eq!(ensemble.waits_for(), Some(0), "the other one leads");
        drop(delegate);
        ensemble.advance().unwrap();
        assert_eq!(ensemble.waits_for(), None, "this one leads");
    }

    #[test]
    fn one_who_leads_for_a_rank_that_is_lost_gives_up() {
        let mut ensemble = ensemble();
        let member = ensemble.join(0).unwrap();
        ensemble.advance().unwrap();
        assert!(ensemble.leading.is_some());
        ensemble.lose(member);
        assert!(ensemble.board().is_vacant());
    }
}
