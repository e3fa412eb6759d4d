//! The ranks' processes: they run their scripts, wait, and end.

use super::{Happening, Mailbox, World};
use crate::board::Task;
use crate::checker::{Key, Verdict};
use crate::plan::Plan;
use crate::script::{Op, Script};
use pmi_protocol::exchange::Goal;
use pmi_protocol::record::{Record, RecordKind};

/// Longest time from the opening of a barrier until a rank of the node runs again.
const WAKE_US: u64 = 300;

/// What a process is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    /// It has not called `PMI_Init` yet.
    Unborn,
    /// It runs its script.
    Running,
    /// It waits in `PMI_Init` or `PMI_Barrier`.
    Waiting,
    /// It waits in `PMI_Finalize` or `PMI_Abort`.
    Leaving,
    /// It is gone, or will call PMI no more.
    Ended,
}

/// One rank's process.
#[derive(Debug)]
pub(super) struct Process {
    pub group: usize,
    pub rank: u32,
    pub board: usize,
    pub state: State,
    pub mailbox: Mailbox,
    script: std::vec::IntoIter<Op>,
    uncommitted: Vec<u8>,
}

/// All processes of a plan, group by group, in rank order.
pub(super) fn of(plan: &Plan) -> Vec<Process> {
    let mut processes = Vec::new();
    for (group, group_plan) in plan.groups.iter().enumerate() {
        for (rank, script) in group_plan.scripts.iter().enumerate() {
            processes.push(process(plan, group, rank as u32, script));
        }
    }
    processes
}

fn process(plan: &Plan, group: usize, rank: u32, script: &Script) -> Process {
    let home = plan.nodes.iter().position(|node| node.group == group && node.ranks.contains(&rank));
    Process {
        group,
        rank,
        board: home.expect("every rank has a node"),
        state: State::Unborn,
        mailbox: Mailbox::new(),
        script: script.clone().into_iter(),
        uncommitted: Vec::new(),
    }
}

impl World {
    /// The process of a rank.
    pub(super) fn process_of(&self, group: usize, rank: u32) -> usize {
        let before: u32 = self.plan.groups[..group].iter().map(|group| group.spec.size).sum();
        (before + rank) as usize
    }

    /// Runs a process until it has to wait.
    pub(super) fn step(&mut self, process: usize) -> Verdict {
        match self.processes[process].state {
            State::Unborn => return self.arrive(process),
            State::Running => {}
            _ => return Ok(()),
        }
        while let Some(op) = self.processes[process].script.next() {
            self.note(|| format!("process {process}: {}", crate::trace::op(&op)));
            match op {
                Op::Think(time) => {
                    self.queue.push(self.now + time, Happening::Step(process));
                    return Ok(());
                }
                Op::Put(key, value) => self.put(process, key, value),
                Op::Create(space) => self.record(process, RecordKind::Create, space),
                Op::Destroy(space) => {
                    let Process { group, rank, .. } = self.processes[process];
                    self.books[group].destroy(rank, space);
                    self.record(process, RecordKind::Destroy, space);
                }
                Op::Commit => self.commit(process),
                Op::Barrier => return self.arrive(process),
                Op::Abort(code) => return self.abort(process, code),
                Op::Finalize => return self.finalize(process),
            }
        }
        Ok(())
    }

    fn put(&mut self, process: usize, key: Key, value: Vec<u8>) {
        let Process { group, rank, uncommitted, .. } = &mut self.processes[process];
        let record = Record { kind: RecordKind::Put, space: key.0, key: &key.1, value: &value };
        record.append_to(uncommitted);
        self.books[*group].put(*rank, key, value);
    }

    fn record(&mut self, process: usize, kind: RecordKind, space: u64) {
        let uncommitted = &mut self.processes[process].uncommitted;
        Record { kind, space, key: b"", value: b"" }.append_to(uncommitted);
    }

    fn commit(&mut self, process: usize) {
        let Process { group, rank, board, uncommitted, .. } = &mut self.processes[process];
        let records = std::mem::take(uncommitted);
        self.boards[*board].commit(&records);
        self.books[*group].commit(*rank);
    }

    /// `PMI_Init` or `PMI_Barrier`.
    fn arrive(&mut self, process: usize) -> Verdict {
        let Process { group, rank, board, state, .. } = self.processes[process];
        let joining = state == State::Unborn;
        self.processes[process].state = State::Waiting;
        if !joining {
            self.books[group].arrive(self.now, rank);
        }
        if let Some((code, text)) = self.boards[board].over.clone() {
            return self.told(process, code, &text);
        }
        if joining && self.boards[board].epoch.is_some() {
            self.queue.push(self.now, Happening::Wake(process, 0));
            return Ok(());
        }
        self.boards[board].arrive(self.now, rank);
        self.seek_delegate(board, process)?;
        self.watch(board);
        self.report_deserter(board)
    }

    /// A process notices that it need not wait any longer.
    pub(super) fn wake(&mut self, process: usize, number: u32) -> Verdict {
        let Process { group, rank, board, state, .. } = self.processes[process];
        if state != State::Waiting {
            return Ok(());
        }
        self.summary.departures += 1;
        self.books[group].depart(self.now, rank, number, &self.boards[board].view)?;
        self.processes[process].state = State::Running;
        self.step(process)
    }

    /// Wakes processes some time after their barrier has opened.
    pub(super) fn wake_soon(&mut self, process: usize, number: u32) {
        let at = self.now + self.dice.below(WAKE_US);
        self.queue.push(at, Happening::Wake(process, number));
    }

    /// A process is told that its job is over.
    pub(super) fn told(&mut self, process: usize, code: i32, text: &str) -> Verdict {
        let Process { group, rank, .. } = self.processes[process];
        self.note(|| format!("process {process} gets error {code}: {text}"));
        self.summary.faults += 1;
        self.processes[process].state = State::Ended;
        self.books[group].fault(self.now, rank, code, text)
    }

    fn abort(&mut self, process: usize, code: i32) -> Verdict {
        let Process { group, rank, board, .. } = self.processes[process];
        self.books[group].abort(self.now, rank, code);
        let goal = Goal::Abort { code, text: "no use".to_owned(), dead: false };
        self.processes[process].state = State::Leaving;
        self.start(board, process, Task::Abort, goal, vec![rank])
    }

    fn finalize(&mut self, process: usize) -> Verdict {
        let Process { group, rank, board, .. } = self.processes[process];
        self.books[group].finalized(self.now, rank);
        self.boards[board].left.insert(rank);
        let ended =
            |peer: &u32| self.processes[self.process_of(group, *peer)].state == State::Ended;
        let last = self.boards[board].plan.ranks.iter().all(|peer| *peer == rank || ended(peer));
        let together = self.boards[board].plan.leaves_together;
        if together && !last {
            self.processes[process].state = State::Ended;
            return self.report_deserter(board);
        }
        let all = self.boards[board].left.iter().copied();
        let ranks = if together { all.collect() } else { vec![rank] };
        self.processes[process].state = State::Leaving;
        self.start(board, process, Task::Leave, Goal::Leave, ranks)
    }
}
