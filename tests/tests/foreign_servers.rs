//! Our libraries under other starters' PMI servers: Hydra 4 and 5, gforker, Intel MPI's Hydra.

use std::collections::BTreeSet;
use std::path::Path;

use pmi_tests::artifacts::{conformance_program, library_dir};
use pmi_tests::{Job, Mpi, Starter};

const STARTERS: [Starter; 4] =
    [Starter::Hydra4, Starter::Hydra5, Starter::Gforker, Starter::IntelHydra];

fn program(name: &str) -> impl AsRef<Path> {
    conformance_program(name, "libpmi.so.0")
}

fn program_2(name: &str) -> impl AsRef<Path> {
    conformance_program(&format!("pmi2/{name}"), "libpmi2.so.0")
}

#[test]
fn ranks_exchange_under_every_server() {
    for starter in STARTERS {
        for ranks in [1, 2, 4, 16] {
            let job = starter.job(ranks).arg(program("exchange").as_ref()).arg("plain");
            job.run().assert_each_says(ranks, ": exchanged");
        }
    }
}

#[test]
fn ranks_find_hydra_by_its_port() {
    for starter in [Starter::Hydra4, Starter::Hydra5] {
        let job = starter.job(4).arg("-pmi-port").arg(program("exchange").as_ref()).arg("plain");
        job.run().assert_each_says(4, ": exchanged");
    }
}

#[test]
fn calls_between_the_halves_of_a_split_barrier() {
    for starter in STARTERS {
        starter.job(4).arg(program("overlap").as_ref()).run().assert_each_says(4, ": overlapped");
    }
}

#[test]
fn libpmi2_exchanges_and_passes_a_ring_over_pmi_1() {
    for starter in STARTERS {
        starter.job(4).arg(program_2("exchange").as_ref()).run().assert_each_says(4, ": exchanged");
        starter
            .job(4)
            .arg(program_2("ring").as_ref())
            .run()
            .assert_each_says(4, ": round the ring");
    }
}

/// Hydra 4 gives a mapping that this program does not read, gforker none.
#[test]
fn libpmi2_has_node_attributes_beside_a_server_that_has_none() {
    for starter in [Starter::Hydra5, Starter::IntelHydra] {
        let job = starter.job(4).arg(program_2("attributes").as_ref()).arg("-all");
        job.run().assert_each_says(4, ": attributes shared");
    }
}

#[test]
fn an_abort_passes_a_barrier_that_waits_and_its_code_is_the_jobs() {
    for starter in STARTERS {
        let outcome = starter.job(4).arg(program("abort").as_ref()).arg("42").run();
        outcome.assert_code(42);
    }
}

#[test]
fn a_job_of_one_answers_as_under_pmi_ssh() {
    for name in ["outside", "forked"] {
        let ours = Job::of(1).arg(program(name).as_ref()).run();
        for starter in STARTERS {
            let theirs = starter.job(1).arg(program(name).as_ref()).run();
            assert_eq!(theirs.assert_success().stdout, ours.stdout, "{name}, {starter:?}");
        }
    }
}

#[test]
fn the_servers_maxima_are_announced() {
    for (starter, value) in [
        (Starter::Hydra4, "1024"),
        (Starter::Hydra5, "1024"),
        (Starter::Gforker, "1024"),
        (Starter::IntelHydra, "4096"),
    ] {
        let outcome = starter.job(1).arg(program("limits").as_ref()).run();
        let lines: Vec<_> = outcome.assert_success().stdout.lines().collect();
        for (call, maximum) in [("key", "64"), ("value", value)] {
            let call = format!("PMI_KVS_Get_{call}_length_max(&length): PMI_SUCCESS");
            let answers = lines.windows(2).filter(|pair| pair[0] == call).map(|pair| pair[1]);
            assert!(answers.clone().any(|answer| answer == maximum), "{starter:?}: {lines:#?}");
        }
    }
}

/// The pairs that a server of this project takes and others do not, as `carried` names them.
fn refused_everywhere() -> Vec<&'static str> {
    vec![
        "first 10",
        "within 10",
        "last 10",
        "key 10",
        "first 32",
        "within 32",
        "last 32",
        "key 32",
        "value-length 0",
        "value-length 4096",
        "key-length 64",
        "key-length 65",
        "key-length 254",
        "key-length 255",
        "key-length 256",
    ]
}

