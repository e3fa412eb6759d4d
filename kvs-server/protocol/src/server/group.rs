//! One process group: its log, its nodes and the barrier being collected.

use std::collections::HashMap;

use super::lost::Lines;
use super::node::{Node, hosts_of};
use super::{Context, Event};
use crate::datagram::{
    DEAD, Datagram, Header, Kind, PRIVATE, WANT_ACK, decode_hello, decode_reason, encode_reason,
};
use crate::exchange::Peer;
use crate::exchange::abort_reason;
use crate::key::group_number;
use crate::limits::{PATH_BODY_MAX, PUSH_MAX, PUSH_TOTAL_MAX, STALL_US, WINDOW_MAX};
use crate::log::{Log, LogMemory, MARK_OVERHEAD};
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
    pub(super) log: Log<M>,
    pub(super) nodes: Vec<Node<P>>,
    by_id: HashMap<u64, usize>,
    /// Index + 1 of the node that each rank has been seen on, or 0.
    pub(super) owners: Vec<u32>,
    pub(super) arrived: RankSet,
    /// What the arrivals add to the log.
    pending: u64,
    pub(super) left: RankSet,
    /// First arrival of the barrier being collected, and when to complain about it next.
    pub(super) waiting: Option<(Micros, Micros)>,
    verdict: Option<Verdict>,
    pub(super) lines: Lines<P>,
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
            pending: 0,
            left: RankSet::new(size),
            waiting: None,
            verdict: None,
            lines: Lines::default(),
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
        let index = self.node(context, from, &datagram.header);
        if datagram.header.kind == Kind::Hello {
            self.introduce(index, datagram);
        }
        if !self.owns(context, index, datagram) {
            return self.answer_fault(context, from, index);
        }
        self.note_line(from, index, &datagram.header);
        match datagram.header.kind {
            Kind::Leave => self.on_leave(context, from, index, datagram),
            Kind::Abort => self.on_abort(context, from, index, datagram),
            _ if self.verdict.is_some() => self.answer_fault(context, from, index),
            Kind::Hello => self.on_hello(context, from, index, datagram),
            Kind::Up => self.on_up(context, from, index, datagram),
            Kind::Pull => self.on_pull(context, from, index, &datagram.header),
            _ => context.counters.dropped += 1,
        }
    }

    /// The node of a datagram, new or known. Answers go to where the datagram comes from; what the node did
    /// not ask for goes to where its word about the barrier being collected came from, lest an old datagram
    /// that is replayed, or overtaken by a new delegate's, leads it astray.
    fn node(&mut self, context: &mut Context<P>, from: P, about: &Header) -> usize {
        let id = about.node;
        let index = *self.by_id.entry(id).or_insert_with(|| {
            context.counters.nodes += 1;
            self.nodes.push(Node::new(id, from, self.log.cursor(id)));
            self.nodes.len() - 1
        });
        self.lines.take_back(index);
        if about.epoch > self.log.epoch() {
            self.nodes[index].peer = from;
        }
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
        let late = datagram.header.epoch == 0 && self.log.epoch() > 0;
        if (late || gone.is_some()) && self.by_id.contains_key(&datagram.header.node) {
            // The Hello with which the node joined long ago, come twice.
            context.counters.repeated += 1;
            return false;
        }
        let text = if size != spec.size {
            format!(
                "a process on host {host} says that the size is {size}, but job {} has {} ranks. Check PMI_SIZE",
                spec.name, spec.size
            )
        } else if let Some(rank) = gone {
            format!(
                "rank {rank} has finalized and cannot join again: start one PMI program for each rank of a job"
            )
        } else if late {
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

    /// Keeps what a node says of itself, before anything about it can be reported.
    fn introduce(&mut self, index: usize, datagram: &Datagram) {
        let node = &mut self.nodes[index];
        node.host = decode_hello(datagram.bytes).map(|(_, host)| host);
        node.private = datagram.header.flags & PRIVATE != 0;
    }

    fn on_hello(&mut self, context: &mut Context<P>, from: P, index: usize, datagram: &Datagram) {
        match datagram.header.epoch {
            0 => self.release(context, from, index, self.log.mark() <= PUSH_MAX),
            _ => self.acknowledge(context, from, index, datagram),
        }
    }

    fn on_up(&mut self, context: &mut Context<P>, from: P, index: usize, datagram: &Datagram) {
        if datagram.header.epoch != self.log.epoch() + 1 {
            return self.on_past(context, from, index, datagram);
        }
        if datagram.header.mark.saturating_sub(self.nodes[index].base()) > self.log.room() {
            return self.end_full(context, index, datagram);
        }
        let node = &mut self.nodes[index];
        let mut news = node.stage(datagram.header.offset, datagram.bytes, datagram.header.mark);
        let complete = node.cursor() >= datagram.header.mark;
        if complete {
            self.pending -= node.cost();
            node.arrived_end = node.arrived_end.max(datagram.header.mark);
            self.pending += node.cost();
            news |= self.arrive(context, datagram);
        }
        if self.arrived.is_full() && self.verdict.is_none() {
            return self.release_all(context);
        }
        context.counters.repeated += u64::from(!news);
        if !news || datagram.header.flags & WANT_ACK != 0 {
            self.acknowledge(context, from, index, datagram);
        }
    }

    /// A barrier that has been released: the node has missed it, or this is an old duplicate. Of a burst only
    /// the datagram that ends it is answered, else each would fetch a whole push.
    fn on_past(&mut self, context: &mut Context<P>, from: P, index: usize, datagram: &Datagram) {
        let Datagram { header, bytes, .. } = datagram;
        context.counters.repeated += 1;
        let arrival = datagram.rank().is_some()
            && header.offset.saturating_add(bytes.len() as u64) >= header.mark;
        if header.epoch == self.log.epoch() && (arrival || header.flags & WANT_ACK != 0) {
            self.release(context, from, index, self.pushes());
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
        if self.verdict.is_some() {
            return;
        }
        let barrier = self.log.epoch() + 1;
        if let Some(gone) = self.left.first() {
            let (rank, left) = (self.name_of(rank), self.name_of(gone));
            let text = format!(
                "{rank} waits in barrier {barrier}, but {left} has called PMI_Finalize: all ranks must call PMI_Barrier equally often"
            );
            self.end(context, Some(gone), 1, &text);
        }
    }

    fn check_room(&mut self, context: &mut Context<P>, datagram: &Datagram) {
        if self.verdict.is_none() && self.pending + MARK_OVERHEAD > self.log.room() {
            self.end_full(context, self.by_id[&datagram.header.node], datagram);
        }
    }

    /// The node's puts do not fit into the log any more.
    fn end_full(&mut self, context: &mut Context<P>, index: usize, datagram: &Datagram) {
        let ranks = RankRanges::from_ranks(ranks_of(datagram));
        let text = format!(
            "the puts of ranks {ranks} on {} do not fit: the log would exceed its ceiling of {} bytes. \
             Put less, or raise the ceiling (pmi-ssh -log-ceiling; without pmi-ssh: pmi-kvs-server --log-ceiling and PMI_KVS_LOG_CEILING)",
            self.nodes[index].host(),
            self.log.spec().ceiling
        );
        self.end(context, ranks.iter().next(), 1, &text);
    }

    /// Says that the datagram has come, how much of the node's up-log is here, and which ranks have left.
    fn acknowledge(&self, context: &mut Context<P>, to: P, index: usize, about: &Datagram) {
        let kind = about.header.kind;
        let mark = self.nodes[index].cursor();
        let left = about.ranges().filter(|_| kind == Kind::Leave);
        let flags = kind as u8 | self.line_flags(context, index);
        let header = Header { kind: Kind::Ack, flags, mark, ..about.header };
        context.send(to, header, &left.collect::<Vec<_>>(), &[]);
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
        self.pending = 0;
        self.waiting = None;
        context.counters.barriers += 1;
        let push = self.pushes();
        for index in 0..self.nodes.len() {
            self.release(context, self.nodes[index].peer, index, push);
        }
    }

    /// Are the open epoch's bytes pushed? Always if they fit into the datagram that is sent anyway.
    fn pushes(&self) -> bool {
        let delta = self.log.mark() - self.log.previous_mark();
        let all = delta * self.nodes.len() as u64;
        delta <= PATH_BODY_MAX as u64 || (delta <= PUSH_MAX && all <= PUSH_TOTAL_MAX)
    }

    /// Tells a node that the open epoch is open, with the bytes that it opened if `push`.
    fn release(&self, context: &mut Context<P>, to: P, index: usize, push: bool) {
        let flags = self.line_flags(context, index);
        let offset = self.log.previous_mark();
        let header = Header { flags, offset, ..self.header(Kind::Release, index) };
        if !push {
            return context.send(to, header, &[], &[]);
        }
        self.send_log(context, to, header, self.log.mark());
    }

    /// Sends the log's bytes from the header's offset up to `to`.
    fn send_log(&self, context: &mut Context<P>, peer: P, header: Header, to: u64) {
        let mut offset = header.offset;
        for bytes in self.log.marked(offset, to).chunks(peer.body_max()) {
            context.send(peer, Header { offset, ..header }, &[], bytes);
            offset += bytes.len() as u64;
        }
    }

    fn on_pull(&mut self, context: &mut Context<P>, from: P, index: usize, about: &Header) {
        let header =
            Header { offset: about.offset, epoch: about.epoch, ..self.header(Kind::Data, index) };
        let to = about.mark.min(about.offset.saturating_add(WINDOW_MAX));
        self.send_log(context, from, header, to);
    }

    fn on_leave(&mut self, context: &mut Context<P>, from: P, index: usize, datagram: &Datagram) {
        let before = self.left.count();
        ranks_of(datagram).for_each(|rank| {
            self.left.insert(rank);
        });
        self.acknowledge(context, from, index, datagram);
        context.counters.repeated += u64::from(self.left.count() == before);
        if self.left.count() > before && self.left.is_full() {
            context.events.push(Event::Finalized { group: self.log.spec().name.clone() });
        }
        if let Some(waiting) = self.arrived.first() {
            self.check_departed(context, waiting);
        }
    }

    fn on_abort(&mut self, context: &mut Context<P>, from: P, index: usize, datagram: &Datagram) {
        let (Some(rank), Some((code, text))) = (datagram.rank(), decode_reason(datagram.bytes))
        else {
            context.counters.dropped += 1;
            return;
        };
        self.acknowledge(context, from, index, datagram);
        if self.verdict.is_some() {
            context.counters.repeated += 1;
        } else if datagram.header.flags & DEAD != 0 {
            let text = format!("{text} (on host {})", self.nodes[index].host());
            self.end(context, Some(rank), code, &text);
        } else {
            let group = self.log.spec().name.clone();
            let host = self.nodes[index].host.clone();
            let reason = abort_reason(rank, host.as_deref(), code, &text);
            context.events.push(Event::Abort { group, rank, host, code, text });
            self.fail(context, Some(rank), code, &reason);
        }
    }

    /// The group is over: the launcher does not know yet.
    pub(super) fn end(
        &mut self,
        context: &mut Context<P>,
        rank: Option<u32>,
        code: i32,
        text: &str,
    ) {
        let group = self.log.spec().name.clone();
        if self.verdict.is_none() {
            let unanswered = self.lines.any_lost();
            context.events.push(Event::Fault { group, rank, unanswered, text: text.to_owned() });
        }
        self.fail(context, rank, code, text);
    }

    /// The group is over: every node is told. The first reason stays.
    pub fn fail(&mut self, context: &mut Context<P>, rank: Option<u32>, code: i32, text: &str) {
        if self.verdict.is_some() {
            return;
        }
        self.waiting = None;
        self.condemn(rank, code, text);
        for (index, node) in self.nodes.iter().enumerate() {
            self.answer_fault(context, node.peer, index);
        }
    }

    /// The group is over, before any node is known that could be told.
    pub fn condemn(&mut self, rank: Option<u32>, code: i32, text: &str) {
        self.verdict = Some(Verdict { code, rank, text: text.to_owned() });
    }

    fn answer_fault(&self, context: &mut Context<P>, to: P, index: usize) {
        let Some(verdict) = &self.verdict else { return };
        let range = verdict.rank.map(|rank| RankRange { first: rank, last: rank });
        let body = encode_reason(verdict.code, &verdict.text);
        let header = self.header(Kind::Fault, index);
        context.send(to, header, range.as_slice(), &body);
    }

    pub fn exited(&mut self, context: &mut Context<P>, rank: u32) {
        let owner = self.owners.get(rank as usize).copied().unwrap_or(0);
        let private = owner != 0 && self.nodes[owner as usize - 1].private;
        if private && !self.left.contains(rank) {
            let text = format!("{} exited after PMI_Init without PMI_Finalize", self.name_of(rank));
            self.end(context, Some(rank), 1, &text);
        }
    }

    /// A rank in messages, with its host where that is known.
    fn name_of(&self, rank: u32) -> String {
        let node =
            self.owners[rank as usize].checked_sub(1).map(|index| &self.nodes[index as usize]);
        match node.and_then(|node| node.host.as_deref()) {
            Some(host) => format!("rank {rank} on {host}"),
            None => format!("rank {rank}"),
        }
    }

    pub fn due(&self) -> Option<Micros> {
        let complain = self.waiting.map(|(_, complain)| complain);
        [complain, self.lost_due()].into_iter().flatten().min()
    }

    pub fn tick(&mut self, context: &mut Context<P>) {
        self.judge_lost(context);
        let Some((since, complain)) = self.waiting else { return };
        let now = context.now;
        if now < complain {
            return;
        }
        self.waiting = Some((since, now + 2 * (complain - since)));
        let missing = self.arrived.missing();
        context.events.push(Event::Stalled {
            group: self.log.spec().name.clone(),
            barrier: self.log.epoch() + 1,
            waited: now - since,
            hosts: hosts_of(&self.nodes, &self.owners, &missing),
            missing,
        });
    }

    /// Is the group over?
    pub(super) fn is_over(&self) -> bool {
        self.verdict.is_some()
    }
}
