//! One process group: its log, its nodes and the barrier being collected.

use std::collections::HashMap;

use super::node::{Node, hosts_of};
use super::{Context, Event};
use crate::datagram::{
    DEAD, Datagram, Header, Kind, PRIVATE, WANT_ACK, decode_hello, decode_reason, encode_reason,
};
use crate::exchange::Peer;
use crate::key::group_number;
use crate::limits::{PUSH_MAX, PUSH_TOTAL_MAX, STALL_US, WINDOW_MAX};
use crate::log::{CHUNK_OVERHEAD, Log, LogMemory, MARK_OVERHEAD};
use crate::pace::Micros;
use crate::ranks::{RankRange, RankRanges, RankSet};
use crate::record::is_up_log;

/// Why a group is over.
#[derive(Clone, Debug)]
struct Verdict {
    code: i32,
    rank: Option<u32>,
    text: String,
}

#[derive(Debug)]
pub(crate) struct Group<M, P> {
    number: u64,
    log: Log<M>,
    nodes: Vec<Node<P>>,
    by_id: HashMap<u64, usize>,
    /// Index + 1 of the node that each rank has been seen on, or 0.
    owners: Vec<u32>,
    arrived: RankSet,
    left: RankSet,
    /// First arrival of the barrier being collected, and when to complain about it next.
    waiting: Option<(Micros, Micros)>,
    verdict: Option<Verdict>,
}

/// All ranks that a datagram is about.
fn ranks_of<'a>(datagram: &Datagram<'a>) -> impl Iterator<Item = u32> + 'a {
    datagram.ranges().flat_map(|range| range.first..=range.last)
}

impl<M: LogMemory, P: Peer> Group<M, P> {
    pub fn new(log: Log<M>) -> Self {
        let size = log.spec().size;
        Group {
            number: group_number(&log.spec().name),
            log,
            nodes: Vec::new(),
            by_id: HashMap::new(),
            owners: vec![0; size as usize],
            arrived: RankSet::new(size),
            left: RankSet::new(size),
            waiting: None,
            verdict: None,
        }
    }

    pub fn log_bytes(&self) -> u64 {
        self.log.len()
    }

    pub fn handle(&mut self, context: &mut Context<P>, from: P, datagram: &Datagram) {
        if let Some(range) = datagram.ranges().find(|range| range.last >= self.log.spec().size) {
            return self.refuse_rank(context, from, &datagram.header, range.last);
        }
        if datagram.header.kind == Kind::Hello && !self.admits(context, from, datagram) {
            return;
        }
        let index = self.node(context, from, datagram.header.node);
        if !self.owns(context, index, datagram) {
            return self.answer_fault(context, index);
        }
        match datagram.header.kind {
            Kind::Leave => self.on_leave(context, index, datagram),
            Kind::Abort => self.on_abort(context, index, datagram),
            _ if self.verdict.is_some() => self.answer_fault(context, index),
            Kind::Hello => self.on_hello(context, index, datagram),
            Kind::Up => self.on_up(context, index, datagram),
            Kind::Pull => self.on_pull(context, index, &datagram.header),
            _ => context.counters.dropped += 1,
        }
    }

    /// The node of a datagram, new or known, with its present address.
    fn node(&mut self, context: &mut Context<P>, from: P, id: u64) -> usize {
        let index = *self.by_id.entry(id).or_insert_with(|| {
            context.counters.nodes += 1;
            self.nodes.push(Node::new(id, from, self.log.cursor(id)));
            self.nodes.len() - 1
        });
        self.nodes[index].peer = from;
        index
    }

    fn refuse_rank(&self, context: &mut Context<P>, from: P, about: &Header, rank: u32) {
        let spec = self.log.spec();
        let text = format!(
            "rank {rank} does not exist: job {} has {} ranks. Check PMI_RANK and PMI_SIZE of every process",
            spec.name, spec.size
        );
        context.refuse(from, about, Some(&spec.name), &text);
    }

