//! One run: ranks with their scripts, boards, the network and the server's host in one virtual time.

mod delegates;
mod incidents;
mod lines;
mod processes;

use std::collections::{BTreeSet, VecDeque};

use crate::board::Board;
use crate::checker::{Book, Micros, Verdict, View, Violation};
use crate::dice::Dice;
use crate::host::{Host, Reaction};
use crate::plan::{self, Fault, Plan};
use crate::queue::Queue;
use crate::script::Op;
use crate::wire::{Address, Letter, Place, Wire};
pub use lines::Line;
use pmi_protocol::exchange::Identity;
use pmi_protocol::key::{Keys, Secret, group_number};
use pmi_protocol::server::Event;
use processes::{Process, State};

/// Time after the last planned thing in which every rank must have ended.
const PATIENCE_US: Micros = 200_000_000;

/// Something to come.
#[derive(Debug)]
enum Happening {
    /// A process goes on with its script.
    Step(usize),
    /// A process notices that the barrier of this number is open.
    Wake(usize, u32),
    /// A node has waited long enough for its other ranks.
    Impatience(usize, u32),
    /// An exchange of a board may want to send.
    Poll(usize),
    /// A datagram comes in.
    Deliver(Letter),
    /// An incident of the plan, by its index.
    Incident(usize),
    /// The server is started again.
    Start,
    /// The server looks at its clock.
    Tick,
    /// The launcher learns that a rank has failed.
    Failed { group: usize, rank: u32, code: i32 },
    /// A lifeline that a board opened at that time, from this port, comes in at the server's host.
    Connect(usize, u16, Micros),
    /// A node that was cut off has been so for long.
    Unanswered(usize),
    /// All faults end.
    Heal,
}

/// What a run went through.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// Virtual time at the end.
    pub micros: Micros,
    /// Datagrams delivered.
    pub datagrams: u64,
    /// Barriers left, counted for each rank.
    pub departures: u64,
    /// Ranks that were told of the end of their job.
    pub faults: u64,
    /// Crashes of the server.
    pub crashes: u32,
    /// Delegates that were replaced.
    pub takeovers: u32,
    /// Barriers that a node opened ahead of the server.
    pub ahead: u32,
}

impl std::ops::Add for Summary {
    type Output = Summary;

    fn add(self, other: Summary) -> Summary {
        Summary {
            micros: self.micros + other.micros,
            datagrams: self.datagrams + other.datagrams,
            departures: self.departures + other.departures,
            faults: self.faults + other.faults,
            crashes: self.crashes + other.crashes,
            takeovers: self.takeovers + other.takeovers,
            ahead: self.ahead + other.ahead,
        }
    }
}

impl std::fmt::Display for Summary {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "{} s of virtual time, {} datagrams, {} departures from barriers, {} ranks told of an end, \
             {} server crashes, {} takeovers, {} barriers opened ahead",
            self.micros / 1_000_000,
            self.datagrams,
            self.departures,
            self.faults,
            self.crashes,
            self.takeovers,
            self.ahead
        )
    }
}

struct World {
    now: Micros,
    queue: Queue<Happening>,
    plan: Plan,
    dice: Dice,
    wire: Wire,
    books: Vec<Book>,
    boards: Vec<Board>,
    processes: Vec<Process>,
    host: Host,
    next_tick: Option<Micros>,
    /// Until when the processes of each board are stopped.
    stopped: Vec<Micros>,
    /// Ports given away.
    ports: u16,
    /// How long the server stays away after the next crash.
    downtime: Micros,
    summary: Summary,
    trace: bool,
}

/// Runs a seed with the given kinds of fault. With `trace` every happening is printed to standard error.
pub fn run(seed: u64, faults: &[Fault], trace: bool) -> Result<Summary, Violation> {
    play(seed, plan::draw(seed, faults), trace)
}

/// Runs a plan; the seed decides what the plan leaves open.
pub fn play(seed: u64, plan: Plan, trace: bool) -> Result<Summary, Violation> {
    let mut world = World::new(seed, plan, trace);
    world.begin()?;
    let deadline = world.deadline();
    while world.processes.iter().any(|process| process.state != State::Ended) {
        match world.queue.pop() {
            Some((at, what)) if at <= deadline => {
                world.now = at;
                world.happen(what)?;
            }
            _ => return Err(world.stuck()),
        }
    }
    world.end()
}

