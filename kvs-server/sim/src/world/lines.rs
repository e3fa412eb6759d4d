//! Lifelines in a run: nodes open them, and they break when a node's host has not answered for long.

use super::{Happening, World};
use crate::checker::Micros;
use crate::plan::What;
use crate::wire::{Address, Letter, Place};
use pmi_protocol::datagram::Outbox;
use pmi_protocol::exchange::Peer;
use pmi_protocol::limits::{LIFELINE_BREAK_US, LIFELINE_RENEW_US, UNCLAIMED_US};

/// Until a kernel repeats what asks for a connection, and until a server looks again whose an unclaimed one is.
const RETRY_US: Micros = 250_000;

/// A node's lifeline, as the node sees it.
#[derive(Clone, Copy, Debug, Default)]
pub struct Line {
    /// Its port, or zero. No two are alike in a run.
    pub port: u16,
    /// When it was opened; not yet, if its port is only reserved.
    pub opened: Option<Micros>,
}

fn address(port: u16) -> Address {
    Address { place: Place::Process(0), loopback: false }.at_port(port)
}

impl World {
    fn new_port(&mut self) -> u16 {
        self.ports += 1;
        self.ports
    }

    /// Whoever greets the server names a port.
    pub(super) fn reserve_line(&mut self, board: usize) {
        if self.boards[board].line.port == 0 {
            self.boards[board].line.port = self.new_port();
        }
    }

    /// A process has heard whether the server has the node's lifeline: opens one if not.
    pub(super) fn tend_line(&mut self, board: usize, process: usize) {
        let Some(false) = self.boards[board].take_watched() else { return };
        let Line { port, opened } = self.boards[board].line;
        if opened.is_some_and(|opened| self.now < opened + LIFELINE_RENEW_US) {
            return;
        }
        let port = if opened.is_none() && port != 0 { port } else { self.new_port() };
        self.boards[board].line = Line { port, opened: Some(self.now) };
        self.note(|| format!("board {board} opens lifeline {port}"));
        let at = self.now + 2 * self.plan.network.latency;
        self.queue.push(at, Happening::Connect(board, port, self.now));
        let loopback = self.boards[board].plan.loopback;
        let mut out = Outbox::default();
        self.boards[board].claim_line(process, port, &mut out);
        let from = Address { place: Place::Process(process), loopback };
        for (to, bytes) in out.iter() {
            self.post(Letter { from, to, bytes: bytes.into(), forged: false });
        }
    }

    /// A connection comes in at the server's host.
    pub(super) fn connect(&mut self, board: usize, port: u16, since: Micros) {
        let held = !self.wire.is_cut(board, self.now) && self.host.connect(address(port));
        let wanted = self.boards[board].line.port == port && self.now < since + UNCLAIMED_US;
        if !held && wanted && !self.wire.is_silenced(board) {
            self.queue.push(self.now + RETRY_US, Happening::Connect(board, port, since));
        }
    }

    /// A node is cut off from now on: its lifeline breaks if that lasts.
    pub(super) fn doubt(&mut self, board: usize) {
        self.queue.push(self.now + LIFELINE_BREAK_US, Happening::Unanswered(board));
    }

    /// Nothing has been heard of a node's kernel for long.
    pub(super) fn unanswered(&mut self, board: usize) {
        if self.wire.is_cut(board, self.now) {
            self.break_line(board);
        }
    }

    /// The server hears that the node's host does not answer.
    pub(super) fn break_line(&mut self, board: usize) {
        let line = address(self.boards[board].line.port);
        if self.host.holds(line) {
            self.note(|| format!("the lifeline of board {board} breaks"));
            let group = self.boards[board].plan.group;
            self.books[group].cause(self.now, None, false);
            self.host.unanswered(self.now, line);
            self.watch_clock();
        }
    }

    /// Must the end of this node's host be noticed? Not if a server forgets its lifeline, or a replay speaks for it.
    pub(super) fn is_watched(&self, board: usize) -> bool {
        let hides = |what: &What| matches!(what, What::Crash { .. } | What::Forge);
        self.host.holds(address(self.boards[board].line.port))
            && !self.plan.incidents.iter().any(|(_, what)| hides(what))
    }
}
