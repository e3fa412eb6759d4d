//! One barrier of all nodes, from the first arrival to the last release.

use super::{Delivery, Load, Placement, Row};
use crate::checker::Micros;
use crate::queue::Queue;
use crate::wire::{Address, Place};
use pmi_protocol::datagram::{Kind, Outbox};
use pmi_protocol::exchange::{Exchange, Goal, Identity, Outcome, Start};
use pmi_protocol::key::{Keys, Secret, group_number};
use pmi_protocol::limits::{LOG_CEILING_MAX, RECORD_HEADER_LEN, VALUE_MAX};
use pmi_protocol::log::GroupSpec;
use pmi_protocol::ranks::RankRanges;
use pmi_protocol::record::{Record, RecordKind};
use pmi_protocol::server::Server;

/// Length of every key.
const KEY_LEN: usize = 16;

/// Bytes of a record beside its value.
pub(super) const RECORD_OVERHEAD: u64 = (RECORD_HEADER_LEN + KEY_LEN) as u64;

const SERVER: Address = Address { place: Place::Server, loopback: false };

fn address(node: u32) -> Address {
    Address { place: Place::Process(node as usize), loopback: false }
}

enum Happening {
    Poll(u32),
    Up(u32, Vec<u8>),
    Down(u32, Vec<u8>),
}

/// All nodes and their server.
pub(super) struct Cluster<'a> {
    load: &'a Load,
    keys: Keys,
    server: Server<Vec<u8>, Address>,
    now: Micros,
    /// When the server has done all that has come in, in nanoseconds.
    free: u64,
    visible: u64,
}

/// What goes on during one barrier.
struct Phase {
    queue: Queue<Happening>,
    exchanges: Vec<Option<Exchange<Address>>>,
    begin: Micros,
    mark: u64,
    row: Row,
    /// The server's time for datagrams of the first node's pull, in nanoseconds, and their number.
    pull_ns: u64,
}

impl<'a> Cluster<'a> {
    pub fn new(load: &'a Load) -> Result<Self, String> {
        let secret = Secret::new([7; 32]);
        let spec =
            GroupSpec { name: "report".to_owned(), size: load.size(), ceiling: LOG_CEILING_MAX };
        let mut server = Server::new(&secret, 1);
        server.add_group(Vec::new(), spec, &[]).map_err(|error| error.to_string())?;
        let keys = Keys::derive(&secret);
        Ok(Cluster { load, keys, server, now: 0, free: 0, visible: 0 })
    }

    /// All nodes join, or pass a barrier.
    pub fn pass(&mut self, barrier: u32) -> Result<Row, String> {
        let mut phase = self.begin(barrier);
        let repeated = self.server.counters().repeated;
        // What is still under way when the last node is through counts as well.
        while let Some((at, what)) = phase.queue.pop() {
            self.now = at;
            match what {
                Happening::Poll(node) => self.poll(&mut phase, node),
                Happening::Up(node, bytes) => self.serve(&mut phase, node, &bytes),
                Happening::Down(node, bytes) => self.receive(&mut phase, node, &bytes)?,
            }
        }
        let mut row = phase.row;
        row.repeated = self.server.counters().repeated - repeated;
        row.log_bytes = phase.mark - self.visible;
        if row.delivery == Delivery::Estimated {
            row.micros += phase.pull_ns * u64::from(self.load.nodes - 1) / 1000;
        }
        self.visible = phase.mark;
        Ok(row)
    }

    fn begin(&self, barrier: u32) -> Phase {
        let nodes = self.load.nodes;
        let mut queue = Queue::default();
        let arrival =
            |node: u32| self.now + self.load.spread_us * u64::from(node) / u64::from(nodes);
        (0..nodes).for_each(|node| queue.push(arrival(node), Happening::Poll(node)));
        let exchange = |node| Some(self.exchange(barrier, node, arrival(node)));
        let row = Row {
            barrier,
            datagrams_in: 0,
            bytes_in: 0,
            datagrams_out: 0,
            bytes_out: 0,
            repeated: 0,
            log_bytes: 0,
            micros: 0,
            delivery: Delivery::Pushed,
        };
        let exchanges = (0..nodes).map(exchange).collect();
        Phase { queue, exchanges, begin: self.now, mark: 0, row, pull_ns: 0 }
    }

    fn exchange(&self, barrier: u32, node: u32, now: Micros) -> Exchange<Address> {
        let identity = Identity {
            keys: self.keys.clone(),
            group: group_number("report"),
            node: u64::from(node) + 1,
            size: self.load.size(),
            host: format!("node{node}"),
            private: false,
        };
        let bytes = self.load.record_len() * u64::from(self.load.ranks_per_node);
        let goal = if barrier == 0 { Goal::Join } else { Goal::Barrier };
        let start = Start {
            epoch: barrier,
            ranks: RankRanges::from_ranks(
                (0..self.load.ranks_per_node).map(|i| self.rank(node, i)),
            ),
            up_base: bytes * u64::from(barrier.saturating_sub(1)),
            up_end: bytes * u64::from(barrier),
            visible: self.visible,
        };
        Exchange::new(identity, vec![SERVER], goal, start, now, u64::from(node))
    }

