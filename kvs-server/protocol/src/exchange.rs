//! The node state machine: one exchange of a delegate with the server.
//!
//! A delegate makes an `Exchange` for one goal (join, a barrier, leave, abort), sends what `transmit` seals
//! whenever `due` has come, feeds it what it receives, writes the down-log bytes that `handle` hands back to
//! the board, and stops at the first `outcome`.

use crate::datagram::{
    DEAD, Datagram, Header, KIND_MASK, Kind, Outbox, PRIVATE, REFUSED, UNWATCHED, WANT_ACK,
    WATCHED, decode, decode_reason, encode_hello, encode_reason,
};
use crate::key::{Direction, Keys};
use crate::limits::{
    CROWD_PULL_US, CROWD_US, PATH_BODY_MAX, RANGE_LEN, RANGES_MAX, RETRANSMIT_FIRST_US, WINDOW_MAX,
    WINDOW_MIN,
};
use crate::pace::{Micros, Pace};
use crate::ranks::{RankRange, RankRanges};
use crate::received::Received;

/// How long to wait for the rest of a burst before asking for what is missing.
const PATIENCE_US: Micros = RETRANSMIT_FIRST_US / 4;

/// Most rank ranges that are repeated in each datagram with up-log bytes: an eighth of the smallest body.
const RANGES_BESIDE_BYTES: usize = PATH_BODY_MAX / 8 / RANGE_LEN;

/// Where datagrams come from and go to.
pub trait Peer: Copy + Eq + std::hash::Hash + std::fmt::Debug {
    /// Longest body worth sending there.
    fn body_max(&self) -> usize;

    /// The TCP port of this number on the same host.
    fn at_port(self, port: u16) -> Self;
}

impl Peer for std::net::SocketAddr {
    fn body_max(&self) -> usize {
        if self.ip().to_canonical().is_loopback() {
            crate::limits::LOOPBACK_BODY_MAX
        } else {
            crate::limits::PATH_BODY_MAX
        }
    }

    fn at_port(self, port: u16) -> Self {
        std::net::SocketAddr::new(self.ip().to_canonical(), port)
    }
}

/// What the delegate wants from the server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Goal {
    /// Introduce the node and get epoch 0.
    Join,
    /// Pass the barrier of the exchange's epoch.
    Barrier,
    /// Say that ranks have finalized.
    Leave,
    /// End the job.
    Abort {
        /// The exit code that the job shall have.
        code: i32,
        /// A line for the user.
        text: String,
        /// The rank did not ask for it: a peer found it dead.
        dead: bool,
    },
}

/// Who the node is.
#[derive(Clone, Debug)]
pub struct Identity {
    /// Keys of the job.
    pub keys: Keys,
    /// Number of the process group (`key::group_number`).
    pub group: u64,
    /// Number of the node.
    pub node: u64,
    /// Size of the process group as the node was told.
    pub size: u32,
    /// The node's host name.
    pub host: String,
    /// Is the board private to one process?
    pub private: bool,
}

/// Where the board stands when the exchange begins.
#[derive(Clone, Debug)]
pub struct Start {
    /// The barrier to pass, 0 to join.
    pub epoch: u32,
    /// Ranks the exchange speaks for.
    pub ranks: RankRanges,
    /// Up-log bytes below this are with the server already.
    pub up_base: u64,
    /// Up-log bytes below this belong to the arrivals.
    pub up_end: u64,
    /// Down-log bytes below this are on the board.
    pub visible: u64,
}

/// How an exchange ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The epoch is open, and all bytes below the mark have been handed over.
    Opened {
        /// The epoch's mark.
        mark: u64,
    },
    /// The server has taken note.
    Acknowledged,
    /// The group is over, or this node is refused.
    Fault {
        /// Exit code for the job.
        code: i32,
        /// The rank at fault, if there is one.
        rank: Option<u32>,
        /// What happened.
        text: String,
        /// Only this node is turned away.
        refused: bool,
    },
    /// The server has not said a word for `SILENCE_MAX_US`.
    Silent,
}

/// The end of the group, if that is what a datagram says which came outside any exchange: the server tells every
/// node, where its last delegate was.
pub fn verdict(identity: &Identity, datagram: &[u8]) -> Option<Outcome> {
    let datagram = decode(&identity.keys, Direction::Down, datagram).ok()?;
    let header = datagram.header;
    let ours = (header.group, header.node) == (identity.group, identity.node);
    let over = header.kind == Kind::Fault && header.flags & REFUSED == 0;
    if ours && over { fault(&datagram) } else { None }
}

