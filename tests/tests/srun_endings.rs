//! How a step of pmi-srun ends: as srun says, within seconds, for a reason that names the rank, and with nothing left.

use std::path::Path;

use nix::sys::signal::Signal;
use pmi_tests::slurm::{ALICE, BOB, CAROL, DAVE, User};
use pmi_tests::{Job, Running, Slurm, binary, c_program, until};

/// Each test has a user of its own, whose processes are counted at its end.
fn pmi_srun(user: User, options: &[&str]) -> Job {
    Slurm::shared_of_four().login_as(user, &binary("pmi-srun")).args(options)
}

/// A step of four ranks on four nodes that gets into this trouble.
fn trouble(user: User, kind: &str) -> Job {
    pmi_srun(user, &["-N4", "-n4"]).arg(c_program("trouble")).arg(kind).arg_directory()
}

fn joined(job: &Running) {
    for rank in 0..4 {
        let file = job.file(&format!("rank-{rank}"));
        until(&format!("rank {rank} to join the job"), || file.exists().then_some(()));
    }
}

#[test]
fn the_exit_code_is_that_of_srun() {
    let user = ALICE;
    let job = pmi_srun(user, &["-n2"]).args(["sh", "-c", "exit $((SLURM_PROCID * 7))"]);
    job.run().assert_code(7);
    pmi_srun(user, &["--no-such-option"]).run().assert_says(&["srun", "no-such-option"]);
    Slurm::shared_of_four().assert_nothing_left(user);
}

#[test]
fn an_abort_ends_all_ranks_with_its_code() {
    let outcome = trouble(BOB, "abort").arg("9").run();
    outcome.assert_code(9).assert_says(&["pmi-srun: rank 1 on node1 called PMI_Abort(9)"]);
    Slurm::shared_of_four().assert_nothing_left(BOB);
}

/// Nobody of our library is left on its node to miss it.
#[test]
fn a_rank_alone_on_its_node_that_exits_without_finalize_is_missed() {
    let outcome = trouble(CAROL, "quit").arg("0").run();
    outcome.assert_failure().assert_says(&["rank 1 died without PMI_Finalize", "host node1"]);
    Slurm::shared_of_four().assert_nothing_left(CAROL);
}

/// What srun does with signals is not ours to change: this process is srun.
fn ended_by(user: User, signal: Signal) {
    let job = trouble(user, "wait").start();
    joined(&job);
    job.signal(job.process_named("srun"), signal);
    job.finish().assert_failure();
    Slurm::shared_of_four().assert_nothing_left(user);
}

#[test]
fn sigterm_ends_the_step() {
    ended_by(BOB, Signal::SIGTERM);
}

#[test]
fn scancel_ends_the_step() {
    let job = trouble(CAROL, "wait").start();
    joined(&job);
    let cancel = Slurm::shared_of_four().login_as(CAROL, Path::new("scancel"));
    cancel.args(["--user", CAROL.name]).run().assert_success();
    job.finish().assert_failure();
    Slurm::shared_of_four().assert_nothing_left(CAROL);
}

#[test]
fn killed_it_leaves_no_server_no_helper_and_no_rank() {
    ended_by(DAVE, Signal::SIGKILL);
}

#[test]
fn a_server_that_crashes_is_replaced() {
    let user = ALICE;
    let job = trouble(user, "rounds").start();
    joined(&job);
    for _ in 0..3 {
        let server = job.process_named("pmi-kvs-server");
        job.signal(server, Signal::SIGKILL);
        until("another server", || (job.process_named("pmi-kvs-server") != server).then_some(()));
    }
    std::fs::File::create(job.file("stop")).expect("the job's directory is writable");
    job.finish().assert_success().assert_says(&["takes over its socket and log"]);
}
