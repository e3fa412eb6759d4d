//! What a seed stands for: the network, the groups with their nodes and ranks, and the incidents of a run.

use clap::ValueEnum;

use crate::checker::Micros;
use crate::dice::Dice;
use crate::script::{self, Script, Work};
use pmi_protocol::limits::{LOG_CEILING_DEFAULT, LOG_CEILING_MIN};
use pmi_protocol::log::GroupSpec;

/// How long a node waits for its other ranks if it knows that they will come.
const PATIENCE_KNOWN_US: Micros = 250_000;

/// A kind of fault that a run may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Fault {
    /// Datagrams are lost.
    Loss,
    /// Datagrams come twice, the second time perhaps seconds later.
    Duplicate,
    /// Datagrams overtake each other.
    Reorder,
    /// Some nodes cannot reach the server for a while.
    Partition,
    /// The server crashes and is started again on the same logs.
    Crash,
    /// Another rank of the node takes over from the delegate.
    Takeover,
    /// A rank dies.
    Death,
    /// A node is never heard of again.
    Silence,
    /// A node's host crashes.
    Blackout,
    /// All processes of a node are stopped for a while.
    Suspend,
    /// A lifeline breaks although its node lives.
    Break,
    /// A rank calls `PMI_Abort`.
    Abort,
    /// Mutated, truncated, foreign and replayed datagrams come in.
    Forge,
    /// The puts exceed the log's ceiling, or a rank finalizes while others wait in a barrier.
    Misuse,
}

/// How the network behaves until `heal_at`; later it only has latency.
#[derive(Clone, Debug, Default)]
pub struct NetworkPlan {
    /// Shortest way from a node to the server.
    pub latency: Micros,
    /// Random delay on top, at most.
    pub jitter: Micros,
    /// Datagrams lost, in 1,000.
    pub loss: u32,
    /// Datagrams doubled, in 1,000.
    pub duplicate: u32,
    /// Datagrams that come up to two seconds late, in 1,000.
    pub straggle: u32,
    /// No fault acts from here on.
    pub heal_at: Micros,
}

/// The moment at which the server dies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Moment {
    /// At once, between two datagrams.
    Now,
    /// In the middle of its next changes of a log: after so many more appends.
    AfterAppends(u32),
    /// After its next change of a log, before it sends anything.
    BeforeSending,
}

/// Something that happens at a certain time.
#[derive(Clone, Debug)]
pub enum What {
    /// The server dies.
    Crash {
        /// At which moment.
        moment: Moment,
        /// Time until it is started again.
        down: Micros,
    },
    /// Another rank becomes the delegate of a node. The old one may go on without knowing.
    Takeover {
        /// Index of the node.
        node: usize,
        /// Does the old delegate go on?
        zombie: bool,
    },
    /// A rank dies; its launcher notices later, or a peer does.
    Death {
        /// Index of the group.
        group: usize,
        /// The rank.
        rank: u32,
        /// Is a peer to find it, if it has one?
        by_peer: bool,
    },
    /// A node is cut off.
    Cut {
        /// Index of the node.
        node: usize,
        /// Until when; `None`: for ever.
        until: Option<Micros>,
    },
    /// A node's host crashes, with all of its processes.
    Blackout {
        /// Index of the node.
        node: usize,
    },
    /// The processes of a node are stopped; their host answers.
    Suspend {
        /// Index of the node.
        node: usize,
        /// Until when.
        until: Micros,
    },
    /// The node's lifeline breaks for no reason.
    Break {
        /// Index of the node.
        node: usize,
    },
    /// A datagram that nobody sent comes in.
    Forge,
}

/// One node.
#[derive(Clone, Debug)]
pub struct NodePlan {
    /// Index of its group.
    pub group: usize,
    /// Its ranks.
    pub ranks: Vec<u32>,
    /// Is it on the server's host?
    pub loopback: bool,
    /// Does it tell the server that its board is private?
    pub private: bool,
    /// How long it waits for its other ranks before a delegate goes ahead.
    pub patience: Micros,
    /// Does its last rank say for all that they have finalized?
    pub leaves_together: bool,
    /// Does it know an address of the server that leads nowhere, too?
    pub dead_address: bool,
    /// Does its delegate open a barrier ahead of the server, if all ranks of the group stand in it here?
    pub opens_ahead: bool,
}

