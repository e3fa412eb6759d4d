//! The server's host: the server while it runs, the logs that outlive it, and the launcher's memory of how
//! each group ended.

use std::cell::{Cell, RefCell};
use std::collections::{HashSet, VecDeque};
use std::rc::Rc;

use crate::checker::{Micros, Violation};
use crate::plan::{GroupPlan, Moment};
use crate::wire::{Address, Letter};
use pmi_protocol::datagram::Outbox;
use pmi_protocol::key::Secret;
use pmi_protocol::log::LogMemory;
use pmi_protocol::server::{Event, Server};

/// Datagrams that the socket keeps while no server reads it.
const BACKLOG_MAX: usize = 64;

/// Decides when a server dies in the middle of a change of a log.
#[derive(Debug, Default)]
struct Fuse {
    left: Cell<Option<u32>>,
    burnt: Cell<bool>,
    appended: Cell<bool>,
}

/// Log memory: what is `kept` outlives the server.
#[derive(Debug)]
pub struct Memory {
    bytes: Vec<u8>,
    kept: Rc<RefCell<Vec<u8>>>,
    fuse: Rc<Fuse>,
}

impl LogMemory for Memory {
    fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    fn append(&mut self, parts: &[&[u8]]) {
        LogMemory::append(&mut self.bytes, parts);
        self.fuse.appended.set(true);
        match self.fuse.left.get() {
            Some(0) => self.fuse.burnt.set(true),
            left => {
                self.fuse.left.set(left.map(|left| left - 1));
                LogMemory::append(&mut *self.kept.borrow_mut(), parts);
            }
        }
    }
}

#[derive(Debug)]
struct Hosted {
    plan: GroupPlan,
    kept: Rc<RefCell<Vec<u8>>>,
    /// What the launcher knows of the group's end: rank, code, reason.
    told: Option<(u32, i32, String)>,
    finalized: u32,
}

/// What came of a datagram or an order.
#[derive(Debug, Default)]
pub struct Reaction {
    /// What the server says to its launcher.
    pub events: Vec<Event>,
    /// What it sends.
    pub out: Outbox<Address>,
    /// Has it died over this?
    pub died: bool,
}

/// The server's host.
#[derive(Debug)]
pub struct Host {
    secret: Secret,
    server: Option<Server<Memory, Address>>,
    /// Lifelines that the server has and that nodes have claimed.
    lines: HashSet<Address>,
    incarnation: u32,
    groups: Vec<Hosted>,
    fuse: Rc<Fuse>,
    before_sending: bool,
    backlog: VecDeque<Letter>,
    crashes: u32,
}

impl Host {
    /// A host on which no server runs yet.
    pub fn new(secret: Secret, groups: &[GroupPlan]) -> Self {
        let hosted = |plan: &GroupPlan| Hosted {
            plan: plan.clone(),
            kept: Rc::default(),
            told: None,
            finalized: 0,
        };
        Host {
            secret,
            server: None,
            lines: HashSet::new(),
            incarnation: 0,
            groups: groups.iter().map(hosted).collect(),
            fuse: Rc::default(),
            before_sending: false,
            backlog: VecDeque::new(),
            crashes: 0,
        }
    }

    /// Starts the server on the logs that are there. Returns the datagrams that have been waiting for it.
    pub fn start(&mut self, now: Micros) -> Result<VecDeque<Letter>, Violation> {
        self.incarnation += 1;
        self.fuse = Rc::default();
        self.before_sending = false;
        let mut server = Server::new(&self.secret, self.incarnation);
        for hosted in &self.groups {
            let bytes = hosted.kept.borrow().clone();
            let memory = Memory { bytes, kept: hosted.kept.clone(), fuse: self.fuse.clone() };
            let (spec, first) = (&hosted.plan.spec, &hosted.plan.first);
            // A launcher that does not know the size has nothing to put either.
            let opened = match first.is_empty() && hosted.kept.borrow().is_empty() {
                true => server.expect_group(memory, &spec.name, spec.ceiling),
                false => server.add_group(memory, spec.clone(), first),
            };
            opened.map_err(|error| Violation(format!("the server cannot start: {error}")))?;
            if let Some((rank, code, text)) = &hosted.told {
                let reason = (*code, text.as_str());
                server.fail(now, &hosted.plan.spec.name, *rank, reason, &mut Outbox::default());
            }
        }
        server.listen();
        self.fuse.appended.set(false);
        self.server = Some(server);
        Ok(std::mem::take(&mut self.backlog))
    }

    /// The server dies, now or later. True if now.
    pub fn arm(&mut self, moment: Moment) -> bool {
        match moment {
            Moment::Now => return self.crash(),
            Moment::AfterAppends(appends) => self.fuse.left.set(Some(appends)),
            Moment::BeforeSending => self.before_sending = true,
        }
        false
    }

