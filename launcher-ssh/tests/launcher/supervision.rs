//! A server that is killed.

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::harness::{Job, Notes, children, run, wait_for};

fn kill_server(job: &Job) {
    let pid = wait_for("a server", || children(job.pid(), "pmi-kvs-server").first().copied());
    kill(Pid::from_raw(pid), Signal::SIGKILL).unwrap();
    wait_for("the server to end", || {
        (!children(job.pid(), "pmi-kvs-server").contains(&pid)).then_some(())
    });
}

#[test]
fn another_server_takes_over() {
    let notes = Notes::new();
    let waiting = "echo $$ > $0/rank; while [ ! -e $0/go ]; do sleep 0.01; done";
    let job = Job::start(&["-v", "sh", "-c", waiting, notes.directory()]);
    notes.numbers(1);
    kill_server(&job);
    wait_for("another server", || children(job.pid(), "pmi-kvs-server").first().copied());
    std::fs::write(notes.path("go"), "").unwrap();
    let done = job.finish();
    done.expect(
        0,
        &["was killed by signal 9 (SIGKILL); another one takes over", "server: received"],
    );
}

#[test]
fn a_server_that_crashes_again_and_again_ends_the_job() {
    let job = Job::start(&["sleep", "100"]);
    (0..6).for_each(|_| kill_server(&job));
    job.finish()
        .expect(1, &["was killed by signal 9 (SIGKILL), for the 5th time", "ending the job"]);
}

#[test]
fn verbose_tells_the_story() {
    let done = run(&["-v", "-n", "2", "true"]);
    let said =
        ["job pmi-ssh.", "rank 1 on host", "server answers on 127.0.0.1:", "last rank ended"];
    done.expect(0, &said);
    assert!(done.stderr.lines().all(|line| line.starts_with("pmi-ssh: ")), "{done:?}");
}
