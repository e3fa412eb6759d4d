//! A barrier that waits for long says for whom, once, and does not blame the server for it.

use std::fs;

use nix::sys::signal::Signal;
use pmi_tests::{Job, c_program, until};

#[test]
fn the_missing_rank_is_named_after_ten_seconds() {
    let job = Job::of(3).arg(c_program("trouble")).arg("wait").arg_directory().start();
    job.rank_pids(3);
    let errors = job.file("stderr");
    until("the stalled barrier to be reported", || {
        fs::read_to_string(&errors).ok().filter(|text| text.contains("has been waiting for"))
    });
    job.signal(job.pid(), Signal::SIGTERM);
    let outcome = job.finish();
    outcome.assert_failure().assert_says(&["barrier 1", "rank", " 0 "]);
    assert!(!outcome.stderr.contains("no answer"), "{}", outcome.stderr);
}
