//! What a barrier costs the server: datagrams, bytes and virtual time, without faults, for any number of
//! nodes and ranks.
//!
//! The state machines are the real ones and every datagram is sealed and opened. The server is one queue: a
//! datagram in or out takes it a fixed time and the time of its bytes on the link. Where all nodes together
//! would pull more than a budget, only the first pulls, and the others are counted like it.

mod phase;

use std::fmt;

use clap::{Args, ValueEnum};

use crate::checker::Micros;
use phase::Cluster;
use pmi_protocol::limits::{LOG_CEILING_MAX, SIZE_MAX, VALUE_MAX};

/// How ranks are spread over nodes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Placement {
    /// Consecutive ranks share a node: one range a node.
    #[default]
    Block,
    /// Consecutive ranks are on different nodes: one range a rank.
    Cyclic,
}

/// What to measure.
#[derive(Clone, Debug, Args)]
pub struct Load {
    /// Number of nodes.
    #[arg(long)]
    pub nodes: u32,
    /// Ranks on each node.
    #[arg(long)]
    pub ranks_per_node: u32,
    /// Length of the value that each rank puts before each barrier; without this nobody puts anything.
    #[arg(long)]
    pub value_bytes: Option<usize>,
    /// Number of barriers.
    #[arg(long, default_value_t = 2)]
    pub barriers: u32,
    /// One way between a node and the server, in microseconds.
    #[arg(long, default_value_t = 25)]
    pub latency_us: Micros,
    /// Time in which all nodes arrive at a barrier, evenly, in microseconds.
    #[arg(long, default_value_t = 100)]
    pub spread_us: Micros,
    /// Time that the server takes for a datagram in or out, in nanoseconds.
    #[arg(long, default_value_t = 1500)]
    pub datagram_ns: u64,
    /// Bandwidth of the server's link, in Gbit/s.
    #[arg(long, default_value_t = 25)]
    pub gbit: u64,
    /// How ranks are spread over nodes.
    #[arg(long, value_enum, default_value_t)]
    pub placement: Placement,
    /// Most bytes that are really pulled at one barrier, in MiB; beyond it one node stands for all.
    #[arg(long, default_value_t = 1024)]
    pub pull_mib: u64,
}

impl Load {
    /// Number of ranks.
    pub fn size(&self) -> u32 {
        self.nodes * self.ranks_per_node
    }

    fn check(&self) -> Result<(), String> {
        let size = u64::from(self.nodes) * u64::from(self.ranks_per_node);
        if !(1..=u64::from(SIZE_MAX)).contains(&size) {
            return Err(format!("{size} ranks are not in 1 to {SIZE_MAX}; change --nodes"));
        }
        if self.value_bytes.is_some_and(|bytes| bytes > VALUE_MAX) {
            return Err(format!("a value has at most {VALUE_MAX} bytes; change --value-bytes"));
        }
        if self.gbit == 0 {
            return Err("a link of 0 Gbit/s carries nothing; change --gbit".to_owned());
        }
        let barrier = size * self.record_len() + u64::from(self.nodes) * 32 + 16;
        if barrier * u64::from(self.barriers) > LOG_CEILING_MAX / 2 {
            let text = "these puts do not fit into a log; lower --value-bytes or --barriers";
            return Err(text.to_owned());
        }
        Ok(())
    }

    /// Bytes that a rank adds to its node's up-log before a barrier.
    pub(crate) fn record_len(&self) -> u64 {
        self.value_bytes.map_or(0, |bytes| phase::RECORD_OVERHEAD + bytes as u64)
    }
}

/// How a node got the bytes of an epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Delivery {
    /// With the release.
    Pushed,
    /// Each node pulled them.
    Pulled,
    /// The first node pulled them; the others are counted like it.
    Estimated,
}

/// What one barrier cost, or the start (barrier 0).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Row {
    /// Number of the barrier; 0 is joining.
    pub barrier: u32,
    /// Datagrams that came in at the server.
    pub datagrams_in: u64,
    /// Their bytes, less IP and UDP headers.
    pub bytes_in: u64,
    /// Datagrams that the server sent.
    pub datagrams_out: u64,
    /// Their bytes, less IP and UDP headers.
    pub bytes_out: u64,
    /// Datagrams that came in and said nothing new, because a node asked again.
    pub repeated: u64,
    /// Bytes that the epoch added to the log.
    pub log_bytes: u64,
    /// From the first node's arrival until the last node has all bytes.
    pub micros: Micros,
    /// How the bytes came to the nodes.
    pub delivery: Delivery,
}

/// A whole measurement.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// Nodes and ranks.
    pub nodes: u32,
    /// Number of ranks.
    pub size: u32,
    /// One row a barrier.
    pub rows: Vec<Row>,
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{} nodes, {} ranks; at the server:\n", self.nodes, self.size)?;
        writeln!(
            f,
            "| barrier | datagrams in | bytes in | datagrams out | bytes out | repeated | log bytes | ms | bytes are |"
        )?;
        writeln!(f, "|---|---|---|---|---|---|---|---|---|")?;
        self.rows.iter().try_for_each(|row| writeln!(f, "{row}"))
    }
}

impl fmt::Display for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let barrier = if self.barrier == 0 { "join".to_owned() } else { self.barrier.to_string() };
        let delivery = match self.delivery {
            Delivery::Pushed => "pushed",
            Delivery::Pulled => "pulled",
            Delivery::Estimated => "pulled (estimated from one node)",
        };
        write!(
            f,
            "| {barrier} | {} | {} | {} | {} | {} | {} | {}.{:03} | {delivery} |",
            self.datagrams_in,
            self.bytes_in,
            self.datagrams_out,
            self.bytes_out,
            self.repeated,
            self.log_bytes,
            self.micros / 1000,
            self.micros % 1000
        )
    }
}

/// Measures joining and each barrier of a load. Fails if the load is beyond the limits of the protocol.
pub fn measure(load: &Load) -> Result<Report, String> {
    load.check()?;
    let mut cluster = Cluster::new(load)?;
    let rows: Result<Vec<Row>, String> =
        (0..=load.barriers).map(|barrier| cluster.pass(barrier)).collect();
    Ok(Report { nodes: load.nodes, size: load.size(), rows: rows? })
}