fn fault(datagram: &Datagram) -> Option<Outcome> {
    let (code, text) = decode_reason(datagram.bytes)?;
    let refused = datagram.header.flags & REFUSED != 0;
    Some(Outcome::Fault { code, rank: datagram.rank(), text, refused })
}

/// What peers are told of a rank that called `PMI_Abort`; its own text may be empty.
pub fn abort_reason(rank: u32, host: Option<&str>, code: i32, text: &str) -> String {
    let colon = if text.is_empty() { "" } else { ": " };
    let host = host.map_or(String::new(), |host| format!(" on {host}"));
    format!("rank {rank}{host} called PMI_Abort with code {code}{colon}{text}")
}

/// Reads up-log bytes from the board: appends `len` bytes at `offset` to the buffer.
pub type ReadUp<'a> = dyn FnMut(u64, usize, &mut Vec<u8>) + 'a;

/// One exchange.
#[derive(Clone, Debug)]
pub struct Exchange<P> {
    identity: Identity,
    /// How many nodes the group has, if all are like this one.
    nodes: u64,
    goal: Goal,
    epoch: u32,
    servers: Vec<P>,
    ranks: RankRanges,
    up_acked: u64,
    up_confirmed: bool,
    up_end: u64,
    window: u64,
    down: Received,
    mark: Option<u64>,
    asked: u64,
    incarnation: u32,
    greet: bool,
    /// Local port of the node's lifeline, or zero.
    line: u16,
    watched: Option<bool>,
    tries: u32,
    pace: Pace,
    outcome: Option<Outcome>,
}

impl<P: Peer> Exchange<P> {
    /// An exchange that is due at once. `servers` are all addresses of one server; the first to answer is
    /// kept. `seed` only spreads retransmissions.
    pub fn new(
        identity: Identity,
        servers: Vec<P>,
        goal: Goal,
        start: Start,
        now: Micros,
        seed: u64,
    ) -> Self {
        let mut pace = Pace::new(now, seed);
        let nodes = u64::from(identity.size) / start.ranks.len().max(1) as u64;
        pace.expect_crowd(nodes * CROWD_US);
        Exchange {
            identity,
            nodes,
            goal,
            epoch: start.epoch,
            servers,
            ranks: start.ranks,
            up_acked: start.up_base,
            up_confirmed: false,
            up_end: start.up_end,
            window: WINDOW_MAX,
            down: Received::new(start.visible),
            mark: None,
            asked: 0,
            incarnation: 0,
            greet: false,
            line: 0,
            watched: None,
            tries: 0,
            pace,
            outcome: None,
        }
    }

    /// More ranks of the node have arrived while the exchange was in flight.
    pub fn extend(&mut self, ranks: RankRanges, up_end: u64, now: Micros) {
        if ranks != self.ranks || up_end != self.up_end {
            (self.ranks, self.up_end) = (ranks, up_end);
            self.tries = 0;
            self.pace.progress(now, 0);
        }
    }

    /// The node's lifeline is the connection from this local port: all that is sent from now on claims it.
    pub fn claim_line(&mut self, port: u16) {
        self.line = port;
    }

    /// Does the server hold the node's lifeline? `None` if it does not listen for any, or has not said.
    pub fn watched(&self) -> Option<bool> {
        self.watched
    }

    /// Seals one Hello, to which no answer is awaited: it claims the lifeline for a node that has nothing else to say.
    pub fn announce(&self, out: &mut Outbox<P>) {
        self.send_hello(out);
    }

    /// The addresses in use: one as soon as the server has answered.
    pub fn servers(&self) -> &[P] {
        &self.servers
    }

    /// When to call `transmit` next.
    pub fn due(&self) -> Micros {
        self.pace.due()
    }

    /// How it ended, once it has.
    pub fn outcome(&self) -> Option<&Outcome> {
        self.outcome.as_ref()
    }

    /// Seals all that is due at `now`.
    pub fn transmit(&mut self, now: Micros, read_up: &mut ReadUp, out: &mut Outbox<P>) {
        if self.outcome.is_some() || now < self.pace.due() {
            return;
        }
        self.pace.excuse_lateness(now);
        if now >= self.pace.silent_at() {
            self.outcome = Some(Outcome::Silent);
            return;
        }
        if self.tries > 0 {
            self.window = (self.window / 2).max(WINDOW_MIN);
        }
        match (&self.goal, self.mark) {
            (_, Some(mark)) => self.send_pull(mark, out),
            (Goal::Join, None) => self.send_hello(out),
            (Goal::Barrier, None) => self.send_up(read_up, out),
            (Goal::Leave, None) => self.send_leave(out),
            (Goal::Abort { .. }, None) => self.send_abort(out),
        }
        self.tries += 1;
        self.pace.sent(now);
    }

