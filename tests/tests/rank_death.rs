//! A rank that dies, or ends without PMI_Finalize, ends the job: nobody waits for it, the message names it, the
//! exit code is its own.

use nix::sys::signal::Signal;
use pmi_tests::{Job, Outcome, c_program};

#[test]
fn killed_inside_a_barrier() {
    let job = Job::of(4).arg(c_program("trouble")).arg("wait").arg_directory().start();
    let ranks = job.rank_pids(4);
    job.signal(ranks[2], Signal::SIGKILL);
    job.finish().assert_code(128 + 9).assert_says(&["rank 2", "signal 9"]);
}

#[test]
fn killed_outside_the_barrier_that_others_wait_in() {
    let job = Job::of(4).arg(c_program("trouble")).arg("wait").arg_directory().start();
    let ranks = job.rank_pids(4);
    job.signal(ranks[0], Signal::SIGKILL);
    job.finish().assert_code(128 + 9).assert_says(&["rank 0", "signal 9"]);
}

fn quit_with(code: i32) -> Outcome {
    let job = Job::of(4).arg(c_program("trouble")).arg("quit").arg_directory();
    job.arg(code.to_string()).run()
}

#[test]
fn quits_with_a_code_of_its_own() {
    quit_with(7).assert_code(7).assert_says(&["rank 1", "7"]);
}

#[test]
fn quits_with_code_zero_but_without_finalize() {
    quit_with(0).assert_failure().assert_says(&["rank 1", "PMI_Finalize"]);
}
