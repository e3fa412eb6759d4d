//! What the ranks of a node share, as the simulation has it: a plain model of the board, without its shared
//! memory, and the exchanges that its ranks have under way.

use std::collections::BTreeSet;

use crate::checker::{Micros, Verdict, View, Violation};
use crate::plan::NodePlan;
use crate::wire::{Address, Place};
use crate::world::Line;
use pmi_protocol::datagram::Outbox;
use pmi_protocol::exchange::{Exchange, Goal, Identity, Outcome, Start};
use pmi_protocol::log::{chunk_end_of, epoch_of_one_node};
use pmi_protocol::ranks::RankRanges;
use pmi_protocol::record::{RecordKind, records};

/// What an exchange is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Task {
    /// The exchange of the board's delegate: join or barrier.
    Delegate,
    /// The exchange of a delegate that was given up but does not know.
    Zombie,
    /// A delegate has opened its barrier ahead of the server, and waits in it for the server to follow.
    Confirm,
    /// Ranks have finalized.
    Leave,
    /// A rank aborts.
    Abort,
    /// A rank has found a peer that is dead, or has finalized too early.
    Obituary,
}

/// An exchange under way.
#[derive(Debug)]
pub struct Runner {
    /// Index of the process that runs it.
    pub process: usize,
    /// What it is for.
    pub task: Task,
    /// The machine.
    pub exchange: Exchange<Address>,
}

/// A barrier that was opened before the server knew of it, until the server has confirmed it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ahead {
    /// Number of the barrier.
    pub epoch: u32,
    /// The mark that the server must come to.
    pub mark: u64,
    /// Where `records` begin in the up-log.
    base: u64,
    /// The barrier's up-log bytes: the board may have forgotten them when they must be sent again.
    records: Vec<u8>,
}

/// The board of one node.
#[derive(Debug)]
pub struct Board {
    /// What the node is.
    pub plan: NodePlan,
    /// The last barrier passed; nothing before the node has joined.
    pub epoch: Option<u32>,
    /// Ranks that stand in the next barrier, or wait for the node to join.
    pub arrived: BTreeSet<u32>,
    /// Ranks that have called `PMI_Finalize`.
    pub left: BTreeSet<u32>,
    /// All pairs up to the mark.
    pub view: View,
    /// Why the job is over.
    pub over: Option<(i32, String)>,
    /// Exchanges under way.
    pub runners: Vec<Runner>,
    /// The node's lifeline.
    pub line: Line,
    watched: Option<bool>,
    /// When `Happening::Poll` comes for it next.
    pub next_poll: Option<Micros>,
    ahead: Option<Ahead>,
    identity: Identity,
    up: Vec<u8>,
    up_base: u64,
    down: Vec<u8>,
    visible: u64,
}

impl Board {
    /// An empty board.
    pub fn new(plan: NodePlan, identity: Identity) -> Self {
        Board {
            plan,
            identity,
            up: Vec::new(),
            up_base: 0,
            down: Vec::new(),
            visible: 0,
            epoch: None,
            arrived: BTreeSet::new(),
            left: BTreeSet::new(),
            view: View::new(),
            over: None,
            runners: Vec::new(),
            line: Line::default(),
            watched: None,
            next_poll: None,
            ahead: None,
        }
    }

    /// The barrier that arrivals are for; 0 stands for joining.
    pub fn target(&self) -> u32 {
        self.epoch.map_or(0, |epoch| epoch + 1)
    }

    /// A rank commits records.
    pub fn commit(&mut self, records: &[u8]) {
        self.up.extend_from_slice(records);
    }

    /// All that has been committed, also by ranks that have not arrived, or have arrived before (split barrier).
    fn up_end(&self) -> u64 {
        self.up.len() as u64
    }

    /// A rank arrives, and takes part in the exchange under way if there is one.
    pub fn arrive(&mut self, now: Micros, rank: u32) {
        self.arrived.insert(rank);
        let ranks = RankRanges::from_ranks(self.arrived.iter().copied());
        let (joining, up_end) = (self.epoch.is_none(), self.up_end());
        if let Some(delegate) = self.delegate().filter(|_| !joining) {
            delegate.exchange.extend(ranks, up_end, now);
        }
    }

