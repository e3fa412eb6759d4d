//! `PMIX_Ibarrier`, `PMIX_Iallgather`, `PMIX_Wait` and `PMIX_Test` of libpmi.so, on one node and on several, mixed with
//! plain barriers, and with deaths in between.

use std::fs::File;

use nix::sys::signal::Signal;
use pmi_tests::artifacts::library_dir;
use pmi_tests::conform::{Library, Program};
use pmi_tests::{Job, Running, Starter, job, until};

fn program(name: &str) -> Program {
    Program::compile(&format!("split/{name}"), Library::Pmi)
}

#[test]
fn ranks_pass_barriers_whole_and_split() {
    let program = program("mixed");
    program.under_ours().run().assert_each_says(1, ": passed");
    for ranks in [1, 2, 7] {
        program.ranks(ranks).run().assert_each_says(ranks, ": passed");
    }
}

#[test]
fn values_of_all_ranks_are_gathered() {
    let program = program("gather");
    program.under_ours().run().assert_each_says(1, ": gathered");
    for ranks in [1, 2, 7] {
        program.ranks(ranks).run().assert_each_says(ranks, ": gathered");
    }
}

/// Each rank is a node of its own: every barrier is the server's.
fn apart(ranks: u32, program: &Program) -> Job {
    let job = Job::of(ranks).args(job::apart()).arg(program.path());
    job.env("LD_LIBRARY_PATH", library_dir())
}

#[test]
fn nodes_of_one_rank_pass_them_too() {
    apart(5, &program("mixed")).run().assert_each_says(5, ": passed");
    apart(5, &program("gather")).run().assert_each_says(5, ": gathered");
}

/// Two nodes, the ranks dealt out in turn.
fn two_nodes(ranks: u32, program: &Program, local_size: &str) -> Job {
    let script = "export PMI_KVS_NODE=node$((PMI_RANK % 2)) PMI_LOCAL_SIZE=$0 && exec \"$1\"";
    let job = Job::of(ranks).args(["sh", "-c", script, local_size]).arg(program.path());
    job.env("LD_LIBRARY_PATH", library_dir())
}

#[test]
fn nodes_that_know_their_number_of_ranks_pass_them_too() {
    two_nodes(6, &program("mixed"), "3").run().assert_each_says(6, ": passed");
    two_nodes(6, &program("gather"), "3").run().assert_each_says(6, ": gathered");
}

#[test]
fn nodes_that_do_not_know_it_pass_them_too() {
    two_nodes(6, &program("mixed"), "").run().assert_each_says(6, ": passed");
    two_nodes(6, &program("gather"), "").run().assert_each_says(6, ": gathered");
}

#[test]
fn ranks_under_foreign_servers_pass_them_too() {
    let (mixed, gather) = (program("mixed"), program("gather"));
    for starter in [Starter::Hydra4, Starter::Hydra5, Starter::Gforker, Starter::IntelHydra] {
        for (program, text) in [(&mixed, ": passed"), (&gather, ": gathered")] {
            let job = starter.job(4).arg(program.path()).env("LD_LIBRARY_PATH", library_dir());
            job.run().assert_each_says(4, text);
        }
    }
}

fn go_on(job: Running) -> Running {
    File::create(job.file("stop")).expect("the job's directory is writable");
    job
}

#[test]
fn a_rank_that_dies_between_the_halves_ends_the_job() {
    let program = program("between");
    let job = program.ranks(4).arg_directory().start();
    let ranks = job.rank_pids(4);
    job.signal(ranks[2], Signal::SIGKILL);
    go_on(job).finish().assert_code(128 + 9).assert_says(&["rank 2", "signal 9"]);
}

fn outlive_the_server(job: Job) {
    let job = job.arg_directory().start();
    until("the ranks to enter", || {
        (0..4).all(|rank| job.file(&format!("rank-{rank}")).exists()).then_some(())
    });
    let server = job.process_named("pmi-kvs-server");
    job.signal(server, Signal::SIGKILL);
    until("another server", || (job.process_named("pmi-kvs-server") != server).then_some(()));
    go_on(job).finish().assert_each_says(4, ": passed");
}

#[test]
fn a_server_that_dies_between_the_halves_is_outlived_on_one_node() {
    let program = program("between");
    outlive_the_server(program.ranks(4));
}

#[test]
fn a_server_that_dies_between_the_halves_is_outlived_by_several_nodes() {
    let program = program("between");
    outlive_the_server(apart(4, &program));
}
