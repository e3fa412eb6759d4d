//! Processes that pass barriers, with the loop of a session around the turnstile.

use std::sync::atomic::Ordering::{Acquire, Relaxed, SeqCst};
use std::time::Duration;

use loom::sync::Arc;
use loom::sync::atomic::AtomicU32;

use super::explore;
use super::machine::{Cell32, Cell64, Machine, View};
use crate::kernel::Word;
use crate::turnstile::{Turnstile, Wait};

/// A board with `size` processes, of which the first may be mortal.
struct World {
    size: u32,
    epochs: u32,
    machine: Machine,
    turnstile: Turnstile<Cell32, Cell64>,
    standing: [Cell32; 3],
    /// Last epoch that each has committed to, + 1: read relaxed, so that only the barrier orders it.
    committed: [AtomicU32; 3],
    /// The slot that acts as delegate, + 1.
    acting: AtomicU32,
    /// Delegates that are still to give up once for no reason.
    moody: AtomicU32,
    /// Does everybody try to lead at once, as where nobody knows how many will come?
    eager: bool,
    /// The last epoch that a delegate opened, + 1.
    opening: AtomicU32,
}

/// What is different from the plain case.
#[derive(Clone, Copy, Default)]
struct Twist {
    moody: bool,
    eager: bool,
    /// Accesses that process 0 makes before it dies.
    fuel: Option<u32>,
}

impl World {
    fn new(size: u32, epochs: u32, twist: Twist) -> World {
        World {
            size,
            epochs,
            machine: Machine::default(),
            turnstile: Turnstile::default(),
            standing: Default::default(),
            committed: Default::default(),
            acting: AtomicU32::new(0),
            moody: AtomicU32::new(twist.moody.into()),
            eager: twist.eager,
            opening: AtomicU32::new(0),
        }
    }

    fn slots(&self) -> impl Iterator<Item = usize> {
        0..self.size as usize
    }

    fn live(&self, me: &View<'_>) {
        for epoch in 0..self.epochs {
            self.committed[me.slot as usize].store(epoch + 1, Relaxed);
            if self.barrier(me, epoch) == Wait::Failed {
                return;
            }
            let behind = |slot: usize| self.committed[slot].load(Relaxed) <= epoch;
            assert!(!self.slots().any(behind), "left the barrier before all had arrived");
            assert_eq!(self.turnstile.opened(), epoch + 1, "an epoch opened before its turn");
        }
    }

    fn barrier(&self, me: &View<'_>, epoch: u32) -> Wait {
        let arrived = self.turnstile.arrive(&self.standing[me.slot as usize], epoch);
        let mut lead = self.eager || arrived >= u64::from(self.size * (epoch + 1));
        loop {
            if self.turnstile.opened() > epoch {
                return Wait::Opened;
            }
            if lead {
                self.conduct(me, epoch);
            }
            match self.turnstile.wait_opened(epoch, Duration::MAX, me) {
                Wait::Vacant | Wait::TimedOut => lead = true,
                end => return end,
            }
        }
    }

    /// Acts as delegate until the epoch is open or cannot be opened any more.
    fn conduct(&self, me: &View<'_>, epoch: u32) {
        let Some(lead) = self.turnstile.try_lead(me.slot + 1, me) else { return };
        let other = self.acting.swap(me.slot + 1, SeqCst);
        assert!(other == 0 || self.machine.is_dead(other - 1), "two live delegates");
        let outlook = self.await_arrivals(epoch);
        let moody = outlook == Outlook::Complete && self.moody.swap(0, SeqCst) == 1;
        self.acting.store(0, SeqCst);
        match outlook {
            Outlook::Opened => self.turnstile.step_down(lead),
            _ if moody => self.turnstile.resign(lead, me),
            Outlook::Complete => {
                let last = self.opening.swap(epoch + 1, SeqCst);
                let death = (0..self.size).any(|slot| self.machine.is_dead(slot));
                assert!(last == epoch || death, "an epoch was opened twice");
                self.turnstile.open(lead, epoch, me);
            }
            Outlook::Hopeless => {
                self.turnstile.fail(me);
                self.turnstile.step_down(lead);
            }
        }
    }

    fn await_arrivals(&self, epoch: u32) -> Outlook {
        let absent = |slot: &usize| self.standing[*slot].load(Acquire) != epoch + 1;
        loop {
            let missing: Vec<usize> = self.slots().filter(absent).collect();
            match () {
                () if self.turnstile.opened() > epoch => return Outlook::Opened,
                () if missing.is_empty() => return Outlook::Complete,
                () if missing.iter().any(|slot| self.machine.is_dead(*slot as u32)) => {
                    return Outlook::Hopeless;
                }
                // A session sleeps here until the late ones poke it.
                () => loom::thread::yield_now(),
            }
        }
    }
}

/// What a delegate finds.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Outlook {
    Opened,
    Complete,
    Hopeless,
}

/// Runs a world. False if process 0 always lived to its end.
fn run(size: u32, epochs: u32, twist: Twist) -> bool {
    let died = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
    let witness = died.clone();
    // Three processes and a death in all interleavings with two preemptions take a minute and find no more.
    let preemptions = if size == 3 && twist.fuel.is_some() { 1 } else { 2 };
    explore(preemptions, move || {
        let world = Arc::new(World::new(size, epochs, twist));
        let others: Vec<_> = (1..size)
            .map(|slot| {
                let world = world.clone();
                let life = move || world.machine.live(slot, None, |me| world.live(me));
                loom::thread::spawn(life)
            })
            .collect();
        let lived = world.machine.live(0, twist.fuel, |me| world.live(me));
        others.into_iter().for_each(|other| assert!(other.join().unwrap()));
        if lived {
            assert_eq!(world.turnstile.opened(), epochs);
        }
        witness.fetch_or(!lived, Relaxed);
    });
    died.load(Relaxed)
}

/// Runs a world once for each access of process 0 before which it may die. The number of these accesses.
fn run_deaths(size: u32, epochs: u32) -> usize {
    let dies = |fuel: &u32| run(size, epochs, Twist { fuel: Some(*fuel), ..Twist::default() });
    (0..).take_while(dies).count()
}

#[test]
fn three_processes_pass_a_barrier_and_two_pass_three() {
    run(3, 1, Twist::default());
    run(2, 3, Twist::default());
}

#[test]
fn a_delegate_that_gives_up_is_replaced() {
    let twist = Twist { moody: true, ..Twist::default() };
    run(2, 2, twist);
    run(3, 1, twist);
}

#[test]
fn processes_that_all_want_to_lead_open_each_epoch_once() {
    let twist = Twist { eager: true, ..Twist::default() };
    run(2, 2, twist);
    run(3, 1, twist);
}

#[test]
fn a_process_may_die_before_any_access() {
    let deaths = run_deaths(2, 2);
    assert!(deaths > 20, "two barriers take more accesses than {deaths}");
}

#[test]
fn two_survivors_of_a_death_leave_the_barrier_too() {
    let deaths = run_deaths(3, 1);
    assert!(deaths > 10, "a barrier takes more accesses than {deaths}");
}
