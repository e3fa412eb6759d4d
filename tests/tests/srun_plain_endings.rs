//! How a step ends that has started its server itself: within seconds, for a reason that names rank and node, and with
//! nothing left.

use std::path::Path;

use nix::sys::signal::Signal;
use pmi_tests::slurm::{ALICE, BOB, CAROL, DAVE, User};
use pmi_tests::{Job, Running, Slurm, c_program, until};

/// A step of four ranks on four nodes that gets into this trouble. Each test has a user of its own, whose processes are
/// counted at its end.
fn trouble(user: User, kind: &str) -> Job {
    let job = Slurm::shared_of_four().srun_as(user, &["--mpi=none", "-N4", "-n4"]);
    job.arg(c_program("trouble")).arg(kind).arg_directory()
}

fn started(user: User, kind: &str) -> Running {
    let job = trouble(user, kind).start();
    job.rank_pids(4);
    job
}

/// Ends a rank's process with SIGKILL. It knows itself by its number on its host.
fn kill_rank(job: &Running, user: User, rank: usize) {
    let pid = job.rank_pids(4)[rank].to_string();
    let kill = Slurm::shared_of_four().on(&format!("node{rank}"), user, Path::new("kill"));
    kill.args(["-KILL", &pid]).run().assert_success();
}

fn ends_for(job: Running, user: User, reason: &[&str]) {
    job.finish().assert_failure().assert_says(reason);
    Slurm::shared_of_four().assert_nothing_left(user);
}

#[test]
fn an_abort_ends_all_ranks_with_its_code() {
    let outcome = trouble(BOB, "abort").arg("9").run();
    outcome.assert_code(9).assert_says(&["rank 1 on node1 called PMI_Abort with code 9"]);
    Slurm::shared_of_four().assert_nothing_left(BOB);
}

#[test]
fn a_rank_that_exits_without_finalize_is_missed() {
    let outcome = trouble(CAROL, "quit").arg("0").run();
    outcome.assert_failure().assert_says(&["rank 1 died without PMI_Finalize", "host node1"]);
    Slurm::shared_of_four().assert_nothing_left(CAROL);
}

#[test]
fn a_rank_that_is_killed_ends_those_in_a_barrier_and_those_outside() {
    let job = started(DAVE, "wait");
    kill_rank(&job, DAVE, 1);
    ends_for(job, DAVE, &["rank 1 died without PMI_Finalize", "host node1"]);
}

#[test]
fn ranks_that_never_come_back_to_pmi_are_ended_too() {
    let job = started(ALICE, "idle");
    kill_rank(&job, ALICE, 0);
    // srun ends the step when the first of them has gone: the others may have no time to say so.
    ends_for(
        job,
        ALICE,
        &["is ended, for the job is over: rank 0 died without PMI_Finalize", "host node0"],
    );
}

#[test]
fn scancel_ends_the_step() {
    let job = started(BOB, "wait");
    let cancel = Slurm::shared_of_four().login_as(BOB, Path::new("scancel"));
    cancel.args(["--user", BOB.name]).run().assert_success();
    job.finish().assert_failure();
    Slurm::shared_of_four().assert_nothing_left(BOB);
}

#[test]
fn srun_killed_leaves_no_server_no_helper_and_no_rank() {
    let job = started(CAROL, "wait");
    job.signal(job.process_named("srun"), Signal::SIGKILL);
    job.finish().assert_failure();
    Slurm::shared_of_four().assert_nothing_left(CAROL);
}

#[test]
fn a_server_that_is_killed_is_missed() {
    let job = started(DAVE, "wait");
    job.signal(job.process_named("pmi-kvs-server"), Signal::SIGKILL);
    // Rank 0 is outside of PMI, and would stay there.
    until("the others to be told", || {
        job.stderr().contains("the PMI server of this step, on node0, is gone").then_some(())
    });
    kill_rank(&job, DAVE, 0);
    ends_for(job, DAVE, &["PMI_Barrier", "is gone"]);
}

#[test]
fn helpers_that_are_killed_do_no_harm_to_a_job_that_goes_well() {
    let user = ALICE;
    let job = started(user, "rounds");
    let helper = job.process_named("pmi-step-helper");
    job.signal(helper, Signal::SIGKILL);
    std::fs::File::create(job.file("stop")).expect("the job's directory is writable");
    job.finish().assert_success();
    Slurm::shared_of_four().assert_nothing_left(user);
}

#[test]
fn a_barrier_that_waits_for_long_says_for_whom() {
    let job = started(BOB, "wait");
    until("the stalled barrier to be reported", || {
        job.stderr().contains("has been waiting for").then_some(())
    });
    job.signal(job.process_named("srun"), Signal::SIGKILL);
    ends_for(job, BOB, &["pmi: barrier 1 has been waiting for 10 s for ranks 0"]);
}
