//! A program that cannot be started is named, and the job ends.

use std::fs;

use pmi_tests::Job;

#[test]
fn a_program_that_does_not_exist() {
    let outcome = Job::of(4).arg("./no-such-program").run();
    outcome.assert_code(127).assert_says(&["./no-such-program"]);
}

#[test]
fn a_program_that_is_not_executable() {
    let job = Job::of(2);
    let program = job.directory().join("notes.txt");
    fs::write(&program, "not a program").expect("the job's directory is writable");
    job.arg(&program).run().assert_code(126).assert_says(&["notes.txt"]);
}
