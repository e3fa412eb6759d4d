//! A host that crashes under pmi-srun ends the step within seconds, by name; one whose processes are stopped does not.

use std::fs;
use std::thread::sleep;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use pmi_protocol::limits::{LIFELINE_BREAK_US, LOST_GRACE_US};
use pmi_tests::slurm::ALICE;
use pmi_tests::{Outcome, Running, Slurm, Way, binary, c_program, source_tree, until};

/// Longer than it takes to notice that a host has crashed.
const STOPPED: Duration = Duration::from_micros(LIFELINE_BREAK_US + LOST_GRACE_US + 2_000_000);

/// Until then a node that waits has heard that the server has its lifeline.
const PROVEN: Duration = Duration::from_secs(2);

/// A step of two ranks on each of so many hosts. All have joined.
fn start(slurm: &Slurm, kind: &str, hosts: u32) -> Running {
    start_by(Way::Wrapper, slurm, kind, hosts)
}

fn start_by(way: Way, slurm: &Slurm, kind: &str, hosts: u32) -> Running {
    let job = way.srun_on(slurm, ALICE, &["--ntasks-per-node=2", "-N"]);
    let job = job.arg(hosts.to_string()).arg(c_program("trouble")).arg(kind);
    let job = job.arg_directory().start();
    await_ranks(&job, 2 * hosts);
    job
}

fn await_ranks(job: &Running, ranks: u32) {
    for rank in 0..ranks {
        let file = job.file(&format!("rank-{rank}"));
        until("all ranks to join the job", || file.exists().then_some(()));
    }
}

/// The step has ended with an error that names ranks and host, and nothing of it runs on the other hosts.
fn assert_ended(slurm: &Slurm, job: Running, ranks: &str, host: &str) -> Outcome {
    let outcome = job.finish();
    let text = format!("pmi-srun: host {host} ({ranks}) does not answer any more");
    outcome.assert_failure().assert_says(&[&text]);
    slurm.assert_nothing_left(ALICE);
    outcome
}

/// Rank 0 alone stays outside the barrier.
#[test]
fn a_host_whose_ranks_stand_in_the_barrier_is_missed() {
    let slurm = Slurm::of(4);
    let job = start(&slurm, "wait", 4);
    slurm.crash("node2");
    assert_ended(&slurm, job, "ranks 4-5", "node2");
}

#[test]
fn under_the_plugin_too() {
    let slurm = Way::Plugin.new_cluster();
    let job = start_by(Way::Plugin, &slurm, "wait", 4);
    slurm.crash("node2");
    let outcome = job.finish();
    let text = "spank_pmi: host node2 (ranks 4-5) does not answer any more";
    outcome.assert_failure().assert_says(&[text]);
    slurm.assert_nothing_left(ALICE);
}

/// Without a launcher of ours the ranks end, and srun waits for the host as long as Slurm does.
#[test]
fn ranks_under_plain_srun_end() {
    let slurm = Slurm::of(4);
    let job = start_by(Way::Library, &slurm, "wait", 4);
    slurm.crash("node2");
    let says = |text: &str| job.stderr().contains(text).then_some(());
    until("those in the barrier to hear", || {
        says("host node2 (ranks 4-5) does not answer any more")
    });
    until("the one outside to be ended", || says("rank 0 is ended, for the job is over"));
    job.signal(job.process_named("srun"), Signal::SIGKILL);
    job.finish().assert_failure();
    slurm.assert_nothing_left(ALICE);
}

#[test]
fn a_host_whose_ranks_have_not_entered_the_barrier_is_missed() {
    let slurm = Slurm::of(4);
    let job = start(&slurm, "wait", 4);
    slurm.crash("node0");
    assert_ended(&slurm, job, "ranks 0-1", "node0");
}

/// Programs with a PMI client of their own know no server; the helper beside them does.
#[test]
fn a_host_whose_ranks_have_a_client_of_their_own_is_missed() {
    let slurm = Slurm::of(2);
    let client = source_tree().join("tests/programs/wire.sh");
    let script = format!(
        "set -e; . {}; ask cmd=initack\\ pmiid=$PMI_ID; for line in size rank debug; do read -r -u $PMI_FD; done; join; \
         : >$0/rank-$SLURM_PROCID; [ $SLURM_PROCID != 0 ] || sleep 1000; \
         [ \"$(ask cmd=barrier_in)\" = 'cmd=barrier_out rc=0' ]",
        client.display()
    );
    let job = slurm.login_as(ALICE, &binary("pmi-srun")).args(["-N2", "--ntasks-per-node=1"]);
    let job = job.args(["bash", "-c", &script]).arg_directory().start();
    await_ranks(&job, 2);
    slurm.crash("node0");
    assert_ended(&slurm, job, "rank 0", "node0");
}

/// Stopped processes are as silent as those of a host that has crashed.
#[test]
fn a_host_whose_ranks_are_stopped_is_waited_for() {
    let slurm = Slurm::of(4);
    let job = start(&slurm, "rounds", 4);
    let stopped = slurm.processes_on("node1", ALICE);
    signal(&stopped, Signal::SIGSTOP);
    sleep(STOPPED);
    signal(&stopped, Signal::SIGCONT);
    fs::File::create(job.file("stop")).expect("the job's directory is writable");
    let outcome = job.finish();
    outcome.assert_success();
    assert!(!outcome.stderr.contains("does not answer any more"), "{}", outcome.stderr);
    slurm.assert_nothing_left(ALICE);
}

/// The ranks find out themselves: whoever could end them is gone.
#[test]
fn ranks_give_up_when_the_host_of_their_server_has_crashed() {
    let slurm = Slurm::of(2);
    let job = slurm.login_as(ALICE, &binary("pmi-srun")).args(["-N2", "-n2", "--error"]);
    let said = job.directory().join("said-%t");
    let job = job.arg(said).arg(c_program("trouble")).arg("wait").arg_directory().start();
    await_ranks(&job, 2);
    sleep(PROVEN);
    slurm.crash("login");
    // Rank 0 computes for good: nobody is left to end it.
    until("the rank that waits to give up", || {
        let text = fs::read_to_string(job.file("said-1")).unwrap_or_default();
        text.contains("the server's host (10.213.0.254) does not answer any more").then_some(())
    });
    // One may end because another has.
    for pid in slurm.processes_of(ALICE) {
        let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
    }
    drop(job);
}

fn signal(processes: &[i32], signal: Signal) {
    assert!(!processes.is_empty());
    for process in processes {
        kill(Pid::from_raw(*process), signal).expect("the process runs");
    }
}
