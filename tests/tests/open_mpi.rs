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
