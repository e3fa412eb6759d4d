//! A host that crashes under pmi-srun ends the step within seconds, by name; one whose processes are stopped does not.

use std::fs;
use std::path::PathBuf;
use std::thread::sleep;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use pmi_protocol::limits::{LIFELINE_BREAK_US, LOST_GRACE_US};
use pmi_tests::slurm::ALICE;
use pmi_tests::{Outcome, Running, Slurm, binary, c_program, until};

/// Longer than it takes to notice that a host has crashed.
const STOPPED: Duration = Duration::from_micros(LIFELINE_BREAK_US + LOST_GRACE_US + 2_000_000);

/// A step of eight ranks on four hosts.
fn start(slurm: &Slurm, kind: &str) -> Running {
    let job = slurm.login_as(ALICE, &binary("pmi-srun")).args(["-N4", "--ntasks-per-node=2"]);
    let job = job.arg(c_program("trouble")).arg(kind).arg_directory().start();
    for file in ranks(&job, 0..8) {
        until("all ranks to join the job", || file.exists().then_some(()));
    }
    job
}

fn ranks(job: &Running, ranks: std::ops::Range<u32>) -> Vec<PathBuf> {
    ranks.map(|rank| job.file(&format!("rank-{rank}"))).collect()
}

/// The step has ended with an error that names ranks and host, and nothing of it runs on the other hosts.
fn assert_ended(slurm: &Slurm, job: Running, ranks: &str, host: &str) -> Outcome {
    let outcome = job.finish();
    let text = format!("pmi-srun: host {host} ({ranks}) does not answer any more");
    outcome.assert_failure().assert_says(&[&text]);
    slurm.assert_nothing_left(ALICE);
    outcome
}

/// Rank 0 alone stays outside the barrier.
#[test]
fn a_host_whose_ranks_stand_in_the_barrier_is_missed() {
    let slurm = Slurm::of(4);
    let job = start(&slurm, "wait");
    slurm.crash("node2");
    assert_ended(&slurm, job, "ranks 4-5", "node2");
}

#[test]
fn a_host_whose_ranks_have_not_entered_the_barrier_is_missed() {
    let slurm = Slurm::of(4);
    let job = start(&slurm, "wait");
    slurm.crash("node0");
    assert_ended(&slurm, job, "ranks 0-1", "node0");
}

/// Stopped processes are as silent as those of a host that has crashed.
#[test]
fn a_host_whose_ranks_are_stopped_is_waited_for() {
    let slurm = Slurm::of(4);
    let job = start(&slurm, "rounds");
    let stopped = slurm.processes_on("node1", ALICE);
    signal(&stopped, Signal::SIGSTOP);
    sleep(STOPPED);
    signal(&stopped, Signal::SIGCONT);
    fs::File::create(job.file("stop")).expect("the job's directory is writable");
    let outcome = job.finish();
    outcome.assert_success();
    assert!(!outcome.stderr.contains("does not answer any more"), "{}", outcome.stderr);
    slurm.assert_nothing_left(ALICE);
}

fn signal(processes: &[i32], signal: Signal) {
    assert!(!processes.is_empty());
    for process in processes {
        kill(Pid::from_raw(*process), signal).expect("the process runs");
    }
}
