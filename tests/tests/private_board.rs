//! Ranks that cannot share memory, here because each has a pid namespace of its own, have private boards: slower,
//! and just as right.

use pmi_tests::{Job, c_program, job};

/// A job whose ranks each run in a pid namespace of their own.
fn apart(ranks: u32) -> Job {
    Job::of(ranks).args(job::apart())
}

#[test]
fn values_are_exchanged_between_private_boards() {
    let outcome = apart(5).arg(c_program("exchange")).arg("5").run();
    outcome.assert_success();
    assert_eq!(outcome.stdout, "exchange: 5 ranks, all values right\n", "{}", outcome.stderr);
}

#[test]
fn a_rank_that_quits_without_finalize_is_missed_there_too() {
    let job = apart(3).arg(c_program("trouble")).arg("quit").arg_directory().arg("0");
    job.run().assert_failure().assert_says(&["rank 1", "PMI_Finalize"]);
}
