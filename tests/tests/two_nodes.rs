//! Ranks that are told to run on two hosts exchange what only ranks of different hosts exchange: addresses of
//! networks, in values of several segments. Two boards on one host carry it, and the MPI libraries use the network
//! between them.

use pmi_tests::{Mpi, Starter};

const NODES: Starter = Starter::ForkLoopNodes(2);

fn hello_on_two_nodes(mpi: Mpi) {
    let outcome = mpi.hello(NODES.job(4), 4).run();
    outcome.assert_success();
    assert_eq!(
        outcome.stdout, "hello: 4 ranks, 2 on a node, all results right\n",
        "{}",
        outcome.stderr
    );
}

#[test]
fn mpich_4_under_a_loop_of_pmi_exec_on_four_ranks() {
    hello_on_two_nodes(Mpi::Mpich4);
}

#[test]
fn mpich_5_under_a_loop_of_pmi_exec_on_four_ranks() {
    hello_on_two_nodes(Mpi::Mpich5);
}

#[test]
fn intel_mpi_under_a_loop_of_pmi_exec_on_four_ranks() {
    hello_on_two_nodes(Mpi::Intel);
}