    fn rank(&self, node: u32, index: u32) -> u32 {
        match self.load.placement {
            Placement::Block => node * self.load.ranks_per_node + index,
            Placement::Cyclic => index * self.load.nodes + node,
        }
    }

    /// The records of a node's ranks before a barrier.
    fn records(&self, barrier: u32, node: u32) -> Vec<u8> {
        let mut bytes = Vec::new();
        let Some(len) = self.load.value_bytes else { return bytes };
        let value = [b'v'; VALUE_MAX];
        for index in 0..self.load.ranks_per_node {
            let key = format!("{:08}-{barrier:07}", self.rank(node, index));
            let (key, value) = (key.as_bytes(), &value[..len]);
            Record { kind: RecordKind::Put, space: 0, key, value }.append_to(&mut bytes);
        }
        bytes
    }

    fn poll(&mut self, phase: &mut Phase, node: u32) {
        let Some(exchange) = &mut phase.exchanges[node as usize] else { return };
        if exchange.due() <= self.now {
            let mut out = Outbox::default();
            let mut exchange = phase.exchanges[node as usize].take().expect("it is there");
            let mut records = None;
            let (barrier, now) = (phase.row.barrier, self.now);
            let mut read_up = |offset: u64, len: usize, bytes: &mut Vec<u8>| {
                let records: &Vec<u8> = records.get_or_insert_with(|| self.records(barrier, node));
                if len > 0 {
                    let at = offset as usize % records.len();
                    bytes.extend_from_slice(&records[at..at + len]);
                }
            };
            exchange.transmit(now, &mut read_up, &mut out);
            for (_, bytes) in out.iter() {
                let at = now + self.load.latency_us;
                phase.queue.push(at, Happening::Up(node, bytes.to_vec()));
            }
            phase.queue.push(exchange.due(), Happening::Poll(node));
            phase.exchanges[node as usize] = Some(exchange);
        }
    }

    /// The server's time for a datagram, in nanoseconds.
    fn cost(&self, bytes: &[u8]) -> u64 {
        self.load.datagram_ns + bytes.len() as u64 * 8 / self.load.gbit
    }

    fn serve(&mut self, phase: &mut Phase, node: u32, bytes: &[u8]) {
        let begin = self.free.max(self.now * 1000);
        self.free = begin + self.cost(bytes);
        phase.row.datagrams_in += 1;
        phase.row.bytes_in += bytes.len() as u64;
        let (mut out, mut events) = (Outbox::default(), Vec::new());
        self.server.handle(begin / 1000, address(node), bytes, &mut out, &mut events);
        for (to, bytes) in out.iter() {
            let Place::Process(to) = to.place else { continue };
            self.free += self.cost(bytes);
            phase.row.datagrams_out += 1;
            phase.row.bytes_out += bytes.len() as u64;
            let at = self.free / 1000 + self.load.latency_us;
            phase.queue.push(at, Happening::Down(to as u32, bytes.to_vec()));
        }
        let work = self.free - begin;
        let multiplied = phase.row.delivery == Delivery::Estimated && is(Kind::Pull, bytes);
        if multiplied {
            phase.pull_ns += work;
            phase.count_for_others(u64::from(self.load.nodes - 1), bytes.len(), &out);
        }
    }

    fn receive(&mut self, phase: &mut Phase, node: u32, bytes: &[u8]) -> Result<(), String> {
        let Some(exchange) = &mut phase.exchanges[node as usize] else { return Ok(()) };
        let pushed = exchange.handle(self.now, SERVER, bytes).is_some();
        let pull = is(Kind::Release, bytes) && !pushed && exchange.outcome().is_none();
        let (due, outcome) = (exchange.due(), exchange.outcome().cloned());
        match outcome {
            Some(Outcome::Opened { mark }) => {
                phase.mark = mark;
                phase.close(self.now, node);
            }
            Some(outcome) => return Err(format!("node {node}: {outcome:?}")),
            None if pull && self.is_estimated(phase) && node > 0 => phase.close(self.now, node),
            None => phase.queue.push(due, Happening::Poll(node)),
        }
        Ok(())
    }

    /// Notes that nodes pull; true if one does for all.
    fn is_estimated(&self, phase: &mut Phase) -> bool {
        let all = (self.server.log_bytes() - self.visible) * u64::from(self.load.nodes);
        let estimated = all > self.load.pull_mib << 20;
        phase.row.delivery = if estimated { Delivery::Estimated } else { Delivery::Pulled };
        estimated
    }
}

impl Phase {
    /// The node is through.
    fn close(&mut self, now: Micros, node: u32) {
        self.exchanges[node as usize] = None;
        self.row.micros = now - self.begin;
    }

    fn count_for_others(&mut self, others: u64, bytes_in: usize, out: &Outbox<Address>) {
        let bytes_out: usize = out.iter().map(|(_, bytes)| bytes.len()).sum();
        self.row.datagrams_in += others;
        self.row.bytes_in += others * bytes_in as u64;
        self.row.datagrams_out += others * out.len() as u64;
        self.row.bytes_out += others * bytes_out as u64;
    }
}

/// Is this a datagram of that kind?
fn is(kind: Kind, datagram: &[u8]) -> bool {
    datagram.get(4) == Some(&(kind as u8))
}