    /// The delegate's exchange.
    pub fn delegate(&mut self) -> Option<&mut Runner> {
        self.runners.iter_mut().find(|runner| runner.task == Task::Delegate)
    }

    /// Starts an exchange of `process` for `ranks`.
    pub fn start(
        &mut self,
        now: Micros,
        process: usize,
        task: Task,
        goal: Goal,
        ranks: impl IntoIterator<Item = u32>,
        seed: u64,
    ) {
        let epoch = match goal {
            Goal::Join | Goal::Barrier => self.target(),
            Goal::Leave | Goal::Abort { .. } => self.epoch.unwrap_or(0),
        };
        let start = Start {
            epoch,
            ranks: RankRanges::from_ranks(ranks),
            up_base: self.up_base,
            up_end: self.up_end(),
            visible: match &self.ahead {
                Some(ahead) if task == Task::Confirm => ahead.mark,
                _ => self.visible,
            },
        };
        let (identity, servers) = (self.identity.clone(), self.servers());
        let mut exchange = Exchange::new(identity, servers, goal, start, now, seed);
        exchange.claim_line(self.line.port);
        self.runners.push(Runner { process, task, exchange });
    }

    /// Can a delegate open the next barrier without the server? Only if all ranks of the group stand in it here.
    pub fn can_open_ahead(&self) -> bool {
        let all = self.arrived.len() == self.identity.size as usize;
        self.plan.opens_ahead && self.epoch.is_some() && all
    }

    /// Opens the next barrier ahead of the server, as its delegate `process` does, and starts the exchange that
    /// makes the server follow. Returns the ranks that were waiting, the delegate's among them.
    pub fn open_ahead(
        &mut self,
        now: Micros,
        process: usize,
        seed: u64,
    ) -> Result<BTreeSet<u32>, Violation> {
        let (epoch, base) = (self.target(), self.up_base);
        if let Some(Ahead { epoch: behind, .. }) = self.ahead {
            return Err(Violation(format!(
                "barrier {epoch} opens although the server has not confirmed barrier {behind}"
            )));
        }
        let records = self.up[base as usize..].to_vec();
        let bytes = epoch_of_one_node(self.identity.node, base, &records, epoch);
        let mark = self.visible + bytes.len() as u64;
        self.write(self.visible, &bytes)?;
        self.ahead = Some(Ahead { epoch, mark, base, records });
        let ranks = self.arrived.clone();
        self.start(now, process, Task::Confirm, Goal::Barrier, ranks, seed);
        self.open(mark)
    }

    /// The exchange of a barrier opened ahead has ended: returns the barrier.
    pub fn take_ahead(&mut self) -> Option<Ahead> {
        self.ahead.take()
    }

    /// Takes out the exchange that confirms a barrier opened ahead, and returns its process.
    pub fn stop_confirming(&mut self) -> Option<usize> {
        let at = self.runners.iter().position(|runner| runner.task == Task::Confirm)?;
        Some(self.runners.remove(at).process)
    }

    /// All that is visible of the log.
    pub fn log(&self) -> &[u8] {
        &self.down[..self.visible as usize]
    }

    fn servers(&self) -> Vec<Address> {
        let loopback = self.plan.loopback;
        let mut servers = vec![Address { place: Place::Server, loopback }];
        if self.plan.dead_address {
            servers.insert(0, Address { place: Place::Nowhere, loopback });
        }
        servers
    }

    /// Lets the exchanges of the board send what is due; calls `send` with the process and its datagrams.
    pub fn transmit(&mut self, now: Micros, mut send: impl FnMut(usize, &Outbox<Address>)) {
        let Board { up, up_base, ahead, runners, .. } = self;
        for runner in runners.iter_mut().filter(|runner| runner.exchange.due() <= now) {
            // What has been released cannot be read any more.
            let (log, base) = match ahead {
                Some(ahead) if runner.task == Task::Confirm => (&*ahead.records, ahead.base),
                _ => (&up[*up_base as usize..], *up_base),
            };
            let mut read_up = |offset: u64, len: usize, bytes: &mut Vec<u8>| {
                if let Some(from) = offset.checked_sub(base) {
                    bytes.extend_from_slice(&log[from as usize..from as usize + len]);
                }
            };
            let mut out = Outbox::default();
            runner.exchange.transmit(now, &mut read_up, &mut out);
            send(runner.process, &out);
        }
    }

