//! Ranks that contradict the job are turned away with a reason, and the job ends.

use pmi_tests::{Job, Outcome, c_program};

/// Runs four ranks, of which rank 1 has its environment changed by a line of shell, as a starter without a record of
/// its own might get it wrong.
fn with_rank_one_changed(change: &str) -> Outcome {
    let script =
        format!("unset PMI_KVS_PLACE; [ $PMI_RANK != 1 ] || {{ {change}; }}; exec \"$0\" \"$@\"");
    let job = Job::of(4)
        .args(["sh", "-c", &script])
        .arg(c_program("trouble"))
        .arg("plain")
        .arg_directory();
    job.env("PMI_TIMEOUT", "10").run()
}

#[test]
fn a_size_that_contradicts_the_servers() {
    with_rank_one_changed("PMI_SIZE=5").assert_failure().assert_says(&["size"]);
}

#[test]
fn two_ranks_that_claim_one_number() {
    with_rank_one_changed("PMI_RANK=0").assert_failure().assert_says(&["rank 0"]);
}

#[test]
fn a_wrong_secret() {
    let wrong = format!("PMI_KVS_SECRET={}", "0".repeat(64));
    with_rank_one_changed(&wrong).assert_failure().assert_says(&["PMI_KVS_SECRET"]);
}

#[test]
fn a_secret_that_is_not_one() {
    with_rank_one_changed("PMI_KVS_SECRET=xyz").assert_failure().assert_says(&["PMI_KVS_SECRET"]);
}