    /// May the node of a Hello join? If not, it has been told why.
    fn admits(&self, context: &mut Context<P>, from: P, datagram: &Datagram) -> bool {
        let spec = self.log.spec();
        let Some((size, host)) = decode_hello(datagram.bytes) else {
            context.counters.dropped += 1;
            return false;
        };
        let gone = ranks_of(datagram).find(|r| self.left.contains(*r));
        let text = if size != spec.size {
            format!(
                "a process on host {host} says that the size is {size}, but job {} has {} ranks. Check PMI_SIZE",
                spec.name, spec.size
            )
        } else if let Some(rank) = gone {
            format!(
                "rank {rank} has finalized and cannot join again: start one PMI program for each rank of a job"
            )
        } else if datagram.header.epoch == 0 && self.log.epoch() > 0 {
            format!(
                "a process on host {host} comes too late: job {} has passed barrier {}",
                spec.name,
                self.log.epoch()
            )
        } else {
            return true;
        };
        context.refuse(from, &datagram.header, Some(&spec.name), &text);
        false
    }

    /// Notes that the datagram's ranks live on the node. False if one lives elsewhere: then the group is over.
    fn owns(&mut self, context: &mut Context<P>, index: usize, datagram: &Datagram) -> bool {
        if datagram.header.kind == Kind::Abort {
            return true;
        }
        for rank in ranks_of(datagram) {
            let owner = self.owners[rank as usize];
            if owner != 0 && owner as usize != index + 1 {
                let (a, b) = (self.nodes[owner as usize - 1].host(), self.nodes[index].host());
                let text = format!(
                    "two processes claim rank {rank}, one on {a} and one on {b}. Give every process a PMI_RANK of its own"
                );
                self.end(context, Some(rank), 1, &text);
                return false;
            }
            self.owners[rank as usize] = index as u32 + 1;
        }
        true
    }

    fn header(&self, kind: Kind, index: usize) -> Header {
        let node = self.nodes[index].id;
        let epoch = self.log.epoch();
        Header {
            kind,
            flags: 0,
            group: self.number,
            node,
            offset: 0,
            mark: self.log.mark(),
            epoch,
            incarnation: 0,
        }
    }

    fn on_hello(&mut self, context: &mut Context<P>, index: usize, datagram: &Datagram) {
        let node = &mut self.nodes[index];
        node.host = decode_hello(datagram.bytes).map(|(_, host)| host);
        node.private = datagram.header.flags & PRIVATE != 0;
        match datagram.header.epoch {
            0 => self.release(context, index, self.log.mark() <= PUSH_MAX),
            _ => self.acknowledge(context, index, &datagram.header),
        }
    }

    fn on_up(&mut self, context: &mut Context<P>, index: usize, datagram: &Datagram) {
        let epoch = datagram.header.epoch;
        if epoch != self.log.epoch() + 1 {
            return self.on_past(context, index, epoch);
        }
        if datagram.header.mark.saturating_sub(self.nodes[index].base()) > self.log.room() {
            return self.end_full(context, index, datagram);
        }
        let node = &mut self.nodes[index];
        let mut news = node.stage(datagram.header.offset, datagram.bytes, datagram.header.mark);
        let complete = node.cursor() >= datagram.header.mark;
        if complete {
            node.arrived_end = node.arrived_end.max(datagram.header.mark);
            news |= self.arrive(context, datagram);
        }
        if self.arrived.is_full() && self.verdict.is_none() {
            return self.release_all(context);
        }
        context.counters.repeated += u64::from(!news);
        if !news || datagram.header.flags & WANT_ACK != 0 {
            self.acknowledge(context, index, &datagram.header);
        }
    }

    /// A barrier that has been released: the node has missed it, or this is an old duplicate.
    fn on_past(&mut self, context: &mut Context<P>, index: usize, epoch: u32) {
        context.counters.repeated += 1;
        if epoch == self.log.epoch() {
            self.release(context, index, self.log.mark() - self.log.previous_mark() <= PUSH_MAX);
        }
    }

