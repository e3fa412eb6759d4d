//! How long a rank's phases took, and their way to rank 0 as a value.

use std::time::Duration;

use serde::Serialize;

/// The most bytes of a host name that go into the value.
const HOST_MAX: usize = 64;

/// A part of the probe, in the order in which they come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// `PMI_Init`
    Init,
    /// The first barrier, which waits for whoever is started last.
    FirstBarrier,
    /// `PMI_KVS_Put`
    Put,
    /// `PMI_KVS_Commit`
    Commit,
    /// `PMI_Barrier`
    Barrier,
    /// `PMI_KVS_Get`
    Get,
    /// `PMI_Finalize`
    Finalize,
}

impl Phase {
    /// All, in their order.
    pub const ALL: [Phase; 7] = [
        Phase::Init,
        Phase::FirstBarrier,
        Phase::Put,
        Phase::Commit,
        Phase::Barrier,
        Phase::Get,
        Phase::Finalize,
    ];

    /// What a person calls it.
    pub fn name(self) -> &'static str {
        match self {
            Phase::Init => "init",
            Phase::FirstBarrier => "first barrier",
            Phase::Put => "put",
            Phase::Commit => "commit",
            Phase::Barrier => "barrier",
            Phase::Get => "get",
            Phase::Finalize => "finalize",
        }
    }

    /// Does a rank wait for the others in it?
    pub fn is_barrier(self) -> bool {
        matches!(self, Phase::Barrier | Phase::FirstBarrier)
    }
}

/// The calls of one phase.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Spent {
    /// Which phase.
    pub phase: Phase,
    /// Number of calls.
    pub calls: u64,
    /// Of all calls together.
    pub time: Duration,
}

/// The times of one rank.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Times {
    /// Name of its host.
    pub host: String,
    /// In the order of phases.
    pub spent: Vec<Spent>,
}

impl Times {
    /// Nothing yet. Of the host's name only what every PMI server carries is kept.
    pub fn new(host: String) -> Times {
        let carried =
            |character: &char| character.is_ascii_alphanumeric() || ".-_".contains(*character);
        Times { host: host.chars().filter(carried).take(HOST_MAX).collect(), spent: Vec::new() }
    }

    /// Adds a phase.
    pub fn add(&mut self, phase: Phase, calls: u64, time: Duration) {
        self.spent.push(Spent { phase, calls, time });
    }

    /// The phase, if this rank has been through it.
    pub fn of(&self, phase: Phase) -> Option<Spent> {
        self.spent.iter().copied().find(|spent| spent.phase == phase)
    }

    /// As `host,phase:calls:nanoseconds,…`.
    pub fn encode(&self) -> String {
        let spent = self.spent.iter().map(|spent| {
            format!(",{}:{}:{}", spent.phase as usize, spent.calls, spent.time.as_nanos())
        });
        format!("{}{}", self.host, spent.collect::<String>())
    }

    /// `None` if it was not written by [`Times::encode`].
    pub fn decode(text: &str) -> Option<Times> {
        let (host, rest) = text.split_once(',')?;
        let spent = rest.split(',').map(decode_spent).collect::<Option<_>>()?;
        Some(Times { host: host.to_owned(), spent })
    }
}

fn decode_spent(text: &str) -> Option<Spent> {
    let mut numbers = text.split(':').map(|number| number.parse::<u64>().ok());
    let phase = *Phase::ALL.get(numbers.next()?? as usize)?;
    let (calls, nanoseconds) = (numbers.next()??, numbers.next()??);
    Some(Spent { phase, calls, time: Duration::from_nanos(nanoseconds) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_arrive_as_they_were() {
        let mut times = Times::new("node 1\n.example-a".into());
        assert_eq!(times.host, "node1.example-a");
        for phase in Phase::ALL {
            times.add(phase, 1_000_000, Duration::from_nanos(1 + phase as u64));
        }
        let text = times.encode();
        assert!(!text.contains(' ') && text.len() < 512, "{text}");
        assert_eq!(Times::decode(&text), Some(times));
    }

    #[test]
    fn anything_else_is_none() {
        for text in ["", "host", "host,", "host,9:1:1", "host,1:1", "host,1:x:1", "host,-1:1:1"] {
            assert_eq!(Times::decode(text), None, "{text}");
        }
    }
}