impl World {
    fn new(seed: u64, plan: Plan, trace: bool) -> Self {
        let secret = Secret::new([seed as u8; 32]);
        let keys = Keys::derive(&secret);
        let mut dice = Dice::new(seed, 1);
        let board = |(index, node): (usize, &plan::NodePlan)| {
            let spec = &plan.groups[node.group].spec;
            let identity = Identity {
                keys: keys.clone(),
                group: group_number(&spec.name),
                node: dice.draw(),
                size: spec.size,
                host: format!("host{index}"),
                private: node.private,
            };
            Board::new(node.clone(), identity)
        };
        let boards = plan.nodes.iter().enumerate().map(board).collect();
        let books = plan.groups.iter().map(|group| book_of(group, plan.network.heal_at)).collect();
        World {
            now: 0,
            queue: Queue::default(),
            dice,
            wire: Wire::new(plan.network.clone(), Dice::new(seed, 2)),
            books,
            boards,
            processes: processes::of(&plan),
            host: Host::new(secret, &plan.groups),
            next_tick: None,
            stopped: vec![0; plan.nodes.len()],
            ports: 0,
            downtime: 0,
            summary: Summary::default(),
            plan,
            trace,
        }
    }

    fn begin(&mut self) -> Verdict {
        self.host.start(0)?;
        let spread = self.dice.between(1, 300_000);
        for process in 0..self.processes.len() {
            let at = self.dice.below(spread);
            self.queue.push(at, Happening::Step(process));
        }
        for (index, (at, _)) in self.plan.incidents.iter().enumerate() {
            self.queue.push(*at, Happening::Incident(index));
        }
        self.queue.push(self.plan.network.heal_at, Happening::Heal);
        for (index, group) in self.plan.groups.iter().enumerate() {
            if group.misuse {
                self.books[index].cause(0, Some(1), false);
            }
        }
        Ok(())
    }

    /// Every rank has ended by then, or waits for ever.
    fn deadline(&self) -> Micros {
        let thinking = |op: &Op| if let Op::Think(time) = op { *time } else { 0 };
        let scripts = self.plan.groups.iter().flat_map(|group| &group.scripts);
        let thought: Micros = scripts.flatten().map(thinking).sum();
        self.plan.network.heal_at + thought + PATIENCE_US
    }

    fn happen(&mut self, what: Happening) -> Verdict {
        if self.trace && !matches!(what, Happening::Poll(_) | Happening::Tick) {
            self.print(&what);
        }
        let Some(what) = self.unless_stopped(what) else { return Ok(()) };
        match what {
            Happening::Step(process) => self.step(process),
            Happening::Wake(process, number) => self.wake(process, number),
            Happening::Impatience(board, target) => self.impatience(board, target),
            Happening::Poll(board) => self.poll(board),
            Happening::Deliver(letter) => self.deliver(letter),
            Happening::Incident(index) => self.incident(index),
            Happening::Start => self.start_server(),
            Happening::Tick => self.tick(),
            Happening::Failed { group, rank, code } => self.failed(group, rank, code),
            Happening::Connect(board, port, since) => {
                self.connect(board, port, since);
                Ok(())
            }
            Happening::Unanswered(board) => {
                self.unanswered(board);
                Ok(())
            }
            Happening::Heal => {
                self.host.disarm();
                Ok(())
            }
        }
    }

    /// What comes for a process that is stopped comes again when it goes on.
    fn unless_stopped(&mut self, what: Happening) -> Option<Happening> {
        let board = match &what {
            Happening::Step(process) | Happening::Wake(process, _) => {
                self.processes[*process].board
            }
            Happening::Impatience(board, _) | Happening::Poll(board) => *board,
            Happening::Deliver(Letter {
                to: Address { place: Place::Process(process), .. },
                ..
            }) => self.processes[*process].board,
            _ => return Some(what),
        };
        let until = self.stopped[board];
        if until <= self.now {
            return Some(what);
        }
        if let Happening::Poll(board) = what {
            self.boards[board].next_poll = Some(until);
        }
        self.queue.push(until, what);
        None
    }

    fn print(&self, what: &Happening) {
        match what {
            Happening::Deliver(letter) => {
                eprintln!("{:>10} {}", self.now, crate::trace::letter(letter));
            }
            Happening::Incident(index) => {
                eprintln!("{:>10} {:?}", self.now, self.plan.incidents[*index].1);
            }
            what => eprintln!("{:>10} {what:?}", self.now),
        }
    }

    fn note(&self, text: impl FnOnce() -> String) {
        if self.trace {
            eprintln!("{:>10}   {}", self.now, text());
        }
    }