    /// Counts the ranks of an arrival; true if one is new. May find that the group is over.
    fn arrive(&mut self, context: &mut Context<P>, datagram: &Datagram) -> bool {
        let mut new = None;
        for rank in ranks_of(datagram) {
            if self.arrived.insert(rank) {
                new = new.or(Some(rank));
            }
        }
        if let Some(rank) = new {
            self.waiting.get_or_insert((context.now, context.now + STALL_US));
            self.check_departed(context, rank);
            self.check_room(context, datagram);
        }
        new.is_some()
    }

    /// A barrier that a finalized rank will never enter must not wait for it.
    fn check_departed(&mut self, context: &mut Context<P>, rank: u32) {
        if self.left.count() == 0 || self.verdict.is_some() {
            return;
        }
        let gone = (0..self.log.spec().size).find(|rank| self.left.contains(*rank));
        let barrier = self.log.epoch() + 1;
        if let Some(gone) = gone {
            let text = format!(
                "rank {rank} waits in barrier {barrier}, but rank {gone} has called PMI_Finalize: all ranks must call PMI_Barrier equally often"
            );
            self.end(context, Some(gone), 1, &text);
        }
    }

    fn check_room(&mut self, context: &mut Context<P>, datagram: &Datagram) {
        let arrived = self.nodes.iter().filter(|node| node.pending() > 0);
        let pending: u64 = arrived.map(|node| node.pending() + CHUNK_OVERHEAD).sum();
        if self.verdict.is_none() && pending + MARK_OVERHEAD > self.log.room() {
            self.end_full(context, self.by_id[&datagram.header.node], datagram);
        }
    }

    /// The node's puts do not fit into the log any more.
    fn end_full(&mut self, context: &mut Context<P>, index: usize, datagram: &Datagram) {
        let ranks = RankRanges::from_ranks(ranks_of(datagram));
        let text = format!(
            "the puts of ranks {ranks} on {} do not fit: the log would exceed its ceiling of {} bytes. \
             Put less, or raise the ceiling (PMI_KVS_LOG_CEILING, pmi-ssh -log-ceiling)",
            self.nodes[index].host(),
            self.log.spec().ceiling
        );
        self.end(context, ranks.iter().next(), 1, &text);
    }

    fn acknowledge(&self, context: &mut Context<P>, index: usize, about: &Header) {
        let node = &self.nodes[index];
        let header =
            Header { kind: Kind::Ack, flags: about.kind as u8, mark: node.cursor(), ..*about };
        context.send(node.peer, header, &[], &[]);
    }

    fn release_all(&mut self, context: &mut Context<P>) {
        for node in &mut self.nodes {
            let bytes = node.arrived_bytes();
            if !is_up_log(bytes) {
                let text = format!(
                    "node {} sent an up-log that is not one; all processes must use one version of libpmi",
                    node.host()
                );
                return self.end(context, None, 1, &text);
            }
            if !bytes.is_empty() {
                self.log.append_chunk(node.id, bytes);
                node.logged();
            }
        }
        self.log.append_mark();
        self.arrived.clear();
        self.waiting = None;
        context.counters.barriers += 1;
        let delta = self.log.mark() - self.log.previous_mark();
        let push =
            delta <= PUSH_MAX && delta * self.nodes.len() as u64 <= PUSH_TOTAL_MAX.max(delta);
        (0..self.nodes.len()).for_each(|index| self.release(context, index, push));
    }

    /// Tells a node that the open epoch is open, with the bytes that it opened if `push`.
    fn release(&self, context: &mut Context<P>, index: usize, push: bool) {
        let peer = self.nodes[index].peer;
        let header =
            Header { offset: self.log.previous_mark(), ..self.header(Kind::Release, index) };
        if !push {
            return context.send(peer, header, &[], &[]);
        }
        self.send_log(context, peer, header, self.log.mark());
    }

    /// Sends the log's bytes from the header's offset up to `to`.
    fn send_log(&self, context: &mut Context<P>, peer: P, header: Header, to: u64) {
        let mut offset = header.offset;
        for bytes in self.log.marked(offset, to).chunks(peer.body_max()) {
            context.send(peer, Header { offset, ..header }, &[], bytes);
            offset += bytes.len() as u64;
        }
    }

