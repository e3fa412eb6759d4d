//! Exchanges in a run: who becomes the delegate, what exchanges send and receive, and how they end.

use super::processes::State;
use super::{Happening, World};
use crate::board::{Board, Runner, Task};
use crate::checker::{Micros, Verdict, Violation};
use crate::wire::{Address, Letter, Place};
use pmi_protocol::exchange::{Goal, Outcome};

/// Datagrams that a socket keeps while its process does not read it.
const MAILBOX_MAX: usize = 32;

impl World {
    /// Makes a delegate if all ranks of the node are here, else waits a little for the others.
    pub(super) fn seek_delegate(&mut self, board: usize, process: usize) -> Verdict {
        if self.boards[board].delegate().is_some() {
            return Ok(());
        }
        let Board { plan, arrived, .. } = &self.boards[board];
        let group = plan.group;
        let here = |rank: &u32| {
            let peer = &self.processes[self.process_of(group, *rank)];
            arrived.contains(rank) || peer.state == State::Ended
        };
        if plan.ranks.iter().all(here) {
            return self.become_delegate(board, process);
        }
        let patience = plan.patience;
        self.come_back(board, patience);
        Ok(())
    }

    /// Looks after `delay` whether the node needs a delegate.
    pub(super) fn come_back(&mut self, board: usize, delay: Micros) {
        let target = self.boards[board].target();
        self.queue.push(self.now + delay, Happening::Impatience(board, target));
    }

    /// Whoever is there goes ahead, if nobody has.
    pub(super) fn impatience(&mut self, board: usize, target: u32) -> Verdict {
        let group = self.boards[board].plan.group;
        let idle = self.boards[board].delegate().is_none();
        if !idle || self.boards[board].target() != target || self.boards[board].over.is_some() {
            return Ok(());
        }
        let waiting: Vec<usize> = self.boards[board]
            .arrived
            .iter()
            .map(|rank| self.process_of(group, *rank))
            .filter(|process| self.processes[*process].state == State::Waiting)
            .collect();
        if !waiting.is_empty() {
            let process = waiting[self.dice.index(waiting.len())];
            self.become_delegate(board, process)?;
            self.watch(board);
        }
        Ok(())
    }

    fn become_delegate(&mut self, board: usize, process: usize) -> Verdict {
        if self.boards[board].can_open_ahead() {
            return self.open_ahead(board, process);
        }
        let joining = self.boards[board].epoch.is_none();
        let goal = if joining { Goal::Join } else { Goal::Barrier };
        let ranks: Vec<u32> = self.boards[board].arrived.iter().copied().collect();
        self.note(|| format!("process {process} is delegate of board {board} for {ranks:?}"));
        self.launch(board, process, Task::Delegate, goal, ranks);
        Ok(())
    }

    /// Lets all ranks but the delegate's go; that one waits for the server.
    fn open_ahead(&mut self, board: usize, process: usize) -> Verdict {
        let number = self.boards[board].target();
        self.note(|| format!("process {process} opens barrier {number} of board {board} ahead"));
        self.summary.ahead += 1;
        let seed = self.dice.draw();
        let group = self.boards[board].plan.group;
        for rank in self.boards[board].open_ahead(self.now, process, seed)? {
            let peer = self.process_of(group, rank);
            if peer != process {
                self.wake_soon(peer, number);
            }
        }
        self.read_mailbox(process);
        Ok(())
    }

    /// Starts an exchange and lets it send.
    pub(super) fn start(
        &mut self,
        board: usize,
        process: usize,
        task: Task,
        goal: Goal,
        ranks: Vec<u32>,
    ) -> Verdict {
        self.launch(board, process, task, goal, ranks);
        self.watch(board);
        Ok(())
    }

    fn launch(&mut self, board: usize, process: usize, task: Task, goal: Goal, ranks: Vec<u32>) {
        let seed = self.dice.draw();
        if goal == Goal::Join {
            self.reserve_line(board);
        }
        self.boards[board].start(self.now, process, task, goal, ranks, seed);
        self.read_mailbox(process);
    }

    /// A process finds the datagrams that came while it had no exchange under way.
    fn read_mailbox(&mut self, process: usize) {
        let old = std::mem::take(&mut self.processes[process].mailbox);
        old.into_iter().for_each(|letter| self.queue.push(self.now, Happening::Deliver(letter)));
    }

    /// Sees to it that the board's exchanges are polled when they are due.
    pub(super) fn watch(&mut self, board: usize) {
        let Some(due) = self.boards[board].due() else { return };
        let due = due.max(self.now);
        if self.boards[board].next_poll.is_none_or(|next| due < next) {
            self.boards[board].next_poll = Some(due);
            self.queue.push(due, Happening::Poll(board));
        }
    }

    /// Lets the board's exchanges send.
    pub(super) fn poll(&mut self, board: usize) -> Verdict {
        if self.boards[board].next_poll == Some(self.now) {
            self.boards[board].next_poll = None;
        }
        // A zombie whose process has ended meanwhile is gone.
        let lives = |runner: &Runner| self.processes[runner.process].state != State::Ended;
        self.boards[board].runners.retain(lives);
        let loopback = self.boards[board].plan.loopback;
        let mut letters = Vec::new();
        self.boards[board].transmit(self.now, |process, out| {
            let from = Address { place: Place::Process(process), loopback };
            letters.extend(out.iter().map(|(to, bytes)| Letter {
                from,
                to,
                bytes: bytes.into(),
                forged: false,
            }));
        });
        letters.into_iter().for_each(|letter| self.post(letter));
        self.settle(board)
    }