/// One process group.
#[derive(Clone, Debug)]
pub struct GroupPlan {
    /// What the server is told.
    pub spec: GroupSpec,
    /// Pairs that all see from the start.
    pub first: Vec<(String, String)>,
    /// What each rank does.
    pub scripts: Vec<Script>,
    /// May the puts exceed the ceiling, or does a rank finalize too early?
    pub misuse: bool,
}

/// Everything that follows from a seed.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The network.
    pub network: NetworkPlan,
    /// The groups.
    pub groups: Vec<GroupPlan>,
    /// The nodes of all groups.
    pub nodes: Vec<NodePlan>,
    /// Incidents in no particular order.
    pub incidents: Vec<(Micros, What)>,
}

/// How large a run is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Scale {
    /// A few nodes and ranks, a few puts.
    Small,
    /// Few ranks that put so much that logs exceed windows and pushes.
    Heavy,
    /// So many scattered ranks on a node that one datagram cannot name them.
    Wide,
}

struct Drawing<'a> {
    dice: Dice,
    faults: &'a [Fault],
    scale: Scale,
    network: NetworkPlan,
}

/// Draws the run of a seed, with none but the given faults.
pub fn draw(seed: u64, faults: &[Fault]) -> Plan {
    let mut dice = Dice::new(seed, 0);
    let scale = match dice.below(20) {
        0 => Scale::Wide,
        1 | 2 => Scale::Heavy,
        _ => Scale::Small,
    };
    let mut drawing = Drawing { dice, faults, scale, network: NetworkPlan::default() };
    drawing.network = drawing.network();
    let groups = drawing.dice.between(1, 2) as usize;
    let mut plan = Plan {
        network: drawing.network.clone(),
        groups: Vec::new(),
        nodes: Vec::new(),
        incidents: Vec::new(),
    };
    for group in 0..groups {
        let nodes = drawing.nodes(group);
        plan.groups.push(drawing.group(group, &nodes));
        plan.nodes.extend(nodes);
    }
    plan.incidents = drawing.incidents(&plan);
    plan
}

