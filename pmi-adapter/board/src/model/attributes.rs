//! Processes that put node attributes into one chain, and wait for them.

use std::sync::atomic::Ordering::{Acquire, Relaxed};
use std::time::Duration;

use loom::sync::Arc;

use super::explore;
use super::machine::{Cell32, Cell64, Machine, View};
use crate::attributes::{Attributes, link_of};
use crate::kernel::Word;

/// Bytes that a record reserves.
const LEN: u64 = 8;

#[derive(Default)]
struct Record {
    next: Cell64,
    author: Cell32,
}

#[derive(Default)]
struct World {
    machine: Machine,
    attributes: Attributes<Cell32, Cell64>,
    head: Cell64,
    records: [Record; 3],
}

impl World {
    fn put(&self, me: &View<'_>) {
        let room = self.attributes.reserve(LEN).unwrap();
        let record = &self.records[(room.place() / LEN) as usize];
        record.author.store(me.slot + 1, Relaxed);
        self.attributes.publish(room, &self.head, &record.next, me);
    }

    /// The authors of all records in the chain, newest first.
    fn authors(&self) -> Vec<u32> {
        let mut authors = Vec::new();
        let mut link = self.head.load(Acquire);
        while link != 0 {
            let place = (0..self.records.len()).find(|&at| link_of(at as u64 * LEN) == link);
            let record = &self.records[place.expect("a link leads to a record")];
            authors.push(record.author.load(Relaxed));
            assert!(authors.len() <= self.records.len(), "the chain has a loop");
            link = record.next.load(Relaxed);
        }
        authors
    }

    /// Waits for the attribute of slot `of`. False if that process has died without it.
    fn wait_for(&self, of: u32, me: &View<'_>) -> bool {
        loop {
            // The death before the look: what was put before it must be found.
            let dead = self.machine.is_dead(of);
            let seen = self.attributes.turn();
            if self.authors().contains(&(of + 1)) {
                return true;
            }
            if dead {
                return false;
            }
            self.attributes.wait(seen, Duration::MAX, me);
        }
    }
}

/// Process 0 puts, and dies after `fuel` accesses; the others put, too, if they are `busy`, and wait for it. False if it
/// always lived to its end.
fn run(size: u32, busy: bool, fuel: Option<u32>) -> bool {
    let died = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
    let witness = died.clone();
    // Three processes and a death in all interleavings with two preemptions take long and find no more.
    let preemptions = if size == 3 && fuel.is_some() { 1 } else { 2 };
    explore(preemptions, move || {
        let world = Arc::new(World::default());
        let others: Vec<_> = (1..size)
            .map(|slot| {
                let world = world.clone();
                loom::thread::spawn(move || {
                    world.machine.live(slot, None, |me| {
                        if busy {
                            world.put(me);
                            assert!(world.authors().contains(&(slot + 1)), "own put is not there");
                        }
                        let found = world.wait_for(0, me);
                        assert!(found || world.machine.is_dead(0));
                    })
                })
            })
            .collect();
        let lived = world.machine.live(0, fuel, |me| world.put(me));
        others.into_iter().for_each(|other| assert!(other.join().unwrap()));
        let mut authors = world.authors();
        authors.sort_unstable();
        let last = if busy { size } else { 1 };
        let expected = |first: u32| (first..=last).collect::<Vec<_>>();
        assert!(authors == expected(1) || (!lived && authors == expected(2)), "{authors:?}");
        witness.fetch_or(!lived, Relaxed);
    });
    died.load(Relaxed)
}

/// Runs once for each access of process 0 before which it may die. The number of these accesses.
fn run_deaths(size: u32, busy: bool) -> usize {
    (0..).take_while(|fuel| run(size, busy, Some(*fuel))).count()
}

#[test]
fn whoever_waits_is_woken_by_the_put() {
    run(3, false, None);
}

#[test]
fn puts_at_the_same_time_all_stay() {
    run(3, true, None);
}

#[test]
fn a_process_may_die_before_any_access() {
    let deaths = run_deaths(2, true);
    assert!(deaths > 6, "a put takes more accesses than {deaths}");
}

#[test]
fn two_outlive_a_third_that_they_wait_for() {
    let deaths = run_deaths(3, false);
    assert!(deaths > 6, "a put takes more accesses than {deaths}");
}
