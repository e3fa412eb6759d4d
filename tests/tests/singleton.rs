//! Outside any job a program is a working job of one; inside a job of several without a server it fails loudly.

use pmi_tests::{Job, c_program};

#[test]
fn outside_any_job() {
    let outcome = Job::new(&c_program("exchange")).arg("1").run();
    outcome.assert_success();
    assert_eq!(outcome.stdout, "exchange: 1 ranks, all values right\n");
}

#[test]
fn inside_a_slurm_step_without_a_server() {
    let job = Job::new(&c_program("exchange")).arg("4");
    let slurm = [
        ("SLURM_PROCID", "0"),
        ("SLURM_NTASKS", "4"),
        ("SLURM_STEP_ID", "0"),
        ("SLURM_JOB_ID", "1"),
    ];
    let outcome = slurm.into_iter().fold(job, |job, (name, value)| job.env(name, value)).run();
    outcome.assert_code(1).assert_says(&["PMI_KVS_SERVER"]);
}

#[test]
fn inside_a_batch_script_that_is_no_rank() {
    let job =
        Job::new(&c_program("exchange")).arg("1").env("SLURM_PROCID", "0").env("SLURM_NTASKS", "8");
    job.run().assert_success();
}