    fn header(&self, kind: Kind, flags: u8) -> Header {
        let Identity { group, node, .. } = self.identity;
        let (epoch, mark) = (self.epoch, self.up_end);
        let incarnation = self.line.into();
        Header { kind, flags, group, node, offset: 0, mark, epoch, incarnation }
    }

    fn send(&self, header: &Header, ranges: &[RankRange], bytes: &[u8], out: &mut Outbox<P>) {
        for server in &self.servers {
            out.push(*server, &self.identity.keys, header, ranges, bytes);
        }
    }

    fn body_max(&self) -> usize {
        self.servers.iter().map(Peer::body_max).min().unwrap_or(PATH_BODY_MAX)
    }

    fn send_hello(&self, out: &mut Outbox<P>) {
        let flags = if self.identity.private { PRIVATE } else { 0 };
        let body = encode_hello(self.identity.size, &self.identity.host);
        let ranges = self.ranks.as_slice();
        self.send(
            &self.header(Kind::Hello, flags),
            &ranges[..ranges.len().min(RANGES_MAX)],
            &body,
            out,
        );
    }

    fn send_up(&mut self, read_up: &mut ReadUp, out: &mut Outbox<P>) {
        if std::mem::take(&mut self.greet) {
            self.send_hello(out);
        }
        let to = self.up_end.min(self.up_acked + self.window);
        let sheets = self.sheets(to);
        let wanted = if self.tries > 0 || to < self.up_end { WANT_ACK } else { 0 };
        let mut bytes = Vec::new();
        for (index, (offset, len, ranges)) in sheets.iter().enumerate() {
            bytes.clear();
            read_up(*offset, *len, &mut bytes);
            let flags = if index + 1 == sheets.len() { wanted } else { 0 };
            let header = Header { offset: *offset, ..self.header(Kind::Up, flags) };
            self.send(&header, ranges, &bytes, out);
        }
    }

    /// What the datagrams of an `Up` burst that ends at `to` carry: offset, length, ranges. A few ranges go
    /// with all bytes, so that the burst may arrive in any order; many would leave no room, and follow.
    fn sheets(&self, to: u64) -> Vec<(u64, usize, &[RankRange])> {
        let ranges = self.ranks.as_slice();
        let few = ranges.len() <= RANGES_BESIDE_BYTES;
        let beside = if few { ranges } else { &[] };
        let step = self.body_max() - beside.len() * RANGE_LEN;
        let mut sheets = Vec::new();
        let mut offset = self.up_acked;
        while offset < to {
            let len = step.min((to - offset) as usize);
            sheets.push((offset, len, beside));
            offset += len as u64;
        }
        if to == self.up_end && (sheets.is_empty() || !few) {
            sheets.extend(ranges.chunks(RANGES_MAX).map(|ranges| (to, 0, ranges)));
        }
        sheets
    }

    fn send_pull(&mut self, mark: u64, out: &mut Outbox<P>) {
        let Some((from, to)) = self.down.gap(mark) else { return };
        let to = to.min(from + self.window);
        self.asked = to;
        self.send(&Header { offset: from, mark: to, ..self.header(Kind::Pull, 0) }, &[], &[], out);
    }

    fn send_leave(&self, out: &mut Outbox<P>) {
        for ranges in self.ranks.as_slice().chunks(RANGES_MAX) {
            self.send(&self.header(Kind::Leave, 0), ranges, &[], out);
        }
    }

    fn send_abort(&self, out: &mut Outbox<P>) {
        if let Goal::Abort { code, text, dead } = &self.goal {
            let flags = if *dead { DEAD } else { 0 };
            let ranges = self.ranks.as_slice();
            let body = encode_reason(*code, text);
            self.send(&self.header(Kind::Abort, flags), &ranges[..ranges.len().min(1)], &body, out);
        }
    }

