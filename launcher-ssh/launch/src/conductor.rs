//! The event loop of a running job.

use std::collections::HashSet;
use std::io;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::sys::signal::{Signal, raise};
use nix::unistd::Pid;
use pmi_bridge::plan::Notice;
use pmi_bridge::poller::{Interest, Poller};
use pmi_kvs_server::control::{Command, Event, Statistics};

use crate::bridge::Bridge;
use crate::ending::{Ending, Failure, Step};
use crate::guardian::Guardian;
use crate::input::Input;
use crate::job::Keeper;
use crate::node::Node;
use crate::output::Output;
use crate::ranks::{Ranks, StartFailure};
use crate::report::{self, Names};
use crate::server::{Loss, Server};
use crate::sink::Flushed;
use crate::sys::{self, Exit, SpawnError};
use crate::timeline::Timeline;

/// Ranks started between two looks at everything else; one takes 0.1 to 0.3 ms.
const STARTS_AT_ONCE: usize = 16;

/// When all ranks have ended, their streams and the server have so long to end as well.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// Numbers of the watched descriptors.
mod token {
    pub const SIGNALS: u64 = 0;
    pub const CONTROL: u64 = 1;
    pub const INPUT: u64 = 2;
    pub const RANK_INPUT: u64 = 3;
    pub const OUTPUT: u64 = 4;
    pub const STDOUT: u64 = 5;
    pub const ERROR: u64 = 6;
    pub const STDERR: u64 = 7;
    pub const BRIDGE: u64 = 8;
}

/// Where a job is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// Ranks are being started, or run.
    Running,
    /// All ranks have ended; their output and the server's last events are taken.
    Draining(Instant),
    /// Only our own output is left to be written.
    Flushing,
    /// Nothing is left to do.
    Over,
}

/// A job's progress.
pub struct Course {
    poller: Poller,
    ending: Ending,
    phase: Phase,
    watching: Option<(Pid, Interest)>,
    statistics: Option<Statistics>,
    /// Does the bridge still listen?
    bridged: bool,
    said: HashSet<String>,
}

/// Everything of a running job.
pub struct Conductor<'a> {
    pub(crate) group: String,
    pub(crate) names: Names,
    pub(crate) verbose: bool,
    pub(crate) timeline: Timeline,
    pub(crate) keeper: Keeper,
    pub(crate) server: Server,
    pub(crate) node: Node,
    pub(crate) guardian: Option<Guardian>,
    pub(crate) bridge: Bridge,
    pub(crate) ranks: Ranks,
    pub(crate) input: Input<'a>,
    pub(crate) output: Output<'a>,
    pub(crate) error: Output<'a>,
    pub(crate) course: Course,
}