    /// No crash is to come any more.
    pub fn disarm(&mut self) {
        self.fuse.left.set(None);
        self.before_sending = false;
    }

    fn crash(&mut self) -> bool {
        let ran = self.server.take().is_some();
        self.lines.clear();
        self.crashes += u32::from(ran);
        ran
    }

    /// How often the server has died.
    pub fn crashes(&self) -> u32 {
        self.crashes
    }

    /// A datagram comes in.
    pub fn receive(&mut self, now: Micros, letter: Letter) -> Result<Reaction, Violation> {
        let mut reaction = Reaction::default();
        let Some(server) = &mut self.server else {
            if self.backlog.len() < BACKLOG_MAX {
                self.backlog.push_back(letter);
            }
            return Ok(reaction);
        };
        let before = server.counters();
        server.handle(now, letter.from, &letter.bytes, &mut reaction.out, &mut reaction.events);
        let dropped = server.counters().dropped - before.dropped;
        let accepted = server.counters().datagrams_in - before.datagrams_in;
        if (dropped, accepted) != if letter.forged { (1, 0) } else { (0, 1) } {
            return Err(Violation(format!(
                "the server dropped {dropped} and accepted {accepted} of one datagram (forged: {})",
                letter.forged
            )));
        }
        Ok(self.survive(reaction))
    }

    /// Does the server live to tell of what it did?
    fn survive(&mut self, mut reaction: Reaction) -> Reaction {
        let appended = self.fuse.appended.replace(false);
        if self.fuse.burnt.get() {
            self.crash();
            return Reaction { died: true, ..Reaction::default() };
        }
        if self.before_sending && appended {
            reaction.died = self.crash();
            reaction.out.clear();
        }
        self.note(&reaction.events);
        reaction
    }

    /// The launcher remembers what a restarted server must be told.
    fn note(&mut self, events: &[Event]) {
        for event in events {
            match event {
                Event::Abort { group, rank, code, text, .. } => {
                    self.tell(group, *rank, *code, text)
                }
                Event::Fault { group, rank, text, .. } => {
                    self.tell(group, rank.unwrap_or(0), 1, text);
                }
                Event::Finalized { group } => self.hosted(group).finalized += 1,
                Event::Refused { .. } | Event::Stalled { .. } | Event::Lost { .. } => {}
            }
        }
    }

    fn hosted(&mut self, name: &str) -> &mut Hosted {
        let named = |hosted: &&mut Hosted| hosted.plan.spec.name == name;
        self.groups.iter_mut().find(named).expect("the server only knows groups it was given")
    }

    fn tell(&mut self, name: &str, rank: u32, code: i32, text: &str) {
        self.hosted(name).told.get_or_insert((rank, code, text.to_owned()));
    }

    /// The launcher has seen a rank fail.
    pub fn fail(&mut self, now: Micros, group: usize, rank: u32, code: i32) -> Reaction {
        let name = self.groups[group].plan.spec.name.clone();
        let text = format!("rank {rank} failed with code {code}");
        self.tell(&name, rank, code, &text);
        let mut reaction = Reaction::default();
        if let Some(server) = &mut self.server {
            server.fail(now, &name, rank, (code, &text), &mut reaction.out);
        }
        reaction
    }

    /// A connection comes in. False if the server is away, or no node has claimed it yet.
    pub fn connect(&mut self, line: Address) -> bool {
        let claimed = self.server.as_mut().is_some_and(|server| server.connected(line));
        if claimed {
            self.lines.insert(line);
        }
        claimed
    }

    /// Does the server hold this lifeline?
    pub fn holds(&self, line: Address) -> bool {
        self.lines.contains(&line)
    }

    /// The other end of a lifeline has not answered for long.
    pub fn unanswered(&mut self, now: Micros, line: Address) {
        if let Some(server) = self.server.as_mut().filter(|_| self.lines.remove(&line)) {
            server.disconnected(now, line, true);
        }
    }

    /// When the server wants to look at its clock.
    pub fn due(&self) -> Option<Micros> {
        self.server.as_ref().and_then(Server::due)
    }

    /// The server looks at its clock.
    pub fn tick(&mut self, now: Micros) -> Reaction {
        let mut reaction = Reaction::default();
        if let Some(server) = &mut self.server {
            server.tick(now, &mut reaction.out, &mut reaction.events);
        }
        self.note(&reaction.events);
        reaction
    }

    /// How often the server has said that a group has finalized.
    pub fn finalized(&self, group: usize) -> u32 {
        self.groups[group].finalized
    }

    /// Does the log that the group's server keeps begin with these bytes?
    pub fn log_begins_with(&self, group: usize, bytes: &[u8]) -> bool {
        self.groups[group].kept.borrow().starts_with(bytes)
    }

    /// Index of a group by name.
    pub fn group(&self, name: &str) -> Option<usize> {
        self.groups.iter().position(|hosted| hosted.plan.spec.name == name)
    }
}
