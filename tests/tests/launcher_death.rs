//! A launcher that is killed takes everything with it: ranks, server, board, sockets.

use nix::sys::signal::Signal;
use pmi_tests::{Job, c_program};

fn kill_the_launcher(signal: Signal) {
    let job = Job::of(4).arg(c_program("trouble")).arg("wait").arg_directory().start();
    job.rank_pids(4);
    job.signal(job.pid(), signal);
    job.finish().assert_failure();
}

#[test]
fn nothing_survives_a_killed_launcher() {
    kill_the_launcher(Signal::SIGKILL);
}

#[test]
fn a_terminated_launcher_terminates_its_ranks() {
    kill_the_launcher(Signal::SIGTERM);
}

#[test]
fn an_interrupted_launcher_interrupts_its_ranks() {
    kill_the_launcher(Signal::SIGINT);
}
