//! An MPI program that ends early, under a starter that serves its own PMI client: the job ends with it, nobody
//! waits for ever, and the exit code tells.

use pmi_tests::{Job, Mpi, Starter};

/// The program says that it expects another number of ranks than there are: every rank finds an error and calls
/// MPI_Abort with code 1, while the others may be anywhere.
fn abort(mpi: Mpi, starter: Starter) {
    mpi.hello(starter.job(4), 5)
        .run()
        .assert_failure()
        .assert_says(&["wrong result of MPI_Comm_size"]);
}

#[test]
fn mpich_4_under_pmi_ssh() {
    abort(Mpi::Mpich4, Starter::PmiSsh);
}

#[test]
fn mpich_5_under_pmi_ssh() {
    abort(Mpi::Mpich5, Starter::PmiSsh);
}

#[test]
fn intel_mpi_under_pmi_ssh() {
    abort(Mpi::Intel, Starter::PmiSsh);
}

#[test]
fn mpich_5_under_a_loop_of_pmi_exec() {
    abort(Mpi::Mpich5, Starter::ForkLoop);
}

/// One rank of four runs another program, which leaves at once; the others wait for it in MPI_Init.
fn one_rank_leaves(job: Job, mpi: Mpi) {
    let script = "[ \"$PMI_RANK\" != 2 ] || exit 7; exec \"$@\"";
    let job = job.args(["sh", "-c", script, "sh"]);
    mpi.hello(job, 4).run().assert_code(7);
}

#[test]
fn a_rank_that_never_starts_mpich_5_ends_the_job_under_pmi_ssh() {
    one_rank_leaves(Starter::PmiSsh.job(4), Mpi::Mpich5);
}