    /// When an exchange wants to send next.
    pub fn due(&self) -> Option<Micros> {
        self.runners.iter().map(|runner| runner.exchange.due()).min()
    }

    /// A datagram has come for a process. False if it has no exchange that could use it.
    pub fn receive(
        &mut self,
        now: Micros,
        process: usize,
        from: Address,
        bytes: &[u8],
    ) -> Result<bool, Violation> {
        let mut used = false;
        let mut writes = Vec::new();
        for runner in self.runners.iter_mut().filter(|runner| runner.process == process) {
            used = true;
            writes.extend(runner.exchange.handle(now, from, bytes));
            self.watched = runner.exchange.watched().or(self.watched);
        }
        writes.into_iter().try_for_each(|(offset, bytes)| self.write(offset, bytes))?;
        Ok(used)
    }

    /// What the server has said of the node's lifeline since the last call.
    pub fn take_watched(&mut self) -> Option<bool> {
        self.watched.take()
    }

    /// The node has opened a lifeline: what its exchanges send claims it. One of `process` that has ended says so.
    pub fn claim_line(&mut self, process: usize, port: u16, out: &mut Outbox<Address>) {
        for runner in &mut self.runners {
            runner.exchange.claim_line(port);
            if runner.process == process && runner.exchange.outcome().is_some() {
                runner.exchange.announce(out);
            }
        }
    }

    /// Writes down-log bytes. Whatever is visible already must not change.
    fn write(&mut self, offset: u64, bytes: &[u8]) -> Verdict {
        let (from, to) = (offset as usize, offset as usize + bytes.len());
        let seen = to.min(self.visible as usize);
        if from < seen && self.down[from..seen] != bytes[..seen - from] {
            return Err(Violation(format!(
                "bytes {from}..{to} of the log change after their mark"
            )));
        }
        self.down.resize(self.down.len().max(to), 0);
        self.down[from..to].copy_from_slice(bytes);
        Ok(())
    }

    /// Takes out an exchange that has ended, with how.
    pub fn take_ended(&mut self) -> Option<(Runner, Outcome)> {
        let at = self.runners.iter().position(|runner| runner.exchange.outcome().is_some())?;
        let runner = self.runners.remove(at);
        let outcome = runner.exchange.outcome().cloned()?;
        Some((runner, outcome))
    }

    /// The next epoch is open up to `mark`: makes it visible, and returns the ranks that were waiting for it. The up-log
    /// is released as far as the log says that the server has it, which may be less than the delegate has sent.
    pub fn open(&mut self, mark: u64) -> Result<BTreeSet<u32>, Violation> {
        self.epoch = Some(self.target());
        if mark < self.visible || mark as usize > self.down.len() {
            return Err(Violation(format!("mark {mark} is beyond the bytes on the board")));
        }
        let (from, to) = (self.visible as usize, mark as usize);
        let mut end = from;
        for (at, record) in records(&self.down[from..to]) {
            end = from + at + record.encoded_len();
            match record.kind {
                RecordKind::Put => {
                    self.view.insert((record.space, record.key.to_vec()), record.value.to_vec());
                }
                RecordKind::Chunk => {
                    let cursor = chunk_end_of(self.identity.node, &record);
                    self.up_base = cursor.unwrap_or(self.up_base);
                }
                RecordKind::Destroy => self.view.retain(|key, _| key.0 != record.space),
                _ => {}
            }
        }
        if end != to {
            return Err(Violation(format!("the log is not whole at {end}, its mark is {mark}")));
        }
        self.visible = mark;
        Ok(std::mem::take(&mut self.arrived))
    }
}
