//! The contract of PMI, and nothing else: what a rank may see, when it may leave a barrier, and that nobody
//! waits for ever. This module knows no logs, datagrams, nodes or servers; it is told what ranks do and what
//! they see, and says when that breaks a promise.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

/// Virtual time in microseconds.
pub type Micros = u64;

/// A key with the number of its space.
pub type Key = (u64, Vec<u8>);

/// All pairs that a rank can get.
pub type View = BTreeMap<Key, Vec<u8>>;

/// Longest time from the last arrival, or from the end of all faults, until every rank has left a barrier or
/// knows that the job is over.
pub const BOUND_US: Micros = 10_000_000;

/// A broken promise, with what broke it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation(pub String);

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What a check says.
pub type Verdict = Result<(), Violation>;

fn broken(text: String) -> Verdict {
    Err(Violation(text))
}

/// What a rank does to the key-value spaces.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Change {
    Put(Key, Vec<u8>),
    Destroy(u64),
}

#[derive(Clone, Debug, Default)]
struct Rank {
    uncommitted: Vec<Change>,
    committed: Vec<Change>,
    arrived: u32,
    departed: u32,
    called_at: Micros,
    cut_off: bool,
    finalized: bool,
    dead: bool,
}

/// What the ranks put before one barrier, and what they saw after it.
#[derive(Clone, Debug, Default)]
struct Barrier {
    arrivals: u32,
    last_arrival: Micros,
    /// The last value that each rank put under a key: one of them is seen.
    candidates: BTreeMap<Key, Vec<Vec<u8>>>,
    destroyed: BTreeSet<u64>,
    seen: Option<View>,
}

/// Something that ends a job, so that ranks may and must see an error from then on.
#[derive(Clone, Debug)]
struct Cause {
    code: Option<i32>,
    at: Micros,
    /// The rank that says so, if it takes a rank to say so.
    by: Option<u32>,
    certain: bool,
}

/// The book of one process group.
#[derive(Clone, Debug)]
pub struct Book {
    name: String,
    ranks: Vec<Rank>,
    barriers: Vec<Barrier>,
    causes: Vec<Cause>,
    healed_at: Micros,
}

impl Book {
    /// A group of `size` ranks that sees `first` from the start. No fault acts after `healed_at`.
    pub fn new(name: &str, size: u32, first: View, healed_at: Micros) -> Self {
        let start = Barrier { arrivals: size, seen: Some(first), ..Barrier::default() };
        Book {
            name: name.to_owned(),
            ranks: vec![Rank::default(); size as usize],
            barriers: vec![start],
            causes: Vec::new(),
            healed_at,
        }
    }

    /// A rank puts a pair.
    pub fn put(&mut self, rank: u32, key: Key, value: Vec<u8>) {
        self.ranks[rank as usize].uncommitted.push(Change::Put(key, value));
    }

    /// A rank destroys a space.
    pub fn destroy(&mut self, rank: u32, space: u64) {
        self.ranks[rank as usize].uncommitted.push(Change::Destroy(space));
    }

    /// A rank commits.
    pub fn commit(&mut self, rank: u32) {
        let rank = &mut self.ranks[rank as usize];
        rank.committed.append(&mut rank.uncommitted);
    }

    /// A rank calls the barrier.
    pub fn arrive(&mut self, now: Micros, rank: u32) {
        let entry = &mut self.ranks[rank as usize];
        entry.arrived += 1;
        entry.called_at = now;
        let number = entry.arrived as usize;
        let committed = std::mem::take(&mut entry.committed);
        if self.barriers.len() <= number {
            self.barriers.resize_with(number + 1, Barrier::default);
        }
        self.barriers[number].note(now, committed);
    }

    /// A rank has joined, or has left the barrier it was in, and sees `view`.
    pub fn depart(&mut self, now: Micros, rank: u32, number: u32, view: &View) -> Verdict {
        let size = self.ranks.len() as u32;
        let name = &self.name;
        let entry = &mut self.ranks[rank as usize];
        if number != entry.arrived {
            return broken(format!(
                "{name}: rank {rank} left barrier {number} without being in it"
            ));
        }
        entry.departed = number;
        let barrier = &self.barriers[number as usize];
        if barrier.arrivals < size {
            let arrived = barrier.arrivals;
            return broken(format!(
                "{name}: rank {rank} left barrier {number} when {arrived} of {size} ranks had arrived"
            ));
        }
        self.check_time(now, rank, number)?;
        self.check_view(rank, number, view)
    }

    fn check_time(&self, now: Micros, rank: u32, number: u32) -> Verdict {
        let since = self.barriers[number as usize].last_arrival.max(self.healed_at);
        if number > 0 && now > since + BOUND_US {
            return broken(format!(
                "{}: rank {rank} left barrier {number} only {} us after everything was ready",
                self.name,
                now - since
            ));
        }
        Ok(())
    }

