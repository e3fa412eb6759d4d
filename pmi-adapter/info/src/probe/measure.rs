//! The calls of a rank, with their times.

use std::time::{Duration, Instant};

use pmi_client::backend::{Backend, Place};
use pmi_client::error::{BackendError, Failure};
use pmi_client::process::{self, Member};

use super::summary::Summary;
use super::times::{Phase, Times};
use super::{Kind, Request};
use crate::outlook;
use crate::report::host;

/// Runs the probe as this rank. Rank 0 returns what is to be printed.
pub fn run(request: &Request) -> Result<Option<Summary>, Failure> {
    // Before joining: what is at PMI_FD does not stay there.
    let outlook = outlook::read();
    if let Some(reason) = outlook.failure {
        return Err(Failure::because(reason));
    }
    let start = Instant::now();
    process::init(request.api)?;
    let mut times = Times::new(host());
    times.add(Phase::Init, 1, start.elapsed());
    let member = process::member().ok_or_else(|| Failure::because("not a member of the job"))?;
    check_size(request, &member)?;
    let mut rank = Rank { member: &member, request, times };
    rank.measure()?;
    let gathered = rank.gather()?;
    let kvsname = member.backend().kvsname().to_owned();
    let size = member.place().size;
    let own = finalize()?;
    let backend = outlook.backend.text.unwrap_or_default();
    Ok(gathered.map(|all| Summary::new(request, &kvsname, size, &backend, &all, own)))
}

/// All ranks come to the same conclusion, before anybody waits for another.
fn check_size(request: &Request, member: &Member) -> Result<(), Failure> {
    let max = member.backend().limits().value;
    match request.size <= max {
        true => Ok(()),
        false => Err(Failure::because(format!(
            "--size {} is more than this PMI server carries: at most {max} bytes",
            request.size
        ))),
    }
}

/// Only rank 0's own can be told: who has left the job cannot tell its peers.
fn finalize() -> Result<Duration, Failure> {
    let start = Instant::now();
    process::finalize()?;
    Ok(start.elapsed())
}

struct Rank<'a> {
    member: &'a Member,
    request: &'a Request,
    times: Times,
}

impl Rank<'_> {
    fn place(&self) -> Place {
        self.member.place()
    }

    fn backend(&self) -> &dyn Backend {
        self.member.backend()
    }

    fn space(&self) -> Vec<u8> {
        self.backend().kvsname().as_bytes().to_vec()
    }

    /// The first barrier waits for the last to start: it is counted apart.
    fn measure(&mut self) -> Result<(), Failure> {
        self.timed(Phase::FirstBarrier, 1, |rank| rank.barriers(1))?;
        let count = self.request.count;
        match self.request.kind {
            Kind::Barrier => self.timed(Phase::Barrier, count, |rank| rank.barriers(count)),
            Kind::Exchange => self.exchange(count),
            Kind::Get => self.gets(count),
        }
    }

    fn timed(
        &mut self,
        phase: Phase,
        calls: u32,
        body: impl FnOnce(&Self) -> Result<(), Failure>,
    ) -> Result<(), Failure> {
        let start = Instant::now();
        let outcome = body(self);
        self.times.add(phase, u64::from(calls), start.elapsed());
        outcome
    }

    fn barriers(&self, count: u32) -> Result<(), Failure> {
        (0..count).try_for_each(|_| Ok(self.backend().barrier()?))
    }

    fn publish(&mut self, pairs: u32) -> Result<(), Failure> {
        self.timed(Phase::Put, pairs, |rank| rank.put(pairs))?;
        self.timed(Phase::Commit, 1, |rank| Ok(rank.backend().commit(&rank.space())?))?;
        self.timed(Phase::Barrier, 1, |rank| rank.barriers(1))
    }

    fn put(&self, pairs: u32) -> Result<(), Failure> {
        let (space, own) = (self.space(), self.place().rank);
        (0..pairs).try_for_each(|pair| {
            let value = value(own, pair, self.request.size);
            Ok(self.backend().put(&space, key(own, pair).as_bytes(), value.as_bytes())?)
        })
    }

    fn exchange(&mut self, pairs: u32) -> Result<(), Failure> {
        self.publish(pairs)?;
        let size = self.place().size;
        let calls = u64::from(size) * u64::from(pairs);
        let start = Instant::now();
        let outcome =
            (0..size).try_for_each(|peer| (0..pairs).try_for_each(|pair| self.get(peer, pair)));
        self.times.add(Phase::Get, calls, start.elapsed());
        outcome
    }

    /// Each rank begins with its own pair, so that not all ask for the same.
    fn gets(&mut self, count: u32) -> Result<(), Failure> {
        self.publish(1)?;
        let Place { rank: own, size, .. } = self.place();
        let peer = |call: u32| ((u64::from(own) + u64::from(call)) % u64::from(size)) as u32;
        self.timed(Phase::Get, count, |rank| {
            (0..count).try_for_each(|call| rank.get(peer(call), 0))
        })
    }

    fn get(&self, peer: u32, pair: u32) -> Result<(), Failure> {
        let expected = value(peer, pair, self.request.size);
        let mut right = false;
        let mut compare = |found: &[u8]| right = found == expected.as_bytes();
        let key = key(peer, pair);
        match self.backend().get(&self.space(), key.as_bytes(), &mut compare) {
            Ok(()) if right => Ok(()),
            Ok(()) => {
                Err(Failure::because(format!("{key} has another value than rank {peer} has put")))
            }
            Err(BackendError::NoSuchKey) => Err(Failure::because(format!(
                "{key}, which rank {peer} has put, is not there after the barrier"
            ))),
            Err(other) => Err(other.into()),
        }
    }

    /// Every rank puts its times; rank 0 gets them.
    fn gather(&self) -> Result<Option<Vec<Times>>, Failure> {
        let (space, Place { rank, size, .. }) = (self.space(), self.place());
        let text = self.times.encode();
        self.backend().put(&space, times_key(rank).as_bytes(), text.as_bytes())?;
        self.backend().commit(&space)?;
        self.backend().barrier()?;
        match rank {
            0 => (0..size)
                .map(|peer| self.times_of(&space, peer))
                .collect::<Result<_, _>>()
                .map(Some),
            _ => Ok(None),
        }
    }

    fn times_of(&self, space: &[u8], peer: u32) -> Result<Times, Failure> {
        let mut times = None;
        let mut read = |value: &[u8]| times = Times::decode(&String::from_utf8_lossy(value));
        self.backend().get(space, times_key(peer).as_bytes(), &mut read)?;
        times.ok_or_else(|| Failure::because(format!("the times of rank {peer} cannot be read")))
    }
}

fn key(rank: u32, pair: u32) -> String {
    format!("pmi-info-{rank}-{pair}")
}

fn times_key(rank: u32) -> String {
    format!("pmi-info-times-{rank}")
}

/// Differs from rank to rank and pair to pair, and has nothing in it that any PMI server alters: digits and points.
fn value(rank: u32, pair: u32, size: usize) -> String {
    format!("{rank}.{pair}.").chars().cycle().take(size).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_have_their_size_and_differ() {
        assert_eq!(value(12, 3, 8), "12.3.12.");
        assert_eq!(value(1, 0, 1024).len(), 1024);
        assert_ne!(value(1, 23, 9), value(12, 3, 9));
    }
}
