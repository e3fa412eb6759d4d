//! MPI programs whose library carries its own PMI client start under pmi-ssh, under a plain loop of pmi-exec, and,
//! to show that the programs themselves are right, under the process managers that they were made for.

use pmi_tests::{Mpi, Starter};

fn hello(mpi: Mpi, starter: Starter, ranks: u32) {
    let outcome = mpi.hello(starter.job(ranks), ranks).run();
    outcome.assert_success();
    let line = match mpi {
        Mpi::Mpi4py => {
            format!("hello: {ranks} ranks, all results right, with MPICH Version: 5.0.2\n")
        }
        _ => format!("hello: {ranks} ranks, {ranks} on a node, all results right\n"),
    };
    assert_eq!(outcome.stdout, line, "{}", outcome.stderr);
}

/// One module for each library and starter, one test for each number of ranks.
macro_rules! hello_under {
    ($($module:ident: $mpi:ident, $starter:ident, $($test:ident $ranks:literal)+;)+) => {
        $(mod $module {
            use super::{Mpi, Starter, hello};

            $(#[test]
            fn $test() {
                hello(Mpi::$mpi, Starter::$starter, $ranks);
            })+
        })+
    };
}

hello_under! {
    mpich_4_under_pmi_ssh: Mpich4, PmiSsh, one_rank 1 two_ranks 2 four_ranks 4 sixteen_ranks 16;
    mpich_4_under_pmi_ssh_by_port: Mpich4, PmiSshPort, one_rank 1 two_ranks 2 four_ranks 4 sixteen_ranks 16;
    mpich_4_under_a_loop_of_pmi_exec: Mpich4, ForkLoop, one_rank 1 two_ranks 2 four_ranks 4 sixteen_ranks 16;
    mpich_4_under_a_loop_of_pmi_exec_by_port: Mpich4, ForkLoopPort, four_ranks 4;
    mpich_4_under_hydra_4: Mpich4, Hydra4, four_ranks 4;

    mpich_5_under_pmi_ssh: Mpich5, PmiSsh, one_rank 1 two_ranks 2 four_ranks 4 sixteen_ranks 16;
    mpich_5_under_pmi_ssh_by_port: Mpich5, PmiSshPort, one_rank 1 two_ranks 2 four_ranks 4 sixteen_ranks 16;
    mpich_5_under_a_loop_of_pmi_exec: Mpich5, ForkLoop, one_rank 1 two_ranks 2 four_ranks 4 sixteen_ranks 16;
    mpich_5_under_a_loop_of_pmi_exec_by_port: Mpich5, ForkLoopPort, four_ranks 4;
    mpich_5_under_hydra_5: Mpich5, Hydra5, four_ranks 4;
    mpich_5_under_gforker: Mpich5, Gforker, four_ranks 4;

    mpi4py_under_pmi_ssh: Mpi4py, PmiSsh, one_rank 1 two_ranks 2 four_ranks 4 sixteen_ranks 16;
    mpi4py_under_pmi_ssh_by_port: Mpi4py, PmiSshPort, four_ranks 4;
    mpi4py_under_a_loop_of_pmi_exec: Mpi4py, ForkLoop, one_rank 1 two_ranks 2 four_ranks 4 sixteen_ranks 16;
    mpi4py_under_hydra_5: Mpi4py, Hydra5, four_ranks 4;

    intel_mpi_under_pmi_ssh: Intel, PmiSsh, one_rank 1 two_ranks 2 four_ranks 4 sixteen_ranks 16;
    intel_mpi_under_pmi_ssh_by_port: Intel, PmiSshPort, one_rank 1 two_ranks 2 four_ranks 4 sixteen_ranks 16;
    intel_mpi_under_a_loop_of_pmi_exec: Intel, ForkLoop, one_rank 1 two_ranks 2 four_ranks 4 sixteen_ranks 16;
    intel_mpi_under_a_loop_of_pmi_exec_by_port: Intel, ForkLoopPort, four_ranks 4;
    intel_mpi_under_its_own_hydra: Intel, IntelHydra, four_ranks 4;
}
