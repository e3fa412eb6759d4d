//! What all ranks of a process share with their server: who they are, the board, and what a delegate says for them.

use std::io::{self, Write};
use std::net::SocketAddr;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use pmi_protocol::exchange::{Exchange, Goal, Identity, Outcome, Start, abort_reason};
use pmi_protocol::key::{Keys, Secret, group_number};
use pmi_protocol::limits::STALL_US;
use pmi_protocol::log::{CHUNK_OVERHEAD, MARK_OVERHEAD, epoch_of_one_node};
use pmi_protocol::ranks::RankRanges;

use super::courier::{Courier, Logs, NoLogs, SWEEP, Watch};
use super::lifeline::Lifeline;
use super::{ABORT_LIMIT, Config, Error, SERVER_ADVICE, check_deadline, host_name};
use crate::{Board, BoardConfig, Delegate, Failure, Member, Slot, State};

/// A process's view of its node.
pub(super) struct Node {
    pub config: Config,
    pub identity: Identity,
    pub board: Board,
    pub line: Mutex<Lifeline>,
}

impl Node {
    /// Attaches to the board, or makes it.
    pub fn open(config: Config) -> Result<Node, Error> {
        let board = Board::open(&BoardConfig {
            secret: &config.secret,
            job: &config.job,
            node: config.node.as_deref(),
            size: config.size,
            local_size: config.local_size,
            log_ceiling: config.log_ceiling,
            share: config.share,
        })
        .map_err(|error| Error::System(format!("cannot make the node's board: {error}")))?;
        let identity = Identity {
            keys: Keys::derive(&Secret::new(config.secret)),
            group: group_number(&config.job),
            node: board.node_id(),
            size: config.size,
            host: host_name(),
            private: board.is_private(),
        };
        Ok(Node { config, identity, board, line: Mutex::default() })
    }

    /// Is it known how many ranks will come to this board?
    pub fn knows_peers(&self) -> bool {
        self.board.is_private() || self.config.local_size.is_some()
    }

    pub fn claim(&self, rank: u32) -> Result<Slot, Error> {
        let refused =
            |error| Error::Refused(format!("rank {rank} of job {}: {error}", self.config.job));
        self.board.claim(rank).map_err(refused)
    }

    pub fn addresses(&self) -> String {
        self.config.servers.iter().map(SocketAddr::to_string).collect::<Vec<_>>().join(", ")
    }

    pub fn check_over(&self) -> Result<(), Error> {
        match self.board.failure() {
            None => Ok(()),
            Some(failure) => Err(Error::Over(failure.text)),
        }
    }

    /// Appends records to the up-log, if the job's log can take them.
    pub fn commit(&self, slot: &Slot, bytes: &[u8]) -> Result<(), Error> {
        let waiting = self.board.up_end().saturating_sub(self.board.up_base());
        let overhead = CHUNK_OVERHEAD + MARK_OVERHEAD;
        let length = self.board.visible() + waiting + bytes.len() as u64 + overhead;
        if length > self.config.log_ceiling {
            return Err(Error::Full(format!(
                "{} bytes do not fit: the log has {} of at most {} bytes. Put less, or raise the ceiling \
                 (pmi-ssh -log-ceiling; without pmi-ssh: pmi-kvs-server --log-ceiling and PMI_KVS_LOG_CEILING)",
                bytes.len(),
                length - bytes.len() as u64,
                self.config.log_ceiling
            )));
        }
        self.board.commit(slot, bytes).map_err(|error| Error::Full(error.to_string()))
    }

    /// Where the board stands at the beginning of an exchange.
    pub fn start(&self, epoch: u32) -> Start {
        let (ranks, up_end) = match epoch {
            0 => (RankRanges::from_ranks([self.config.rank]), 0),
            _ => self.board.arrivals(epoch),
        };
        let (up_base, visible) = (self.board.up_base(), self.board.visible());
        Start { epoch, ranks, up_base, up_end, visible }
    }

    /// Do all ranks of the group stand in the barrier, on this board?
    pub fn is_complete(&self, start: &Start) -> bool {
        start.epoch > 0 && start.ranks.len() == self.config.size as usize
    }

    pub fn exchange(&self, courier: &Courier, goal: Goal, start: Start) -> Exchange<SocketAddr> {
        let seed = self.identity.node ^ u64::from(start.epoch) << 32 ^ u64::from(self.config.rank);
        let (identity, servers, now) = (self.identity.clone(), courier.servers(), courier.now());
        let mut exchange = Exchange::new(identity, servers, goal.clone(), start, now, seed);
        self.claim_line(&mut exchange, &goal);
        exchange
    }

    /// All ranks of the group stand in the barrier, on this board: what the server will say is known. So the
    /// delegate writes it down itself and lets its peers go, and goes too. Before it enters the next barrier, or
    /// leaves, it sees to it that the server has followed: the server is never more than one epoch behind, and
    /// nobody waits for it. That is also why a Leave must not come before: it is sent by the last rank of the board
    /// to finalize, after this one has settled.
    ///
    /// `keep` takes what the server has still to confirm, before anybody can notice that the epoch is open.
    pub fn open_ahead(
        &self,
        courier: &mut Courier,
        mut delegate: Delegate<'_>,
        start: Start,
        keep: impl FnOnce(Ahead),
    ) -> Result<(), Error> {
        let mut sent = Sent { base: start.up_base, records: Vec::new() };
        delegate.up_read(start.up_base, (start.up_end - start.up_base) as usize, &mut sent.records);
        let bytes =
            epoch_of_one_node(self.identity.node, start.up_base, &sent.records, start.epoch);
        let mark = start.visible + bytes.len() as u64;
        delegate.write_down(start.visible, &bytes)?;
        let epoch = start.epoch;
        let start = Start { visible: mark, ..start };
        let mut exchange = self.exchange(courier, Goal::Barrier, start);
        // First the server, which works while this process wakes its peers.
        courier.transmit(&mut exchange, &sent);
        keep(Ahead { exchange, sent, epoch, mark });
        delegate.open_epoch(epoch, mark).map_err(|error| Error::System(error.to_string()))
    }

