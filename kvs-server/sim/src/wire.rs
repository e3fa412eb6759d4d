//! The network between nodes and server: late, lost, doubled, overtaking and cut off, as a seed has it.

use std::rc::Rc;

use crate::checker::Micros;
use crate::dice::Dice;
use crate::plan::NetworkPlan;
use pmi_protocol::exchange::Peer;
use pmi_protocol::limits::{LOOPBACK_BODY_MAX, PATH_BODY_MAX};

/// Longest delay of a straggler.
const STRAGGLE_US: Micros = 2_000_000;

/// Datagrams remembered for replays.
const HISTORY_MAX: usize = 512;

/// Who is at an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Place {
    /// The server.
    Server,
    /// An address of the server's host that no datagram reaches.
    Nowhere,
    /// A process of a rank, by its index.
    Process(usize),
    /// Somebody who only replays what he has heard.
    Stranger,
    /// A lifeline's end: is it a stranger's, and its port.
    Line(bool, u16),
}

/// An address, of either side.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Address {
    /// Who is there.
    pub place: Place,
    /// Is it on the same host as the other side?
    pub loopback: bool,
}

impl Peer for Address {
    fn body_max(&self) -> usize {
        if self.loopback { LOOPBACK_BODY_MAX } else { PATH_BODY_MAX }
    }

    /// Ports are given away once in a run, so they tell the node as well.
    fn at_port(self, port: u16) -> Self {
        let strange = self.place == Place::Stranger;
        Address { place: Place::Line(strange, port), loopback: false }
    }
}

/// A datagram on its way.
#[derive(Clone, Debug)]
pub struct Letter {
    /// Where it comes from.
    pub from: Address,
    /// Where it goes to.
    pub to: Address,
    /// What it says.
    pub bytes: Rc<[u8]>,
    /// Must the receiver drop it?
    pub forged: bool,
}

/// The network.
#[derive(Debug)]
pub struct Wire {
    plan: NetworkPlan,
    dice: Dice,
    cuts: Vec<(usize, Option<Micros>)>,
    history: Vec<Letter>,
}

impl Wire {
    /// A network that behaves as planned.
    pub fn new(plan: NetworkPlan, dice: Dice) -> Self {
        Wire { plan, dice, cuts: Vec::new(), history: Vec::new() }
    }

    /// Cuts a node off, for ever if there is no `until`.
    pub fn cut(&mut self, node: usize, until: Option<Micros>) {
        self.cuts.push((node, until));
    }

    /// Is the node cut off for ever?
    pub fn is_silenced(&self, node: usize) -> bool {
        self.cuts.contains(&(node, None))
    }

    /// Is the node cut off at this time?
    pub fn is_cut(&self, node: usize, now: Micros) -> bool {
        let holds = |cut: &(usize, Option<Micros>)| cut.0 == node && cut.1.is_none_or(|t| now < t);
        self.cuts.iter().any(holds)
    }

    /// When copies of a datagram come in that a node sends or is sent at `now`; never, if it is lost.
    pub fn carry(&mut self, now: Micros, node: usize, letter: &Letter) -> Vec<Micros> {
        self.remember(letter);
        if letter.to.place == Place::Nowhere || self.is_cut(node, now) {
            return Vec::new();
        }
        let mut arrivals = Vec::new();
        let copies = if self.fails(now, self.plan.duplicate) { 2 } else { 1 };
        for _ in 0..copies {
            if !self.fails(now, self.plan.loss) {
                arrivals.push(now + self.delay(now));
            }
        }
        arrivals
    }

    fn fails(&mut self, now: Micros, permille: u32) -> bool {
        self.dice.chance(permille) && now < self.plan.heal_at
    }

    fn delay(&mut self, now: Micros) -> Micros {
        let jitter = self.dice.between(0, self.plan.jitter);
        let straggle = self.dice.between(0, STRAGGLE_US);
        let late = self.fails(now, self.plan.straggle);
        self.plan.latency
            + if now < self.plan.heal_at { jitter } else { 0 }
            + if late { straggle } else { 0 }
    }

    fn remember(&mut self, letter: &Letter) {
        if self.history.len() < HISTORY_MAX {
            self.history.push(letter.clone());
        } else {
            let at = self.dice.index(HISTORY_MAX);
            self.history[at] = letter.clone();
        }
    }

    /// A datagram that nobody sent: an old one replayed or mutated. None if there was nothing yet.
    pub fn forge(&mut self) -> Option<Letter> {
        let at = self.dice.index(self.history.len());
        let mut letter = self.history.get(at)?.clone();
        let mut bytes = letter.bytes.to_vec();
        letter.forged = true;
        match self.dice.below(6) {
            0 => bytes.truncate(self.dice.index(bytes.len())),
            1 => bytes.push(0),
            2 | 3 => {
                let bit = self.dice.index(bytes.len() * 8);
                bytes[bit / 8] ^= 1 << (bit % 8);
            }
            4 => letter.forged = false,
            _ => {
                letter.forged = false;
                letter.from.place = Place::Stranger;
            }
        }
        letter.bytes = bytes.into();
        Some(letter)
    }
}
