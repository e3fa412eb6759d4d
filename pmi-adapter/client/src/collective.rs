//! Barriers, whole and split, and the exchanges that are made of them.
//!
//! A rank has at most one split barrier under way. Whatever enters another barrier completes it first, so that all ranks
//! pass the same barriers in the same order.

use std::collections::BTreeMap;
use std::sync::Mutex;

use crate::backend::{Backend, Place};
use crate::error::{Code, Failure};
use crate::process::{Member, lock};

/// Number of a split barrier of this process: 1 for the first. 0 stands for none.
pub type Request = i32;

/// What a split barrier does when it has opened.
pub type Completion = Box<dyn FnOnce(&dyn Backend) -> Result<(), Failure> + Send>;

/// Takes in the value of a rank.
pub type Gather = Box<dyn FnMut(u32, &[u8]) -> Result<(), Failure> + Send>;

/// The barriers of this process. The lock is held while it stands in one.
#[derive(Default)]
pub(crate) struct Barriers(Mutex<State>);

#[derive(Default)]
struct State {
    /// The last request that was handed out.
    last: Request,
    /// What the last request still has to do.
    under_way: Option<Completion>,
    /// Requests that have failed, and why.
    failed: BTreeMap<Request, Failure>,
    /// Exchanges so far: makes the keys of each differ from those of the others.
    exchanges: u64,
}

impl State {
    /// Completes the split barrier that is under way. The error is that of the barrier: what comes after it concerns
    /// only whoever waits for the request.
    fn complete(&mut self, backend: &dyn Backend) -> Result<(), Failure> {
        let Some(completion) = self.under_way.take() else { return Ok(()) };
        let passed = backend.finish_barrier().map_err(Failure::from);
        if let Err(failure) = passed.clone().and_then(|()| completion(backend)) {
            self.failed.insert(self.last, failure);
        }
        passed
    }

    fn begin(&mut self, backend: &dyn Backend, completion: Completion) -> Result<Request, Failure> {
        let request = self.last.checked_add(1).ok_or(Code::Fail)?;
        backend.begin_barrier()?;
        (self.last, self.under_way) = (request, Some(completion));
        Ok(request)
    }

    fn outcome(&self, request: Request) -> Result<(), Failure> {
        self.failed.get(&request).map_or(Ok(()), |failure| Err(failure.clone()))
    }

    /// Has the request been handed out, and is it still under way?
    fn is_under_way(&self, request: Request) -> Result<bool, Failure> {
        match (0..=self.last).contains(&request) {
            true => Ok(request == self.last && self.under_way.is_some()),
            false => Err(Code::InvalidArg.into()),
        }
    }
}

impl Barriers {
    /// Completes the split barrier that is under way, if there is one.
    pub fn complete(&self, backend: &dyn Backend) -> Result<(), Failure> {
        lock(&self.0).complete(backend)
    }
}

impl Member {
    /// Waits for every rank of the group.
    pub fn barrier(&self) -> Result<(), Failure> {
        let mut state = lock(&self.barriers.0);
        state.complete(self.backend())?;
        Ok(self.backend().barrier()?)
    }

    /// Enters a barrier and returns. Completes the one under way first, for which it waits.
    pub fn begin_barrier(&self) -> Result<Request, Failure> {
        let mut state = lock(&self.barriers.0);
        state.complete(self.backend())?;
        state.begin(self.backend(), Box::new(|_| Ok(())))
    }

    /// Puts a value, commits, and enters a barrier. When that has opened, `gather` gets the values of all ranks, in order.
    pub fn begin_allgather(&self, value: &[u8], mut gather: Gather) -> Result<Request, Failure> {
        let mut state = lock(&self.barriers.0);
        state.complete(self.backend())?;
        let exchange = state.put(self, "Iallgather", value)?;
        let completion = move |backend: &dyn Backend| {
            (0..backend.place().size).try_for_each(|rank| exchange.get(backend, rank, &mut gather))
        };
        state.begin(self.backend(), Box::new(completion))
    }

    /// Waits until a request is complete, and says how it ended. Request 0, and one that is complete already, is not
    /// waited for.
    pub fn wait(&self, request: Request) -> Result<(), Failure> {
        let mut state = lock(&self.barriers.0);
        if state.is_under_way(request)? {
            // If it fails, the outcome says so too.
            let _ = state.complete(self.backend());
        }
        state.outcome(request)
    }

    /// Is a request complete? If it is, how did it end?
    pub fn test(&self, request: Request) -> Result<bool, Failure> {
        let mut state = lock(&self.barriers.0);
        if state.is_under_way(request)? {
            if !self.backend().test_barrier()? {
                return Ok(false);
            }
            let _ = state.complete(self.backend());
        }
        state.outcome(request).map(|()| true)
    }

    /// Gives a value to the neighbours in the ring of all ranks, and gets theirs: that of rank - 1, then that of rank + 1.
    pub fn ring(
        &self,
        value: &[u8],
        mut read: impl FnMut(Side, &[u8]) -> Result<(), Failure>,
    ) -> Result<(), Failure> {
        let mut state = lock(&self.barriers.0);
        state.complete(self.backend())?;
        let exchange = state.put(self, "Ring", value)?;
        self.backend().barrier()?;
        let Place { rank, size, .. } = self.place();
        for (side, distance) in [(Side::Left, size - 1), (Side::Right, 1)] {
            let neighbour = (u64::from(rank) + u64::from(distance)) % u64::from(size);
            exchange.get(self.backend(), neighbour as u32, |_, value| read(side, value))?;
        }
        Ok(())
    }
}

/// A neighbour in the ring.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// The one of rank - 1.
    Left,
    /// The one of rank + 1.
    Right,
}

/// One value per rank, in the group's own space.
struct Exchange {
    prefix: String,
}

impl State {
    /// Puts and commits this rank's value of a new exchange. All ranks make the same exchanges in the same order. Keys are
    /// never used again: some servers refuse to put one twice.
    fn put(&mut self, member: &Member, kind: &str, value: &[u8]) -> Result<Exchange, Failure> {
        let backend = member.backend();
        let exchange = Exchange { prefix: format!("PMIX_{kind}-{}", self.exchanges) };
        let kvsname = backend.kvsname().as_bytes();
        backend.put(kvsname, exchange.key(member.place().rank).as_bytes(), value)?;
        backend.commit(kvsname)?;
        self.exchanges += 1;
        Ok(exchange)
    }
}

impl Exchange {
    fn key(&self, rank: u32) -> String {
        format!("{}-{rank}", self.prefix)
    }

    fn get(
        &self,
        backend: &dyn Backend,
        rank: u32,
        mut take: impl FnMut(u32, &[u8]) -> Result<(), Failure>,
    ) -> Result<(), Failure> {
        let (key, mut taken) = (self.key(rank), Ok(()));
        let mut read = |value: &[u8]| taken = take(rank, value);
        backend.get(backend.kvsname().as_bytes(), key.as_bytes(), &mut read).map_err(|_| {
            Failure::because(format!(
                "rank {rank} has put no value: all ranks must make the same PMIX_ calls in the same order"
            ))
        })?;
        taken
    }
}
