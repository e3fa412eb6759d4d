//! Debian's Open MPI 4 runs under pmi-ssh without any setting by the user.

use pmi_tests::{Job, ring_program};

#[test]
fn ring_and_allreduce_on_four_ranks() {
    let outcome = Job::of(4).arg(ring_program()).run();
    outcome.assert_success();
    for line in ["ring: the token passed 4 ranks", "allreduce: the sum of all ranks is 6"] {
        assert!(
            outcome.stdout.lines().any(|found| found == line),
            "no '{line}'\n{}",
            outcome.stdout
        );
    }
    for rank in 0..4 {
        let place = format!("rank {rank} of 4 ran on ");
        assert!(outcome.stdout.contains(&place), "no '{place}'\n{}", outcome.stdout);
    }
}

/// Open MPI 4 uses the number's lowest 32 bits, and clears bit 15 in the names of the peers but not in its own:
/// with that bit set no rank reaches another.
#[test]
fn the_job_number_is_one_that_open_mpi_can_work_with() {
    for _ in 0..16 {
        let outcome = Job::of(1).args(["printenv", "FLUX_JOB_ID"]).run();
        let number: u64 = outcome.assert_success().stdout.trim().parse().expect("it is a number");
        assert_eq!(number & 0x8000, 0, "FLUX_JOB_ID={number}");
    }
}