    /// Do the server's log and this node's end at the same mark?
    pub fn compare_marks(&self, outcome: Outcome, ours: u64) -> Result<(), Error> {
        match self.mark_of(outcome)? {
            theirs if theirs == ours => Ok(()),
            theirs => Err(Error::Refused(format!(
                "the server's log has {theirs} bytes and this node's {ours}: all processes and the server must be \
                 of one version of pmi-adapter"
            ))),
        }
    }

    /// The mark with which an exchange has ended, if it has ended well.
    pub fn mark_of(&self, outcome: Outcome) -> Result<u64, Error> {
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

    /// Adds the arrivals that have come since to an exchange. Commits without an arrival wait for the next one: the
    /// server may release this one without them.
    pub fn extend(
        &self,
        exchange: &mut Exchange<SocketAddr>,
        spoken_for: &mut Start,
        courier: &Courier,
    ) {
        let (ranks, up_end) = self.board.arrivals(spoken_for.epoch);
        if ranks != spoken_for.ranks {
            exchange.extend(ranks.clone(), up_end, courier.now());
            (spoken_for.ranks, spoken_for.up_end) = (ranks, up_end);
        }
    }

    /// Looks at the peers, and complains once about a server that has been silent for long.
    pub fn sweep(&self, silent: Duration, epoch: u32) -> Result<(), Error> {
        let stall = Duration::from_micros(STALL_US);
        if silent >= stall && silent < stall + SWEEP {
            let (rank, addresses) = (self.config.rank, self.addresses());
            // In the user's program: that nobody reads it must not end it.
            let _ = writeln!(
                io::stderr(),
                "pmi: rank {rank}: no answer from the server at {addresses} yet"
            );
        }
        self.doubt_server(silent)?;
        match self.board.casualty() {
            Some(member) => Err(self.report_casualty(member, epoch)),
            None => Ok(()),
        }
    }

    /// The job is over, because others wait for this member.
    pub fn report_casualty(&self, Member { rank, state, .. }: Member, epoch: u32) -> Error {
        let text = match state {
            State::Dead => format!("rank {rank} died without PMI_Finalize"),
            _ => format!(
                "rank {rank} has called PMI_Finalize while rank {} waits in barrier {epoch}: \
                 all ranks must call PMI_Barrier equally often",
                self.config.rank
            ),
        };
        self.give_up(rank, text.clone());
        Error::Over(text)
    }

    /// Ends the job because of a rank that cannot say so itself.
    pub fn give_up(&self, rank: u32, text: String) {
        self.board.fail(&Failure { code: 1, rank: Some(rank), text: text.clone() });
        self.tell_abort(rank, Goal::Abort { code: 1, text, dead: true });
    }

    /// `PMI_Abort`'s message to the job: returns when the server knows, or after two seconds. The server hears of
    /// it before the peers do: they end with errors of their own, and the first of them would be taken for the
    /// culprit.
    pub fn abort(&self, rank: u32, code: i32, text: &str) {
        self.tell_abort(rank, Goal::Abort { code, text: text.to_owned(), dead: false });
        let text = abort_reason(rank, Some(&self.identity.host), code, text);
        self.board.fail(&Failure { code, rank: Some(rank), text });
    }

    fn tell_abort(&self, rank: u32, goal: Goal) {
        self.tell(RankRanges::from_ranks([rank]), goal, ABORT_LIMIT);
    }

    /// Tells the server something over a socket of its own, since another thread may hold the courier.
    pub fn tell(&self, ranks: RankRanges, goal: Goal, limit: Duration) {
        let result = Courier::open(&self.config.servers).and_then(|mut courier| {
            let start = Start { epoch: 0, ranks, up_base: 0, up_end: 0, visible: 0 };
            let mut exchange = self.exchange(&courier, goal, start);
            courier.run(&mut exchange, &mut NoLogs, &mut Limit(Instant::now() + limit))
        });
        if let Err(error) = result {
            tracing::debug!(%error, "the server did not take note");
        }
    }

    /// All ranks of the board have left: so the server need not wait for them.
    pub fn leave(&self, limit: Duration) {
        if self.board.failure().is_none() {
            let ranks = self.board.members().into_iter().map(|member| member.rank);
            self.tell(RankRanges::from_ranks(ranks), Goal::Leave, limit);
        }
    }
}

/// An epoch that is open on the board, and not yet confirmed by the server.
pub(super) struct Ahead {
    pub exchange: Exchange<SocketAddr>,
    pub sent: Sent,
    pub epoch: u32,
    pub mark: u64,
}

/// Up-log bytes of an epoch that is open already; its down-log bytes are known.
pub(super) struct Sent {
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

    fn sweep(
        &mut self,
        _: &Courier,
        _: &mut Exchange<SocketAddr>,
        _: Duration,
    ) -> Result<(), Error> {
        Ok(())
    }

    fn deadline(&self) -> Option<Instant> {
        Some(self.0)
    }
}