    fn on_pull(&mut self, context: &mut Context<P>, index: usize, about: &Header) {
        let header =
            Header { offset: about.offset, epoch: about.epoch, ..self.header(Kind::Data, index) };
        let to = about.mark.min(about.offset.saturating_add(WINDOW_MAX));
        self.send_log(context, self.nodes[index].peer, header, to);
    }

    fn on_leave(&mut self, context: &mut Context<P>, index: usize, datagram: &Datagram) {
        let before = self.left.count();
        ranks_of(datagram).for_each(|rank| {
            self.left.insert(rank);
        });
        self.acknowledge(context, index, &datagram.header);
        context.counters.repeated += u64::from(self.left.count() == before);
        if self.left.count() > before && self.left.is_full() {
            context.events.push(Event::Finalized { group: self.log.spec().name.clone() });
        }
        if let Some(waiting) = (0..self.log.spec().size).find(|rank| self.arrived.contains(*rank)) {
            self.check_departed(context, waiting);
        }
    }

    fn on_abort(&mut self, context: &mut Context<P>, index: usize, datagram: &Datagram) {
        let (Some(rank), Some((code, text))) = (datagram.rank(), decode_reason(datagram.bytes))
        else {
            context.counters.dropped += 1;
            return;
        };
        self.acknowledge(context, index, &datagram.header);
        if self.verdict.is_some() {
            context.counters.repeated += 1;
        } else if datagram.header.flags & DEAD != 0 {
            let text = format!("{text} (on host {})", self.nodes[index].host());
            self.end(context, Some(rank), code, &text);
        } else {
            let group = self.log.spec().name.clone();
            context.events.push(Event::Abort { group, rank, code, text: text.clone() });
            self.fail(
                context,
                Some(rank),
                code,
                &format!("rank {rank} called PMI_Abort with code {code}: {text}"),
            );
        }
    }

    /// The group is over: the launcher does not know yet.
    fn end(&mut self, context: &mut Context<P>, rank: Option<u32>, code: i32, text: &str) {
        let group = self.log.spec().name.clone();
        if self.verdict.is_none() {
            context.events.push(Event::Fault { group, rank, text: text.to_owned() });
        }
        self.fail(context, rank, code, text);
    }

    /// The group is over: every node is told. The first reason stays.
    pub fn fail(&mut self, context: &mut Context<P>, rank: Option<u32>, code: i32, text: &str) {
        if self.verdict.is_some() {
            return;
        }
        self.waiting = None;
        self.verdict = Some(Verdict { code, rank, text: text.to_owned() });
        (0..self.nodes.len()).for_each(|index| self.answer_fault(context, index));
    }

    fn answer_fault(&self, context: &mut Context<P>, index: usize) {
        let Some(verdict) = &self.verdict else { return };
        let range = verdict.rank.map(|rank| RankRange { first: rank, last: rank });
        let body = encode_reason(verdict.code, &verdict.text);
        let header = self.header(Kind::Fault, index);
        context.send(self.nodes[index].peer, header, range.as_slice(), &body);
    }

    pub fn exited(&mut self, context: &mut Context<P>, rank: u32) {
        let owner = self.owners.get(rank as usize).copied().unwrap_or(0);
        let private = owner != 0 && self.nodes[owner as usize - 1].private;
        if private && !self.left.contains(rank) {
            let text = format!("rank {rank} exited after PMI_Init without PMI_Finalize");
            self.end(context, Some(rank), 1, &text);
        }
    }

    pub fn due(&self) -> Option<Micros> {
        self.waiting.map(|(_, complain)| complain)
    }

    pub fn tick(&mut self, now: Micros, events: &mut Vec<Event>) {
        let Some((since, complain)) = self.waiting else { return };
        if now < complain {
            return;
        }
        self.waiting = Some((since, now + 2 * (complain - since)));
        let missing = self.arrived.missing();
        events.push(Event::Stalled {
            group: self.log.spec().name.clone(),
            barrier: self.log.epoch() + 1,
            waited: now - since,
            hosts: hosts_of(&self.nodes, &self.owners, &missing),
            missing,
        });
    }
}