/// Longer than other servers carry.
const LONG: [&str; 3] = ["value-length 1024", "value-length 4094", "value-length 4095"];

/// Hydra 5 takes backslashes out of values.
const BACKSLASHES: [&str; 4] = ["first 92", "within 92", "last 92", "key 92"];

/// What a job of `carried` printed with this outcome.
fn with_outcome<'a>(stdout: &'a str, outcome: &str) -> BTreeSet<&'a str> {
    stdout.lines().filter_map(|line| line.strip_suffix(outcome)).map(str::trim_end).collect()
}

#[test]
fn what_is_taken_arrives_as_it_was_and_the_rest_is_refused() {
    for (starter, more) in [
        (Starter::Hydra4, [&LONG[..], &["key 61"]].concat()),
        (Starter::Hydra5, [&LONG[..], &BACKSLASHES].concat()),
        (Starter::Gforker, [&LONG[..], &["key 61"]].concat()),
        (Starter::IntelHydra, vec!["first 11", "within 11", "last 11"]),
    ] {
        let outcome = starter.job(2).arg(program("carried").as_ref()).run();
        outcome.assert_success().assert_says(&["is refused: the value has", "this PMI server"]);
        let refused = with_outcome(&outcome.stdout, "refused");
        let expected = refused_everywhere().into_iter().chain(more).collect();
        assert_eq!(refused, expected, "{starter:?}");
        assert_eq!(refused, with_outcome(&outcome.stdout, "missing"), "{starter:?}");
        let taken = with_outcome(&outcome.stdout, "taken");
        assert_eq!(taken, with_outcome(&outcome.stdout, "same"), "{starter:?}");
        assert!(taken.len() > 1000, "{starter:?}: {}", taken.len());
    }
}

/// A real MPI through our libraries. Under gforker nothing would tell that it is ours (it sets `PMI_DEBUG` to 0), and
/// under Hydra 4 Intel MPI crashes with its own client too.
#[test]
fn intel_mpi_runs_through_our_libraries() {
    for library in ["libpmi.so.0", "libpmi2.so.0"] {
        let job = Starter::Hydra5.job(4).env("I_MPI_PMI_LIBRARY", library_dir().join(library));
        let outcome = Mpi::Intel.hello(job.env("PMI_DEBUG", "1"), 4).run();
        outcome.assert_success().assert_says(&["taken: another starter's server at PMI_FD="]);
        assert_eq!(outcome.stdout, "hello: 4 ranks, 4 on a node, all results right\n");
    }
}

/// Our own bridge is such a server too, for a program that finds nothing else.
#[test]
fn the_bridge_of_pmi_ssh_serves_our_library() {
    for option in [&[][..], &["-pmi-port"]] {
        let unset = ["PMI_KVS_SERVER", "PMI_KVS_JOB", "PMI_KVS_SECRET"].map(|name| ["-u", name]);
        let job = Job::of(4).args(option).arg("env").args(unset.concat());
        job.arg(program("exchange").as_ref()).arg("plain").run().assert_each_says(4, ": exchanged");
    }
}

#[test]
fn pmi_debug_tells_which_server_was_taken_and_why() {
    let job = Starter::Hydra5.job(1).arg(program("limits").as_ref()).env("PMI_DEBUG", "1");
    let outcome = job.run();
    outcome
        .assert_success()
        .assert_says(&["PMI_KVS_SERVER is not set"])
        .assert_says(&["taken: another starter's server at PMI_FD="]);
    outcome.assert_says(&["rank 0 of 1 of job kvs_", "by Hydra 5"]);
}

#[test]
fn a_program_that_closes_the_descriptor_is_named_with_what_to_do() {
    let job = Starter::Hydra4.job(2).args(["python3", "-c"]);
    let script = "import subprocess, sys; sys.exit(subprocess.call(sys.argv[1:]))";
    let outcome = job.arg(script).arg(program("who").as_ref()).arg("inside").run();
    outcome.assert_code(9).assert_says(&["rank 0 of 2", "PMI_FD=", "close_fds=False", "pmi-ssh"]);
}
