//! Model checks with loom: turnstile, latch, up-log and node attributes, the very code that ships, on a machine whose every
//! interleaving (up to a number of preemptions) is tried, and on which a process may die before any access to
//! shared memory.
//!
//! Time does not pass here: a wait ends by a wake-up, or because a process has died, which stands for "patience
//! has ended some time after the death". So a wake-up that is lost shows as a deadlock, which loom reports.

mod attributes;
mod barrier;
mod commits;
mod machine;

/// Runs `execution` in all interleavings with at most so many preemptions. Few bugs need more than two.
fn explore(preemptions: usize, execution: impl Fn() + Sync + Send + 'static) {
    let mut model = loom::model::Builder::new();
    model.preemption_bound = Some(preemptions);
    model.check(execution);
}
