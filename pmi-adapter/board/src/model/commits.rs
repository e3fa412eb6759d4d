//! Processes that commit to one up-log.

use std::sync::atomic::Ordering::{Relaxed, SeqCst};

use loom::sync::Arc;
use loom::sync::atomic::AtomicU32;

use super::explore;
use super::machine::{Cell32, Cell64, Machine, View};
use crate::kernel::Word;
use crate::uplog::UpLog;

/// A commit writes this many cells.
const LEN: usize = 2;

#[derive(Default)]
struct World {
    machine: Machine,
    uplog: UpLog<Cell32, Cell64>,
    ring: [Cell32; 4 * LEN],
    /// The slot that writes, + 1.
    writing: AtomicU32,
}

impl World {
    /// Commits one record: its author's number in each cell.
    fn commit(&self, me: &View<'_>) {
        let author = me.slot + 1;
        let write = |_: &mut _, offset: u64| {
            let other = self.writing.swap(author, SeqCst);
            assert!(other == 0 || self.machine.is_dead(other - 1), "two live writers");
            let place = offset as usize..offset as usize + LEN;
            self.ring[place].iter().for_each(|cell| cell.store(author, Relaxed));
            self.writing.store(0, SeqCst);
        };
        self.uplog.append(author, me, LEN as u64, write).unwrap();
    }

    /// The authors of all records, which must be whole.
    fn authors(&self) -> Vec<u32> {
        let end = self.uplog.end() as usize;
        let cells: Vec<u32> = self.ring[..end].iter().map(|cell| cell.load(Relaxed)).collect();
        let (records, rest) = cells.as_chunks::<LEN>();
        assert!(rest.is_empty(), "half a record was published");
        records.iter().for_each(|record| assert_eq!(record[0], record[1], "a torn record"));
        records.iter().map(|record| record[0]).collect()
    }
}

/// Lets `size` processes commit once each; process 0 dies after `fuel` accesses. False if it always lived to its end.
fn run(size: u32, fuel: Option<u32>) -> bool {
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
                        world.commit(me);
                        assert!(world.authors().contains(&(slot + 1)), "own commit is not there");
                    })
                })
            })
            .collect();
        let lived = world.machine.live(0, fuel, |me| world.commit(me));
        others.into_iter().for_each(|other| assert!(other.join().unwrap()));
        let mut authors = world.authors();
        authors.sort_unstable();
        let expected = |first: u32| (first..=size).collect::<Vec<_>>();
        assert!(authors == expected(1) || (!lived && authors == expected(2)), "{authors:?}");
        witness.fetch_or(!lived, Relaxed);
    });
    died.load(Relaxed)
}

#[test]
fn three_processes_commit_whole_records() {
    run(3, None);
}

#[test]
fn a_process_may_die_before_any_access() {
    let lives = (0..).take_while(|fuel| run(2, Some(*fuel))).count();
    assert!(lives > 8, "a commit has more accesses than {lives}");
}

#[test]
fn two_processes_outlive_a_third_in_the_latch() {
    let lives = (0..).take_while(|fuel| run(3, Some(*fuel))).count();
    assert!(lives > 8, "a commit has more accesses than {lives}");
}
