//! A bench for the machines themselves: one server, exchanges made by hand, and datagrams that a test
//! carries, drops or keeps.
#![allow(dead_code, reason = "each test file uses its own part of the bench")]

use pmi_protocol::datagram::{Header, Kind, Outbox, encode};
use pmi_protocol::exchange::{Exchange, Goal, Identity, Outcome, Peer, Start};
use pmi_protocol::key::{Keys, Secret, group_number};
use pmi_protocol::limits::{LOG_CEILING_DEFAULT, PATH_BODY_MAX};
use pmi_protocol::log::{GroupSpec, LogMemory};
use pmi_protocol::pace::Micros;
use pmi_protocol::ranks::{RankRange, RankRanges};
use pmi_protocol::record::{Record, RecordKind};
use pmi_protocol::server::{Event, Server};
use std::cell::RefCell;
use std::rc::Rc;

/// An address: of a node's process, or 0 for the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Address(pub u64);

impl Peer for Address {
    fn body_max(&self) -> usize {
        PATH_BODY_MAX
    }

    fn at_port(self, port: u16) -> Self {
        Address(self.0 << 16 | u64::from(port))
    }
}

pub const SERVER: Address = Address(0);

/// Log memory that a test keeps when it drops the server.
#[derive(Clone, Debug, Default)]
pub struct Memory {
    bytes: Vec<u8>,
    kept: Rc<RefCell<Vec<u8>>>,
}

impl LogMemory for Memory {
    fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    fn append(&mut self, parts: &[&[u8]]) {
        LogMemory::append(&mut self.bytes, parts);
        LogMemory::append(&mut *self.kept.borrow_mut(), parts);
    }
}

/// A server with one group, and the time.
pub struct Bench {
    pub now: Micros,
    pub server: Server<Memory, Address>,
    pub events: Vec<Event>,
    pub kept: Rc<RefCell<Vec<u8>>>,
    pub spec: GroupSpec,
    incarnation: u32,
}

pub fn secret() -> Secret {
    Secret::new([3; 32])
}

pub fn keys() -> Keys {
    Keys::derive(&secret())
}

impl Bench {
    pub fn new(size: u32) -> Self {
        Bench::with_ceiling(size, LOG_CEILING_DEFAULT)
    }

    pub fn with_ceiling(size: u32, ceiling: u64) -> Self {
        let spec = GroupSpec { name: "job".to_owned(), size, ceiling };
        let server = Server::new(&secret(), 1);
        let kept = Rc::default();
        let mut bench = Bench { now: 0, server, events: Vec::new(), kept, spec, incarnation: 0 };
        bench.restart();
        bench
    }

    /// The server crashes and is started again on the log that is kept.
    pub fn restart(&mut self) {
        self.incarnation += 1;
        self.server = Server::new(&secret(), self.incarnation);
        let memory = Memory { bytes: self.kept.borrow().clone(), kept: self.kept.clone() };
        self.server.add_group(memory, self.spec.clone(), &[]).unwrap();
    }

    /// A server that expects the group, and does not know its size.
    pub fn expecting(size: u32) -> Self {
        let mut bench = Bench::new(size);
        bench.kept = Rc::default();
        bench.server = Server::new(&secret(), bench.incarnation);
        let memory = Memory { bytes: Vec::new(), kept: bench.kept.clone() };
        bench.server.expect_group(memory, &bench.spec.name, bench.spec.ceiling).unwrap();
        bench
    }

    /// A node's exchange. Its up-log is `up`, and so far it has seen `visible` bytes of the log.
    pub fn node(&self, id: u64, ranks: &[u32], goal: Goal, epoch: u32, visible: u64) -> Node {
        let identity = Identity {
            keys: keys(),
            group: group_number(&self.spec.name),
            node: id,
            size: self.spec.size,
            host: format!("host{id}"),
            private: false,
        };
        let start = Start {
            epoch,
            ranks: RankRanges::from_ranks(ranks.iter().copied()),
            up_base: 0,
            up_end: 0,
            visible,
        };
        let exchange = Exchange::new(
            identity.clone(),
            vec![SERVER],
            goal.clone(),
            start.clone(),
            self.now,
            id,
        );
        Node {
            address: Address(id),
            exchange,
            identity,
            goal,
            start,
            up: Vec::new(),
            down: Vec::new(),
        }
    }

    pub fn barrier(&self, id: u64, ranks: &[u32], epoch: u32, up: &[u8]) -> Node {
        let visible = self.kept.borrow().len() as u64;
        let mut node = self.node(id, ranks, Goal::Barrier, epoch, visible);
        node.commit(up, self.now);
        node
    }

    pub fn joining(&self, id: u64, ranks: &[u32]) -> Node {
        self.node(id, ranks, Goal::Join, 0, 0)
    }

