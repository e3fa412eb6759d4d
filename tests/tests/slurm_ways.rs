//! Sixty-four ranks on four hosts under each way to start a step with PMI under Slurm.

use pmi_tests::artifacts::{conformance_program, library_dir};
use pmi_tests::slurm::ALICE;
use pmi_tests::way::SIXTY_FOUR;
use pmi_tests::{Job, Mpi, Outcome, Slurm, Way, c_program, on_every_way, ring_program};

on_every_way!(
    c_programs_over_pmi_1,
    c_programs_over_pmi_2,
    open_mpi,
    intel_mpi_through_the_library,
    intel_mpi_over_the_wire,
    mpich_4_on_one_host,
    mpich_5,
    mpi4py,
    one_datagram_in_five_is_lost,
);

const RANKS: u32 = 64;

fn run(job: Job) -> Outcome {
    let outcome = job.run();
    outcome.assert_success();
    outcome
}

/// The first line that a `hello` prints; `on_a_host` ranks share a host.
fn assert_hello(job: Job, on_a_host: u32) {
    let line = format!("hello: {RANKS} ranks, {on_a_host} on a node, all results right\n");
    let outcome = run(job);
    assert_eq!(outcome.stdout, line, "{}", outcome.stderr);
}

fn c_programs_over_pmi_1(way: Way) {
    let outcome = run(way.step_of_64(ALICE).arg(c_program("exchange")).args(["64", "16"]));
    assert_eq!(outcome.stdout, format!("exchange: {RANKS} ranks, all values right\n"));
    for (name, text) in [("exchange", ": exchanged"), ("shared_space", ": shared")] {
        let program = conformance_program(name, "libpmi.so.0");
        run(way.step_of_64(ALICE).arg(program)).assert_each_says(RANKS, text);
    }
}

fn c_programs_over_pmi_2(way: Way) {
    for (name, text) in [("exchange", ": exchanged"), ("ring", ": round the ring")] {
        let program = conformance_program(&format!("pmi2/{name}"), "libpmi2.so.0");
        run(way.step_of_64(ALICE).arg(program)).assert_each_says(RANKS, text);
    }
}

fn open_mpi(way: Way) {
    let outcome = run(way.step_of_64(ALICE).arg(ring_program()));
    for line in ["ring: the token passed 64 ranks", "allreduce: the sum of all ranks is 2016"] {
        assert!(outcome.stdout.lines().any(|found| found == line), "{}", outcome.stdout);
    }
}

fn intel_mpi_through_the_library(way: Way) {
    let job = Mpi::Intel.hello(way.step_of_64(ALICE), RANKS).env("PMI_DEBUG", "1");
    let outcome = run(job.env("I_MPI_PMI_LIBRARY", library_dir().join("libpmi.so.0")));
    outcome.assert_says(&["PMI_Init("]);
    let line = format!("hello: {RANKS} ranks, 16 on a node, all results right\n");
    assert_eq!(outcome.stdout, line);
}

fn intel_mpi_over_the_wire(way: Way) {
    let options = [&["--pmi-no-library"], &SIXTY_FOUR[..]].concat();
    assert_hello(Mpi::Intel.hello(way.step(ALICE, &options), RANKS), 16);
}

/// Between hosts MPICH 4.0.2 with UCX over TCP may hang in MPI_Finalize, whoever starts it: some ranks wait in
/// PMI_Barrier, where they do not answer those that still close their connections.
fn mpich_4_on_one_host(way: Way) {
    assert_hello(Mpi::Mpich4.hello(way.step(ALICE, &["--nodes=1", "--ntasks=64"]), RANKS), RANKS);
}

fn mpich_5(way: Way) {
    assert_hello(Mpi::Mpich5.hello(way.step_of_64(ALICE), RANKS), 16);
}

fn mpi4py(way: Way) {
    let outcome = run(Mpi::Mpi4py.hello(way.step_of_64(ALICE), RANKS));
    assert!(outcome.stdout.starts_with("hello: 64 ranks, all results right"), "{}", outcome.stdout);
}

fn one_datagram_in_five_is_lost(way: Way) {
    let slurm = Slurm::of(4);
    slurm.loss(20);
    let step = || way.step_on(&slurm, ALICE, &SIXTY_FOUR);
    let outcome = run(step().arg(c_program("exchange")).args(["64", "16"]));
    assert_eq!(outcome.stdout, format!("exchange: {RANKS} ranks, all values right\n"));
    assert_hello(Mpi::Mpich5.hello(step(), RANKS), 16);
    slurm.assert_nothing_left(ALICE);
}
