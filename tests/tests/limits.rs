//! What is too long or too much is refused on the rank that tried it, with a reason; nothing is cut.

use pmi_tests::{Job, c_program};

#[test]
fn values_and_keys_beyond_their_limits_are_refused() {
    let outcome = Job::of(2).arg(c_program("trouble")).arg("long").arg_directory().run();
    outcome.assert_code(1).assert_says(&["both puts were refused"]);
}

#[test]
fn a_log_beyond_its_ceiling_is_refused() {
    let job = Job::of(2).args(["-log-ceiling", "64K"]).arg(c_program("trouble")).arg("fill");
    job.arg_directory()
        .run()
        .assert_failure()
        .assert_says(&["PMI_KVS_LOG_CEILING", "of at most 65536 bytes"]);
}
