//! NVSHMEM's bootstrap plugins find each other: the one for PMI-1, which says version 1.0 and uses long keys, and
//! the one for PMI-2.

use pmi_tests::Starter;
use pmi_tests::mpi::nvshmem_bootstrap;

fn bootstrap(plugin: &str, starter: Starter, ranks: u32) {
    let outcome = nvshmem_bootstrap(starter.job(ranks), plugin, ranks).run();
    outcome.assert_success();
    let line = format!("nvshmem_bootstrap: {ranks} ranks, all results right\n");
    assert_eq!(outcome.stdout, line, "{}", outcome.stderr);
}

macro_rules! bootstrap_under {
    ($($module:ident: $plugin:literal, $starter:ident, $($test:ident $ranks:literal)+;)+) => {
        $(mod $module {
            use super::{Starter, bootstrap};

            $(#[test]
            fn $test() {
                bootstrap($plugin, Starter::$starter, $ranks);
            })+
        })+
    };
}

bootstrap_under! {
    pmi_under_pmi_ssh: "pmi", PmiSsh, one_rank 1 two_ranks 2 four_ranks 4;
    pmi_under_pmi_ssh_by_port: "pmi", PmiSshPort, one_rank 1 two_ranks 2 four_ranks 4;
    pmi_under_a_loop_of_pmi_exec: "pmi", ForkLoop, one_rank 1 two_ranks 2 four_ranks 4;
    pmi_under_a_loop_of_pmi_exec_by_port: "pmi", ForkLoopPort, four_ranks 4;
    pmi_under_hydra_4: "pmi", Hydra4, four_ranks 4;
    pmi_under_hydra_5: "pmi", Hydra5, four_ranks 4;

    pmi2_under_pmi_ssh: "pmi2", PmiSsh, one_rank 1 two_ranks 2 four_ranks 4;
    pmi2_under_pmi_ssh_by_port: "pmi2", PmiSshPort, one_rank 1 two_ranks 2 four_ranks 4;
    pmi2_under_a_loop_of_pmi_exec: "pmi2", ForkLoop, one_rank 1 two_ranks 2 four_ranks 4;
    pmi2_under_a_loop_of_pmi_exec_by_port: "pmi2", ForkLoopPort, four_ranks 4;
    // Hydra 5.0.2 refuses this plugin's greeting.
    pmi2_under_hydra_4: "pmi2", Hydra4, four_ranks 4;
}