    /// What the server answers to one datagram: addressees with datagrams.
    pub fn serve(&mut self, from: Address, datagram: &[u8]) -> Vec<(Address, Vec<u8>)> {
        let mut out = Outbox::default();
        self.server.handle(self.now, from, datagram, &mut out, &mut self.events);
        out.iter().map(|(to, bytes)| (to, bytes.to_vec())).collect()
    }

    /// The server looks at its clock; returns what it sends.
    pub fn tick(&mut self, now: Micros) -> Vec<(Address, Vec<u8>)> {
        let mut out = Outbox::default();
        self.server.tick(now, &mut out, &mut self.events);
        out.iter().map(|(to, bytes)| (to, bytes.to_vec())).collect()
    }

    /// Carries what the nodes have to say to the server and its answers back, in order and without loss,
    /// until all have ended or `rounds` are over. Time goes on to the next due time in each round.
    pub fn run(&mut self, nodes: &mut [&mut Node], rounds: usize) {
        for _ in 0..rounds {
            for index in 0..nodes.len() {
                let from = nodes[index].address;
                for datagram in nodes[index].say(self.now) {
                    for (to, answer) in self.serve(from, &datagram) {
                        let to = nodes.iter_mut().find(|node| node.address == to);
                        to.into_iter().for_each(|node| node.hear(self.now, &answer));
                    }
                }
            }
            let open = nodes.iter().filter(|node| node.exchange.outcome().is_none());
            match open.map(|node| node.exchange.due()).min() {
                Some(due) => self.now = self.now.max(due),
                None => return,
            }
        }
    }
}

/// A node with its exchange.
pub struct Node {
    pub address: Address,
    pub exchange: Exchange<Address>,
    pub identity: Identity,
    pub goal: Goal,
    pub start: Start,
    pub up: Vec<u8>,
    pub down: Vec<(u64, Vec<u8>)>,
}

impl Node {
    /// Adds bytes to the up-log, for the ranks of the exchange.
    pub fn commit(&mut self, up: &[u8], now: Micros) {
        self.up.extend_from_slice(up);
        self.start.up_end = self.up.len() as u64;
        self.exchange.extend(self.start.ranks.clone(), self.start.up_end, now);
    }

    /// Another process takes over.
    pub fn take_over(&mut self, address: Address, now: Micros) {
        self.address = address;
        let (identity, goal) = (self.identity.clone(), self.goal.clone());
        self.exchange =
            Exchange::new(identity, vec![SERVER], goal, self.start.clone(), now, address.0);
    }

    /// What it has to say now.
    pub fn say(&mut self, now: Micros) -> Vec<Vec<u8>> {
        let mut out = Outbox::default();
        let up = &self.up;
        let mut read_up = |offset: u64, len: usize, bytes: &mut Vec<u8>| {
            bytes.extend_from_slice(&up[offset as usize..offset as usize + len]);
        };
        self.exchange.transmit(now, &mut read_up, &mut out);
        out.iter().map(|(_, bytes)| bytes.to_vec()).collect()
    }

    pub fn hear(&mut self, now: Micros, datagram: &[u8]) {
        if let Some((offset, bytes)) = self.exchange.handle(now, SERVER, datagram) {
            self.down.push((offset, bytes.to_vec()));
        }
    }

    pub fn mark(&self) -> Option<u64> {
        match self.exchange.outcome() {
            Some(Outcome::Opened { mark }) => Some(*mark),
            _ => None,
        }
    }

    pub fn fault(&self) -> Option<(i32, bool, &str)> {
        match self.exchange.outcome() {
            Some(Outcome::Fault { code, refused, text, .. }) => Some((*code, *refused, text)),
            _ => None,
        }
    }

    /// The log as it has come in from `from` on.
    pub fn log(&self, from: u64) -> Vec<u8> {
        let mut bytes = Vec::new();
        for (offset, piece) in &self.down {
            let (at, end) = ((offset - from) as usize, (offset - from) as usize + piece.len());
            bytes.resize(bytes.len().max(end), 0);
            bytes[at..end].copy_from_slice(piece);
        }
        bytes
    }
}

/// Up-log bytes of one put.
pub fn put(key: &str, len: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    let value = vec![b'v'; len];
    Record { kind: RecordKind::Put, space: 0, key: key.as_bytes(), value: &value }
        .append_to(&mut bytes);
    bytes
}

/// A sealed datagram made by hand.
pub fn sealed(header: &Header, ranges: &[RankRange], bytes: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    encode(&keys(), header, ranges, bytes, &mut out);
    out
}

/// A header made by hand.
pub fn header(kind: Kind, node: u64, epoch: u32) -> Header {
    Header {
        kind,
        flags: 0,
        group: group_number("job"),
        node,
        offset: 0,
        mark: 0,
        epoch,
        incarnation: 0,
    }
}
