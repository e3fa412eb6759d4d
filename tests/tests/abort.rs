//! PMI_Abort ends the job with the code that it names, whoever waits for whom.

use pmi_tests::{Job, c_program};

#[test]
fn abort_ends_the_job_with_its_code() {
    let job = Job::of(4).arg(c_program("trouble")).arg("abort").arg_directory().arg("42");
    job.run().assert_code(42).assert_says(&["rank 1", "the test wants it so"]);
}
