//! Programs have PMI whatever options srun takes: those that load our library, and those with a client of their own.

use std::fs;

use pmi_tests::{Mpi, Way, c_program, on_ways};

on_ways!([wrapper, plugin]; [
    whatever_srun_exports,
    ranks_in_turns,
    one_rank_on_each_node,
    a_layout_by_hand,
    several_programs_from_a_file,
]);

const EIGHT: [&str; 3] = ["--nodes=4", "--ntasks=8", "--ntasks-per-node=2"];

/// MPICH 5 on eight ranks of four nodes.
fn hello_on_eight(way: Way, option: &str) {
    way.hello(Mpi::Mpich5, &[&EIGHT[..], &[option]].concat(), 8, 2);
}

fn whatever_srun_exports(way: Way) {
    for export in ["--export=ALL", "--export=NONE", "--export=NIL", "--export=A=1"] {
        way.exchange_on_one_host(&[export]);
    }
    hello_on_eight(way, "--export=NONE");
}

fn ranks_in_turns(way: Way) {
    hello_on_eight(way, "--distribution=cyclic");
}

fn one_rank_on_each_node(way: Way) {
    way.hello(Mpi::Mpich5, &["--nodes=4", "--ntasks=4"], 4, 1);
}

fn a_layout_by_hand(way: Way) {
    let job = way.srun(&["--distribution=arbitrary", "--ntasks=4"]);
    let hosts = job.directory().join("hosts");
    fs::write(&hosts, "node1\nnode0\nnode1\nnode2\n").expect("the job's directory is writable");
    let outcome = Mpi::Mpich5.hello(job.env("SLURM_HOSTFILE", &hosts), 4).run();
    outcome.assert_success();
    assert_eq!(outcome.stdout, "hello: 4 ranks, 2 on a node, all results right\n");
}

fn several_programs_from_a_file(way: Way) {
    let program = c_program("exchange");
    let job = way.srun(&["--nodes=1", "--ntasks=4", "--multi-prog"]);
    let file = job.directory().join("programs");
    let program = program.display();
    fs::write(&file, format!("0 {program} 4\n1-3 {program} 4\n")).expect("it is writable");
    let outcome = job.arg(&file).run();
    outcome.assert_success();
    assert_eq!(outcome.stdout, "exchange: 4 ranks, all values right\n");
}