    fn deliver(&mut self, letter: Letter) -> Verdict {
        self.summary.datagrams += 1;
        match letter.to.place {
            Place::Server => {
                let reaction = self.host.receive(self.now, letter)?;
                self.react(reaction)
            }
            Place::Process(process) => self.receive(process, letter),
            Place::Nowhere | Place::Stranger | Place::Line(..) => Ok(()),
        }
    }

    /// Sends on what the server wants to send. What it says to its launcher comes first: the launcher must
    /// know of the end of a group when a node knows.
    fn react(&mut self, reaction: Reaction) -> Verdict {
        reaction.events.iter().try_for_each(|event| self.on_event(event))?;
        if reaction.died {
            self.note(|| "the server dies".to_owned());
            self.queue.push(self.now + self.downtime, Happening::Start);
        }
        for (to, bytes) in reaction.out.iter() {
            let from = Address { place: Place::Server, ..to };
            self.post(Letter { from, to, bytes: bytes.into(), forged: false });
        }
        self.watch_clock();
        Ok(())
    }

    /// Puts a datagram on the wire.
    fn post(&mut self, letter: Letter) {
        let process = match (letter.from.place, letter.to.place) {
            (Place::Process(process), _) | (_, Place::Process(process)) => process,
            _ => return,
        };
        let node = self.processes[process].board;
        for at in self.wire.carry(self.now, node, &letter) {
            self.queue.push(at, Happening::Deliver(letter.clone()));
        }
    }

    fn watch_clock(&mut self) {
        let due = self.host.due();
        if let Some(at) = due.filter(|_| due != self.next_tick) {
            self.queue.push(at.max(self.now), Happening::Tick);
        }
        self.next_tick = due;
    }

    fn tick(&mut self) -> Verdict {
        let reaction = self.host.tick(self.now);
        self.react(reaction)
    }

    fn on_event(&mut self, event: &Event) -> Verdict {
        self.note(|| format!("{event:?}"));
        match event {
            // A restarted server cannot tell a node's old Hello from a process that comes too late. Its
            // answer does no harm: the node knows that it is past joining.
            Event::Refused { .. } if self.host.crashes() > 0 => Ok(()),
            Event::Refused { group, text } => {
                let group = group.as_ref().and_then(|name| self.host.group(name));
                self.books[group.unwrap_or(0)].refused(text)
            }
            Event::Stalled { group, barrier, missing, .. } => {
                let missing: BTreeSet<u32> = missing.iter().collect();
                self.book(group).stalled(*barrier, &missing)
            }
            Event::Finalized { group } => self.book(group).all_finalized(),
            Event::Abort { group, text, .. }
            | Event::Fault { group, text, .. }
            | Event::Lost { group, text } => {
                if self.book(group).endangered() {
                    return Ok(());
                }
                Err(Violation(format!("{group}: the server ended it for no reason: {text}")))
            }
        }
    }

    fn book(&self, name: &str) -> &Book {
        &self.books[self.host.group(name).expect("the server only names its groups")]
    }

    fn stuck(&self) -> Violation {
        let waiting = self.processes.iter().filter(|process| process.state != State::Ended);
        let lines: Vec<String> = waiting
            .map(|process| {
                let standing = self.books[process.group].standing(process.rank);
                format!("{standing}, {:?}", process.state)
            })
            .collect();
        Violation(format!("ranks wait for ever:\n  {}", lines.join("\n  ")))
    }

    /// The last checks, when every rank has ended.
    fn end(mut self) -> Result<Summary, Violation> {
        self.summary.micros = self.now;
        self.summary.crashes = self.host.crashes();
        for (index, book) in self.books.iter().enumerate() {
            let said = self.host.finalized(index);
            let expected = !book.endangered() && self.host.crashes() == 0;
            if said > 1 && self.host.crashes() == 0 || expected && said == 0 {
                let name = &self.plan.groups[index].spec.name;
                return Err(Violation(format!("{name}: reported {said} times as finalized")));
            }
        }
        Ok(self.summary)
    }
}

fn book_of(group: &plan::GroupPlan, heal_at: Micros) -> Book {
    let pair = |(key, value): &(String, String)| ((0, key.clone().into()), value.clone().into());
    let first: View = group.first.iter().map(pair).collect();
    Book::new(&group.spec.name, group.spec.size, first, heal_at)
}

/// Datagrams kept for a process that has no exchange under way.
type Mailbox = VecDeque<Letter>;