impl Drawing<'_> {
    /// Is this kind of fault allowed, and drawn in `permille` of all runs?
    fn has(&mut self, fault: Fault, permille: u32) -> bool {
        self.dice.chance(permille) && self.faults.contains(&fault)
    }

    fn rate(&mut self, fault: Fault, most: u64) -> u32 {
        let rate = self.dice.between(1, most) as u32;
        if self.has(fault, 600) { rate } else { 0 }
    }

    fn network(&mut self) -> NetworkPlan {
        let latency = self.dice.between(10, 500);
        let jitter = self.dice.between(1, 20) * latency;
        NetworkPlan {
            latency,
            jitter: if self.has(Fault::Reorder, 700) { jitter } else { 0 },
            loss: self.rate(Fault::Loss, 400),
            duplicate: self.rate(Fault::Duplicate, 300),
            straggle: self.rate(Fault::Reorder, 100),
            heal_at: self.dice.between(50_000, 8_000_000),
        }
    }

    fn nodes(&mut self, group: usize) -> Vec<NodePlan> {
        let (nodes, per_node) = match self.scale {
            Scale::Small => (self.dice.between(1, 5), 5),
            Scale::Heavy => (self.dice.between(1, 3), 3),
            Scale::Wide => (2, 150),
        };
        let nodes = if self.dice.chance(250) { 1 } else { nodes };
        let counts: Vec<u64> = match self.scale {
            Scale::Wide => vec![per_node; nodes as usize],
            _ => (0..nodes).map(|_| self.dice.between(1, per_node)).collect(),
        };
        let mut nodes: Vec<NodePlan> = counts.iter().map(|_| self.node(group)).collect();
        for (rank, node) in self.placement(&counts).into_iter().enumerate() {
            nodes[node].ranks.push(rank as u32);
        }
        if let [node] = nodes.as_mut_slice() {
            node.opens_ahead = self.dice.chance(750);
            if self.dice.chance(700) {
                node.patience = PATIENCE_KNOWN_US;
            }
            // A rank that is ahead of the server must not say that it has finalized: the server would take it for
            // missing in the barrier. The last rank to finalize has the server's word.
            node.leaves_together |= node.opens_ahead;
        }
        nodes
    }

    fn node(&mut self, group: usize) -> NodePlan {
        NodePlan {
            group,
            ranks: Vec::new(),
            loopback: self.dice.chance(300),
            private: self.dice.chance(100),
            patience: self.dice.between(0, 5_000),
            leaves_together: self.dice.chance(500),
            dead_address: self.dice.chance(200),
            opens_ahead: false,
        }
    }

    /// The node of each rank: in blocks, or in turn.
    fn placement(&mut self, counts: &[u64]) -> Vec<usize> {
        let mut left = counts.to_vec();
        let in_turn = self.scale == Scale::Wide || self.dice.chance(400);
        let mut placement = Vec::new();
        while let Some(first) = left.iter().position(|count| *count > 0) {
            if in_turn {
                let open = (0..left.len()).filter(|node| left[*node] > 0);
                placement.extend(open);
                left.iter_mut().for_each(|count| *count = count.saturating_sub(1));
            } else {
                placement.extend(std::iter::repeat_n(first, left[first] as usize));
                left[first] = 0;
            }
        }
        placement
    }

    fn group(&mut self, index: usize, nodes: &[NodePlan]) -> GroupPlan {
        let size = nodes.iter().map(|node| node.ranks.len() as u32).sum();
        let crashes = self.faults.contains(&Fault::Crash);
        let tight = self.has(Fault::Misuse, 30);
        let work = Work {
            size,
            barriers: self.dice.between(0, if self.scale == Scale::Small { 6 } else { 3 }) as u32,
            puts: match self.scale {
                Scale::Small => self.dice.between(0, 4),
                Scale::Heavy => self.dice.between(10, 60),
                Scale::Wide => self.dice.between(0, 1),
            },
            value: if self.scale == Scale::Heavy { 1024 } else { self.dice.below(300) as usize },
            // A restarted server does not remember who has finalized, so this would only stall.
            early_leaver: self.has(Fault::Misuse, 30) && !crashes,
            abort: self.has(Fault::Abort, 80),
            pause: self.dice.between(0, 2) * self.dice.between(0, 200_000),
        };
        let ceiling = if tight { LOG_CEILING_MIN } else { LOG_CEILING_DEFAULT };
        GroupPlan {
            spec: GroupSpec { name: format!("job{index}"), size, ceiling },
            first: (0..self.dice.below(3)).map(|i| (format!("first{i}"), "x".repeat(9))).collect(),
            scripts: script::draw(&mut self.dice, &work),
            misuse: tight || work.early_leaver,
        }
    }

    fn incidents(&mut self, plan: &Plan) -> Vec<(Micros, What)> {
        let mut incidents = Vec::new();
        for (fault, permille, most) in [
            (Fault::Crash, 400, 4),
            (Fault::Takeover, 500, 10),
            (Fault::Partition, 400, 3),
            (Fault::Forge, 500, 40),
            (Fault::Death, 60, 1),
            (Fault::Silence, 30, 1),
            (Fault::Blackout, 60, 1),
            (Fault::Suspend, 150, 2),
            (Fault::Break, 150, 3),
        ] {
            let count = self.dice.between(1, most);
            if self.has(fault, permille) {
                incidents.extend((0..count).map(|_| self.incident(fault, plan)));
            }
        }
        incidents
    }

    fn moment(&mut self) -> Moment {
        match self.dice.below(3) {
            0 => Moment::Now,
            1 => Moment::AfterAppends(self.dice.below(5) as u32),
            _ => Moment::BeforeSending,
        }
    }

    fn incident(&mut self, fault: Fault, plan: &Plan) -> (Micros, What) {
        let heal_at = self.network.heal_at;
        let end = if self.dice.chance(500) { heal_at.min(200_000) } else { heal_at };
        let at = self.dice.below(end);
        let node = self.dice.index(plan.nodes.len());
        let group = plan.nodes[node].group;
        let what = match fault {
            Fault::Crash => {
                What::Crash { moment: self.moment(), down: self.dice.between(1_000, 1_000_000) }
            }
            Fault::Takeover => What::Takeover { node, zombie: self.dice.chance(500) },
            Fault::Partition => What::Cut { node, until: Some(self.dice.between(at, heal_at)) },
            Fault::Silence => What::Cut { node, until: None },
            Fault::Blackout => What::Blackout { node },
            Fault::Suspend => What::Suspend { node, until: self.dice.between(at, heal_at) },
            Fault::Break => What::Break { node },
            Fault::Death => What::Death {
                group,
                rank: self.dice.below(u64::from(plan.groups[group].spec.size)) as u32,
                by_peer: self.dice.chance(500),
            },
            _ => What::Forge,
        };
        (at, what)
    }
}
