//! A real Slurm starts the ranks.

use std::fs;
use std::path::Path;

use pmi_tests::{Mpi, Running, Slurm, binary, until};

/// The testbed itself: Slurm's own PMI server starts an MPI program.
#[test]
fn mpich_4_under_srun_with_slurms_own_pmi2_on_four_ranks() {
    let job = Slurm::shared().srun(&["--mpi=pmi2", "--ntasks=4"]);
    let outcome = Mpi::Mpich4.hello(job, 4).run();
    outcome.assert_success();
    assert_eq!(outcome.stdout, "hello: 4 ranks, 4 on a node, all results right\n");
}

#[test]
fn srun_without_pmi_tells_each_task_its_rank() {
    let job = Slurm::shared().srun(&["--mpi=none", "--ntasks=4"]);
    let script = "echo $SLURM_PROCID of $SLURM_NTASKS on $(hostname) with PMI_FD=$PMI_FD";
    let outcome = job.args(["sh", "-c", script]).run();
    outcome.assert_success();
    let mut lines: Vec<&str> = outcome.stdout.lines().collect();
    lines.sort_unstable();
    let host = &Slurm::shared().hosts()[0].name;
    let expected: Vec<String> =
        (0..4).map(|rank| format!("{rank} of 4 on {host} with PMI_FD=")).collect();
    assert_eq!(lines, expected);
}

#[test]
fn the_exit_code_of_a_task_is_that_of_srun() {
    let job = Slurm::shared().srun(&["--mpi=none", "--ntasks=2"]);
    job.args(["sh", "-c", "exit $((SLURM_PROCID * 7))"]).run().assert_code(7);
}

/// A server for `ranks` ranks, started by hand on the first host, and what it tells the ranks to set.
fn server(ranks: u32) -> (Running, Vec<(String, String)>) {
    let mapping = format!("PMI_process_mapping=(vector,(0,1,{ranks}))");
    let job = Slurm::shared().login(&binary("pmi-kvs-server"));
    let job = job.args(["--job", &format!("slurm-{}", std::process::id())]);
    let job = job.args(["--size", &ranks.to_string(), "--put", &mapping, "--env-file"]);
    let file = job.directory().join("environment");
    let server = job.arg(&file).start();
    let environment = until("the server to write its environment file", || complete(&file));
    (server, environment)
}

/// The variables in the server's file, once it is written.
fn complete(file: &Path) -> Option<Vec<(String, String)>> {
    let text = fs::read_to_string(file).ok().filter(|text| text.contains("PMI_KVS_SECRET="))?;
    let words = text.split_whitespace().filter_map(|word| word.split_once('='));
    Some(words.map(|(name, value)| (name.to_string(), value.to_string())).collect())
}

/// Slurm tells rank and size, a server started by hand keeps the values, and pmi-exec serves the program.
fn hello_under_srun_and_pmi_exec(mpi: Mpi) {
    let (server, environment) = server(4);
    let job = Slurm::shared().srun(&["--mpi=none", "--ntasks=4"]);
    let job = environment.iter().fold(job, |job, (name, value)| job.env(name, value));
    let job = job.arg(binary("pmi-exec")).arg("--no-pmi-library");
    let outcome = mpi.hello(job, 4).run();
    outcome.assert_success();
    assert_eq!(outcome.stdout, "hello: 4 ranks, 4 on a node, all results right\n");
    server.finish().assert_success();
}

#[test]
fn mpich_4_under_srun_and_pmi_exec_on_four_ranks() {
    hello_under_srun_and_pmi_exec(Mpi::Mpich4);
}

#[test]
fn mpich_5_under_srun_and_pmi_exec_on_four_ranks() {
    hello_under_srun_and_pmi_exec(Mpi::Mpich5);
}

#[test]
fn intel_mpi_under_srun_and_pmi_exec_on_four_ranks() {
    hello_under_srun_and_pmi_exec(Mpi::Intel);
}
