//! Our libraries under `srun --mpi=pmi2`: libpmi.so.0 speaks PMI-1 with it, libpmi2.so.0 PMI-2.

use std::path::PathBuf;

use pmi_tests::artifacts::{conformance_program, library_dir};
use pmi_tests::{Job, Mpi, Slurm};

fn srun(ranks: u32, program: PathBuf) -> Job {
    Slurm::shared().srun(&["--mpi=pmi2", "--ntasks", &ranks.to_string()]).arg(program)
}

fn libpmi(name: &str) -> PathBuf {
    conformance_program(name, "libpmi.so.0")
}

fn libpmi2(name: &str) -> PathBuf {
    conformance_program(&format!("pmi2/{name}"), "libpmi2.so.0")
}

#[test]
fn ranks_exchange() {
    for ranks in [1, 2, 4, 16] {
        srun(ranks, libpmi("exchange")).arg("plain").run().assert_each_says(ranks, ": exchanged");
        srun(ranks, libpmi2("exchange")).run().assert_each_says(ranks, ": exchanged");
    }
}

#[test]
fn calls_between_the_halves_of_a_split_barrier() {
    srun(4, libpmi("overlap")).run().assert_each_says(4, ": overlapped");
}

#[test]
fn rings_and_node_attributes() {
    srun(4, libpmi2("ring")).run().assert_each_says(4, ": round the ring");
    srun(4, libpmi2("attributes")).run().assert_each_says(4, ": attributes shared");
}

#[test]
fn an_abort_ends_the_step_while_a_barrier_waits() {
    let outcome = srun(4, libpmi("abort")).arg("42").run();
    outcome.assert_says(&["PMI_Abort(42): by intent"]).assert_says(&["Exited with exit code 42"]);
    assert_ne!(outcome.code(), 0);
}

/// A line of more than 1,024 bytes would be lost, or end the step.
#[test]
fn what_is_taken_arrives_as_it_was_and_long_lines_are_refused() {
    let outcome = srun(2, libpmi("carried")).run();
    let with = |end: &str| {
        let lines = outcome.stdout.lines().filter_map(|line| line.strip_suffix(end));
        lines.map(str::to_string).collect::<std::collections::BTreeSet<_>>()
    };
    outcome.assert_success().assert_says(&["this PMI server reads 1024"]);
    assert_eq!(with("taken"), with("same"));
    assert_eq!(with("refused"), with("missing"));
    for refused in ["value-length 1000 ", "value-length 1023 ", "within 32 ", "value-length 0 "] {
        assert!(with("refused").contains(refused), "{refused}");
    }
}

/// A real MPI through our libraries: Intel MPI loads the one that is named.
#[test]
fn intel_mpi_through_both_libraries() {
    for library in ["libpmi.so.0", "libpmi2.so.0"] {
        let job = Slurm::shared().srun(&["--mpi=pmi2", "--ntasks=4"]);
        let job = job.env("I_MPI_PMI_LIBRARY", library_dir().join(library)).env("PMI_DEBUG", "1");
        let outcome = Mpi::Intel.hello(job, 4).run();
        outcome.assert_success().assert_says(&["taken: another starter's server at PMI_FD="]);
        assert_eq!(outcome.stdout, "hello: 4 ranks, 4 on a node, all results right\n");
    }
}