    fn check_view(&mut self, rank: u32, number: u32, view: &View) -> Verdict {
        let at = format!("{}: rank {rank} after barrier {number}", self.name);
        let (before, rest) = self.barriers.split_at_mut(number as usize);
        let barrier = &mut rest[0];
        if let Some(seen) = &barrier.seen {
            return same(seen, view, &at);
        }
        let nothing = View::new();
        let before = before.last().and_then(|barrier| barrier.seen.as_ref()).unwrap_or(&nothing);
        barrier.check_seen(before, view, &at)?;
        barrier.seen = Some(view.clone());
        Ok(())
    }

    /// Something happened that ends the job with `code` (`None`: with any). If it is not `certain` the job
    /// may as well go on.
    pub fn cause(&mut self, now: Micros, code: Option<i32>, certain: bool) {
        self.causes.push(Cause { code, at: now, by: None, certain });
    }

    /// A rank calls `PMI_Abort`.
    pub fn abort(&mut self, now: Micros, rank: u32, code: i32) {
        self.causes.push(Cause { code: Some(code), at: now, by: Some(rank), certain: true });
    }

    /// Does the cause hold even if its rank cannot be heard?
    fn holds(&self, cause: &&Cause) -> bool {
        cause.certain && cause.by.is_none_or(|rank| !self.ranks[rank as usize].cut_off)
    }

    /// A rank was told that the job is over.
    pub fn fault(&mut self, now: Micros, rank: u32, code: i32, text: &str) -> Verdict {
        let name = &self.name;
        if !self.causes.iter().any(|cause| cause.code.is_none_or(|expected| expected == code)) {
            return broken(format!(
                "{name}: rank {rank} got an error for no reason: {code}, {text}"
            ));
        }
        let cause =
            self.causes.iter().filter(|cause| self.holds(cause)).map(|cause| cause.at).min();
        let entry = &self.ranks[rank as usize];
        let since = cause.unwrap_or(now).max(entry.called_at).max(self.healed_at);
        if now > since + BOUND_US && !entry.cut_off {
            return broken(format!("{name}: rank {rank} got its error {} us late", now - since));
        }
        Ok(())
    }

    /// A rank calls its last function.
    pub fn finalized(&mut self, now: Micros, rank: u32) {
        self.ranks[rank as usize].finalized = true;
        self.ranks[rank as usize].called_at = now;
    }

    /// A rank cannot be reached any more: whatever it is told, it need not be in time.
    pub fn cut_off(&mut self, rank: u32) {
        self.ranks[rank as usize].cut_off = true;
    }

    /// A rank is dead; nothing is expected of it any more.
    pub fn died(&mut self, rank: u32) {
        self.ranks[rank as usize].dead = true;
    }

    /// Somebody says that every rank has finalized.
    pub fn all_finalized(&self) -> Verdict {
        match self.ranks.iter().position(|rank| !rank.finalized) {
            Some(rank) => broken(format!("{}: rank {rank} has not finalized at all", self.name)),
            None => Ok(()),
        }
    }

    /// Somebody says that the barrier `number` waits for exactly `missing` ranks. A rank whose arrival got
    /// lost may be among them, a rank that never arrived must be.
    pub fn stalled(&self, number: u32, missing: &BTreeSet<u32>) -> Verdict {
        let absent =
            |rank: &usize| self.ranks[*rank].arrived < number && !missing.contains(&(*rank as u32));
        match (0..self.ranks.len()).find(absent) {
            Some(rank) => broken(format!(
                "{}: barrier {number} waits for rank {rank}, but the report does not say so",
                self.name
            )),
            None => Ok(()),
        }
    }

    /// Somebody turned a process away although every process is right.
    pub fn refused(&self, text: &str) -> Verdict {
        broken(format!("{}: a process was turned away for no reason: {text}", self.name))
    }

    /// Is there a reason why the job may end with an error?
    pub fn endangered(&self) -> bool {
        !self.causes.is_empty()
    }

    /// Why rank `rank` still waits, for a report.
    pub fn standing(&self, rank: u32) -> String {
        let entry = &self.ranks[rank as usize];
        let Rank { arrived, departed, finalized, dead, .. } = entry;
        format!(
            "{}: rank {rank}: {arrived} barriers called, {departed} left, finalized: {finalized}, dead: {dead}",
            self.name
        )
    }
}

impl Barrier {
    fn note(&mut self, now: Micros, changes: Vec<Change>) {
        self.arrivals += 1;
        self.last_arrival = self.last_arrival.max(now);
        let mut last = BTreeMap::new();
        for change in changes {
            match change {
                Change::Put(key, value) => drop(last.insert(key, value)),
                Change::Destroy(space) => drop(self.destroyed.insert(space)),
            }
        }
        for (key, value) in last {
            self.candidates.entry(key).or_default().push(value);
        }
    }

