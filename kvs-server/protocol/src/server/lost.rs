//! Nodes whose host does not answer any more.
//!
//! A node that computes is silent, and so is one whose processes have been stopped. Only its kernel can say that it is
//! there: it answers for the node's *lifeline*, a TCP connection to the server on which nothing is ever sent. Its local
//! port travels in the node's datagrams, so that nobody else can speak for a node.

use std::collections::HashMap;

use super::group::Group;
use super::{Context, Event};
use crate::datagram::{Header, Kind, UNWATCHED, WATCHED};
use crate::exchange::Peer;
use crate::limits::LOST_GRACE_US;
use crate::log::LogMemory;
use crate::pace::Micros;
use crate::ranks::RankRanges;

/// A node whose lifeline broke because its host did not answer.
#[derive(Debug)]
struct Lost {
    /// Index of the node.
    node: usize,
    since: Micros,
    /// Does the launcher know?
    told: bool,
}

/// The lifelines of a group's nodes.
#[derive(Debug)]
pub(crate) struct Lines<P> {
    /// What nodes say of their lifelines: one each.
    claims: HashMap<P, usize>,
    lost: Vec<Lost>,
}

impl<P> Default for Lines<P> {
    fn default() -> Self {
        Lines { claims: HashMap::new(), lost: Vec::new() }
    }
}

impl<P> Lines<P> {
    /// The node has been heard of.
    pub fn take_back(&mut self, node: usize) {
        self.lost.retain(|lost| lost.node != node);
    }

    /// Is a node lost now?
    pub fn any_lost(&self) -> bool {
        !self.lost.is_empty()
    }
}

impl<M: LogMemory, P: Peer> Group<M, P> {
    /// Takes in what a node says of its lifeline. Old datagrams say nothing: they may have been replayed.
    pub(super) fn note_line(&mut self, from: P, index: usize, about: &Header) {
        let port = u16::try_from(about.incarnation).unwrap_or(0);
        let speaks = matches!(about.kind, Kind::Hello | Kind::Up) && port != 0;
        let line = from.at_port(port);
        let node = &mut self.nodes[index];
        if !speaks || about.epoch < self.log.epoch() || node.line == Some(line) {
            return;
        }
        if let Some(old) = node.line.replace(line) {
            self.lines.claims.remove(&old);
        }
        node.watched = false;
        self.lines.claims.insert(line, index);
    }

    /// What a node is told of its lifeline.
    pub(super) fn line_flags(&self, context: &Context<P>, index: usize) -> u8 {
        match (context.listens, self.nodes[index].watched) {
            (false, _) => 0,
            (true, false) => UNWATCHED,
            (true, true) => WATCHED,
        }
    }

    pub fn connected(&mut self, line: P) -> bool {
        let claimed = self.lines.claims.get(&line);
        claimed.map(|index| self.nodes[*index].watched = true).is_some()
    }

    pub fn disconnected(&mut self, now: Micros, line: P, unanswered: bool) {
        let Some(node) = self.lines.claims.remove(&line) else { return };
        (self.nodes[node].line, self.nodes[node].watched) = (None, false);
        let known = self.lines.lost.iter().any(|lost| lost.node == node);
        if unanswered && !known && !self.ranks_left_on(node).is_empty() {
            self.lines.lost.push(Lost { node, since: now, told: false });
        }
    }

    /// The ranks of a node that have not finalized, as far as they have been heard of.
    fn ranks_left_on(&self, node: usize) -> RankRanges {
        let here = |rank: &u32| self.owners[*rank as usize] as usize == node + 1;
        let ranks = (0..self.owners.len() as u32).filter(here);
        RankRanges::from_ranks(ranks.filter(|rank| !self.left.contains(*rank)))
    }

    /// When the patience with this node ends. While no barrier waits, its launcher is told once.
    fn grace_of(&self, lost: &Lost) -> Option<Micros> {
        match self.waiting {
            Some((since, _)) => Some(lost.since.max(since) + LOST_GRACE_US),
            None if lost.told => None,
            None => Some(lost.since + LOST_GRACE_US),
        }
    }

    pub(super) fn lost_due(&self) -> Option<Micros> {
        let judged = self.lines.lost.iter().filter(|_| !self.is_over());
        judged.filter_map(|lost| self.grace_of(lost)).min()
    }

    /// Ends the group if a barrier waits while a node is lost, else tells the launcher of it.
    pub(super) fn judge_lost(&mut self, context: &mut Context<P>) {
        if self.lost_due().is_none_or(|due| context.now < due) {
            return;
        }
        let text = self.describe_lost();
        if self.waiting.is_some() {
            return self.end(context, None, 1, &text);
        }
        self.lines.lost.iter_mut().for_each(|lost| lost.told = true);
        let group = self.log.spec().name.clone();
        let text = format!("{text}. The job ends at its next barrier");
        context.events.push(Event::Lost { group, text });
    }

    /// All nodes that are lost, and the ranks that a barrier waits for and that nobody has heard of.
    fn describe_lost(&self) -> String {
        let nodes: Vec<String> = self.lines.lost.iter().map(|lost| self.describe(lost)).collect();
        let (noun, rest) = match nodes.len() {
            1 => ("host", "does not answer any more: it has crashed, or the network to it is down"),
            _ => (
                "hosts",
                "do not answer any more: they have crashed, or the network to them is down",
            ),
        };
        let text = format!("{noun} {} {rest}", nodes.join(", "));
        let missing = self.arrived.missing();
        let unheard = missing.iter().filter(|rank| self.owners[*rank as usize] == 0);
        let unheard = RankRanges::from_ranks(unheard.filter(|_| self.waiting.is_some()));
        match unheard.len() {
            0 => text,
            _ => format!("{text}. The server has not heard of ranks {unheard} yet"),
        }
    }

    fn describe(&self, lost: &Lost) -> String {
        let ranks = self.ranks_left_on(lost.node);
        let noun = if ranks.len() == 1 { "rank" } else { "ranks" };
        format!("{} ({noun} {ranks})", self.nodes[lost.node].host())
    }
}
