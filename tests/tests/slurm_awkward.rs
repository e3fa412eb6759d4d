//! Awkward surroundings of a step, and processes of ours that are killed at awkward moments: what must not do harm does
//! none, and what does is told.

use std::path::Path;

use pmi_tests::slurm::{BOB, User};
use pmi_tests::{Job, Way, c_program, on_ways};

on_ways!([wrapper, plugin, library]; [few_open_files_are_enough_for_many_ranks_of_a_host]);

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
