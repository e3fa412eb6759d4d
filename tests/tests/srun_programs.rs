//! What pmi-srun does with its surroundings: batch scripts, allocations, steps inside of steps, and the user's own task
//! prolog. slurm_ways.rs and slurm_options.rs have what is the same for each way.

use std::path::Path;

use pmi_tests::step::write_script;
use pmi_tests::{Job, Mpi, Slurm, Way, binary, c_program};

/// `pmi-srun` with these options on the cluster of four hosts.
fn pmi_srun(options: &[&str]) -> Job {
    Way::Wrapper.srun(options)
}

#[test]
fn a_heterogeneous_step_is_one_job() {
    let job = Mpi::Mpich5.hello(pmi_srun(&["--ntasks=2"]), 5);
    let outcome = Mpi::Mpich5.hello(job.args([":", "--ntasks=3"]), 5).run();
    outcome.assert_success();
    assert!(outcome.stdout.contains("hello: 5 ranks"), "{}", outcome.stdout);
}

#[test]
fn steps_side_by_side_in_a_batch_script() {
    let (srun, program) = (binary("pmi-srun"), c_program("exchange"));
    let step = format!("{} --overlap -N 1 -n 2 {} 2", srun.display(), program.display());
    let lines = format!("{step} & {step} & wait; {step}");
    let printed = Way::Wrapper.batch(&["--ntasks=4", "--export=NONE"], &lines);
    let right = printed.matches("exchange: 2 ranks, all values right").count();
    assert_eq!(right, 3, "{printed}");
}

#[test]
fn inside_of_salloc() {
    let job = Slurm::shared_of_four().login(Path::new("salloc")).args(["--quiet", "-N1", "-n3"]);
    let outcome = job.arg(binary("pmi-srun")).arg(c_program("exchange")).arg("3").run();
    outcome.assert_success();
    assert_eq!(outcome.stdout, "exchange: 3 ranks, all values right\n");
}

#[test]
fn a_step_inside_of_a_task_is_a_job_of_its_own() {
    let (srun, program) = (binary("pmi-srun"), c_program("exchange"));
    let inner = format!("{} --overlap -N1 -n2 {} 2", srun.display(), program.display());
    let outcome = pmi_srun(&["-N1", "-n2"]).args(["sh", "-c", &inner]).run();
    outcome.assert_success();
    assert_eq!(outcome.stdout, "exchange: 2 ranks, all values right\n".repeat(2));
}

#[test]
fn the_users_own_task_prolog_still_runs() {
    let job = pmi_srun(&["-n1"]);
    let prolog = job.directory().join("prolog");
    write_script(&prolog, "echo print hello from it\necho export MINE=$SLURM_PROCID");
    let job = job.env("SLURM_TASK_PROLOG", &prolog);
    let outcome =
        job.args(["sh", "-c", "echo $MINE $PMI_RANK of $PMI_SIZE, $SLURM_TASK_PROLOG"]).run();
    outcome.assert_success();
    let expected = format!("hello from it\n0 0 of 1, {}\n", prolog.display());
    assert_eq!(outcome.stdout, expected);
}

#[test]
fn a_task_prolog_that_fails_ends_the_task_as_under_srun() {
    let job = pmi_srun(&["-n1"]);
    let prolog = job.directory().join("prolog");
    write_script(&prolog, "exit 3");
    let outcome = job.env("SLURM_TASK_PROLOG", &prolog).arg("true").run();
    outcome.assert_code(3);
    assert!(outcome.stdout.contains("your task prolog"), "{}", outcome.stdout);
}

#[test]
fn an_srun_inside_of_a_task_is_not_given_our_prolog() {
    let script = "srun --overlap -n1 sh -c 'echo prolog=$SLURM_TASK_PROLOG'";
    let outcome = pmi_srun(&["-n1"]).args(["sh", "-c", script]).run();
    outcome.assert_success();
    assert_eq!(outcome.stdout, "prolog=\n");
}
