//! What goes wrong in a run beside the network.

use super::processes::{Process, State};
use super::{Happening, World};
use crate::board::{Board, Task};
use crate::checker::Verdict;
use crate::plan::{Moment, NodePlan, What};
use pmi_protocol::exchange::Goal;
use pmi_protocol::limits::LIFELINE_BREAK_US;

/// Exit code of a rank that was killed: 128 + SIGKILL.
const KILLED: i32 = 137;

/// Longest time until a node notices that it has lost its delegate.
const TAKEOVER_US: u64 = 50_000;

/// Longest time until a launcher notices that a process has ended.
const REAP_US: u64 = 1_000_000;

/// Time until somebody notices that a host is gone which the server did not miss.
const NOTICED_US: u64 = 60_000_000;

impl World {
    /// Lets an incident of the plan happen.
    pub(super) fn incident(&mut self, index: usize) -> Verdict {
        match self.plan.incidents[index].1.clone() {
            What::Crash { moment, down } => {
                self.crash(moment, down);
                Ok(())
            }
            What::Takeover { node, zombie } => {
                self.take_over(node, zombie);
                Ok(())
            }
            What::Death { group, rank, by_peer } => self.die(group, rank, by_peer),
            What::Cut { node, until } => {
                if until.is_none() {
                    // The others wait for it until it gives up; then its launcher knows.
                    let NodePlan { group, ranks, .. } = &self.plan.nodes[node];
                    self.books[*group].cause(self.now, None, false);
                    ranks.iter().for_each(|rank| self.books[*group].cut_off(*rank));
                }
                self.wire.cut(node, until);
                self.doubt(node);
                Ok(())
            }
            What::Blackout { node } => {
                self.black_out(node);
                Ok(())
            }
            What::Suspend { node, until } => {
                self.stopped[node] = until;
                Ok(())
            }
            What::Break { node } => {
                // What is in flight when a host crashes comes long before its lifeline breaks.
                if !self.wire.is_silenced(node) {
                    self.break_line(node);
                }
                Ok(())
            }
            What::Forge => match self.wire.forge() {
                Some(letter) => self.deliver(letter),
                None => Ok(()),
            },
        }
    }

    fn crash(&mut self, moment: Moment, down: u64) {
        if self.host.arm(moment) {
            self.note(|| "the server dies".to_owned());
            self.queue.push(self.now + down, Happening::Start);
        }
        self.downtime = down;
    }

    /// The server is started again.
    pub(super) fn start_server(&mut self) -> Verdict {
        let waiting = self.host.start(self.now)?;
        waiting
            .into_iter()
            .for_each(|letter| self.queue.push(self.now, Happening::Deliver(letter)));
        Ok(())
    }

    fn take_over(&mut self, board: usize, zombie: bool) {
        if let Some(delegate) = self.boards[board].delegate() {
            delegate.task = Task::Zombie;
            self.summary.takeovers += 1;
            self.boards[board].runners.retain(|runner| zombie || runner.task != Task::Zombie);
            let delay = self.dice.below(TAKEOVER_US);
            self.come_back(board, delay);
        }
    }

    fn die(&mut self, group: usize, rank: u32, by_peer: bool) -> Verdict {
        let process = self.process_of(group, rank);
        let Process { board, state, .. } = self.processes[process];
        if state == State::Ended {
            return Ok(());
        }
        self.processes[process].state = State::Ended;
        self.books[group].died(rank);
        self.books[group].cause(self.now, None, true);
        let reaped = self.now + self.dice.below(REAP_US);
        self.queue.push(reaped, Happening::Failed { group, rank, code: KILLED });
        self.boards[board].runners.retain(|runner| runner.process != process);
        let delay = self.dice.below(TAKEOVER_US);
        self.come_back(board, delay);
        match self.waiting_peer(board, group) {
            Some(peer) if by_peer => self.report_dead(board, peer, rank),
            _ => Ok(()),
        }
    }

    /// A host crashes. What runs elsewhere learns of it from the end of the lifeline, if there is one, or in the end from
    /// somebody who looks after the job.
    fn black_out(&mut self, node: usize) {
        let NodePlan { group, ranks, .. } = self.plan.nodes[node].clone();
        let lived: Vec<usize> = ranks.iter().map(|rank| self.process_of(group, *rank)).collect();
        if lived.iter().all(|process| self.processes[*process].state == State::Ended) {
            return;
        }
        self.books[group].cause(self.now, None, false);
        if self.is_watched(node) {
            self.books[group].cause(self.now + LIFELINE_BREAK_US, None, true);
        }
        for (process, rank) in lived.into_iter().zip(&ranks) {
            self.processes[process].state = State::Ended;
            self.books[group].died(*rank);
        }
        self.boards[node].runners.clear();
        self.wire.cut(node, None);
        self.doubt(node);
        let failed = Happening::Failed { group, rank: ranks[0], code: KILLED };
        self.queue.push(self.now + NOTICED_US, failed);
    }

    fn waiting_peer(&self, board: usize, group: usize) -> Option<usize> {
        let ranks = self.boards[board].plan.ranks.iter();
        let mut peers = ranks.map(|rank| self.process_of(group, *rank));
        peers.find(|peer| self.processes[*peer].state == State::Waiting)
    }

    fn report_dead(&mut self, board: usize, peer: usize, rank: u32) -> Verdict {
        let goal = Goal::Abort { code: KILLED, text: "it was killed".to_owned(), dead: true };
        self.start(board, peer, Task::Obituary, goal, vec![rank])
    }

    /// Whoever stands in a barrier notices a peer that has finalized instead. Where each rank tells the server by
    /// itself that it has finalized, the server notices.
    pub(super) fn report_deserter(&mut self, board: usize) -> Verdict {
        let Board { plan, left, arrived, runners, .. } = &self.boards[board];
        let reported = runners.iter().any(|runner| runner.task == Task::Obituary);
        let mut here = arrived.iter().map(|rank| self.process_of(plan.group, *rank));
        let waiting = here.find(|peer| self.processes[*peer].state == State::Waiting);
        let (Some(rank), Some(peer)) = (left.first().copied(), waiting) else { return Ok(()) };
        if reported || !plan.leaves_together {
            return Ok(());
        }
        let goal = Goal::Abort { code: 1, text: "it has finalized".to_owned(), dead: true };
        self.start(board, peer, Task::Obituary, goal, vec![rank])
    }

    /// The launcher learns that a rank has failed.
    pub(super) fn failed(&mut self, group: usize, rank: u32, code: i32) -> Verdict {
        let reaction = self.host.fail(self.now, group, rank, code);
        self.react(reaction)
    }
}
