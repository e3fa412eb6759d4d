//! A server that crashes is started again on the same socket and log: the job goes on.

use std::fs::File;

use nix::sys::signal::Signal;
use pmi_tests::{Job, c_program, until};

#[test]
fn the_job_outlives_its_server() {
    let job = Job::of(4).arg(c_program("trouble")).arg("rounds").arg_directory().start();
    job.rank_pids(4);
    for _ in 0..3 {
        let server = job.process_named("pmi-kvs-server");
        job.signal(server, Signal::SIGKILL);
        until("another server", || (job.process_named("pmi-kvs-server") != server).then_some(()));
    }
    File::create(job.file("stop")).expect("the job's directory is writable");
    job.finish().assert_success();
}
