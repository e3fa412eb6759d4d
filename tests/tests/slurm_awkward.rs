//! Awkward surroundings of a step, and processes of ours that are killed at awkward moments: what must not do harm does
//! none, and what does is told.

use std::fs;
use std::path::Path;

use nix::sys::signal::Signal;
use pmi_tests::slurm::{ALICE, BOB, CAROL, DAVE, User};
use pmi_tests::{Job, Way, c_program, on_ways, until};

on_ways!([wrapper, plugin]; [
    few_open_files_are_enough_for_many_ranks_of_a_host,
    a_reader_of_standard_error_that_has_gone_ends_no_job,
]);

// The last is about what the other two run beside srun.
on_ways!([library]; [
    few_open_files_are_enough_for_many_ranks_of_a_host,
    a_stranger_on_all_names_of_a_helper_hinders_nobody,
]);

/// A step's command, run by a shell that does something first.
fn in_shell(way: Way, user: User, script: &str, options: &[&str]) -> Job {
    let job = way.cluster().login_as(user, Path::new("bash")).args(["-c", script, "bash"]);
    let command = way.words();
    job.args(command.split(' ')).args(options)
}

/// Slurm gives the tasks the limits that the user has where srun runs.
fn few_open_files_are_enough_for_many_ranks_of_a_host(way: Way) {
    let script = "ulimit -S -n 30; exec \"$@\"";
    let job = in_shell(way, BOB, script, &["--nodes=1", "--ntasks=32"]);
    let outcome = job.arg(c_program("exchange")).arg("32").run();
    outcome.assert_success();
    assert_eq!(outcome.stdout, "exchange: 32 ranks, all values right\n");
    way.cluster().assert_nothing_left(BOB);
}

/// As in `pmi-srun ... 2>&1 | head`.
fn a_reader_of_standard_error_that_has_gone_ends_no_job(way: Way) {
    let job = in_shell(way, CAROL, "exec \"$@\" 2> >(exec true)", &["-N2", "-n2"]);
    let job = job.arg(c_program("trouble")).arg("rounds").arg_directory().start();
    job.rank_pids(2);
    for _ in 0..2 {
        // The user is told of it.
        let server = job.process_named("pmi-kvs-server");
        job.signal(server, Signal::SIGKILL);
        until("another server", || (job.process_named("pmi-kvs-server") != server).then_some(()));
    }
    fs::File::create(job.file("stop")).expect("the job's directory is writable");
    job.finish().assert_success();
    way.cluster().assert_nothing_left(CAROL);
}

/// Holds the names of a node's helper; every other one without listening.
const NAME_HOLDER: &str = r#"
import socket, sys, time
held = []
for number in range(8):
    held.append(socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET))
    held[-1].bind("\0" + sys.argv[1] + "-0-" + str(number))
    if number % 2:
        held[-1].listen()
open(sys.argv[2] + "/holding", "w").close()
time.sleep(600)
"#;

/// Steps of one number, so that the second one's names are those of the first. Anybody could derive them.
fn a_stranger_on_all_names_of_a_helper_hinders_nobody(way: Way) {
    let cluster = way.cluster();
    let step = |nodes: &str, ranks_on_each: &str| {
        let options = ["--nodelist", nodes, "--ntasks-per-node", ranks_on_each];
        let job = way.srun_as(ALICE, &options);
        job.args(["env", "SLURM_JOB_ID=4000000", "SLURM_STEP_ID=7"])
    };
    let first = step("node0", "2").arg(c_program("trouble")).arg("rounds").arg_directory().start();
    first.rank_pids(2);
    let sockets = cluster.on("node0", DAVE, Path::new("cat")).arg("/proc/net/unix").run().stdout;
    let name = sockets.split('@').find(|text| text.starts_with("pmi-step-"));
    let name = name.and_then(|text| text.rsplitn(3, '-').last()).expect("there is a helper");
    fs::File::create(first.file("stop")).expect("the job's directory is writable");
    first.finish().assert_success();
    cluster.assert_nothing_left(ALICE);

    let holder = cluster.on("node0", DAVE, Path::new("python3")).args(["-c", NAME_HOLDER, name]);
    let holder = holder.arg_directory().start();
    until("the stranger to hold the names", || holder.file("holding").exists().then_some(()));
    let outcome = step("node[0-1]", "4").arg(c_program("exchange")).args(["8", "4"]).run();
    outcome.assert_success();
    cluster.assert_nothing_left(ALICE);
}