impl Conductor<'_> {
    /// Numbers of the descriptors that [`Input`] watches.
    pub const INPUT_TOKENS: (u64, u64) = (token::INPUT, token::RANK_INPUT);

    /// The state at the start.
    pub fn beginning() -> io::Result<Course> {
        Ok(Course {
            poller: Poller::new()?,
            ending: Ending::default(),
            phase: Phase::Running,
            watching: None,
            statistics: None,
            bridged: true,
            said: HashSet::new(),
        })
    }

    /// Runs the job to its end and returns the exit code.
    pub fn run(&mut self) -> io::Result<i32> {
        self.course.poller.add(&self.keeper.signals, token::SIGNALS, Interest::Read)?;
        self.course.poller.add(&self.bridge, token::BRIDGE, Interest::Read)?;
        let mut ready = Vec::new();
        loop {
            self.start_some()?;
            self.advance()?;
            self.flush()?;
            if self.course.phase == Phase::Over {
                break;
            }
            self.course.poller.wait(self.deadline(), &mut ready)?;
            for token in &ready {
                self.handle(*token)?;
            }
            self.expire(Instant::now())?;
        }
        if let Some(guardian) = self.guardian.take() {
            guardian.dismiss();
        }
        Ok(self.course.ending.exit_code())
    }

    fn handle(&mut self, token: u64) -> io::Result<()> {
        let now = Instant::now();
        match token {
            token::SIGNALS => self.on_signals(),
            token::CONTROL => self.converse(),
            token::BRIDGE => {
                self.hear_bridge();
                Ok(())
            }
            token::INPUT => self.input.on_source(&mut self.course.poller, now),
            token::RANK_INPUT => self.input.on_target(&mut self.course.poller),
            token::OUTPUT => self.output.read(now),
            token::ERROR => self.error.read(now),
            // Flushing is tried in every turn.
            _ => Ok(()),
        }
    }

    fn deadline(&self) -> Option<Instant> {
        if self.ranks.next_rank().is_some() {
            return Some(Instant::now());
        }
        let phase = match self.course.phase {
            Phase::Draining(give_up) => Some(give_up),
            _ => None,
        };
        let ending = self.course.ending.deadline().filter(|_| self.course.phase == Phase::Running);
        let streams = [self.output.deadline(), self.error.deadline(), self.input.deadline()];
        streams.into_iter().chain([phase, ending]).flatten().min()
    }

    fn expire(&mut self, now: Instant) -> io::Result<()> {
        self.output.show_prompts(now);
        self.error.show_prompts(now);
        if self.input.deadline().is_some_and(|due| due <= now) {
            self.input.ask_again(&mut self.course.poller, now)?;
        }
        match self.course.phase {
            Phase::Running => self.end_step(now),
            Phase::Draining(give_up) if give_up <= now => self.give_up(now),
            _ => {}
        }
        Ok(())
    }

    fn end_step(&mut self, now: Instant) {
        match self.course.ending.take_due(now) {
            Some(Step::Announce) => self.announce(),
            Some(Step::Terminate) => self.ranks.terminate(),
            Some(Step::Kill) => self.ranks.kill(),
            None => {}
        }
    }

    /// Starts the next ranks.
    fn start_some(&mut self) -> io::Result<()> {
        for _ in 0..STARTS_AT_ONCE {
            let Some(rank) = self.ranks.next_rank() else { break };
            match self.ranks.start_next(
                &mut self.bridge,
                &mut self.keeper.spawner,
                &self.keeper.inherited,
            ) {
                Ok((pid, streams)) => {
                    self.timeline.note("first rank started");
                    self.output.attach(rank as usize, streams.output)?;
                    self.error.attach(rank as usize, streams.error)?;
                    if let Some(target) = streams.input {
                        self.input.begin(&mut self.course.poller, target)?;
                    }
                    self.remark(|names| format!("{} is process {pid}", names.rank(rank)));
                }
                Err(StartFailure { reason, code }) => {
                    self.fail(Failure::Start { rank, reason, code });
                }
            }
            if self.ranks.next_rank().is_none() {
                self.timeline.note("last rank started");
            }
        }
        Ok(())
    }

    /// Goes to the next phase when this one is over.
    fn advance(&mut self) -> io::Result<()> {
        self.watch_server()?;
        if self.course.phase == Phase::Running && self.ranks.have_ended() {
            self.timeline.note("last rank ended");
            self.ranks.kill();
            self.input.end(&mut self.course.poller)?;
            self.bridge.finish();
            self.server.finish(self.verbose);
            self.course.phase = Phase::Draining(Instant::now() + LAST_WORDS);
        }
        let quiet = self.output.is_closed() && self.error.is_closed() && !self.course.bridged;
        if matches!(self.course.phase, Phase::Draining(_)) && quiet && self.server.pid().is_none() {
            self.conclude();
            self.course.phase = Phase::Flushing;
        }
        Ok(())
    }

    /// Watches the control channel of the server that runs now.
    fn watch_server(&mut self) -> io::Result<()> {
        let interest = if self.server.has_backlog() { Interest::Both } else { Interest::Read };
        let wanted = self.server.pid().map(|pid| (pid, interest));
        let (Some(channel), true) = (self.server.channel(), wanted != self.course.watching) else {
            return Ok(());
        };
        let same_server = self.course.watching.map(|(pid, _)| pid) == self.server.pid();
        self.course.watching = wanted;
        match same_server {
            true => self.course.poller.modify(channel, token::CONTROL, interest),
            false => self.course.poller.add(channel, token::CONTROL, interest),
        }
    }

    /// Somebody who is no longer ours holds a stream open, or the server does not end: no longer our concern.
    /// A stream that we do not read because our own reader is slow is another matter.
    fn give_up(&mut self, now: Instant) {
        self.server.kill();
        self.course.bridged = false;
        let paused = [&mut self.output, &mut self.error].map(Output::give_up).contains(&false);
        if paused || self.server.pid().is_some() {
            self.course.phase = Phase::Draining(now + LAST_WORDS);
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        let poller = &mut self.course.poller;
        let output = self.output.flush(poller, token::OUTPUT, token::STDOUT)?;
        // If standard error is broken, there is nobody to tell.
        self.error.flush(poller, token::ERROR, token::STDERR)?;
        match output {
            Flushed::Broken(Errno::EPIPE) => self.fail(Failure::OutputClosed),
            Flushed::Broken(errno) => self.fail(Failure::Output(errno)),
            Flushed::Empty | Flushed::Blocked => {}
        }
        let flushed = self.output.is_flushed() && self.error.is_flushed();
        if self.course.phase == Phase::Flushing && flushed {
            self.course.phase = Phase::Over;
        }
        Ok(())
    }

    fn on_signals(&mut self) -> io::Result<()> {
        while let Some(signal) = self.keeper.signals.next() {
            match signal {
                Signal::SIGCHLD => self.reap(),
                Signal::SIGTSTP => {
                    self.ranks.signal(signal);
                    raise(Signal::SIGSTOP)?;
                }
                _ => self.pass_on(signal),
            }
        }
        Ok(())
    }

    fn pass_on(&mut self, signal: Signal) {
        let now = Instant::now();
        let ends = self.course.ending.signalled(signal, now);
        self.ranks.signal(signal);
        if ends && self.ranks.next_rank().is_some() {
            self.ranks.start_no_more();
            self.course.ending.cancel(now);
        }
        if ends && self.course.phase == Phase::Flushing {
            self.course.phase = Phase::Over;
        }
    }

    /// Takes all children that have ended.
    fn reap(&mut self) {
        let mut ended = Vec::new();
        while let Some((pid, exit)) = sys::reap() {
            let never_began = self.keeper.spawner.outcome(pid);
            if self.guardian.as_ref().is_some_and(|guardian| guardian.pid() == pid) {
                self.replace_guardian();
            } else if self.server.pid() == Some(pid) {
                self.on_server_exit(exit, never_began);
            } else if let Some(rank) = self.ranks.on_exit(pid) {
                self.timeline.note("first rank ended");
                match never_began {
                    Some(error) => self.on_start_failure(rank, error),
                    None => ended.push((rank, exit)),
                }
            }
        }
        let ranks: Vec<_> = ended.iter().map(|(rank, _)| *rank).collect();
        self.bridge.ended(&ranks);
        let some_succeeded = ended.iter().any(|(_, exit)| *exit == Exit::Code(0));
        let dead = if some_succeeded { self.node.dead() } else { HashSet::new() };
        for (rank, exit) in ended {
            self.on_rank_exit(rank, exit, dead.contains(&rank));
        }
    }

    fn on_start_failure(&mut self, rank: u32, error: SpawnError) {
        let StartFailure { reason, code } = self.ranks.start_failure(rank, error);
        self.fail(Failure::Start { rank, reason, code });
    }

    fn on_rank_exit(&mut self, rank: u32, exit: Exit, unfinalized: bool) {
        match exit {
            Exit::Code(0) if unfinalized => self.fail(Failure::Unfinalized { rank }),
            Exit::Code(0) => self.server.send(Command::Exited { group: self.group.clone(), rank }),
            exit => self.fail(Failure::Ended { rank, exit }),
        }
    }

    /// A signal to the guardian alone; without one, a launcher that is killed leaves grandchildren behind.
    fn replace_guardian(&mut self) {
        self.guardian = Guardian::start(self.ranks.groups()).ok();
        match &self.guardian {
            Some(_) => {
                self.remark(|_| "the guardian process has died; another one was forked".into())
            }
            None => self.say("the guardian process has died, and no other could be forked"),
        }
    }

    fn on_server_exit(&mut self, exit: Exit, never_began: Option<SpawnError>) {
        self.take_events();
        if self.course.phase != Phase::Running || self.course.ending.has_begun() {
            return self.server.ended();
        }
        let Keeper { spawner, inherited, .. } = &mut self.keeper;
        match self.server.replace(exit, never_began, Instant::now(), spawner, inherited) {
            Loss::Replaced(message) => self.say(&message),
            Loss::Final(message) => self.fail(Failure::Server(message)),
        }
    }

    /// The bridge tells of ranks that have aborted or are missed, or hangs up.
    fn hear_bridge(&mut self) {
        let heard = self.bridge.hear();
        for notice in heard.notices {
            self.fail(match notice {
                Notice::Lost(rank) => Failure::Unfinalized { rank },
                Notice::Abort { rank, code, text } => Failure::Abort { rank, code, message: text },
            });
        }
        if !heard.open && self.course.bridged {
            self.course.bridged = false;
            self.course.poller.remove(&self.bridge, token::BRIDGE);
            // It has nothing left to do but end; if it was reaped already, there is nobody to wait for.
            sys::reap_one(self.bridge.pid());
            if self.course.phase == Phase::Running && !self.ranks.have_ended() {
                let text = "the process that serves PMI_FD has ended unexpectedly";
                self.fail(Failure::Server(text.to_owned()));
            }
        }
    }

    /// The server says something, or hangs up.
    fn converse(&mut self) -> io::Result<()> {
        if !self.take_events() {
            if let Some(channel) = self.server.channel() {
                self.course.poller.remove(channel, token::CONTROL);
            }
            if self.course.phase == Phase::Running {
                // A server that does not listen is of no use, should it still run.
                self.server.kill();
            }
        }
        Ok(())
    }

    fn take_events(&mut self) -> bool {
        let (events, open) = self.server.converse();
        events.into_iter().for_each(|event| self.on_event(event));
        open
    }

    fn on_event(&mut self, event: Event) {
        match event {
            Event::Ready { addresses, incarnation } => {
                self.timeline.note("server ready");
                self.remark(|_| {
                    format!("server answers on {} (start {incarnation})", addresses.join(","))
                });
            }
            Event::Abort { rank, code, message, .. } => {
                self.fail(Failure::Abort { rank, code, message });
            }
            Event::Fault { rank, message, .. } => self.fail(Failure::Fault { rank, message }),
            Event::Refused { message, .. }
            | Event::Lost { message, .. }
            | Event::Error { message } => self.say_once(message),
            Event::Stalled { barrier, waited_seconds, missing, .. } => {
                // The server knows the hosts of ranks that it has heard of; we started all of them, here.
                let host = &self.names.host;
                let hosts = std::slice::from_ref(host);
                let text = report::stall_text(barrier, waited_seconds, &missing, hosts);
                self.say_once(text);
            }
            Event::Finalized { .. } => self.timeline.note("all finalized"),
            Event::Statistics(statistics) => self.course.statistics = Some(statistics),
        }
    }

    /// Notes a failure; at the first, no more ranks are started, and those that wait for one another are
    /// released.
    fn fail(&mut self, failure: Failure) {
        let told = match &failure {
            Failure::Ended { rank, exit } => Some((*rank, report::exit_text(*exit))),
            Failure::Unfinalized { rank } => Some((*rank, "exited without PMI_Finalize".into())),
            Failure::Start { rank, reason, .. } => Some((*rank, reason.clone())),
            _ => None,
        };
        if self.course.ending.record(failure, Instant::now()) {
            self.ranks.start_no_more();
            if let Some((rank, how)) = told {
                let message = format!("{} {how}", self.names.rank(rank));
                let (group, code) = (self.group.clone(), self.course.ending.exit_code());
                self.server.send(Command::Fail { group, rank, code, message });
            }
        }
    }

    fn announce(&mut self) {
        if let Some(signal) = self.course.ending.signal() {
            return self.say(&format!("ended by {signal}"));
        }
        if let Some(text) =
            self.course.ending.reason().and_then(|reason| self.names.failure(reason))
        {
            self.say(&text);
        }
    }

    /// First words, for `-verbose`.
    pub fn introduce(&mut self, server: &str, board_failure: Option<&str>) {
        if let Some(reason) = board_failure {
            self.remark(|_| format!("no board, the ranks will make one: {reason}"));
        }
        let server_pid = self.server.pid().map_or(0, Pid::as_raw);
        let guardian = self.guardian.as_ref().map_or(0, |guardian| guardian.pid().as_raw());
        let (job, bridge) = (self.group.clone(), self.bridge.pid());
        self.remark(|_| {
            format!(
                "job {job}: server {server} (process {server_pid}), guardian process {guardian}, \
                 bridge process {bridge}"
            )
        });
    }

    /// Last words.
    fn conclude(&mut self) {
        if self.course.ending.take_announcement() {
            self.announce();
        }
        let timeline = self.timeline.summary();
        self.remark(|_| format!("milliseconds from the start: {timeline}"));
        if let Some(statistics) = self.course.statistics.take() {
            for line in report::statistics_lines(&statistics) {
                self.remark(|_| line);
            }
        }
    }

    fn say(&mut self, text: &str) {
        self.error.say(&self.names.line(text));
    }

    fn say_once(&mut self, text: String) {
        if !self.course.said.contains(&text) {
            self.say(&text);
            self.course.said.insert(text);
        }
    }

    /// Says something if `-verbose` asks for it.
    fn remark(&mut self, text: impl FnOnce(&Names) -> String) {
        if self.verbose {
            let text = text(&self.names);
            self.say(&text);
        }
    }
}