    /// Does the view follow from the view before and from what was put?
    fn check_seen(&self, before: &View, view: &View, at: &str) -> Verdict {
        for (key, value) in view {
            let right = match self.candidates.get(key) {
                Some(values) => values.contains(value),
                None => before.get(key) == Some(value),
            };
            if !right || self.destroyed.contains(&key.0) {
                return broken(format!("{at} sees {}, which nobody put there", show(key, value)));
            }
        }
        let kept = before.keys().chain(self.candidates.keys());
        for key in kept.filter(|key| !self.destroyed.contains(&key.0)) {
            if !view.contains_key(key) {
                return broken(format!("{at} does not see {}", show(key, b"")));
            }
        }
        Ok(())
    }
}

fn same(seen: &View, view: &View, at: &str) -> Verdict {
    if seen == view {
        return Ok(());
    }
    let other = view.iter().find(|(key, value)| seen.get(*key) != Some(value));
    let lost = seen.iter().find(|(key, _)| !view.contains_key(*key));
    match other.or(lost) {
        Some((key, value)) => {
            broken(format!("{at} and another rank differ in {}", show(key, value)))
        }
        None => Ok(()),
    }
}

fn show((space, key): &Key, value: &[u8]) -> String {
    let start = &value[..value.len().min(20)];
    let (key, start) = (String::from_utf8_lossy(key), String::from_utf8_lossy(start));
    format!("key {key:?} of space {space:#x} (value of {} bytes, {start:?}…)", value.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(name: &str) -> Key {
        (0, name.as_bytes().to_vec())
    }

    fn view(pairs: &[(&str, &str)]) -> View {
        pairs.iter().map(|(k, v)| (key(k), v.as_bytes().to_vec())).collect()
    }

    /// Two ranks in barrier 1; rank 0 has put a=1 and then a=2.
    fn book() -> Book {
        let mut book = Book::new("job", 2, view(&[("first", "0")]), 0);
        book.put(0, key("a"), b"1".to_vec());
        book.put(0, key("a"), b"2".to_vec());
        book.commit(0);
        book.put(0, key("uncommitted"), b"3".to_vec());
        book.arrive(10, 0);
        book.arrive(20, 1);
        book
    }

    #[test]
    fn the_right_view_passes_on_every_rank() {
        let mut book = book();
        let right = view(&[("first", "0"), ("a", "2")]);
        assert_eq!(book.depart(30, 0, 1, &right), Ok(()));
        assert_eq!(book.depart(30, 1, 1, &right), Ok(()));
    }

    #[test]
    fn wrong_views_are_found() {
        for wrong in [
            view(&[("first", "0")]),
            view(&[("a", "2")]),
            view(&[("first", "0"), ("a", "1")]),
            view(&[("first", "0"), ("a", "2"), ("uncommitted", "3")]),
            view(&[("first", "1"), ("a", "2")]),
        ] {
            assert!(book().depart(30, 0, 1, &wrong).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn two_ranks_must_see_the_same_of_two_right_views() {
        let mut book = Book::new("job", 2, View::new(), 0);
        for rank in 0..2 {
            book.put(rank, key("a"), vec![b'0' + rank as u8]);
            book.commit(rank);
            book.arrive(1, rank);
        }
        assert_eq!(book.depart(2, 0, 1, &view(&[("a", "1")])), Ok(()));
        assert!(book.depart(2, 1, 1, &view(&[("a", "0")])).is_err());
    }

    #[test]
    fn leaving_early_or_late_is_found() {
        let mut early = Book::new("job", 2, View::new(), 0);
        early.arrive(1, 0);
        assert!(early.depart(2, 0, 1, &View::new()).is_err());
        let right = view(&[("first", "0"), ("a", "2")]);
        assert!(book().depart(20 + BOUND_US + 1, 0, 1, &right).is_err());
    }

    #[test]
    fn errors_need_a_reason_and_come_in_time() {
        let mut book = book();
        assert!(book.fault(30, 0, 7, "").is_err());
        book.cause(30, Some(7), true);
        assert!(book.fault(31, 0, 8, "").is_err());
        assert!(book.fault(31 + BOUND_US, 0, 7, "").is_err());
        assert_eq!(book.fault(31, 0, 7, ""), Ok(()));
    }

    #[test]
    fn a_stall_report_must_name_the_absent() {
        let mut book = Book::new("job", 3, View::new(), 0);
        book.arrive(1, 0);
        assert_eq!(book.stalled(1, &BTreeSet::from([1, 2])), Ok(()));
        assert!(book.stalled(1, &BTreeSet::from([1])).is_err());
        assert!(book.all_finalized().is_err());
    }
}