    /// A datagram comes in for a process.
    pub(super) fn receive(&mut self, process: usize, letter: Letter) -> Verdict {
        let board = self.processes[process].board;
        if self.processes[process].state == State::Ended {
            return Ok(());
        }
        if self.boards[board].receive(self.now, process, letter.from, &letter.bytes)? {
            self.tend_line(board, process);
            return self.settle(board);
        }
        let mailbox = &mut self.processes[process].mailbox;
        if mailbox.len() < MAILBOX_MAX {
            mailbox.push_back(letter);
        }
        Ok(())
    }

    /// Acts on the exchanges that have ended.
    fn settle(&mut self, board: usize) -> Verdict {
        while let Some((runner, outcome)) = self.boards[board].take_ended() {
            self.note(|| format!("process {} {:?}: {outcome:?}", runner.process, runner.task));
            if runner.task != Task::Zombie {
                self.check_outcome(board, &outcome)?;
            }
            self.on_ended(board, &runner, outcome)?;
        }
        self.watch(board);
        Ok(())
    }

    fn check_outcome(&self, board: usize, outcome: &Outcome) -> Verdict {
        let book = &self.books[self.boards[board].plan.group];
        match outcome {
            Outcome::Silent if !self.wire.is_silenced(board) => {
                Err(Violation(format!("node {board} gave its server up, which was there")))
            }
            Outcome::Fault { text, refused: true, .. } => book.refused(text),
            _ => Ok(()),
        }
    }

    fn on_ended(&mut self, board: usize, runner: &Runner, outcome: Outcome) -> Verdict {
        match (runner.task, outcome) {
            (Task::Zombie | Task::Obituary, _) => Ok(()),
            (Task::Delegate, Outcome::Opened { mark }) => self.open(board, mark),
            (Task::Delegate, Outcome::Fault { code, text, .. }) => self.over(board, code, &text),
            (Task::Delegate, _) => self.silent(board),
            (Task::Confirm, outcome) => self.on_confirmed(board, runner.process, outcome),
            (Task::Leave, Outcome::Fault { code, text, .. }) => {
                self.told(runner.process, code, &text)
            }
            (Task::Leave | Task::Abort, _) => {
                self.processes[runner.process].state = State::Ended;
                Ok(())
            }
        }
    }

    fn open(&mut self, board: usize, mark: u64) -> Verdict {
        let number = self.boards[board].target();
        let group = self.boards[board].plan.group;
        for rank in self.boards[board].open(mark)? {
            let process = self.process_of(group, rank);
            self.wake_soon(process, number);
        }
        Ok(())
    }

    /// The server has its say about a barrier that was opened ahead of it.
    fn on_confirmed(&mut self, board: usize, process: usize, outcome: Outcome) -> Verdict {
        let Some(ahead) = self.boards[board].take_ahead() else {
            return Err(Violation(format!("node {board} confirms a barrier that is not ahead")));
        };
        let mark = match outcome {
            Outcome::Opened { mark } => mark,
            Outcome::Fault { code, text, .. } => {
                self.told(process, code, &text)?;
                return self.over(board, code, &text);
            }
            _ => {
                self.silent(board)?;
                return self.told(process, 1, "the server is silent");
            }
        };
        if mark != ahead.mark || !self.logs_agree(board) {
            return Err(Violation(format!(
                "node {board} foresaw barrier {} up to mark {}; the server's log is another, up to {mark}",
                ahead.epoch, ahead.mark
            )));
        }
        self.wake_soon(process, ahead.epoch);
        Ok(())
    }

    /// Has the server appended what the board shows?
    fn logs_agree(&self, board: usize) -> bool {
        let Board { plan, .. } = &self.boards[board];
        self.host.log_begins_with(plan.group, self.boards[board].log())
    }

    /// Every waiting rank of the board is told that the job is over.
    fn over(&mut self, board: usize, code: i32, text: &str) -> Verdict {
        let group = self.boards[board].plan.group;
        self.boards[board].over = Some((code, text.to_owned()));
        if let Some(process) = self.boards[board].stop_confirming() {
            self.told(process, code, text)?;
        }
        for rank in std::mem::take(&mut self.boards[board].arrived) {
            let process = self.process_of(group, rank);
            if self.processes[process].state == State::Waiting {
                self.told(process, code, text)?;
            }
        }
        Ok(())
    }

    /// The server is silent: the ranks of the node fail, and their launcher sees it.
    fn silent(&mut self, board: usize) -> Verdict {
        let group = self.boards[board].plan.group;
        let rank = self.boards[board].plan.ranks[0];
        self.books[group].cause(self.now, None, true);
        self.queue.push(self.now, Happening::Failed { group, rank, code: 1 });
        self.over(board, 1, "the server is silent")
    }
}
