//! A rank that has entered a split barrier may commit before it opens: nothing of that is lost, whoever leads.

use std::collections::VecDeque;

use pmi_protocol::datagram::Outbox;
use pmi_protocol::exchange::{Goal, Identity, Outcome};
use pmi_protocol::key::{Keys, Secret, group_number};
use pmi_protocol::limits::LOG_CEILING_DEFAULT;
use pmi_protocol::log::GroupSpec;
use pmi_protocol::record::{Record, RecordKind};
use pmi_sim::board::{Board, Task};
use pmi_sim::host::Host;
use pmi_sim::plan::{GroupPlan, NodePlan};
use pmi_sim::wire::{Address, Letter, Place};

const SERVER: Address = Address { place: Place::Server, loopback: true };

/// Two nodes of one rank each, and their server. Rank, node and process have the same number. Time stands still.
struct Job {
    host: Host,
    boards: Vec<Board>,
}

impl Job {
    fn new() -> Job {
        let secret = Secret::new([1; 32]);
        let keys = Keys::derive(&secret);
        let spec = GroupSpec { name: "job".into(), size: 2, ceiling: LOG_CEILING_DEFAULT };
        let board = |rank: u32| {
            let node = NodePlan {
                group: 0,
                ranks: vec![rank],
                loopback: true,
                private: false,
                patience: 0,
                leaves_together: true,
                dead_address: false,
                opens_ahead: false,
            };
            let identity = Identity {
                keys: keys.clone(),
                group: group_number("job"),
                node: u64::from(rank) + 1,
                size: 2,
                host: format!("host{rank}"),
                private: false,
            };
            Board::new(node, identity)
        };
        let boards = (0..2).map(board).collect();
        let group = GroupPlan { spec, first: Vec::new(), scripts: Vec::new(), misuse: false };
        let mut host = Host::new(secret, &[group]);
        host.start(0).unwrap();
        let mut job = Job { host, boards };
        (0..2).for_each(|rank| job.enter(rank, Goal::Join));
        (0..2).for_each(|rank| job.deliver(rank));
        job
    }

    fn commit(&mut self, rank: usize, key: &str) {
        let mut bytes = Vec::new();
        let record =
            Record { kind: RecordKind::Put, space: 0, key: key.as_bytes(), value: b"value" };
        record.append_to(&mut bytes);
        self.boards[rank].commit(&bytes);
    }

    fn enter(&mut self, rank: usize, goal: Goal) {
        self.boards[rank].arrive(0, rank as u32);
        self.lead(rank, goal);
    }

    fn lead(&mut self, rank: usize, goal: Goal) {
        self.boards[rank].start(0, rank, Task::Delegate, goal, [rank as u32], 7);
    }

    /// What the node's exchange sends.
    fn outgoing(&mut self, rank: usize) -> VecDeque<Letter> {
        let mut letters = VecDeque::new();
        self.boards[rank].transmit(0, |process, out| {
            let from = Address { place: Place::Process(process), loopback: true };
            letters.extend(letters_of(from, out));
        });
        letters
    }

    /// Lets the node's exchange send, and all answers reach their nodes.
    fn deliver(&mut self, rank: usize) {
        let mut letters = self.outgoing(rank);
        while let Some(letter) = letters.pop_front() {
            match letter.to.place {
                Place::Process(process) => {
                    self.boards[process].receive(0, process, letter.from, &letter.bytes).unwrap();
                    self.open(process);
                    letters.extend(self.outgoing(process));
                }
                _ => letters.extend(letters_of(SERVER, &self.host.receive(0, letter).unwrap().out)),
            }
        }
    }

    fn open(&mut self, node: usize) {
        if let Some((_, Outcome::Opened { mark })) = self.boards[node].take_ended() {
            self.boards[node].open(mark).unwrap();
        }
    }

    fn barrier(&mut self) {
        (0..2).for_each(|rank| self.enter(rank, Goal::Barrier));
        (0..2).for_each(|rank| self.deliver(rank));
    }
}

fn letters_of(from: Address, out: &Outbox<Address>) -> Vec<Letter> {
    let letter =
        |(to, bytes): (Address, &[u8])| Letter { from, to, bytes: bytes.into(), forged: false };
    out.iter().map(letter).collect()
}

#[test]
fn what_a_later_delegate_would_have_sent_too_comes_with_the_next_barrier() {
    let mut job = Job::new();
    job.commit(0, "early");
    job.enter(0, Goal::Barrier);
    job.deliver(0);
    // The delegate goes; another one repeats the epoch after a further commit, and its datagram is lost.
    job.boards[0].runners.clear();
    job.commit(0, "late");
    job.lead(0, Goal::Barrier);
    job.outgoing(0);
    // The server opens the epoch on the word of the first.
    job.enter(1, Goal::Barrier);
    job.deliver(1);
    let has = |job: &Job, rank: usize, key: &str| {
        job.boards[rank].view.contains_key(&(0, key.as_bytes().to_vec()))
    };
    for rank in 0..2 {
        assert_eq!(job.boards[rank].epoch, Some(1));
        assert!(has(&job, rank, "early") && !has(&job, rank, "late"));
    }
    job.barrier();
    for rank in 0..2 {
        assert_eq!(job.boards[rank].epoch, Some(2), "rank {rank}");
        assert!(has(&job, rank, "late"), "rank {rank}");
    }
}