    /// Takes in a datagram. If it carries down-log bytes, returns their offset and the bytes, which the
    /// caller must write to the board before it looks at the outcome.
    pub fn handle<'d>(
        &mut self,
        now: Micros,
        from: P,
        datagram: &'d [u8],
    ) -> Option<(u64, &'d [u8])> {
        let datagram = decode(&self.identity.keys, Direction::Down, datagram).ok()?;
        let header = datagram.header;
        if (header.group, header.node) != (self.identity.group, self.identity.node) {
            return None;
        }
        if self.outcome.is_some() || header.incarnation < self.incarnation {
            return None;
        }
        // A replay may come from anywhere: only an address that was given can be the one to keep.
        if self.servers.contains(&from) {
            self.servers = vec![from];
        }
        self.pace.heard(now);
        self.notice_restart(header.incarnation);
        self.note_watch(&header);
        match header.kind {
            Kind::Fault if header.flags & REFUSED == 0 => self.on_fault(&datagram),
            Kind::Fault if header.epoch == self.epoch => self.on_fault(&datagram),
            Kind::Ack if header.epoch == self.epoch => self.on_ack(now, &datagram),
            Kind::Release if header.epoch == self.epoch => return self.on_release(now, &datagram),
            Kind::Data if header.epoch == self.epoch => return self.on_bytes(now, &datagram),
            _ => {}
        }
        None
    }

    /// A restarted server has lost host names and whatever was not yet released.
    fn notice_restart(&mut self, incarnation: u32) {
        if self.incarnation != 0 && incarnation > self.incarnation {
            self.greet = true;
            self.up_confirmed = false;
        }
        self.incarnation = incarnation;
    }

    fn note_watch(&mut self, header: &Header) {
        let tells = matches!(header.kind, Kind::Ack | Kind::Release) && header.epoch == self.epoch;
        match header.flags & (WATCHED | UNWATCHED) {
            WATCHED if tells => self.watched = Some(true),
            UNWATCHED if tells => self.watched = Some(false),
            _ => {}
        }
    }

    fn on_fault(&mut self, datagram: &Datagram) {
        self.outcome = fault(datagram);
    }

    /// Takes in an Ack. Its flags name the kind that it answers: an Ack of an `Up` that comes late must not
    /// end a `Leave` or an `Abort`, which the server may not have.
    fn on_ack(&mut self, now: Micros, datagram: &Datagram) {
        let answers = |kind: Kind| datagram.header.flags & KIND_MASK == kind as u8;
        match self.goal {
            Goal::Leave if answers(Kind::Leave) => self.on_leave_ack(datagram),
            Goal::Abort { .. } if answers(Kind::Abort) => {
                self.outcome = Some(Outcome::Acknowledged);
            }
            Goal::Barrier => self.on_up_ack(now, datagram.header.mark),
            _ => {}
        }
    }

    /// Each `Leave` datagram is acknowledged with its ranks.
    fn on_leave_ack(&mut self, datagram: &Datagram) {
        let known = |rank: &u32| datagram.ranges().any(|r| (r.first..=r.last).contains(rank));
        self.ranks = RankRanges::from_ranks(self.ranks.iter().filter(|rank| !known(rank)));
        if self.ranks.is_empty() {
            self.outcome = Some(Outcome::Acknowledged);
        }
    }

    fn on_up_ack(&mut self, now: Micros, cursor: u64) {
        // An exchange that a peer has taken over from may hear of more than it ever knew.
        let (before, cursor) = (self.up_acked, cursor.min(self.up_end));
        self.up_acked = if self.up_confirmed { before.max(cursor) } else { cursor };
        self.up_confirmed = true;
        if self.up_acked != before && self.up_acked < self.up_end {
            self.grow_window();
            self.tries = 0;
            self.pace.answered(now);
        }
    }

    fn grow_window(&mut self) {
        self.window = (self.window * 2).min(WINDOW_MAX);
    }

    fn on_release<'d>(&mut self, now: Micros, datagram: &Datagram<'d>) -> Option<(u64, &'d [u8])> {
        if !matches!(self.goal, Goal::Join | Goal::Barrier) {
            return None;
        }
        if self.mark.is_none() {
            self.mark = Some(datagram.header.mark);
            self.tries = 0;
            let pushed = !datagram.bytes.is_empty();
            self.pace.expect_crowd(if pushed { 0 } else { self.nodes * CROWD_PULL_US });
            self.pace.progress(now, if pushed { PATIENCE_US } else { 0 });
        }
        self.on_bytes(now, datagram)
    }

    fn on_bytes<'d>(&mut self, now: Micros, datagram: &Datagram<'d>) -> Option<(u64, &'d [u8])> {
        let (mark, from) = (self.mark?, datagram.header.offset);
        let to = from.checked_add(datagram.bytes.len() as u64)?;
        let new = to <= mark && self.down.insert(from, to);
        if self.down.upto() >= mark {
            self.outcome = Some(Outcome::Opened { mark });
        } else if new {
            self.pull_on(now);
        }
        new.then_some((from, datagram.bytes))
    }

    /// Asks for the next window once this one is here, else waits a little for the rest of it.
    fn pull_on(&mut self, now: Micros) {
        self.tries = 0;
        if self.asked > 0 && self.down.upto() >= self.asked {
            self.grow_window();
            self.pace.answered(now);
        } else {
            self.pace.wait(now, PATIENCE_US);
        }
    }
}
